//! The log group of the flow log.

use std::collections::HashMap;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use shared::owner::pairs;
use shared::{Diff, Result, Run, Tried};

use crate::NetUp;

/// The log group with its tags.
pub type Found = Option<(LogGroup, HashMap<String, String>)>;

pub fn name(run: &Run) -> String {
    format!("/ecs-pipe-flow-logs/{}", run.app)
}

pub fn arn(run: &Run) -> Result<String> {
    run.arn("logs", &format!("log-group:{}", name(run)))
}

pub async fn find(logs: &Client, run: &Run) -> Result<Found> {
    let name = name(run);
    let groups = shared::pages!(logs.describe_log_groups().log_group_name_prefix(&name), format!("read the log group {name}"))?;
    let Some(group) = groups.into_iter().find(|group| group.log_group_name() == Some(&name)) else { return Ok(None) };
    run.ask_caller().await?;
    let arn = arn(run)?;
    let said = logs.list_tags_for_resource().resource_arn(&arn).send().await.tried(format!("read the tags of the log group {name}"))?;
    Ok(Some((group, said.tags.unwrap_or_default())))
}

impl NetUp {
    pub async fn flow_log_group_up(&self, run: &Run, days: i32) -> Result<()> {
        let name = name(run);
        let found = self.found.flow_log.group.as_ref();
        if let Some((_, tags)) = found {
            if !run.is_ours(pairs(tags)) {
                return Err(run.unmanaged("log group", &name));
            }
            let arn = arn(run)?;
            run.settle_tags(
                "log group",
                &name,
                run.tags("flow-logs"),
                pairs(tags),
                async |missing| self.logs.tag_resource().resource_arn(&arn).set_tags(Some(missing.into_iter().collect())).send().await,
                async |left| self.logs.untag_resource().resource_arn(&arn).set_tag_keys(Some(left)).send().await,
            )
            .await?;
        } else if run.create("log group", &name, self.create_log_group(run, &name)).await?.is_none() {
            // The plan of a new log group does not list its retention.
            return Ok(());
        }
        let was = found.and_then(|(group, _)| group.retention_in_days());
        run.change("log group", &name, &Diff::new().field("retentionInDays", was, Some(days)), async {
            let call = self.logs.put_retention_policy().log_group_name(&name).retention_in_days(days);
            call.send().await.tried(format!("set the retention of the log group {name}")).map(drop)
        })
        .await
    }

    async fn create_log_group(&self, run: &Run, name: &str) -> Result<String> {
        let tags = run.tags("flow-logs").into_iter().collect();
        let call = self.logs.create_log_group().log_group_name(name).set_tags(Some(tags));
        call.send().await.tried(format!("create the log group {name}")).map(|_| name.to_owned())
    }

    pub async fn flow_log_group_down(&self, run: &Run) -> Result<()> {
        let name = name(run);
        let Some((_, tags)) = &self.found.flow_log.group else { return Ok(()) };
        if !run.may_delete("log group", &name, run.is_ours(pairs(tags))) {
            return Ok(());
        }
        let delete = async {
            self.logs.delete_log_group().log_group_name(&name).send().await.tried(format!("delete the log group {name}")).map(drop)
        };
        run.delete("log group", &name, delete).await
    }
}
