//! The tasks that no service keeps: those of jobs, of schedules, and of `--run`.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html>

use std::cell::Cell;
use std::fmt;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{Container, DesiredStatus, Task};
use futures_util::try_join;
use serde_json::Value;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_held, while_not_yet};
use shared::{Error, Result, Run, Tried};

use super::arn::last_name;
use super::call;
use super::ecs_tag;
use super::service::{NEW_PARTS, not_yet};
pub use super::task_read::{described, has_stopped};
use super::task_read::{service_of, unstopped};
use super::task_request::{STARTED_BY, with_token};
use crate::SvcDeploy;

/// What ECS says when no instance has room for a task now; the cluster may still get one.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>
const NO_ROOM: &[&str] = &["RESOURCE:", "No Container Instances were found", "AGENT"];

/// Finds the tasks of the app that no service keeps and that have not stopped. Only `--down` needs them.
pub async fn find(ecs: &Client, run: &Run) -> Result<Vec<Task>> {
    let mut tasks = unstopped(ecs, run, None).await?;
    tasks.retain(|task| service_of(task).is_none() && run.is_ours(task.tags().iter().map(ecs_tag::pair)));
    Ok(tasks)
}

/// Returns the tasks of a family that deployments have started, the newest first. ECS returns stopped ones for about an hour.
pub async fn of_family(ecs: &Client, run: &Run, family: &str) -> Result<Vec<Task>> {
    let listed = async |status: DesiredStatus| {
        let call = ecs.list_tasks().cluster(&run.app).family(family).desired_status(status);
        shared::pages!(call, format!("list the tasks of the task definition {family}"))
    };
    let (running, stopped) = try_join!(listed(DesiredStatus::Running), listed(DesiredStatus::Stopped))?;
    let mut tasks = described(ecs, run, [running, stopped].concat()).await?;
    tasks.retain(|task| task.started_by() == Some(STARTED_BY));
    tasks.sort_by_key(|task| std::cmp::Reverse(task.created_at().map(aws_smithy_types::DateTime::secs)));
    Ok(tasks)
}

/// Returns whether a container has ended, though its task may go on.
pub fn container_has_stopped(task: &Task, container: &str) -> bool {
    task.containers().iter().any(|one| one.name() == Some(container) && one.last_status() == Some("STOPPED"))
}

/// Returns the exit code of a container, when it has ended.
pub fn exit_code(task: &Task, container: &str) -> Option<i32> {
    task.containers().iter().find(|one| one.name() == Some(container)).and_then(Container::exit_code)
}

/// How a task has ended, in words.
pub struct TaskEnd(String);

impl TaskEnd {
    pub fn of(task: &Task, container: &str) -> Self {
        let exit = exit_code(task, container).map_or_else(|| "without an exit code".to_owned(), |code| format!("with exit code {code}"));
        let reason = task.stopped_reason().filter(|reason| !reason.is_empty()).unwrap_or("ECS gave no reason");
        Self(format!("container {container} ended {exit} ({reason})"))
    }
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SvcDeploy {
    /// Starts one task and returns it. `stopped` are the tasks of earlier attempts, the newest first.
    pub async fn start_task(&self, run: &Run, name: &str, request: &Value, stopped: &[Task]) -> Result<Task> {
        let mut after = stopped.first().and_then(Task::task_arn).map(str::to_owned);
        loop {
            let request = with_token(request.clone(), after.as_deref());
            let task = while_held(run, "the cluster to have room for the task", has_no_room, async || {
                while_not_yet(run, NEW_PARTS, not_yet, async || self.run_task(name, &request).await).await
            })
            .await?;
            // The token is that of an attempt whose task has stopped.
            if !stopped.iter().any(|other| other.task_arn() == task.task_arn()) {
                return Ok(task);
            }
            after = task.task_arn().map(str::to_owned);
        }
    }

    async fn run_task(&self, name: &str, request: &Value) -> Result<Task> {
        let call = self.ecs.run_task().task_definition(name).customize().mutate_request(call::with_body(request));
        let doing = format!("run a task of services.{name}");
        let said = call.send().await.tried(&doing)?;
        if let Some(task) = said.tasks().first() {
            return Ok(task.clone());
        }
        let reason = said.failures().first().and_then(|failure| failure.reason()).unwrap_or("ECS gave no reason");
        Err(Error::failed("task-not-started", format!("could not {doing}: {reason}. Fix the cause and run the same command again")))
    }

    /// Waits until a task has stopped, and returns it.
    pub async fn task_stopped(&self, run: &Run, what: &str, arn: &str) -> Result<Task> {
        let seen = Cell::new(false);
        until(run, what, async || {
            let (tasks, ()) = try_join!(described(&self.ecs, run, vec![arn.to_owned()]), self.check_launches(run))?;
            match tasks.into_iter().next() {
                Some(task) if has_stopped(&task) => return Ok(Some(task)),
                Some(_) => seen.set(true),
                // A new task is not visible at once.
                None if !seen.get() => {}
                None => return Err(lost(arn)),
            }
            Ok(None)
        })
        .await
    }

    /// Stops a task; one that has stopped is stopped.
    pub async fn stop_task(&self, run: &Run, arn: &str) -> Result<()> {
        let call = self.ecs.stop_task().cluster(&run.app).task(arn).reason(format!("stopped by svc-deploy for {}", run.app));
        if_found(call.send().await.tried(format!("stop the task {arn}"))).map(drop)
    }

    /// The cluster can be deleted only when its tasks have stopped.
    pub async fn tasks_down(&self, run: &Run, found: &[Task]) -> Result<()> {
        each(found, async |task| {
            let arn = given(task.task_arn(), "the ARN of the task")?;
            let id = last_name(&arn);
            let stop = async {
                self.stop_task(run, &arn).await?;
                self.task_stopped(run, &format!("the task {id} to stop"), &arn).await.map(drop)
            };
            run.delete("task", id, stop).await
        })
        .await
        .map(drop)
    }
}

fn has_no_room(error: &Error) -> bool {
    NO_ROOM.iter().any(|words| error.says(words))
}

fn lost(arn: &str) -> Error {
    let text = format!(
        "could not read how the task {arn} ended: ECS does not return it any more. Run the same command again, which starts a new task"
    );
    Error::failed("task-lost", text)
}
