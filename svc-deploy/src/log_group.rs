//! The log groups, one a service: `/ecs-pipe/<app>/<service>`.

use std::collections::BTreeMap;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use shared::step::each;
use shared::{Diff, Result, Run, Tried};

use crate::SvcDeploy;
use crate::wish::Wanted;

/// By name. The name says whose it is, down to the service.
pub type Found = BTreeMap<String, LogGroup>;

pub fn name(run: &Run, service: &str) -> String {
    format!("/ecs-pipe/{}/{service}", run.app)
}

pub async fn find(logs: &Client, run: &Run) -> Result<Found> {
    let prefix = name(run, "");
    let items =
        logs.describe_log_groups().log_group_name_prefix(&prefix).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let groups = items.tried(format!("look for the log groups {prefix}*"))?.into_iter();
    Ok(groups
        .filter_map(|group| group.log_group_name().map(str::to_owned).map(|name| (name, group)))
        .filter(|(name, _)| name.starts_with(&prefix))
        .collect())
}

impl SvcDeploy {
    pub async fn log_groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(&wanted.services, async |service| {
            let name = name(run, &service.name);
            self.record(&service.name, |record| record.log_group.clone_from(&name));
            match self.found.log_groups.get(&name) {
                Some(_) => run.found("log group", &name),
                None => drop(run.create("log group", &name, self.create_log_group(run, &service.name, &name)).await?),
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    pub async fn settle_log_groups(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(&wanted.services, async |service| {
            let name = name(run, &service.name);
            let found = self.found.log_groups.get(&name);
            if found.is_none() && run.is_planning() {
                return Ok(());
            }
            let diff = Diff::new().field("retentionInDays", found.and_then(LogGroup::retention_in_days), Some(wanted.retention));
            let put = async {
                self.logs
                    .put_retention_policy()
                    .log_group_name(&name)
                    .retention_in_days(wanted.retention)
                    .send()
                    .await
                    .tried(format!("set the retention of {name}"))
                    .map(drop)
            };
            run.change("log group", &name, &diff, put).await
        })
        .await
        .map(drop)
    }

    async fn create_log_group(&self, run: &Run, service: &str, name: &str) -> Result<String> {
        let tags = run.tags(service).into_iter().collect();
        match self
            .logs
            .create_log_group()
            .log_group_name(name)
            .set_tags(Some(tags))
            .send()
            .await
            .tried(format!("create the log group {name}"))
        {
            // Made by a run whose answer was lost.
            Err(error) if error.is_code("ResourceAlreadyExistsException") => {}
            other => drop(other?),
        }
        Ok(name.to_owned())
    }

    pub async fn log_groups_down(&self, run: &Run) -> Result<()> {
        each(self.found.log_groups.keys(), async |name| {
            let delete = async {
                self.logs.delete_log_group().log_group_name(name).send().await.tried(format!("delete the log group {name}")).map(drop)
            };
            run.delete("log group", name, delete).await
        })
        .await
        .map(drop)
    }
}
