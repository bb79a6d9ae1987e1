//! The ECS services as they are.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, Service, ServiceField};
use futures_util::future::try_join_all;
use serde_json::Value;
use shared::error::if_found;
use shared::{Error, Result, Run, Tried};

use super::arn::last_name;
use super::call::Answer;
use super::task_read::{service_of, unstopped};
use crate::model::{NetworkMode, Wanted};

/// By name; those that are deleted for good are left out.
pub type Found = BTreeMap<String, FoundService>;

#[derive(Debug, Clone)]
pub struct FoundService {
    pub service: Service,
    /// The same in AWS's own JSON, which may have fields that the SDK does not know.
    pub json: Value,
}

/// Services that one call of `DescribeServices` takes.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html>
const SERVICES_A_CALL: usize = 10;

/// Finds those that this run deploys, with the names of all in the cluster; or with `--down` all of the cluster.
pub async fn find(ecs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<(Found, Vec<String>)> {
    let Some(wanted) = wanted else { return Ok((all(ecs, run).await?, Vec::new())) };
    let names = wanted.selected().map(|service| service.name.clone()).collect();
    let (found, listed) = futures_util::try_join!(by_name(ecs, run, names), listed(ecs, run))?;
    Ok((found, listed.iter().map(|arn| last_name(arn).to_owned()).collect()))
}

/// Finds all of the cluster whose tasks may still run. ECS lists no service that is draining, and one is inactive while its tasks still stop.
async fn all(ecs: &Client, run: &Run) -> Result<Found> {
    let (listed, tasks) = futures_util::try_join!(listed(ecs, run), unstopped(ecs, run, None))?;
    let stopping: BTreeSet<&str> = tasks.iter().filter_map(service_of).collect();
    let names: BTreeSet<&str> = listed.iter().map(|arn| last_name(arn)).chain(stopping.iter().copied()).collect();
    let found = described(ecs, run, names.into_iter().map(str::to_owned).collect()).await?.into_iter();
    let pairs = found.map(|found| (found.service.service_name().unwrap_or_default().to_owned(), found));
    Ok(pairs.filter(|(name, found)| found.service.status() != Some("INACTIVE") || stopping.contains(name.as_str())).collect())
}

/// ECS can give a service a network configuration, but not take it away, so such an update would be refused when much has changed.
///
/// # Errors
/// Names the service that would lose it.
pub fn check_network(run: &Run, wanted: &Wanted, found: &Found) -> Result<()> {
    let has_network = |name: &str| {
        let service = found.get(name).map(|found| &found.service).filter(|service| service.status() == Some("ACTIVE"));
        service.and_then(Service::network_configuration).is_some_and(|network| network.awsvpc_configuration().is_some())
    };
    match wanted.deployed().find(|service| service.network_mode != NetworkMode::Awsvpc && has_network(&service.name)) {
        Some(service) => Err(Error::document(
            "network-mode-fixed",
            format!("services.{}.x-svc.network_mode", service.name),
            format!(
                "the service runs with awsvpc, and ECS can't change that to {1}. Set x-svc.network_mode: awsvpc, or delete the service with `aws ecs delete-service --cluster {2} --service {0} --force` and run the same command again",
                service.name,
                service.network_mode.value(),
                run.app
            ),
        )),
        None => Ok(()),
    }
}

/// Returns the ARNs of the cluster's services.
pub async fn listed(ecs: &Client, run: &Run) -> Result<Vec<String>> {
    let call = ecs.list_services().cluster(&run.app);
    Ok(if_found(shared::pages!(call, format!("list the services of the cluster {}", run.app)))?.unwrap_or_default())
}

async fn by_name(ecs: &Client, run: &Run, names: Vec<String>) -> Result<Found> {
    let found = described(ecs, run, names).await?.into_iter().filter(|found| found.service.status() != Some("INACTIVE"));
    Ok(found.map(|found| (found.service.service_name().unwrap_or_default().to_owned(), found)).collect())
}

/// Returns the services of these names or ARNs, also deleted ones for as long as ECS returns them.
pub async fn described(ecs: &Client, run: &Run, names: Vec<String>) -> Result<Vec<FoundService>> {
    let found = try_join_all(names.chunks(SERVICES_A_CALL).map(async |some| {
        let answer = Answer::default();
        let call = ecs.describe_services().cluster(&run.app).set_services(Some(some.to_vec())).include(ServiceField::Tags);
        let said = call.customize().interceptor(answer.clone()).send().await;
        let said = if_found(said.tried(format!("read the services of the cluster {}", run.app)))?;
        let services = said.map(|said| said.services().to_vec()).unwrap_or_default();
        Ok::<_, Error>(with_json(services, &answer.json()))
    }))
    .await?;
    Ok(found.concat())
}

fn with_json(services: Vec<Service>, answer: &Value) -> Vec<FoundService> {
    let all = answer.get("services").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let json = |service: &Service| all.iter().find(|json| json["serviceArn"].as_str() == service.service_arn()).cloned();
    services.into_iter().map(|service| FoundService { json: json(&service).unwrap_or_default(), service }).collect()
}

/// Returns the newest deployment, which is to replace the others.
pub fn primary(service: &Service) -> Option<&Deployment> {
    service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"))
}

/// Returns whether the newest deployment failed without an older one to roll back to. ECS then tries no more, so a run starts a new deployment,
/// though the revision may be the same.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
pub fn has_failed(service: &Service) -> bool {
    primary(service).is_some_and(|deployment| deployment.rollout_state() == Some(&DeploymentRolloutState::Failed))
}
