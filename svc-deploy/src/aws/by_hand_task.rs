//! The task of a run by hand: what it runs and where, and its log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Task;
use futures_util::try_join;
use serde_json::{Value, json};
use shared::doc::{Cluster, Document, Net};
use shared::wait::follow;
use shared::{Error, Result, Run};

use super::arn::last_name;
use super::ecs_tag;
use super::found_service::{self, described};
use super::service_request::{network, strategy};
use super::task::{container_has_stopped, described as tasks, has_stopped};
use super::task_definition::{self, FoundRevision};
use super::task_definition_request::family;
use super::task_log::TaskLog;

/// Who started the task: a person.
const STARTED_BY: &str = "ecs-pipe/run";
/// A line of the log is on the screen about this long after it was written.
const PAUSE: Duration = Duration::from_secs(1);
/// Reads without a new line after which the log of a stopped task is complete; the last lines come some seconds late.
const QUIET: u32 = 3;

/// What is needed to run the task.
pub struct Prepared<'a> {
    pub service: &'a str,
    /// Empty for the command of the service.
    pub command: &'a [String],
    /// Of `RunTask`, in AWS's own JSON.
    pub request: Value,
    /// The revision that it runs.
    pub revision: String,
    pub definition: Value,
    /// The service as it runs; `null` for a job.
    pub service_json: Value,
    /// Another one in each run.
    pub token: String,
}

/// Reads what the service or job runs.
pub async fn prepare<'a>(ecs: &Client, run: &Run, doc: &Document, service: &'a str, command: &'a [String]) -> Result<Prepared<'a>> {
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
    let token = shared::name::fingerprint(&format!("{request} {now} {}", std::process::id()));
    request["clientToken"] = json!(format!("ecs-pipe-{token}"));
    let FoundRevision { arn, definition, .. } = revision;
    Ok(Prepared { service, command, request, revision: arn, definition, service_json, token })
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
pub async fn to_the_end(ecs: &Client, run: &Run, prepared: &Prepared<'_>, arn: &str) -> Result<Task> {
    let Prepared { service, definition, .. } = prepared;
    let logs = shared::client!(aws_sdk_cloudwatchlogs, run);
    let mut log = TaskLog::of(definition, service, last_name(arn));
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
