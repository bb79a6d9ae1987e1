//! The schedules of jobs, which EventBridge Scheduler runs.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-templated.html>

use std::collections::BTreeMap;

use aws_sdk_scheduler::Client;
use futures_util::future::try_join_all;
use futures_util::try_join;
use serde_json::Value;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use super::call::{self, Answer};
use super::role::scheduler_arn;
use super::schedule_group::{self, FoundGroup};
use super::schedule_request::{Arns, diff, request};
use crate::SvcDeploy;
use crate::model::{Schedule, Service, Wanted};

/// The group of the app, and its schedules by name, in AWS's own JSON.
#[derive(Default)]
pub struct Found {
    pub group: Option<FoundGroup>,
    schedules: BTreeMap<String, Value>,
}

/// Characters of a schedule's name.
/// <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>
const LONGEST: usize = 64;

pub fn name(app: &str, service: &str) -> String {
    shared::name::fit(&[app, service], LONGEST)
}

pub async fn find(client: &Client, run: &Run) -> Result<Found> {
    let schedules = async {
        let call = client.list_schedules().group_name(&run.app);
        let listed = if_found(shared::pages!(call, format!("list the schedules of {}", run.app)))?.unwrap_or_default();
        // The answer may have those of other groups, too.
        let listed = listed.into_iter().filter(|one| one.group_name() == Some(&run.app));
        let names = listed.filter_map(|one| one.name().map(str::to_owned));
        try_join_all(names.map(async |name| Ok::<_, Error>(one(client, run, &name).await?.map(|found| (name, found))))).await
    };
    let (group, schedules) = try_join!(schedule_group::find(client, run), schedules)?;
    Ok(Found { group, schedules: schedules.into_iter().flatten().collect() })
}

async fn one(client: &Client, run: &Run, name: &str) -> Result<Option<Value>> {
    let answer = Answer::default();
    let call = client.get_schedule().group_name(&run.app).name(name).customize().interceptor(answer.clone());
    let said = if_found(call.send().await.tried(format!("read the schedule {name}")))?;
    Ok(said.map(|_| answer.json()))
}

impl SvcDeploy {
    /// Creates and updates those of the selected jobs, and deletes those that are not in the document any more.
    pub async fn schedules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let scheduled: Vec<(&Service, &Schedule)> =
            wanted.services.iter().filter_map(|service| Some((service, service.job.as_ref()?.schedule.as_ref()?))).collect();
        let names: Vec<String> = scheduled.iter().map(|(service, _)| name(&run.app, &service.name)).collect();
        let former = self.found.schedules.schedules.keys().filter(|name| !names.contains(name));
        each(former, async |name| self.delete_schedule(run, name).await).await?;
        if scheduled.is_empty() {
            return self.schedule_group_down(run, self.found.schedules.group.as_ref()).await;
        }
        self.schedule_group_up(run).await?;
        let selected = scheduled.into_iter().filter(|(service, _)| service.selected);
        each(selected, async |(service, schedule)| self.schedule_up(run, wanted, service, schedule).await).await.map(drop)
    }

    async fn schedule_up(&self, run: &Run, wanted: &Wanted, service: &Service, schedule: &Schedule) -> Result<()> {
        let name = name(&run.app, &service.name);
        let revision = self.recorded(&service.name).task_definition_arn;
        let (cluster, role) = (run.arn("ecs", &format!("cluster/{}", run.app))?, scheduler_arn(run)?);
        let request = request(&run.app, wanted, service, schedule, &Arns { cluster: &cluster, role: &role, revision: revision.as_deref() });
        let arn = match self.found.schedules.schedules.get(&name) {
            None => run.create("schedule", &name, self.create_schedule(run, &name, &request)).await?,
            Some(found) => {
                run.found("schedule", &name);
                run.change("schedule", &name, &diff(found, &request), async {
                    let call = self.scheduler.update_schedule().name(&name).customize().mutate_request(call::with_body(&request));
                    call.send().await.tried(format!("update the schedule {name}")).map(drop)
                })
                .await?;
                found.get("Arn").and_then(Value::as_str).map(str::to_owned)
            }
        };
        self.schedules.borrow_mut().insert(service.name.clone(), arn);
        Ok(())
    }

    async fn create_schedule(&self, run: &Run, name: &str, request: &Value) -> Result<String> {
        // EventBridge Scheduler tries whether it may assume the role, which a new role may not be known for at once.
        let not_yet = |error: &Error| error.says("assume the role");
        while_not_yet(run, "the role of the schedule to be visible", not_yet, async || {
            let call = self.scheduler.create_schedule().name(name).customize().mutate_request(call::with_body(request));
            let made = call.send().await.tried(format!("create the schedule {name}"))?;
            given(Some(made.schedule_arn()), "the ARN of the schedule")
        })
        .await
    }

    async fn delete_schedule(&self, run: &Run, name: &str) -> Result<()> {
        let is_ours = self.found.schedules.group.as_ref().is_some_and(|group| group.is_ours);
        if !run.may_delete("schedule", name, is_ours) {
            return Ok(());
        }
        let delete = async {
            let call = self.scheduler.delete_schedule().group_name(&run.app).name(name);
            call.send().await.tried(format!("delete the schedule {name}")).map(drop)
        };
        run.delete("schedule", name, delete).await
    }

    /// Deletes the schedules before the group, so that none starts a task while the group is being deleted.
    pub async fn schedules_down(&self, run: &Run, found: &Found) -> Result<()> {
        each(found.schedules.keys(), async |name| self.delete_schedule(run, name).await).await?;
        self.schedule_group_down(run, found.group.as_ref()).await
    }
}
