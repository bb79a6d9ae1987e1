//! EC2's tags and tag filters.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use shared::name::{TAG_APP, TAG_STAGE};
use shared::{Result, Run, Tried};

use crate::{NetUp, claim};

/// Tags in the call that creates: what is made is never without them. Every run says the same, because AWS refuses the same client token with
/// something else.
pub fn specification(run: &Run, kind: ResourceType, name: &str) -> TagSpecification {
    let tags = run.tags(name).into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
}

/// The same with the time, for what is claimed when it is made.
pub fn dated(run: &Run, kind: ResourceType, name: &str) -> TagSpecification {
    let TagSpecification { resource_type, tags, .. } = specification(run, kind, name);
    let tags = tags.unwrap_or_default().into_iter().chain([claim::made(run, name)]);
    TagSpecification::builder().set_resource_type(resource_type).set_tags(Some(tags.collect())).build()
}

/// The same for all attempts at one call, and never again: AWS may give the same answer to the same token also when the thing is gone.
pub fn token(run: &Run, name: &str) -> String {
    shared::name::fingerprint(&format!("{} {name} {:?}", run.app, std::time::SystemTime::now()))
}

/// What `specification` writes, as filters.
pub fn ours(run: &Run) -> Vec<Filter> {
    vec![filter(&format!("tag:{TAG_APP}"), &run.app), filter(&format!("tag:{TAG_STAGE}"), "net-up")]
}

pub fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

pub fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (tag.key(), tag.value())
}

impl NetUp {
    /// What is there stays, with the tags that it should have.
    pub async fn keep(&self, run: &Run, kind: &str, name: &str, id: &str, tags: &[Tag]) -> Result<Option<String>> {
        run.found(kind, id);
        let put = async |missing: Vec<(String, String)>| {
            let missing = missing.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
            self.ec2.create_tags().resources(id).set_tags(Some(missing)).send().await.tried(format!("tag the {kind} {id}")).map(drop)
        };
        run.settle_tags(kind, id, run.tags(name), tags.iter().map(pair), put).await?;
        Ok(Some(id.to_owned()))
    }
}
