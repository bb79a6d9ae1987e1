//! Which alarms an app has, and what each watches.

use aws_sdk_cloudwatch::types::builders::MetricAlarmBuilder;
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, Metric, MetricAlarm, MetricDataQuery, MetricStat, Statistic};
use shared::doc::ServiceRecord;

use crate::settings::Wanted;

/// Seconds that one data point covers.
const PERIOD: i32 = 60;
/// Data points in a row that must be beyond the threshold, so that one bad minute alarms nobody.
const POINTS: i32 = 3;
/// The same for tasks that are missing, because a task may wait for a new instance.
const POINTS_TO_START: i32 = 5;
/// The metric has no data without tasks or requests, which another alarm watches.
const FINE: &str = "notBreaching";
/// The metric has data as long as a task runs, so that no data means no task.
const DEAD: &str = "breaching";
const ALB: &str = "AWS/ApplicationELB";
const ECS: &str = "AWS/ECS";
const INSIGHTS: &str = "ECS/ContainerInsights";
/// A metric that counted nothing has no data point, and without requests there is no share.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>
const SHARE_OF_TARGETS: &str = "100 * FILL(errors, 0) / requests";
/// `RequestCount` has only requests for which a target was chosen, and lacks those that were answered with 503 without one.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html>
const SHARE_OF_BALANCER: &str = "100 * FILL(errors, 0) / (FILL(requests, 0) + FILL(rejected, 0))";
/// A service without a task has no `RunningTaskCount` when none ever ran, but it has a `DesiredTaskCount`.
const MISSING_TASKS: &str = "desired - FILL(running, 0)";

/// An alarm as it should be. The actions, which depend on the topic, are not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub name: String,
    pub alarm: MetricAlarm,
    /// Whether users notice what it watches, so that it is part of the app's composite alarm.
    pub urgent: bool,
}

/// The threshold for memory, in percent.
const MEMORY: f64 = 85.0;

/// Alarms that users notice, by the last part of their names.
const URGENT: &[&str] = &["running", "no-task", "healthy-targets", "5xx", "latency-p99"];

/// Returns all alarms of the app. In a plan of a new load balancer the dimensions are not known yet, but the names are.
pub fn definitions(app: &str, wanted: &Wanted) -> Vec<Definition> {
    let balancer = balancer(wanted);
    let of_services = wanted.svc.services.iter().flat_map(|(service, record)| of_service(wanted, service, record, balancer));
    let published = wanted.svc.services.values().any(|record| record.published);
    // The errors of an unmanaged load balancer may be those of other apps.
    let ours = wanted.svc.load_balancer_name.as_deref() == Some(app);
    let of_balancer = (published && ours).then(|| of_balancer(wanted, balancer));
    let of_instances = wanted.cluster.auto_scaling_group.as_deref().map(of_instances);
    let all = of_services.chain(of_balancer).chain(of_instances);
    all.map(|(name, alarm)| {
        let urgent = URGENT.iter().any(|end| name.rsplit('/').next() == Some(*end));
        Definition { name: format!("{app}/{name}"), alarm, urgent }
    })
    .collect()
}

/// Returns the load balancer as CloudWatch names it: `app/<name>/<id>`, the end of its ARN.
pub fn balancer(wanted: &Wanted) -> &str {
    wanted.svc.load_balancer_arn.as_deref().and_then(|arn| arn.split_once(":loadbalancer/")).map_or("", |(_, end)| end)
}

/// Returns a service's target group as CloudWatch names it: `targetgroup/<name>/<id>`, the end of its ARN.
pub fn target_group(record: &ServiceRecord) -> &str {
    record.target_group_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default()
}

