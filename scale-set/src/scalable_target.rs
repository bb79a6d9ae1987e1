//! The scalable targets: between which bounds a service's count of tasks moves.
//! <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html>

use std::collections::{BTreeMap, HashMap};

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace};
use futures_util::future::try_join_all;
use shared::error::if_found;
use shared::name::pairs;
use shared::step::each;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::{Tasks, Wanted};
use crate::{ScaleSet, ScaledService, is_busy};

/// By resource id.
pub type Found = BTreeMap<String, FoundTarget>;

pub struct FoundTarget {
    target: ScalableTarget,
    tags: HashMap<String, String>,
}

/// How many one call of `DescribeScalableTargets` takes.
const AT_ONCE: usize = 50;

pub async fn find(application: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    // A dimension may be asked for only with ids.
    let call = application.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
    let ids: Option<Vec<String>> = wanted.map(|wanted| wanted.tasks.iter().map(|tasks| tasks.resource_id.clone()).collect());
    // No ids would mean all of the account's.
    if ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Found::new());
    }
    let some: Vec<Option<Vec<String>>> =
        ids.map_or_else(|| vec![None], |ids| ids.chunks(AT_ONCE).map(|some| Some(some.to_vec())).collect());
    let found = try_join_all(some.into_iter().map(async |ids| {
        let items = call.clone().set_resource_ids(ids).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        items.tried("look for the scalable targets")
    }));
    let prefix = format!("service/{}/", run.app);
    let of_cluster = found.await?.into_iter().flatten().filter(|target| {
        target.resource_id().starts_with(&prefix) && *target.scalable_dimension() == ScalableDimension::EcsServiceDesiredCount
    });
    let found = try_join_all(of_cluster.map(async |target| {
        let mut tags = HashMap::new();
        // One from before there were ARNs has no tags either.
        if let Some(arn) = target.scalable_target_arn() {
            let said =
                if_found(application.list_tags_for_resource().resource_arn(arn).send().await.tried(format!("read the tags of {arn}")))?;
            tags = said.and_then(|said| said.tags).unwrap_or_default();
        }
        Ok::<_, Error>((target.resource_id().to_owned(), FoundTarget { target, tags }))
    }));
    Ok(found.await?.into_iter().collect())
}

impl ScaleSet {
    /// AWS moves the count of tasks between the bounds at once.
    pub async fn target_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        let record = ScaledService { resource_id: tasks.resource_id.clone(), min: tasks.min, max: tasks.max, ..ScaledService::default() };
        self.scale.borrow_mut().services.insert(tasks.service.clone(), record);
        match self.found.targets.get(&tasks.resource_id) {
            Some(found) if !run.is_ours(pairs(&found.tags)) => Err(run.foreign("scalable target", &tasks.resource_id)),
            Some(found) => {
                run.found("scalable target", &tasks.resource_id);
                self.keep_tags(run, tasks, found).await?;
                let found = &found.target;
                let (min, max) = tasks.bounds_after(found.min_capacity(), found.max_capacity());
                let diff = Diff::new().field("min", found.min_capacity(), min).field("max", found.max_capacity(), max);
                run.change("scalable target", &tasks.resource_id, &diff, self.register(run, tasks, (min, max), false)).await
            }
            None => run
                .create("scalable target", &tasks.resource_id, async {
                    self.register(run, tasks, (tasks.min, tasks.max), true).await.map(|()| tasks.resource_id.clone())
                })
                .await
                .map(drop),
        }
    }

    async fn keep_tags(&self, run: &Run, tasks: &Tasks, found: &FoundTarget) -> Result<()> {
        run.settle_tags("scalable target", &tasks.resource_id, run.tags(&tasks.service), pairs(&found.tags), async |missing| {
            let arn = found.target.scalable_target_arn().unwrap_or_default();
            let call = self.application.tag_resource().resource_arn(arn).set_tags(Some(missing.into_iter().collect()));
            call.send().await.tried(format!("tag the scalable target {}", tasks.resource_id)).map(drop)
        })
        .await
    }

    async fn register(&self, run: &Run, tasks: &Tasks, (min, max): (i32, i32), new: bool) -> Result<()> {
        // A service made a moment ago is not known everywhere yet, nor the service-linked role that comes with an account's first target.
        let words = ["doesn't exist", "Unable to assume IAM role"];
        let unknown = |error: &Error| error.is_code("ValidationException") && words.iter().any(|words| error.says(words));
        let not_yet = |error: &Error| unknown(error) || is_busy(error);
        while_not_yet(run, "the service to be visible", not_yet, async || {
            let call = self.application.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
            let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            // Tags are taken only with a new target.
            let call = call.min_capacity(min).max_capacity(max).set_tags(new.then(|| run.tags(&tasks.service).into_iter().collect()));
            call.send().await.tried(format!("set the bounds of {}", tasks.resource_id)).map(drop)
        })
        .await
    }

    pub async fn targets_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.targets.iter().filter(|(id, found)| run.goes("scalable target", id, run.is_ours(pairs(&found.tags))));
        each(ours, async |(id, _)| {
            let call = self.application.deregister_scalable_target().service_namespace(ServiceNamespace::Ecs).resource_id(id);
            let call = call.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            let delete = while_held(run, "another change of the scalable target to end", is_busy, async || {
                call.clone().send().await.tried(format!("stop scaling {id}")).map(drop)
            });
            run.delete("scalable target", id, delete).await
        })
        .await
        .map(drop)
    }
}
