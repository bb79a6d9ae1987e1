//! Tags of the document that are removed from it.

use serde_json::json;
use tests::tool::TOOLS;
use tests::{Pipe, Relay, account, run};

/// Each tool removes the tag from what it created, and says so. Tags that others set are kept.
#[test]
fn a_tag_that_leaves_the_document_is_removed_from_the_resources() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "tagged");
    let doc = json!({"name": app, "x-tags": {"team": "shop", "cost": "web"}, "x-net": {"flow_logs": 7},
        "x-alarms": {"notify": ["a@example.com"]}, "services": {"web": {"image": "nginx:1.27", "ports": ["80"]}}});
    let up = || Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
    let mut live = up().run_while_ok(&doc.to_string()).ok().doc();
    live["x-tags"] = json!({"team": "shop"});
    let changed = up().run_while_ok(&live.to_string()).ok();
    for tool in TOOLS.iter().filter(|tool| **tool != "img-push") {
        let is_said = |line: &str| line.starts_with(&format!("{tool}: ~ ")) && line.contains("tags.cost: web -> none");
        assert!(changed.stderr.lines().any(is_said), "{tool}: {}", changed.stderr);
    }
    let _ = relay.calls();
    let again = up().run_while_ok(&changed.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

#[test]
fn a_tag_that_leaves_the_document_is_removed_from_repositories() {
    let (relay, app) = (Relay::new(), "tagged-2");
    let mut doc = json!({"name": app, "x-tags": {"cost": "web"}, "services": {
        "web": {"build": {"context": "./worker", "dockerfile_inline": "FROM busybox\n"}}}});
    let _ = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok();
    doc["x-tags"] = json!({});
    let changed = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok();
    assert_eq!(changed.acts('~'), ["repository tagged-2/web (tags.cost: web -> none, tags.ecs-pipe:tags: cost -> none)"]);
    let _ = relay.calls();
    let again = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    let _ = run(&relay.endpoint, "img-push", &["--down", "--app", app], "").ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
