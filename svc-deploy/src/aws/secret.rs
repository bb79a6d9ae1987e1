//! The ARNs of secrets, which Secrets Manager or Systems Manager keeps.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html>

use serde_json::Value;
use shared::doc::Caller;

use super::arn;

/// Returns the full ARN: a path (`/…`) is that of an SSM parameter, any other name that of a secret. Secrets Manager accepts a secret's ARN also
/// without the six characters at its end.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen>
pub fn arn(caller: &Caller, source: &str) -> String {
    match source {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        path if path.starts_with('/') => arn::arn(caller, "ssm", &format!("parameter{path}")),
        name => arn::arn(caller, "secretsmanager", &format!("secret:{name}")),
    }
}

/// Replaces the names in a container definition's `secrets` by ARNs.
pub fn resolve(caller: &Caller, definition: &mut Value) {
    for secret in definition.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::String(source)) = secret.get_mut("valueFrom") {
            *source = arn(caller, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::arn;
    use crate::aws::samples;

    #[test]
    fn a_path_is_a_parameter_and_a_name_is_a_secret() {
        for (source, resolved) in [
            ("/shop/key", "arn:aws:ssm:us-east-1:123456789012:parameter/shop/key"),
            ("shop/key", "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/key"),
            ("arn:aws:ssm:us-east-1:1:parameter/x", "arn:aws:ssm:us-east-1:1:parameter/x"),
        ] {
            assert_eq!(arn(&samples::caller(), source), resolved);
        }
    }
}
