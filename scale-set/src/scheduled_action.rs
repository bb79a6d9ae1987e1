//! The scheduled actions of the services. Each changes the bounds of the scalable target when its time comes.
//! <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html>

use std::collections::BTreeMap;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTargetAction, ScheduledAction, ServiceNamespace};
use futures_util::future::try_join_all;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ScaleSet;
use crate::scalable_target::{is_busy, while_busy};
use crate::schedule::Entry;
use crate::settings::{Tasks, Wanted};

/// By resource id.
pub type Found = BTreeMap<String, Vec<ScheduledAction>>;

/// Actions with other names are unmanaged.
const PREFIX: &str = "ecs-pipe-";

fn name(entry: &Entry) -> String {
    format!("{PREFIX}{}", entry.name)
}

/// Finds the actions of the settings' services; with `--down` none, because AWS deletes them with their target.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(application: &Client, wanted: Option<&Wanted>) -> Result<Found> {
    let ids = wanted.into_iter().flat_map(|wanted| &wanted.tasks).map(|tasks| tasks.resource_id.clone());
    let found = try_join_all(ids.map(async |id| {
        let call = application.describe_scheduled_actions().service_namespace(ServiceNamespace::Ecs).resource_id(&id);
        let actions = shared::pages!(call, format!("list the scheduled actions of {id}"))?;
        Ok::<_, Error>((id, actions))
    }))
    .await?;
    Ok(found.into_iter().collect())
}

impl ScaleSet {
    pub async fn schedule_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        // AWS deletes an action with its target. One that it still lists without a target is an old answer.
        let found = self.found.actions.get(&tasks.resource_id).filter(|_| self.found.targets.contains_key(&tasks.resource_id));
        let found = found.map(Vec::as_slice).unwrap_or_default();
        for entry in &tasks.schedule {
            self.action_up(run, tasks, entry, found).await?;
        }
        let ours = found.iter().map(ScheduledAction::scheduled_action_name).filter(|name| name.starts_with(PREFIX));
        for extra in ours.filter(|found| !tasks.schedule.iter().any(|entry| name(entry) == *found)) {
            self.remove_action(run, tasks, extra).await?;
        }
        Ok(())
    }

    async fn action_up(&self, run: &Run, tasks: &Tasks, entry: &Entry, found: &[ScheduledAction]) -> Result<()> {
        let (name, what) = (name(entry), format!("{} {}", tasks.resource_id, name(entry)));
        let Some(action) = found.iter().find(|action| action.scheduled_action_name() == name) else {
            let put = async { self.put_action(run, tasks, entry).await.map(|()| what.clone()) };
            return run.create("scheduled action", &what, put).await.map(drop);
        };
        run.found("scheduled action", &what);
        run.change("scheduled action", &what, &diff(action, entry), self.put_action(run, tasks, entry)).await
    }

    async fn put_action(&self, run: &Run, tasks: &Tasks, entry: &Entry) -> Result<()> {
        let name = name(entry);
        let bounds = ScalableTargetAction::builder().set_min_capacity(entry.min).set_max_capacity(entry.max).build();
        let call = self.application.put_scheduled_action().service_namespace(ServiceNamespace::Ecs).scheduled_action_name(&name);
        let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let call = call.schedule(&entry.schedule).timezone(timezone(entry)).scalable_target_action(bounds);
        // A new target is not visible everywhere at once.
        let not_yet = |error: &Error| error.is_code("ObjectNotFoundException") || is_busy(error);
        while_not_yet(run, "the scalable target to be visible", not_yet, async || {
            call.clone().send().await.tried(format!("set the scheduled action {name} of {}", tasks.resource_id)).map(drop)
        })
        .await
    }

    async fn remove_action(&self, run: &Run, tasks: &Tasks, name: &str) -> Result<()> {
        let id = &tasks.resource_id;
        let call = self.application.delete_scheduled_action().service_namespace(ServiceNamespace::Ecs).scheduled_action_name(name);
        let call = call.resource_id(id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let delete =
            while_busy(run, async || call.clone().send().await.tried(format!("delete the scheduled action {name} of {id}")).map(drop));
        run.delete("scheduled action", &format!("{id} {name}"), delete).await
    }
}

fn diff(found: &ScheduledAction, entry: &Entry) -> Diff {
    let bounds = found.scalable_target_action();
    Diff::new()
        .field("Schedule", found.schedule(), entry.schedule.as_str())
        .field("Timezone", found.timezone().unwrap_or(UTC), timezone(entry))
        .field("ScalableTargetAction.MinCapacity", bounds.and_then(ScalableTargetAction::min_capacity), entry.min)
        .field("ScalableTargetAction.MaxCapacity", bounds.and_then(ScalableTargetAction::max_capacity), entry.max)
}

/// AWS's default.
const UTC: &str = "UTC";

/// The default is sent, too, so that it is restored when the setting is removed from the document.
fn timezone(entry: &Entry) -> &str {
    entry.timezone.as_deref().unwrap_or(UTC)
}
