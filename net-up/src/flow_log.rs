//! The flow log of the VPC in CloudWatch Logs, when `x-net.flow_logs` is set: a line for each connection.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-cwl.html>

use aws_sdk_ec2::types::{FlowLog, FlowLogsResourceType, LogDestinationType, ResourceType, TrafficType};
use futures_util::{join, try_join};
use shared::error::given;
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{NetUp, batch, flow_log_group, flow_log_role, tag};

pub struct Found {
    flow_logs: Vec<FlowLog>,
    pub group: flow_log_group::Found,
    pub role: flow_log_role::Found,
}

/// Returns for how many days the flow log is kept, if there is to be one.
fn days(wanted: &Wanted) -> Option<i32> {
    wanted.network().and_then(|network| network.flow_logs)
}

/// Finds log group and role only when a flow log is set, and with `--down`.
pub async fn find(
    (ec2, iam, logs): (&aws_sdk_ec2::Client, &aws_sdk_iam::Client, &aws_sdk_cloudwatchlogs::Client),
    run: &Run,
    wanted: Option<&Wanted>,
) -> Result<Found> {
    let is_needed = wanted.is_none_or(|wanted| days(wanted).is_some());
    let flow_logs =
        async { shared::pages!(ec2.describe_flow_logs().set_filter(Some(tag::ours(run))), format!("list the flow logs of {}", run.app)) };
    let group = async { if is_needed { flow_log_group::find(logs, run).await } else { Ok(None) } };
    let role = async { if is_needed { flow_log_role::find(iam, run).await } else { Ok(None) } };
    let (flow_logs, group, role) = try_join!(flow_logs, group, role)?;
    let flow_logs = flow_logs.into_iter().filter(|one| run.is_ours(one.tags().iter().map(tag::pair))).collect();
    Ok(Found { flow_logs, group, role })
}

impl NetUp {
    /// Creates log group and role: a step of its own, because they need no VPC.
    pub async fn flow_log_parts_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(days) = days(wanted) else { return Ok(()) };
        let boundary = wanted.network().and_then(|network| network.boundary.as_deref());
        let (group, role) = join!(self.flow_log_group_up(run, days), self.flow_log_role_up(run, boundary));
        group.and(role)
    }

    pub async fn flow_log_parts_down(&self, run: &Run) -> Result<()> {
        let (group, role) = join!(self.flow_log_group_down(run), self.flow_log_role_down(run));
        group.and(role)
    }

    /// Creates the flow log, or deletes it when the setting was removed. The log group with its lines is kept until `net-up --down`.
    pub async fn flow_log_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if days(wanted).is_none() {
            return self.flow_logs_down(run).await;
        }
        if let Some(found) = self.found.flow_log.flow_logs.first() {
            return self.keep(run, "flow log", "flow-log", found.flow_log_id().unwrap_or_default(), found.tags()).await.map(drop);
        }
        run.create("flow log", &run.app, self.create_flow_log(run)).await.map(drop)
    }

    async fn create_flow_log(&self, run: &Run) -> Result<String> {
        let vpc = self.vpc_id()?;
        let role = flow_log_role::arn(run)?;
        let doing = format!("create the flow log of the VPC {vpc}");
        // A new VPC is not visible at once, and a new role can't be used at once. For the role there is no code, only a message.
        let not_yet = |error: &Error| error.is_gone() || error.says("Access Denied") || error.says("Unable to assume");
        let token = tag::token(run, "flow-log");
        let created = while_not_yet(run, "the flow log's role to be usable", not_yet, async || {
            let call = self.ec2.create_flow_logs().resource_type(FlowLogsResourceType::Vpc).resource_ids(&vpc);
            let call = call.traffic_type(TrafficType::All).log_destination_type(LogDestinationType::CloudWatchLogs);
            let call = call.log_group_name(flow_log_group::name(run)).deliver_logs_permission_arn(&role);
            let call = call.client_token(&token).tag_specifications(tag::specification(run, ResourceType::VpcFlowLog, "flow-log"));
            let said = call.send().await.tried(&doing)?;
            batch::check(said.unsuccessful(), &doing).map(|()| said)
        })
        .await?;
        given(created.flow_log_ids().first(), "the ID of the new flow log")
    }

    pub async fn flow_logs_down(&self, run: &Run) -> Result<()> {
        each(self.found.flow_log.flow_logs.iter().filter_map(FlowLog::flow_log_id), async |id| {
            let doing = format!("delete the flow log {id}");
            let delete = async {
                let said = self.ec2.delete_flow_logs().flow_log_ids(id).send().await.tried(&doing)?;
                batch::check_deleted(said.unsuccessful(), &doing)
            };
            run.delete("flow log", id, delete).await
        })
        .await
        .map(drop)
    }
}
