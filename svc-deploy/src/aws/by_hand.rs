//! One task by hand (`--run`): with the task definition of a service or job, another command, and its log on stdout.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Task;
use shared::doc::Document;
use shared::error::given;
use shared::{Error, Result, Run, Tried};

use super::arn::last_name;
use super::by_hand_task::{Prepared, prepare, to_the_end};
use super::task::{TaskEnd, exit_code, has_stopped};
use super::{by_hand_service, call};

/// Runs a task and prints its log, until its end. `keeper_image` is that of the container that keeps a task with names alive.
///
/// # Errors
/// Fails when the container does not end with the exit code 0. After a signal the task is stopped.
pub async fn run_by_hand(run: &Run, doc: &Document, service: &str, command: &[String], keeper_image: &str) -> Result<()> {
    let ecs = shared::client!(aws_sdk_ecs, run);
    let prepared = prepare(&ecs, run, doc, service, command).await?;
    match by_hand_service::connection(&prepared.service_json, &prepared.definition) {
        Some(connection) if run.wait => {
            let ended = by_hand_service::run(&ecs, run, &prepared, connection, keeper_image).await?;
            return check(service, &ended);
        }
        Some(_) => run.note("with --no-wait, the task can't reach other services by name"),
        None => {}
    }
    run_task(&ecs, run, &prepared).await
}

/// Runs a task outside of any service.
async fn run_task(ecs: &Client, run: &Run, prepared: &Prepared<'_>) -> Result<()> {
    let Prepared { service, request, revision, .. } = prepared;
    let doing = format!("run a task of {service}");
    let call = ecs.run_task().task_definition(revision).customize().mutate_request(call::with_body(request));
    let said = call.send().await.tried(&doing)?;
    let Some(task) = said.tasks().first() else {
        let reason = said.failures().first().and_then(|failure| failure.reason()).unwrap_or("ECS gave no reason");
        return Err(Error::failed("run-not-started", format!("could not {doing}: {reason}. Fix the cause and run the same command again")));
    };
    let arn = given(task.task_arn(), "the ARN of the task")?;
    run.note(&format!("task {} of {service} started with {}", last_name(&arn), last_name(revision)));
    if !run.wait {
        return Ok(());
    }
    let ended = to_the_end(ecs, run, prepared, &arn).await;
    if let Err(Error::Interrupted(_)) = &ended {
        let call = ecs.stop_task().cluster(&run.app).task(&arn).reason("interrupted");
        run.note(&format!("stopping task {}", last_name(&arn)));
        call.send().await.tried(format!("stop the task {arn}"))?;
    }
    let ended = ended?;
    // A container beside it may go on.
    if !has_stopped(&ended) {
        let call = ecs.stop_task().cluster(&run.app).task(&arn).reason("its container has ended");
        call.send().await.tried(format!("stop the task {arn}"))?;
    }
    check(service, &ended)
}

fn check(service: &str, task: &Task) -> Result<()> {
    let end = TaskEnd::of(task, service);
    match exit_code(task, service) {
        Some(0) => Ok(()),
        _ => Err(Error::failed("run-failed", format!("could not complete the task of {service}: {end}. Its log is above"))),
    }
}
