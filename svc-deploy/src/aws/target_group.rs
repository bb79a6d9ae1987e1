//! The target groups, one for each published service: the addresses of its tasks, and their health.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html>

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Matcher, ProtocolEnum, Tag, TargetGroup, TargetGroupAttribute};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::while_held;
use shared::{Diff, Error, Result, Run, Tried};

use super::elb_default::{OF_TARGET_GROUPS, with_defaults};
use super::tag;
use crate::SvcDeploy;
use crate::model::{Published, Service, TargetGroupShape, Wanted};

/// By name.
pub type Found = BTreeMap<String, FoundGroup>;

pub struct FoundGroup {
    pub group: TargetGroup,
    pub ours: bool,
    tags: Vec<Tag>,
    attributes: Vec<TargetGroupAttribute>,
}

/// What the health check is where nobody sets it, with HTTP and with gRPC.
const DEFAULT_CHECKS: &[&str] = &["HTTP traffic-port / 200-399 5", "HTTP traffic-port / 0-99 5"];
/// Characters of a target group's name.
const LONGEST: usize = 32;

/// Returns the name. A hash is part of it of what can't be changed in a target group, so that another one is created beside it. So is what a healthy
/// target answers: tasks of the old revision may not answer the new check, and would be stopped before the new ones are healthy.
pub fn name(app: &str, service: &str, shape: &TargetGroupShape) -> String {
    let TargetGroupShape { port, protocol, protocol_version, target_type, .. } = shape;
    let TargetGroupShape { health_check_path, health_check_timeout_seconds, matcher, .. } = shape;
    let (check_protocol, check_port) = health_check_place(shape);
    let codes = matcher.http_code.as_ref().or(matcher.grpc_code.as_ref()).map_or("", String::as_str);
    let check = format!("{check_protocol} {check_port} {health_check_path} {codes} {health_check_timeout_seconds}");
    // The names of groups with the default check are those that earlier versions gave them.
    let check = if DEFAULT_CHECKS.contains(&check.as_str()) { String::new() } else { format!(" {check}") };
    let fixed = shared::name::fingerprint(&format!("{port} {protocol} {protocol_version} {target_type}{check}"));
    shared::name::fit(&[app, service, &fixed[..6]], LONGEST)
}

/// Returns the names of those of the services that this run deploys.
pub fn names(app: &str, wanted: &Wanted) -> Vec<String> {
    wanted.selected_published().map(|(service, published)| name(app, &service.name, &published.target_group)).collect()
}

