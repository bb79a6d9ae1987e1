//! A found service against the one that is wanted, field by field.

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, Deployment, DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentRolloutState,
    LoadBalancer, PropagateTags, Service as EcsService, ServiceConnectConfiguration, ServiceConnectService, TimeoutConfiguration,
};
use serde_json::{Map, Value, json};
use shared::Diff;
use shared::doc::ServiceRecord;

use super::action::NEW_TARGET_GROUP;
use super::arn::{last_name, target_group_name};
use super::found_service::{FoundService, has_failed};
use super::service_default::{is_patched, left, unknown};
use super::service_request::{CONNECT, ECS_THRESHOLD, MONITORING, rebalancing, resolution, service_connect, threshold};
use super::{ecs_tag, found_service};
use crate::model::{NetworkMode, Service, Wanted};

/// The tag that says which patch a service has: what a patch sets need not be a field that ECS returns.
pub const PATCH: &str = "ecs-pipe:patch";
const MANAGED_TAGS: &str = "enableECSManagedTags";
/// The tag with the resolution of the service's metrics in seconds, because ECS returns it with none of its answers about services.
pub const RESOLUTION: &str = "ecs-pipe:metrics-resolution";
/// What a plan calls a revision that is not registered yet.
pub const NEW_REVISION: &str = "the new revision";

/// Compares field by field. What `x-svc.patch.service` sets is compared only when the patch itself is another one.
pub fn diff(wanted: &Wanted, service: &Service, record: &ServiceRecord, found: &FoundService) -> Diff {
    let whole = found;
    let FoundService { service: found, json } = found;
    let patched = |key: &str| is_patched(service, key);
    // In a plan a new revision has no number yet.
    let newest = record.task_definition_arn.as_deref().map_or(NEW_REVISION, last_name);
    let mut diff = Diff::new().field("taskDefinition", found.task_definition().map(last_name), newest);
    if has_failed(found) {
        diff = diff.field(
            "rolloutState",
            found_service::primary(found).and_then(Deployment::rollout_state).map(DeploymentRolloutState::as_str),
            "a new deployment",
        );
    }
    diff = diff.and(deployment_diff(service, found.deployment_configuration()));
    if !patched("propagateTags") {
        diff = diff.field("propagateTags", found.propagate_tags().map(PropagateTags::as_str), "SERVICE");
    }
    // The answer may lack it.
    if json.get(MANAGED_TAGS).is_some() && !patched(MANAGED_TAGS) {
        diff = diff.field(MANAGED_TAGS, found.enable_ecs_managed_tags(), true);
    }
    // The answer lacks it for services that are older than the setting.
    if let Some(found) = found.availability_zone_rebalancing().filter(|_| !patched("availabilityZoneRebalancing")) {
        diff = diff.field("availabilityZoneRebalancing", found.as_str(), rebalancing(service));
    }
    if !patched("capacityProviderStrategy") {
        diff = diff.json("capacityProviderStrategy", Some(&strategy(found)), &wanted_strategy(wanted));
    }
    if !patched("loadBalancers") {
        diff = diff.json("loadBalancers", Some(&load_balancers(found)), &wanted_load_balancers(service, record));
    }
    if let Some(published) = service.published.as_ref().filter(|_| !patched("healthCheckGracePeriodSeconds")) {
        diff = diff.field("healthCheckGracePeriodSeconds", found.health_check_grace_period_seconds(), Some(published.grace));
    }
    if service.network_mode == NetworkMode::Awsvpc && !patched("networkConfiguration") {
        diff = diff.and(network_diff(wanted, found));
    }
    if !patched(CONNECT) {
        diff = diff.and(connect_diff(wanted, service, found));
    }
    if !patched(MONITORING) {
        diff = diff.field("monitoring.metricConfigurations.resolutionSeconds", found_resolution(found), resolution(service).to_string());
    }
    diff = diff.and(left(service, whole, is_patch_new(service, found)).diff());
    if !is_patch_new(service, found) {
        return diff;
    }
    if service.patch.service.is_none() {
        // Its fields are shown above.
        let nothing_shows = diff.is_empty();
        return diff.note(nothing_shows, "patch: removed");
    }
    diff.and(patch_diff(service, json))
}

