//! One task by hand (`--run`): with the task definition of a service or job, another command, and its log on stdout.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Task;
use futures_util::try_join;
use serde_json::{Value, json};
use shared::doc::{Cluster, Document, Net};
use shared::error::given;
use shared::wait::follow;
use shared::{Error, Result, Run, Tried};

use super::arn::last_name;
use super::found_service::{self, described};
use super::service_request::{network, strategy};
use super::task::{TaskEnd, container_has_stopped, described as tasks, exit_code, has_stopped};
use super::task_definition::{self, FoundRevision};
use super::task_definition_request::family;
use super::task_log::TaskLog;
use super::{call, ecs_tag};

/// Who started the task: a person.
const STARTED_BY: &str = "ecs-pipe/run";
/// A line of the log is on the screen about this long after it was written.
const PAUSE: Duration = Duration::from_secs(1);
/// Reads without a new line after which the log of a stopped task is complete; the last lines come some seconds late.
const QUIET: u32 = 3;

/// Runs a task and prints its log, until its end.
///
/// # Errors
/// Fails when the container does not end with the exit code 0. After a signal the task is stopped.
pub async fn run_by_hand(run: &Run, doc: &Document, service: &str, command: &[String]) -> Result<()> {
    let ecs = shared::client!(aws_sdk_ecs, run);
    let (request, revision, is_connected) = request(&ecs, run, doc, service, command).await?;
    let doing = format!("run a task of {service}");
    let call = ecs.run_task().task_definition(&revision.arn).customize().mutate_request(call::with_body(&request));
    let said = call.send().await.tried(&doing)?;
    let Some(task) = said.tasks().first() else {
        let reason = said.failures().first().and_then(|failure| failure.reason()).unwrap_or("ECS gave no reason");
        return Err(Error::failed("run-not-started", format!("could not {doing}: {reason}. Fix the cause and run the same command again")));
    };
    let arn = given(task.task_arn(), "the ARN of the task")?;
    if is_connected {
        run.note("the task can't reach other services by name, because ECS Service Connect is only for the tasks of services");
    }
    run.note(&format!("task {} of {service} started with {}", last_name(&arn), last_name(&revision.arn)));
    if !run.wait {
        return Ok(());
    }
    let ended = to_the_end(&ecs, run, service, &revision, &arn).await;
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

/// Returns the request of `RunTask` in AWS's own JSON, the revision that it runs, and whether its service calls others by name.
async fn request(ecs: &Client, run: &Run, doc: &Document, service: &str, command: &[String]) -> Result<(Value, FoundRevision, bool)> {
    let family = family(&run.app, service);
    let (services, newest) = try_join!(described(ecs, run, vec![service.to_owned()]), task_definition::one(ecs, run, family.clone()))?;
    // What a service runs may be older than the newest revision, whose deployment has failed.
    let service_json =
        services.into_iter().find(|found| found.service.status() == Some("ACTIVE")).map(|found| found.json).unwrap_or_default();
    let revision = match service_json.get("taskDefinition").and_then(Value::as_str) {
        Some(arn) => task_definition::one(ecs, run, arn.to_owned()).await?,
        None => newest,
    };
    let Some((_, revision)) = revision else {
        return Err(Error::usage(
            "run-unknown-service",
            format!("the app {} has no service or job {service:?} in this account and region. Check the name, or deploy it first", run.app),
        ));
    };
    if !revision.is_ours() {
        return Err(run.unmanaged("task definition", &family));
    }
    let mut request = json!({
        "cluster": run.app,
        "taskDefinition": revision.arn,
        "count": 1,
        "startedBy": STARTED_BY,
        "enableECSManagedTags": true,
        "tags": ecs_tag::json(run.tags(service)),
    });
    if revision.definition["networkMode"] == "awsvpc" {
        request["networkConfiguration"] = place(ecs, run, doc, &service_json).await?;
    }
    let of_cluster = doc.view::<Cluster>("cluster")?.map(|cluster| strategy(&cluster));
    // Without a strategy ECS takes the one of the cluster.
    if let Some(strategy) = service_json.get("capacityProviderStrategy").cloned().or(of_cluster) {
        request["capacityProviderStrategy"] = strategy;
    }
    if !command.is_empty() {
        request["overrides"] = json!({"containerOverrides": [{"name": service, "command": command}]});
    }
    // Each run starts one task, also when an answer is lost and the call is repeated.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    request["clientToken"] = json!(format!("ecs-pipe-{}", shared::name::fingerprint(&format!("{request} {now} {}", std::process::id()))));
    let is_connected = service_json.pointer("/deployments/0/serviceConnectConfiguration/enabled") == Some(&Value::Bool(true));
    Ok((request, revision, is_connected))
}

/// Returns the subnets and the group of a task: those of its service, of the document, or of another service of the app.
async fn place(ecs: &Client, run: &Run, doc: &Document, service: &Value) -> Result<Value> {
    let of = |service: &Value| service.get("networkConfiguration").filter(|found| found.is_object()).cloned();
    let of_document = doc.view::<Net>("net")?.filter(|net| !net.private_subnet_ids.is_empty()).map(|net| network(&net));
    if let Some(found) = of(service).or(of_document) {
        return Ok(found);
    }
    let others = described(ecs, run, found_service::listed(ecs, run).await?).await?;
    others.iter().find_map(|other| of(&other.json)).ok_or_else(|| {
        Error::usage(
            "run-without-network",
            "the task needs subnets, and no service of the app has any. Pass the document of the deployment on stdin, instead of --app",
        )
    })
}

/// Prints the log until the task has stopped and its log is complete.
async fn to_the_end(ecs: &Client, run: &Run, service: &str, revision: &FoundRevision, arn: &str) -> Result<Task> {
    let logs = shared::client!(aws_sdk_cloudwatchlogs, run);
    let mut log = TaskLog::of(&revision.definition, service, last_name(arn));
    if log.is_none() {
        run.note("the log is not shown, because its driver is not awslogs");
    }
    let (mut ended, mut quiet): (Option<Task>, u32) = (None, 0);
    follow(run, PAUSE, async || {
        let printed = match &mut log {
            Some(log) => log.print(&logs, run).await?,
            None => false,
        };
        if ended.is_none() {
            let task = tasks(ecs, run, vec![arn.to_owned()]).await?.into_iter().next();
            ended = task.filter(|task| has_stopped(task) || container_has_stopped(task, service));
            return Ok(None);
        }
        quiet = if printed { 0 } else { quiet + 1 };
        Ok(ended.clone().filter(|_| quiet >= QUIET || log.is_none()))
    })
    .await
}

fn check(service: &str, task: &Task) -> Result<()> {
    let end = TaskEnd::of(task, service);
    match exit_code(task, service) {
        Some(0) => Ok(()),
        _ => Err(Error::failed("run-failed", format!("could not complete the task of {service}: {end}. Its log is above"))),
    }
}
