//! The life of an app: planned, created, found again, changed and deleted.

use serde_json::json;
use tests::app::{fetch, one, shop};
use tests::tool::TOOLS;
use tests::{Clients, Pipe, Relay, account, run, script};

use super::masked;

/// The example as the real `docker compose config` prints it, with real containers: services that
/// call each other by name, a job, a config, a secret, and a volume whose data outlives the app.
#[test]
fn the_life_of_the_shop() {
    let (relay, app) = (Relay::new(), "life");
    let doc = shop(app);
    Clients::at(&relay.endpoint).create_service_linked_role();
    let _ = relay.calls();

    let plan = Pipe::plan(&relay.endpoint).run(&doc);
    assert_eq!(plan.code, 3, "{}", plan.stderr);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "a plan only reads");
    masked::settings().bind(|| insta::assert_snapshot!("plan_of_the_shop", plan.stderr));

    let first = Pipe::up(&relay.endpoint).run(&doc).ok();
    let (planned, made) = (sorted(plan.acts('+')), sorted(first.acts('+')));
    assert_eq!(planned, made, "a plan lists everything that the run then creates");
    let _ = relay.calls();

    let address = first.doc()["svc"]["url"].as_str().unwrap().to_owned();
    assert!(first.stderr.contains(&format!("svc-deploy: the app answers at {address}\n")), "{}", first.stderr);
    let page = fetch(app, "/");
    assert!(page.contains("<h1>The shop</h1>") && page.contains(r#"api says: {"greeting": "hello", "rows": "apples ("#), "{page}");
    assert!(log(app, "worker", "worker: heartbeat") > 0, "the worker's log is in CloudWatch Logs");
    assert_eq!(log(app, "migrate", "migrate: has apples"), 1, "the job ran once");

    let second = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
    assert_eq!(first.doc(), second.doc());
    for tool in TOOLS {
        assert!(second.stderr.contains(&format!("{tool}: done: nothing to change\n")), "{tool}: {}", second.stderr);
    }
    let plan = Pipe::plan(&relay.endpoint).run(&doc);
    assert_eq!((plan.code, masked::changes(&plan)), (0, String::new()), "after the run, a plan lists nothing");
    assert_eq!(plan.doc(), first.doc());
    assert_eq!(log(app, "migrate", "migrate: has apples"), 1, "the job did not run again");
    let _ = relay.calls();

    let changed = doc.replace("GREETING: hello", "GREETING: good day");
    let third = Pipe::up(&relay.endpoint).run(&changed).ok();
    assert_eq!(sorted(relay.mutations()), ["ecs:RegisterTaskDefinition", "ecs:UpdateService"], "one variable, one revision, one update");
    let answer = fetch(app, "/api/hello");
    assert!(answer.contains("good day"), "{answer}");

    let down = script(&relay.endpoint, "teardown", &[], &third.stdout).ok();
    let left = account::resources(&relay.endpoint, app);
    assert!(left.iter().all(|one| one.contains("file system") || one.contains("access point")), "{left:?}");
    assert!(left.iter().any(|one| one.contains("file system")) && down.stderr.contains("--delete-data"), "{}", down.stderr);
    assert!(down.doc().get("svc").is_none() && down.doc().get("net").is_none());

    let rows = |answer: &str| answer.split("apples (").nth(1).map(|rest| rest[..8].to_owned()).unwrap();
    let again = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(rows(&fetch(app, "/api/hello")), rows(&answer), "the data is found again");

    let _ = script(&relay.endpoint, "teardown", &["--delete-data"], &again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new(), "nothing is left");
    let _ = relay.calls();
    let _ = script(&relay.endpoint, "teardown", &["--delete-data"], &again.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "a second teardown deletes nothing");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Returns how often a service's log in CloudWatch Logs has this text, when it has it within ten
/// seconds.
fn log(app: &str, service: &str, text: &str) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12()).load().await;
        #[expect(clippy::disallowed_methods, reason = "the guard is for the tools")]
        let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
        let mut count = 0;
        for _ in 0..40 {
            let said = logs.filter_log_events().log_group_name(format!("/ecs-pipe/{app}/{service}")).send().await.unwrap();
            count = said.events().iter().filter_map(|event| event.message()).filter(|message| message.contains(text)).count();
            if count > 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
        count
    })
}

/// Fargate, from a document without a build. `--down` needs only the name of the app.
#[test]
fn the_life_of_a_fargate_app() {
    let (relay, app) = (Relay::new(), "fargate-app");
    let doc = one(app, "fargate").to_string();
    let first = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(first.doc()["cluster"]["capacity_provider_strategy"][0]["capacity_provider"], "FARGATE");
    assert!(fetch(app, "/").contains("hello from fargate-app"));
    let _ = relay.calls();
    let _ = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    for tool in TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, &["--down", "--app", app], "").ok();
    }
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// In moto, which checks more than ministack and runs no containers.
#[test]
fn the_life_of_an_app_in_moto() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    for launch_type in ["ec2", "fargate"] {
        let app = format!("moto-{launch_type}");
        let doc = json!({"name": app, "x-cluster": {"launch_type": launch_type}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
            "web": {"image": "nginx:1.27", "ports": ["80"]},
            "api": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"path": ["/api/*"]}, "deploy": {"resources": {"limits": {"cpus": "0.5", "memory": "1g"}}}}}});
        let doc = doc.to_string();
        // moto runs no tasks, so a wait would not end.
        let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
        let first = up.run(&doc).ok();
        let _ = relay.calls();
        let second = up.run(&doc).ok();
        assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
        assert_eq!(first.doc(), second.doc());
        assert!(first.doc()["svc"]["url"].as_str().unwrap().starts_with("http://"));
        let down = Pipe::down(&relay.endpoint).run(&second.stdout);
        assert_eq!(down.code, 0, "{}", down.stderr);
        assert_eq!(account::resources(&relay.endpoint, &app), Vec::<String>::new(), "nothing is left");
    }
}
