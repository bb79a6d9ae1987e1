//! The ECS services.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html>

use std::collections::BTreeMap;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    AssignPublicIp, DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentRolloutState, LoadBalancer, PropagateTags,
    Service as EcsService, ServiceField, Tag,
};
use aws_smithy_types::body::SdkBody;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use shared::doc::LaunchType;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::compose::{NetworkMode, Service};
use crate::deploy::Breaker;
use crate::deployment::primary;
use crate::wish::Wanted;
use crate::{SvcDeploy, forward};

/// By name; those that are gone for good are not among them.
pub type Found = BTreeMap<String, EcsService>;

/// How many one call of `DescribeServices` takes.
const AT_ONCE: usize = 10;
/// The tag that says which patch a service has: what a patch sets need not be a field that can be read back.
const PATCH: &str = "ecs-pipe:patch";

/// Building up, those of the document; taking down, all of the cluster's.
pub async fn find(ecs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let Some(wanted) = wanted else { return by_name(ecs, run, listed(ecs, run).await?).await };
    let names = wanted.selected().map(|service| service.name.clone()).collect();
    let (found, listed) = futures_util::try_join!(by_name(ecs, run, names), listed(ecs, run))?;
    let extra =
        listed.iter().filter_map(|arn| arn.rsplit('/').next()).filter(|name| !wanted.services.iter().any(|service| service.name == *name));
    for name in extra {
        run.warn(&format!(
            "the service {name} runs on the cluster {0} but is not in the document. It is left running, without rules of the load balancer and without the execution role's leave to pull its image and write its log; aws ecs delete-service --cluster {0} --service {name} --force deletes it",
            run.app
        ));
    }
    Ok(found)
}

async fn listed(ecs: &Client, run: &Run) -> Result<Vec<String>> {
    let listed = ecs.list_services().cluster(&run.app).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    Ok(if_found(listed.tried(format!("list the services of the cluster {}", run.app)))?.unwrap_or_default())
}

async fn by_name(ecs: &Client, run: &Run, names: Vec<String>) -> Result<Found> {
    let there = described(ecs, run, names).await?.into_iter().filter(|service| service.status() != Some("INACTIVE"));
    Ok(there.map(|service| (service.service_name().unwrap_or_default().to_owned(), service)).collect())
}

pub async fn described(ecs: &Client, run: &Run, names: Vec<String>) -> Result<Vec<EcsService>> {
    let found = try_join_all(names.chunks(AT_ONCE).map(async |some| {
        let call = ecs.describe_services().cluster(&run.app).set_services(Some(some.to_vec())).include(ServiceField::Tags);
        let said = if_found(call.send().await.tried(format!("look at the services of the cluster {}", run.app)))?;
        Ok::<_, Error>(said.map(|said| said.services().to_vec()).unwrap_or_default())
    }))
    .await?;
    Ok(found.concat())
}

/// Sends this JSON instead of what the SDK made of the call.
pub fn say(http: &mut aws_smithy_runtime_api::client::orchestrator::HttpRequest, request: &Value) {
    let text = request.to_string();
    http.headers_mut().insert("content-length", text.len().to_string());
    *http.body_mut() = SdkBody::from(text);
}

