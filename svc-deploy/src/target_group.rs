//! The target groups, one a published service: where its tasks are, and whether they are well.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Matcher, ProtocolEnum, TargetGroup, TargetGroupAttribute, TargetTypeEnum};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::compose::{NetworkMode, Published, Service};
use crate::wish::Wanted;
use crate::{SvcDeploy, load_balancer};

/// By name.
pub type Found = BTreeMap<String, FoundGroup>;

pub struct FoundGroup {
    group: TargetGroup,
    ours: bool,
    attributes: Vec<TargetGroupAttribute>,
}

/// ELB's limit for names.
const LONGEST: usize = 32;
/// Seconds that a task which stops may still answer what it has taken. AWS's five minutes make every deployment as slow.
/// <https://docs.aws.amazon.com/AmazonECS/latest/bestpracticesguide/load-balancer-connection-draining.html>
const DRAIN: &str = "30";
/// Port and kind of target of a target group can't be changed, so they are part of its name: another one is made beside it.
pub fn name(run: &Run, service: &Service, published: &Published) -> String {
    let fixed = shared::name::fingerprint(&format!("{} {}", published.port, kind(service)));
    shared::name::fit(&[&run.app, &service.name, &fixed[..6]], LONGEST)
}

/// Tasks with a network interface of their own are addressed by it, others by their instance.
fn kind(service: &Service) -> TargetTypeEnum {
    if service.network_mode == NetworkMode::Awsvpc { TargetTypeEnum::Ip } else { TargetTypeEnum::Instance }
}

