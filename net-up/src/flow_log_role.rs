//! The role with which VPC Flow Logs writes to the log group.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html>

use std::collections::BTreeSet;

use aws_sdk_iam::Client;
use iam_role::{Policies, Wanted};
use serde_json::{Value, json};
use shared::{Result, Run};

use crate::{NetUp, flow_log_group};

pub type Found = Option<iam_role::Found>;

/// The name of its inline policy.
const POLICY: &str = "write-flow-logs";

/// The names of roles are unique in the account, not in the region, so the region is part of them.
fn name(run: &Run) -> String {
    run.named(&format!("flow-logs-{}", run.session.region()))
}

/// Returns its ARN, which is known before the role exists.
pub fn arn(run: &Run) -> Result<String> {
    let caller = run.caller()?;
    Ok(format!("arn:{}:iam::{}:role/{}", caller.partition, caller.account, name(run)))
}

/// Only flow logs of this account may assume the role.
fn trust(run: &Run) -> Result<Value> {
    Ok(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:SourceAccount": run.caller()?.account}}}]}))
}

/// The role may write to this log group only. Listing log groups supports no permissions for single groups.
fn policy(run: &Run) -> Result<Value> {
    let actions = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"];
    let group = flow_log_group::arn(run)?;
    Ok(json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": actions, "Resource": [group, format!("{group}:*")]},
        {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": "*"}]}))
}

pub async fn find(iam: &Client, run: &Run) -> Result<Found> {
    iam_role::find(iam, &name(run), Some(POLICY)).await
}

impl NetUp {
    pub async fn flow_log_role_up(&self, run: &Run, boundary: Option<&str>) -> Result<()> {
        let (name, found) = (name(run), self.found.flow_log.role.as_ref());
        let description = format!("Writes the flow log of {}", run.app);
        let wanted = Wanted { name: &name, path: "/", description: &description, trust: trust(run)?, tag: "flow-logs", boundary };
        iam_role::up(&self.iam, run, &wanted, found).await?;
        let policies = Policies { attached: BTreeSet::new(), inline: Some((POLICY, policy(run)?)) };
        iam_role::settle(&self.iam, run, &name, found, &policies).await
    }

    pub async fn flow_log_role_down(&self, run: &Run) -> Result<()> {
        iam_role::remove(&self.iam, run, self.found.flow_log.role.as_ref()).await
    }
}
