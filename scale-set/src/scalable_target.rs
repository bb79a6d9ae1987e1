//! The scalable targets: the bounds between which the number of tasks of a service moves.
//! <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html>

use std::collections::{BTreeMap, HashMap};

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace};
use futures_util::future::try_join_all;
use shared::error::if_found;
use shared::owner::pairs;
use shared::step::each;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::ScaleSet;
use crate::bounds::Bounds;
use crate::schedule::keep_scheduled;
use crate::section::ScaledService;
use crate::settings::{Tasks, Wanted};

/// By resource id.
pub type Found = BTreeMap<String, FoundTarget>;

pub struct FoundTarget {
    target: ScalableTarget,
    tags: HashMap<String, String>,
}

/// Resource ids that one call of `DescribeScalableTargets` accepts.
const AT_ONCE: usize = 50;

/// Finds the targets of the settings' services, or with `--down` all targets in the app's cluster.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(application: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    // AWS accepts a dimension only together with ids.
    let call = application.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
    let ids: Option<Vec<String>> = wanted.map(|wanted| wanted.tasks.iter().map(|tasks| tasks.resource_id.clone()).collect());
    // No ids would mean all targets of the account.
    if ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Found::new());
    }
    let some: Vec<Option<Vec<String>>> =
        ids.map_or_else(|| vec![None], |ids| ids.chunks(AT_ONCE).map(|some| Some(some.to_vec())).collect());
    let found =
        try_join_all(some.into_iter().map(async |ids| shared::pages!(call.clone().set_resource_ids(ids), "list the scalable targets")));
    let prefix = format!("service/{}/", run.app);
    let of_cluster = found.await?.into_iter().flatten().filter(|target| {
        target.resource_id().starts_with(&prefix) && *target.scalable_dimension() == ScalableDimension::EcsServiceDesiredCount
    });
    let found = try_join_all(of_cluster.map(async |target| {
        let mut tags = HashMap::new();
        // Targets that are older than their ARNs have no tags either.
        if let Some(arn) = target.scalable_target_arn() {
            let said = application.list_tags_for_resource().resource_arn(arn).send().await;
            let said = if_found(said.tried(format!("read the tags of the scalable target {}", target.resource_id())))?;
            tags = said.and_then(|said| said.tags).unwrap_or_default();
        }
        Ok::<_, Error>((target.resource_id().to_owned(), FoundTarget { target, tags }))
    }));
    Ok(found.await?.into_iter().collect())
}

impl ScaleSet {
    /// Registers a service with its bounds. AWS moves the number of tasks between them at once.
    pub async fn target_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        let (id, Bounds { min, max }) = (&tasks.resource_id, tasks.bounds);
        let record = ScaledService { resource_id: id.clone(), min, max, ..ScaledService::default() };
        self.scale.borrow_mut().services.insert(tasks.service.clone(), record);
        match self.found.targets.get(id) {
            Some(found) if !run.is_ours(pairs(&found.tags)) => Err(run.unmanaged("scalable target", id)),
            Some(found) => self.settle_target(run, tasks, found).await,
            None => {
                let create = async { self.register(run, tasks, tasks.bounds, true).await.map(|()| id.clone()) };
                run.create("scalable target", id, create).await.map(drop)
            }
        }
    }

    async fn settle_target(&self, run: &Run, tasks: &Tasks, found: &FoundTarget) -> Result<()> {
        let id = &tasks.resource_id;
        run.found("scalable target", id);
        run.settle_tags("scalable target", id, run.tags(&tasks.service), pairs(&found.tags), async |missing| {
            let arn = found.target.scalable_target_arn().unwrap_or_default();
            let call = self.application.tag_resource().resource_arn(arn).set_tags(Some(missing.into_iter().collect()));
            call.send().await.tried(format!("tag the scalable target {id}")).map(drop)
        })
        .await?;
        let found = Bounds { min: found.target.min_capacity(), max: found.target.max_capacity() };
        let bounds = keep_scheduled(&tasks.schedule, tasks.bounds, found);
        let diff = Diff::new().field("MinCapacity", found.min, bounds.min).field("MaxCapacity", found.max, bounds.max);
        run.change("scalable target", id, &diff, self.register(run, tasks, bounds, false)).await
    }

    async fn register(&self, run: &Run, tasks: &Tasks, bounds: Bounds, new: bool) -> Result<()> {
        // A new service is not visible everywhere at once, nor is the service-linked role that AWS creates with an account's first target.
        let words = ["doesn't exist", "Unable to assume IAM role"];
        let unknown = |error: &Error| error.is_code("ValidationException") && words.iter().any(|words| error.says(words));
        let not_yet = |error: &Error| unknown(error) || is_busy(error);
        while_not_yet(run, "the service to be visible", not_yet, async || {
            let call = self.application.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
            let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            // AWS accepts tags only with a new target.
            let tags = new.then(|| run.tags(&tasks.service).into_iter().collect());
            let call = call.min_capacity(bounds.min).max_capacity(bounds.max).set_tags(tags);
            call.send().await.tried(format!("register the scalable target {}", tasks.resource_id)).map(drop)
        })
        .await
    }

    /// Deletes the app's targets, and with them their policies and scheduled actions.
    pub async fn targets_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.targets.iter().filter(|(id, found)| run.may_delete("scalable target", id, run.is_ours(pairs(&found.tags))));
        each(ours, async |(id, _)| {
            let call = self.application.deregister_scalable_target().service_namespace(ServiceNamespace::Ecs).resource_id(id);
            let call = call.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            let delete =
                while_busy(run, async || call.clone().send().await.tried(format!("deregister the scalable target {id}")).map(drop));
            run.delete("scalable target", id, delete).await
        })
        .await
        .map(drop)
    }
}

/// Returns whether another change of the scalable target is under way, of another run or of a scheduled action. AWS makes one at a time.
/// <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html#API_PutScalingPolicy_Errors>
pub fn is_busy(error: &Error) -> bool {
    error.is_code("ConcurrentUpdateException")
}

/// Repeats a call until no other change of its scalable target is under way.
///
/// # Errors
/// As [`while_held`].
pub async fn while_busy(run: &Run, attempt: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    while_held(run, "another change of the scalable target to end", is_busy, attempt).await
}
