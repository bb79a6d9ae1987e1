//! The ECS services: how they are created, updated and deleted.

use aws_sdk_ecs::types::{SchedulingStrategy, Service as EcsService, Tag};
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Error, Result, Run, Tried};

use super::arn::last_name;
use super::call;
use super::ecs_tag;
use super::endpoint::unseen_diff;
use super::found_service::{Found, FoundService, described, has_failed};
use super::service_default::{is_patched, left};
use super::service_diff::{
    PATCH, RESOLUTION, diff, is_connected, is_patch_new, is_resolution_new, is_strategy_new, not_undone, patch_fingerprint,
};
use super::service_request::{self, Update, resolution};
use super::task_read::{service_of, unstopped};
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
        if service.fast_metrics {
            tags.push((RESOLUTION.to_owned(), resolution(service).to_string()));
        }
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
        let tags = tags(run, service);
        self.settle_ecs_tags(run, "service", &arn, tags, found.service.tags()).await?;
        let unseen = self.unseen(run, wanted, service);
        let diff = diff(wanted, service, &self.recorded(&service.name), found).and(unseen_diff(&unseen));
        let diff = diff.note(self.redeploy, "a new deployment (--redeploy)");
        warn_of_kept(run, service, found);
        run.change("service", &service.name, &diff, self.update_service(run, wanted, service, found, !unseen.is_empty())).await?;
        Ok(Some(arn))
    }

    async fn update_service(&self, run: &Run, wanted: &Wanted, service: &Service, found: &FoundService, unseen: bool) -> Result<()> {
        let left = left(service, found, is_patch_new(service, &found.service));
        let found = &found.service;
        let update = Update {
            strategy: is_strategy_new(wanted, found),
            new_deployment: has_failed(found) || unseen || self.redeploy || left.needs_new_tasks(),
            disconnect: is_connected(found),
            resolution: is_resolution_new(service, found).then(|| resolution(service)),
        };
        let mut request = service_request::update(&run.app, wanted, service, &self.recorded(&service.name), update)?;
        left.add_to(&mut request);
        let said = while_not_yet(run, NEW_PARTS, not_yet, async || {
            let call = self.ecs.update_service().service(&service.name);
            let said = call.customize().mutate_request(call::with_body(&request)).send().await;
            said.tried(format!("update the service {}", service.name))
        })
        .await?;
        self.has_begun(service, said.service());
        let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
        let patch = is_patch_new(service, found).then(|| tag(PATCH, patch_fingerprint(service)));
        let resolution = update.resolution.map(|seconds| tag(RESOLUTION, seconds.to_string()));
        let tags: Vec<Tag> = patch.into_iter().chain(resolution).collect();
        if tags.is_empty() {
            return Ok(());
        }
        let call = self.ecs.tag_resource().set_resource_arn(found.service_arn().map(str::to_owned)).set_tags(Some(tags));
        call.send().await.tried(format!("tag the service {}", service.name)).map(drop)
    }

    /// Each service gets its call first, then all are awaited together: that takes only as long as the slowest.
    pub async fn services_down(&self, run: &Run, found: &Found) -> Result<()> {
        let ours = found.values().filter(|found| run.is_ours(found.service.tags().iter().map(ecs_tag::pair)));
        each(ours, async |found| {
            let name = given(found.service.service_name(), "the name of the service")?;
            run.delete("service", &name, self.delete_service(run, &name, &found.service)).await
        })
        .await
        .map(drop)
    }

    /// Waits also until its tasks have stopped, because until then they have network interfaces and use roles and log groups.
    async fn delete_service(&self, run: &Run, name: &str, found: &EcsService) -> Result<()> {
        if found.status() == Some("ACTIVE") {
            self.dismiss_service(run, name).await?;
        }
        self.service_gone(run, name).await?;
        let family = found.task_definition().map(|arn| last_name(arn).split(':').next().unwrap_or_default());
        until(run, &format!("the last tasks of the service {name} to stop"), async || {
            let left = unstopped(&self.ecs, run, family).await?;
            Ok(left.iter().all(|task| service_of(task) != Some(name)).then_some(()))
        })
        .await
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

/// Says what ECS can't undo of an earlier patch.
fn warn_of_kept(run: &Run, service: &Service, found: &FoundService) {
    let mut kept = not_undone(service, &found.service);
    let is_daemon = |service: &EcsService| service.scheduling_strategy() == Some(&SchedulingStrategy::Daemon);
    if is_daemon(&found.service) && !is_patched(service, "schedulingStrategy") {
        kept.push("schedulingStrategy");
    }
    if !kept.is_empty() {
        run.warn(
            "patch-not-undone",
            format!(
                "services.{0}.x-svc.patch.service no longer sets {1}, and the service keeps it. Set the value that it should have, or delete the service with `aws ecs delete-service --cluster {2} --service {0} --force` and run the same command again",
                service.name,
                kept.join(" and "),
                run.app
            ),
        );
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
    shared::owner::with_keys(tags)
}
