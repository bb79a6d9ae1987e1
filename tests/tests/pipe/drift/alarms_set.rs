//! Changes of alarms and their topic.

use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};

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
