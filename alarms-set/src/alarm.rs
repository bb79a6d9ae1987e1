//! The alarms. Setting one overwrites all of it and forgets its state, so an alarm that is as wanted is not set again.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{
    AlarmType, ComparisonOperator, Dimension, Metric, MetricAlarm, MetricDataQuery, MetricStat, Statistic, Tag,
};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::if_found;
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::AlarmsSet;
use crate::wish::Wanted;

/// Those whose names begin with the app's, by name.
pub type Found = BTreeMap<String, FoundAlarm>;

pub struct FoundAlarm {
    alarm: MetricAlarm,
    tags: Vec<Tag>,
    ours: bool,
}

/// Seconds that one data point covers.
const PERIOD: i32 = 60;
/// Data points that must be over the threshold: one bad minute wakes nobody.
const POINTS: i32 = 3;
/// A service without tasks or requests has no data, which is no reason to wake anybody.
const MISSING: &str = "notBreaching";
/// Requests are counted.
const SUM: &str = "Sum";
/// How many are asked for their tags at the same time: CloudWatch has few calls a second for all of an account.
const TAGS_AT_ONCE: usize = 20;
/// CloudWatch takes three `PutMetricAlarm` a second; what comes at once beyond that is tried again.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
const PUTS_AT_ONCE: usize = 10;
/// How many one call of `DeleteAlarms` takes.
const AT_ONCE: usize = 100;

/// One alarm that there is to be.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    name: String,
    what: String,
    metric: Watched,
    threshold: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Watched {
    /// Namespace, metric, statistic (a name, or a percentile as p99), dimensions.
    One { namespace: &'static str, metric: &'static str, statistic: &'static str, dimensions: Vec<(&'static str, String)> },
    /// 5xx answers of targets and of the load balancer itself, as a share of all requests.
    Errors { balancer: String },
}

/// All of the app's alarms. The tags of those that are to be there are read at the same time: their ARNs are known without asking.
pub async fn find(cloudwatch: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    run.ask_caller().await?;
    let prefix = format!("{}/", run.app);
    let alarms = async {
        let call = cloudwatch.describe_alarms().alarm_name_prefix(&prefix).alarm_types(AlarmType::MetricAlarm);
        call.into_paginator().send().collect::<Result<Vec<_>, _>>().await.tried("look for the alarms")
    };
    let wished = wanted.map(|wanted| wishes(run, wanted)).unwrap_or_default().into_iter().map(|wish| wish.name).collect();
    let (pages, mut known) = try_join!(alarms, tags(cloudwatch, run, wished))?;
    let alarms: Vec<MetricAlarm> = pages.into_iter().flat_map(|page| page.metric_alarms.unwrap_or_default()).collect();
    // Those that are not wanted, and one that another run has made between the two answers.
    let names = alarms.iter().filter_map(MetricAlarm::alarm_name);
    let others = names.filter(|name| !known.contains_key(*name)).map(str::to_owned).collect();
    known.extend(tags(cloudwatch, run, others).await?);
    Ok(alarms
        .into_iter()
        .map(|alarm| {
            let name = alarm.alarm_name().unwrap_or_default().to_owned();
            let tags = known.remove(&name).unwrap_or_default();
            (name, FoundAlarm { alarm, ours: run.is_ours(tags.iter().map(pair)), tags })
        })
        .collect())
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

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (tag.key(), tag.value())
}

fn aws_tags(tags: Vec<(String, String)>) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn wishes(run: &Run, wanted: &Wanted) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut wish = |name: &str, what: String, threshold: f64, metric: Watched| {
        wishes.push(Wish { name: format!("{}/{name}", run.app), what, metric, threshold });
    };
    // In a plan of a new load balancer the dimensions are not known yet, but the alarms' names are.
    let end = |arn: Option<&str>, start: &str| arn.and_then(|arn| arn.split_once(start)).map(|(_, end)| end.to_owned()).unwrap_or_default();
    let published = wanted.svc.services.values().any(|record| record.published);
    let balancer = end(wanted.svc.load_balancer_arn.as_deref(), ":loadbalancer/");
    for (service, record) in &wanted.svc.services {
        let of_service = || vec![("ClusterName", wanted.cluster.name.clone()), ("ServiceName", service.clone())];
        for (metric, threshold, word) in [("CPUUtilization", wanted.cpu, "cpu"), ("MemoryUtilization", wanted.memory, "memory")] {
            let watched = Watched::One { namespace: "AWS/ECS", metric, statistic: "Average", dimensions: of_service() };
            wish(&format!("{service}/{word}"), format!("{service}: {word} above {threshold} %"), threshold, watched);
        }
        if record.published {
            let group = format!("targetgroup/{}", end(record.target_group_arn.as_deref(), ":targetgroup/"));
            let dimensions = vec![("LoadBalancer", balancer.clone()), ("TargetGroup", group)];
            let watched = Watched::One { namespace: "AWS/ApplicationELB", metric: "UnHealthyHostCount", statistic: "Maximum", dimensions };
            wish(&format!("{service}/unhealthy-targets"), format!("{service}: tasks that the load balancer finds unhealthy"), 0.0, watched);
        }
    }
    if published {
        wish(
            "5xx",
            format!("more than {} % of the answers are 5xx", wanted.percent_5xx),
            wanted.percent_5xx,
            Watched::Errors { balancer: balancer.clone() },
        );
        if let Some(seconds) = wanted.latency_p99 {
            let dimensions = vec![("LoadBalancer", balancer)];
            let watched = Watched::One { namespace: "AWS/ApplicationELB", metric: "TargetResponseTime", statistic: "p99", dimensions };
            wish("latency-p99", format!("1 of 100 requests takes longer than {seconds} s"), seconds, watched);
        }
    }
    if let Some(group) = &wanted.cluster.auto_scaling_group {
        let dimensions = vec![("AutoScalingGroupName", group.clone())];
        let watched = Watched::One { namespace: "AWS/EC2", metric: "StatusCheckFailed", statistic: "Maximum", dimensions };
        wish("instances/status-check", "an instance fails its status checks".to_owned(), 0.0, watched);
    }
    wishes
}

