//! The endpoints of Service Connect: services of Cloud Map, which ECS creates and deletes. A task sees those that existed when its deployment began.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html>

use std::collections::BTreeMap;

use aws_sdk_ecs::types::Deployment;
use aws_sdk_servicediscovery::Client;
use aws_sdk_servicediscovery::types::{FilterCondition, ServiceFilter, ServiceFilterName};
use aws_smithy_types::DateTime;
use shared::step::each;
use shared::wait::until;
use shared::{Diff, Error, Result, Run, Tried};

use super::arn::last_name;
use super::call;
use super::found_service::{self, FoundService, primary};
use super::service_request::{self, Update};
use crate::SvcDeploy;
use crate::model::{Service, Wanted};

/// When each endpoint was created, by its discovery name.
pub type Found = BTreeMap<String, DateTime>;

/// Reads until a run goes on without an endpoint that does not appear. The next run then starts the deployments that lack it.
const READS: usize = 10;

pub async fn find(cloud_map: &Client, wanted: Option<&Wanted>) -> Result<Found> {
    let Some(namespace) = wanted.and_then(|wanted| wanted.cluster.namespace_arn.as_deref()) else { return Ok(Found::new()) };
    let filter = ServiceFilter::builder().name(ServiceFilterName::NamespaceId).condition(FilterCondition::Eq).values(last_name(namespace));
    let filter = filter.build().map_err(|error| Error::Internal(error.to_string()))?;
    let pages = cloud_map.list_services().filters(filter).into_paginator().send().collect::<Result<Vec<_>, _>>().await;
    let pages = pages.tried(format!("list the endpoints in the namespace {namespace}"))?;
    let all = pages.into_iter().flat_map(|page| page.services.unwrap_or_default());
    Ok(all.filter_map(|one| Some((one.name?, one.create_date?))).collect())
}

impl SvcDeploy {
    /// Waits until the endpoints of these services exist, so that the services after them see them.
    pub async fn endpoints_ready(&self, run: &Run, wanted: &Wanted, services: &[&Service]) -> Result<()> {
        let connects = services.iter().filter_map(|service| service.connect.as_ref());
        let names: Vec<&str> = connects.flat_map(|connect| &connect.endpoints).map(|endpoint| endpoint.discovery_name.as_str()).collect();
        let is_known = |found: &Found| names.iter().all(|name| found.contains_key(*name));
        if run.is_planning() || is_known(&self.endpoints.borrow()) {
            return Ok(());
        }
        let mut reads = 0;
        let found = until(run, "the endpoints of new services to be visible", async || {
            reads += 1;
            let found = find(&self.cloud_map, Some(wanted)).await?;
            Ok(Some(found).filter(|found| is_known(found) || reads == READS))
        })
        .await?;
        *self.endpoints.borrow_mut() = found;
        Ok(())
    }

    /// Returns the services that have an endpoint which the tasks of this one do not see, because they were deployed before it. A plan does not
    /// know the endpoints of new services and ports yet.
    pub fn unseen(&self, run: &Run, wanted: &Wanted, service: &Service) -> Vec<String> {
        let (endpoints, deployed) = (self.endpoints.borrow(), self.deployed.borrow());
        let (Some(connect), Some(since)) = (&service.connect, deployed.get(&service.name)) else { return Vec::new() };
        let is_new = |to: &&Service| {
            to.connect.iter().flat_map(|connect| &connect.endpoints).any(|endpoint| match endpoints.get(&endpoint.discovery_name) {
                Some(created) => created.as_nanos() > since.as_nanos(),
                None => run.is_planning() && to.selected,
            })
        };
        wanted.services.iter().filter(|to| connect.peers.contains(&to.name)).filter(is_new).map(|to| to.name.clone()).collect()
    }

    /// Notes when the newest deployment of a service began.
    pub fn has_deployed(&self, service: &str, deployment: Option<&Deployment>) {
        if let Some(began) = deployment.and_then(Deployment::created_at) {
            self.deployed.borrow_mut().insert(service.to_owned(), *began);
        }
    }

    /// Deploys those services again that were deployed before a service which they may call had its endpoints. A cycle of calls needs it.
    pub async fn late_deployments(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if run.is_planning() {
            return Ok(());
        }
        each(wanted.deployed(), async |service| {
            let diff = unseen_diff(&self.unseen(run, wanted, service));
            run.change("service", &service.name, &diff, self.deploy_again(run, wanted, service)).await
        })
        .await
        .map(drop)
    }

    async fn deploy_again(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<()> {
        let update = Update { strategy: false, new_deployment: true, disconnect: false, resolution: None };
        let request = service_request::update(&run.app, wanted, service, &self.recorded(&service.name), update)?;
        let call = self.ecs.update_service().service(&service.name).customize().mutate_request(call::with_body(&request));
        let said = call.send().await.tried(format!("start a new deployment of the service {}", service.name))?;
        self.has_begun(service, said.service());
        Ok(())
    }
}

/// Returns when the newest deployment of each found service began.
pub fn deployments(found: &found_service::Found) -> BTreeMap<String, DateTime> {
    let began = |found: &FoundService| primary(&found.service).and_then(Deployment::created_at).copied();
    found.iter().filter_map(|(name, found)| Some((name.clone(), began(found)?))).collect()
}

/// Says whose new endpoints make a new deployment necessary.
pub fn unseen_diff(services: &[String]) -> Diff {
    services.iter().fold(Diff::new(), |diff, name| diff.note(true, &format!("endpoint of {name} is new -> a new deployment")))
}
