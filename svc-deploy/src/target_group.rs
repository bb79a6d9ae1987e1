//! The target groups, one a published service: where its tasks are, and whether they are well.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Matcher, ProtocolEnum, Tag, TargetGroup, TargetGroupAttribute};
use futures_util::future::try_join_all;
use futures_util::try_join;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::doc::At;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::while_held;
use shared::{Diff, Error, Result, Run, Tried};

use crate::compose::{Published, Service};
use crate::wish::Wanted;
use crate::{SvcDeploy, tag};

/// By name.
pub type Found = BTreeMap<String, FoundGroup>;

pub struct FoundGroup {
    pub group: TargetGroup,
    ours: bool,
    tags: Vec<Tag>,
    attributes: Vec<TargetGroupAttribute>,
}

/// ELB's limit for names.
const LONGEST: usize = 32;
/// Seconds that a task which stops may still answer what it has taken. AWS's five minutes make every deployment as slow.
/// <https://docs.aws.amazon.com/AmazonECS/latest/bestpracticesguide/load-balancer-connection-draining.html>
const DRAIN: &str = "30";

/// What a target group is to be, in AWS's own words, so that `x-svc.patch.target_group` can change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Shape {
    pub port: i32,
    pub protocol: String,
    pub protocol_version: String,
    pub target_type: String,
    pub health_check_protocol: Option<String>,
    pub health_check_port: Option<String>,
    pub health_check_path: String,
    pub health_check_interval_seconds: i32,
    pub health_check_timeout_seconds: i32,
    pub healthy_threshold_count: i32,
    pub unhealthy_threshold_count: i32,
    pub matcher: Codes,
    pub attributes: BTreeMap<String, String>,
}

/// What a healthy target answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Codes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_code: Option<String>,
}

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html>
pub fn attributes() -> BTreeMap<String, String> {
    BTreeMap::from([("deregistration_delay.timeout_seconds".to_owned(), DRAIN.to_owned())])
}

impl Shape {
    pub fn patched(&self, patch: &At<'_>) -> Result<Self> {
        let mut shape = serde_json::to_value(self).map_err(|error| Error::Failed(error.to_string()))?;
        // gRPC has codes of its own, and ELB takes no others; these are its default for HTTP's success.
        if patch.value()["ProtocolVersion"] == "GRPC" {
            shape["Matcher"] = json!({"GrpcCode": "0-99"});
        }
        json_patch::merge(&mut shape, patch.value());
        serde_json::from_value(shape).map_err(|error| patch.wrong(error.to_string()))
    }
}

/// What can't be changed in a target group is part of its name: another one is made beside it.
pub fn name(run: &Run, service: &Service, published: &Published) -> String {
    let Shape { port, protocol, protocol_version, target_type, .. } = &published.target_group;
    let fixed = shared::name::fingerprint(&format!("{port} {protocol} {protocol_version} {target_type}"));
    shared::name::fit(&[&run.app, &service.name, &fixed[..6]], LONGEST)
}

