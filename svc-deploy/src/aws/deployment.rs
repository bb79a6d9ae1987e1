//! Deployments: how a run waits for them, and how it explains a failed one.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html>

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, DesiredStatus, Service as EcsService, Task};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use aws_smithy_types::DateTime;
use futures_util::try_join;
use shared::wait::later;
use shared::{Error, Result, Run, Tried};

use super::arn::last_name;
use super::found_service::{described, primary};
use super::log_group;
use super::task::has_stopped;
use crate::SvcDeploy;
use crate::model::{Codes, Service, TargetGroupShape};

/// No deployment is complete sooner: a task must start, and the load balancer must find it healthy twice.
pub const SOONEST: Duration = Duration::from_secs(4);
/// Last log lines of a task that are shown.
const LINES: i32 = 10;
/// Tasks that one call of `DescribeTasks` takes.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html>
const TASKS_A_CALL: usize = 100;

/// Events of a service that are shown, the newest first.
const EVENTS: usize = 3;

enum Outcome {
    Running,
    Complete,
    /// With the reason.
    Failed(String),
}

impl SvcDeploy {
    /// Waits for the deployments of all these services together, which takes only as long as the slowest.
    pub async fn deployments_ready<'a>(&self, run: &Run, services: impl IntoIterator<Item = &'a Service>) -> Result<()> {
        let mut left: Vec<&Service> = services.into_iter().filter(|service| !self.was_complete(service)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = left.iter().map(|service| service.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        let waited = later(run, &format!("the deployments of {}", names.join(", ")), SOONEST, async || {
            let (read, ()) = try_join!(self.read_again(run, &left), self.check_launches(run))?;
            for (service, now) in read {
                // Reads lag behind writes: until ECS returns our deployment, the answer is an old one.
                if now.deployments().iter().any(|deployment| self.is_awaited(service, deployment)) {
                    seen.insert(service.name.clone());
                }
                if !seen.contains(&service.name) {
                    continue;
                }
                match self.outcome(service, &now) {
                    Outcome::Running => {}
                    Outcome::Complete => left.retain(|other| other.name != service.name),
                    Outcome::Failed(reason) => {
                        return Err(Error::failed("deployment-failed", self.explain(run, service, &now, &reason).await));
                    }
                }
            }
            Ok(left.is_empty().then_some(()))
        })
        .await;
        if matches!(waited, Err(Error::Deadline { .. })) {
            for (service, now) in self.read_again(run, &left).await? {
                run.note(&self.explain(run, service, &now, "it is not complete yet").await);
            }
        }
        waited
    }

    async fn read_again<'a>(&self, run: &Run, services: &[&'a Service]) -> Result<Vec<(&'a Service, EcsService)>> {
        let found = described(&self.ecs, run, services.iter().map(|service| service.name.clone()).collect()).await?;
        let now = |service: &&'a Service| {
            let now = found.iter().find(|now| now.service.service_name() == Some(&service.name));
            now.map(|now| (*service, now.service.clone()))
        };
        Ok(services.iter().filter_map(now).collect())
    }

    /// Notes from ECS's answer which deployment this run started.
    pub fn has_begun(&self, service: &Service, said: Option<&EcsService>) {
        let deployment = said.and_then(primary);
        self.has_deployed(&service.name, deployment);
        let id = deployment.and_then(Deployment::id).map(str::to_owned);
        self.begun.borrow_mut().insert(service.name.clone(), id);
    }

    /// Returns whether the deployment was complete before this run, which then changed nothing.
    fn was_complete(&self, service: &Service) -> bool {
        let is_complete = |now| matches!(self.outcome(service, now), Outcome::Complete);
        !self.begun.borrow().contains_key(&service.name)
            && self.found.services.get(&service.name).is_some_and(|found| is_complete(&found.service))
    }

    /// Returns whether this run changed nothing and the wanted revision has the only deployment.
    pub fn runs_alone(&self, service: &Service) -> bool {
        let deployments = self.found.services.get(&service.name).map(|found| found.service.deployments()).unwrap_or_default();
        !self.begun.borrow().contains_key(&service.name) && matches!(deployments, [only] if self.is_of_wanted_revision(service, only))
    }

    /// Returns whether this deployment is of the wanted revision.
    fn is_of_wanted_revision(&self, service: &Service, deployment: &Deployment) -> bool {
        deployment.task_definition() == self.recorded(&service.name).task_definition_arn.as_deref()
    }

    /// Returns whether this deployment is the one that this run started, or found in progress. An earlier one of the same revision may have failed.
    fn is_awaited(&self, service: &Service, deployment: &Deployment) -> bool {
        let found = || {
            let found = self.found.services.get(&service.name);
            found.and_then(|found| primary(&found.service)).and_then(Deployment::id).map(str::to_owned)
        };
        let awaited = self.begun.borrow().get(&service.name).cloned().unwrap_or_else(found);
        self.is_of_wanted_revision(service, deployment) && awaited.is_none_or(|id| deployment.id() == Some(&id))
    }

    /// Returns whether the newest deployment is an earlier one, which ECS has taken up again.
    fn has_rolled_back(&self, service: &Service, primary: &Deployment) -> bool {
        let (begun, deployed) = (self.begun.borrow(), self.deployed.borrow());
        let Some(begun) = begun.get(&service.name).and_then(Option::as_deref) else { return false };
        let found = self.found.services.get(&service.name).map(|found| found.service.deployments()).unwrap_or_default();
        is_taken_up_again(found, begun, deployed.get(&service.name), primary)
    }

    /// Compares the revision, too, because after a rollback the deployment of the previous revision is complete.
    fn outcome(&self, service: &Service, now: &EcsService) -> Outcome {
        let failed = |one: &&Deployment| one.rollout_state() == Some(&DeploymentRolloutState::Failed) && self.is_awaited(service, one);
        if let Some(failed) = now.deployments().iter().find(failed) {
            return Outcome::Failed(failed.rollout_state_reason().unwrap_or("ECS gave no reason").to_owned());
        }
        match primary(now) {
            Some(primary) if !self.is_of_wanted_revision(service, primary) => {
                Outcome::Failed("ECS rolled back to the previous revision".to_owned())
            }
            Some(primary) if self.has_rolled_back(service, primary) => {
                Outcome::Failed("ECS rolled back to the previous deployment of the same revision".to_owned())
            }
            Some(primary)
                if others_have_ended(now)
                    && primary.rollout_state().is_none_or(|state| *state == DeploymentRolloutState::Completed)
                    && primary.running_count() >= primary.desired_count() =>
            {
                Outcome::Complete
            }
            _ => Outcome::Running,
        }
    }

    /// Returns all that is known of a failure, in the order in which a person would check it.
    async fn explain(&self, run: &Run, service: &Service, now: &EcsService, reason: &str) -> String {
        let mut lines = vec![format!("could not complete the deployment of services.{}: {reason}", service.name)];
        match self.last_stopped(run, service).await {
            Ok(Some(task)) => lines.extend(self.task_lines(run, service, &task).await),
            Ok(None) => {}
            Err(error) => lines.push(error.to_string()),
        }
        lines.extend(self.target_lines(service).await);
        lines.extend(self.no_instance(run, now).await);
        let events: Vec<&str> = now.events().iter().filter_map(|event| event.message()).collect();
        // A rollback adds newer events than the one that names the load balancer's reason.
        let unhealthy = events.iter().skip(EVENTS).find(|message| is_unhealthy(message));
        lines.extend(events.iter().take(EVENTS).chain(unhealthy).map(|message| format!("ECS: {message}")));
        if lines.iter().any(|line| is_unhealthy(line)) {
            lines.extend(service.published.as_ref().map(|published| check_line(&published.target_group)));
        }
        let rollback = if service.breaker.rollback { "ECS rolls back to the previous revision, if there is one. " } else { "" };
        lines.push(format!("{rollback}Fix the cause and run the same command again. It starts a new deployment"));
        lines.join("\n  ")
    }

    /// Says that no instance has registered. ECS has no event for it, because a capacity provider may still start one.
    async fn no_instance(&self, run: &Run, now: &EcsService) -> Option<String> {
        let on_ec2 = now.capacity_provider_strategy().iter().any(|one| !one.capacity_provider().starts_with("FARGATE"));
        (on_ec2 && self.registered_instances(run).await == Some(0)).then(|| {
            format!(
                "no instance is registered with the cluster {}, so no task can start. Run cluster-up --wait: it says why none starts",
                run.app
            )
        })
    }

    /// Returns the task of the wanted revision that stopped last.
    async fn last_stopped(&self, run: &Run, service: &Service) -> Result<Option<Task>> {
        let doing = format!("read the stopped tasks of services.{}", service.name);
        let call = self.ecs.list_tasks().cluster(&run.app).service_name(&service.name).desired_status(DesiredStatus::Stopped);
        let arns = call.send().await.tried(&doing)?.task_arns().to_vec();
        if arns.is_empty() {
            return Ok(None);
        }
        let call = self.ecs.describe_tasks().cluster(&run.app).set_tasks(Some(arns.into_iter().take(TASKS_A_CALL).collect()));
        let said = call.send().await.tried(doing)?;
        let revision = self.recorded(&service.name).task_definition_arn;
        let mut tasks: Vec<Task> = said.tasks().iter().filter(|task| task.task_definition_arn() == revision.as_deref()).cloned().collect();
        tasks.sort_by_key(|task| task.stopped_at().map(aws_smithy_types::DateTime::secs));
        Ok(tasks.pop())
    }

    /// Returns how a task ended, with its last log lines.
    pub async fn task_lines(&self, run: &Run, service: &Service, task: &Task) -> Vec<String> {
        let id = task.task_arn().map(last_name).unwrap_or_default();
        let mut lines = Vec::new();
        // The task of a job may go on.
        if has_stopped(task) {
            lines.push(format!("task {id} stopped: {}", task.stopped_reason().unwrap_or("ECS gave no reason")));
        }
        for container in task.containers().iter().filter(|one| has_stopped(task) || one.last_status() == Some("STOPPED")) {
            let name = container.name().unwrap_or_default();
            let exit = container.exit_code().map_or_else(|| "without an exit code".to_owned(), |code| format!("with exit code {code}"));
            let reason = container.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
            lines.push(format!("container {name} ended {exit}{reason}"));
            let (group, stream) = (log_group::name(&run.app, &service.name), format!("{}/{name}/{id}", service.name));
            let call = self.logs.get_log_events().log_group_name(group).log_stream_name(stream).limit(LINES);
            // A container that never started has no stream.
            if let Ok(said) = call.send().await {
                let messages = said.events().iter().filter_map(|event| event.message());
                lines.extend(messages.map(|message| format!("log: {}", message.trim_end())));
            }
        }
        lines
    }

    /// Returns a line for each target that is not healthy.
    async fn target_lines(&self, service: &Service) -> Vec<String> {
        let Some(arn) = self.recorded(&service.name).target_group_arn else { return Vec::new() };
        let Ok(said) = self.elb.describe_target_health().target_group_arn(arn).send().await else { return Vec::new() };
        let targets = said.target_health_descriptions().iter().filter_map(|one| one.target().zip(one.target_health()));
        targets
            .filter(|(_, health)| health.state() != Some(&TargetHealthStateEnum::Healthy))
            .map(|(target, health)| {
                let state = health.state().map_or("unknown", TargetHealthStateEnum::as_str);
                let (id, port) = (target.id().unwrap_or_default(), target.port().unwrap_or_default());
                format!("target {id}:{port} is {state}: {}", health.description().unwrap_or("the load balancer gave no reason"))
            })
            .collect()
    }
}

