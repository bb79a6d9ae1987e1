//! The tags of services and task definitions.

use aws_sdk_ecs::types::Tag;
use serde_json::{Value, json};
use shared::{Result, Run};

use crate::SvcDeploy;

shared::tagging!(aws_sdk_ecs::types::Tag);

/// Returns tags as a request in AWS's own JSON has them.
pub fn json(tags: Vec<(String, String)>) -> Value {
    tags.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// Returns the value of a tag.
pub fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

impl SvcDeploy {
    /// Sets the tags that a found service or task definition lacks, and removes those that have left the document.
    pub async fn settle_ecs_tags(&self, run: &Run, kind: &str, arn: &str, wanted: Vec<(String, String)>, found: &[Tag]) -> Result<()> {
        run.settle_tags(
            kind,
            arn,
            wanted,
            found.iter().map(pair),
            async |missing| self.ecs.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(left)).send().await,
        )
        .await
    }
}
