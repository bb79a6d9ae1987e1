//! The scheduled actions of the services: other bounds by the clock, which move the bounds of the scalable target when their time comes.
//! <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html>

use std::collections::BTreeMap;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTargetAction, ScheduledAction, ServiceNamespace};
use futures_util::future::try_join_all;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::{Tasks, Timed, Wanted};
use crate::{ScaleSet, is_busy};

/// By resource id.
pub type Found = BTreeMap<String, Vec<ScheduledAction>>;

/// Actions with other names are somebody else's.
const PREFIX: &str = "ecs-pipe-";

fn name(schedule: &Timed) -> String {
    format!("{PREFIX}{}", schedule.name)
}

pub async fn find(application: &Client, wanted: Option<&Wanted>) -> Result<Found> {
    let ids = wanted.into_iter().flat_map(|wanted| &wanted.tasks).map(|tasks| tasks.resource_id.clone());
    let found = try_join_all(ids.map(async |id| {
        let call = application.describe_scheduled_actions().service_namespace(ServiceNamespace::Ecs).resource_id(&id);
        let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        Ok::<_, Error>((id.clone(), items.tried(format!("look for the scheduled actions of {id}"))?))
    }))
    .await?;
    Ok(found.into_iter().collect())
}

impl ScaleSet {
    pub async fn schedules_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        // An action goes with its target: one that is still listed without it is an old answer.
        let found = self.found.actions.get(&tasks.resource_id).filter(|_| self.found.targets.contains_key(&tasks.resource_id));
        let found = found.map(Vec::as_slice).unwrap_or_default();
        for schedule in &tasks.schedules {
            self.schedule_up(run, tasks, schedule, found).await?;
        }
        let ours = found.iter().map(ScheduledAction::scheduled_action_name).filter(|name| name.starts_with(PREFIX));
        let extra = ours.filter(|found| !tasks.schedules.iter().any(|schedule| name(schedule) == *found));
        for name in extra {
            let call = self.application.delete_scheduled_action().service_namespace(ServiceNamespace::Ecs).scheduled_action_name(name);
            let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            let delete = while_held(run, "another change of the scalable target to end", is_busy, async || {
                call.clone().send().await.tried(format!("delete the scheduled action {name} of {}", tasks.resource_id)).map(drop)
            });
            run.delete("scheduled action", &format!("{} {name}", tasks.resource_id), delete).await?;
        }
        Ok(())
    }

    async fn schedule_up(&self, run: &Run, tasks: &Tasks, schedule: &Timed, found: &[ScheduledAction]) -> Result<()> {
        let (name, what) = (name(schedule), format!("{} {}", tasks.resource_id, name(schedule)));
        let Some(action) = found.iter().find(|action| action.scheduled_action_name() == name) else {
            let put = async { self.put_schedule(run, tasks, schedule).await.map(|()| what.clone()) };
            return run.create("scheduled action", &what, put).await.map(drop);
        };
        run.found("scheduled action", &what);
        let bounds = action.scalable_target_action();
        let diff = Diff::new()
            .field("schedule", action.schedule(), schedule.schedule.as_str())
            .field("timezone", action.timezone().unwrap_or("UTC"), timezone(schedule))
            .field("min", bounds.and_then(ScalableTargetAction::min_capacity), schedule.min)
            .field("max", bounds.and_then(ScalableTargetAction::max_capacity), schedule.max);
        run.change("scheduled action", &what, &diff, self.put_schedule(run, tasks, schedule)).await
    }

    async fn put_schedule(&self, run: &Run, tasks: &Tasks, schedule: &Timed) -> Result<()> {
        let bounds = ScalableTargetAction::builder().set_min_capacity(schedule.min).set_max_capacity(schedule.max).build();
        let call = self.application.put_scheduled_action().service_namespace(ServiceNamespace::Ecs).scheduled_action_name(name(schedule));
        let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let call = call.schedule(&schedule.schedule).timezone(timezone(schedule)).scalable_target_action(bounds);
        // A target made a moment ago is not known everywhere yet.
        let not_yet = |error: &Error| error.is_code("ObjectNotFoundException") || is_busy(error);
        while_not_yet(run, "the scalable target to be visible", not_yet, async || {
            call.clone().send().await.tried(format!("put the scheduled action {} of {}", name(schedule), tasks.resource_id)).map(drop)
        })
        .await
    }
}

/// AWS's own default is said as well, so that it comes back when the wish is taken out.
fn timezone(schedule: &Timed) -> &str {
    schedule.timezone.as_deref().unwrap_or("UTC")
}
