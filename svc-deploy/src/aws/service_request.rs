//! The requests that create and update an ECS service, in AWS's own JSON.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>

use aws_sdk_ecs::types::ThresholdType;
use serde_json::{Value, json};
use shared::Result;
use shared::doc::{Cluster, LaunchType, Net, ServiceRecord};
use shared::error::made;

use super::ecs_tag;
use crate::model::{Breaker, Connect, Endpoint, NetworkMode, Service, Wanted};

/// Returns the request of `CreateService`.
///
/// # Errors
/// Fails when the task definition or target group is not known yet.
pub fn create(app: &str, wanted: &Wanted, service: &Service, record: &ServiceRecord, tags: Vec<(String, String)>) -> Result<Value> {
    let mut request = shape(wanted, service, record)?;
    request["cluster"] = json!(app);
    request["serviceName"] = json!(service.name);
    request["desiredCount"] = json!(service.desired);
    request["capacityProviderStrategy"] = strategy(&wanted.cluster);
    request["tags"] = ecs_tag::json(tags);
    if service.fast_metrics {
        request[MONITORING] = monitoring(resolution(service));
    }
    Ok(patched(request, service))
}

/// What an update does beside setting the service's fields.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The capacity provider strategy differs.
    pub strategy: bool,
    /// A new deployment starts also when no field differs.
    pub new_deployment: bool,
    /// The service leaves the namespace.
    pub disconnect: bool,
    /// The resolution of its metrics in seconds, when it differs.
    pub resolution: Option<i32>,
}

/// Returns the request of `UpdateService`. It never sets the number of tasks, which belongs to `scale-set`.
///
/// # Errors
/// As [`create`].
pub fn update(app: &str, wanted: &Wanted, service: &Service, record: &ServiceRecord, update: Update) -> Result<Value> {
    let mut request = shape(wanted, service, record)?;
    request["cluster"] = json!(app);
    request["service"] = json!(service.name);
    // ECS keeps what a request lacks.
    if service.published.is_none() {
        request["loadBalancers"] = json!([]);
    }
    if update.strategy {
        request["capacityProviderStrategy"] = strategy(&wanted.cluster);
    }
    if update.disconnect && service.connect.is_none() {
        request[CONNECT] = json!({"enabled": false});
    }
    if let Some(seconds) = update.resolution {
        request[MONITORING] = monitoring(seconds);
    }
    if update.strategy || update.new_deployment {
        request["forceNewDeployment"] = json!(true);
    }
    Ok(patched(request, service))
}

/// Returns what both requests have.
fn shape(wanted: &Wanted, service: &Service, record: &ServiceRecord) -> Result<Value> {
    let (kind, value) = threshold(service.breaker);
    let mut shape = json!({
        "taskDefinition": made(record.task_definition_arn.as_deref(), "the ARN of the task definition")?,
        "deploymentConfiguration": {
            "minimumHealthyPercent": service.healthy_percent.minimum,
            "maximumPercent": service.healthy_percent.maximum,
            "deploymentCircuitBreaker": {
                "enable": service.breaker.enable,
                "rollback": service.breaker.rollback,
                "thresholdConfiguration": {"type": kind.as_str(), "value": value},
            },
        },
        "propagateTags": "SERVICE",
        "enableECSManagedTags": true,
        "availabilityZoneRebalancing": rebalancing(service),
    });
    if wanted.cluster.launch_type == LaunchType::Ec2 {
        // First over the zones, then over the instances of each.
        shape["placementStrategy"] =
            json!([{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "spread", "field": "instanceId"}]);
    }
    if let Some(published) = &service.published {
        let target_group = made(record.target_group_arn.as_deref(), "the ARN of the target group")?;
        shape["loadBalancers"] = json!([{"targetGroupArn": target_group, "containerName": service.name, "containerPort": published.port}]);
        shape["healthCheckGracePeriodSeconds"] = json!(published.grace);
    }
    if service.network_mode == NetworkMode::Awsvpc {
        shape["networkConfiguration"] = network(&wanted.net);
    }
    if let Some(connect) = &service.connect {
        let namespace = made(wanted.cluster.namespace_arn.as_deref(), "the ARN of the namespace")?;
        shape[CONNECT] = service_connect(connect, namespace.as_str());
    }
    Ok(shape)
}

/// Returns where tasks with a network interface of their own are.
pub fn network(net: &Net) -> Value {
    json!({"awsvpcConfiguration": {
        "subnets": net.private_subnet_ids,
        "securityGroups": [net.task_security_group_id],
        "assignPublicIp": "DISABLED",
    }})
}

/// The field of both requests with the resolution of the service's metrics.
pub const MONITORING: &str = "monitoring";

/// Returns the seconds between two measurements.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_MetricConfiguration.html>
pub fn resolution(service: &Service) -> i32 {
    if service.fast_metrics { 20 } else { 60 }
}

fn monitoring(seconds: i32) -> Value {
    json!({"metricConfigurations": [{"metricNames": ["CPUUtilization", "MemoryUtilization"], "resolutionSeconds": seconds}]})
}

