//! Which alarms an app has, what each watches, and how a found one differs.

use aws_sdk_cloudwatch::types::builders::MetricAlarmBuilder;
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, Metric, MetricAlarm, MetricDataQuery, MetricStat, Statistic};
use serde_json::{Map, Value, json};
use shared::Diff;
use shared::doc::ServiceRecord;

use crate::settings::Wanted;

/// Seconds that one data point covers.
const PERIOD: i32 = 60;
/// Data points in a row that must be above the threshold, so that one bad minute alarms nobody.
const POINTS: i32 = 3;
/// A service without tasks or requests has no data, which is no reason to alarm anybody.
const MISSING: &str = "notBreaching";
/// Requests are counted.
const SUM: &str = "Sum";
const ALB: &str = "AWS/ApplicationELB";
/// The load balancer counts a request that finds no target as an error, but not as a request.
const SHARE: &str = "100 * SUM([target, elb]) / SUM([requests, elb])";

/// An alarm as it should be. The actions, which depend on the topic, are not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub name: String,
    pub alarm: MetricAlarm,
}

/// The threshold for memory, in percent.
const MEMORY: f64 = 85.0;

/// Returns all alarms of the app. In a plan of a new load balancer the dimensions are not known yet, but the names are.
pub fn definitions(app: &str, wanted: &Wanted) -> Vec<Definition> {
    let balancer = wanted.svc.load_balancer_arn.as_deref().and_then(|arn| arn.split_once(":loadbalancer/")).map_or("", |(_, end)| end);
    let of_services = wanted.svc.services.iter().flat_map(|(service, record)| of_service(wanted, service, record, balancer));
    let published = wanted.svc.services.values().any(|record| record.published);
    let of_balancer = published.then(|| of_balancer(wanted, balancer)).into_iter().flatten();
    let of_instances = wanted.cluster.auto_scaling_group.as_deref().map(of_instances);
    let all = of_services.chain(of_balancer).chain(of_instances);
    all.map(|(name, alarm)| Definition { name: format!("{app}/{name}"), alarm }).collect()
}

fn of_service(wanted: &Wanted, service: &str, record: &ServiceRecord, balancer: &str) -> Vec<(String, MetricAlarm)> {
    let dimensions = [("ClusterName", wanted.cluster.name.as_str()), ("ServiceName", service)];
    let used = |metric: &str, word: &str, threshold: f64| {
        let alarm = above(threshold, format!("{service}: {word} above {threshold} %"));
        let alarm = watching(alarm, "AWS/ECS", metric, &dimensions).statistic(Statistic::Average);
        (format!("{service}/{word}"), alarm.build())
    };
    let mut alarms = vec![used("CPUUtilization", "cpu", wanted.cpu)];
    // CloudWatch counts in percent of what is reserved, and more than that is as it should be without a limit.
    let memory = wanted.memory.or((!record.memory_unlimited).then_some(MEMORY));
    alarms.extend(memory.map(|memory| used("MemoryUtilization", "memory", memory)));
    if record.published {
        // CloudWatch names a target group as the end of its ARN does: `targetgroup/<name>/<id>`.
        let group = record.target_group_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default();
        let alarm = above(0.0, format!("{service}: tasks that the load balancer finds unhealthy"));
        let alarm = watching(alarm, ALB, "UnHealthyHostCount", &[("LoadBalancer", balancer), ("TargetGroup", group)]);
        alarms.push((format!("{service}/unhealthy-targets"), alarm.statistic(Statistic::Maximum).build()));
    }
    alarms
}

fn of_balancer(wanted: &Wanted, balancer: &str) -> Vec<(String, MetricAlarm)> {
    let percent = wanted.percent_5xx;
    let alarm = above(percent, format!("more than {percent} % of the answers are 5xx")).set_metrics(Some(errors(balancer)));
    let mut alarms = vec![("5xx".to_owned(), alarm.build())];
    if let Some(seconds) = wanted.latency_p99 {
        let alarm = above(seconds, format!("1 of 100 requests takes longer than {seconds} s"));
        let alarm = watching(alarm, ALB, "TargetResponseTime", &[("LoadBalancer", balancer)]).extended_statistic("p99");
        alarms.push(("latency-p99".to_owned(), alarm.build()));
    }
    alarms
}

fn of_instances(group: &str) -> (String, MetricAlarm) {
    let alarm = above(0.0, "an instance fails its status checks".to_owned());
    let alarm = watching(alarm, "AWS/EC2", "StatusCheckFailed", &[("AutoScalingGroupName", group)]);
    ("instances/status-check".to_owned(), alarm.statistic(Statistic::Maximum).build())
}

