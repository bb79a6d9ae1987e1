//! The roles: for each service a task execution role, with which ECS starts its tasks, and a task role, with which its code calls AWS, and for
//! scheduled jobs one with which EventBridge Scheduler runs them.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::Client;
use futures_util::future::try_join_all;
use iam_role::Policies;
use serde_json::{Value, json};
use shared::doc::Caller;
use shared::step::each;
use shared::{Error, Result, Run};

use super::access_point;
use super::execution_policy::execution_policy;
use super::scheduler_policy::scheduler_policy;
use super::task_definition_request::{self, Roles};
use crate::SvcDeploy;
use crate::model::{Service, TaskRole, Wanted};

/// By name.
pub type Found = BTreeMap<String, iam_role::Found>;

/// The name of the execution roles' inline policy.
const POLICY: &str = "start-tasks";
/// The name of the inline policy of EventBridge Scheduler's role.
const SCHEDULER_POLICY: &str = "run-jobs";
/// The services of AWS that assume the roles.
const TASKS: &str = "ecs-tasks.amazonaws.com";
const SCHEDULER: &str = "scheduler.amazonaws.com";
/// Characters of a role's name.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LONGEST: usize = 64;

fn path(run: &Run) -> String {
    path_of(&run.app, run.session.region())
}

fn path_of(app: &str, region: &str) -> String {
    format!("/ecs-pipe/{app}/{region}/")
}

fn named(app: &str, service: &str, kind: &str, region: &str) -> String {
    shared::name::fit(&[app, service, kind, region], LONGEST)
}

/// Returns the ARNs of the roles that a service has when the document adopts none.
pub fn own_arns(app: &str, caller: &Caller, service: &str) -> [String; 2] {
    let Caller { account, partition, region } = caller;
    let path = path_of(app, region);
    ["execution", "task"].map(|kind| format!("arn:{partition}:iam::{account}:role{path}{}", named(app, service, kind, region)))
}

/// The region is in the name, because names of roles belong to the account, not to a region.
fn execution_name(run: &Run, service: &str) -> String {
    named(&run.app, service, "execution", run.session.region())
}

fn scheduler_name(run: &Run) -> String {
    run.named(&format!("scheduler-{}", run.session.region()))
}

/// Returns the ARN of EventBridge Scheduler's role, which follows from its name.
pub fn scheduler_arn(run: &Run) -> Result<String> {
    arn(run, &scheduler_name(run))
}

fn arn(run: &Run, name: &str) -> Result<String> {
    let Caller { account, partition, .. } = run.caller()?;
    Ok(format!("arn:{partition}:iam::{account}:role{}{name}", path(run)))
}

fn task_name(run: &Run, service: &str) -> String {
    named(&run.app, service, "task", run.session.region())
}

/// Finds those of the services that this run deploys, or with `--down` all under the app's path.
pub async fn find(iam: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let names = match wanted {
        Some(wanted) => own(run, wanted),
        None => listed(iam, run).await?,
    };
    let found = try_join_all(names.into_iter().map(async |name| {
        let has_volumes = |service: &Service| task_name(run, &service.name) == name && service.access_points().next().is_some();
        let policy = match wanted {
            _ if name == scheduler_name(run) => Some(SCHEDULER_POLICY),
            Some(wanted) if wanted.selected().any(|service| execution_name(run, &service.name) == name) => Some(POLICY),
            Some(wanted) if wanted.services.iter().any(has_volumes) => Some(access_point::POLICY),
            _ => None,
        };
        let found = iam_role::find(iam, &name, policy).await?;
        Ok::<_, Error>(found.map(|found| (name, found)))
    }));
    Ok(found.await?.into_iter().flatten().collect())
}

/// Returns the names of the roles that svc-deploy creates.
pub fn own(run: &Run, wanted: &Wanted) -> Vec<String> {
    let executions = wanted.selected().filter(|_| wanted.execution_role.is_none()).map(|service| execution_name(run, &service.name));
    let tasks = wanted.selected().filter(|service| matches!(service.task_role, TaskRole::Own(_)));
    let scheduler = scheduled(wanted).next().map(|_| scheduler_name(run));
    executions.chain(scheduler).chain(tasks.map(|service| task_name(run, &service.name))).collect()
}

/// Returns the jobs that have a schedule.
pub fn scheduled(wanted: &Wanted) -> impl Iterator<Item = &Service> {
    wanted.services.iter().filter(|service| service.job.as_ref().is_some_and(|job| job.schedule.is_some()))
}

async fn listed(iam: &Client, run: &Run) -> Result<Vec<String>> {
    let path = path(run);
    let roles = shared::pages!(iam.list_roles().path_prefix(&path), format!("list the roles {path}*"))?;
    Ok(roles.iter().filter(|role| role.path() == path).map(|role| role.role_name().to_owned()).collect())
}

