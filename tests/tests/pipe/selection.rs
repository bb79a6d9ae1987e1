//! `--only`: a run for one service.

use serde_json::json;
use tests::app::one;
use tests::{Pipe, Relay, account, run};

/// The rules, records and alarms of the other services are kept.
#[test]
fn the_other_services_are_not_changed() {
    let (relay, app) = (Relay::new(), "selection");
    let mut doc = one(app, "fargate");
    doc["services"]["api"] = doc["services"]["web"].clone();
    doc["services"]["api"]["x-svc"] = json!({"path": ["/api/*"]});
    let first = Pipe::up(&relay.endpoint).run(&doc.to_string()).ok();
    let _ = relay.calls();
    let mut live = first.doc();
    for tool in ["img-push", "svc-deploy", "scale-set", "alarms-set"] {
        live = run(&relay.endpoint, tool, &["--only", "web"], &live.to_string()).ok().doc();
    }
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the other services are not changed");
    assert_eq!(live["svc"], first.doc()["svc"]);
    assert_eq!(live["scale"], first.doc()["scale"]);
    let refused = run(&relay.endpoint, "svc-deploy", &["--down", "--only", "web"], &first.stdout);
    assert_eq!(refused.code, 2, "--down deletes all services: {}", refused.stderr);
    let told = run(&relay.endpoint, "alarms-set", &["--notify", "ops@example.com"], &live.to_string()).ok().doc();
    assert!(told["alarms"]["topic_arn"].is_string());
    let _ = relay.calls();
    let again = run(&relay.endpoint, "alarms-set", &["--only", "web"], &told.to_string()).ok().doc();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the alarms of the other services keep the topic");
    assert_eq!(again["alarms"]["topic_arn"], told["alarms"]["topic_arn"]);
    let _ = Pipe::down(&relay.endpoint).run(&again.to_string()).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
