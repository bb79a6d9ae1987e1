//! Deployments: waiting for them, and saying why one failed.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, DesiredStatus, Service as EcsService, Task};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use shared::wait::later;
use shared::{Error, Result, Run, Tried};

use crate::compose::Service;
use crate::{SvcDeploy, service};

/// No deployment is complete sooner: a task has to start, and the load balancer to find it well twice.
pub const SOONEST: Duration = Duration::from_secs(4);
/// How many of a task's last log lines are shown.
const LINES: i32 = 10;

impl SvcDeploy {
    /// Waits for all of them together, so it takes as long as the slowest.
    pub async fn deployments_ready<'a>(&self, run: &Run, services: impl IntoIterator<Item = &'a Service>) -> Result<()> {
        let mut left: Vec<&Service> = services.into_iter().filter(|service| !self.was_complete(service)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = left.iter().map(|service| service.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        let waited = later(run, &format!("the deployments of {}", names.join(", ")), SOONEST, async || {
            let said = self.look_again(run, &left).await?;
            for (service, now) in said {
                // Reads lag behind writes: until our deployment shows, another one is only an old answer.
                if now.deployments().iter().any(|deployment| self.is_awaited(service, deployment)) {
                    seen.insert(service.name.clone());
                }
                if !seen.contains(&service.name) {
                    continue;
                }
                match self.outcome(service, &now) {
                    Outcome::Running => {}
                    Outcome::Complete => left.retain(|other| other.name != service.name),
                    Outcome::Failed(why) => return Err(Error::Failed(self.explain(run, service, &now, &why).await)),
                }
            }
            Ok(left.is_empty().then_some(()))
        })
        .await;
        if matches!(waited, Err(Error::Deadline { .. })) {
            for (service, now) in self.look_again(run, &left).await? {
                run.note(&self.explain(run, service, &now, "it is not complete").await);
            }
        }
        waited
    }

    async fn look_again<'a>(&self, run: &Run, services: &[&'a Service]) -> Result<Vec<(&'a Service, EcsService)>> {
        let said = service::described(&self.ecs, run, services.iter().map(|service| service.name.clone()).collect()).await?;
        let now =
            |service: &&'a Service| said.iter().find(|now| now.service_name() == Some(&service.name)).map(|now| (*service, now.clone()));
        Ok(services.iter().filter_map(now).collect())
    }

    /// Notes which deployment is the one of this run, from ECS's answer.
    pub fn has_begun(&self, service: &Service, said: Option<&EcsService>) {
        let id = said.and_then(primary).and_then(Deployment::id).map(str::to_owned);
        self.begun.borrow_mut().insert(service.name.clone(), id);
    }

    /// Whether it was complete before this run, and this run changed nothing: then there is nothing to ask.
    fn was_complete(&self, service: &Service) -> bool {
        let complete = |found| matches!(self.outcome(service, found), Outcome::Complete);
        !self.begun.borrow().contains_key(&service.name) && self.found.services.get(&service.name).is_some_and(complete)
    }

    /// Whether this deployment is of the revision that was asked for.
    fn is_asked(&self, service: &Service, deployment: &Deployment) -> bool {
        let svc = self.svc.borrow();
        deployment.task_definition() == svc.services.get(&service.name).and_then(|record| record.task_definition_arn.as_deref())
    }

    /// Whether it is the one that this run has begun, or has found under way. An earlier one of the same revision may have failed.
    fn is_awaited(&self, service: &Service, deployment: &Deployment) -> bool {
        let found = || self.found.services.get(&service.name).and_then(primary).and_then(Deployment::id).map(str::to_owned);
        let awaited = self.begun.borrow().get(&service.name).cloned().unwrap_or_else(found);
        self.is_asked(service, deployment) && awaited.is_none_or(|id| deployment.id() == Some(&id))
    }

    /// After a rollback the deployment of the old revision is complete, so the revision is compared as well.
    fn outcome(&self, service: &Service, now: &EcsService) -> Outcome {
        let failed = |one: &&Deployment| one.rollout_state() == Some(&DeploymentRolloutState::Failed) && self.is_awaited(service, one);
        if let Some(failed) = now.deployments().iter().find(failed) {
            return Outcome::Failed(
                failed.rollout_state_reason().map_or_else(|| "it failed".to_owned(), |why| format!("it failed: {why}")),
            );
        }
        match primary(now) {
            Some(primary) if !self.is_asked(service, primary) => Outcome::Failed("ECS rolled back to the revision before".to_owned()),
            Some(primary)
                if now.deployments().len() == 1
                    && primary.rollout_state().is_none_or(|state| *state == DeploymentRolloutState::Completed)
                    && primary.running_count() >= primary.desired_count() =>
            {
                Outcome::Complete
            }
            _ => Outcome::Running,
        }
    }

    /// Everything that is known of the failure, in the order in which one would ask.
    async fn explain(&self, run: &Run, service: &Service, now: &EcsService, why: &str) -> String {
        let mut lines = vec![format!("the deployment of services.{}: {why}", service.name)];
        match self.last_stopped(run, service).await {
            Ok(Some(task)) => lines.extend(self.of_task(run, service, &task).await),
            Ok(None) => {}
            Err(error) => lines.push(format!("(its stopped tasks could not be looked at: {error})")),
        }
        lines.extend(self.of_targets(service).await);
        lines.extend(now.events().iter().take(3).filter_map(|event| event.message()).map(|message| format!("ECS: {message}")));
        let back = if service.breaker.rollback { "ECS goes back to the revision before, if there was one. " } else { "" };
        lines.push(format!("{back}Mend the service and run the same command again"));
        lines.join("\n  ")
    }

    async fn last_stopped(&self, run: &Run, service: &Service) -> Result<Option<Task>> {
        let listed =
            self.ecs.list_tasks().cluster(&run.app).service_name(&service.name).desired_status(DesiredStatus::Stopped).send().await;
        let arns = listed.tried("list the stopped tasks")?.task_arns().to_vec();
        if arns.is_empty() {
            return Ok(None);
        }
        let said = self
            .ecs
            .describe_tasks()
            .cluster(&run.app)
            .set_tasks(Some(arns.into_iter().take(100).collect()))
            .send()
            .await
            .tried("look at the stopped tasks")?;
        let revision = self.svc.borrow().services.get(&service.name).and_then(|record| record.task_definition_arn.clone());
        let mut tasks: Vec<Task> = said.tasks().iter().filter(|task| task.task_definition_arn() == revision.as_deref()).cloned().collect();
        tasks.sort_by_key(|task| task.stopped_at().map(aws_smithy_types::DateTime::secs));
        Ok(tasks.pop())
    }

    async fn of_task(&self, run: &Run, service: &Service, task: &Task) -> Vec<String> {
        let id = task.task_arn().and_then(|arn| arn.rsplit('/').next()).unwrap_or_default();
        let mut lines = vec![format!("task {id} stopped: {}", task.stopped_reason().unwrap_or("no reason given"))];
        for container in task.containers() {
            let name = container.name().unwrap_or_default();
            let exit = container.exit_code().map_or_else(|| "without an exit code".to_owned(), |code| format!("with exit code {code}"));
            lines.push(format!(
                "container {name} ended {exit}{}",
                container.reason().map(|reason| format!(": {reason}")).unwrap_or_default()
            ));
            let stream = format!("{}/{name}/{id}", service.name);
            let group = crate::log_group::name(run, &service.name);
            if let Ok(said) = self.logs.get_log_events().log_group_name(&group).log_stream_name(&stream).limit(LINES).send().await {
                lines
                    .extend(said.events().iter().filter_map(|event| event.message()).map(|message| format!("log: {}", message.trim_end())));
            }
        }
        lines
    }

    /// The targets that are not well, and why.
    async fn of_targets(&self, service: &Service) -> Vec<String> {
        let Some(arn) = self.svc.borrow().services.get(&service.name).and_then(|record| record.target_group_arn.clone()) else {
            return Vec::new();
        };
        let Ok(said) = self.elb.describe_target_health().target_group_arn(arn).send().await else { return Vec::new() };
        let ill = said.target_health_descriptions().iter().filter_map(|one| one.target().zip(one.target_health()));
        ill.filter(|(_, health)| health.state() != Some(&TargetHealthStateEnum::Healthy))
            .map(|(target, health)| {
                let state = health.state().map_or("unknown", TargetHealthStateEnum::as_str);
                format!(
                    "target {}:{} is {state}: {}",
                    target.id().unwrap_or_default(),
                    target.port().unwrap_or_default(),
                    health.description().unwrap_or("no reason given")
                )
            })
            .collect()
    }
}

/// The newest, which is to replace the others.
pub fn primary(service: &EcsService) -> Option<&Deployment> {
    service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"))
}

enum Outcome {
    Running,
    Complete,
    Failed(String),
}
