//! The log groups, one a service: `/ecs-pipe/<app>/<service>`.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::if_found;
use shared::name::pairs;
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::SvcDeploy;
use crate::wish::Wanted;

/// By name.
pub type Found = BTreeMap<String, FoundGroup>;

pub struct FoundGroup {
    group: LogGroup,
    tags: HashMap<String, String>,
}

pub fn name(run: &Run, service: &str) -> String {
    format!("/ecs-pipe/{}/{service}", run.app)
}

/// The tags of those that are to be there are read at the same time: their ARNs are known without asking.
pub async fn find(logs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    run.ask_caller().await?;
    let prefix = name(run, "");
    let items = async {
        let call = logs.describe_log_groups().log_group_name_prefix(&prefix);
        let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        items.tried(format!("look for the log groups {prefix}*"))
    };
    let names = wanted.map(|wanted| wanted.services.iter().map(|service| name(run, &service.name)).collect()).unwrap_or_default();
    let (items, mut tags) = try_join!(items, tags(logs, run, names))?;
    let groups = items.into_iter().filter_map(|group| Some((group.log_group_name()?.to_owned(), group)));
    let groups: Vec<(String, LogGroup)> = groups.filter(|(name, _)| name.starts_with(&prefix)).collect();
    // Those that are not wanted, and one that another run has made between the two answers.
    let others = groups.iter().map(|(name, _)| name).filter(|name| !tags.contains_key(*name)).cloned().collect();
    tags.extend(self::tags(logs, run, others).await?);
    Ok(groups
        .into_iter()
        .map(|(name, group)| {
            let tags = tags.remove(&name).unwrap_or_default();
            (name, FoundGroup { group, tags })
        })
        .collect())
}

async fn tags(logs: &Client, run: &Run, names: Vec<String>) -> Result<BTreeMap<String, HashMap<String, String>>> {
    let found = try_join_all(names.into_iter().map(async |name| {
        let said = logs.list_tags_for_resource().resource_arn(arn(run, &name)?).send().await;
        let said = if_found(said.tried(format!("read the tags of the log group {name}")))?;
        Ok::<_, Error>(said.map(|said| (name, said.tags.unwrap_or_default())))
    }));
    Ok(found.await?.into_iter().flatten().collect())
}

fn arn(run: &Run, name: &str) -> Result<String> {
    run.arn("logs", &format!("log-group:{name}"))
}

impl SvcDeploy {
    pub async fn log_groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(&wanted.services, async |service| {
            let name = name(run, &service.name);
            self.record(&service.name, |record| record.log_group.clone_from(&name));
            match self.found.log_groups.get(&name) {
                Some(found) if !run.is_ours(pairs(&found.tags)) => return Err(run.foreign("log group", &name)),
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
            if let Some(found) = found {
                run.settle_tags("log group", &name, run.tags(&service.name), pairs(&found.tags), async |missing| {
                    let call = self.logs.tag_resource().resource_arn(arn(run, &name)?).set_tags(Some(missing.into_iter().collect()));
                    call.send().await.tried(format!("tag the log group {name}")).map(drop)
                })
                .await?;
            }
            let was = found.and_then(|found| found.group.retention_in_days());
            let diff = Diff::new().field("retentionInDays", was, Some(wanted.retention));
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
        let call = self.logs.create_log_group().log_group_name(name).set_tags(Some(tags));
        call.send().await.tried(format!("create the log group {name}"))?;
        Ok(name.to_owned())
    }

    pub async fn log_groups_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.log_groups.iter().filter(|(name, found)| run.goes("log group", name, run.is_ours(pairs(&found.tags))));
        each(ours, async |(name, _)| {
            let delete = async {
                self.logs.delete_log_group().log_group_name(name).send().await.tried(format!("delete the log group {name}")).map(drop)
            };
            run.delete("log group", name, delete).await
        })
        .await
        .map(drop)
    }
}
