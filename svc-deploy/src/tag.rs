//! The tags of load balancers and their parts, and of what is ECS's.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::Tag as EcsTag;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::Tag;
use shared::{Result, Run, Tried};

use crate::SvcDeploy;

pub async fn of(elb: &Client, arn: &str) -> Result<Vec<Tag>> {
    let said = elb.describe_tags().resource_arns(arn).send().await.tried(format!("read the tags of {arn}"))?;
    Ok(said.tag_descriptions().first().map(|one| one.tags().to_vec()).unwrap_or_default())
}

pub fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (tag.key(), tag.value())
}

pub fn tags(run: &Run, name: &str) -> Vec<Tag> {
    aws_tags(run.tags(name))
}

fn aws_tags(tags: Vec<(String, String)>) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// How many ARNs one call of `DescribeTags` takes.
const AT_ONCE: usize = 20;

/// Of these target groups, listeners or rules, the ARNs of those that this tool made for the app.
pub async fn ours(elb: &Client, run: &Run, arns: Vec<String>) -> Result<BTreeSet<String>> {
    let mut ours = BTreeSet::new();
    for some in arns.chunks(AT_ONCE) {
        let said =
            elb.describe_tags().set_resource_arns(Some(some.to_vec())).send().await.tried("read the tags of parts of the load balancer")?;
        let tagged = said.tag_descriptions().iter().filter(|one| run.is_ours(one.tags().iter().map(pair)));
        ours.extend(tagged.filter_map(|one| one.resource_arn().map(str::to_owned)));
    }
    Ok(ours)
}

impl SvcDeploy {
    /// Of a load balancer, listener or target group.
    pub async fn keep_tags(&self, run: &Run, kind: &str, name: &str, arn: &str, found: &[Tag]) -> Result<()> {
        run.settle_tags(kind, arn, run.tags(name), found.iter().map(pair), async |missing| {
            let call = self.elb.add_tags().resource_arns(arn).set_tags(Some(aws_tags(missing)));
            call.send().await.tried(format!("tag the {kind} {arn}")).map(drop)
        })
        .await
    }

    /// Of a service or task definition.
    pub async fn keep_ecs_tags(&self, run: &Run, kind: &str, arn: &str, wanted: Vec<(String, String)>, found: &[EcsTag]) -> Result<()> {
        run.settle_tags(kind, arn, wanted, found.iter().map(|tag| (tag.key(), tag.value())), async |missing| {
            let missing = missing.into_iter().map(|(key, value)| EcsTag::builder().key(key).value(value).build()).collect();
            self.ecs.tag_resource().resource_arn(arn).set_tags(Some(missing)).send().await.tried(format!("tag the {kind} {arn}")).map(drop)
        })
        .await
    }
}
