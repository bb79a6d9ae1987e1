//! The ECS services: how they are created, updated and deleted.

use aws_sdk_ecs::types::{Service as EcsService, Tag};
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Error, Result, Run, Tried};

use super::call;
use super::ecs_tag;
use super::endpoint::unseen_diff;
use super::found_service::{FoundService, described, has_failed};
use super::service_diff::{PATCH, diff, is_connected, is_patch_new, is_strategy_new, patch_fingerprint};
use super::service_request::{self, Update};
use crate::SvcDeploy;
use crate::model::{Service, Wanted};

/// What a call waits for that fails with [`not_yet`].
pub const NEW_PARTS: &str = "the new parts of the service to be visible";

impl SvcDeploy {
    pub async fn service_up(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<()> {
        let found = self.found.services.get(&service.name).filter(|found| found.service.status() == Some("ACTIVE"));
        let arn = match found {
            Some(found) => self.settle_service(run, wanted, service, found).await?,
            None => run.create("service", &service.name, self.create_service(run, wanted, service)).await?,
        };
        self.record(&service.name, |record| {
            record.arn = arn;
            record.name.clone_from(&service.name);
            record.endpoints = endpoints(service);
            record.single = service.single;
            record.memory_unlimited = service.size.is_none() && service.containers.iter().any(|one| one.memory.is_none());
        });
        self.finish_moves(run, service).await
    }

    pub async fn create_service(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<String> {
        let mut tags = tags(run, service);
        tags.push((PATCH.to_owned(), patch_fingerprint(service)));
        let request = service_request::create(&run.app, wanted, service, &self.recorded(&service.name), tags)?;
        // A name is free again when the tasks of its last service have stopped.
        if self.found.services.contains_key(&service.name) {
            self.service_gone(run, &service.name).await?;
        }
        let made = while_not_yet(run, NEW_PARTS, not_yet, async || {
            let call = self.ecs.create_service().service_name(&service.name);
            let made = call.customize().mutate_request(call::with_body(&request)).send().await;
            made.tried(format!("create the service {}", service.name))
        })
        .await?;
        self.has_begun(service, made.service());
        given(made.service().and_then(EcsService::service_arn), "the ARN of the new service")
    }

    async fn settle_service(&self, run: &Run, wanted: &Wanted, service: &Service, found: &FoundService) -> Result<Option<String>> {
        if !run.is_ours(found.service.tags().iter().map(ecs_tag::pair)) {
            return Err(run.unmanaged("service", &service.name));
        }
        run.found("service", &service.name);
        let arn = given(found.service.service_arn(), "the ARN of the service")?;
        self.settle_ecs_tags(run, "service", &arn, tags(run, service), found.service.tags()).await?;
        let unseen = self.unseen(run, wanted, service);
        let diff = diff(wanted, service, &self.recorded(&service.name), found).and(unseen_diff(&unseen));
        let update = Update {
            strategy: is_strategy_new(wanted, &found.service),
            new_deployment: has_failed(&found.service) || !unseen.is_empty(),
            disconnect: is_connected(&found.service),
        };
        run.change("service", &service.name, &diff, self.update_service(run, wanted, service, &found.service, update)).await?;
        Ok(Some(arn))
    }

    async fn update_service(&self, run: &Run, wanted: &Wanted, service: &Service, found: &EcsService, update: Update) -> Result<()> {
        let request = service_request::update(&run.app, wanted, service, &self.recorded(&service.name), update)?;
        let said = while_not_yet(run, NEW_PARTS, not_yet, async || {
            let call = self.ecs.update_service().service(&service.name);
            let said = call.customize().mutate_request(call::with_body(&request)).send().await;
            said.tried(format!("update the service {}", service.name))
        })
        .await?;
        self.has_begun(service, said.service());
        if !is_patch_new(service, found) {
            return Ok(());
        }
        let tag = Tag::builder().key(PATCH).value(patch_fingerprint(service)).build();
        let call = self.ecs.tag_resource().set_resource_arn(found.service_arn().map(str::to_owned)).tags(tag);
        call.send().await.tried(format!("tag the service {}", service.name)).map(drop)
    }

    /// Each service gets its call first, then all are awaited together: that takes only as long as the slowest.
    pub async fn services_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.services.values().filter(|found| run.is_ours(found.service.tags().iter().map(ecs_tag::pair)));
        each(ours, async |found| {
            let name = given(found.service.service_name(), "the name of the service")?;
            run.delete("service", &name, self.delete_service(run, &name, found.service.status() == Some("ACTIVE"))).await
        })
        .await
        .map(drop)
    }

    pub async fn delete_service(&self, run: &Run, name: &str, is_active: bool) -> Result<()> {
        if is_active {
            self.dismiss_service(run, name).await?;
        }
        self.service_gone(run, name).await
    }

    /// Deletes a service without a wait for the end of its tasks.
    pub async fn dismiss_service(&self, run: &Run, name: &str) -> Result<()> {
        let stop = self.ecs.update_service().cluster(&run.app).service(name).desired_count(0);
        if_found(stop.send().await.tried(format!("stop the tasks of the service {name}")))?;
        let delete = self.ecs.delete_service().cluster(&run.app).service(name).force(true);
        if_found(delete.send().await.tried(format!("delete the service {name}"))).map(drop)
    }

    async fn service_gone(&self, run: &Run, name: &str) -> Result<()> {
        until(run, &format!("the tasks of the service {name} to stop"), async || {
            let left = described(&self.ecs, run, vec![name.to_owned()]).await?;
            Ok(left.iter().all(|found| found.service.status() == Some("INACTIVE")).then_some(()))
        })
        .await
    }
}

/// New roles can't be used at once, and a new cluster, task definition or target group is not visible at once (eventual consistency).
pub fn not_yet(error: &Error) -> bool {
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

/// Returns names and ports under which other services call the service.
fn endpoints(service: &Service) -> Vec<String> {
    let endpoints = service.connect.iter().flat_map(|connect| &connect.endpoints);
    endpoints.map(|endpoint| format!("{}:{}", endpoint.dns_name, endpoint.port)).collect()
}

/// A label of the service replaces a tag of the app.
fn tags(run: &Run, service: &Service) -> Vec<(String, String)> {
    let mut tags = run.tags(&service.name);
    tags.retain(|(key, _)| !service.labels.iter().any(|(label, _)| label == key));
    tags.extend(service.labels.clone());
    tags
}
