//! The alarms. Setting one overwrites all of it and resets its state, so an alarm that is as it should be is not set again.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, MetricAlarm, Tag};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::if_found;
use shared::step::each;
use shared::{Error, Result, Run, Tried};

use crate::AlarmsSet;
use crate::definition::{Definition, definitions, diff};
use crate::settings::Wanted;

shared::tagging!(aws_sdk_cloudwatch::types::Tag);

/// The alarms whose names begin with the app's, by name.
pub type Found = BTreeMap<String, FoundAlarm>;

pub struct FoundAlarm {
    alarm: MetricAlarm,
    tags: Vec<Tag>,
    ours: bool,
}

/// Alarms whose tags are read at the same time: CloudWatch allows few calls a second for the whole account.
const TAGS_AT_ONCE: usize = 20;
/// CloudWatch allows three `PutMetricAlarm` a second. What is beyond that is throttled and repeated.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
const PUTS_AT_ONCE: usize = 10;
/// Names that one call of `DeleteAlarms` accepts.
const AT_ONCE: usize = 100;

/// Finds all alarms of the app. The tags of those in the settings are read at the same time, because their ARNs are known.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(cloudwatch: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    run.ask_caller().await?;
    let prefix = format!("{}/", run.app);
    let alarms = async {
        let call = cloudwatch.describe_alarms().alarm_name_prefix(&prefix).alarm_types(AlarmType::MetricAlarm);
        // Its pages have two lists, so that `shared::pages!` does not fit.
        call.into_paginator().send().collect::<Result<Vec<_>, _>>().await.tried("list the alarms")
    };
    let names = wanted.map(|wanted| definitions(&run.app, wanted)).unwrap_or_default().into_iter().map(|one| one.name).collect();
    let (pages, mut known) = try_join!(alarms, tags(cloudwatch, run, names))?;
    let alarms: Vec<MetricAlarm> = pages.into_iter().flat_map(|page| page.metric_alarms.unwrap_or_default()).collect();
    // Alarms that are not in the settings, and those that another run has created between the two answers.
    let names = alarms.iter().filter_map(MetricAlarm::alarm_name);
    let others = names.filter(|name| !known.contains_key(*name)).map(str::to_owned).collect();
    known.extend(tags(cloudwatch, run, others).await?);
    let found = alarms.into_iter().map(|alarm| {
        let name = alarm.alarm_name().unwrap_or_default().to_owned();
        let tags = known.remove(&name).unwrap_or_default();
        (name, FoundAlarm { alarm, ours: run.is_ours(tags.iter().map(pair)), tags })
    });
    Ok(found.collect())
}

async fn tags(cloudwatch: &Client, run: &Run, names: Vec<String>) -> Result<BTreeMap<String, Vec<Tag>>> {
    let mut tags = BTreeMap::new();
    for some in names.chunks(TAGS_AT_ONCE) {
        let found = try_join_all(some.iter().map(async |name| {
            let said = cloudwatch.list_tags_for_resource().resource_arn(arn(run, name)?).send().await;
            let said = if_found(said.tried(format!("read the tags of the alarm {name}")))?;
            Ok::<_, Error>(said.map(|said| (name.clone(), said.tags.unwrap_or_default())))
        }));
        tags.extend(found.await?.into_iter().flatten());
    }
    Ok(tags)
}

fn arn(run: &Run, name: &str) -> Result<String> {
    run.arn("cloudwatch", &format!("alarm:{name}"))
}

/// What an alarm notifies.
struct Actions {
    arns: Vec<String>,
    /// Whether all ARNs are known; in a plan that of a new topic is not.
    known: bool,
}