/// ECS lists a failed deployment for a long time, and an earlier one while its tasks drain.
fn others_have_ended(service: &EcsService) -> bool {
    let others = service.deployments().iter().filter(|one| one.status() != Some("PRIMARY"));
    others.into_iter().all(|one| one.running_count() + one.pending_count() + one.desired_count() == 0)
}

/// ECS's words in an event and in the reason of a stopped task, and ours for a target.
fn is_unhealthy(line: &str) -> bool {
    ["is unhealthy", "failed ELB health checks"].iter().any(|words| line.contains(words))
}

/// Says what the load balancer asks a target, because ECS does not say it.
fn check_line(shape: &TargetGroupShape) -> String {
    let Codes { http_code, grpc_code } = &shape.matcher;
    let codes = http_code.as_ref().or(grpc_code.as_ref()).map_or("success", String::as_str);
    format!(
        "The load balancer requests {} from port {} of the container, and expects {codes}. Check that the container listens on this port, on all addresses, and set x-svc.health.path and codes; or a longer x-svc.grace, when it starts slowly",
        shape.health_check_path, shape.port
    )
}

/// Returns whether the newest deployment is one of those that existed before the deployment with the id `begun`, and was changed since. Answers may be
/// older than that.
fn is_taken_up_again(before: &[Deployment], begun: &str, since: Option<&DateTime>, newest: &Deployment) -> bool {
    let existed = newest.id() != Some(begun) && before.iter().any(|one| one.id() == newest.id());
    existed && newest.updated_at().zip(since).is_some_and(|(changed, since)| changed > since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_to_the_same_revision_is_found() {
        let deployment = |id: &str, seconds| Deployment::builder().id(id).updated_at(DateTime::from_secs(seconds)).build();
        let (before, since) = ([deployment("ecs-svc/1", 10)], DateTime::from_secs(20));
        for (newest, expected) in [
            (deployment("ecs-svc/2", 30), false),
            (deployment("ecs-svc/1", 30), true),
            // An old answer.
            (deployment("ecs-svc/1", 10), false),
            // Of another run.
            (deployment("ecs-svc/3", 30), false),
        ] {
            assert_eq!(is_taken_up_again(&before, "ecs-svc/2", Some(&since), &newest), expected, "{:?}", newest.id());
        }
    }
}
