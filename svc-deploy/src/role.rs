//! The roles: one with which ECS starts the app's tasks (the task execution role), and one a service, with which its code acts (the task role).
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{AttachedPolicy, Role, Tag};
use futures_util::future::try_join_all;
use futures_util::try_join;
use serde_json::{Value, json};
use shared::doc::Caller;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::compose::TaskRole;
use crate::wish::Wanted;
use crate::{SvcDeploy, log_group, secret};

/// By name.
pub type Found = BTreeMap<String, FoundRole>;

pub struct FoundRole {
    role: Role,
    /// What the execution role's own inline policy says.
    policy: Option<Value>,
    /// The names of all inline policies, and the ARNs of all that are attached.
    inline: Vec<String>,
    attached: Vec<String>,
}

/// The name of the execution role's inline policy.
const POLICY: &str = "start-tasks";
/// A role has no inline policies but its own.
const NONE: &[&str] = &[];
/// IAM's limit for the name of a role.
const LONGEST: usize = 64;

fn path(run: &Run) -> String {
    format!("/ecs-pipe/{}/{}/", run.app, run.session.region())
}

/// IAM names are the account's, not the region's, so the region is part of them.
pub fn execution_name(run: &Run) -> String {
    run.named(&format!("execution-{}", run.session.region()))
}

fn task_name(run: &Run, service: &str) -> String {
    shared::name::fit(&[&run.app, service, "task", run.session.region()], LONGEST)
}

fn arn(run: &Run, name: &str) -> Result<String> {
    let Caller { account, partition, .. } = run.caller()?;
    Ok(format!("arn:{partition}:iam::{account}:role{}{name}", path(run)))
}

/// Building up, those of the services; taking down, all under the app's path.
pub async fn find(iam: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let names = match wanted {
        Some(wanted) => made(run, wanted),
        None => listed(iam, run).await?,
    };
    let found = try_join_all(names.into_iter().map(|name| one(iam, run, name))).await?;
    Ok(found.into_iter().flatten().collect())
}

/// The roles that are not somebody else's.
fn made(run: &Run, wanted: &Wanted) -> Vec<String> {
    let execution = wanted.execution_role.is_none().then(|| execution_name(run));
    let tasks = wanted.services.iter().filter(|service| matches!(service.task_role, TaskRole::Made(_)));
    execution.into_iter().chain(tasks.map(|service| task_name(run, &service.name))).collect()
}

async fn listed(iam: &Client, run: &Run) -> Result<Vec<String>> {
    let items = iam.list_roles().path_prefix(path(run)).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let roles = items.tried(format!("look for the roles {}*", path(run)))?;
    Ok(roles.iter().filter(|role| role.path() == path(run)).map(|role| role.role_name().to_owned()).collect())
}

async fn one(iam: &Client, run: &Run, name: String) -> Result<Option<(String, FoundRole)>> {
    let role = async { if_found(iam.get_role().role_name(&name).send().await.tried(format!("look for the role {name}"))) };
    let policy = async {
        if name != execution_name(run) {
            return Ok(None);
        }
        let call = iam.get_role_policy().role_name(&name).policy_name(POLICY);
        let said = if_found(call.send().await.tried(format!("read the policy of the role {name}")))?;
        Ok(said.and_then(|said| shared::policy::decode(said.policy_document())))
    };
    let inline = async {
        let items = iam.list_role_policies().role_name(&name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("list the inline policies of the role {name}")))
    };
    let attached = async {
        let items = iam.list_attached_role_policies().role_name(&name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("look at the policies of the role {name}")))
    };
    let (role, policy, inline, attached) = try_join!(role, policy, inline, attached)?;
    let attached = attached.iter().flatten().filter_map(AttachedPolicy::policy_arn).map(str::to_owned).collect();
    let found = |role| FoundRole { role, policy, inline: inline.unwrap_or_default(), attached };
    Ok(role.and_then(|said| said.role).map(|role| (name, found(role))))
}

/// Only tasks of this account may take the role (the "confused deputy").
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>
fn trust(run: &Run) -> Result<Value> {
    Ok(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:SourceAccount": run.caller()?.account}}}]}))
}

fn tags(tags: Vec<(String, String)>) -> Result<Vec<Tag>> {
    let tag =
        |(key, value): (String, String)| Tag::builder().key(key).value(value).build().map_err(|error| Error::Failed(error.to_string()));
    tags.into_iter().map(tag).collect()
}

impl FoundRole {
    fn tags(&self) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
        self.role.tags().iter().map(|tag| (Some(tag.key()), Some(tag.value())))
    }
}

