//! The scalable targets: the bounds between which the number of tasks of a service moves.
//! <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html>

use std::collections::{BTreeMap, HashMap};

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace, SuspendedState};
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

/// Finds all targets in the app's cluster, also those of services that are no longer in the document.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(application: &Client, run: &Run) -> Result<Found> {
    // AWS accepts a dimension only together with ids.
    let call = application.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
    let found = shared::pages!(call, "list the scalable targets")?;
    let prefix = format!("service/{}/", run.app);
    let of_cluster = found.into_iter().filter(|target| {
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
        let arn = found.target.scalable_target_arn().unwrap_or_default();
        run.settle_tags(
            "scalable target",
            id,
            run.tags(&tasks.service),
            pairs(&found.tags),
            async |missing| self.application.tag_resource().resource_arn(arn).set_tags(Some(missing.into_iter().collect())).send().await,
            async |left| self.application.untag_resource().resource_arn(arn).set_tag_keys(Some(left)).send().await,
        )
        .await?;
        let bounds = self.bounds_now(tasks);
        let found = &found.target;
        let diff =
            Diff::new().field("MinCapacity", found.min_capacity(), bounds.min).field("MaxCapacity", found.max_capacity(), bounds.max);
        let diff = diff.and(suspended(found.suspended_state()));
        run.change("scalable target", id, &diff, self.register(run, tasks, bounds, false)).await
    }

    /// Returns the bounds that a service should have now: those of the settings, or those that an entry of its schedule has set.
    pub fn bounds_now(&self, tasks: &Tasks) -> Bounds {
        let Some(FoundTarget { target, .. }) = self.found.targets.get(&tasks.resource_id) else { return tasks.bounds };
        keep_scheduled(&tasks.schedule, tasks.bounds, Bounds { min: target.min_capacity(), max: target.max_capacity() })
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
            // AWS keeps what a request lacks, also a suspension by hand.
            let call = call.min_capacity(bounds.min).max_capacity(bounds.max).suspended_state(active()).set_tags(tags);
            call.send().await.tried(format!("register the scalable target {}", tasks.resource_id)).map(drop)
        })
        .await
    }

    /// Deletes the targets of services that are no longer in the document, or names them.
    pub async fn left_targets_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let prefix = format!("service/{}/", run.app);
        let is_left = |id: &str| id.strip_prefix(&prefix).is_some_and(|service| !wanted.services.contains(service));
        let left = self.found.targets.iter().filter(|(id, found)| is_left(id) && run.is_ours(pairs(&found.tags))).map(|(id, _)| id);
        if wanted.prune {
            return each(left, async |id| self.deregister(run, id).await).await.map(drop);
        }
        for id in left {
            let what = format!(
                "the scalable target {id} is kept, but its service is not in the document. Run scale-set with --prune to delete it"
            );
            run.warn("scaling-not-in-document", what);
        }
        Ok(())
    }

    /// Deletes the app's targets, and with them their policies and scheduled actions.
    pub async fn targets_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.targets.iter().filter(|(id, found)| run.may_delete("scalable target", id, run.is_ours(pairs(&found.tags))));
        each(ours, async |(id, _)| self.deregister(run, id).await).await.map(drop)
    }

    async fn deregister(&self, run: &Run, id: &str) -> Result<()> {
        let call = self.application.deregister_scalable_target().service_namespace(ServiceNamespace::Ecs).resource_id(id);
        let call = call.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let delete = while_busy(run, async || call.clone().send().await.tried(format!("deregister the scalable target {id}")).map(drop));
        run.delete("scalable target", id, delete).await
    }
}

/// Nothing is suspended.
fn active() -> SuspendedState {
    let state = SuspendedState::builder().dynamic_scaling_in_suspended(false).dynamic_scaling_out_suspended(false);
    state.scheduled_scaling_suspended(false).build()
}

/// Shows what somebody has suspended by hand.
fn suspended(found: Option<&SuspendedState>) -> Diff {
    let is = |get: fn(&SuspendedState) -> Option<bool>| found.and_then(get).unwrap_or(false);
    Diff::new()
        .field("SuspendedState.DynamicScalingInSuspended", is(SuspendedState::dynamic_scaling_in_suspended), false)
        .field("SuspendedState.DynamicScalingOutSuspended", is(SuspendedState::dynamic_scaling_out_suspended), false)
        .field("SuspendedState.ScheduledScalingSuspended", is(SuspendedState::scheduled_scaling_suspended), false)
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
