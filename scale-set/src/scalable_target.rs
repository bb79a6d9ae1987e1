//! The scalable targets: between which bounds a service's count of tasks moves.
//! <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html>

use std::collections::BTreeMap;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::{Tasks, Wanted};
use crate::{ScaleSet, ScaledService};

/// By resource id, which names the cluster and so the app.
pub type Found = BTreeMap<String, ScalableTarget>;

pub async fn find(application: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let call = application
        .describe_scalable_targets()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
    let ids: Option<Vec<String>> = wanted.map(|wanted| wanted.tasks.iter().map(|tasks| tasks.resource_id.clone()).collect());
    // No ids would mean all of the account's.
    if ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Found::new());
    }
    let items = call.set_resource_ids(ids).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let prefix = format!("service/{}/", run.app);
    let ours = items.tried("look for the scalable targets")?.into_iter().filter(|target| target.resource_id().starts_with(&prefix));
    Ok(ours.map(|target| (target.resource_id().to_owned(), target)).collect())
}

impl ScaleSet {
    /// AWS moves the count of tasks between the bounds at once.
    pub async fn target_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        let record = ScaledService { resource_id: tasks.resource_id.clone(), min: tasks.min, max: tasks.max, ..ScaledService::default() };
        self.scale.borrow_mut().services.insert(tasks.service.clone(), record);
        match self.found.targets.get(&tasks.resource_id) {
            Some(found) => {
                run.found("scalable target", &tasks.resource_id);
                if tasks.may_have(found.min_capacity(), found.max_capacity()) {
                    return Ok(());
                }
                let diff = Diff::new().field("min", found.min_capacity(), tasks.min).field("max", found.max_capacity(), tasks.max);
                run.change("scalable target", &tasks.resource_id, &diff, self.register(run, tasks, false)).await
            }
            None => run
                .create("scalable target", &tasks.resource_id, async {
                    self.register(run, tasks, true).await.map(|()| tasks.resource_id.clone())
                })
                .await
                .map(drop),
        }
    }

    async fn register(&self, run: &Run, tasks: &Tasks, new: bool) -> Result<()> {
        // A service made a moment ago is not known everywhere yet. Tags are taken only with a new target.
        let not_yet = |error: &Error| error.is_code("ValidationException") && error.says("doesn't exist");
        while_not_yet(run, "the service to be visible", not_yet, async || {
            let call = self.application.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
            let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            let call =
                call.min_capacity(tasks.min).max_capacity(tasks.max).set_tags(new.then(|| run.tags(&tasks.service).into_iter().collect()));
            call.send().await.tried(format!("set the bounds of {}", tasks.resource_id)).map(drop)
        })
        .await
    }

    pub async fn targets_down(&self, run: &Run) -> Result<()> {
        each(self.found.targets.keys(), async |id| {
            let delete = async {
                let call = self.application.deregister_scalable_target().service_namespace(ServiceNamespace::Ecs).resource_id(id);
                call.scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
                    .send()
                    .await
                    .tried(format!("stop scaling {id}"))
                    .map(drop)
            };
            run.delete("scalable target", id, delete).await
        })
        .await
        .map(drop)
    }
}
