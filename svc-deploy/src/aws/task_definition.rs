//! The task definitions. A revision never changes, and ECS registers the same content again as a new one. So each revision is tagged with a
//! fingerprint of the request that registered it.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{Tag, TaskDefinition, TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus};
use futures_util::future::try_join_all;
use futures_util::try_join;
use serde_json::Value;
use shared::error::given;
use shared::step::each;
use shared::wait::once;
use shared::{Error, Result, Run, Tried};

use super::call::{self, Answer};
use super::ecs_tag;
use super::job_image::keep_digests;
use super::task_definition_diff::{diff, drift, is_known};
use super::task_definition_request::{self, Roles, family};
use crate::SvcDeploy;
use crate::model::{Service, Wanted};

/// The newest active revision, by family.
pub type Found = BTreeMap<String, FoundRevision>;

pub struct FoundRevision {
    pub arn: String,
    fingerprint: Option<String>,
    ours: bool,
    tags: Vec<Tag>,
    status: TaskDefinitionStatus,
    /// What it says, in AWS's own JSON.
    pub definition: Value,
}

impl FoundRevision {
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Returns whether it is of a job that has completed.
    pub fn has_completed(&self) -> bool {
        ecs_tag::value(&self.tags, COMPLETED).is_some()
    }
}

/// The tag of a job's revision whose task has ended with the exit code 0. Its value is the id of that task.
pub const COMPLETED: &str = "ecs-pipe:completed";
/// The tag that holds the fingerprint of the request.
const FINGERPRINT: &str = "ecs-pipe:fingerprint";
/// Revisions that one call of `DeleteTaskDefinitions` takes.
const REVISIONS_A_CALL: usize = 10;

/// Finds those of the services that this run deploys, or with `--down` all of the app.
pub async fn find(ecs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let families = if let Some(wanted) = wanted {
        wanted.selected().map(|service| family(&run.app, &service.name)).collect()
    } else {
        // A run that was stopped may have left inactive revisions behind.
        let call = ecs.list_task_definition_families().family_prefix(run.named("")).status(TaskDefinitionFamilyStatus::All);
        shared::pages!(call, format!("list the task definition families of {}", run.app))?
    };
    let found = try_join_all(families.into_iter().map(async |family| {
        let newest = one(ecs, run, family.clone()).await?;
        if newest.is_some() || wanted.is_some() {
            return Ok::<_, Error>(newest);
        }
        Ok(revisions(ecs, run, &family).await?.into_iter().next().map(|found| (family, found)))
    }));
    Ok(found.await?.into_iter().flatten().collect())
}

/// Returns our own revisions of a family, also inactive ones: another app may have registered into the family, too.
async fn revisions(ecs: &Client, run: &Run, family: &str) -> Result<Vec<FoundRevision>> {
    let listed = async |status: TaskDefinitionStatus| {
        let call = ecs.list_task_definitions().family_prefix(family).status(status);
        shared::pages!(call, format!("list the revisions of the task definition {family}"))
    };
    let (active, inactive): (Vec<String>, Vec<String>) =
        try_join!(listed(TaskDefinitionStatus::Active), listed(TaskDefinitionStatus::Inactive))?;
    let arns: Vec<String> = active.into_iter().chain(inactive).collect::<BTreeSet<_>>().into_iter().collect();
    let mut ours = Vec::new();
    for some in arns.chunks(REVISIONS_A_CALL) {
        let found = try_join_all(some.iter().map(|arn| read(ecs, run, arn))).await?;
        ours.extend(found.into_iter().flatten().filter(|found| found.ours && found.status != TaskDefinitionStatus::DeleteInProgress));
    }
    Ok(ours)
}

/// Finds the newest active revision of a family, or the revision of an ARN, together with what it was found by.
pub async fn one(ecs: &Client, run: &Run, name: String) -> Result<Option<(String, FoundRevision)>> {
    let found = read(ecs, run, &name).await?;
    Ok(found.filter(|found| found.status == TaskDefinitionStatus::Active).map(|found| (name, found)))
}