/// Building up, those of the services; taking down, all of the app's.
pub async fn find(elb: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let Some(wanted) = wanted else { return all(elb, run).await };
    let names = wanted.selected_published().map(|(service, published)| name(run, service, published));
    let found = try_join_all(names.map(|name| one(elb, run, name))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn one(elb: &Client, run: &Run, name: String) -> Result<Option<(String, FoundGroup)>> {
    let said = if_found(elb.describe_target_groups().names(&name).send().await.tried(format!("look for the target group {name}")))?;
    let Some(group) = said.and_then(|said| said.target_groups().first().cloned()) else { return Ok(None) };
    let arn = given(group.target_group_arn(), "the target group's ARN")?;
    let attributes =
        async { elb.describe_target_group_attributes().target_group_arn(&arn).send().await.tried(format!("read the attributes of {arn}")) };
    let (tags, attributes) = try_join!(tag::of(elb, &arn), attributes)?;
    let ours = run.is_ours(tags.iter().map(tag::pair));
    Ok(Some((name, FoundGroup { group, ours, tags, attributes: attributes.attributes().to_vec() })))
}

async fn all(elb: &Client, run: &Run) -> Result<Found> {
    let items = elb.describe_target_groups().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let prefix = run.named("");
    let groups: Vec<TargetGroup> = items
        .tried("look for the target groups")?
        .into_iter()
        .filter(|group| group.target_group_name().is_some_and(|name| name.starts_with(&prefix)))
        .collect();
    let arns = groups.iter().filter_map(|group| group.target_group_arn().map(str::to_owned)).collect();
    let ours = tag::ours(elb, run, arns).await?;
    let of_us = groups.into_iter().filter(|group| group.target_group_arn().is_some_and(|arn| ours.contains(arn)));
    let named = |group: TargetGroup| {
        (
            group.target_group_name().unwrap_or_default().to_owned(),
            FoundGroup { group, ours: true, tags: Vec::new(), attributes: Vec::new() },
        )
    };
    Ok(of_us.map(named).collect())
}

impl SvcDeploy {
    /// A service that this run does not deploy keeps the one in its record.
    pub async fn target_groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.selected_published(), async |(service, published)| {
            let name = name(run, service, published);
            let found = self.found.target_groups.get(&name);
            if found.is_some_and(|found| !found.ours) {
                return Err(run.foreign("target group", &name));
            }
            if let Some(found) = found {
                check_balancer(run, wanted, &name, &found.group)?;
            }
            if found.is_some_and(|found| wanted.net.vpc_id.is_some() && found.group.vpc_id() != wanted.net.vpc_id.as_deref()) {
                return Err(Error::document("net.vpc_id", format!("the target group {name} is in another VPC, and can't be moved: take the services down first (svc-deploy --down --app {})", run.app)));
            }
            let arn = match found.and_then(|found| found.group.target_group_arn()) {
                Some(arn) => {
                    run.found("target group", arn);
                    Some(arn.to_owned())
                }
                None => run.create("target group", &name, self.create_target_group(run, wanted, service, &published.target_group, &name)).await?,
            };
            self.record(&service.name, |record| {
                record.published = true;
                record.target_group_arn.clone_from(&arn);
            });
            Ok(())
        })
        .await
        .map(drop)
    }

    pub async fn settle_target_groups(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.selected_published(), async |(service, published)| {
            let arn = self.svc.borrow().services.get(&service.name).and_then(|record| record.target_group_arn.clone());
            let name = name(run, service, published);
            if let Some((found, arn)) = self.found.target_groups.get(&name).zip(arn.as_deref()) {
                self.keep_tags(run, "target group", &service.name, arn, &found.tags).await?;
            }
            self.settle_target_group(run, &name, &published.target_group, arn).await
        })
        .await
        .map(drop)
    }

    async fn create_target_group(&self, run: &Run, wanted: &Wanted, service: &Service, shape: &Shape, name: &str) -> Result<String> {
        let call = self.elb.create_target_group().name(name).set_vpc_id(wanted.net.vpc_id.clone()).port(shape.port);
        let call = call.protocol(shape.protocol.as_str().into()).protocol_version(&shape.protocol_version);
        let call = call.set_health_check_protocol(shape.health_check_protocol.as_deref().map(Into::into));
        let call = call.set_health_check_port(shape.health_check_port.clone());
        let call = call.target_type(shape.target_type.as_str().into()).health_check_path(&shape.health_check_path).matcher(matcher(shape));
        let call = call.health_check_interval_seconds(shape.health_check_interval_seconds);
        let call = call.health_check_timeout_seconds(shape.health_check_timeout_seconds);
        let call = call.healthy_threshold_count(shape.healthy_threshold_count).unhealthy_threshold_count(shape.unhealthy_threshold_count);
        let made = call.set_tags(Some(tag::tags(run, &service.name))).send().await.tried(format!("create the target group {name}"))?;
        given(made.target_groups().first().and_then(TargetGroup::target_group_arn), "the new target group's ARN")
    }

    async fn settle_target_group(&self, run: &Run, name: &str, shape: &Shape, arn: Option<String>) -> Result<()> {
        // In a plan of a new target group there is nothing to compare.
        let Some(arn) = arn else { return Ok(()) };
        let found = self.found.target_groups.get(name);
        if let Some(found) = found {
            self.settle_health(run, name, shape, &arn, &found.group).await?;
        }
        let was = |key: &str| {
            let attributes = found.map(|found| found.attributes.as_slice()).unwrap_or_default();
            attributes.iter().find(|one| one.key() == Some(key)).and_then(TargetGroupAttribute::value)
        };
        let diff = shape.attributes.iter().fold(Diff::new(), |diff, (key, value)| diff.field(key, was(key), Some(value.as_str())));
        run.change("target group", name, &diff, async {
            let attributes = shape.attributes.iter().map(|(key, value)| TargetGroupAttribute::builder().key(key).value(value).build());
            let call = self.elb.modify_target_group_attributes().target_group_arn(&arn).set_attributes(Some(attributes.collect()));
            call.send().await.tried(format!("change the attributes of {name}")).map(drop)
        })
        .await
    }

    async fn settle_health(&self, run: &Run, name: &str, shape: &Shape, arn: &str, found: &TargetGroup) -> Result<()> {
        let codes = found.matcher();
        let diff = Diff::new()
            .field(
                "HealthCheckProtocol",
                found.health_check_protocol().map(ProtocolEnum::as_str),
                shape.health_check_protocol.as_deref().or(found.health_check_protocol().map(ProtocolEnum::as_str)),
            )
            .field("HealthCheckPort", found.health_check_port(), shape.health_check_port.as_deref().or(found.health_check_port()))
            .field("HealthCheckPath", found.health_check_path(), Some(shape.health_check_path.as_str()))
            .field("Matcher.HttpCode", codes.and_then(Matcher::http_code), shape.matcher.http_code.as_deref())
            .field("Matcher.GrpcCode", codes.and_then(Matcher::grpc_code), shape.matcher.grpc_code.as_deref())
            .field("HealthCheckIntervalSeconds", found.health_check_interval_seconds(), Some(shape.health_check_interval_seconds))
            .field("HealthCheckTimeoutSeconds", found.health_check_timeout_seconds(), Some(shape.health_check_timeout_seconds))
            .field("HealthyThresholdCount", found.healthy_threshold_count(), Some(shape.healthy_threshold_count))
            .field("UnhealthyThresholdCount", found.unhealthy_threshold_count(), Some(shape.unhealthy_threshold_count));
        run.change("target group", name, &diff, async {
            let call =
                self.elb.modify_target_group().target_group_arn(arn).health_check_path(&shape.health_check_path).matcher(matcher(shape));
            let call = call.set_health_check_protocol(shape.health_check_protocol.as_deref().map(Into::into));
            let call = call.set_health_check_port(shape.health_check_port.clone());
            let call = call.health_check_interval_seconds(shape.health_check_interval_seconds);
            let call = call.health_check_timeout_seconds(shape.health_check_timeout_seconds);
            let call = call.healthy_threshold_count(shape.healthy_threshold_count);
            let call = call.unhealthy_threshold_count(shape.unhealthy_threshold_count);
            call.send().await.tried(format!("change the health check of {name}")).map(drop)
        })
        .await
    }

    pub async fn target_groups_down(&self, run: &Run) -> Result<()> {
        each(self.found.target_groups.iter().filter(|(_, found)| found.ours), async |(name, found)| {
            let arn = given(found.group.target_group_arn(), "the target group's ARN")?;
            // A deleted load balancer lets go of its target groups a moment later.
            let held = |error: &Error| error.is_code("ResourceInUse");
            let delete = while_held(run, "the load balancer to let go of its target groups", held, async || {
                self.elb
                    .delete_target_group()
                    .target_group_arn(&arn)
                    .send()
                    .await
                    .tried(format!("delete the target group {name}"))
                    .map(drop)
            });
            run.delete("target group", name, delete).await
        })
        .await
        .map(drop)
    }
}

/// A target group belongs to one load balancer, so a service can't go from our own to an adopted one, or back, in place.
fn check_balancer(run: &Run, wanted: &Wanted, name: &str, group: &TargetGroup) -> Result<()> {
    let own = format!(":loadbalancer/app/{}/", run.app);
    let fits = |arn: &String| wanted.alb.as_ref().map_or_else(|| arn.contains(&own), |alb| alb == arn);
    match group.load_balancer_arns().iter().find(|arn| !fits(arn)) {
        Some(other) => Err(Error::document(
            "x-svc.alb",
            format!(
                "the target group {name} belongs to the load balancer {other}: take the services down first (svc-deploy --down --app {})",
                run.app
            ),
        )),
        None => Ok(()),
    }
}

fn matcher(shape: &Shape) -> Matcher {
    Matcher::builder().set_http_code(shape.matcher.http_code.clone()).set_grpc_code(shape.matcher.grpc_code.clone()).build()
}