fn above(threshold: f64, description: String) -> MetricAlarmBuilder {
    let alarm = MetricAlarm::builder().alarm_description(description).actions_enabled(true);
    let alarm = alarm.comparison_operator(ComparisonOperator::GreaterThanThreshold).threshold(threshold);
    alarm.evaluation_periods(POINTS).datapoints_to_alarm(POINTS).treat_missing_data(MISSING)
}

fn watching(alarm: MetricAlarmBuilder, namespace: &str, metric: &str, dimensions: &[(&str, &str)]) -> MetricAlarmBuilder {
    let dimensions = dimensions.iter().map(|(name, value)| dimension(name, value)).collect();
    alarm.namespace(namespace).metric_name(metric).period(PERIOD).set_dimensions(Some(dimensions))
}

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

/// The share of 5xx, of targets and of the load balancer itself, in all requests.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html>
fn errors(balancer: &str) -> Vec<MetricDataQuery> {
    let counted = |id: &str, name: &str| {
        let metric = Metric::builder().namespace(ALB).metric_name(name).dimensions(dimension("LoadBalancer", balancer)).build();
        let stat = MetricStat::builder().metric(metric).period(PERIOD).stat(SUM).build();
        MetricDataQuery::builder().id(id).metric_stat(stat).return_data(false).build()
    };
    // A metric that counted nothing has no data point. A sum leaves it out, but `+` would have no result.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    let share = MetricDataQuery::builder().id("share").expression(SHARE).label("5xx in percent").return_data(true).build();
    vec![
        counted("target", "HTTPCode_Target_5XX_Count"),
        counted("elb", "HTTPCode_ELB_5XX_Count"),
        counted("requests", "RequestCount"),
        share,
    ]
}

/// Compares a found alarm, field by field under AWS's names, except for its actions.
pub fn diff(found: &MetricAlarm, wanted: &MetricAlarm) -> Diff {
    let diff = Diff::new().field("AlarmDescription", found.alarm_description(), wanted.alarm_description());
    let diff = diff.json("Metrics", Some(&metrics(found)), &metrics(wanted));
    // An alarm on metric math has none of these.
    let diff = if wanted.metrics().is_empty() { diff.and(one_metric(found, wanted)) } else { diff };
    let operator = |alarm: &MetricAlarm| alarm.comparison_operator().map(|operator| operator.as_str().to_owned());
    diff.field("ComparisonOperator", operator(found), operator(wanted))
        .field("Threshold", found.threshold(), wanted.threshold())
        .field("EvaluationPeriods", found.evaluation_periods(), wanted.evaluation_periods())
        .field("DatapointsToAlarm", found.datapoints_to_alarm(), wanted.datapoints_to_alarm())
        .field("TreatMissingData", found.treat_missing_data(), wanted.treat_missing_data())
        .field("ActionsEnabled", found.actions_enabled(), wanted.actions_enabled())
}

fn one_metric(found: &MetricAlarm, wanted: &MetricAlarm) -> Diff {
    let statistic = |alarm: &MetricAlarm| alarm.extended_statistic().or(alarm.statistic().map(Statistic::as_str)).map(str::to_owned);
    let kind = if wanted.extended_statistic().is_some() { "ExtendedStatistic" } else { "Statistic" };
    Diff::new()
        .field("Namespace", found.namespace(), wanted.namespace())
        .field("MetricName", found.metric_name(), wanted.metric_name())
        .field(kind, statistic(found), statistic(wanted))
        .json("Dimensions", Some(&dimensions(found.dimensions())), &dimensions(wanted.dimensions()))
        .field("Period", found.period(), wanted.period())
}

/// The queries of an alarm on metric math, by id. Labels are left out, because only dashboards show them.
fn metrics(alarm: &MetricAlarm) -> Value {
    let query = |query: &MetricDataQuery| {
        let stat = query.metric_stat().map(|stat| {
            let metric = stat.metric().map(|metric| {
                json!({"Namespace": metric.namespace(), "MetricName": metric.metric_name(), "Dimensions": dimensions(metric.dimensions())})
            });
            json!({"Metric": metric, "Period": stat.period(), "Stat": stat.stat()})
        });
        // AWS's own default is true.
        let fields = json!({"Expression": query.expression(), "MetricStat": stat, "ReturnData": query.return_data().unwrap_or(true)});
        (query.id().unwrap_or_default().to_owned(), fields)
    };
    Value::Object(alarm.metrics().iter().map(query).collect::<Map<_, _>>())
}

