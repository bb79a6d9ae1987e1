//! `svc-deploy --run`: one task by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::tool::finish;
use tests::{Faults, Moment, run};

use super::small_app::{App, stays};

/// `--run` starts one task with the task definition of a service or job. Its log is on stdout.
#[test]
fn a_task_is_run_by_hand() {
    let app = App::new("by-hand", "AWS_ENDPOINT_URL");
    let mut web = stays(&json!([]));
    web["environment"] = json!({"WHO": "web"});
    let live = app
        .deploy(&[], &json!({"web": web, "once": {"image": "busybox", "command": ["echo", "from the job"], "x-svc": {"job": true}}}))
        .ok();
    let tool = |args: &[&str], stdin: &str| run(&app.relay.endpoint, "svc-deploy", args, stdin);

    let _ = app.relay.calls();
    // Flags of the tool come before the command.
    let by_name = |command: &[&str]| {
        let mut child = tests::tool::command("svc-deploy", &["--app", app.name, "--run", "web"]);
        finish(tests::tool::spawn(child.arg("--").args(command), &app.relay.endpoint), "")
    };
    let said = by_name(&["sh", "-c", "echo one $WHO; sleep 2; echo two"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "one web\ntwo\n"), "{}", said.stderr);
    assert_eq!(app.relay.mutations(), ["ecs:RunTask"]);
    let said = tool(&["--run", "once"], &live.stdout);
    assert_eq!((said.code, said.stdout.as_str()), (0, "from the job\n"), "{}", said.stderr);

    let said = by_name(&["sh", "-c", "echo no; exit 4"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, "no\n"), "{}", said.stderr);
    assert!(
        said.stderr.contains("error[run-failed]: could not complete the task of web: container web ended with exit code 4"),
        "{}",
        said.stderr
    );
    let said = tool(&["--run", "nothing"], &live.stdout);
    assert!(said.code == 2 && said.stderr.contains("error[run-unknown-service]"), "{}", said.stderr);

    let _ = app.relay.calls();
    let mut command = tests::tool::command("svc-deploy", &["--app", app.name, "--run", "web"]);
    let mut child = tests::tool::spawn(&mut command, &app.relay.endpoint);
    drop(child.stdin.take());
    std::thread::sleep(Duration::from_secs(4));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = finish(child, "");
    assert_eq!(said.code, 130, "{}", said.stderr);
    assert!(said.stderr.contains("stopping task "), "{}", said.stderr);
    let began = Instant::now();
    while app.tasks("web").iter().any(|task| task.started_by() == Some("ecs-pipe/run") && task.last_status() != Some("STOPPED")) {
        assert!(began.elapsed() < Duration::from_secs(20), "Ctrl-C stops the task");
        std::thread::sleep(Duration::from_millis(200));
    }
    app.down();
}

/// The task of `--run` reaches other services by name. Nothing of it is left.
#[test]
fn a_task_by_hand_calls_other_services_by_name() {
    let mut api = stays(&json!([]));
    api["command"] = json!(["sh", "-c", "mkdir /w; echo hello from api > /w/index.html; exec httpd -f -p 8080 -h /w"]);
    api["expose"] = json!(["8080"]);
    let mut web = stays(&json!(["api"]));
    web["environment"] = json!({"API": "http://api:8080"});
    let services = json!({"api": api, "web": web});
    let app = App::with("named-by-hand", "AWS_ENDPOINT_URL", &services);
    let _ = app.deploy(&[], &services).ok();
    let by_hand = |script: &str| {
        let mut child = tests::tool::command("svc-deploy", &["--app", app.name, "--files-image", "busybox", "--run", "web"]);
        finish(tests::tool::spawn(child.args(["--", "sh", "-c", script]), &app.relay.endpoint), "")
    };
    let services_left = || {
        let said = app.aws.wait(app.aws.ecs.list_services().cluster(app.name).send()).unwrap();
        said.service_arns().iter().filter(|arn| arn.contains("/_run-")).count()
    };
    let _ = app.relay.calls();
    let said = by_hand("wget -qO- $API");
    assert_eq!((said.code, said.stdout.as_str()), (0, "hello from api\n"), "{}", said.stderr);
    let made = [
        "ecs:RegisterTaskDefinition",
        "ecs:CreateService",
        "ecs:DeleteService",
        "ecs:DeregisterTaskDefinition",
        "ecs:DeleteTaskDefinitions",
    ];
    let mut calls = app.relay.mutations();
    calls.sort();
    let mut made = made.map(str::to_owned);
    made.sort();
    assert_eq!((calls, services_left()), (made.to_vec(), 0));

    let said = by_hand("exit 4");
    assert_eq!((said.code, services_left()), (1, 0), "{}", said.stderr);
    assert!(said.stderr.contains("error[run-failed]"), "{}", said.stderr);

    // What a killed run has left is deleted by the next one, and a deployment has nothing to do with it.
    app.relay.fail(Faults { kill: Some((2, Moment::After)), ..Faults::default() });
    let dead = by_hand("echo forgotten");
    app.relay.fail(Faults::default());
    assert_eq!((dead.code, services_left()), (137, 1), "{}", dead.stderr);
    app.rests(&services);
    let began = Instant::now();
    loop {
        let said = by_hand("true");
        assert_eq!(said.code, 0, "{}", said.stderr);
        if said.stderr.contains("of an earlier run, whose task has ended") {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{}", said.stderr);
    }
    assert_eq!(services_left(), 0);
    app.down();
}
