//! Health checks of the load balancer: a deployment is complete when the targets are healthy.

use serde_json::{Value, json};
use tests::app::{fetch, one, serving};
use tests::{Pipe, Relay, account};

fn up(relay: &Relay, doc: &Value) -> tests::Output {
    Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string())
}

fn down(relay: &Relay, app: &str, doc: &Value) {
    let _ = Pipe::down(&relay.endpoint).run(&doc.to_string()).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A service whose checks are as frequent as possible.
fn checked(app: &str, path: &str) -> Value {
    let mut doc = one(app, "fargate");
    doc["x-net"]["nat"] = json!("none");
    doc["services"]["web"]["x-svc"] = json!({"health": {"path": path, "interval": 5, "unhealthy": 2}, "grace": 5, "breaker": 2});
    doc
}

#[test]
fn a_wrong_port_or_path_fails_with_what_the_load_balancer_asked() {
    let relay = Relay::new();
    // The container listens on 8080.
    let mut port = checked("wrong-port", "/");
    port["services"]["web"]["ports"] = json!(["8081"]);
    let path = checked("wrong-path", "/healthz");
    for (app, doc, asked, answer) in [
        ("wrong-port", &port, "requests / from port 8081", "Health checks failed"),
        ("wrong-path", &path, "requests /healthz from port 8080", "Health checks failed with these codes: [404]"),
    ] {
        let said = up(&relay, doc);
        assert_eq!(said.code, 1, "{app}: {}", said.stderr);
        for words in ["error[deployment-failed]", asked, answer, "Task failed ELB health checks"] {
            assert!(said.stderr.contains(words), "{app}: {words} is not in {}", said.stderr);
        }
        down(&relay, app, doc);
    }
}

#[test]
fn a_slow_start_needs_its_grace_period() {
    let (relay, app) = (Relay::new(), "slow-start");
    let mut doc = checked(app, "/");
    let script = doc["services"]["web"]["command"][2].as_str().unwrap().replace("exec httpd", "sleep 4; exec httpd");
    doc["services"]["web"]["command"][2] = json!(script);
    doc["services"]["web"]["x-svc"]["grace"] = json!(300);
    let slow = up(&relay, &doc).ok();
    assert!(fetch(app, "/").contains("hello from"), "{}", slow.stderr);
    let mut live = slow.doc();
    live["services"]["web"]["x-svc"]["grace"] = json!(0);
    live["services"]["web"]["environment"]["WHO"] = json!("another");
    let said = tests::run(&relay.endpoint, "svc-deploy", &[], &live.to_string());
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("or a longer x-svc.grace"), "{}", said.stderr);
    assert!(fetch(app, "/").contains(&format!("hello from {app}")), "the old tasks serve");
    // The failed deployment is still listed, and does not keep the next one from its end.
    live["services"]["web"] = serving(8080, "fixed");
    let fixed = tests::run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok();
    assert!(fetch(app, "/").contains("hello from fixed"), "{}", fixed.stderr);
    down(&relay, app, &fixed.doc());
}
