//! Tags of ECS's resources: the cluster and the capacity provider.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Tag;
use shared::{Result, Run};

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
        async |missing| ecs.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing))).send().await,
        async |left| ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(left)).send().await,
    )
    .await
}
