//! ARNs: how they are written, and the names that they contain.

use shared::doc::Caller;

/// Returns an ARN in the caller's partition, account and region, as in `arn:aws:ssm:eu-central-1:123456789012:parameter/shop`.
pub fn arn(caller: &Caller, service: &str, resource: &str) -> String {
    let Caller { account, region, partition } = caller;
    format!("arn:{partition}:{service}:{region}:{account}:{resource}")
}

/// Returns `shop-web-1a2b3c` of `…:targetgroup/shop-web-1a2b3c/73e2d6bc24d8a067`.
pub fn target_group_name(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

/// Returns what is behind the last slash, as `shop-web:3` of `…:task-definition/shop-web:3`.
pub fn last_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