impl SvcDeploy {
    pub async fn roles_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let execution = async {
            let arn = match &wanted.execution_role {
                Some(adopted) => Some(adopted.clone()),
                None => self.role_up(run, &execution_name(run), "Starts the tasks").await?,
            };
            self.svc.borrow_mut().execution_role_arn = arn;
            Ok(())
        };
        let tasks = each(&wanted.services, async |service| {
            let arn = match &service.task_role {
                TaskRole::Adopted(arn) => Some(arn.clone()),
                TaskRole::Made(_) => self.role_up(run, &task_name(run, &service.name), &format!("What {} may do", service.name)).await?,
            };
            self.record(&service.name, |record| record.task_role_arn = arn);
            Ok(())
        });
        let (execution, tasks): (Result<()>, _) = futures_util::join!(execution, tasks);
        execution.and(tasks.map(drop))
    }

    pub async fn settle_roles(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let execution = async {
            match wanted.execution_role {
                Some(_) => Ok(()),
                None => self.settle_role(run, &execution_name(run), Some(&execution_policy(run, wanted)?), &[]).await,
            }
        };
        let tasks = each(&wanted.services, async |service| match &service.task_role {
            TaskRole::Adopted(_) => Ok(()),
            TaskRole::Made(policies) => self.settle_role(run, &task_name(run, &service.name), None, policies).await,
        });
        let (execution, tasks): (Result<()>, _) = futures_util::join!(execution, tasks);
        execution.and(tasks.map(drop))
    }

    /// These policies and no others: what somebody added is taken away.
    async fn settle_role(&self, run: &Run, name: &str, policy: Option<&Value>, attached: &[String]) -> Result<()> {
        let found = self.found.roles.get(name);
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        let was: BTreeSet<&String> = found.iter().flat_map(|found| &found.attached).collect();
        let attached: BTreeSet<&String> = attached.iter().collect();
        let extra: Vec<&String> =
            found.iter().flat_map(|found| &found.inline).filter(|inline| policy.is_none() || *inline != POLICY).collect();
        let mut diff = Diff::new();
        if let Some(policy) = policy {
            diff = diff.policy(POLICY, found.and_then(|found| found.policy.as_ref()), policy);
        }
        let other = policy.filter(|_| !diff.is_empty());
        diff = diff.field("policies", &was, &attached).field("inline policies", &extra, NONE);
        run.change("role", name, &diff, async {
            if let Some(policy) = other {
                self.put_policy(run, name, policy).await?;
            }
            for arn in attached.difference(&was) {
                self.attach(run, name, arn).await?;
            }
            for arn in was.difference(&attached) {
                self.detach(name, arn).await?;
            }
            for inline in &extra {
                self.delete_inline(name, inline).await?;
            }
            Ok(())
        })
        .await
    }

    async fn put_policy(&self, run: &Run, name: &str, policy: &Value) -> Result<()> {
        // The role, made a moment ago, is not known everywhere yet.
        while_not_yet(run, "the role to be visible", Error::is_gone, async || {
            let call = self.iam.put_role_policy().role_name(name).policy_name(POLICY).policy_document(policy.to_string());
            call.send().await.tried(format!("put the policy {POLICY} into the role {name}")).map(drop)
        })
        .await
    }

    async fn attach(&self, run: &Run, name: &str, arn: &str) -> Result<()> {
        // The role, made a moment ago, is not known everywhere yet.
        while_not_yet(run, "the role to be visible", Error::is_gone, async || {
            self.iam.attach_role_policy().role_name(name).policy_arn(arn).send().await.tried(format!("attach {arn} to {name}")).map(drop)
        })
        .await
    }

    async fn detach(&self, name: &str, arn: &str) -> Result<()> {
        let call = self.iam.detach_role_policy().role_name(name).policy_arn(arn);
        if_found(call.send().await.tried(format!("detach {arn} from {name}"))).map(drop)
    }

    async fn delete_inline(&self, name: &str, inline: &str) -> Result<()> {
        let call = self.iam.delete_role_policy().role_name(name).policy_name(inline);
        if_found(call.send().await.tried(format!("delete the policy {inline} of the role {name}"))).map(drop)
    }

    async fn role_up(&self, run: &Run, name: &str, purpose: &str) -> Result<Option<String>> {
        match self.found.roles.get(name) {
            Some(found) if !run.is_ours(found.tags()) => Err(run.foreign("role", name)),
            Some(found) => self.keep_role(run, name, found).await.map(Some),
            None => match run.create("role", name, self.create_role(run, name, purpose)).await? {
                Some(name) => arn(run, &name).map(Some),
                None => Ok(None),
            },
        }
    }

    /// With its tags, and with those who may take it.
    async fn keep_role(&self, run: &Run, name: &str, found: &FoundRole) -> Result<String> {
        run.found("role", name);
        let (was, trust) = (found.role.assume_role_policy_document().and_then(shared::policy::decode), trust(run)?);
        run.change("role", name, &Diff::new().policy("trust", was.as_ref(), &trust), async {
            let call = self.iam.update_assume_role_policy().role_name(name).policy_document(trust.to_string());
            call.send().await.tried(format!("change who may take the role {name}")).map(drop)
        })
        .await?;
        run.settle_tags("role", name, run.tags(name), found.tags(), async |missing| {
            let call = self.iam.tag_role().role_name(name).set_tags(Some(tags(missing)?));
            call.send().await.tried(format!("tag the role {name}")).map(drop)
        })
        .await?;
        Ok(found.role.arn().to_owned())
    }

    async fn create_role(&self, run: &Run, name: &str, purpose: &str) -> Result<String> {
        let call = self.iam.create_role().role_name(name).path(path(run)).description(purpose);
        let call = call.assume_role_policy_document(trust(run)?.to_string()).set_tags(Some(tags(run.tags(name))?));
        let made = call.send().await.tried(format!("create the role {name}"))?;
        given(made.role().map(Role::role_name), "the new role's name")
    }

    pub async fn roles_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.roles.iter().filter(|(name, found)| run.goes("role", name, run.is_ours(found.tags())));
        each(ours, async |(name, found)| {
            let delete = async {
                for inline in &found.inline {
                    self.delete_inline(name, inline).await?;
                }
                for arn in &found.attached {
                    self.detach(name, arn).await?;
                }
                while_not_yet(run, "the role to be free", Error::is_conflict, async || {
                    self.iam.delete_role().role_name(name).send().await.tried(format!("delete the role {name}")).map(drop)
                })
                .await
            };
            run.delete("role", name, delete).await
        })
        .await
        .map(drop)
    }
}