/// Finds those of the services that this run deploys, or with `--down` all of the app.
pub async fn find(elb: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let Some(wanted) = wanted else { return all(elb, run).await };
    let found = try_join_all(names(&run.app, wanted).into_iter().map(|name| one(elb, run, name))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn one(elb: &Client, run: &Run, name: String) -> Result<Option<(String, FoundGroup)>> {
    let said = if_found(elb.describe_target_groups().names(&name).send().await.tried(format!("read the target group {name}")))?;
    let Some(group) = said.and_then(|said| said.target_groups().first().cloned()) else { return Ok(None) };
    let arn = given(group.target_group_arn(), "the ARN of the target group")?;
    let attributes =
        async { elb.describe_target_group_attributes().target_group_arn(&arn).send().await.tried(format!("read the attributes of {arn}")) };
    let (tags, attributes) = try_join!(tag::find(elb, &arn), attributes)?;
    let ours = run.is_ours(tags.iter().map(tag::pair));
    Ok(Some((name, FoundGroup { group, ours, tags, attributes: attributes.attributes().to_vec() })))
}

async fn all(elb: &Client, run: &Run) -> Result<Found> {
    let mut groups: Vec<TargetGroup> = shared::pages!(elb.describe_target_groups(), "list the target groups")?;
    let prefix = run.named("");
    groups.retain(|group| group.target_group_name().is_some_and(|name| name.starts_with(&prefix)));
    let arns = groups.iter().filter_map(|group| group.target_group_arn().map(str::to_owned)).collect();
    let ours = tag::ours(elb, run, arns).await?;
    groups.retain(|group| group.target_group_arn().is_some_and(|arn| ours.contains_key(arn)));
    let named = |group: TargetGroup| {
        let name = group.target_group_name().unwrap_or_default().to_owned();
        (name, FoundGroup { group, ours: true, tags: Vec::new(), attributes: Vec::new() })
    };
    Ok(groups.into_iter().map(named).collect())
}

impl SvcDeploy {
    /// A service that this run does not deploy keeps the target group of its record.
    pub async fn target_groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.selected_published(), async |(service, published)| {
            let arn = self.target_group_up(run, wanted, service, published).await?;
            self.record(&service.name, |record| {
                record.published = true;
                record.target_group_arn = arn;
            });
            Ok(())
        })
        .await
        .map(drop)
    }

    async fn target_group_up(&self, run: &Run, wanted: &Wanted, service: &Service, published: &Published) -> Result<Option<String>> {
        let name = name(&run.app, &service.name, &published.target_group);
        let Some(found) = self.found.target_groups.get(&name) else {
            return run.create("target group", &name, self.create_target_group(run, wanted, service, &published.target_group, &name)).await;
        };
        if !found.ours {
            return Err(run.unmanaged("target group", &name));
        }
        check_place(run, wanted, &name, &found.group)?;
        let arn = given(found.group.target_group_arn(), "the ARN of the target group")?;
        run.found("target group", &arn);
        Ok(Some(arn))
    }

    async fn create_target_group(
        &self,
        run: &Run,
        wanted: &Wanted,
        service: &Service,
        shape: &TargetGroupShape,
        name: &str,
    ) -> Result<String> {
        let call = self.elb.create_target_group().name(name).set_vpc_id(wanted.net.vpc_id.clone()).port(shape.port);
        let call = call.protocol(shape.protocol.as_str().into()).protocol_version(&shape.protocol_version);
        let (check_protocol, check_port) = health_check_place(shape);
        let call = call.health_check_protocol(check_protocol.into()).health_check_port(check_port);
        let call = call.target_type(shape.target_type.as_str().into()).health_check_path(&shape.health_check_path).matcher(matcher(shape));
        let call = call.health_check_interval_seconds(shape.health_check_interval_seconds);
        let call = call.health_check_timeout_seconds(shape.health_check_timeout_seconds);
        let call = call.healthy_threshold_count(shape.healthy_threshold_count).unhealthy_threshold_count(shape.unhealthy_threshold_count);
        let made = call.set_tags(Some(tag::new(run, &service.name))).send().await.tried(format!("create the target group {name}"))?;
        given(made.target_groups().first().and_then(TargetGroup::target_group_arn), "the ARN of the new target group")
    }

    pub async fn settle_target_groups(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.selected_published(), async |(service, published)| {
            // Without an ARN a new one is planned, which has nothing to compare.
            let Some(arn) = self.recorded(&service.name).target_group_arn else { return Ok(()) };
            let (name, shape) = (name(&run.app, &service.name, &published.target_group), &published.target_group);
            if let Some(found) = self.found.target_groups.get(&name) {
                self.settle_elb_tags(run, "target group", &service.name, &arn, &found.tags).await?;
                self.settle_health_check(run, &name, shape, &arn, &found.group).await?;
            }
            self.settle_target_group_attributes(run, &name, shape, &arn).await
        })
        .await
        .map(drop)
    }

    async fn settle_health_check(&self, run: &Run, name: &str, shape: &TargetGroupShape, arn: &str, found: &TargetGroup) -> Result<()> {
        run.change("target group", name, &health_check_diff(shape, found), async {
            let call = self.elb.modify_target_group().target_group_arn(arn).health_check_path(&shape.health_check_path);
            let (check_protocol, check_port) = health_check_place(shape);
            let call = call.health_check_protocol(check_protocol.into()).health_check_port(check_port).matcher(matcher(shape));
            let call = call.health_check_interval_seconds(shape.health_check_interval_seconds);
            let call = call.health_check_timeout_seconds(shape.health_check_timeout_seconds);
            let call = call.healthy_threshold_count(shape.healthy_threshold_count);
            let call = call.unhealthy_threshold_count(shape.unhealthy_threshold_count);
            call.send().await.tried(format!("update the health check of the target group {name}")).map(drop)
        })
        .await
    }

    async fn settle_target_group_attributes(&self, run: &Run, name: &str, shape: &TargetGroupShape, arn: &str) -> Result<()> {
        let found = self.found.target_groups.get(name).map(|found| found.attributes.as_slice()).unwrap_or_default();
        let was = |key: &str| found.iter().find(|one| one.key() == Some(key)).and_then(TargetGroupAttribute::value);
        let wanted = shape.attributes.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let attributes = with_defaults(wanted, OF_TARGET_GROUPS, was);
        let diff = attributes.iter().fold(Diff::new(), |diff, (key, value)| diff.field(key, was(key), Some(value.as_str())));
        run.change("target group", name, &diff, async {
            let attributes = attributes.iter().map(|(key, value)| TargetGroupAttribute::builder().key(*key).value(value).build());
            let call = self.elb.modify_target_group_attributes().target_group_arn(arn).set_attributes(Some(attributes.collect()));
            call.send().await.tried(format!("update the attributes of the target group {name}")).map(drop)
        })
        .await
    }

    pub async fn target_groups_down(&self, run: &Run, found: &Found) -> Result<()> {
        each(found.iter().filter(|(_, found)| found.ours), async |(name, found)| {
            let arn = given(found.group.target_group_arn(), "the ARN of the target group")?;
            // A deleted load balancer releases its target groups a moment later.
            let held = |error: &Error| error.is_code("ResourceInUse");
            let delete = while_held(run, "the load balancer to release its target groups", held, async || {
                let call = self.elb.delete_target_group().target_group_arn(&arn);
                call.send().await.tried(format!("delete the target group {name}")).map(drop)
            });
            run.delete("target group", name, delete).await
        })
        .await
        .map(drop)
    }
}

