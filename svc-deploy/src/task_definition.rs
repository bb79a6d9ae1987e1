//! The task definitions. A revision never changes, and registering the same again makes a new one, so each carries a fingerprint of what it says.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>

use std::collections::BTreeMap;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{Tag, TaskDefinition, TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use shared::error::given;
use shared::step::each;
use shared::wait::once;
use shared::{Diff, Error, Result, Run, Tried};

use crate::compose::Service;
use crate::wish::Wanted;
use crate::{SvcDeploy, log_group, secret};

/// The newest active revision, by family.
pub type Found = BTreeMap<String, FoundRevision>;

pub struct FoundRevision {
    arn: String,
    fingerprint: Option<String>,
    ours: bool,
    tags: Vec<Tag>,
}

const FINGERPRINT: &str = "ecs-pipe:fingerprint";
/// How many one call of `DeleteTaskDefinitions` takes.
const AT_ONCE: usize = 10;

pub fn family(run: &Run, service: &str) -> String {
    run.named(service)
}

/// Building up, those of the services; taking down, all of the app's.
pub async fn find(ecs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let families = if let Some(wanted) = wanted {
        wanted.selected().map(|service| family(run, &service.name)).collect()
    } else {
        let call = ecs.list_task_definition_families().family_prefix(run.named("")).status(TaskDefinitionFamilyStatus::Active);
        call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.tried("look for the task definitions")?
    };
    let found = try_join_all(families.into_iter().map(|family| one(ecs, run, family))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn one(ecs: &Client, run: &Run, family: String) -> Result<Option<(String, FoundRevision)>> {
    let call = ecs.describe_task_definition().task_definition(&family).include(TaskDefinitionField::Tags);
    let said = match call.send().await.tried(format!("look for the task definition {family}")) {
        Ok(said) => said,
        // ECS has no code of its own for this.
        Err(error) if error.says("Unable to describe task definition") || error.is_gone() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(revision) = said.task_definition().filter(|revision| revision.status() == Some(&TaskDefinitionStatus::Active)) else {
        return Ok(None);
    };
    let fingerprint = said.tags().iter().find(|tag| tag.key() == Some(FINGERPRINT)).and_then(Tag::value).map(str::to_owned);
    let ours = run.is_ours(said.tags().iter().map(|tag| (tag.key(), tag.value())));
    let arn = given(revision.task_definition_arn(), "the task definition's ARN")?;
    Ok(Some((family, FoundRevision { arn, fingerprint, ours, tags: said.tags().to_vec() })))
}

impl SvcDeploy {
    pub async fn task_definitions_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.selected(), async |service| {
            let family = family(run, &service.name);
            let request = self.request(run, service, &family)?;
            let fingerprint = shared::name::fingerprint(&request.to_string());
            let found = self.found.task_definitions.get(&family);
            if found.is_some_and(|found| !found.ours) {
                return Err(run.foreign("task definition", &family));
            }
            let arn = match found.filter(|found| found.fingerprint.as_deref() == Some(&fingerprint)) {
                Some(found) => {
                    run.found("task definition", &found.arn);
                    self.keep_ecs_tags(run, "task definition", &found.arn, run.tags(&service.name), &found.tags).await?;
                    Some(found.arn.clone())
                }
                None => run.create("task definition", &family, self.register(run, service, request, &fingerprint)).await?,
            };
            self.record(&service.name, |record| record.task_definition_arn = arn);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// The request in AWS's own JSON, so that `x-svc.patch` can say what this SDK does not know yet.
    fn request(&self, run: &Run, service: &Service, family: &str) -> Result<Value> {
        let svc = self.svc.borrow();
        let task_role = svc.services.get(&service.name).and_then(|record| record.task_role_arn.clone());
        let mut containers = service.patched_containers();
        for container in &mut containers {
            if container.get("logConfiguration").is_none() {
                container["logConfiguration"] = log_configuration(run, service);
            }
            secret::resolve(run, container)?;
        }
        let launch = if service.size.is_some() { "FARGATE" } else { "EC2" };
        let mut request = json!({
            "family": family,
            "networkMode": service.network_mode.value(),
            "requiresCompatibilities": [launch],
            "executionRoleArn": svc.execution_role_arn,
            "taskRoleArn": task_role,
            "containerDefinitions": containers,
        });
        if let Some((cpu, memory)) = service.size {
            request["cpu"] = json!(cpu.to_string());
            request["memory"] = json!(memory.to_string());
        }
        if !service.volumes.is_empty() {
            request["volumes"] = json!(service.volumes);
        }
        if let Some(platform) = service.runtime_platform() {
            request["runtimePlatform"] = platform;
        }
        if let Some(patch) = &service.patch.task {
            json_patch::merge(&mut request, patch);
        }
        Ok(request)
    }

    async fn register(&self, run: &Run, service: &Service, mut request: Value, fingerprint: &str) -> Result<String> {
        let mut tags: Vec<Value> = run.tags(&service.name).into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        tags.push(json!({"key": FINGERPRINT, "value": fingerprint}));
        request["tags"] = tags.into();
        let make = async || {
            let request = request.clone();
            let call = self.once.register_task_definition().family(&service.name).set_container_definitions(Some(Vec::new()));
            let made = call.customize().mutate_request(move |http| crate::service::say(http, &request)).send().await;
            let made = made.tried(format!("register the task definition of services.{}", service.name))?;
            given(made.task_definition().and_then(TaskDefinition::task_definition_arn), "the new task definition's ARN")
        };
        let find = async || {
            let newest = one(&self.ecs, run, family(run, &service.name)).await?;
            Ok(newest.filter(|(_, found)| found.fingerprint.as_deref() == Some(fingerprint)).map(|(_, found)| found.arn))
        };
        let arn = once(run, &format!("the task definition of services.{}", service.name), make, find).await?;
        self.check_alone(run, service, arn, fingerprint).await
    }

    /// Two runs at the same moment may register the same: the earlier one stays, and both go on with it.
    async fn check_alone(&self, run: &Run, service: &Service, mine: String, fingerprint: &str) -> Result<String> {
        let number = |arn: &str| arn.rsplit(':').next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
        let family = family(run, &service.name);
        let newest = self.found.task_definitions.get(&family).map_or(0, |found| number(&found.arn));
        let before = number(&mine).saturating_sub(1);
        if before <= newest {
            return Ok(mine);
        }
        let other = one(&self.ecs, run, format!("{family}:{before}")).await?.map(|(_, found)| found);
        let Some(other) = other.filter(|found| found.ours && found.fingerprint.as_deref() == Some(fingerprint)) else { return Ok(mine) };
        run.note(&format!(
            "another run has registered {} at the same moment: {mine} of this one is deleted, and both go on with that",
            other.arn
        ));
        self.ecs.deregister_task_definition().task_definition(&mine).send().await.tried(format!("deregister {mine}"))?;
        self.ecs.delete_task_definitions().task_definitions(&mine).send().await.tried(format!("delete {mine}"))?;
        Ok(other.arn)
    }

    /// Every active revision, for which a family has to be asked page by page.
    pub async fn task_definitions_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.task_definitions.iter().filter(|(family, found)| run.goes("task definition", family, found.ours));
        each(ours, async |(family, _)| {
            let delete = async {
                let arns = self.revisions(run, family).await?;
                // One after another: the throttle of this call is one a second.
                for arn in &arns {
                    self.ecs.deregister_task_definition().task_definition(arn).send().await.tried(format!("deregister {arn}"))?;
                }
                for some in arns.chunks(AT_ONCE) {
                    let said = self
                        .ecs
                        .delete_task_definitions()
                        .set_task_definitions(Some(some.to_vec()))
                        .send()
                        .await
                        .tried(format!("delete the revisions of {family}"))?;
                    // This call answers 200 and lists what it could not do; what is gone already is done.
                    let gone = |reason: Option<&str>| reason.is_some_and(|reason| reason == "MISSING" || reason.contains("does not exist"));
                    if let Some(failure) = said.failures().iter().find(|failure| !gone(failure.reason())) {
                        return Err(Error::Failed(format!(
                            "could not delete {}: {}",
                            failure.arn().unwrap_or(family),
                            failure.reason().unwrap_or("no reason given")
                        )));
                    }
                }
                Ok(())
            };
            run.delete("task definition", family, delete).await
        })
        .await
        .map(drop)
    }

    /// Those of ours: another app may have registered into the family before or since.
    async fn revisions(&self, run: &Run, family: &str) -> Result<Vec<String>> {
        let items =
            self.ecs.list_task_definitions().family_prefix(family).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let mut ours = Vec::new();
        for some in items.tried(format!("list the revisions of {family}"))?.chunks(AT_ONCE) {
            let found = try_join_all(some.iter().map(|arn| one(&self.ecs, run, arn.clone()))).await?;
            ours.extend(found.into_iter().flatten().filter(|(_, found)| found.ours).map(|(_, found)| found.arn));
        }
        Ok(ours)
    }

    /// What changes in a service when its newest revision is another one.
    pub fn revision_diff(&self, diff: Diff, service: &str, running: Option<&str>) -> Diff {
        let svc = self.svc.borrow();
        let short = |arn: &str| arn.rsplit('/').next().unwrap_or(arn).to_owned();
        let newest = svc.services.get(service).and_then(|record| record.task_definition_arn.as_deref());
        // In a plan the new revision has no number yet.
        diff.field("taskDefinition", running.map(short), Some(newest.map_or_else(|| "a new revision".to_owned(), short)))
    }
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
fn log_configuration(run: &Run, service: &Service) -> Value {
    json!({"logDriver": "awslogs", "options": {
        "awslogs-group": log_group::name(run, &service.name),
        "awslogs-region": run.session.region(),
        "awslogs-stream-prefix": service.name,
        // A full pipe must not stop the service.
        "mode": "non-blocking",
        "max-buffer-size": "25m",
    }})
}