/// Returns the value of the tag [`PATCH`]: a fingerprint, and the names of the fields that can't be undone.
pub fn patch_fingerprint(service: &Service) -> String {
    let Some(patch) = &service.patch.service else { return String::new() };
    let fingerprint = std::iter::once(shared::name::fingerprint(&patch.to_string()));
    let mut value = fingerprint.chain(unknown(patch).into_iter().map(str::to_owned)).collect::<Vec<_>>().join(" ");
    value.truncate(shared::owner::LONGEST_VALUE);
    value
}

/// Returns the fields that an earlier patch set, this one does not, and whose defaults are unknown.
pub fn not_undone<'a>(service: &Service, found: &'a EcsService) -> Vec<&'a str> {
    let names = ecs_tag::value(found.tags(), PATCH).unwrap_or_default().split(' ').skip(1);
    names.filter(|name| !is_patched(service, name)).collect()
}

/// Returns whether the found service has another patch.
pub fn is_patch_new(service: &Service, found: &EcsService) -> bool {
    ecs_tag::value(found.tags(), PATCH).unwrap_or_default() != patch_fingerprint(service)
}

/// Returns whether the metrics of the found service have another resolution.
pub fn is_resolution_new(service: &Service, found: &EcsService) -> bool {
    found_resolution(found) != resolution(service).to_string()
}

/// ECS's own default is 60 seconds.
fn found_resolution(found: &EcsService) -> String {
    ecs_tag::value(found.tags(), RESOLUTION).unwrap_or("60").to_owned()
}

/// Returns whether the found service has another capacity provider strategy.
pub fn is_strategy_new(wanted: &Wanted, found: &EcsService) -> bool {
    strategy(found) != wanted_strategy(wanted)
}

/// Shows the fields that the patch changes, as far as ECS returns them.
fn patch_diff(service: &Service, found: &Value) -> Diff {
    let Some(patch) = &service.patch.service else { return Diff::new() };
    let fields = Diff::new().json_within("", found, patch);
    let nothing_shows = fields.is_empty();
    fields.note(nothing_shows, "patch: applied again")
}