/// A target group can't move to another load balancer or VPC. So a change between our own load balancer and an adopted one needs a new start.
fn check_place(run: &Run, wanted: &Wanted, name: &str, group: &TargetGroup) -> Result<()> {
    let advice = format!("Run `svc-deploy --down --app {}` and deploy again", run.app);
    let own = format!(":loadbalancer/app/{}/", run.app);
    let fits = |arn: &String| wanted.alb.as_ref().map_or_else(|| arn.contains(&own), |alb| alb == arn);
    if let Some(other) = group.load_balancer_arns().iter().find(|arn| !fits(arn)) {
        return Err(Error::document(
            "target-group-of-another-load-balancer",
            "x-svc.alb",
            format!("the target group {name} belongs to the load balancer {other}, and AWS can't move it. {advice}"),
        ));
    }
    match wanted.net.vpc_id.as_deref().filter(|vpc| group.vpc_id() != Some(vpc)) {
        Some(_) => Err(Error::document(
            "target-group-in-another-vpc",
            "net.vpc_id",
            format!("the target group {name} is in {}, and AWS can't move it. {advice}", group.vpc_id().unwrap_or("no VPC")),
        )),
        None => Ok(()),
    }
}

/// Returns protocol and port of the health check. AWS's defaults are sent as well, so that they are set again when a patch is removed.
fn health_check_place(shape: &TargetGroupShape) -> (&str, &str) {
    (shape.health_check_protocol.as_deref().unwrap_or("HTTP"), shape.health_check_port.as_deref().unwrap_or("traffic-port"))
}