/// A value that is not known yet is `null`.
fn dimensions(dimensions: &[Dimension]) -> Value {
    let value = |one: &Dimension| one.value().filter(|value| !value.is_empty()).map(str::to_owned);
    dimensions.iter().map(|one| json!({"Name": one.name(), "Value": value(one)})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::doc::{Cluster, Svc};

    /// The services `web`, published or not, and `worker`, on EC2 or Fargate.
    fn wanted(published: bool, group: Option<&str>) -> Wanted {
        let balancer = "arn:aws:elasticloadbalancing:eu:1:loadbalancer/app/shop/50dc".to_owned();
        let target_group_arn = published.then(|| "arn:aws:elasticloadbalancing:eu:1:targetgroup/shop-web/73e2".to_owned());
        let web = ServiceRecord { published, target_group_arn, ..ServiceRecord::default() };
        let services = [("web".to_owned(), web), ("worker".to_owned(), ServiceRecord::default())].into();
        Wanted {
            cluster: Cluster { name: "shop".to_owned(), auto_scaling_group: group.map(str::to_owned), ..Cluster::default() },
            svc: Svc { load_balancer_arn: published.then_some(balancer), services, ..Svc::default() },
            cpu: 85.0,
            memory: None,
            percent_5xx: 5.0,
            ..Wanted::default()
        }
    }

    fn named(wanted: &Wanted, name: &str) -> MetricAlarm {
        definitions("shop", wanted).into_iter().find(|one| one.name == name).unwrap().alarm
    }

    #[test]
    fn a_service_without_a_memory_limit_has_no_alarm_for_it_by_default() {
        let names = |memory| {
            let mut wanted = Wanted { memory, ..wanted(false, Some("shop")) };
            wanted.svc.services.get_mut("web").unwrap().memory_unlimited = true;
            let names = definitions("shop", &wanted).into_iter().map(|one| one.name);
            names.filter(|name| name.ends_with("/memory")).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["shop/worker/memory"]);
        assert_eq!(names(Some(90.0)), ["shop/web/memory", "shop/worker/memory"]);
    }

    #[test]
    fn the_alarms_follow_services_balancer_and_instances() {
        let used = ["shop/web/cpu", "shop/web/memory", "shop/worker/cpu", "shop/worker/memory"];
        let (fargate, ec2) = (None, Some("shop"));
        for (published, group, latency, more) in [
            (false, fargate, None, vec![]),
            (false, fargate, Some(2.0), vec![]),
            (false, ec2, None, vec!["shop/instances/status-check"]),
            (true, fargate, None, vec!["shop/web/unhealthy-targets", "shop/5xx"]),
            (true, ec2, None, vec!["shop/web/unhealthy-targets", "shop/5xx", "shop/instances/status-check"]),
            (true, fargate, Some(2.0), vec!["shop/web/unhealthy-targets", "shop/5xx", "shop/latency-p99"]),
        ] {
            let wanted = Wanted { latency_p99: latency, ..wanted(published, group) };
            let mut names: Vec<String> = definitions("shop", &wanted).into_iter().map(|one| one.name).collect();
            let mut expected: Vec<&str> = used.iter().copied().chain(more).collect();
            names.sort();
            expected.sort_unstable();
            assert_eq!(names, expected, "published: {published}, group: {group:?}, latency: {latency:?}");
        }
    }

    #[test]
    fn each_alarm_watches_its_metric() {
        let wanted = Wanted { latency_p99: Some(0.5), ..wanted(true, Some("shop")) };
        for (name, metric, statistic, threshold, dimensions) in [
            ("shop/web/cpu", "CPUUtilization", "Average", 85.0, "ClusterName=shop ServiceName=web"),
            ("shop/worker/memory", "MemoryUtilization", "Average", 85.0, "ClusterName=shop ServiceName=worker"),
            (
                "shop/web/unhealthy-targets",
                "UnHealthyHostCount",
                "Maximum",
                0.0,
                "LoadBalancer=app/shop/50dc TargetGroup=targetgroup/shop-web/73e2",
            ),
            ("shop/latency-p99", "TargetResponseTime", "p99", 0.5, "LoadBalancer=app/shop/50dc"),
            ("shop/instances/status-check", "StatusCheckFailed", "Maximum", 0.0, "AutoScalingGroupName=shop"),
        ] {
            let alarm = named(&wanted, name);
            let texts = alarm.dimensions().iter().map(|one| format!("{}={}", one.name().unwrap(), one.value().unwrap()));
            assert_eq!(texts.collect::<Vec<_>>().join(" "), dimensions);
            assert_eq!((alarm.metric_name(), alarm.threshold()), (Some(metric), Some(threshold)));
            assert_eq!(alarm.extended_statistic().or(alarm.statistic().map(Statistic::as_str)), Some(statistic));
            assert_eq!((alarm.period(), alarm.evaluation_periods(), alarm.datapoints_to_alarm()), (Some(60), Some(3), Some(3)));
        }
    }

    #[test]
    fn errors_of_targets_and_balancer_are_one_share() {
        let queries = metrics(&named(&wanted(true, None), "shop/5xx"));
        assert_eq!(queries["share"], json!({"Expression": SHARE, "MetricStat": null, "ReturnData": true}));
        for (id, metric) in [("target", "HTTPCode_Target_5XX_Count"), ("elb", "HTTPCode_ELB_5XX_Count"), ("requests", "RequestCount")] {
            let dimensions = json!([{"Name": "LoadBalancer", "Value": "app/shop/50dc"}]);
            let metric = json!({"Namespace": "AWS/ApplicationELB", "MetricName": metric, "Dimensions": dimensions});
            let stat = json!({"Metric": metric, "Period": 60, "Stat": "Sum"});
            assert_eq!(queries[id], json!({"Expression": null, "MetricStat": stat, "ReturnData": false}));
        }
    }

    #[test]
    fn a_plan_names_the_fields_that_differ() {
        let wanted = Wanted { latency_p99: Some(0.5), ..wanted(true, None) };
        let found = |name: &str| named(&wanted, name);
        let mut cpu = found("shop/web/cpu");
        (cpu.threshold, cpu.evaluation_periods, cpu.actions_enabled) = (Some(99.5), Some(1), Some(false));
        let mut memory = found("shop/web/memory");
        (memory.statistic, memory.datapoints_to_alarm, memory.treat_missing_data) = (Some(Statistic::Sum), None, None);
        let mut unhealthy = found("shop/web/unhealthy-targets");
        unhealthy.dimensions = Some(vec![dimension("TargetGroup", "targetgroup/old/1"), dimension("LoadBalancer", "app/shop/50dc")]);
        let mut latency = found("shop/latency-p99");
        (latency.extended_statistic, latency.period) = (Some("p90".to_owned()), Some(300));
        let mut errors = found("shop/5xx");
        errors.metrics = errors.metrics.map(|mut queries| {
            queries[3].expression = Some("target / requests".to_owned());
            queries[1].metric_stat = Some(MetricStat::builder().period(300).stat(SUM).build());
            queries
        });
        let mut other = found("shop/web/memory");
        other.metrics = Some(vec![MetricDataQuery::builder().id("m").expression("1").build()]);
        for (name, found, said) in [
            ("shop/web/cpu", &cpu, "Threshold: 99.5 -> 85, EvaluationPeriods: 1 -> 3, ActionsEnabled: false -> true"),
            ("shop/web/memory", &memory, "Statistic: Sum -> Average, DatapointsToAlarm: none -> 3, TreatMissingData: none -> notBreaching"),
            ("shop/web/unhealthy-targets", &unhealthy, "Dimensions.TargetGroup: targetgroup/old/1 -> targetgroup/shop-web/73e2"),
            ("shop/latency-p99", &latency, "ExtendedStatistic: p90 -> p99, Period: 300 -> 60"),
            (
                "shop/5xx",
                &errors,
                "Metrics.elb.MetricStat.Metric.Namespace: none -> AWS/ApplicationELB, \
                 Metrics.elb.MetricStat.Metric.MetricName: none -> HTTPCode_ELB_5XX_Count, \
                 Metrics.elb.MetricStat.Metric.Dimensions.LoadBalancer: none -> app/shop/50dc, Metrics.elb.MetricStat.Period: 300 -> 60, \
                 Metrics.share.Expression: target / requests -> 100 * SUM([target, elb]) / SUM([requests, elb])",
            ),
            ("shop/web/memory", &other, "Metrics.m.Expression: 1 -> none, Metrics.m.ReturnData: true -> none"),
        ] {
            assert_eq!(diff(found, &named(&wanted, name)).to_string(), said, "{name}");
            assert!(diff(&named(&wanted, name), &named(&wanted, name)).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_plan_of_a_new_load_balancer_shows_null() {
        let known = wanted(true, None);
        let mut planned = wanted(true, None);
        planned.svc.load_balancer_arn = None;
        let said = diff(&named(&known, "shop/web/unhealthy-targets"), &named(&planned, "shop/web/unhealthy-targets")).to_string();
        assert_eq!(said, "Dimensions.LoadBalancer: app/shop/50dc -> null");
    }
}
