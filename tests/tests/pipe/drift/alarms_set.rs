//! Changes of alarms and their topic.

use aws_sdk_cloudwatch::types::{ComparisonOperator, StandardUnit, Statistic};

use super::{Deployed, Done, PIPE};

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    PIPE.with(|app| app.reverts("alarms-set", says, change));
}

#[test]
fn alarm_deleted() {
    reverts("+ alarm drift/web/cpu", async |app| {
        Ok(app.clients.cloudwatch.delete_alarms().alarm_names("drift/web/cpu").send().await.map(drop)?)
    });
}

#[test]
fn alarm_actions_disabled() {
    reverts("~ alarm drift/web/cpu (ActionsEnabled: false -> true)", async |app| {
        Ok(app.clients.cloudwatch.disable_alarm_actions().alarm_names("drift/web/cpu").send().await.map(drop)?)
    });
}

#[test]
fn alarm_changed() {
    reverts("~ alarm drift/api/memory (AlarmDescription: none -> api: memory above 85 %, ", async |app| {
        let call = app.clients.cloudwatch.put_metric_alarm().alarm_name("drift/api/memory").namespace("AWS/ECS");
        let call = call.metric_name("MemoryUtilization").statistic(Statistic::Average).period(60).evaluation_periods(3).threshold(99.0);
        Ok(call.comparison_operator(ComparisonOperator::GreaterThanThreshold).send().await.map(drop)?)
    });
}

#[test]
fn alarm_tag_deleted() {
    reverts("~ alarm drift/web/cpu (tags.team: none -> shop)", async |app| {
        let arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift/web/cpu";
        Ok(app.clients.cloudwatch.untag_resource().resource_arn(arn).tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn topic_tag_deleted() {
    reverts("~ topic drift-alarms (tags.team: none -> shop)", async |app| {
        Ok(app.clients.sns.untag_resource().resource_arn(app.id("/alarms/topic_arn")).tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn subscription_deleted() {
    reverts("+ subscription a@example.com", async |app| {
        let said = app.clients.sns.list_subscriptions_by_topic().topic_arn(app.id("/alarms/topic_arn")).send().await?;
        let subscription = said.subscriptions()[0].subscription_arn().unwrap();
        Ok(app.clients.sns.unsubscribe().subscription_arn(subscription).send().await.map(drop)?)
    });
}

#[test]
fn alarm_unit_changed() {
    reverts("~ alarm drift/web/cpu (Unit: Bytes -> none)", async |app| {
        let call = app.clients.cloudwatch.describe_alarms().alarm_names("drift/web/cpu").send().await?;
        let found = call.metric_alarms()[0].clone();
        let call = app.clients.cloudwatch.put_metric_alarm().alarm_name("drift/web/cpu").unit(StandardUnit::Bytes);
        let call = call.set_alarm_description(found.alarm_description).set_namespace(found.namespace).set_metric_name(found.metric_name);
        let call = call.set_dimensions(found.dimensions).set_statistic(found.statistic).set_period(found.period);
        let call = call.set_threshold(found.threshold).set_comparison_operator(found.comparison_operator);
        let call = call.set_evaluation_periods(found.evaluation_periods).set_datapoints_to_alarm(found.datapoints_to_alarm);
        let call = call.set_treat_missing_data(found.treat_missing_data).set_alarm_actions(found.alarm_actions);
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn composite_alarm_deleted() {
    reverts("+ composite alarm drift/urgent", async |app| {
        Ok(app.clients.cloudwatch.delete_alarms().alarm_names("drift/urgent").send().await.map(drop)?)
    });
}

#[test]
fn composite_alarm_changed() {
    reverts("~ composite alarm drift/urgent (AlarmDescription: ", async |app| {
        let call = app.clients.cloudwatch.put_composite_alarm().alarm_name("drift/urgent").alarm_description("theirs");
        Ok(call.alarm_rule("ALARM(\"drift/web/5xx\")").actions_enabled(false).send().await.map(drop)?)
    });
}

#[test]
fn dashboard_deleted() {
    reverts("+ dashboard drift-us-east-1", async |app| {
        Ok(app.clients.cloudwatch.delete_dashboards().dashboard_names("drift-us-east-1").send().await.map(drop)?)
    });
}

#[test]
fn dashboard_changed() {
    reverts("~ dashboard drift-us-east-1 (DashboardBody.widgets[2].properties.", async |app| {
        let found = app.clients.cloudwatch.get_dashboard().dashboard_name("drift-us-east-1").send().await?;
        let body = found.dashboard_body().unwrap().replace("CPU in percent", "theirs");
        Ok(app.clients.cloudwatch.put_dashboard().dashboard_name("drift-us-east-1").dashboard_body(body).send().await.map(drop)?)
    });
}
