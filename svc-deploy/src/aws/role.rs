//! The roles: the task execution role, with which ECS starts the app's tasks, and for each service a task role, with which its code calls AWS.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html>

use std::collections::BTreeMap;

use aws_sdk_iam::Client;
use futures_util::future::try_join_all;
use iam_role::Policies;
use serde_json::{Value, json};
use shared::step::each;
use shared::{Error, Result, Run};

use super::access_point;
use super::execution_policy::execution_policy;
use crate::SvcDeploy;
use crate::model::{Service, TaskRole, Wanted};

/// By name.
pub type Found = BTreeMap<String, iam_role::Found>;

/// The name of the execution role's inline policy.
const POLICY: &str = "start-tasks";
/// Characters of a role's name.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LONGEST: usize = 64;

fn path(run: &Run) -> String {
    format!("/ecs-pipe/{}/{}/", run.app, run.session.region())
}

/// The region is in the name, because names of roles belong to the account, not to a region.
fn execution_name(run: &Run) -> String {
    run.named(&format!("execution-{}", run.session.region()))
}

fn task_name(run: &Run, service: &str) -> String {
    shared::name::fit(&[&run.app, service, "task", run.session.region()], LONGEST)
}

/// Finds those of the services, or with `--down` all under the app's path.
pub async fn find(iam: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let names = match wanted {
        Some(wanted) => own(run, wanted),
        None => listed(iam, run).await?,
    };
    let found = try_join_all(names.into_iter().map(async |name| {
        let has_volumes = |service: &Service| task_name(run, &service.name) == name && service.access_points().next().is_some();
        let policy = match wanted {
            _ if name == execution_name(run) => Some(POLICY),
            Some(wanted) if wanted.services.iter().any(has_volumes) => Some(access_point::POLICY),
            _ => None,
        };
        let found = iam_role::find(iam, &name, policy).await?;
        Ok::<_, Error>(found.map(|found| (name, found)))
    }));
    Ok(found.await?.into_iter().flatten().collect())
}

/// Returns the names of the roles that svc-deploy creates.
fn own(run: &Run, wanted: &Wanted) -> Vec<String> {
    let execution = wanted.execution_role.is_none().then(|| execution_name(run));
    let tasks = wanted.services.iter().filter(|service| matches!(service.task_role, TaskRole::Own(_)));
    execution.into_iter().chain(tasks.map(|service| task_name(run, &service.name))).collect()
}

async fn listed(iam: &Client, run: &Run) -> Result<Vec<String>> {
    let path = path(run);
    let roles = shared::pages!(iam.list_roles().path_prefix(&path), format!("list the roles {path}*"))?;
    Ok(roles.iter().filter(|role| role.path() == path).map(|role| role.role_name().to_owned()).collect())
}

/// Only tasks of this account may assume the role (the "confused deputy" problem).
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>
fn trust(run: &Run) -> Result<Value> {
    Ok(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:SourceAccount": run.caller()?.account}}}]}))
}

impl SvcDeploy {
    pub async fn roles_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let execution = async {
            let arn = match &wanted.execution_role {
                Some(adopted) => Some(adopted.clone()),
                None => self.role_up(run, &execution_name(run), &format!("Starts the tasks of {}", run.app)).await?,
            };
            self.svc.borrow_mut().execution_role_arn = arn;
            Ok(())
        };
        let tasks = each(&wanted.services, async |service| {
            let arn = match &service.task_role {
                TaskRole::Adopted(arn) => Some(arn.clone()),
                TaskRole::Own(_) => {
                    self.role_up(run, &task_name(run, &service.name), &format!("Role of the tasks of {}", service.name)).await?
                }
            };
            self.record(&service.name, |record| record.task_role_arn = arn);
            Ok(())
        });
        let (execution, tasks): (Result<()>, _) = futures_util::join!(execution, tasks);
        execution.and(tasks.map(drop))
    }

    async fn role_up(&self, run: &Run, name: &str, description: &str) -> Result<Option<String>> {
        let wanted = iam_role::Wanted { name, path: &path(run), description, trust: trust(run)?, tag: name };
        iam_role::up(&self.iam, run, &wanted, self.found.roles.get(name)).await
    }

    pub async fn settle_roles(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let execution = async {
            if wanted.execution_role.is_some() {
                return Ok(());
            }
            let policy = execution_policy(&run.app, &run.caller()?, wanted);
            self.settle_role(run, &execution_name(run), &Policies { inline: Some((POLICY, policy)), ..Policies::default() }).await
        };
        let tasks = each(&wanted.services, async |service| match &service.task_role {
            TaskRole::Adopted(_) => Ok(()),
            TaskRole::Own(policies) => {
                let volumes = access_point::policy(&run.caller()?, service, &self.kept.borrow());
                let policies = Policies { attached: policies.clone(), inline: volumes.map(|policy| (access_point::POLICY, policy)) };
                self.settle_role(run, &task_name(run, &service.name), &policies).await
            }
        });
        let (execution, tasks): (Result<()>, _) = futures_util::join!(execution, tasks);
        execution.and(tasks.map(drop))
    }

    async fn settle_role(&self, run: &Run, name: &str, policies: &Policies) -> Result<()> {
        iam_role::settle(&self.iam, run, name, self.found.roles.get(name), policies).await
    }

    pub async fn roles_down(&self, run: &Run) -> Result<()> {
        each(self.found.roles.values(), async |found| iam_role::remove(&self.iam, run, Some(found)).await).await.map(drop)
    }
}
