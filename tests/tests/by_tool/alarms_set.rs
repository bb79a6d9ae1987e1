//! alarms-set: what an app is watched by over its life. Its changes by hand are in
//! `pipe::drift::alarms_set`, its unmanaged resources in `pipe::unmanaged`, and its bad settings in
//! `offline`.

use aws_sdk_cloudwatch::types::{AlarmType, StateValue};
use serde_json::{Value, json};
use tests::{Clients, Relay, account, run};

const APP: &str = "watched";

/// Returns a deployed app as the tools before alarms-set describe it.
fn deployed(services: &[&str]) -> Value {
    let arn = |kind: &str, name: &str| format!("arn:aws:elasticloadbalancing:us-east-1:000000000000:{kind}/{name}/0123456789abcdef");
    let record = |name: &&str| {
        let record = json!({"name": name, "published": *name == "web", "target_group_arn": arn("targetgroup", name)});
        ((*name).to_owned(), record)
    };
    let records: serde_json::Map<String, Value> = services.iter().map(record).collect();
    json!({"name": APP, "aws": {"account": "000000000000", "region": "us-east-1", "partition": "aws"},
        "cluster": {"arn": "arn", "name": APP, "launch_type": "fargate"},
        "svc": {"load_balancer_arn": arn("loadbalancer/app", APP), "load_balancer_name": APP, "services": records}})
}

/// A new alarm that finds everything in order goes from no data to OK, which CloudWatch notifies. So
/// it begins with OK, before its actions are enabled.
#[test]
fn a_first_deployment_notifies_nobody() {
    let relay = Relay::new();
    let clients = Clients::at(&relay.endpoint);
    let state = || {
        let said = clients.wait(clients.cloudwatch.describe_alarms().alarm_names("watched/web/cpu").send()).unwrap();
        let alarm = said.metric_alarms()[0].clone();
        (alarm.actions_enabled(), alarm.ok_actions().len(), alarm.state_value().cloned())
    };
    let doc = deployed(&["web", "worker"]).to_string();
    let topic = "arn:aws:sns:us-east-1:000000000000:ops";
    let quiet = run(&relay.endpoint, "alarms-set", &["--notify", topic], &doc).ok();
    assert_eq!(state().1, 0, "the end of an alarm is notified only where it is set");
    let _ = run(&relay.endpoint, "alarms-set", &["--down"], &quiet.stdout).ok();

    let args = ["--notify", topic, "--notify-ok"];
    let up = run(&relay.endpoint, "alarms-set", &args, &doc).ok();
    assert_eq!(state(), (Some(true), 1, Some(StateValue::Ok)));
    let _ = relay.calls();
    let again = run(&relay.endpoint, "alarms-set", &args, &up.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    // The alarms of a service that left the document can't be deleted while the composite alarm names them.
    let fewer = deployed(&["web"]).to_string();
    let kept = run(&relay.endpoint, "alarms-set", &args, &fewer).ok();
    assert!(kept.stderr.contains("warning[alarms-not-in-document]: the alarms watched/worker/cpu, "), "{}", kept.stderr);
    let fewer = run(&relay.endpoint, "alarms-set", &[&args[..], &["--prune"]].concat(), &fewer).ok();
    let call = clients.cloudwatch.describe_alarms().alarm_name_prefix("watched/").alarm_types(AlarmType::CompositeAlarm);
    let call = call.alarm_types(AlarmType::MetricAlarm);
    let left = clients.wait(call.send()).unwrap();
    assert!(!left.metric_alarms().iter().any(|one| one.alarm_name().unwrap().contains("/worker/")));
    let rule = left.composite_alarms()[0].alarm_rule().unwrap();
    assert!(rule.contains("watched/web/healthy-targets") && !rule.contains("worker"), "{rule}");
    assert_eq!(fewer.doc()["alarms"]["composite_alarm_name"], "watched/urgent");
    let _ = run(&relay.endpoint, "alarms-set", &["--down"], &again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, APP), Vec::<String>::new());
}