impl SvcDeploy {
    /// In the order of `depends_on`: a service that waits for healthy ones is deployed when they are.
    pub async fn services_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let mut done: Vec<&Service> = Vec::new();
        let mut left: Vec<&Service> = wanted.selected().collect();
        while !left.is_empty() {
            let names: Vec<String> = left.iter().map(|service| service.name.clone()).collect();
            let (later, now): (Vec<&Service>, Vec<&Service>) =
                left.into_iter().partition(|service| service.after.iter().any(|name| names.contains(name)));
            let awaited: Vec<&Service> =
                done.iter().copied().filter(|one| now.iter().any(|service| service.after.contains(&one.name))).collect();
            if !run.is_planning() && !awaited.is_empty() {
                self.deployments_ready(run, awaited).await?;
            }
            each(&now, async |service| self.service_up(run, wanted, service).await).await?;
            done.extend(now);
            left = later;
        }
        Ok(())
    }

    async fn service_up(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<()> {
        let found = self.found.services.get(&service.name).filter(|found| found.status() == Some("ACTIVE"));
        let arn = match found {
            Some(found) => self.settle_service(run, wanted, service, found).await?,
            None => run.create("service", &service.name, self.create_service(run, wanted, service)).await?,
        };
        self.record(&service.name, |record| {
            record.arn = arn;
            record.name.clone_from(&service.name);
        });
        self.finish_moves(run, service).await
    }

    async fn create_service(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<String> {
        let request = self.create_request(run, wanted, service)?;
        // A name is free again when the service of that name has drained.
        if self.found.services.contains_key(&service.name) {
            self.service_gone(run, &service.name).await?;
        }
        let made = while_not_yet(run, "what the service needs to be visible", not_yet, async || {
            let request = request.clone();
            let call = self.ecs.create_service().service_name(&service.name).customize().mutate_request(move |http| say(http, &request));
            call.send().await.tried(format!("create the service {}", service.name))
        })
        .await?;
        self.has_begun(service, made.service());
        given(made.service().and_then(EcsService::service_arn), "the new service's ARN")
    }

    fn create_request(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<Value> {
        let mut request = self.shape(wanted, service)?;
        let mut tags: Vec<Value> = tags(run, service).into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        tags.push(json!({"key": PATCH, "value": patch_print(service)}));
        let more = json!({
            "cluster": run.app,
            "serviceName": service.name,
            "desiredCount": service.desired,
            "capacityProviderStrategy": strategy(wanted),
            "tags": tags,
        });
        json_patch::merge(&mut request, &more);
        Ok(patched(request, service))
    }

    /// What creating and updating have in common.
    fn shape(&self, wanted: &Wanted, service: &Service) -> Result<Value> {
        let svc = self.svc.borrow();
        let record = svc.services.get(&service.name).cloned().unwrap_or_default();
        let (least, most) = service.healthy_percent;
        let (kind, value) = service.breaker.threshold();
        let mut shape = json!({
            "taskDefinition": given(record.task_definition_arn.as_deref(), "the task definition's ARN")?,
            "deploymentConfiguration": {
                "minimumHealthyPercent": least,
                "maximumPercent": most,
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
            // Over the zones first, then over the instances of each.
            shape["placementStrategy"] =
                json!([{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "spread", "field": "instanceId"}]);
        }
        if let Some(published) = &service.published {
            let target_group = given(record.target_group_arn.as_deref(), "the target group's ARN")?;
            shape["loadBalancers"] =
                json!([{"targetGroupArn": target_group, "containerName": service.name, "containerPort": published.port}]);
            shape["healthCheckGracePeriodSeconds"] = json!(published.grace);
        }
        if service.network_mode == NetworkMode::Awsvpc {
            shape["networkConfiguration"] = json!({"awsvpcConfiguration": {
                "subnets": wanted.net.private_subnet_ids,
                "securityGroups": [wanted.net.task_security_group_id],
                "assignPublicIp": "DISABLED",
            }});
        }
        Ok(shape)
    }

    /// Never the count of tasks: that is `scale-set`'s.
    async fn settle_service(&self, run: &Run, wanted: &Wanted, service: &Service, found: &EcsService) -> Result<Option<String>> {
        if !run.is_ours(found.tags().iter().map(|tag| (tag.key(), tag.value()))) {
            return Err(run.foreign("service", &service.name));
        }
        run.found("service", &service.name);
        let arn = found.service_arn().unwrap_or_default();
        self.keep_ecs_tags(run, "service", arn, tags(run, service), found.tags()).await?;
        let (diff, patch) = (self.diff(wanted, service, found), patch_print(service));
        let repatched = found.tags().iter().find(|tag| tag.key() == Some(PATCH)).and_then(|tag| tag.value()).unwrap_or_default() != patch;
        let diff = diff.field("patch", repatched, false);
        run.change("service", &service.name, &diff, async {
            let mut request = self.shape(wanted, service)?;
            request["cluster"] = json!(run.app);
            request["service"] = json!(service.name);
            // Leaving it out would leave it as it is.
            if service.published.is_none() {
                request["loadBalancers"] = json!([]);
            }
            let strategy_is_other = strategy_text(found) != wanted_strategy_text(wanted);
            if strategy_is_other {
                request["capacityProviderStrategy"] = strategy(wanted);
            }
            if strategy_is_other || has_failed(found) {
                request["forceNewDeployment"] = json!(true);
            }
            let request = patched(request, service);
            let said = while_not_yet(run, "what the service needs to be visible", not_yet, async || {
                let request = request.clone();
                let call = self.ecs.update_service().service(&service.name).customize().mutate_request(move |http| say(http, &request));
                call.send().await.tried(format!("update the service {}", service.name))
            })
            .await?;
            self.has_begun(service, said.service());
            if repatched {
                let tag = Tag::builder().key(PATCH).value(patch).build();
                self.ecs
                    .tag_resource()
                    .set_resource_arn(found.service_arn().map(str::to_owned))
                    .tags(tag)
                    .send()
                    .await
                    .tried(format!("tag the service {}", service.name))?;
            }
            Ok(())
        })
        .await?;
        Ok(found.service_arn().map(str::to_owned))
    }

    /// Field by field, but for what `x-svc.patch.service` speaks of: there its fingerprint tells.
    fn diff(&self, wanted: &Wanted, service: &Service, found: &EcsService) -> Diff {
        let patched = |key: &str| service.patch.service.as_ref().is_some_and(|patch| patch.get(key).is_some());
        let svc = self.svc.borrow();
        let record = svc.services.get(&service.name);
        let mut diff = self.revision_diff(Diff::new(), &service.name, found.task_definition());
        if has_failed(found) {
            diff = diff.field("deployment", "failed", "a new one");
        }
        if !patched("deploymentConfiguration") {
            diff = diff_of_deployment(diff, service, found.deployment_configuration());
        }
        if !patched("propagateTags") {
            diff = diff.field("propagateTags", found.propagate_tags(), Some(&PropagateTags::Service));
        }
        // Where an answer lacks these, the service is of before there were such settings.
        if let Some(found) = found.availability_zone_rebalancing().filter(|_| !patched("availabilityZoneRebalancing")) {
            diff = diff.field("availabilityZoneRebalancing", found.as_str(), rebalancing(service));
        }
        if !patched("capacityProviderStrategy") {
            diff = diff.field("capacityProviderStrategy", strategy_text(found), wanted_strategy_text(wanted));
        }
        if !patched("loadBalancers") {
            let target = |one: &LoadBalancer| {
                format!("{}:{}", one.target_group_arn().map_or("", forward::short), one.container_port().unwrap_or_default())
            };
            let group = record.and_then(|record| record.target_group_arn.as_deref()).map_or(forward::NEW, forward::short);
            let wished: Vec<String> = service.published.iter().map(|published| format!("{group}:{}", published.port)).collect();
            diff = diff.field("loadBalancers", found.load_balancers().iter().map(target).collect::<Vec<_>>().join(" "), wished.join(" "));
        }
        if let Some(published) = service.published.as_ref().filter(|_| !patched("healthCheckGracePeriodSeconds")) {
            diff = diff.field("healthCheckGracePeriodSeconds", found.health_check_grace_period_seconds(), Some(published.grace));
        }
        if service.network_mode == NetworkMode::Awsvpc && !patched("networkConfiguration") {
            diff = diff_of_network(diff, wanted, found);
        }
        diff
    }

    /// Told to stop first, then waited for together: draining takes as long as the slowest.
    pub async fn services_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.services.values().filter(|found| run.is_ours(found.tags().iter().map(|tag| (tag.key(), tag.value()))));
        each(ours.filter_map(EcsService::service_name), async |name| {
            let delete = async {
                if self.found.services.get(name).is_some_and(|found| found.status() == Some("ACTIVE")) {
                    if_found(
                        self.ecs
                            .update_service()
                            .cluster(&run.app)
                            .service(name)
                            .desired_count(0)
                            .send()
                            .await
                            .tried(format!("stop the tasks of the service {name}")),
                    )?;
                    if_found(
                        self.ecs
                            .delete_service()
                            .cluster(&run.app)
                            .service(name)
                            .force(true)
                            .send()
                            .await
                            .tried(format!("delete the service {name}")),
                    )?;
                }
                self.service_gone(run, name).await
            };
            run.delete("service", name, delete).await
        })
        .await
        .map(drop)
    }

    async fn service_gone(&self, run: &Run, name: &str) -> Result<()> {
        until(run, &format!("the tasks of the service {name} to stop"), async || {
            let left = described(&self.ecs, run, vec![name.to_owned()]).await?;
            Ok(left.iter().all(|service| service.status() == Some("INACTIVE")).then_some(()))
        })
        .await
    }
}

/// ECS moves tasks between zones only where it may start a new one first.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html>
fn rebalancing(service: &Service) -> &'static str {
    if service.healthy_percent.1 > 100 { "ENABLED" } else { "DISABLED" }
}

/// Roles made a moment ago can't be used at once, and a new cluster, task definition or target group is not known everywhere yet.
fn not_yet(error: &Error) -> bool {
    let words = [
        "Unable to assume",
        "unable to assume",
        "does not have an associated load balancer",
        "service linked role",
        "Please verify that the ECS service role",
        "was not ACTIVE",
    ];
    error.is_gone() || words.iter().any(|words| error.says(words))
}

/// ECS tries no more after a failed deployment that had none to go back to, so a run begins another, though the revision may be the same.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
fn has_failed(found: &EcsService) -> bool {
    primary(found).is_some_and(|deployment| deployment.rollout_state() == Some(&DeploymentRolloutState::Failed))
}

/// What is said of the service itself goes before what is said of all.
fn tags(run: &Run, service: &Service) -> Vec<(String, String)> {
    let mut tags = run.tags(&service.name);
    tags.retain(|(key, _)| !service.labels.iter().any(|(label, _)| label == key));
    tags.extend(service.labels.clone());
    tags
}

fn diff_of_deployment(diff: Diff, service: &Service, found: Option<&DeploymentConfiguration>) -> Diff {
    let breaker = found.and_then(DeploymentConfiguration::deployment_circuit_breaker);
    let (least, most) = service.healthy_percent;
    let threshold = breaker.and_then(DeploymentCircuitBreaker::threshold_configuration).map(|one| (one.r#type().clone(), one.value()));
    // A service of before there were thresholds has ECS's own without saying so.
    let threshold = threshold.or_else(|| breaker.map(|_| Breaker::ECS));
    diff.field("minimumHealthyPercent", found.and_then(DeploymentConfiguration::minimum_healthy_percent), Some(least))
        .field("maximumPercent", found.and_then(DeploymentConfiguration::maximum_percent), Some(most))
        .field(
            "circuitBreaker",
            breaker.map(|one| (one.enable(), one.rollback())),
            Some((service.breaker.enable, service.breaker.rollback)),
        )
        .field("circuitBreaker.threshold", threshold, Some(service.breaker.threshold()))
}

fn diff_of_network(diff: Diff, wanted: &Wanted, found: &EcsService) -> Diff {
    let network = found.network_configuration().and_then(|network| network.awsvpc_configuration());
    let sorted = |ids: &[String]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    let subnets: Vec<String> = wanted.net.private_subnet_ids.iter().flatten().cloned().collect();
    let groups: Vec<String> = wanted.net.task_security_group_id.iter().cloned().collect();
    diff.field("subnets", network.map(|network| sorted(network.subnets())), Some(sorted(&subnets)))
        .field("securityGroups", network.map(|network| network.security_groups().to_vec()), Some(groups))
        // An answer that says nothing of it means that there is none.
        .field(
            "assignPublicIp",
            network.and_then(|network| network.assign_public_ip()).unwrap_or(&AssignPublicIp::Disabled),
            &AssignPublicIp::Disabled,
        )
}

fn strategy(wanted: &Wanted) -> Value {
    wanted
        .cluster
        .capacity_provider_strategy
        .iter()
        .map(|share| json!({"capacityProvider": share.capacity_provider, "weight": share.weight, "base": share.base}))
        .collect()
}

fn wanted_strategy_text(wanted: &Wanted) -> Vec<String> {
    let mut texts: Vec<String> = wanted
        .cluster
        .capacity_provider_strategy
        .iter()
        .map(|share| format!("{} {} {}", share.capacity_provider, share.weight, share.base))
        .collect();
    texts.sort();
    texts
}

fn strategy_text(found: &EcsService) -> Vec<String> {
    let mut texts: Vec<String> = found
        .capacity_provider_strategy()
        .iter()
        .map(|share| format!("{} {} {}", share.capacity_provider(), share.weight(), share.base()))
        .collect();
    texts.sort();
    texts
}

/// `x-svc.patch.service` has the last word.
fn patched(mut request: Value, service: &Service) -> Value {
    if let Some(patch) = &service.patch.service {
        json_patch::merge(&mut request, patch);
    }
    request
}

fn patch_print(service: &Service) -> String {
    service.patch.service.as_ref().map(|patch| shared::name::fingerprint(&patch.to_string())).unwrap_or_default()
}