impl AlarmsSet {
    pub async fn alarms_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let definitions = definitions(&run.app, wanted);
        let topic = self.alarms.borrow().topic_arn.clone();
        let known = !run.is_planning() || wanted.notified.emails.is_empty() || topic.is_some();
        let actions = Actions { arns: topic.into_iter().chain(wanted.notified.topics.iter().cloned()).collect(), known };
        let ours = self.found.alarms.iter().filter(|(_, found)| found.ours).map(|(name, _)| name);
        let extra: Vec<String> = ours.filter(|name| !definitions.iter().any(|one| one.name == **name)).cloned().collect();
        let mut names: Vec<String> = definitions.iter().map(|one| one.name.clone()).collect();
        if wanted.partial {
            names.extend(extra.iter().cloned());
        }
        self.alarms.borrow_mut().alarm_names = names;
        for some in definitions.chunks(PUTS_AT_ONCE) {
            each(some, async |one| self.alarm_up(run, one, &actions).await).await?;
        }
        if wanted.partial { Ok(()) } else { self.remove(run, &extra).await }
    }

    async fn alarm_up(&self, run: &Run, definition: &Definition, actions: &Actions) -> Result<()> {
        let name = &definition.name;
        match self.found.alarms.get(name) {
            Some(found) if !found.ours => Err(run.unmanaged("alarm", name)),
            Some(found) => self.settle(run, definition, actions, found).await,
            None => {
                let create = async { self.put(run, definition, actions).await.map(|()| name.clone()) };
                run.create("alarm", name, create).await.map(drop)
            }
        }
    }

    async fn settle(&self, run: &Run, definition: &Definition, actions: &Actions, found: &FoundAlarm) -> Result<()> {
        let Definition { name, alarm } = definition;
        run.settle_tags("alarm", name, run.tags(name), found.tags.iter().map(pair), async |missing| {
            let call = self.cloudwatch.tag_resource().resource_arn(arn(run, name)?).set_tags(Some(aws_tags(missing)));
            call.send().await.tried(format!("tag the alarm {name}")).map(drop)
        })
        .await?;
        let mut diff = diff(&found.alarm, alarm);
        if actions.known {
            diff = diff.set("AlarmActions", found.alarm.alarm_actions(), &actions.arns);
            diff = diff.set("OKActions", found.alarm.ok_actions(), &actions.arns);
        }
        if diff.is_empty() {
            run.found("alarm", name);
        }
        run.change("alarm", name, &diff, self.put(run, definition, actions)).await
    }

    async fn put(&self, run: &Run, definition: &Definition, actions: &Actions) -> Result<()> {
        let Definition { name, alarm } = definition;
        let alarm = alarm.clone();
        let call = self.cloudwatch.put_metric_alarm().alarm_name(name).set_alarm_description(alarm.alarm_description);
        let call = call.set_tags(Some(aws_tags(run.tags(name)))).set_actions_enabled(alarm.actions_enabled);
        let call = call.set_alarm_actions(Some(actions.arns.clone())).set_ok_actions(Some(actions.arns.clone()));
        let call = call.set_comparison_operator(alarm.comparison_operator).set_threshold(alarm.threshold);
        let call = call.set_evaluation_periods(alarm.evaluation_periods).set_datapoints_to_alarm(alarm.datapoints_to_alarm);
        let call = call.set_treat_missing_data(alarm.treat_missing_data).set_metrics(alarm.metrics);
        let call = call.set_namespace(alarm.namespace).set_metric_name(alarm.metric_name).set_dimensions(alarm.dimensions);
        let call = call.set_statistic(alarm.statistic).set_extended_statistic(alarm.extended_statistic).set_period(alarm.period);
        call.send().await.tried(format!("set the alarm {name}")).map(drop)
    }

    pub async fn alarms_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.alarms.iter().filter(|(name, found)| run.may_delete("alarm", name, found.ours));
        self.remove(run, &ours.map(|(name, _)| name.clone()).collect::<Vec<_>>()).await
    }

    async fn remove(&self, run: &Run, names: &[String]) -> Result<()> {
        for some in names.chunks(AT_ONCE) {
            let call = self.cloudwatch.delete_alarms().set_alarm_names(Some(some.to_vec()));
            let delete = async { call.send().await.tried("delete the alarms").map(drop) };
            run.delete("alarms", &some.join(", "), delete).await?;
        }
        Ok(())
    }
}
