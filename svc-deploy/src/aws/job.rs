//! The jobs: services whose task runs to its end. AWS remembers what has completed: the revision of the task definition gets a tag, so the same
//! content runs once.

use aws_sdk_ecs::types::{Tag, Task};
use shared::error::{given, made};
use shared::{Diff, Error, Result, Run, Tried};

use super::arn::last_name;
use super::service_diff::NEW_REVISION;
use super::task::{exit_code, has_stopped, of_family};
use super::task_definition::{COMPLETED, FoundRevision};
use super::task_definition_request::family;
use super::{ecs_tag, task_request};
use crate::SvcDeploy;
use crate::model::{Job, Service, Wanted};

impl SvcDeploy {
    /// Runs the job, unless its revision has completed.
    pub async fn job_up(&self, run: &Run, wanted: &Wanted, service: &Service, job: &Job) -> Result<()> {
        let name = &service.name;
        let revision = self.recorded(name).task_definition_arn;
        let found = self.found.task_definitions.get(&family(&run.app, name));
        let is_found = found.is_some_and(|found| revision.as_ref() == Some(&found.arn));
        let has_completed = is_found && found.is_some_and(FoundRevision::has_completed);
        let is_under_way =
            service.connect.is_some() && !has_completed && revision.as_ref().is_some_and(|arn| self.is_job_service(name, arn));
        if !is_under_way {
            self.delete_former_service(run, name).await?;
        }
        if !job.deployed {
            return Ok(());
        }
        if has_completed {
            run.found("job", name);
            return Ok(());
        }
        let work = self.run_job(run, wanted, service, job);
        let Some(found) = found else { return run.create("job", name, work).await.map(drop) };
        let newest = revision.as_deref().map_or(NEW_REVISION, last_name);
        let diff = Diff::new().field("taskDefinition", last_name(&found.arn), newest).note(!is_found, "runs again");
        let diff = diff.note(is_found, "has not completed, runs again");
        run.change("job", name, &diff, async { work.await.map(drop) }).await
    }

    /// Deletes the service of a job: one that has become a job, or that has ended.
    async fn delete_former_service(&self, run: &Run, name: &str) -> Result<()> {
        let Some(found) = self.found.services.get(name).filter(|found| found.service.status() == Some("ACTIVE")) else { return Ok(()) };
        if !run.is_ours(found.service.tags().iter().map(ecs_tag::pair)) {
            return Err(run.unmanaged("service", name));
        }
        run.delete("service", name, self.dismiss_service(run, name)).await
    }

    /// Returns the id of the task, or the name of the job while it has none.
    async fn run_job(&self, run: &Run, wanted: &Wanted, service: &Service, job: &Job) -> Result<String> {
        let name = &service.name;
        let revision = made(self.recorded(name).task_definition_arn.as_deref(), "the ARN of the task definition")?;
        let ended = if service.connect.is_some() {
            // Without a wait the service would stay, and ECS would start the job again when the task or its instance is lost.
            Some(self.run_job_service(run, wanted, service, &revision).await?)
        } else {
            self.run_job_task(run, wanted, service, &revision, job.awaited || run.wait).await?
        };
        let Some(task) = ended else { return Ok(name.clone()) };
        let arn = given(task.task_arn(), "the ARN of the task")?;
        let failure = if exit_code(&task, name) == Some(0) { None } else { Some(self.job_failed(run, service, &task).await) };
        if failure.is_none() {
            self.set_completed(name, &revision, last_name(&arn)).await?;
        }
        if service.connect.is_some() {
            self.dismiss_service(run, name).await?;
        }
        failure.map_or_else(|| Ok(last_name(&arn).to_owned()), Err)
    }

    /// Returns the task of the job when it has stopped.
    async fn run_job_task(&self, run: &Run, wanted: &Wanted, service: &Service, revision: &str, wait: bool) -> Result<Option<Task>> {
        let name = &service.name;
        let task = self.job_task(run, wanted, service, revision).await?;
        if has_stopped(&task) {
            return Ok(Some(task));
        } else if !wait {
            return Ok(None);
        }
        let arn = given(task.task_arn(), "the ARN of the task")?;
        let what = format!("the job {name} to end (task {})", last_name(&arn));
        self.task_stopped(run, &what, &arn).await.map(Some)
    }

    /// Returns the task of this revision: one that an earlier run has started and that runs or has succeeded, or else a new one.
    async fn job_task(&self, run: &Run, wanted: &Wanted, service: &Service, revision: &str) -> Result<Task> {
        let name = &service.name;
        let tasks = of_family(&self.ecs, run, &family(&run.app, name)).await?;
        let (mine, others): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(|task| task.task_definition_arn() == Some(revision));
        let is_good = |task: &&Task| !has_stopped(task) || exit_code(task, name) == Some(0);
        if let Some(task) = mine.iter().find(is_good) {
            let id = task.task_arn().map(last_name).unwrap_or_default();
            run.note(&format!("the job {name} was started by an earlier run (task {id}); it does not run twice"));
            return Ok(task.clone());
        }
        // Two versions of one migration must not run at the same time.
        for task in others.iter().filter(|task| !has_stopped(task)) {
            let arn = given(task.task_arn(), "the ARN of the task")?;
            self.task_stopped(run, &format!("an earlier version of the job {name} to end (task {})", last_name(&arn)), &arn).await?;
        }
        let request = task_request::request(&run.app, wanted, service, revision, run.tags(name));
        self.start_task(run, name, &request, &mine).await
    }

    async fn set_completed(&self, name: &str, revision: &str, id: &str) -> Result<()> {
        let tag = Tag::builder().key(COMPLETED).value(id).build();
        let call = self.ecs.tag_resource().resource_arn(revision).tags(tag);
        call.send().await.tried(format!("note that the job {name} has completed, as a tag of {revision}")).map(drop)
    }

    async fn job_failed(&self, run: &Run, service: &Service, task: &Task) -> Error {
        let mut lines = vec![format!("could not complete the job services.{}: its task did not end with the exit code 0", service.name)];
        lines.extend(self.task_lines(run, service, task).await);
        lines.push(
            "The services that wait for this job were not changed. Fix the cause and run the same command again. The job then runs again"
                .to_owned(),
        );
        Error::failed("job-failed", lines.join("\n  "))
    }
}
