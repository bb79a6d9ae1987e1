//! The flow log of the VPC, when it is asked for: who spoke with whom, in CloudWatch Logs.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-cwl.html>

use std::collections::HashMap;

use aws_sdk_cloudwatchlogs::types::LogGroup;
use aws_sdk_ec2::types::{FlowLog, FlowLogsResourceType, LogDestinationType, ResourceType, TrafficType};
use aws_sdk_iam::types::{Role, Tag};
use serde_json::{Value, json};
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

/// The log group and the role are only looked for when they are asked for or taken down.
pub struct Found {
    flow_logs: Vec<FlowLog>,
    /// With its tags.
    group: Option<(LogGroup, HashMap<String, String>)>,
    role: Option<Role>,
    /// What the role may do.
    policy: Option<Value>,
}

/// The name of the role's inline policy.
const POLICY: &str = "write-flow-logs";

fn group_name(run: &Run) -> String {
    format!("/ecs-pipe-flow-logs/{}", run.app)
}

fn group_arn(run: &Run) -> Result<String> {
    run.arn("logs", &format!("log-group:{}", group_name(run)))
}

/// Only flow logs of this account may take the role.
fn trust(run: &Run) -> Result<Value> {
    Ok(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:SourceAccount": run.caller()?.account}}}]}))
}

/// IAM names are the account's, not the region's, so the region is part of them.
fn role_name(run: &Run) -> String {
    run.named(&format!("flow-logs-{}", run.session.region()))
}

pub async fn find(
    (ec2, iam, logs): (&aws_sdk_ec2::Client, &aws_sdk_iam::Client, &aws_sdk_cloudwatchlogs::Client),
    run: &Run,
    wanted: Option<&Wanted>,
) -> Result<Found> {
    let asked = wanted.is_none_or(|wanted| wanted.network().is_some_and(|network| network.flow_logs.is_some()));
    let flow_logs = async {
        let call = ec2.describe_flow_logs().set_filter(Some(tag::ours(run)));
        call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.tried("look for the flow log")
    };
    let group = async {
        if !asked {
            return Ok(None);
        }
        let call = logs.describe_log_groups().log_group_name_prefix(group_name(run));
        let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let groups = items.tried(format!("look for the log group {}", group_name(run)))?;
        let Some(group) = groups.into_iter().find(|group| group.log_group_name() == Some(&group_name(run))) else { return Ok(None) };
        run.ask_caller().await?;
        let arn = group_arn(run)?;
        let said = logs.list_tags_for_resource().resource_arn(&arn).send().await.tried(format!("read the tags of {arn}"))?;
        Ok(Some((group, said.tags.unwrap_or_default())))
    };
    let name = role_name(run);
    let role = async {
        if !asked {
            return Ok(None);
        }
        let said = if_found(iam.get_role().role_name(&name).send().await.tried(format!("look for the role {name}")))?;
        Ok(said.and_then(|said| said.role))
    };
    let policy = async {
        if !asked {
            return Ok(None);
        }
        let call = iam.get_role_policy().role_name(&name).policy_name(POLICY);
        let said = if_found(call.send().await.tried(format!("read the policy of the role {name}")))?;
        Ok(said.and_then(|said| shared::policy::decode(said.policy_document())))
    };
    let (flow_logs, group, role, policy) = futures_util::try_join!(flow_logs, group, role, policy)?;
    let flow_logs = flow_logs.into_iter().filter(|one| run.is_ours(one.tags().iter().map(tag::pair))).collect();
    Ok(Found { flow_logs, group, role, policy })
}

impl NetUp {
    /// What the flow log writes to and with; needs no VPC.
    pub async fn flow_log_parts_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(days) = wanted.network().and_then(|network| network.flow_logs) else { return Ok(()) };
        let (group, role) = futures_util::join!(self.flow_log_group_up(run, days), self.flow_log_role_up(run));
        group.and(role)
    }

    async fn flow_log_group_up(&self, run: &Run, days: i32) -> Result<()> {
        let name = group_name(run);
        if let Some((_, found)) = &self.found.flow_log.group {
            if !run.is_ours(pairs(found)) {
                return Err(run.foreign("log group", &name));
            }
            run.settle_tags("log group", &name, run.tags("flow-logs"), pairs(found), async |missing| {
                let call = self.logs.tag_resource().resource_arn(group_arn(run)?).set_tags(Some(missing.into_iter().collect()));
                call.send().await.tried(format!("tag the log group {name}")).map(drop)
            })
            .await?;
        } else {
            let tags = run.tags("flow-logs").into_iter().collect();
            let create = async {
                let call = self.logs.create_log_group().log_group_name(&name).set_tags(Some(tags));
                call.send().await.tried(format!("create the log group {name}")).map(|_| name.clone())
            };
            if run.create("log group", &name, create).await?.is_none() {
                return Ok(());
            }
        }
        let was = self.found.flow_log.group.as_ref().and_then(|(group, _)| group.retention_in_days());
        run.change("log group", &name, &Diff::new().field("retentionInDays", was, Some(days)), async {
            let call = self.logs.put_retention_policy().log_group_name(&name).retention_in_days(days);
            call.send().await.tried(format!("set the retention of {name}")).map(drop)
        })
        .await
    }

    async fn flow_log_role_up(&self, run: &Run) -> Result<()> {
        let (name, found) = (role_name(run), &self.found.flow_log);
        match &found.role {
            Some(role) if !run.is_ours(role.tags().iter().map(pair)) => return Err(run.foreign("role", &name)),
            Some(role) => self.keep_role(run, role).await?,
            None if run.create("role", &name, self.create_flow_log_role(run, &name)).await?.is_none() => return Ok(()),
            None => {}
        }
        // It may write only this log group.
        let actions = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"];
        let on = group_arn(run)?;
        let on = [on.clone(), format!("{on}:*")];
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": on}]});
        run.change("role", &name, &Diff::new().policy(POLICY, found.policy.as_ref(), &policy), async {
            // The role, made a moment ago, is not known everywhere yet.
            while_not_yet(run, "the role to be visible", Error::is_gone, async || {
                let call = self.iam.put_role_policy().role_name(&name).policy_name(POLICY).policy_document(policy.to_string());
                call.send().await.tried(format!("put the policy {POLICY} into the role {name}")).map(drop)
            })
            .await
        })
        .await
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

    /// One that is no longer asked for stops; what it wrote stays until the app goes.
    pub async fn flow_log_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().and_then(|network| network.flow_logs).is_none() {
            return self.flow_logs_down(run).await;
        }
        if let Some(found) = self.found.flow_log.flow_logs.first() {
            return self.keep(run, "flow log", "flow-log", found.flow_log_id().unwrap_or_default(), found.tags()).await.map(drop);
        }
        run.create("flow log", &run.app, self.create_flow_log(run)).await.map(drop)
    }

    async fn create_flow_log(&self, run: &Run) -> Result<String> {
        let vpc = self.vpc_id()?;
        let caller = run.caller()?;
        let role = format!("arn:{}:iam::{}:role/{}", caller.partition, caller.account, role_name(run));
        // A role made a moment ago can't be used at once, and the VPC is not known everywhere yet.
        let not_yet = |error: &Error| error.is_gone() || error.says("Access Denied") || error.says("Unable to assume");
        let token = tag::token(run, "flow-log");
        let made = while_not_yet(run, "the flow log's role to be usable", not_yet, async || {
            let call = self.ec2.create_flow_logs().resource_type(FlowLogsResourceType::Vpc).resource_ids(&vpc);
            let call = call.traffic_type(TrafficType::All).log_destination_type(LogDestinationType::CloudWatchLogs);
            let call = call.log_group_name(group_name(run)).deliver_logs_permission_arn(&role);
            let call = call.client_token(&token).tag_specifications(tag::specification(run, ResourceType::VpcFlowLog, "flow-log"));
            let said = call.send().await.tried(format!("create the flow log of {vpc}"))?;
            // This call answers 200 and lists what it could not do.
            match said.unsuccessful().first().and_then(|item| item.error()) {
                Some(failed) => Err(Error::Failed(format!(
                    "could not create the flow log of {vpc}: {}: {}. Run the same command again",
                    failed.code().unwrap_or("?"),
                    failed.message().unwrap_or("?")
                ))),
                None => Ok(said),
            }
        })
        .await?;
        given(made.flow_log_ids().first(), "the new flow log's id")
    }

    pub async fn flow_logs_down(&self, run: &Run) -> Result<()> {
        each(self.found.flow_log.flow_logs.iter().filter_map(FlowLog::flow_log_id), async |id| {
            let delete = async {
                let said = self.ec2.delete_flow_logs().flow_log_ids(id).send().await.tried(format!("delete the flow log {id}"))?;
                let failed = said.unsuccessful().iter().find_map(|item| item.error());
                match failed.filter(|failed| !failed.code().is_some_and(|code| code.contains("NotFound"))) {
                    Some(failed) => Err(Error::Failed(format!(
                        "could not delete the flow log {id}: {}: {}. Run the same command again",
                        failed.code().unwrap_or("?"),
                        failed.message().unwrap_or("?")
                    ))),
                    None => Ok(()),
                }
            };
            run.delete("flow log", id, delete).await
        })
        .await
        .map(drop)
    }

    pub async fn flow_log_parts_down(&self, run: &Run) -> Result<()> {
        let Found { group, role, .. } = &self.found.flow_log;
        let name = group_name(run);
        if group.as_ref().is_some_and(|(_, tags)| run.goes("log group", &name, run.is_ours(pairs(tags)))) {
            let delete = async {
                self.logs.delete_log_group().log_group_name(&name).send().await.tried(format!("delete the log group {name}")).map(drop)
            };
            run.delete("log group", &name, delete).await?;
        }
        let goes = |role: &&Role| run.goes("role", role.role_name(), run.is_ours(role.tags().iter().map(pair)));
        let Some(role) = role.as_ref().filter(goes) else { return Ok(()) };
        let name = role.role_name();
        let delete = async {
            let call = self.iam.delete_role_policy().role_name(name).policy_name(POLICY);
            if_found(call.send().await.tried(format!("delete the policy of the role {name}")))?;
            self.iam.delete_role().role_name(name).send().await.tried(format!("delete the role {name}")).map(drop)
        };
        run.delete("role", name, delete).await
    }
}

fn pairs(tags: &HashMap<String, String>) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    tags.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str())))
}

fn role_tags(tags: Vec<(String, String)>) -> Result<Vec<Tag>> {
    let tag =
        |(key, value): (String, String)| Tag::builder().key(key).value(value).build().map_err(|error| Error::Failed(error.to_string()));
    tags.into_iter().map(tag).collect()
}

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (Some(tag.key()), Some(tag.value()))
}
