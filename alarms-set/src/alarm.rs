//! The alarms. Setting one overwrites all of it and resets its state, so an alarm that is as it should be is not set again.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, MetricAlarm, StateValue, Tag};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::if_found;
use shared::step::each;
use shared::wait::while_held;
use shared::{Error, Result, Run, Tried};

use crate::AlarmsSet;
use crate::alarm_diff::diff;
use crate::definition::{Definition, definitions};
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
/// The alarms of three services. CloudWatch allows three `PutMetricAlarm` a second. What is beyond that is throttled and repeated, which ends long
/// before the last attempt.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
const PUTS_AT_ONCE: usize = 20;
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

pub async fn tags(cloudwatch: &Client, run: &Run, names: Vec<String>) -> Result<BTreeMap<String, Vec<Tag>>> {
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

pub fn arn(run: &Run, name: &str) -> Result<String> {
    run.arn("cloudwatch", &format!("alarm:{name}"))
}

/// Returns the service of an alarm `<app>/<service>/<alarm>`. The instances are not one.
fn service_of<'a>(app: &str, name: &'a str) -> Option<&'a str> {
    let (service, _) = name.strip_prefix(app)?.strip_prefix('/')?.split_once('/')?;
    Some(service).filter(|service| *service != "instances")
}

/// What an alarm notifies.
struct Actions {
    arns: Vec<String>,
    /// Also when an alarm is over.
    ok: Vec<String>,
    /// Whether all ARNs are known; in a plan that of a new topic is not.
    known: bool,
}

impl AlarmsSet {
    pub async fn alarms_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let definitions = definitions(&run.app, wanted);
        let topic = self.alarms.borrow().topic_arn.clone();
        let known = !run.is_planning() || wanted.notified.emails.is_empty() || topic.is_some();
        let arns: Vec<String> = topic.into_iter().chain(wanted.notified.topics.iter().cloned()).collect();
        let actions = Actions { ok: if wanted.notified.ok { arns.clone() } else { Vec::new() }, arns, known };
        let mut names: Vec<String> = definitions.iter().map(|one| one.name.clone()).collect();
        names.extend(self.extra(run, wanted).0);
        self.alarms.borrow_mut().alarm_names = names;
        for some in definitions.chunks(PUTS_AT_ONCE) {
            each(some, async |one| self.alarm_up(run, one, &actions).await).await?;
        }
        Ok(())
    }

    /// Deletes the alarms that are no longer set. The composite alarm must no longer name them.
    pub async fn extra_down(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (kept, deleted) = self.extra(run, wanted);
        if !wanted.partial && !kept.is_empty() {
            let names = kept.join(", ");
            let what = format!(
                "the alarms {names} are kept, but their service is not in the document. Run alarms-set with --prune to delete them"
            );
            run.warn("alarms-not-in-document", what);
        }
        self.remove(run, &deleted).await
    }

    /// Returns the alarms that are not in the settings: those to keep, and those to delete. A service that left the document may still run, so
    /// its alarms are kept until they are pruned.
    fn extra(&self, run: &Run, wanted: &Wanted) -> (Vec<String>, Vec<String>) {
        let definitions = definitions(&run.app, wanted);
        let ours = self.found.alarms.iter().filter(|(_, found)| found.ours).map(|(name, _)| name);
        let extra = ours.filter(|name| !definitions.iter().any(|one| one.name == **name)).cloned();
        let has_left = |name: &String| service_of(&run.app, name).is_some_and(|service| !wanted.svc.services.contains_key(service));
        extra.partition(|name| wanted.partial || (!self.prune && has_left(name)))
    }

    async fn alarm_up(&self, run: &Run, definition: &Definition, actions: &Actions) -> Result<()> {
        let name = &definition.name;
        match self.found.alarms.get(name) {
            Some(found) if !found.ours => Err(run.unmanaged("alarm", name)),
            Some(found) => self.settle(run, definition, actions, found).await,
            None => {
                let create = async { self.create(run, definition, actions).await.map(|()| name.clone()) };
                run.create("alarm", name, create).await.map(drop)
            }
        }
    }

    /// A new alarm has no data and then finds everything in order, which CloudWatch notifies as the end of an alarm. So it begins in order. A run
    /// that stops in between leaves an alarm whose actions the next run enables.
    async fn create(&self, run: &Run, definition: &Definition, actions: &Actions) -> Result<()> {
        if actions.ok.is_empty() {
            return self.put(run, definition, actions).await;
        }
        let name = &definition.name;
        let mut quiet = definition.clone();
        quiet.alarm.actions_enabled = Some(false);
        self.put(run, &quiet, actions).await?;
        let state = self.cloudwatch.set_alarm_state().alarm_name(name).state_value(StateValue::Ok).state_reason("created by alarms-set");
        state.send().await.tried(format!("set the state of the alarm {name}"))?;
        self.cloudwatch
            .enable_alarm_actions()
            .alarm_names(name)
            .send()
            .await
            .tried(format!("enable the actions of the alarm {name}"))
            .map(drop)
    }

    async fn settle(&self, run: &Run, definition: &Definition, actions: &Actions, found: &FoundAlarm) -> Result<()> {
        let Definition { name, alarm, .. } = definition;
        let arn = arn(run, name)?;
        run.settle_tags(
            "alarm",
            name,
            run.tags(name),
            found.tags.iter().map(pair),
            async |missing| self.cloudwatch.tag_resource().resource_arn(&arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.cloudwatch.untag_resource().resource_arn(&arn).set_tag_keys(Some(left)).send().await,
        )
        .await?;
        let mut diff = diff(&found.alarm, alarm).set("InsufficientDataActions", found.alarm.insufficient_data_actions(), [""; 0]);
        if actions.known {
            diff = diff.set("AlarmActions", found.alarm.alarm_actions(), &actions.arns);
            diff = diff.set("OKActions", found.alarm.ok_actions(), &actions.ok);
        }
        if diff.is_empty() {
            run.found("alarm", name);
        }
        run.change("alarm", name, &diff, self.put(run, definition, actions)).await
    }

    async fn put(&self, run: &Run, definition: &Definition, actions: &Actions) -> Result<()> {
        let Definition { name, alarm, .. } = definition;
        let alarm = alarm.clone();
        let call = self.cloudwatch.put_metric_alarm().alarm_name(name).set_alarm_description(alarm.alarm_description);
        let call = call.set_tags(Some(aws_tags(run.tags(name)))).set_actions_enabled(alarm.actions_enabled);
        let call = call.set_alarm_actions(Some(actions.arns.clone())).set_ok_actions(Some(actions.ok.clone()));
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
            let is_held = |error: &Error| error.says("composite alarm(s) depending on it");
            let delete = while_held(run, "the composite alarm to let go of its alarms", is_held, async || {
                call.clone().send().await.tried("delete the alarms").map(drop)
            });
            run.delete("alarms", &some.join(", "), delete).await?;
        }
        Ok(())
    }
}
