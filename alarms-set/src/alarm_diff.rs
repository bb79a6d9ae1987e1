//! How a found alarm differs from the one that is wanted.

use aws_sdk_cloudwatch::types::{Dimension, MetricAlarm, MetricDataQuery, StandardUnit, Statistic};
use serde_json::{Map, Value, json};
use shared::Diff;

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
        .field("Unit", found.unit().map(StandardUnit::as_str), wanted.unit().map(StandardUnit::as_str))
}

/// The queries of an alarm on metric math, by id. Labels are left out, because only dashboards show them.
fn metrics(alarm: &MetricAlarm) -> Value {
    let query = |query: &MetricDataQuery| {
        let stat = query.metric_stat().map(|stat| {
            let metric = stat.metric().map(|metric| {
                json!({"Namespace": metric.namespace(), "MetricName": metric.metric_name(), "Dimensions": dimensions(metric.dimensions())})
            });
            json!({"Metric": metric, "Period": stat.period(), "Stat": stat.stat(), "Unit": stat.unit().map(StandardUnit::as_str)})
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
    use aws_sdk_cloudwatch::types::MetricStat;

    use super::*;
    use crate::definition::tests::{named, wanted};
    use crate::settings::Wanted;

    fn dimension(name: &str, value: &str) -> Dimension {
        Dimension::builder().name(name).value(value).build()
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
        let mut latency = found("shop/web/latency-p99");
        (latency.extended_statistic, latency.period) = (Some("p90".to_owned()), Some(300));
        let mut errors = found("shop/5xx");
        errors.metrics = errors.metrics.map(|mut queries| {
            queries[3].expression = Some("errors / requests".to_owned());
            queries[1].metric_stat = Some(MetricStat::builder().period(300).stat("Sum").build());
            queries
        });
        let mut unit = found("shop/web/cpu");
        unit.unit = Some(StandardUnit::Bytes);
        let mut other = found("shop/web/memory");
        other.metrics = Some(vec![MetricDataQuery::builder().id("m").expression("1").build()]);
        for (name, found, said) in [
            ("shop/web/cpu", &cpu, "Threshold: 99.5 -> 85, EvaluationPeriods: 1 -> 3, ActionsEnabled: false -> true"),
            ("shop/web/memory", &memory, "Statistic: Sum -> Average, DatapointsToAlarm: none -> 3, TreatMissingData: none -> notBreaching"),
            ("shop/web/unhealthy-targets", &unhealthy, "Dimensions.TargetGroup: targetgroup/old/1 -> targetgroup/shop-web/73e2"),
            ("shop/web/latency-p99", &latency, "ExtendedStatistic: p90 -> p99, Period: 300 -> 60"),
            (
                "shop/5xx",
                &errors,
                "Metrics.rejected.MetricStat.Metric.Namespace: none -> AWS/ApplicationELB, \
                 Metrics.rejected.MetricStat.Metric.MetricName: none -> HTTPCode_ELB_503_Count, \
                 Metrics.rejected.MetricStat.Metric.Dimensions.LoadBalancer: none -> app/shop/50dc, \
                 Metrics.rejected.MetricStat.Period: 300 -> 60, Metrics.result.Expression: errors / requests -> \
                 100 * FILL(errors, 0) / (FILL(requests, 0) + FILL(rejected, 0))",
            ),
            ("shop/web/cpu", &unit, "Unit: Bytes -> none"),
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
