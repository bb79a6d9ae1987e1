//! scale-set: services without tasks. Its changes by hand are in `pipe::drift::scale_set`, its
//! unmanaged resources in `pipe::unmanaged`, and its bad settings in `offline`.

use serde_json::{Value, json};
use tests::{Clients, Pipe, Relay, account, run};

/// Deploys with the tools up to scale-set in moto, which runs no tasks.
fn deploy(relay: &Relay, doc: &Value) -> String {
    let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
    up.only(|tool| !matches!(tool, "img-push" | "alarms-set")).run_while_ok(&doc.to_string()).ok().stdout
}

/// Returns the number of tasks that ECS is to run.
fn desired(clients: &Clients, app: &str, service: &str) -> i32 {
    let said = clients.wait(clients.ecs.describe_services().cluster(app).services(service).send()).unwrap();
    said.services()[0].desired_count()
}

/// Zero replicas are zero tasks, for a new service and for one that runs. A schedule may set both
/// bounds to 0.
#[test]
fn zero_replicas_are_zero_tasks() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "nothing");
    let clients = Clients::at(&relay.endpoint);
    let night = json!({"name": "night", "schedule": "cron(0 20 ? * * *)", "min": 0, "max": 0});
    let mut doc = json!({"name": app, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "services": {
        "web": {"image": "busybox", "deploy": {"replicas": 2}},
        "off": {"image": "busybox", "deploy": {"replicas": 0}},
        "empty": {"image": "busybox", "x-scale": {"min": 0, "max": 0}},
        "daily": {"image": "busybox", "x-scale": {"schedule": [night]}}}});
    let _ = deploy(&relay, &doc);
    for (service, count) in [("web", 2), ("off", 0), ("empty", 0), ("daily", 2)] {
        assert_eq!(desired(&clients, app, service), count, "{service}");
    }
    doc["services"]["web"]["deploy"]["replicas"] = json!(0);
    let live = deploy(&relay, &doc);
    assert_eq!(desired(&clients, app, "web"), 0);
    let _ = relay.calls();
    let again = run(&relay.endpoint, "scale-set", &[], &live).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    // The service "off" leaves the document.
    let mut fewer = again.doc();
    for place in ["/services", "/svc/services"] {
        fewer.pointer_mut(place).and_then(Value::as_object_mut).unwrap().remove("off");
    }
    let kept = run(&relay.endpoint, "scale-set", &["--plan"], &fewer.to_string()).ok();
    assert!(kept.stderr.contains("warning[scaling-not-in-document]: the scalable target service/nothing/off is kept"), "{}", kept.stderr);
    let pruned = run(&relay.endpoint, "scale-set", &["--prune"], &fewer.to_string()).ok();
    assert_eq!(pruned.acts('-'), ["scalable target service/nothing/off"]);
    let _ = Pipe::down(&relay.endpoint).only(|tool| tool != "img-push").run_while_ok(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
