//! What is removed late: permissions, draining services and old revisions.

use serde_json::{Value, json};
use tests::app::one;
use tests::{Clients, Output, Pipe, Relay, account, run};

fn up(relay: &Relay, doc: &Value) -> Output {
    Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok()
}

/// Returns the policies that the execution role of `web` gets, in order, and when the service is
/// updated.
fn order(relay: &Relay) -> Vec<String> {
    let of_role = |body: &str| body.contains("-web-execution-");
    let text = |call: tests::Call| match call.action.as_str() {
        "iam:PutRolePolicy" if of_role(&call.body) => {
            Some(format!("old {} new {}", call.body.contains("%2Fold"), call.body.contains("%2Fnew")))
        }
        "ecs:UpdateService" if call.body.contains(r#""service":"web""#) => Some("update".to_owned()),
        _ => None,
    };
    relay.calls().into_iter().filter_map(text).collect()
}

/// Tasks of the old revision may start until the new one is complete, so their permissions are kept
/// until then. A service that left the document keeps its roles. Then the app is deleted while a
/// service is draining.
#[test]
fn what_the_old_revision_needs_is_kept_until_the_new_one_is_complete() {
    let (relay, app) = (Relay::new(), "narrow");
    let with_log = |name: &str| {
        let options = json!({"awslogs-group": format!("/narrow/{name}"), "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web"});
        json!({"logConfiguration": {"logDriver": "awslogs", "options": options}})
    };
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["deploy"] = json!({"replicas": 1});
    doc["services"]["web"]["x-svc"] = json!({"patch": {"container": with_log("old")}});
    doc["services"]["gone"] = json!({"image": "busybox", "command": ["sleep", "1000"], "deploy": {"replicas": 1}});
    let clients = Clients::at(&relay.endpoint);
    for name in ["old", "new"] {
        let _ = clients.wait(clients.logs.create_log_group().log_group_name(format!("/narrow/{name}")).send()).unwrap();
    }
    let mut live = up(&relay, &doc).doc();
    assert_eq!(order(&relay), ["old true new false"]);
    live["services"]["web"]["x-svc"] = json!({"patch": {"container": with_log("new")}});
    live["services"].as_object_mut().unwrap().remove("gone");
    let changed = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok();
    assert_eq!(order(&relay), ["old true new true", "update", "old false new true"]);
    let kept = clients.wait(clients.iam.list_role_policies().role_name("narrow-gone-execution-us-east-1").send()).unwrap();
    assert_eq!(kept.policy_names(), ["start-tasks"]);
    let again = run(&relay.endpoint, "svc-deploy", &[], &changed.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    // A run was stopped after it had deleted a service, and between the two calls for a revision.
    let _ = clients.wait(clients.ecs.delete_service().cluster(app).service("gone").force(true).send()).unwrap();
    let _ = clients.wait(clients.ecs.deregister_task_definition().task_definition("narrow-gone:1").send()).unwrap();
    let down = run(&relay.endpoint, "svc-deploy", &["--down", "--app", app], "").ok();
    assert!(down.acts('-').contains(&"service gone".to_owned()), "{}", down.stderr);
    let tasks = clients.wait(clients.ecs.list_tasks().cluster(app).desired_status("STOPPED".into()).send()).unwrap();
    let tasks = clients.wait(clients.ecs.describe_tasks().cluster(app).set_tasks(Some(tasks.task_arns().to_vec())).send()).unwrap();
    assert!(tasks.tasks().iter().all(|task| task.last_status() == Some("STOPPED")), "no task runs when it ends");
    let left = clients.wait(clients.ecs.list_task_definitions().family_prefix("narrow-gone").status("INACTIVE".into()).send()).unwrap();
    assert_eq!(left.task_definition_arns(), Vec::<String>::new());
    for name in ["old", "new"] {
        let _ = clients.wait(clients.logs.delete_log_group().log_group_name(format!("/narrow/{name}")).send()).unwrap();
    }
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// ECS can't take the network configuration of a service away, so it is refused before anything
/// changes.
#[test]
fn a_service_keeps_its_network_mode() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "modes");
    let mut doc = one(app, "ec2");
    doc["services"]["web"]["x-svc"] = json!({"network_mode": "awsvpc"});
    let pipe = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
    let mut live = pipe.only(|tool| matches!(tool, "net-up" | "cluster-up" | "svc-deploy")).run_while_ok(&doc.to_string()).ok().doc();
    live["services"]["web"]["x-svc"] = json!({});
    for args in [&["--plan"][..], &[]] {
        let _ = relay.calls();
        let refused = run(&relay.endpoint, "svc-deploy", args, &live.to_string());
        assert_eq!((refused.code, relay.mutations()), (65, Vec::new()), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("error[network-mode-fixed]: the document is wrong at services.web.x-svc.network_mode"),
            "{}",
            refused.stderr
        );
    }
    let _ = run(&relay.endpoint, "svc-deploy", &["--down", "--app", app], "").ok();
}
