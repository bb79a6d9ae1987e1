//! The log group of the flow log.

use std::collections::HashMap;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use shared::name::pairs;
use shared::{Diff, Result, Run, Tried};

use crate::NetUp;

/// With its tags.
pub type Found = Option<(LogGroup, HashMap<String, String>)>;

pub fn name(run: &Run) -> String {
    format!("/ecs-pipe-flow-logs/{}", run.app)
}

pub fn arn(run: &Run) -> Result<String> {
    run.arn("logs", &format!("log-group:{}", name(run)))
}

pub async fn find(logs: &Client, run: &Run, asked: bool) -> Result<Found> {
    if !asked {
        return Ok(None);
    }
    let call = logs.describe_log_groups().log_group_name_prefix(name(run));
    let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let groups = items.tried(format!("look for the log group {}", name(run)))?;
    let Some(group) = groups.into_iter().find(|group| group.log_group_name() == Some(&name(run))) else { return Ok(None) };
    run.ask_caller().await?;
    let arn = arn(run)?;
    let said = logs.list_tags_for_resource().resource_arn(&arn).send().await.tried(format!("read the tags of {arn}"))?;
    Ok(Some((group, said.tags.unwrap_or_default())))
}

impl NetUp {
    pub async fn flow_log_group_up(&self, run: &Run, days: i32) -> Result<()> {
        let name = name(run);
        if let Some((_, found)) = &self.found.flow_log.group {
            if !run.is_ours(pairs(found)) {
                return Err(run.foreign("log group", &name));
            }
            run.settle_tags("log group", &name, run.tags("flow-logs"), pairs(found), async |missing| {
                let call = self.logs.tag_resource().resource_arn(arn(run)?).set_tags(Some(missing.into_iter().collect()));
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

    pub async fn flow_log_group_down(&self, run: &Run) -> Result<()> {
        let (name, found) = (name(run), &self.found.flow_log.group);
        if !found.as_ref().is_some_and(|(_, tags)| run.goes("log group", &name, run.is_ours(pairs(tags)))) {
            return Ok(());
        }
        let delete = async {
            self.logs.delete_log_group().log_group_name(&name).send().await.tried(format!("delete the log group {name}")).map(drop)
        };
        run.delete("log group", &name, delete).await
    }
}
