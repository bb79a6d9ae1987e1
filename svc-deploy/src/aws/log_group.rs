//! The log groups, one for each service: `/ecs-pipe/<app>/<service>`.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::if_found;
use shared::owner::pairs;
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::SvcDeploy;
use crate::model::{Service, Wanted};

/// By name.
pub type Found = BTreeMap<String, FoundGroup>;

pub struct FoundGroup {
    group: LogGroup,
    pub tags: HashMap<String, String>,
}

/// Returns the name of a service's log group.
pub fn name(app: &str, service: &str) -> String {
    format!("/ecs-pipe/{app}/{service}")
}

/// Finds all of the app. The tags of those that should exist are read at the same time, because their ARNs are known.
pub async fn find(logs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    run.ask_caller().await?;
    let prefix = name(&run.app, "");
    let items = async {
        let call = logs.describe_log_groups().log_group_name_prefix(&prefix);
        shared::pages!(call, format!("list the log groups {prefix}*"))
    };
    let names = wanted.map(|wanted| wanted.services.iter().map(|service| name(&run.app, &service.name)).collect()).unwrap_or_default();
    let (items, mut tags) = try_join!(items, tags(logs, run, names))?;
    let groups = items.into_iter().filter_map(|group| Some((group.log_group_name()?.to_owned(), group)));
    let groups: Vec<(String, LogGroup)> = groups.filter(|(name, _)| name.starts_with(&prefix)).collect();
    // Those of other services, and one that another run created between the two answers.
    let others = groups.iter().map(|(name, _)| name).filter(|name| !tags.contains_key(*name)).cloned().collect();
    tags.extend(self::tags(logs, run, others).await?);
    let found = |(name, group): (String, LogGroup)| {
        let tags = tags.remove(&name).unwrap_or_default();
        (name, FoundGroup { group, tags })
    };
    Ok(groups.into_iter().map(found).collect())
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
    /// Creates those that are missing, also of services that this run does not deploy: the execution role names all.
    pub async fn log_groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(&wanted.services, async |service| {
            let name = name(&run.app, &service.name);
            self.record(&service.name, |record| record.log_group.clone_from(&name));
            match self.found.log_groups.get(&name) {
                Some(found) if !run.is_ours(pairs(&found.tags)) => return Err(run.unmanaged("log group", &name)),
                Some(_) => run.found("log group", &name),
                None => drop(run.create("log group", &name, self.create_log_group(run, wanted, &service.name, &name)).await?),
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    async fn create_log_group(&self, run: &Run, wanted: &Wanted, service: &str, name: &str) -> Result<String> {
        let tags = run.tags(service).into_iter().collect();
        let call = self.logs.create_log_group().log_group_name(name).set_kms_key_id(wanted.log_kms_key.clone()).set_tags(Some(tags));
        call.send().await.tried(format!("create the log group {name}"))?;
        Ok(name.to_owned())
    }

    pub async fn settle_log_groups(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(&wanted.services, async |service| self.settle_log_group(run, wanted, service).await).await.map(drop)
    }

    async fn settle_log_group(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<()> {
        let name = name(&run.app, &service.name);
        let found = self.found.log_groups.get(&name);
        // The plan of a new log group is the log group itself.
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        if let Some(found) = found {
            let arn = arn(run, &name)?;
            run.settle_tags(
                "log group",
                &name,
                run.tags(&service.name),
                pairs(&found.tags),
                async |missing| self.logs.tag_resource().resource_arn(&arn).set_tags(Some(missing.into_iter().collect())).send().await,
                async |left| self.logs.untag_resource().resource_arn(&arn).set_tag_keys(Some(left)).send().await,
            )
            .await?;
        }
        if let Some(found) = found {
            self.settle_key(run, wanted, &name, found.group.kms_key_id()).await?;
        }
        let was = found.and_then(|found| found.group.retention_in_days());
        run.change("log group", &name, &Diff::new().field("retentionInDays", was, Some(wanted.retention)), async {
            let call = self.logs.put_retention_policy().log_group_name(&name).retention_in_days(wanted.retention);
            call.send().await.tried(format!("set the retention of the log group {name}")).map(drop)
        })
        .await
    }

    /// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html>
    async fn settle_key(&self, run: &Run, wanted: &Wanted, name: &str, was: Option<&str>) -> Result<()> {
        let doing = format!("set the key of the log group {name}");
        run.change("log group", name, &Diff::new().field("kmsKeyId", was, wanted.log_kms_key.as_deref()), async {
            match &wanted.log_kms_key {
                Some(key) => self.logs.associate_kms_key().log_group_name(name).kms_key_id(key).send().await.tried(doing).map(drop),
                None => self.logs.disassociate_kms_key().log_group_name(name).send().await.tried(doing).map(drop),
            }
        })
        .await
    }

    pub async fn log_groups_down(&self, run: &Run, found: &Found) -> Result<()> {
        let ours = found.iter().filter(|(name, found)| run.may_delete("log group", name, run.is_ours(pairs(&found.tags))));
        each(ours, async |(name, _)| {
            let call = self.logs.delete_log_group().log_group_name(name);
            let delete = async { call.send().await.tried(format!("delete the log group {name}")).map(drop) };
            run.delete("log group", name, delete).await
        })
        .await
        .map(drop)
    }
}
