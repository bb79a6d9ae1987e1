//! A new deployment of an unchanged document.

use std::process::Command;

use serde_json::{Value, json};
use tests::app::one;
use tests::{Clients, Pipe, Relay, account, run};

/// The flag starts one, and without it the next run changes nothing. The digest of a registry that does not answer is not known, which is said.
#[test]
fn redeploy_starts_a_new_deployment_of_an_unchanged_service() {
    let (relay, app) = (Relay::new(), "again");
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["deploy"] = json!({"replicas": 1});
    let live = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok().stdout;
    let plan = run(&relay.endpoint, "svc-deploy", &["--plan", "--redeploy"], &live);
    assert!(plan.stderr.contains("~ service web (a new deployment (--redeploy))"), "{}", plan.stderr);
    let _ = relay.calls();
    let deployed = run(&relay.endpoint, "svc-deploy", &["--redeploy"], &live).ok();
    let forced = |call: &tests::Call| call.action == "ecs:UpdateService" && call.body.contains("\"forceNewDeployment\":true");
    let calls = relay.calls();
    assert_eq!(calls.iter().filter(|call| forced(call)).count(), 1, "{}", deployed.stderr);
    let again = run(&relay.endpoint, "svc-deploy", &[], &deployed.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A tag is moved to another image, and the document stays the same. The next run deploys the new
/// image by its digest, and the run after that changes nothing.
#[test]
fn a_tag_that_was_moved_is_deployed_by_its_new_digest() {
    let (relay, app) = (Relay::new(), "latest");
    let image = format!("{}/pulled/latest:latest", std::env::var("ECS_PIPE_REGISTRY").unwrap());
    let clients = Clients::at(&relay.endpoint);
    clients.wait(async { clients.ecr.create_repository().repository_name("pulled/latest").send().await }).unwrap();
    let mut doc = one(app, "fargate");
    doc["services"] = json!({"web": {"image": &image, "command": ["sleep", "1000"], "deploy": {"replicas": 1}}});
    let pipe = |doc: &Value| {
        let up = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok();
        let cluster = clients.ecs.list_tasks().cluster(app).service_name("web");
        let tasks = clients.wait(cluster.send()).unwrap().task_arns().to_vec();
        let tasks = clients.wait(clients.ecs.describe_tasks().cluster(app).set_tasks(Some(tasks)).send()).unwrap();
        let images = tasks.tasks().iter().flat_map(aws_sdk_ecs::types::Task::containers).filter_map(|one| one.image().map(str::to_owned));
        (up.doc(), images.collect::<Vec<_>>())
    };
    let by_digest = |digest: &str| vec![format!("{}@{digest}", image.trim_end_matches(":latest"))];
    let first = push(&image, "1");
    let (live, running) = pipe(&doc);
    assert_eq!(running, by_digest(&first));
    let second = push(&image, "2");
    assert_ne!(first, second);
    let (live, running) = pipe(&live);
    assert_eq!(running, by_digest(&second));
    let _ = relay.calls();
    let (live, _) = pipe(&live);
    assert_eq!(relay.mutations(), Vec::<String>::new());
    let _ = Pipe::down(&relay.endpoint).run(&live.to_string()).ok();
    clients.wait(async { clients.ecr.delete_repository().repository_name("pulled/latest").force(true).send().await }).unwrap();
    let _ = docker(&["rmi", "-f", &image]);
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Pushes an image that differs by a variable, and returns its digest.
fn push(image: &str, version: &str) -> String {
    let container = docker(&["create", "busybox"]);
    let _ = docker(&["commit", "--change", &format!("ENV VERSION={version}"), &container, image]);
    let _ = (docker(&["rm", &container]), docker(&["push", image]));
    let digests = docker(&["inspect", "--format", "{{json .RepoDigests}}", image]);
    let digests: Vec<String> = serde_json::from_str(&digests).unwrap();
    let own = digests.iter().find(|one| one.contains("pulled/latest@")).unwrap();
    own.split_once('@').unwrap().1.to_owned()
}

fn docker(args: &[&str]) -> String {
    let done = Command::new("docker").args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}