/// Building up, those of the services; taking down, all of the app's.
pub async fn find(elb: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let Some(wanted) = wanted else { return all(elb, run).await };
    let names = wanted.published().map(|(service, published)| name(run, service, published));
    let found = try_join_all(names.map(|name| one(elb, run, name))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn one(elb: &Client, run: &Run, name: String) -> Result<Option<(String, FoundGroup)>> {
    let said = if_found(elb.describe_target_groups().names(&name).send().await.tried(format!("look for the target group {name}")))?;
    let Some(group) = said.and_then(|said| said.target_groups().first().cloned()) else { return Ok(None) };
    let arn = given(group.target_group_arn(), "the target group's ARN")?;
    let tags = async { elb.describe_tags().resource_arns(&arn).send().await.tried(format!("read the tags of {arn}")) };
    let attributes =
        async { elb.describe_target_group_attributes().target_group_arn(&arn).send().await.tried(format!("read the attributes of {arn}")) };
    let (tags, attributes) = try_join!(tags, attributes)?;
    let ours = tags.tag_descriptions().iter().any(|one| run.is_ours(one.tags().iter().map(|tag| (tag.key(), tag.value()))));
    Ok(Some((name, FoundGroup { group, ours, attributes: attributes.attributes().to_vec() })))
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
    let ours = load_balancer::ours(elb, run, arns).await?;
    let of_us = groups.into_iter().filter(|group| group.target_group_arn().is_some_and(|arn| ours.contains(arn)));
    let named = |group: TargetGroup| {
        (group.target_group_name().unwrap_or_default().to_owned(), FoundGroup { group, ours: true, attributes: Vec::new() })
    };
    Ok(of_us.map(named).collect())
}

impl SvcDeploy {
    pub async fn target_groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.published(), async |(service, published)| {
            let name = name(run, service, published);
            let found = self.found.target_groups.get(&name);
            if found.is_some_and(|found| !found.ours) {
                return Err(run.foreign("target group", &name));
            }
            if found.is_some_and(|found| wanted.net.vpc_id.is_some() && found.group.vpc_id() != wanted.net.vpc_id.as_deref()) {
                return Err(Error::document("net.vpc_id", format!("the target group {name} is in another VPC, and can't be moved: take the services down first (svc-deploy --down --app {})", run.app)));
            }
            let arn = match found.and_then(|found| found.group.target_group_arn()) {
                Some(arn) => {
                    run.found("target group", arn);
                    Some(arn.to_owned())
                }
                None => run.create("target group", &name, self.create_target_group(run, wanted, service, published, &name)).await?,
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
        each(wanted.published(), async |(service, published)| {
            let arn = self.svc.borrow().services.get(&service.name).and_then(|record| record.target_group_arn.clone());
            self.settle_target_group(run, &name(run, service, published), published, arn).await
        })
        .await
        .map(drop)
    }

    async fn create_target_group(
        &self,
        run: &Run,
        wanted: &Wanted,
        service: &Service,
        published: &Published,
        name: &str,
    ) -> Result<String> {
        let health = &published.health;
        let call = self.elb.create_target_group().name(name).protocol(ProtocolEnum::Http).port(published.port).target_type(kind(service));
        let call = call.set_vpc_id(wanted.net.vpc_id.clone()).health_check_path(&health.path).matcher(matcher(published));
        let call = call.health_check_interval_seconds(health.interval).health_check_timeout_seconds(health.timeout);
        let call = call.healthy_threshold_count(health.healthy).unhealthy_threshold_count(health.unhealthy);
        let made =
            call.set_tags(Some(load_balancer::tags(run, &service.name))).send().await.tried(format!("create the target group {name}"))?;
        given(made.target_groups().first().and_then(TargetGroup::target_group_arn), "the new target group's ARN")
    }

    async fn settle_target_group(&self, run: &Run, name: &str, published: &Published, arn: Option<String>) -> Result<()> {
        // In a plan of a new target group there is nothing to compare.
        let Some(arn) = arn else { return Ok(()) };
        let (found, health) = (self.found.target_groups.get(name), &published.health);
        if let Some(group) = found.map(|found| &found.group) {
            let diff = Diff::new()
                .field("health.path", group.health_check_path(), Some(health.path.as_str()))
                .field("health.codes", group.matcher().and_then(Matcher::http_code), Some(health.codes.as_str()))
                .field("health.interval", group.health_check_interval_seconds(), Some(health.interval))
                .field("health.timeout", group.health_check_timeout_seconds(), Some(health.timeout))
                .field("health.healthy", group.healthy_threshold_count(), Some(health.healthy))
                .field("health.unhealthy", group.unhealthy_threshold_count(), Some(health.unhealthy));
            run.change("target group", name, &diff, async {
                let call =
                    self.elb.modify_target_group().target_group_arn(&arn).health_check_path(&health.path).matcher(matcher(published));
                let call = call.health_check_interval_seconds(health.interval).health_check_timeout_seconds(health.timeout);
                let call = call.healthy_threshold_count(health.healthy).unhealthy_threshold_count(health.unhealthy);
                call.send().await.tried(format!("change the health check of {name}")).map(drop)
            })
            .await?;
        }
        let key = "deregistration_delay.timeout_seconds";
        let was = found.and_then(|found| found.attributes.iter().find(|one| one.key() == Some(key))).and_then(TargetGroupAttribute::value);
        let diff = Diff::new().field(key, was, Some(DRAIN));
        run.change("target group", name, &diff, async {
            let attribute = TargetGroupAttribute::builder().key(key).value(DRAIN).build();
            self.elb
                .modify_target_group_attributes()
                .target_group_arn(&arn)
                .attributes(attribute)
                .send()
                .await
                .tried(format!("change the attributes of {name}"))
                .map(drop)
        })
        .await
    }

    pub async fn target_groups_down(&self, run: &Run) -> Result<()> {
        each(self.found.target_groups.iter().filter(|(_, found)| found.ours), async |(name, found)| {
            let arn = given(found.group.target_group_arn(), "the target group's ARN")?;
            // A deleted load balancer lets go of its target groups a moment later.
            let held = |error: &Error| error.is_code("ResourceInUse");
            let delete = while_not_yet(run, "the load balancer to let go of its target groups", held, async || {
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

fn matcher(published: &Published) -> Matcher {
    Matcher::builder().http_code(&published.health.codes).build()
}