fn of_service(wanted: &Wanted, service: &str, record: &ServiceRecord, balancer: &str) -> Vec<(String, MetricAlarm)> {
    let dimensions = [("ClusterName", wanted.cluster.name.as_str()), ("ServiceName", service)];
    let used = |metric: &str, word: &str, threshold: f64| {
        let alarm = above(threshold, format!("{service}: {word} above {threshold} %"));
        (format!("{service}/{word}"), watching(alarm, ECS, metric, &dimensions).statistic(Statistic::Average).build())
    };
    let mut alarms = vec![used("CPUUtilization", "cpu", wanted.cpu)];
    // CloudWatch counts in percent of what is reserved, and more than that is as it should be without a limit.
    let memory = wanted.memory.or((!record.memory_unlimited).then_some(MEMORY));
    alarms.extend(memory.map(|memory| used("MemoryUtilization", "memory", memory)));
    if wanted.insights {
        let alarm = above(0.0, format!("{service}: fewer tasks run than desired"));
        let alarm = alarm.evaluation_periods(POINTS_TO_START).datapoints_to_alarm(POINTS_TO_START);
        let counted = |id: &str, metric: &str| query(id, INSIGHTS, metric, &dimensions, "Average");
        let queries = vec![counted("running", "RunningTaskCount"), counted("desired", "DesiredTaskCount"), result(MISSING_TASKS)];
        alarms.push((format!("{service}/running"), alarm.set_metrics(Some(queries)).build()));
    }
    let missing = if wanted.may_stop.contains(service) { FINE } else { DEAD };
    if record.published {
        alarms.extend(of_target_group(wanted, service, &[("LoadBalancer", balancer), ("TargetGroup", target_group(record))], missing));
    } else if missing == DEAD {
        // Each task reports its CPU, so the number of reports says whether one runs, also without Container Insights.
        let alarm = below_one(format!("{service}: no task runs"), DEAD);
        let alarm = watching(alarm, ECS, "CPUUtilization", &dimensions).statistic(Statistic::SampleCount);
        alarms.push((format!("{service}/no-task"), alarm.build()));
    }
    alarms
}

fn of_target_group(wanted: &Wanted, service: &str, dimensions: &[(&str, &str)], missing: &str) -> Vec<(String, MetricAlarm)> {
    let alarm = below_one(format!("{service}: the load balancer finds no healthy task"), missing);
    let healthy = watching(alarm, ALB, "HealthyHostCount", dimensions).statistic(Statistic::Maximum).build();
    let alarm = above(0.0, format!("{service}: tasks that the load balancer finds unhealthy"));
    let unhealthy = watching(alarm, ALB, "UnHealthyHostCount", dimensions).statistic(Statistic::Maximum).build();
    let percent = wanted.percent_5xx;
    let alarm = above(percent, format!("{service}: more than {percent} % of the responses of the tasks are 5xx"));
    let queries = vec![
        query("errors", ALB, "HTTPCode_Target_5XX_Count", dimensions, "Sum"),
        query("requests", ALB, "RequestCount", dimensions, "Sum"),
        result(SHARE_OF_TARGETS),
    ];
    let errors = alarm.set_metrics(Some(queries)).build();
    let mut alarms = vec![("healthy-targets", healthy), ("unhealthy-targets", unhealthy), ("5xx", errors)];
    if let Some(seconds) = wanted.latency_p99 {
        let alarm = above(seconds, format!("{service}: 1 of 100 requests takes longer than {seconds} s"));
        alarms.push(("latency-p99", watching(alarm, ALB, "TargetResponseTime", dimensions).extended_statistic("p99").build()));
    }
    alarms.into_iter().map(|(name, alarm)| (format!("{service}/{name}"), alarm)).collect()
}

fn of_balancer(wanted: &Wanted, balancer: &str) -> (String, MetricAlarm) {
    let percent = wanted.percent_5xx;
    let alarm = above(percent, format!("the load balancer itself answers more than {percent} % of the requests with 5xx"));
    let counted = |id: &str, metric: &str| query(id, ALB, metric, &[("LoadBalancer", balancer)], "Sum");
    let queries = vec![
        counted("errors", "HTTPCode_ELB_5XX_Count"),
        counted("rejected", "HTTPCode_ELB_503_Count"),
        counted("requests", "RequestCount"),
        result(SHARE_OF_BALANCER),
    ];
    ("5xx".to_owned(), alarm.set_metrics(Some(queries)).build())
}

fn of_instances(group: &str) -> (String, MetricAlarm) {
    let alarm = above(0.0, "an instance fails its status checks".to_owned());
    let alarm = watching(alarm, "AWS/EC2", "StatusCheckFailed", &[("AutoScalingGroupName", group)]);
    ("instances/status-check".to_owned(), alarm.statistic(Statistic::Maximum).build())
}

