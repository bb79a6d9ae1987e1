//! The role with which the flow log writes.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html>

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{AttachedPolicy, Role, Tag};
use serde_json::{Value, json};
use shared::error::if_found;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::{NetUp, flow_log_group};

#[derive(Default)]
pub struct Found {
    role: Option<Role>,
    /// What it may do.
    policy: Option<Value>,
    /// The names of its inline policies, and the ARNs of those that somebody has attached.
    inline: Vec<String>,
    attached: Vec<String>,
}

/// The name of its inline policy.
const POLICY: &str = "write-flow-logs";
/// There are no others.
const NONE: &[&str] = &[];

/// IAM names are the account's, not the region's, so the region is part of them.
pub fn name(run: &Run) -> String {
    run.named(&format!("flow-logs-{}", run.session.region()))
}

/// Only flow logs of this account may take the role.
fn trust(run: &Run) -> Result<Value> {
    Ok(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:SourceAccount": run.caller()?.account}}}]}))
}

pub async fn find(iam: &Client, run: &Run, asked: bool) -> Result<Found> {
    if !asked {
        return Ok(Found::default());
    }
    let name = name(run);
    let role = async { if_found(iam.get_role().role_name(&name).send().await.tried(format!("look for the role {name}"))) };
    let policy = async {
        let call = iam.get_role_policy().role_name(&name).policy_name(POLICY);
        if_found(call.send().await.tried(format!("read the policy of the role {name}")))
    };
    let inline = async {
        let items = iam.list_role_policies().role_name(&name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("list the inline policies of the role {name}")))
    };
    let attached = async {
        let items = iam.list_attached_role_policies().role_name(&name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("look at the policies of the role {name}")))
    };
    let (role, policy, inline, attached) = futures_util::try_join!(role, policy, inline, attached)?;
    let policy = policy.and_then(|said| shared::policy::decode(said.policy_document()));
    let attached = attached.iter().flatten().filter_map(AttachedPolicy::policy_arn).map(str::to_owned).collect();
    Ok(Found { role: role.and_then(|said| said.role), policy, inline: inline.unwrap_or_default(), attached })
}

impl NetUp {
    pub async fn flow_log_role_up(&self, run: &Run) -> Result<()> {
        let (name, found) = (name(run), &self.found.flow_log.role);
        match &found.role {
            Some(role) if !run.is_ours(role.tags().iter().map(pair)) => return Err(run.foreign("role", &name)),
            Some(role) => self.keep_role(run, role).await?,
            None if run.create("role", &name, self.create_flow_log_role(run, &name)).await?.is_none() => return Ok(()),
            None => {}
        }
        // It may write only this log group.
        let actions = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"];
        let on = flow_log_group::arn(run)?;
        let on = [on.clone(), format!("{on}:*")];
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": on},
            {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": "*"}]});
        let extra: Vec<&String> = found.inline.iter().filter(|inline| *inline != POLICY).collect();
        let own = Diff::new().policy(POLICY, found.policy.as_ref(), &policy);
        let is_other = !own.is_empty();
        let diff = own.field("inline policies", &extra, NONE).field("policies", &found.attached, NONE);
        run.change("role", &name, &diff, async {
            self.take_policies(&name, &extra, &found.attached).await?;
            if !is_other {
                return Ok(());
            }
            // The role, made a moment ago, is not known everywhere yet.
            while_not_yet(run, "the role to be visible", Error::is_gone, async || {
                let call = self.iam.put_role_policy().role_name(&name).policy_name(POLICY).policy_document(policy.to_string());
                call.send().await.tried(format!("put the policy {POLICY} into the role {name}")).map(drop)
            })
            .await
        })
        .await
    }

    async fn take_policies(&self, name: &str, inline: &[&String], attached: &[String]) -> Result<()> {
        for inline in inline {
            let call = self.iam.delete_role_policy().role_name(name).policy_name(*inline);
            if_found(call.send().await.tried(format!("delete the policy {inline} of the role {name}")))?;
        }
        for arn in attached {
            let call = self.iam.detach_role_policy().role_name(name).policy_arn(arn);
            if_found(call.send().await.tried(format!("detach {arn} from {name}")))?;
        }
        Ok(())
    }

    async fn create_flow_log_role(&self, run: &Run, name: &str) -> Result<String> {
        let call = self.iam.create_role().role_name(name).assume_role_policy_document(trust(run)?.to_string());
        let call = call.description(format!("Writes the flow log of {}", run.app)).set_tags(Some(role_tags(run.tags("flow-logs"))?));
        call.send().await.tried(format!("create the role {name}"))?;
        Ok(name.to_owned())
    }

    /// With its tags, and with those who may take it.
    async fn keep_role(&self, run: &Run, role: &Role) -> Result<()> {
        let name = role.role_name();
        run.found("role", name);
        let (was, trust) = (role.assume_role_policy_document().and_then(shared::policy::decode), trust(run)?);
        run.change("role", name, &Diff::new().policy("trust", was.as_ref(), &trust), async {
            let call = self.iam.update_assume_role_policy().role_name(name).policy_document(trust.to_string());
            call.send().await.tried(format!("change who may take the role {name}")).map(drop)
        })
        .await?;
        run.settle_tags("role", name, run.tags("flow-logs"), role.tags().iter().map(pair), async |missing| {
            let call = self.iam.tag_role().role_name(name).set_tags(Some(role_tags(missing)?));
            call.send().await.tried(format!("tag the role {name}")).map(drop)
        })
        .await
    }

    pub async fn flow_log_role_down(&self, run: &Run) -> Result<()> {
        let found = &self.found.flow_log.role;
        let goes = |role: &&Role| run.goes("role", role.role_name(), run.is_ours(role.tags().iter().map(pair)));
        let Some(role) = found.role.as_ref().filter(goes) else { return Ok(()) };
        let name = role.role_name();
        let delete = async {
            self.take_policies(name, &found.inline.iter().collect::<Vec<_>>(), &found.attached).await?;
            while_not_yet(run, "the role to be free", Error::is_conflict, async || {
                self.iam.delete_role().role_name(name).send().await.tried(format!("delete the role {name}")).map(drop)
            })
            .await
        };
        run.delete("role", name, delete).await
    }
}

fn role_tags(tags: Vec<(String, String)>) -> Result<Vec<Tag>> {
    let tag =
        |(key, value): (String, String)| Tag::builder().key(key).value(value).build().map_err(|error| Error::Failed(error.to_string()));
    tags.into_iter().map(tag).collect()
}

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (Some(tag.key()), Some(tag.value()))
}
