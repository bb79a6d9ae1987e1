//! The schedule group, one for each app with scheduled jobs: it has the tags that a schedule can't have.
//! <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateScheduleGroup.html>

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::types::{ScheduleGroupState, Tag};
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::wait::until;
use shared::{Result, Run, Tried};

use crate::SvcDeploy;

shared::tagging!(aws_sdk_scheduler::types::Tag);

pub struct FoundGroup {
    pub is_ours: bool,
    /// Being deleted, with its schedules.
    is_leaving: bool,
    tags: Vec<Tag>,
}

pub async fn find(scheduler: &Client, run: &Run) -> Result<Option<FoundGroup>> {
    run.ask_caller().await?;
    let arn = arn(run)?;
    let group = async {
        if_found(scheduler.get_schedule_group().name(&run.app).send().await.tried(format!("read the schedule group {}", run.app)))
    };
    let tags = async {
        let call = scheduler.list_tags_for_resource().resource_arn(&arn);
        if_found(call.send().await.tried(format!("read the tags of the schedule group {}", run.app)))
    };
    let (group, tags) = try_join!(group, tags)?;
    let tags = tags.map(|said| said.tags().to_vec()).unwrap_or_default();
    let found = |is_leaving| FoundGroup { is_ours: run.is_ours(tags.iter().map(pair)), is_leaving, tags };
    Ok(group.map(|group| found(group.state() == Some(&ScheduleGroupState::Deleting))))
}

fn arn(run: &Run) -> Result<String> {
    run.arn("scheduler", &format!("schedule-group/{}", run.app))
}

impl SvcDeploy {
    pub async fn schedule_group_up(&self, run: &Run) -> Result<()> {
        let name = run.app.as_str();
        let Some(found) = self.found.schedules.group.as_ref().filter(|found| !found.is_leaving) else {
            return run.create("schedule group", name, self.create_schedule_group(run)).await.map(drop);
        };
        if !found.is_ours {
            return Err(run.unmanaged("schedule group", name));
        }
        run.found("schedule group", name);
        let arn = arn(run)?;
        run.settle_tags(
            "schedule group",
            name,
            run.tags("schedules"),
            found.tags.iter().map(pair),
            async |missing| self.scheduler.tag_resource().resource_arn(&arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.scheduler.untag_resource().resource_arn(&arn).set_tag_keys(Some(left)).send().await,
        )
        .await
    }

    async fn create_schedule_group(&self, run: &Run) -> Result<String> {
        // A name is free again when the last group of this name is deleted with all its schedules.
        if self.found.schedules.group.is_some() {
            until(run, &format!("the schedule group {} to be deleted", run.app), async || {
                Ok(find(&self.scheduler, run).await?.is_none().then_some(()))
            })
            .await?;
        }
        let call = self.scheduler.create_schedule_group().name(&run.app).set_tags(Some(aws_tags(run.tags("schedules"))));
        let made = call.send().await.tried(format!("create the schedule group {}", run.app))?;
        given(Some(made.schedule_group_arn()), "the ARN of the schedule group")
    }

    /// Deletes the group. EventBridge Scheduler goes on deleting after its answer.
    pub async fn schedule_group_down(&self, run: &Run, found: Option<&FoundGroup>) -> Result<()> {
        let Some(found) = found.filter(|found| !found.is_leaving) else { return Ok(()) };
        if !run.may_delete("schedule group", &run.app, found.is_ours) {
            return Ok(());
        }
        let delete = async {
            let call = self.scheduler.delete_schedule_group().name(&run.app);
            call.send().await.tried(format!("delete the schedule group {}", run.app)).map(drop)
        };
        run.delete("schedule group", &run.app, delete).await
    }
}