fn health_check_diff(shape: &TargetGroupShape, found: &TargetGroup) -> Diff {
    let (protocol, port, codes) = (found.health_check_protocol().map(ProtocolEnum::as_str), found.health_check_port(), found.matcher());
    let (check_protocol, check_port) = health_check_place(shape);
    Diff::new()
        .field("HealthCheckProtocol", protocol, Some(check_protocol))
        .field("HealthCheckPort", port, Some(check_port))
        .field("HealthCheckPath", found.health_check_path(), Some(shape.health_check_path.as_str()))
        .field("Matcher.HttpCode", codes.and_then(Matcher::http_code), shape.matcher.http_code.as_deref())
        .field("Matcher.GrpcCode", codes.and_then(Matcher::grpc_code), shape.matcher.grpc_code.as_deref())
        .field("HealthCheckIntervalSeconds", found.health_check_interval_seconds(), Some(shape.health_check_interval_seconds))
        .field("HealthCheckTimeoutSeconds", found.health_check_timeout_seconds(), Some(shape.health_check_timeout_seconds))
        .field("HealthyThresholdCount", found.healthy_threshold_count(), Some(shape.healthy_threshold_count))
        .field("UnhealthyThresholdCount", found.unhealthy_threshold_count(), Some(shape.unhealthy_threshold_count))
}

fn matcher(shape: &TargetGroupShape) -> Matcher {
    Matcher::builder().set_http_code(shape.matcher.http_code.clone()).set_grpc_code(shape.matcher.grpc_code.clone()).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;
    use crate::model::Codes;

    #[test]
    fn what_can_not_be_changed_and_what_is_healthy_changes_the_name() {
        let named = |change: fn(&mut TargetGroupShape)| {
            let mut shape = samples::target_group();
            change(&mut shape);
            name("shop", "web", &shape)
        };
        let same = named(|_| {});
        assert!(same.starts_with("shop-web-") && same.len() == "shop-web-".len() + 6, "{same}");
        for (change, differs) in [
            ((|shape| shape.port = 8080) as fn(&mut TargetGroupShape), true),
            (|shape| shape.protocol = "HTTPS".to_owned(), true),
            (|shape| shape.protocol_version = "GRPC".to_owned(), true),
            (|shape| shape.target_type = "instance".to_owned(), true),
            (|shape| shape.health_check_path = "/health".to_owned(), true),
            (|shape| shape.health_check_port = Some("9000".to_owned()), true),
            (|shape| shape.health_check_port = Some("traffic-port".to_owned()), false),
            (|shape| shape.matcher.http_code = Some("200".to_owned()), true),
            (|shape| shape.health_check_timeout_seconds = 2, true),
            (|shape| shape.unhealthy_threshold_count = 5, false),
            (|shape| drop(shape.attributes.insert("a".to_owned(), "b".to_owned())), false),
        ] {
            assert_eq!(named(change) != same, differs, "{}", named(change));
        }
        let long = name("a-very-long-name-fo1", "a-very-long-service", &samples::target_group());
        assert!(long.len() <= LONGEST && long.starts_with("a-very-long-name-fo1-"), "{long}");
    }

    #[test]
    fn a_health_check_differs_by_the_names_of_aws() {
        let mut shape = samples::target_group();
        shape.matcher = Codes { http_code: Some("200".to_owned()), grpc_code: None };
        let found = TargetGroup::builder().health_check_protocol(ProtocolEnum::Http).health_check_port("traffic-port");
        let found = found.health_check_path("/health").matcher(Matcher::builder().http_code("200-399").build());
        let found = found.health_check_interval_seconds(15).health_check_timeout_seconds(5);
        let found = found.healthy_threshold_count(5).unhealthy_threshold_count(3).build();
        assert_eq!(
            health_check_diff(&shape, &found).to_string(),
            "HealthCheckPath: /health -> /, Matcher.HttpCode: 200-399 -> 200, HealthyThresholdCount: 5 -> 2"
        );
    }
}