/// Pulls just these repositories, writes just these log groups, reads just these secrets.
fn execution_policy(run: &Run, wanted: &Wanted) -> Result<Value> {
    let Caller { account, region, partition } = run.caller()?;
    let mut logs: Vec<String> = wanted.services.iter().map(|service| format!("{}:*", log_group::name(run, &service.name))).collect();
    logs.sort();
    let logs = logs.iter().map(|group| run.arn("logs", &format!("log-group:{group}"))).collect::<Result<Vec<_>>>()?;
    let mut statements =
        vec![json!({"Sid": "Log", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": logs})];
    let mut repositories: Vec<String> = wanted
        .services
        .iter()
        .flat_map(|service| &service.containers)
        .filter_map(|container| match &container["image"] {
            Value::String(image) => repository(image),
            // Built, but not by this run: the image is not known here, its repository is.
            _ => Some(format!("{region}:{account}:repository/{}/{}", run.app, container["name"].as_str()?.to_lowercase())),
        })
        .collect();
    repositories.sort();
    repositories.dedup();
    if !repositories.is_empty() {
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        let on: Vec<String> = repositories.iter().map(|resource| format!("arn:{partition}:ecr:{resource}")).collect();
        statements.push(json!({"Sid": "LogIn", "Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": "*"}));
        statements.push(json!({"Sid": "Pull", "Effect": "Allow", "Action": pull, "Resource": on}));
    }
    let secrets: BTreeSet<&String> = wanted.services.iter().flat_map(|service| &service.secrets).collect();
    let secrets = secrets.into_iter().map(|name| secret::arn(run, name)).collect::<Result<Vec<_>>>()?;
    let (parameters, secrets): (Vec<String>, Vec<String>) = secrets.into_iter().partition(|arn| arn.contains(":ssm:"));
    if !parameters.is_empty() {
        statements.push(json!({"Sid": "Parameters", "Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": parameters}));
    }
    // Of `…:secret:name-AbCdEf:key:stage:version` only the first seven fields are the secret's ARN, and that may lack its six last letters.
    let arn = |secret: &String| secret.splitn(8, ':').take(7).collect::<Vec<_>>().join(":");
    let secrets: Vec<String> = secrets.iter().map(arn).flat_map(|arn| [format!("{arn}-??????"), arn]).collect();
    if !secrets.is_empty() {
        statements.push(json!({"Sid": "Secrets", "Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": secrets}));
    }
    // They may be encrypted with a key of the account's own, which these two services then use in the role's name.
    if statements.iter().any(|statement| statement["Sid"] == "Secrets" || statement["Sid"] == "Parameters") {
        let by = [format!("secretsmanager.{region}.*"), format!("ssm.{region}.*")];
        statements.push(json!({"Sid": "Decrypt", "Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": run.arn("kms", "key/*")?,
            "Condition": {"StringLike": {"kms:ViaService": by}}}));
    }
    Ok(json!({"Version": "2012-10-17", "Statement": statements}))
}

/// `region:account:repository/name` of an image in ECR: `<account>.dkr.ecr.<region>.<dns suffix>/<name>@…`.
fn repository(image: &str) -> Option<String> {
    let (host, rest) = image.split_once('/')?;
    let mut labels = host.split('.');
    let (account, dkr, ecr, region) = (labels.next()?, labels.next()?, labels.next()?, labels.next()?);
    let name = rest.split(['@', ':']).next()?;
    (dkr == "dkr" && ecr == "ecr").then(|| format!("{region}:{account}:repository/{name}"))
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn only_images_of_ecr_have_a_repository() {
        assert_eq!(
            repository("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/shop/web@sha256:0").as_deref(),
            Some("cn-north-1:123456789012:repository/shop/web")
        );
        assert_eq!(repository("nginx:1.27"), None);
        assert_eq!(repository("ghcr.io/a/b:1"), None);
    }
}
