//! EC2's tags, tag filters and client tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use shared::owner::{TAG_APP, TAG_STAGE};
use shared::{Result, Run};

use crate::NetUp;

shared::tagging!(aws_sdk_ec2::types::Tag);

/// The key of the tag with the app, the name and the time of creation. One filter on it finds all resources of a name, and in which order
/// they were created.
pub const CREATED: &str = "ecs-pipe:made";

/// Returns the tags for the call that creates a resource, so that it never exists without them. They are the same in every run, because AWS
/// refuses a known client token with other parameters.
pub fn specification(run: &Run, kind: ResourceType, name: &str) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(aws_tags(run.tags(name)))).build()
}

/// Returns the same tags and the time, for a resource that [`NetUp::claim`] compares with those of other runs.
pub fn dated(run: &Run, kind: ResourceType, name: &str) -> TagSpecification {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let created = format!("{}{:013}", created_by(run, name), now.as_millis());
    let tags = run.tags(name).into_iter().chain([(CREATED.to_owned(), created)]).collect();
    TagSpecification::builder().resource_type(kind).set_tags(Some(aws_tags(tags))).build()
}

/// Returns how the value of [`CREATED`] begins for this app and name.
pub fn created_by(run: &Run, name: &str) -> String {
    format!("{}/{name} ", run.app)
}

/// Returns a client token for all attempts at one call. It is never used again: AWS may answer a known token with a deleted resource.
pub fn token(run: &Run, name: &str) -> String {
    shared::name::fingerprint(&format!("{} {name} {:?}", run.app, SystemTime::now()))
}

/// Returns filters for what [`specification`] writes.
pub fn ours(run: &Run) -> Vec<Filter> {
    vec![filter(&format!("tag:{TAG_APP}"), &run.app), filter(&format!("tag:{TAG_STAGE}"), "net-up")]
}

pub fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

impl NetUp {
    /// Keeps a resource that exists, and sets the tags that it lacks. Returns its id.
    pub async fn keep(&self, run: &Run, kind: &str, name: &str, id: &str, tags: &[Tag]) -> Result<Option<String>> {
        run.found(kind, id);
        run.settle_tags(
            kind,
            id,
            run.tags(name),
            tags.iter().map(pair),
            async |missing| self.ec2.create_tags().resources(id).set_tags(Some(aws_tags(missing))).send().await,
            async |left| {
                let left = left.into_iter().map(|key| Tag::builder().key(key).build()).collect();
                self.ec2.delete_tags().resources(id).set_tags(Some(left)).send().await
            },
        )
        .await?;
        Ok(Some(id.to_owned()))
    }
}
