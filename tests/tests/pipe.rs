//! Whole pipes against a local AWS in which containers really run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use tests::app::{fetch, one, shop};
use tests::{Hand, Output, Pipe, Relay, account, run};

/// From an empty account to answers, again, changed, and gone: the whole life of an app.
#[test]
fn the_life_of_the_shop() {
    let (relay, app) = (Relay::new(), "life");
    let doc = shop(app).to_string();

    let plan = Pipe::plan(&relay.endpoint).run(&doc);
    assert_eq!(plan.code, 3, "{}", plan.stderr);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "a plan only reads");
    // The account's role is made by whichever test comes first.
    let lines = plan.stderr.lines().filter(|line| !line.contains("service-linked role"));
    insta::assert_snapshot!("plan_of_the_shop", lines.collect::<Vec<_>>().join("\n"));

    let first = Pipe::up(&relay.endpoint).run(&doc).ok();
    let (planned, made) = (sorted(plan.acts('+')), sorted(first.acts('+')));
    assert_eq!(planned, made, "a plan lists everything that the run then makes");
    let _ = relay.calls();

    assert!(fetch(app, "/").contains("<h1>The shop</h1>"));
    assert!(fetch(app, "/api/hello").contains(r#""greeting": "hello""#));
    assert!(has_heartbeat(app), "the worker's lines are in CloudWatch Logs");

    let second = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
    assert_eq!(first.doc(), second.doc());
    let plan = Pipe::plan(&relay.endpoint).run(&doc);
    assert_eq!((plan.code, plan.stderr.as_str()), (0, ""), "after the run, a plan lists nothing");
    assert_eq!(plan.doc(), first.doc());
    let _ = relay.calls();

    let mut changed = shop(app);
    changed["services"]["api"]["environment"]["GREETING"] = json!("good day");
    let third = Pipe::up(&relay.endpoint).run(&changed.to_string()).ok();
    assert_eq!(sorted(relay.mutations()), ["ecs:RegisterTaskDefinition", "ecs:UpdateService"], "one variable, one revision, one update");
    assert!(fetch(app, "/api/hello").contains("good day"));

    let down = Pipe::down(&relay.endpoint).run(&third.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new(), "nothing is left");
    assert!(down.doc().get("svc").is_none() && down.doc().get("net").is_none());
    let _ = relay.calls();
    let _ = Pipe::down(&relay.endpoint).run(&third.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "taking down again finds nothing to do");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    // The account's role is made by whichever test comes first.
    lines.retain(|line| !line.starts_with("service-linked role"));
    lines
}

fn has_heartbeat(app: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12()).load().await;
        #[expect(clippy::disallowed_methods, reason = "a test may read without the guard")]
        let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
        for _ in 0..40 {
            let said = logs.filter_log_events().log_group_name(format!("/ecs-pipe/{app}/worker")).send().await.unwrap();
            if said.events().iter().filter_map(|event| event.message()).any(|message| message.contains("worker: heartbeat")) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
        false
    })
}

/// Fargate, from a document without anything to build, taken down by the app's name alone.
#[test]
fn fargate_from_the_document_and_down_by_name() {
    let (relay, app) = (Relay::new(), "fargate-app");
    let doc = one(app, "fargate").to_string();
    let first = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(first.doc()["cluster"]["capacity_provider_strategy"][0]["capacity_provider"], "FARGATE");
    assert!(fetch(app, "/").contains("hello from fargate-app"));
    let _ = relay.calls();
    let _ = Pipe::up(&relay.endpoint).run(&doc).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    for tool in tests::tool::TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, &["--down", "--app", app], "").ok();
    }
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Every tool runs from flags, without a document.
#[test]
fn alone_from_flags() {
    let (relay, app) = (Relay::new(), "flags");
    let step = |tool: &str, args: &[&str], stdin: &Output| run(&relay.endpoint, tool, args, &stdin.stdout).ok();
    let none = Output { code: 0, stdout: String::new(), stderr: String::new() };
    let net = step("net-up", &["--app", app, "--nat", "none", "--cidr", "10.9.0.0/20"], &none);
    assert_eq!(net.doc()["net"]["cidr"], "10.9.0.0/20");
    let cluster = step("cluster-up", &["--launch-type", "fargate"], &net);
    let img = step("img-push", &[], &cluster);
    let wishes = ["--host", "a.example.com,b.example.com", "--path", "/x,/y", "--grace", "30", "--breaker", "5", "--env", "A=b"];
    let svc = step("svc-deploy", &[&["--service", "web", "--image", "busybox", "--port", "8080", "--no-wait"], &wishes[..]].concat(), &img);
    let hand = Hand::at(&relay.endpoint);
    let said = hand.wait(hand.ecs.describe_services().cluster(app).services("web").send()).unwrap();
    assert_eq!(said.services()[0].health_check_grace_period_seconds(), Some(30));
    let scale = step("scale-set", &["--min", "3", "--max", "5"], &svc);
    assert_eq!(scale.doc()["scale"]["services"]["web"]["max"], 5);
    let alarms = step("alarms-set", &["--notify", "ops@example.com", "--latency-p99", "2"], &scale);
    assert!(alarms.doc()["alarms"]["topic_arn"].is_string());
    let _ = Pipe::down(&relay.endpoint).run(&alarms.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A container that ends at once: ECS gives up after as many as the document allows, and the tool says all that is known.
#[test]
fn a_failed_deployment_says_why() {
    let (relay, app) = (Relay::new(), "failing");
    let doc = json!({"name": app, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "services": {"job": {
        "image": "busybox", "command": ["sh", "-c", "echo no database at db:5432; exit 7"], "x-svc": {"breaker": 1}}}});
    let said = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string());
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert_eq!(said.stdout, "", "nothing on stdout, so that the next stage stops too");
    for part in ["services.job: it failed", "exit code 7", "log: no database at db:5432", "run the same command again"] {
        assert!(said.stderr.contains(part), "{part} is not in:\n{}", said.stderr);
    }
    // What was wrong may be mended elsewhere: the same document is then tried once more, and not just found to have failed.
    let _ = relay.calls();
    let again = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string());
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.contains("~ service job (deployment: failed -> a new one)"), "{}", again.stderr);
    assert_eq!(relay.mutations(), ["ecs:UpdateService"]);
    for tool in tests::tool::TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, &["--down", "--app", app], "").ok();
    }
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A run for one service leaves the others as they are: their rules, their records, their alarms.
#[test]
fn a_selection_leaves_the_others_alone() {
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
    assert_eq!(relay.mutations(), Vec::<String>::new(), "nothing of the others was touched");
    assert_eq!(live["svc"], first.doc()["svc"]);
    assert_eq!(live["scale"], first.doc()["scale"]);
    let refused = run(&relay.endpoint, "svc-deploy", &["--down", "--only", "web"], &first.stdout);
    assert_eq!(refused.code, 2, "all of it goes, or nothing: {}", refused.stderr);
    let told = run(&relay.endpoint, "alarms-set", &["--notify", "ops@example.com"], &live.to_string()).ok().doc();
    assert!(told["alarms"]["topic_arn"].is_string());
    let _ = relay.calls();
    let again = run(&relay.endpoint, "alarms-set", &["--only", "web"], &told.to_string()).ok().doc();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the others' alarms still tell the topic");
    assert_eq!(again["alarms"]["topic_arn"], told["alarms"]["topic_arn"]);
    let _ = Pipe::down(&relay.endpoint).run(&again.to_string()).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