fn deployment_diff(service: &Service, found: Option<&DeploymentConfiguration>) -> Diff {
    let field = |name: &str| format!("deploymentConfiguration.{name}");
    let breaker = found.and_then(DeploymentConfiguration::deployment_circuit_breaker);
    let was = breaker.and_then(DeploymentCircuitBreaker::threshold_configuration).map(|one| (one.r#type().clone(), one.value()));
    // A service that is older than thresholds has ECS's own, though the answer lacks it.
    let was = was.or_else(|| breaker.map(|_| ECS_THRESHOLD));
    let (kind, value) = threshold(service.breaker);
    let (minimum, maximum) = (service.healthy_percent.minimum, service.healthy_percent.maximum);
    let number = |found: Option<i32>| found.map(|found| found.to_string());
    let fields = [
        ("minimumHealthyPercent", number(found.and_then(DeploymentConfiguration::minimum_healthy_percent)), minimum.to_string()),
        ("maximumPercent", number(found.and_then(DeploymentConfiguration::maximum_percent)), maximum.to_string()),
        ("deploymentCircuitBreaker.enable", breaker.map(|one| one.enable().to_string()), service.breaker.enable.to_string()),
        ("deploymentCircuitBreaker.rollback", breaker.map(|one| one.rollback().to_string()), service.breaker.rollback.to_string()),
        (
            "deploymentCircuitBreaker.thresholdConfiguration.type",
            was.as_ref().map(|(kind, _)| kind.as_str().to_owned()),
            kind.as_str().to_owned(),
        ),
        ("deploymentCircuitBreaker.thresholdConfiguration.value", number(was.map(|(_, value)| value)), value.to_string()),
    ];
    let own = fields.into_iter().map(|(name, was, is)| (field(name), was, is)).filter(|(name, ..)| !is_patched(service, name));
    own.fold(Diff::new(), |diff, (name, was, is)| diff.field(&name, was, Some(is)))
}

fn network_diff(wanted: &Wanted, found: &EcsService) -> Diff {
    let field = |name: &str| format!("networkConfiguration.awsvpcConfiguration.{name}");
    let network = found.network_configuration().and_then(|network| network.awsvpc_configuration());
    let public = network.and_then(|network| network.assign_public_ip()).unwrap_or(&AssignPublicIp::Disabled);
    Diff::new()
        .set(
            &field("subnets"),
            network.map(AwsVpcConfiguration::subnets).unwrap_or_default(),
            wanted.net.private_subnet_ids.iter().flatten(),
        )
        .set(
            &field("securityGroups"),
            network.map(AwsVpcConfiguration::security_groups).unwrap_or_default(),
            &wanted.net.task_security_group_id,
        )
        .field(&field("assignPublicIp"), public.as_str(), "DISABLED")
}

/// By name of the capacity provider, because the order means nothing.
fn strategy(found: &EcsService) -> Value {
    let share = |name: &str, weight: i32, base: i32| (name.to_owned(), json!({"weight": weight, "base": base}));
    found
        .capacity_provider_strategy()
        .iter()
        .map(|one| share(one.capacity_provider(), one.weight(), one.base()))
        .collect::<Map<_, _>>()
        .into()
}

fn wanted_strategy(wanted: &Wanted) -> Value {
    let shares = wanted.cluster.capacity_provider_strategy.iter();
    shares.map(|one| (one.capacity_provider.clone(), json!({"weight": one.weight, "base": one.base}))).collect::<Map<_, _>>().into()
}

fn load_balancers(found: &EcsService) -> Value {
    let one = |one: &LoadBalancer| {
        json!({
            "containerName": one.container_name(),
            "targetGroupArn": one.target_group_arn().map(target_group_name),
            "containerPort": one.container_port(),
        })
    };
    found.load_balancers().iter().map(one).collect()
}

fn wanted_load_balancers(service: &Service, record: &ServiceRecord) -> Value {
    let target_group = record.target_group_arn.as_deref().map_or(NEW_TARGET_GROUP, target_group_name);
    let one = |port| json!({"containerName": service.name, "targetGroupArn": target_group, "containerPort": port});
    service.published.iter().map(|published| one(published.port)).collect()
}

/// What a plan calls a namespace that is not created yet.
const NEW_NAMESPACE: &str = "the new namespace";

/// Returns whether the newest deployment is in a namespace.
pub fn is_connected(found: &EcsService) -> bool {
    connection(found).is_some_and(ServiceConnectConfiguration::enabled)
}

/// The configuration is one of the deployment: a service has it only in its requests.
fn connection(found: &EcsService) -> Option<&ServiceConnectConfiguration> {
    found_service::primary(found).and_then(Deployment::service_connect_configuration)
}

fn connect_diff(wanted: &Wanted, service: &Service, found: &EcsService) -> Diff {
    let Some(connect) = &service.connect else {
        return Diff::new().field(&format!("{CONNECT}.enabled"), is_connected(found), false);
    };
    let namespace = wanted.cluster.namespace_arn.as_deref().unwrap_or(NEW_NAMESPACE);
    let found = connection(found).filter(|found| found.enabled()).map(|found| {
        // ECS may answer with the name of the namespace.
        let by_name = found.namespace() == wanted.cluster.namespace.as_deref();
        let namespace = if by_name { namespace } else { found.namespace().unwrap_or_default() };
        json!({"enabled": true, "namespace": namespace, "services": found.services().iter().map(endpoint).collect::<Map<_, _>>()})
    });
    let mut to = service_connect(connect, namespace);
    let services = to["services"].take();
    let by_name = services.as_array().into_iter().flatten().map(|one| (text(&one["discoveryName"]), one.clone()));
    to["services"] = by_name.collect::<Map<_, _>>().into();
    Diff::new().json(CONNECT, found.as_ref(), &to)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn endpoint(found: &ServiceConnectService) -> (String, Value) {
    let aliases: Value =
        found.client_aliases().iter().map(|alias| json!({"dnsName": alias.dns_name().unwrap_or_default(), "port": alias.port()})).collect();
    let mut timeout = Map::new();
    let given = |seconds: Option<i32>| seconds.map(Value::from);
    let of = |get: fn(&TimeoutConfiguration) -> Option<i32>| found.timeout().and_then(get);
    timeout.extend(given(of(TimeoutConfiguration::idle_timeout_seconds)).map(|value| ("idleTimeoutSeconds".to_owned(), value)));
    timeout
        .extend(given(of(TimeoutConfiguration::per_request_timeout_seconds)).map(|value| ("perRequestTimeoutSeconds".to_owned(), value)));
    let name = found.discovery_name().unwrap_or(found.port_name());
    (name.to_owned(), json!({"portName": found.port_name(), "discoveryName": name, "clientAliases": aliases, "timeout": timeout}))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::builders::ServiceBuilder;
    use aws_sdk_ecs::types::{AvailabilityZoneRebalancing, CapacityProviderStrategyItem, NetworkConfiguration, Tag};

    use super::*;
    use crate::aws::samples;
    use crate::model::{Breaker, HealthyPercent};

    const GROUP: &str = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/shop-web-1a2b3c/73e2d6bc24d8a067";

    fn record() -> ServiceRecord {
        ServiceRecord {
            task_definition_arn: Some("arn:aws:ecs:us-east-1:1:task-definition/shop-web:1".to_owned()),
            target_group_arn: Some(GROUP.to_owned()),
            ..ServiceRecord::default()
        }
    }

    /// The service of the samples as ECS has it.
    fn found() -> ServiceBuilder {
        let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(true).build();
        let deployment = DeploymentConfiguration::builder().minimum_healthy_percent(100).maximum_percent(200);
        let network = AwsVpcConfiguration::builder().subnets("subnet-2").subnets("subnet-1").security_groups("sg-1").build().unwrap();
        EcsService::builder()
            .task_definition("arn:aws:ecs:us-east-1:1:task-definition/shop-web:1")
            .deployment_configuration(deployment.deployment_circuit_breaker(breaker).build())
            .propagate_tags(PropagateTags::Service)
            .availability_zone_rebalancing(AvailabilityZoneRebalancing::Enabled)
            .capacity_provider_strategy(CapacityProviderStrategyItem::builder().capacity_provider("FARGATE").weight(1).build().unwrap())
            .load_balancers(LoadBalancer::builder().container_name("web").container_port(80).target_group_arn(GROUP).build())
            .health_check_grace_period_seconds(60)
            .network_configuration(NetworkConfiguration::builder().awsvpc_configuration(network).build())
    }

    fn shown(change: impl FnOnce(&mut Wanted, &mut Service, &mut ServiceRecord), found: ServiceBuilder, json: Value) -> String {
        let (mut wanted, mut service, mut record) = (samples::wanted(Vec::new()), samples::published("web", &[], &[]), record());
        change(&mut wanted, &mut service, &mut record);
        diff(&wanted, &service, &record, &FoundService { service: found.build(), json }).to_string()
    }

    #[test]
    fn the_same_service_does_not_differ() {
        assert_eq!(shown(|_, _, _| {}, found(), Value::Null), "");
    }

    #[test]
    fn each_field_is_shown_by_its_name_in_ecs() {
        type Change = fn(&mut Wanted, &mut Service, &mut ServiceRecord);
        let cases: Vec<(Change, &str)> = vec![
            (|_, _, record| record.task_definition_arn = None, "taskDefinition: shop-web:1 -> the new revision"),
            (
                |_, service, _| service.healthy_percent = HealthyPercent { minimum: 50, maximum: 100 },
                "deploymentConfiguration.minimumHealthyPercent: 100 -> 50, deploymentConfiguration.maximumPercent: 200 -> 100, availabilityZoneRebalancing: ENABLED -> DISABLED",
            ),
            (
                |_, service, _| service.breaker = Breaker { enable: false, rollback: false, failures: None },
                "deploymentConfiguration.deploymentCircuitBreaker.enable: true -> false, deploymentConfiguration.deploymentCircuitBreaker.rollback: true -> false",
            ),
            (
                |_, service, _| service.breaker.failures = Some(3),
                "deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.type: BOUNDED_PERCENT -> COUNT, deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.value: 50 -> 3",
            ),
            (|wanted, _, _| wanted.cluster.capacity_provider_strategy[0].weight = 2, "capacityProviderStrategy.FARGATE.weight: 1 -> 2"),
            (|_, _, record| record.target_group_arn = None, "loadBalancers.web.targetGroupArn: shop-web-1a2b3c -> the new target group"),
            (
                |_, service, _| service.published = None,
                "loadBalancers.web.targetGroupArn: shop-web-1a2b3c -> none, loadBalancers.web.containerPort: 80 -> none",
            ),
            (|_, service, _| service.fast_metrics = true, "monitoring.metricConfigurations.resolutionSeconds: 60 -> 20"),
            (|_, service, _| service.published.as_mut().unwrap().grace = 90, "healthCheckGracePeriodSeconds: 60 -> 90"),
            (
                |wanted, _, _| wanted.net.private_subnet_ids[1] = Some("subnet-3".to_owned()),
                "networkConfiguration.awsvpcConfiguration.subnets: subnet-2 -> subnet-3",
            ),
            (
                |wanted, _, _| wanted.net.task_security_group_id = Some("sg-2".to_owned()),
                "networkConfiguration.awsvpcConfiguration.securityGroups: sg-1 -> sg-2",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(shown(change, found(), Value::Null), expected);
        }
    }

    #[test]
    fn a_failed_deployment_is_followed_by_a_new_one() {
        let failed = Deployment::builder().status("PRIMARY").rollout_state(DeploymentRolloutState::Failed).build();
        assert_eq!(shown(|_, _, _| {}, found().deployments(failed), Value::Null), "rolloutState: FAILED -> a new deployment");
    }

    #[test]
    fn a_new_patch_is_shown_by_the_fields_that_ecs_returns() {
        let patch =
            json!({"enableExecuteCommand": true, "deploymentConfiguration": {"minimumHealthyPercent": 50}, "volumeConfigurations": []});
        let tag = |value: &str| Tag::builder().key(PATCH).value(value).build();
        let json =
            |percent, execute| json!({"enableExecuteCommand": execute, "deploymentConfiguration": {"minimumHealthyPercent": percent}});
        let patched = |_: &mut Wanted, service: &mut Service, _: &mut ServiceRecord| service.patch.service = Some(patch.clone());
        assert_eq!(
            shown(patched, found(), json(100, false)),
            "enableExecuteCommand: false -> true, deploymentConfiguration.minimumHealthyPercent: 100 -> 50"
        );
        assert_eq!(shown(patched, found(), json(50, true)), "patch: applied again");
        assert_eq!(shown(|_, _, _| {}, found().tags(tag("0123456789abcdef")), json(100, false)), "patch: removed");
        let same = shared::name::fingerprint(&patch.to_string());
        assert_eq!(shown(patched, found().tags(tag(&same)), json(100, false)), "");
    }
}
