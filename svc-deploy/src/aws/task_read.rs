//! Reads tasks.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html>

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{DesiredStatus, Task, TaskField};
use futures_util::try_join;
use shared::error::if_found;
use shared::{Result, Run, Tried};

/// Tasks that one call of `DescribeTasks` takes.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html>
const TASKS_A_CALL: usize = 100;

/// Returns those of these tasks that ECS still knows.
pub async fn described(ecs: &Client, run: &Run, arns: Vec<String>) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for some in arns.chunks(TASKS_A_CALL) {
        let call = ecs.describe_tasks().cluster(&run.app).set_tasks(Some(some.to_vec())).include(TaskField::Tags);
        tasks.extend(call.send().await.tried(format!("read the tasks of the cluster {}", run.app))?.tasks().to_vec());
    }
    Ok(tasks)
}

/// Returns the tasks of the cluster, or of one family, that have not stopped. Those that are told to stop go on for a while, and ECS lists them apart.
pub async fn unstopped(ecs: &Client, run: &Run, family: Option<&str>) -> Result<Vec<Task>> {
    let listed = async |status: DesiredStatus| {
        let call = ecs.list_tasks().cluster(&run.app).set_family(family.map(str::to_owned)).desired_status(status);
        Ok(if_found(shared::pages!(call, format!("list the tasks of the cluster {}", run.app)))?.unwrap_or_default())
    };
    let (running, stopping): (Vec<String>, Vec<String>) = try_join!(listed(DesiredStatus::Running), listed(DesiredStatus::Stopped))?;
    let mut tasks = described(ecs, run, [running, stopping].concat()).await?;
    tasks.retain(|task| !has_stopped(task));
    Ok(tasks)
}

/// Returns the name of the service that keeps a task.
pub fn service_of(task: &Task) -> Option<&str> {
    task.group().and_then(|group| group.strip_prefix("service:"))
}

pub fn has_stopped(task: &Task) -> bool {
    task.last_status() == Some("STOPPED")
}