impl AlarmsSet {
    pub async fn alarms_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let wishes = wishes(run, wanted);
        let topic = self.alarms.borrow().topic_arn.clone();
        let actions: Vec<String> = topic.into_iter().chain(wanted.topics.iter().cloned()).collect();
        let mut names: Vec<String> = wishes.iter().map(|wish| wish.name.clone()).collect();
        if wanted.partial {
            names.extend(
                self.found
                    .alarms
                    .iter()
                    .filter(|(name, found)| found.ours && !names.contains(name))
                    .map(|(name, _)| name.clone())
                    .collect::<Vec<_>>(),
            );
        }
        self.alarms.borrow_mut().alarm_names = names;
        for some in wishes.chunks(PUTS_AT_ONCE) {
            each(some, async |wish| self.alarm_up(run, wish, &actions, !wanted.emails.is_empty()).await).await?;
        }
        let extra: Vec<String> = self
            .found
            .alarms
            .iter()
            .filter(|(name, found)| found.ours && !wishes.iter().any(|wish| wish.name == **name))
            .map(|(name, _)| name.clone())
            .collect();
        if wanted.partial { Ok(()) } else { self.delete(run, &extra).await }
    }

    async fn alarm_up(&self, run: &Run, wish: &Wish, actions: &[String], tells_topic: bool) -> Result<()> {
        let Some(found) = self.found.alarms.get(&wish.name) else {
            return run
                .create("alarm", &wish.name, async { self.put(run, wish, actions).await.map(|()| wish.name.clone()) })
                .await
                .map(drop);
        };
        if !found.ours {
            return Err(run.foreign("alarm", &wish.name));
        }
        run.settle_tags("alarm", &wish.name, run.tags(&wish.name), found.tags.iter().map(pair), async |missing| {
            let call = self.cloudwatch.tag_resource().resource_arn(arn(run, &wish.name)?).set_tags(Some(aws_tags(missing)));
            call.send().await.tried(format!("tag the alarm {}", wish.name)).map(drop)
        })
        .await?;
        let mut diff = Diff::new()
            .field("watches", shape(&found.alarm), wish.shape())
            .field("missing data", found.alarm.treat_missing_data(), Some(MISSING))
            .field("actions enabled", found.alarm.actions_enabled(), Some(true));
        // In a plan of a new topic its ARN is not known yet.
        if !(run.is_planning() && tells_topic && self.alarms.borrow().topic_arn.is_none()) {
            let sorted = |actions: &[String]| actions.iter().cloned().collect::<BTreeSet<_>>();
            diff = diff.field("actions", sorted(found.alarm.alarm_actions()), sorted(actions));
            diff = diff.field("OK actions", sorted(found.alarm.ok_actions()), sorted(actions));
        }
        if diff.is_empty() {
            run.found("alarm", &wish.name);
            return Ok(());
        }
        run.change("alarm", &wish.name, &diff, self.put(run, wish, actions)).await
    }

    async fn put(&self, run: &Run, wish: &Wish, actions: &[String]) -> Result<()> {
        let call = self.cloudwatch.put_metric_alarm().alarm_name(&wish.name).alarm_description(&wish.what);
        let call = call.set_tags(Some(aws_tags(run.tags(&wish.name)))).actions_enabled(true);
        let call = call.comparison_operator(ComparisonOperator::GreaterThanThreshold).threshold(wish.threshold);
        let call = call.evaluation_periods(POINTS).datapoints_to_alarm(POINTS).treat_missing_data(MISSING);
        let call = call.set_alarm_actions(Some(actions.to_vec())).set_ok_actions(Some(actions.to_vec()));
        let call = match &wish.metric {
            Watched::One { namespace, metric, statistic, dimensions } => {
                let call = call
                    .namespace(*namespace)
                    .metric_name(*metric)
                    .period(PERIOD)
                    .set_dimensions(Some(dimensions.iter().map(dimension).collect()));
                if statistic.starts_with('p') { call.extended_statistic(*statistic) } else { call.statistic(Statistic::from(*statistic)) }
            }
            Watched::Errors { balancer } => call.set_metrics(Some(errors(balancer))),
        };
        call.send().await.tried(format!("set the alarm {}", wish.name)).map(drop)
    }

    pub async fn alarms_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.alarms.iter().filter(|(name, found)| run.goes("alarm", name, found.ours));
        self.delete(run, &ours.map(|(name, _)| name.clone()).collect::<Vec<_>>()).await
    }

    async fn delete(&self, run: &Run, names: &[String]) -> Result<()> {
        for some in names.chunks(AT_ONCE) {
            let delete = async {
                self.cloudwatch.delete_alarms().set_alarm_names(Some(some.to_vec())).send().await.tried("delete the alarms").map(drop)
            };
            run.delete("alarms", &some.join(", "), delete).await?;
        }
        Ok(())
    }
}