async fn read(ecs: &Client, run: &Run, name: &str) -> Result<Option<FoundRevision>> {
    let answer = Answer::default();
    let call = ecs.describe_task_definition().task_definition(name).include(TaskDefinitionField::Tags);
    let said = call.customize().interceptor(answer.clone()).send().await.tried(format!("read the task definition {name}"));
    let said = match said {
        Ok(said) => said,
        // ECS has no code of its own for this.
        Err(error) if error.says("Unable to describe task definition") || error.is_gone() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((revision, status)) = said.task_definition().and_then(|revision| Some((revision, revision.status()?.clone()))) else {
        return Ok(None);
    };
    let found = FoundRevision {
        arn: given(revision.task_definition_arn(), "the ARN of the task definition")?,
        fingerprint: ecs_tag::value(said.tags(), FINGERPRINT).map(str::to_owned),
        ours: run.is_ours(said.tags().iter().map(ecs_tag::pair)),
        tags: said.tags().to_vec(),
        status,
        definition: answer.json().get_mut("taskDefinition").map(Value::take).unwrap_or_default(),
    };
    Ok(Some(found))
}

impl SvcDeploy {
    pub async fn task_definitions_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.selected(), async |service| {
            let arn = self.task_definition_up(run, service).await?;
            self.record(&service.name, |record| record.task_definition_arn = arn);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Returns the ARN of the revision that the service should run, or `None` when a new one is only planned.
    async fn task_definition_up(&self, run: &Run, service: &Service) -> Result<Option<String>> {
        let family = family(&run.app, &service.name);
        let roles = Roles {
            execution: self.recorded(&service.name).execution_role_arn,
            task: self.recorded(&service.name).task_role_arn,
            kept: self.kept.borrow().clone(),
        };
        let mut request = task_definition_request::request(&run.app, &run.caller()?, service, &roles);
        if let Some(found) = self.found.task_definitions.get(&family).filter(|_| service.job.is_some()) {
            keep_digests(&mut request, &found.definition);
        }
        let fingerprint = shared::name::fingerprint(&request.to_string());
        let register = self.register(run, service, &request, &fingerprint);
        let Some(found) = self.found.task_definitions.get(&family) else {
            return run.create("task definition", &family, register).await;
        };
        if !found.ours {
            return Err(run.unmanaged("task definition", &family));
        }
        let diff = if found.fingerprint.as_deref() == Some(&fingerprint) {
            drift(&found.definition, &request, &service.patch)
        } else {
            diff(&found.definition, &request)
        };
        if diff.is_empty() {
            self.keep_revision(run, service, found, Some(&fingerprint).filter(|_| is_known(&request))).await?;
            return Ok(Some(found.arn.clone()));
        }
        let mut arn = None;
        run.change("task definition", &family, &diff, async {
            arn = Some(register.await?);
            Ok(())
        })
        .await?;
        Ok(arn)
    }

    /// A revision that says what it should keeps its number, also when another version of svc-deploy registered it from another request.
    async fn keep_revision(&self, run: &Run, service: &Service, found: &FoundRevision, fingerprint: Option<&String>) -> Result<()> {
        run.found("task definition", &found.arn);
        let mut tags = run.tags(&service.name);
        tags.extend(fingerprint.map(|fingerprint| (FINGERPRINT.to_owned(), fingerprint.clone())));
        self.settle_ecs_tags(run, "task definition", &found.arn, tags, &found.tags).await
    }

    async fn register(&self, run: &Run, service: &Service, request: &Value, fingerprint: &str) -> Result<String> {
        let family = family(&run.app, &service.name);
        let mut tags = run.tags(&service.name);
        tags.push((FINGERPRINT.to_owned(), fingerprint.to_owned()));
        let mut request = request.clone();
        request["tags"] = ecs_tag::json(tags);
        let make = async || {
            let call = self.once.register_task_definition().family(&service.name).set_container_definitions(Some(Vec::new()));
            let made = call.customize().mutate_request(call::with_body(&request)).send().await;
            let made = made.tried(format!("register the task definition of services.{}", service.name))?;
            given(made.task_definition().and_then(TaskDefinition::task_definition_arn), "the ARN of the new task definition")
        };
        let before = self.found.task_definitions.get(&family).map(|found| found.arn.as_str());
        let find = async || {
            let newest = one(&self.ecs, run, family.clone()).await?.map(|(_, found)| found);
            let newest = newest.filter(|found| found.fingerprint.as_deref() == Some(fingerprint) && Some(found.arn.as_str()) != before);
            Ok(newest.map(|found| found.arn))
        };
        let arn = once(run, &format!("the task definition of services.{}", service.name), make, find).await?;
        self.check_alone(run, &family, arn, fingerprint).await
    }

    /// Two runs at the same moment may register the same content. Both then use the earlier revision, and the later one is deleted.
    async fn check_alone(&self, run: &Run, family: &str, mine: String, fingerprint: &str) -> Result<String> {
        let number = |arn: &str| arn.rsplit(':').next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
        let newest = self.found.task_definitions.get(family).map_or(0, |found| number(&found.arn));
        let before = number(&mine).saturating_sub(1);
        if before <= newest {
            return Ok(mine);
        }
        let other = one(&self.ecs, run, format!("{family}:{before}")).await?.map(|(_, found)| found);
        let Some(other) = other.filter(|found| found.ours && found.fingerprint.as_deref() == Some(fingerprint)) else { return Ok(mine) };
        run.note(&format!(
            "another run registered {} at the same moment with the same content. Both runs use it, and {mine} of this run is deleted",
            other.arn
        ));
        self.deregister(&mine).await?;
        let call = self.ecs.delete_task_definitions().task_definitions(&mine);
        call.send().await.tried(format!("delete the task definition {mine}"))?;
        Ok(other.arn)
    }

    /// Deletes every revision; only a list of a family's pages has them all.
    pub async fn task_definitions_down(&self, run: &Run, found: &Found) -> Result<()> {
        let ours = found.iter().filter(|(family, found)| run.may_delete("task definition", family, found.ours));
        each(ours, async |(family, _)| run.delete("task definition", family, self.delete_family(run, family)).await).await.map(drop)
    }

    async fn delete_family(&self, run: &Run, family: &str) -> Result<()> {
        let found = revisions(&self.ecs, run, family).await?;
        // One after another: ECS allows this call once a second.
        for revision in found.iter().filter(|found| found.status == TaskDefinitionStatus::Active) {
            self.deregister(&revision.arn).await?;
        }
        let arns: Vec<String> = found.into_iter().map(|found| found.arn).collect();
        for some in arns.chunks(REVISIONS_A_CALL) {
            let call = self.ecs.delete_task_definitions().set_task_definitions(Some(some.to_vec()));
            let said = call.send().await.tried(format!("delete the revisions of the task definition {family}"))?;
            // ECS answers 200 and lists what it did not delete. A revision that does not exist is deleted.
            let gone = |reason: Option<&str>| reason.is_some_and(|reason| reason == "MISSING" || reason.contains("does not exist"));
            if let Some(failure) = said.failures().iter().find(|failure| !gone(failure.reason())) {
                return Err(Error::failed(
                    "revision-not-deleted",
                    format!(
                        "could not delete the task definition {}: {}. Fix the cause and run the same command again",
                        failure.arn().unwrap_or(family),
                        failure.reason().unwrap_or("ECS gave no reason")
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn deregister(&self, arn: &str) -> Result<()> {
        let call = self.ecs.deregister_task_definition().task_definition(arn);
        call.send().await.tried(format!("deregister the task definition {arn}")).map(drop)
    }
}
