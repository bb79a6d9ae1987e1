//! The flow log of the VPC, when it is asked for: who spoke with whom, in CloudWatch Logs.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-cwl.html>

use aws_sdk_ec2::types::{FlowLog, FlowLogsResourceType, LogDestinationType, ResourceType, TrafficType};
use shared::error::given;
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, flow_log_group, flow_log_role, tag};

/// What it writes to and with is only looked for when it is asked for or taken down.
pub struct Found {
    flow_logs: Vec<FlowLog>,
    pub group: flow_log_group::Found,
    pub role: flow_log_role::Found,
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
    let (flow_logs, group, role) =
        futures_util::try_join!(flow_logs, flow_log_group::find(logs, run, asked), flow_log_role::find(iam, run, asked))?;
    let flow_logs = flow_logs.into_iter().filter(|one| run.is_ours(one.tags().iter().map(tag::pair))).collect();
    Ok(Found { flow_logs, group, role })
}

impl NetUp {
    /// What the flow log writes to and with; needs no VPC.
    pub async fn flow_log_parts_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(days) = wanted.network().and_then(|network| network.flow_logs) else { return Ok(()) };
        let (group, role) = futures_util::join!(self.flow_log_group_up(run, days), self.flow_log_role_up(run));
        group.and(role)
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
        let role = format!("arn:{}:iam::{}:role/{}", caller.partition, caller.account, flow_log_role::name(run));
        // A role made a moment ago can't be used at once, and the VPC is not known everywhere yet.
        let not_yet = |error: &Error| error.is_gone() || error.says("Access Denied") || error.says("Unable to assume");
        let token = tag::token(run, "flow-log");
        let made = while_not_yet(run, "the flow log's role to be usable", not_yet, async || {
            let call = self.ec2.create_flow_logs().resource_type(FlowLogsResourceType::Vpc).resource_ids(&vpc);
            let call = call.traffic_type(TrafficType::All).log_destination_type(LogDestinationType::CloudWatchLogs);
            let call = call.log_group_name(flow_log_group::name(run)).deliver_logs_permission_arn(&role);
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
        let (group, role) = futures_util::join!(self.flow_log_group_down(run), self.flow_log_role_down(run));
        group.and(role)
    }
}