fn above(threshold: f64, description: String) -> MetricAlarmBuilder {
    let alarm = MetricAlarm::builder().alarm_description(description).actions_enabled(true);
    let alarm = alarm.comparison_operator(ComparisonOperator::GreaterThanThreshold).threshold(threshold);
    alarm.evaluation_periods(POINTS).datapoints_to_alarm(POINTS).treat_missing_data(FINE)
}

fn below_one(description: String, missing: &str) -> MetricAlarmBuilder {
    above(1.0, description).comparison_operator(ComparisonOperator::LessThanThreshold).treat_missing_data(missing)
}

fn watching(alarm: MetricAlarmBuilder, namespace: &str, metric: &str, dimensions: &[(&str, &str)]) -> MetricAlarmBuilder {
    alarm.namespace(namespace).metric_name(metric).period(PERIOD).set_dimensions(Some(of_pairs(dimensions)))
}

fn of_pairs(dimensions: &[(&str, &str)]) -> Vec<Dimension> {
    dimensions.iter().map(|(name, value)| Dimension::builder().name(*name).value(*value).build()).collect()
}

/// A metric of an expression.
fn query(id: &str, namespace: &str, metric: &str, dimensions: &[(&str, &str)], statistic: &str) -> MetricDataQuery {
    let metric = Metric::builder().namespace(namespace).metric_name(metric).set_dimensions(Some(of_pairs(dimensions))).build();
    let stat = MetricStat::builder().metric(metric).period(PERIOD).stat(statistic).build();
    MetricDataQuery::builder().id(id).metric_stat(stat).return_data(false).build()
}

/// The expression whose value the alarm compares.
fn result(expression: &str) -> MetricDataQuery {
    MetricDataQuery::builder().id("result").expression(expression).return_data(true).build()
}

#[cfg(test)]
pub mod tests {
    use shared::doc::{Cluster, Svc};

    use super::*;

    /// The services `web`, published or not, and `worker`, on EC2 or Fargate.
    pub fn wanted(published: bool, group: Option<&str>) -> Wanted {
        let balancer = "arn:aws:elasticloadbalancing:eu:1:loadbalancer/app/shop/50dc".to_owned();
        let target_group_arn = published.then(|| "arn:aws:elasticloadbalancing:eu:1:targetgroup/shop-web/73e2".to_owned());
        let web = ServiceRecord { published, target_group_arn, ..ServiceRecord::default() };
        let services = [("web".to_owned(), web), ("worker".to_owned(), ServiceRecord::default())].into();
        let load_balancer_name = published.then(|| "shop".to_owned());
        Wanted {
            cluster: Cluster { name: "shop".to_owned(), auto_scaling_group: group.map(str::to_owned), ..Cluster::default() },
            svc: Svc { load_balancer_arn: published.then_some(balancer), load_balancer_name, services, ..Svc::default() },
            cpu: 85.0,
            memory: None,
            percent_5xx: 5.0,
            ..Wanted::default()
        }
    }

