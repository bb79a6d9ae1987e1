//! What is removed from the document is undone.

use serde_json::{Value, json};
use tests::app::one;
use tests::{Clients, Pipe, Relay, account, run};

/// ECS Exec, and attributes of the target group and the load balancer, that a patch switched on and that are removed from
/// the document again.
#[test]
fn what_a_patch_no_longer_sets_returns_to_the_default() {
    let (relay, app) = (Relay::new(), "undone");
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["deploy"] = json!({"replicas": 1});
    doc["x-svc"] =
        json!({"load_balancer": {"idle_timeout": 300}, "patch": {"load_balancer": {"Attributes": {"routing.http2.enabled": false}}}});
    doc["services"]["web"]["x-svc"] = json!({"patch": {
        "service": {"enableExecuteCommand": true},
        "target_group": {"Attributes": {"stickiness.enabled": "true", "stickiness.type": "lb_cookie"}}}});
    let mut live = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok().doc();
    assert_eq!(found(&relay, &live), (true, "true".to_owned()));

    assert_eq!(balancer(&relay, &live), ["300", "false"]);

    live["services"]["web"]["x-svc"] = json!({});
    live["x-svc"] = json!({});
    let plan = run(&relay.endpoint, "svc-deploy", &["--plan"], &live.to_string());
    for part in [
        "~ service web (enableExecuteCommand: true -> false)",
        "(stickiness.enabled: true -> false)",
        "idle_timeout.timeout_seconds: 300 -> 60",
    ] {
        assert!(plan.stderr.contains(part), "{}", plan.stderr);
    }
    let _ = relay.calls();
    let undone = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok().doc();
    assert_eq!(found(&relay, &undone), (false, "false".to_owned()));
    assert_eq!(balancer(&relay, &undone), ["60", "true"]);
    let deploys = relay.calls().iter().any(|call| call.action == "ecs:UpdateService" && call.body.contains("forceNewDeployment"));
    assert!(deploys, "tasks that run keep ECS Exec, so they are replaced");
    let again = run(&relay.endpoint, "svc-deploy", &[], &undone.to_string()).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Returns whether ECS Exec is on, and stickiness.
fn found(relay: &Relay, doc: &Value) -> (bool, String) {
    let clients = Clients::at(&relay.endpoint);
    let said = clients.wait(clients.ecs.describe_services().cluster(doc["name"].as_str().unwrap()).services("web").send()).unwrap();
    let group = doc["svc"]["services"]["web"]["target_group_arn"].as_str().unwrap();
    let attributes = clients.wait(clients.elb.describe_target_group_attributes().target_group_arn(group).send()).unwrap();
    let sticky = attributes.attributes().iter().find(|one| one.key() == Some("stickiness.enabled")).and_then(|one| one.value());
    (said.services()[0].enable_execute_command(), sticky.unwrap().to_owned())
}

/// Returns the idle timeout of the load balancer, and whether HTTP/2 is on.
fn balancer(relay: &Relay, doc: &Value) -> [String; 2] {
    let clients = Clients::at(&relay.endpoint);
    let arn = doc["svc"]["load_balancer_arn"].as_str().unwrap();
    let said = clients.wait(clients.elb.describe_load_balancer_attributes().load_balancer_arn(arn).send()).unwrap();
    let value = |key: &str| said.attributes().iter().find(|one| one.key() == Some(key)).and_then(|one| one.value());
    ["idle_timeout.timeout_seconds", "routing.http2.enabled"].map(|key| value(key).unwrap_or("none").to_owned())
}
