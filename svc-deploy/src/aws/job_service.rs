//! A job that calls other services by name runs as an ECS service of one task, because only the tasks of services are in the namespace of Service
//! Connect. A container beside the job keeps the task alive, so that ECS does not start it again; when the job has ended, the service is deleted.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect.html>

use aws_sdk_ecs::types::{DesiredStatus, Service as EcsService, Task};
use futures_util::try_join;
use shared::wait::until;
use shared::{Result, Run};

use super::found_service::described as services;
use super::task::{container_has_stopped, described, exit_code, has_stopped};
use crate::SvcDeploy;
use crate::model::{Service, Wanted};

impl SvcDeploy {
    /// Creates the service of the job, unless an earlier run has, and returns the task in which the job has ended.
    pub async fn run_job_service(&self, run: &Run, wanted: &Wanted, service: &Service, revision: &str) -> Result<Task> {
        let name = &service.name;
        if self.is_job_service(name, revision) {
            run.note(&format!("the job {name} was started by an earlier run; it does not run twice"));
        } else {
            self.create_service(run, wanted, service).await?;
        }
        until(run, &format!("the job {name} to end"), async || {
            let (ended, ()) = try_join!(self.ended(run, name, revision), self.check_launches(run))?;
            Ok(ended)
        })
        .await
    }

    /// Returns whether the found service is that of the job with this revision.
    pub fn is_job_service(&self, name: &str, revision: &str) -> bool {
        let found = self.found.services.get(name).map(|found| &found.service);
        found.is_some_and(|found| found.status() == Some("ACTIVE") && found.task_definition() == Some(revision))
    }

    /// Returns the task in which the job has ended. A task that failed to start is such an end, too: ECS would try again without end.
    async fn ended(&self, run: &Run, name: &str, revision: &str) -> Result<Option<Task>> {
        let services = services(&self.ecs, run, vec![name.to_owned()]).await?;
        // A new service is not visible at once. The tasks of an earlier one of this name may still be.
        let since =
            services.iter().map(|found| &found.service).find(|found| found.status() == Some("ACTIVE")).and_then(EcsService::created_at);
        let Some(since) = since else { return Ok(None) };
        let listed = async |status: DesiredStatus| {
            let call = self.ecs.list_tasks().cluster(&run.app).service_name(name).desired_status(status);
            shared::pages!(call, format!("list the tasks of the job {name}"))
        };
        let (running, stopped) = try_join!(listed(DesiredStatus::Running), listed(DesiredStatus::Stopped))?;
        let mut tasks = described(&self.ecs, run, [running, stopped].concat()).await?;
        tasks.retain(|task| {
            task.task_definition_arn() == Some(revision) && task.created_at().is_some_and(|made| made.secs() >= since.secs())
        });
        let has_ended = |task: &&Task| has_stopped(task) || container_has_stopped(task, name);
        let done = tasks.iter().find(|task| exit_code(task, name) == Some(0));
        Ok(done.or_else(|| tasks.iter().find(has_ended)).cloned())
    }
}
