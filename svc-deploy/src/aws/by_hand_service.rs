//! A task by hand that reaches other services by name: that of an ECS service for a while, because only tasks of services are in the namespace of
//! Service Connect.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect.html>

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{DesiredStatus, Task, TaskDefinition};
use futures_util::try_join;
use serde_json::{Value, json};
use shared::error::{given, if_found};
use shared::wait::{until, while_not_yet};
use shared::{Result, Run, Tried};

use super::arn::last_name;
use super::by_hand_task::{Prepared, to_the_end};
use super::service::{NEW_PARTS, not_yet};
use super::service_request::CONNECT;
use super::task::{container_has_stopped, described, has_stopped};
use super::task_definition_diff::as_request;
use super::{call, ecs_tag, found_service};
use crate::model::{BY_HAND, KEEPER, KEEPER_MEMORY, KEEPER_SCRIPT, SHELL};

/// Returns the configuration of Service Connect for the task, when its service or job is in the namespace.
pub fn connection(service: &Value, definition: &Value) -> Option<Value> {
    let found = service.pointer("/deployments/0").and_then(|deployment| deployment.get(CONNECT));
    let mut connection = json!({"enabled": true});
    match found.filter(|found| found["enabled"] == true) {
        Some(found) => connection["namespace"] = found["namespace"].clone(),
        // A job has no service, but this container. Without a name, ECS takes the namespace of the cluster.
        None if containers(definition).any(|one| one["name"] == KEEPER) => {}
        None => return None,
    }
    Some(connection)
}

fn containers(definition: &Value) -> impl Iterator<Item = &Value> {
    definition["containerDefinitions"].as_array().into_iter().flatten()
}

/// Runs the task until its container has ended, and returns it. The service is deleted also after a failure or a signal.
pub async fn run(ecs: &Client, run: &Run, prepared: &Prepared<'_>, connection: Value, image: &str) -> Result<Task> {
    delete_ended(ecs, run, prepared.service).await?;
    let name = format!("{BY_HAND}{}-{}", prepared.service, &prepared.token[..8]);
    let revision = register(ecs, run, prepared, &name, image).await?;
    let done = attended(ecs, run, prepared, &name, &revision, connection).await;
    let (dismissed, deregistered) = futures_util::join!(dismiss(ecs, run, &name), deregister(ecs, &revision));
    let task = done?;
    dismissed.and(deregistered).map(|()| task)
}

async fn attended(ecs: &Client, run: &Run, prepared: &Prepared<'_>, name: &str, revision: &str, connection: Value) -> Result<Task> {
    let request = request(prepared, name, revision, &connection);
    while_not_yet(run, NEW_PARTS, not_yet, async || {
        let call = ecs.create_service().service_name(name).customize().mutate_request(call::with_body(&request));
        call.send().await.tried(format!("create the service {name} for a task of {}", prepared.service))
    })
    .await?;
    let task = until(run, "the task to start", async || Ok(tasks(ecs, run, name).await?.into_iter().next())).await?;
    let arn = given(task.task_arn(), "the ARN of the task")?;
    run.note(&format!(
        "task {} of {} started with {}, and reaches other services by name",
        last_name(&arn),
        prepared.service,
        last_name(&prepared.revision)
    ));
    to_the_end(ecs, run, prepared, &arn).await
}

/// Registers the definition of the task under a family of its own, so that no deployment takes it for its newest revision.
async fn register(ecs: &Client, run: &Run, prepared: &Prepared<'_>, name: &str, image: &str) -> Result<String> {
    let mut request = definition(prepared, image);
    request["family"] = json!(run.named(name));
    request["tags"] = ecs_tag::json(run.tags(prepared.service));
    let call = ecs.register_task_definition().family(name).set_container_definitions(Some(Vec::new()));
    let made = call.customize().mutate_request(call::with_body(&request)).send().await;
    let made = made.tried(format!("register the task definition of a task of {}", prepared.service))?;
    given(made.task_definition().and_then(TaskDefinition::task_definition_arn), "the ARN of the new task definition")
}

/// Returns the definition of the service's task with the command, without ports, and with the container that keeps the task.
fn definition(prepared: &Prepared<'_>, image: &str) -> Value {
    let mut request = as_request(&prepared.definition);
    let is_kept = containers(&request).any(|one| one["name"] == KEEPER);
    let memory = request.get("memory").is_none().then_some(KEEPER_MEMORY);
    let Some(all) = request["containerDefinitions"].as_array_mut() else { return request };
    for container in all.iter_mut() {
        if let Some(fields) = container.as_object_mut() {
            fields.shift_remove("portMappings");
        }
        if container["name"] == prepared.service && !prepared.command.is_empty() {
            container["command"] = json!(prepared.command);
        }
        if container["name"] != KEEPER && !is_kept {
            container["essential"] = json!(false);
            let mut waits = container["dependsOn"].as_array().cloned().unwrap_or_default();
            waits.push(json!({"containerName": KEEPER, "condition": "START"}));
            container["dependsOn"] = waits.into();
        }
    }
    if !is_kept {
        let mut keeper = json!({"name": KEEPER, "image": image, "essential": true, "entryPoint": SHELL, "command": [KEEPER_SCRIPT]});
        if let Some(memory) = memory {
            keeper["memoryReservation"] = json!(memory);
        }
        all.push(keeper);
    }
    request
}

