//! The tags of load balancers, listeners, rules and target groups.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::Tag;
use shared::owner::TAG_NAME;
use shared::{Result, Run, Tried};

use crate::SvcDeploy;

shared::tagging!(aws_sdk_elasticloadbalancingv2::types::Tag);

/// ARNs that one call of `DescribeTags` takes.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html>
const ARNS_A_CALL: usize = 20;

pub async fn find(elb: &Client, arn: &str) -> Result<Vec<Tag>> {
    let said = elb.describe_tags().resource_arns(arn).send().await.tried(format!("read the tags of {arn}"))?;
    Ok(said.tag_descriptions().first().map(|one| one.tags().to_vec()).unwrap_or_default())
}

/// Returns the tags that a new resource gets.
pub fn new(run: &Run, name: &str) -> Vec<Tag> {
    aws_tags(run.tags(name))
}

/// Returns those of these ARNs that svc-deploy created for the app, with the names of their services.
pub async fn ours(elb: &Client, run: &Run, arns: Vec<String>) -> Result<BTreeMap<String, String>> {
    let mut ours = BTreeMap::new();
    for some in arns.chunks(ARNS_A_CALL) {
        let call = elb.describe_tags().set_resource_arns(Some(some.to_vec()));
        let said = call.send().await.tried("read the tags of parts of the load balancer")?;
        let tagged = said.tag_descriptions().iter().filter(|one| run.is_ours(one.tags().iter().map(pair)));
        let name = |tags: &[Tag]| tags.iter().find(|tag| tag.key() == Some(TAG_NAME)).and_then(Tag::value).unwrap_or_default().to_owned();
        ours.extend(tagged.filter_map(|one| Some((one.resource_arn()?.to_owned(), name(one.tags())))));
    }
    Ok(ours)
}

impl SvcDeploy {
    /// Sets the tags that a found load balancer, listener or target group lacks.
    pub async fn settle_elb_tags(&self, run: &Run, kind: &str, name: &str, arn: &str, found: &[Tag]) -> Result<()> {
        run.settle_tags(
            kind,
            arn,
            run.tags(name),
            found.iter().map(pair),
            async |missing| self.elb.add_tags().resource_arns(arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.elb.remove_tags().resource_arns(arn).set_tag_keys(Some(left)).send().await,
        )
        .await
    }
}