/// Only this service, and only for this account, may assume the role (the "confused deputy" problem).
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>,
/// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html>
fn trust(run: &Run, service: &str) -> Result<Value> {
    Ok(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:SourceAccount": run.caller()?.account}}}]}))
}

impl SvcDeploy {
    pub async fn roles_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        self.svc.borrow_mut().execution_role_arn.clone_from(&wanted.execution_role);
        let executions = each(wanted.selected(), async |service| {
            let arn = match &wanted.execution_role {
                Some(adopted) => Some(adopted.clone()),
                None => {
                    self.role_up(run, wanted, &execution_name(run, &service.name), TASKS, &format!("Starts the tasks of {}", service.name))
                        .await?
                }
            };
            self.record(&service.name, |record| record.execution_role_arn = arn);
            Ok(())
        });
        let tasks = each(wanted.selected(), async |service| {
            let arn = match &service.task_role {
                TaskRole::Adopted(arn) => Some(arn.clone()),
                TaskRole::Own(_) => {
                    self.role_up(run, wanted, &task_name(run, &service.name), TASKS, &format!("Role of the tasks of {}", service.name))
                        .await?
                }
            };
            self.record(&service.name, |record| record.task_role_arn = arn);
            Ok(())
        });
        let scheduler = each(scheduled(wanted).take(1), async |_| {
            self.role_up(run, wanted, &scheduler_name(run), SCHEDULER, &format!("Runs the scheduled jobs of {}", run.app)).await
        });
        let (executions, tasks, scheduler) = futures_util::join!(executions, tasks, scheduler);
        executions.and(tasks).map(drop).and(scheduler.map(drop))
    }

    async fn role_up(&self, run: &Run, wanted: &Wanted, name: &str, service: &str, description: &str) -> Result<Option<String>> {
        let (path, trust, boundary) = (path(run), trust(run, service)?, wanted.boundary.as_deref());
        let wanted = iam_role::Wanted { name, path: &path, description, trust, tag: name, boundary };
        iam_role::up(&self.iam, run, &wanted, self.found.roles.get(name)).await
    }

    /// Adds the permissions that the new revisions need. Those that only the old ones need are kept until [`Self::narrow_roles`].
    pub async fn settle_roles(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let services = each(wanted.selected().flat_map(|service| self.policies(run, service)), async |policies| {
            let (name, policies) = policies?;
            iam_role::widen(&self.iam, run, &name, self.found.roles.get(&name), &policies).await
        });
        let (services, scheduler) = futures_util::join!(services, self.settle_scheduler_role(run, wanted));
        services.map(drop).and(scheduler)
    }

    /// Removes the permissions that nothing needs when the new revisions of these services run alone.
    pub async fn narrow_roles<'a>(&self, run: &Run, services: impl Iterator<Item = &'a Service>) -> Result<()> {
        each(services.flat_map(|service| self.policies(run, service)), async |policies| {
            let (name, policies) = policies?;
            iam_role::narrow(&self.iam, run, &name, self.found.roles.get(&name), &policies).await
        })
        .await
        .map(drop)
    }

    /// Returns the service's own roles by name, with the policies that they should have.
    fn policies(&self, run: &Run, service: &Service) -> Vec<Result<(String, Policies)>> {
        let kept = self.kept.borrow();
        let execution = || {
            let (caller, roles) = (run.caller()?, Roles { kept: kept.clone(), ..Roles::default() });
            let request = task_definition_request::request(&run.app, &caller, service, &roles);
            // A run by hand of a service with names has a container of this image beside it.
            let by_hand = service.connect.as_ref().map(|_| kept.files_image.as_str());
            let policy = execution_policy(&run.app, &caller, &request, by_hand.as_slice());
            let policies = Policies { inline: policy.map(|policy| (POLICY, policy)), ..Policies::default() };
            Ok((execution_name(run, &service.name), policies))
        };
        let task = |attached: &BTreeSet<String>| {
            let volumes = access_point::policy(&run.caller()?, service, &kept).map(|policy| (access_point::POLICY, policy));
            Ok((task_name(run, &service.name), Policies { attached: attached.clone(), inline: volumes }))
        };
        let mut all = Vec::new();
        if self.svc.borrow().execution_role_arn.is_none() {
            all.push(execution());
        }
        if let TaskRole::Own(attached) = &service.task_role {
            all.push(task(attached));
        }
        all
    }

    async fn settle_scheduler_role(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let jobs: Vec<&Service> = scheduled(wanted).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let executions = jobs
            .iter()
            .filter(|_| wanted.execution_role.is_none())
            .map(|service| arn(run, &execution_name(run, &service.name)))
            .chain(wanted.execution_role.clone().map(Ok));
        let tasks = jobs.iter().map(|service| match &service.task_role {
            TaskRole::Adopted(arn) => Ok(arn.clone()),
            TaskRole::Own(_) => arn(run, &task_name(run, &service.name)),
        });
        let roles: Vec<String> = executions.chain(tasks).collect::<Result<_>>()?;
        let names: Vec<&str> = jobs.iter().map(|service| service.name.as_str()).collect();
        let policy = scheduler_policy(&run.app, &run.caller()?, &names, &roles);
        let policies = Policies { inline: Some((SCHEDULER_POLICY, policy)), ..Policies::default() };
        let name = scheduler_name(run);
        iam_role::settle(&self.iam, run, &name, self.found.roles.get(&name), &policies).await
    }

    pub async fn roles_down(&self, run: &Run, found: &Found) -> Result<()> {
        each(found.values(), async |found| iam_role::remove(&self.iam, run, Some(found)).await).await.map(drop)
    }
}
