//! Tags of ECS's resources: the cluster and the capacity provider.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Tag;
use shared::{Result, Run, Tried};

shared::tagging!(aws_sdk_ecs::types::Tag);

/// Sets the tags that the resource lacks. `name` is its `ecs-pipe:name`.
///
/// # Errors
/// Returns what ECS refused.
pub async fn settle(ecs: &Client, run: &Run, kind: &str, name: &str, arn: &str, found: &[Tag]) -> Result<()> {
    run.settle_tags(
        kind,
        arn,
        run.tags(name),
        found.iter().map(pair),
        async |missing| {
            let call = ecs.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing)));
            call.send().await.tried(format!("tag the {kind} {arn}")).map(drop)
        },
        async |left| {
            let call = ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(left));
            call.send().await.tried(format!("remove tags of the {kind} {arn}")).map(drop)
        },
    )
    .await
}