fn dimension((name, value): &(&'static str, String)) -> Dimension {
    Dimension::builder().name(*name).value(value).build()
}

/// The share of 5xx, of targets and of the load balancer, in all requests.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html>
fn errors(balancer: &str) -> Vec<MetricDataQuery> {
    let counted = |id: &str, name: &str| {
        let metric = Metric::builder()
            .namespace("AWS/ApplicationELB")
            .metric_name(name)
            .dimensions(Dimension::builder().name("LoadBalancer").value(balancer).build())
            .build();
        let stat = MetricStat::builder().metric(metric).period(PERIOD).stat(SUM).build();
        MetricDataQuery::builder().id(id).metric_stat(stat).return_data(false).build()
    };
    // A metric that counted nothing has no data point; a sum leaves it out, where `+` would have none either.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    let share = MetricDataQuery::builder().id("share").expression(SHARE).label("5xx in percent").return_data(true).build();
    vec![
        counted("target", "HTTPCode_Target_5XX_Count"),
        counted("elb", "HTTPCode_ELB_5XX_Count"),
        counted("requests", "RequestCount"),
        share,
    ]
}

/// A request that finds no target is counted as an error of the load balancer, but not as a request.
const SHARE: &str = "100 * SUM([target, elb]) / SUM([requests, elb])";

impl Wish {
    /// All that must be the same, in words.
    fn shape(&self) -> String {
        let watched = match &self.metric {
            Watched::One { namespace, metric, statistic, dimensions } => {
                let dimensions: Vec<Dimension> = dimensions.iter().map(dimension).collect();
                format!("{namespace} {metric} {statistic} {} {PERIOD}", texts(&dimensions))
            }
            Watched::Errors { balancer } => format!("{SHARE} of {balancer}"),
        };
        format!("{watched} > {} in {POINTS} of {POINTS}, {}", self.threshold, self.what)
    }
}

/// As [`Wish::shape`], of what was found.
fn shape(alarm: &MetricAlarm) -> String {
    let watched = if alarm.metrics().is_empty() {
        let statistic = alarm.extended_statistic().or(alarm.statistic().map(Statistic::as_str)).unwrap_or_default();
        let period = alarm.period().unwrap_or_default();
        format!(
            "{} {} {statistic} {} {period}",
            alarm.namespace().unwrap_or_default(),
            alarm.metric_name().unwrap_or_default(),
            texts(alarm.dimensions())
        )
    } else {
        let expression = alarm.metrics().iter().find_map(MetricDataQuery::expression).unwrap_or_default();
        let metrics = alarm.metrics().iter().filter_map(|query| query.metric_stat()?.metric());
        let mut balancers: Vec<&str> = metrics.flat_map(Metric::dimensions).filter_map(Dimension::value).collect();
        balancers.dedup();
        let sums = alarm.metrics().iter().filter_map(MetricDataQuery::metric_stat);
        let odd = sums.filter(|stat| stat.period() != Some(PERIOD) || stat.stat() != Some(SUM)).count();
        format!("{expression} of {}{}", balancers.join(" "), if odd == 0 { "" } else { ", not summed by the minute" })
    };
    let sign = if alarm.comparison_operator() == Some(&ComparisonOperator::GreaterThanThreshold) { ">" } else { "?" };
    let (points, of) = (alarm.datapoints_to_alarm().unwrap_or_default(), alarm.evaluation_periods().unwrap_or_default());
    format!(
        "{watched} {sign} {} in {points} of {of}, {}",
        alarm.threshold().unwrap_or_default(),
        alarm.alarm_description().unwrap_or_default()
    )
}

fn texts(dimensions: &[Dimension]) -> String {
    let mut texts: Vec<String> =
        dimensions.iter().map(|one| format!("{}={}", one.name().unwrap_or_default(), one.value().unwrap_or_default())).collect();
    texts.sort();
    texts.join(" ")
}
