//! Services and jobs that left the document, and `--prune`.

use serde_json::{Value, json};
use tests::account::holdings;
use tests::app::{fetch, one, serving};
use tests::{Clients, Pipe, Relay, account, run};

/// One service is renamed, a job with a schedule and a secret is removed. Without `--prune` a
/// warning names both, and nothing of them is deleted. With it, all that they had is deleted when
/// the successor is complete, also after a run that was stopped.
#[test]
fn what_left_the_document_is_deleted_with_prune() {
    let (relay, app) = (Relay::new(), "orphans");
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["deploy"] = json!({"replicas": 1});
    doc["services"]["old"] = serving(8080, "old");
    doc["services"]["old"]["x-svc"] = json!({"path": ["/api/*"]});
    doc["services"]["old"]["secrets"] = json!(["token"]);
    doc["services"]["seed"] = json!({"image": "busybox", "command": ["true"], "x-svc": {"schedule": "rate(1 day)"}});
    doc["secrets"] = json!({"token": {"environment": "PATH"}});
    let first = Pipe::up(&relay.endpoint).only(|tool| matches!(tool, "net-up" | "cluster-up" | "svc-deploy")).run(&doc.to_string()).ok();
    let before = of(&relay, app, "old");
    assert!(before.len() >= 5, "{before:?}");

    let mut live = first.doc();
    live.as_object_mut().unwrap().remove("secrets");
    let services = live["services"].as_object_mut().unwrap();
    let _ = (services.remove("seed"), services.remove("old"));
    services.insert("new".to_owned(), serving(8080, "new"));
    services["new"]["x-svc"] = json!({"path": ["/api/*"]});
    let kept = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok();
    for said in [
        "warning[service-not-in-document]: the service or job old of orphans is not in the document. It runs with all that it has",
        "warning[service-not-in-document]: the service or job seed of orphans is not in the document. What it had is kept",
        "run svc-deploy with --prune to delete it",
    ] {
        assert!(kept.stderr.contains(said), "{}", kept.stderr);
    }
    assert_eq!(of(&relay, app, "old").len(), before.len(), "all but the rule, which is that of the new service");
    assert!(fetch(app, "/api/").contains("hello from new\n"));

    let plan = run(&relay.endpoint, "svc-deploy", &["--plan", "--prune"], &live.to_string());
    assert_eq!(plan.code, 3, "{}", plan.stderr);
    let clients = Clients::at(&relay.endpoint);
    // A run was stopped after it had deleted the service.
    let _ = clients.wait(clients.ecs.update_service().cluster(app).service("old").desired_count(0).send()).unwrap();
    let _ = clients.wait(clients.ecs.delete_service().cluster(app).service("old").force(true).send()).unwrap();
    let pruned = run(&relay.endpoint, "svc-deploy", &["--prune"], &live.to_string()).ok();
    let mut planned: Vec<String> = plan.acts('-');
    planned.sort();
    let group = planned.iter().find(|line| line.starts_with("target group orphans-old-")).cloned().unwrap_or_default();
    let role = |name: &str| format!("role orphans-{name}-us-east-1");
    let mut expected = vec!["log group /ecs-pipe/orphans/old".to_owned(), "log group /ecs-pipe/orphans/seed".to_owned()];
    expected.push("parameter /ecs-pipe/orphans/token".to_owned());
    expected.extend(["old-execution", "old-task", "scheduler", "seed-execution", "seed-task"].map(role));
    expected.extend(["service old", group.as_str(), "task definition orphans-old", "task definition orphans-seed"].map(str::to_owned));
    assert_eq!(planned, expected);
    let mut done = pruned.acts('-');
    done.sort();
    expected.retain(|line| line != "service old" || done.contains(line));
    assert_eq!(done, expected);
    assert_eq!((of(&relay, app, "old"), of(&relay, app, "seed")), (Vec::new(), Vec::new()));
    assert!(fetch(app, "/api/").contains("hello from new\n"));

    let _ = relay.calls();
    let again = run(&relay.endpoint, "svc-deploy", &["--prune"], &pruned.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    assert!(!again.stderr.contains("service-not-in-document"), "{}", again.stderr);
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Returns the resources whose names have that of the service.
fn of(relay: &Relay, app: &str, service: &str) -> Vec<String> {
    let mut all = holdings(&relay.endpoint, app);
    all.retain(|line| line.contains(&format!("{app}-{service}")) || line.contains(&format!("{app}/{service}")));
    all
}

/// With a successor that does not become healthy, nothing is deleted.
#[test]
fn nothing_is_deleted_while_the_successor_is_not_complete() {
    let (relay, app) = (Relay::new(), "orphans-2");
    let mut doc = one(app, "fargate");
    doc["services"]["old"] = json!({"image": "busybox", "command": ["sleep", "1000"], "deploy": {"replicas": 1}});
    let up = Pipe::up(&relay.endpoint).only(|tool| matches!(tool, "net-up" | "cluster-up" | "svc-deploy"));
    let mut live = up.run(&doc.to_string()).ok().doc();
    let services = live["services"].as_object_mut().unwrap();
    let mut new: Value = services.remove("old").unwrap();
    new["command"] = json!(["false"]);
    services.insert("new".to_owned(), new);
    let _ = relay.calls();
    let failed = run(&relay.endpoint, "svc-deploy", &["--prune", "--no-wait", "--timeout", "40s"], &live.to_string());
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    let deleted = relay.mutations().into_iter().filter(|call| call.contains("Delete")).collect::<Vec<_>>();
    assert_eq!(deleted, Vec::<String>::new(), "{}", failed.stderr);
    let _ = Pipe::down(&relay.endpoint).run(&live.to_string()).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