    pub fn named(wanted: &Wanted, name: &str) -> MetricAlarm {
        definitions("shop", wanted).into_iter().find(|one| one.name == name).unwrap().alarm
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        definitions("shop", wanted).into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn a_service_without_a_memory_limit_has_no_alarm_for_it_by_default() {
        let names = |memory| {
            let mut wanted = Wanted { memory, ..wanted(false, Some("shop")) };
            wanted.svc.services.get_mut("web").unwrap().memory_unlimited = true;
            names(&wanted).into_iter().filter(|name| name.ends_with("/memory")).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["shop/worker/memory"]);
        assert_eq!(names(Some(90.0)), ["shop/web/memory", "shop/worker/memory"]);
    }

    #[test]
    fn the_alarms_follow_services_balancer_and_instances() {
        let used = ["shop/web/cpu", "shop/web/memory", "shop/worker/cpu", "shop/worker/memory", "shop/worker/no-task"];
        let web = ["shop/web/5xx", "shop/web/healthy-targets", "shop/web/unhealthy-targets", "shop/5xx"];
        let (fargate, ec2) = (None, Some("shop"));
        for (published, group, latency, more) in [
            (false, fargate, None, vec!["shop/web/no-task"]),
            (false, fargate, Some(2.0), vec!["shop/web/no-task"]),
            (false, ec2, None, vec!["shop/web/no-task", "shop/instances/status-check"]),
            (true, fargate, None, web.to_vec()),
            (true, ec2, None, [&web[..], &["shop/instances/status-check"]].concat()),
            (true, fargate, Some(2.0), [&web[..], &["shop/web/latency-p99"]].concat()),
        ] {
            let wanted = Wanted { latency_p99: latency, ..wanted(published, group) };
            let mut names = names(&wanted);
            let mut expected: Vec<&str> = used.iter().copied().chain(more).collect();
            names.sort();
            expected.sort_unstable();
            assert_eq!(names, expected, "published: {published}, group: {group:?}, latency: {latency:?}");
        }
    }

    #[test]
    fn the_errors_of_an_unmanaged_load_balancer_are_not_watched() {
        let mut adopted = wanted(true, None);
        adopted.svc.load_balancer_name = Some("theirs".to_owned());
        let names = names(&adopted);
        assert!(names.contains(&"shop/web/5xx".to_owned()) && !names.contains(&"shop/5xx".to_owned()), "{names:?}");
    }

    #[test]
    fn each_alarm_watches_its_metric() {
        let wanted = Wanted { latency_p99: Some(0.5), ..wanted(true, Some("shop")) };
        let target_group = "LoadBalancer=app/shop/50dc TargetGroup=targetgroup/shop-web/73e2";
        for (name, metric, statistic, threshold, dimensions) in [
            ("shop/web/cpu", "CPUUtilization", "Average", 85.0, "ClusterName=shop ServiceName=web"),
            ("shop/worker/memory", "MemoryUtilization", "Average", 85.0, "ClusterName=shop ServiceName=worker"),
            ("shop/worker/no-task", "CPUUtilization", "SampleCount", 1.0, "ClusterName=shop ServiceName=worker"),
            ("shop/web/healthy-targets", "HealthyHostCount", "Maximum", 1.0, target_group),
            ("shop/web/unhealthy-targets", "UnHealthyHostCount", "Maximum", 0.0, target_group),
            ("shop/web/latency-p99", "TargetResponseTime", "p99", 0.5, target_group),
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

    /// No task, no metric: silence is an alarm, unless the service may have no task on purpose.
    #[test]
    fn a_dead_service_raises_an_alarm() {
        let mut wanted = Wanted { insights: true, ..wanted(true, None) };
        let missing = |wanted: &Wanted, name: &str| named(wanted, name).treat_missing_data().unwrap().to_owned();
        for name in ["shop/web/healthy-targets", "shop/worker/no-task"] {
            let alarm = named(&wanted, name);
            assert_eq!(
                (alarm.treat_missing_data(), alarm.comparison_operator()),
                (Some(DEAD), Some(&ComparisonOperator::LessThanThreshold))
            );
        }
        assert_eq!(missing(&wanted, "shop/web/cpu"), FINE);
        let running = named(&wanted, "shop/worker/running");
        let expression = running.metrics().iter().find_map(MetricDataQuery::expression);
        assert_eq!((expression, running.threshold(), running.evaluation_periods()), (Some(MISSING_TASKS), Some(0.0), Some(5)));
        wanted.may_stop = ["web".to_owned(), "worker".to_owned()].into();
        assert_eq!(missing(&wanted, "shop/web/healthy-targets"), FINE);
        assert!(!names(&wanted).contains(&"shop/worker/no-task".to_owned()));
    }

    /// `FILL` for what counts nothing in a good minute, and no count of a request that is in both metrics.
    #[test]
    fn a_share_is_right_when_everything_fails() {
        let expression = |name: &str| {
            let alarm = named(&wanted(true, None), name);
            let metrics =
                alarm.metrics().iter().filter_map(|one| Some(format!("{}={}", one.id()?, one.metric_stat()?.metric()?.metric_name()?)));
            let expression = alarm.metrics().iter().find_map(MetricDataQuery::expression).unwrap().to_owned();
            (metrics.collect::<Vec<_>>().join(" "), expression)
        };
        let (metrics, share) = expression("shop/web/5xx");
        assert_eq!((metrics.as_str(), share.as_str()), ("errors=HTTPCode_Target_5XX_Count requests=RequestCount", SHARE_OF_TARGETS));
        let (metrics, share) = expression("shop/5xx");
        let counted = "errors=HTTPCode_ELB_5XX_Count rejected=HTTPCode_ELB_503_Count requests=RequestCount";
        assert_eq!((metrics.as_str(), share.as_str()), (counted, SHARE_OF_BALANCER));
    }
}