/// The field of both requests with the configuration of Service Connect.
pub const CONNECT: &str = "serviceConnectConfiguration";

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectConfiguration.html>
pub fn service_connect(connect: &Connect, namespace: &str) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        // Without these, the proxy ends a tcp connection that is idle for an hour, and a request after 15 seconds. Compose does neither.
        let timeout = match endpoint.app_protocol {
            None => json!({"idleTimeoutSeconds": 0}),
            Some(_) => json!({"idleTimeoutSeconds": 0, "perRequestTimeoutSeconds": 0}),
        };
        json!({
            "portName": endpoint.port_name(),
            "discoveryName": endpoint.discovery_name,
            "clientAliases": [{"dnsName": endpoint.dns_name, "port": endpoint.port}],
            "timeout": timeout,
        })
    };
    let mut connection = json!({"enabled": true, "namespace": namespace});
    if !connect.endpoints.is_empty() {
        connection["services"] = connect.endpoints.iter().map(endpoint).collect();
    }
    connection
}

/// `x-svc.patch.service` is merged last.
fn patched(mut request: Value, service: &Service) -> Value {
    if let Some(patch) = &service.patch.service {
        json_patch::merge(&mut request, patch);
    }
    request
}

/// Returns the capacity provider strategy.
pub fn strategy(cluster: &Cluster) -> Value {
    let shares = cluster.capacity_provider_strategy.iter();
    shares.map(|share| json!({"capacityProvider": share.capacity_provider, "weight": share.weight, "base": share.base})).collect()
}

/// The threshold of ECS itself: half of the tasks, but at least 3 and at most 200 failures.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
pub const ECS_THRESHOLD: (ThresholdType, i32) = (ThresholdType::BoundedPercent, 50);

/// Returns type and value. ECS's own are sent as well, so that they are set again when the setting is removed.
pub fn threshold(breaker: Breaker) -> (ThresholdType, i32) {
    breaker.failures.map_or(ECS_THRESHOLD, |failures| (ThresholdType::Count, failures))
}

/// ECS moves tasks between zones only where it may start a new one first.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html>
pub fn rebalancing(service: &Service) -> &'static str {
    if service.healthy_percent.maximum > 100 { "ENABLED" } else { "DISABLED" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;

    #[test]
    fn without_a_number_of_failures_the_threshold_is_that_of_ecs() {
        let breaker = |failures| Breaker { enable: true, rollback: true, failures };
        assert_eq!(threshold(breaker(None)), (ThresholdType::BoundedPercent, 50));
        assert_eq!(threshold(breaker(Some(3))), (ThresholdType::Count, 3));
    }

    #[test]
    fn an_update_sends_only_what_differs_of_the_strategy() {
        let (wanted, service) = (samples::wanted(Vec::new()), samples::service("web"));
        let record = ServiceRecord { task_definition_arn: Some("arn".to_owned()), ..ServiceRecord::default() };
        for (strategy, new_deployment, keys) in [
            (false, false, vec![]),
            (false, true, vec!["forceNewDeployment"]),
            (true, false, vec!["capacityProviderStrategy", "forceNewDeployment"]),
        ] {
            let request =
                update("shop", &wanted, &service, &record, Update { strategy, new_deployment, disconnect: false, resolution: None })
                    .unwrap();
            let sent: Vec<&str> = ["capacityProviderStrategy", "forceNewDeployment", "desiredCount"]
                .into_iter()
                .filter(|key| request.get(key).is_some())
                .collect();
            assert_eq!(sent, keys);
            assert_eq!(request["loadBalancers"], json!([]));
        }
    }

    #[test]
    fn fast_metrics_are_sent_at_creation_and_when_they_differ() {
        let (wanted, mut service) = (samples::wanted(Vec::new()), samples::service("web"));
        let record = ServiceRecord { task_definition_arn: Some("arn".to_owned()), ..ServiceRecord::default() };
        let sent = |service: &Service, differs: bool| {
            let change =
                Update { strategy: false, new_deployment: false, disconnect: false, resolution: differs.then(|| resolution(service)) };
            let created = create("shop", &wanted, service, &record, Vec::new()).unwrap();
            let updated = update("shop", &wanted, service, &record, change).unwrap();
            [created, updated]
                .map(|request| request.pointer("/monitoring/metricConfigurations/0/resolutionSeconds").and_then(Value::as_i64))
        };
        assert_eq!((sent(&service, false), sent(&service, true)), ([None, None], [None, Some(60)]));
        service.fast_metrics = true;
        assert_eq!((sent(&service, false), sent(&service, true)), ([Some(20), None], [Some(20), Some(20)]));
    }

    #[test]
    fn the_patch_is_merged_last() {
        let (wanted, mut service) = (samples::wanted(Vec::new()), samples::service("web"));
        service.patch.service = Some(json!({"enableExecuteCommand": true, "desiredCount": 7, "propagateTags": null}));
        let record = ServiceRecord { task_definition_arn: Some("arn".to_owned()), ..ServiceRecord::default() };
        let request = create("shop", &wanted, &service, &record, Vec::new()).unwrap();
        assert_eq!((&request["enableExecuteCommand"], &request["desiredCount"]), (&json!(true), &json!(7)));
        assert_eq!(request.get("propagateTags"), None);
    }
}