/// Returns the request of `CreateService`: what that of `RunTask` has, for one task that is never replaced.
fn request(prepared: &Prepared<'_>, name: &str, revision: &str, connection: &Value) -> Value {
    let mut request = json!({
        "serviceName": name,
        "taskDefinition": revision,
        "desiredCount": 1,
        "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100},
        "propagateTags": "SERVICE",
        CONNECT: connection,
    });
    for key in ["cluster", "enableECSManagedTags", "tags", "networkConfiguration", "capacityProviderStrategy"] {
        if let Some(value) = prepared.request.get(key) {
            request[key] = value.clone();
        }
    }
    request
}

async fn tasks(ecs: &Client, run: &Run, service: &str) -> Result<Vec<Task>> {
    let listed = async |status: DesiredStatus| {
        let call = ecs.list_tasks().cluster(&run.app).service_name(service).desired_status(status);
        // A new service is not visible at once.
        Ok::<_, shared::Error>(if_found(shared::pages!(call, format!("list the tasks of the service {service}")))?.unwrap_or_default())
    };
    let (running, stopped) = try_join!(listed(DesiredStatus::Running), listed(DesiredStatus::Stopped))?;
    described(ecs, run, [running, stopped].concat()).await
}

/// Deletes what earlier runs have left that were killed: services whose container has ended. In others somebody's task is running.
async fn delete_ended(ecs: &Client, run: &Run, service: &str) -> Result<()> {
    let listed = found_service::listed(ecs, run).await?;
    let prefix = format!("{BY_HAND}{service}-");
    let is_mine = |name: &&str| name.strip_prefix(&prefix).is_some_and(|token| !token.contains('-'));
    for name in listed.iter().map(|arn| last_name(arn)).filter(is_mine) {
        let tasks = tasks(ecs, run, name).await?;
        if !tasks.is_empty() && tasks.iter().all(|task| has_stopped(task) || container_has_stopped(task, service)) {
            run.note(&format!("deleting the service {name} of an earlier run, whose task has ended"));
            dismiss(ecs, run, name).await?;
            for revision in tasks.iter().filter_map(Task::task_definition_arn) {
                deregister(ecs, revision).await?;
            }
        }
    }
    Ok(())
}

/// Deletes the service, which stops its task.
async fn dismiss(ecs: &Client, run: &Run, name: &str) -> Result<()> {
    let call = ecs.delete_service().cluster(&run.app).service(name).force(true);
    if_found(call.send().await.tried(format!("delete the service {name}"))).map(drop)
}

/// ECS keeps a deleted revision until no task uses it.
async fn deregister(ecs: &Client, revision: &str) -> Result<()> {
    ecs.deregister_task_definition().task_definition(revision).send().await.tried(format!("deregister the task definition {revision}"))?;
    let call = ecs.delete_task_definitions().task_definitions(revision);
    call.send().await.tried(format!("delete the task definition {revision}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_in_the_namespace_of_its_service_or_job() {
        let job = json!({"containerDefinitions": [{"name": "migrate"}, {"name": KEEPER}]});
        let alone = json!({"containerDefinitions": [{"name": "migrate"}]});
        let service = |enabled: bool| json!({"deployments": [{CONNECT: {"enabled": enabled, "namespace": "arn", "services": []}}]});
        assert_eq!(connection(&service(true), &alone), Some(json!({"enabled": true, "namespace": "arn"})));
        assert_eq!(connection(&service(false), &alone), None);
        assert_eq!(connection(&Value::Null, &job), Some(json!({"enabled": true})));
        assert_eq!(connection(&Value::Null, &alone), None);
    }

    #[test]
    fn the_definition_has_the_command_and_a_container_that_stays() {
        let found = json!({"family": "shop-web", "revision": 3, "status": "ACTIVE", "networkMode": "awsvpc", "containerDefinitions": [
            {"name": "web", "image": "web", "essential": true, "portMappings": [{"containerPort": 80}]},
            {"name": "log", "image": "log", "essential": true, "dependsOn": [{"containerName": "web", "condition": "START"}]}]});
        let command = ["ls".to_owned()];
        let prepared = |definition: &Value| Prepared {
            service: "web",
            command: &command,
            request: Value::Null,
            revision: String::new(),
            definition: definition.clone(),
            service_json: Value::Null,
            token: String::new(),
        };
        let made = definition(&prepared(&found), "busybox");
        let waits = json!({"containerName": KEEPER, "condition": "START"});
        let keeper = json!({"name": KEEPER, "image": "busybox", "essential": true, "entryPoint": ["/bin/sh", "-c"], "command": [KEEPER_SCRIPT],
            "memoryReservation": 16});
        assert_eq!(
            made["containerDefinitions"],
            json!([
            {"name": "web", "image": "web", "essential": false, "command": ["ls"], "dependsOn": [waits]},
            {"name": "log", "image": "log", "essential": false, "dependsOn": [{"containerName": "web", "condition": "START"}, waits]}, keeper])
        );
        assert_eq!((made.get("status"), made.get("revision")), (None, None));
        assert_eq!(definition(&prepared(&made), "other")["containerDefinitions"], made["containerDefinitions"], "a job has one");
    }
}
