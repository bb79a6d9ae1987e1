//! Jobs: they run once for each content, before what waits for them, and by a schedule.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, ScheduleState};
use serde_json::{Value, json};
use tests::tool::{finish, start};
use tests::{Call, Faults, Moment, run};

use super::small_app::{App, stays};

/// A job that runs this script.
fn runs(script: &str, after: &Value) -> Value {
    json!({"image": "busybox", "command": ["sh", "-c", script], "depends_on": after})
}

fn completed(job: &str) -> Value {
    json!({job: {"condition": "service_completed_successfully"}})
}

/// Returns the position of the first call of this action whose request has this text.
fn position(calls: &[Call], action: &str, text: &str) -> usize {
    calls
        .iter()
        .position(|call| call.action == action && call.body.contains(text))
        .unwrap_or_else(|| unreachable!("no {action} with {text}"))
}

/// A migration runs when the database is healthy, and before the two services that wait for it. Other services do not wait for it.
#[test]
fn a_migration_runs_once_and_before_what_waits_for_it() {
    let app = App::new("migrating", "AWS_ENDPOINT_URL");
    let mut services = json!({
        "app": stays(&completed("migrate")), "worker": stays(&completed("migrate")), "other": stays(&json!([])),
        "migrate": runs("echo migrating; sleep 3; echo migrated $VERSION", &json!(["db"])), "db": stays(&json!([]))});
    services["migrate"]["environment"] = json!({"VERSION": "1"});
    services["migrate"]["ports"] = json!(["5555"]);

    let plan = app.deploy(&["--plan"], &services);
    assert!(plan.acts('+').contains(&"job migrate".to_owned()), "{}", plan.stderr);
    let first = app.deploy(&[], &services).ok();
    assert!(first.stderr.contains("warning[job-without-effect]: services.migrate.ports"), "{}", first.stderr);
    assert_eq!(first.doc()["svc"]["services"].as_object().unwrap().len(), 4, "a job is no service");
    assert_eq!(first.doc()["svc"]["jobs"]["migrate"]["log_group"], "/ecs-pipe/migrating/migrate");
    let calls = app.relay.calls();
    let job = position(&calls, "ecs:RunTask", "migrate");
    // The tool may have read the tasks of an earlier app of this name before.
    let wait = job + position(&calls[job..], "ecs:DescribeTasks", "");
    assert!(position(&calls, "ecs:CreateService", "\"db\"") < job && position(&calls, "ecs:CreateService", "\"other\"") < job);
    for waiting in ["\"app\"", "\"worker\""] {
        assert!(wait < position(&calls, "ecs:CreateService", waiting), "{waiting} waits for the job");
    }
    assert_eq!((app.tasks("migrate").len(), app.lines("migrate", "migrated 1")), (1, 1));
    app.rests(&services);

    services["app"]["environment"] = json!({"COLOR": "red"});
    let _ = app.deploy(&[], &services).ok();
    assert_eq!(app.tasks("migrate").len(), 1, "only another service has changed");

    services["migrate"]["environment"] = json!({"VERSION": "2"});
    let plan = app.deploy(&["--plan"], &services);
    let again = plan.acts('~').into_iter().find(|act| act.starts_with("job migrate (taskDefinition: migrating-migrate:"));
    assert!(again.is_some_and(|act| act.ends_with(" -> the new revision, runs again)")), "{}", plan.stderr);
    let _ = app.deploy(&["--no-wait"], &services).ok();
    assert_eq!((app.tasks("migrate").len(), app.lines("migrate", "migrated 2")), (2, 1), "it is awaited also with --no-wait");
    app.rests(&services);
    app.down();
}

/// The services that wait keep their old version, and the error has the exit code and the log.
#[test]
fn a_failed_migration_leaves_what_waits_for_it() {
    let app = App::new("unmigrated", "AWS_ENDPOINT_URL");
    let services = |version: &str, script: &str| {
        let mut app = stays(&completed("migrate"));
        app["environment"] = json!({"VERSION": version});
        json!({"app": app, "migrate": runs(script, &json!([]))})
    };
    let _ = app.deploy(&[], &services("1", "echo one")).ok();
    let old = app.revision("app");
    for attempt in 2..4 {
        let failed = app.deploy(&[], &services("2", "echo no table orders; exit 3"));
        assert_eq!((failed.code, failed.stdout.as_str()), (1, ""), "{}", failed.stderr);
        for part in [
            "error[job-failed]: could not complete the job services.migrate: ",
            "container migrate ended with exit code 3",
            "log: no table orders",
            "run the same command again",
        ] {
            assert!(failed.stderr.contains(part), "{part} is not in:\n{}", failed.stderr);
        }
        assert_eq!(app.revision("app"), old, "the old version is kept");
        assert_eq!(app.tasks("migrate").len(), attempt, "the same content runs again after a failure");
    }
    let plan = app.deploy(&["--plan"], &services("2", "echo no table orders; exit 3"));
    assert!(plan.acts('~').contains(&"job migrate (has not completed, runs again)".to_owned()), "{}", plan.stderr);

    let fixed = services("2", "echo two");
    let _ = app.deploy(&[], &fixed).ok();
    assert_ne!(app.revision("app"), old);
    app.rests(&fixed);
    app.down();
}

/// Ctrl-C ends the tool and not the job. The next run waits for the same task.
#[test]
fn an_interrupted_migration_is_found_again() {
    let app = App::new("stopped-job", "AWS_ENDPOINT_URL");
    let services = json!({"app": stays(&completed("migrate")), "migrate": runs("echo begun; sleep 8; echo ended", &json!([]))});
    let mut child = start(&app.relay.endpoint, "svc-deploy", &[]);
    child.stdin.take().unwrap().write_all(app.doc(&services).as_bytes()).unwrap();
    let began = Instant::now();
    while app.tasks("migrate").iter().all(|task| task.last_status() != Some("RUNNING")) {
        assert!(began.elapsed() < Duration::from_mins(1), "the job does not start");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = finish(child, "");
    assert_eq!((said.code, said.stdout.as_str()), (130, ""), "{}", said.stderr);

    let _ = app.relay.calls();
    let again = app.deploy(&[], &services).ok();
    assert!(again.stderr.contains("the job migrate was started by an earlier run"), "{}", again.stderr);
    assert!(!app.relay.mutations().contains(&"ecs:RunTask".to_owned()));
    assert_eq!((app.tasks("migrate").len(), app.lines("migrate", "begun"), app.lines("migrate", "ended")), (1, 1, 1));
    app.rests(&services);
    app.down();
}

/// Killed at every changing call of a changed job: it runs once, and then its services are updated.
#[test]
fn a_killed_migration_runs_once() {
    let app = App::new("killed-job", "AWS_ENDPOINT_URL");
    let services =
        |version: &str| json!({"app": stays(&completed("migrate")), "migrate": runs(&format!("echo version {version}"), &json!([]))});
    let _ = app.deploy(&[], &services("0")).ok();
    let _ = app.relay.calls();
    let _ = app.deploy(&[], &services("1")).ok();
    let calls = app.relay.mutations();
    assert_eq!(calls, ["ecs:RegisterTaskDefinition", "ecs:RunTask", "ecs:TagResource"]);
    for n in 1..=calls.len() {
        for moment in [Moment::Before, Moment::After] {
            let version = format!("{n}-{moment:?}");
            app.relay.fail(Faults { kill: Some((n, moment)), ..Faults::default() });
            let dead = app.deploy(&[], &services(&version));
            app.relay.fail(Faults::default());
            assert_eq!(dead.code, 137, "{}", dead.stderr);
            let _ = app.deploy(&[], &services(&version)).ok();
            assert_eq!(app.lines("migrate", &format!("version {version}")), 1, "killed {moment:?} the call {}", calls[n - 1]);
            app.rests(&services(&version));
        }
    }
    app.down();
}

/// Lost answers do not start a second task.
#[test]
fn a_lost_answer_starts_no_second_task() {
    let app = App::new("lost-job", "AWS_ENDPOINT_URL");
    let services = |seed: u64| json!({"once": {"image": "busybox", "command": ["echo", format!("seed {seed}")], "x-svc": {"job": true}}});
    for seed in 0..4 {
        app.relay.fail(Faults { seed, cut: 0.3, broken: 0.1, ..Faults::default() });
        let _ = app.deploy(&[], &services(seed));
        app.relay.fail(Faults::default());
        let _ = app.deploy(&[], &services(seed)).ok();
        assert_eq!(app.lines("once", &format!("seed {seed}")), 1);
        app.rests(&services(seed));
    }
    app.down();
}

/// Nobody waits for the job, so `--no-wait` does not either. A later run notes that it has completed.
#[test]
fn a_job_for_which_nobody_waits_goes_on_alone() {
    let app = App::new("lone-job", "AWS_ENDPOINT_URL");
    let services = json!({"once": runs("sleep 4; echo ended", &json!([])), "web": stays(&json!([]))});
    let mut services = services;
    services["once"]["x-svc"] = json!({"job": true});
    let began = Instant::now();
    let _ = app.deploy(&["--no-wait"], &services).ok();
    assert_eq!(app.lines("once", "ended"), 0, "after {:?}", began.elapsed());
    let _ = app.deploy(&["--no-wait"], &services).ok();
    let _ = app.deploy(&[], &services).ok();
    assert_eq!((app.tasks("once").len(), app.lines("once", "ended")), (1, 1));
    app.rests(&services);

    // A service that becomes a job is deleted, and runs once.
    let mut changed = services.clone();
    changed["web"] = json!({"image": "busybox", "command": ["echo", "ended"], "x-svc": {"job": true}});
    let out = app.deploy(&[], &changed).ok();
    assert_eq!(out.acts('-'), ["service web"]);
    assert_eq!(app.lines("web", "ended"), 1);
    app.rests(&changed);
    app.down();
}

/// A running job stops with `--down`, which the cluster needs.
#[test]
fn a_running_job_is_stopped_with_the_app() {
    let app = App::new("endless-job", "AWS_ENDPOINT_URL");
    let services = json!({"endless": {"image": "busybox", "command": ["sh", "-c", "exec sleep 1000"], "x-svc": {"job": true}}});
    let _ = app.deploy(&["--no-wait"], &services).ok();
    assert_eq!(app.tasks("endless").len(), 1);
    let down = run(&app.relay.endpoint, "svc-deploy", &["--down", "--app", app.name], "").ok();
    assert!(down.acts('-').iter().any(|act| act.starts_with("task ")), "{}", down.stderr);
    assert!(app.tasks("endless").iter().all(|task| task.last_status() == Some("STOPPED")));
    app.down();
}

/// A schedule is created, compared field by field, and deleted when it leaves the document.
#[test]
fn the_life_of_a_schedule() {
    for env in ["ECS_PIPE_MOTO", "AWS_ENDPOINT_URL"] {
        let app = App::new("scheduled", env);
        let report = |schedule: Value| json!({"report": {"image": "busybox", "command": ["true"], "x-svc": {"schedule": schedule}}});
        let morning = report(json!({"expression": "cron(0 8 ? * MON-FRI *)", "timezone": "Europe/Vienna"}));
        let first = app.deploy(&[], &morning).ok();
        assert!(first.doc()["svc"]["jobs"]["report"]["schedule_arn"].as_str().unwrap().ends_with("schedule/scheduled/scheduled-report"));
        assert_eq!(app.relay.mutations().iter().filter(|action| action.starts_with("scheduler:")).count(), 2, "a group and a schedule");
        let found = app.aws.wait(app.aws.scheduler.get_schedule().group_name(app.name).name("scheduled-report").send()).unwrap();
        assert_eq!(found.schedule_expression_timezone(), Some("Europe/Vienna"));
        let parameters = found.target().unwrap().ecs_parameters().unwrap();
        assert!(parameters.task_definition_arn().contains(":task-definition/scheduled-report:"));
        assert_eq!(app.tasks("report").len(), 0, "only its schedule runs it");
        app.rests(&morning);

        let target = found.target().cloned().unwrap();
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().unwrap();
        let call = app.aws.scheduler.update_schedule().group_name(app.name).name("scheduled-report").schedule_expression("rate(5 minutes)");
        let call = call.flexible_time_window(window).target(target).state(ScheduleState::Disabled);
        app.aws.wait(call.send()).unwrap();
        let plan = app.deploy(&["--plan"], &morning);
        assert_eq!(plan.code, 3, "{}", plan.stderr);
        for part in ["ScheduleExpression: rate(5 minutes) -> cron(0 8 ? * MON-FRI *)", "State: DISABLED -> ENABLED"] {
            assert!(plan.stderr.contains(part), "{}", plan.stderr);
        }
        let _ = app.deploy(&[], &morning).ok();
        app.rests(&morning);

        let hourly = report(json!("rate(1 hour)"));
        let _ = app.deploy(&[], &hourly).ok();
        assert_eq!(app.relay.mutations(), ["scheduler:UpdateSchedule"]);
        let gone = json!({"web": {"image": "busybox", "command": ["sh", "-c", "exec sleep 1000"]}});
        let out = app.deploy(&["--no-wait"], &gone).ok();
        assert_eq!(out.acts('-'), ["schedule scheduled-report", "schedule group scheduled"]);
        let _ = app.deploy(&["--no-wait"], &hourly).ok();
        app.down();
    }
}

/// A job that calls another service by name: a service of one task, which is deleted after the end of the job.
#[test]
fn a_job_calls_other_services_by_name() {
    let services = |call: &str| {
        let mut api = stays(&json!([]));
        api["command"] = json!(["sh", "-c", "mkdir /w; echo hello from api > /w/index.html; exec httpd -f -p 8080 -h /w"]);
        api["expose"] = json!(["8080"]);
        json!({"app": stays(&completed("migrate")), "migrate": runs(call, &json!(["api"])), "api": api})
    };
    let first = services("wget -qO- http://api:8080/");
    let app = App::with("named-job", "AWS_ENDPOINT_URL", &first);
    let out = app.deploy(&[], &first).ok();
    assert_eq!(app.lines("migrate", "hello from api"), 1, "{}", out.stderr);
    assert_eq!(app.relay.mutations().iter().filter(|action| *action == "ecs:RunTask").count(), 0);
    app.rests(&first);
    let old = app.revision("app");

    // A failure leaves no service behind, and the next run starts the job again.
    let bad = services("echo no such table; exit 3");
    for _ in 0..2 {
        let failed = app.deploy(&[], &bad);
        assert_eq!(failed.code, 1, "{}", failed.stderr);
        assert!(failed.stderr.contains("container migrate ended with exit code 3\n  log: no such table"), "{}", failed.stderr);
    }
    assert_eq!((app.lines("migrate", "no such table"), app.revision("app")), (2, old));

    // Killed at each changing call, it runs once.
    let version = |version: &str| services(&format!("echo version {version}"));
    let _ = app.deploy(&[], &version("0")).ok();
    let _ = app.relay.calls();
    let _ = app.deploy(&[], &version("1")).ok();
    let calls = app.relay.mutations();
    assert_eq!(calls, ["ecs:RegisterTaskDefinition", "ecs:CreateService", "ecs:TagResource", "ecs:UpdateService", "ecs:DeleteService"]);
    for n in 1..=calls.len() {
        for moment in [Moment::Before, Moment::After] {
            let place = format!("{n}-{moment:?}");
            app.relay.fail(Faults { kill: Some((n, moment)), ..Faults::default() });
            let dead = app.deploy(&[], &version(&place));
            app.relay.fail(Faults::default());
            assert_eq!(dead.code, 137, "{}", dead.stderr);
            let _ = app.deploy(&[], &version(&place)).ok();
            assert_eq!(app.lines("migrate", &format!("version {place}")), 1, "killed {moment:?} the call {}", calls[n - 1]);
            app.rests(&version(&place));
        }
    }
    app.down();
}

/// Nobody waits for the job. As a service, ECS would start its task again, so it is awaited until its service is deleted, also with `--no-wait`.
#[test]
fn a_job_with_names_leaves_no_service() {
    let services = json!({"once": {"image": "busybox", "command": ["sh", "-c", "sleep 3; echo ended"], "x-svc": {"job": true}}, "web": stays(&json!([]))});
    let app = App::with("lone-named-job", "AWS_ENDPOINT_URL", &services);
    let _ = app.deploy(&["--no-wait"], &services).ok();
    assert_eq!(app.lines("once", "ended"), 1);
    let said = app.aws.wait(app.aws.ecs.list_services().cluster(app.name).send()).unwrap();
    assert!(said.service_arns().iter().all(|arn| !arn.ends_with("/once")), "{said:?}");
    app.rests(&services);
    app.down();
}

/// The tag of an image of another registry is moved: `img-push` writes another digest. Without a digest nothing is known to have changed.
#[test]
fn a_moved_tag_runs_the_job_again() {
    let app = App::new("moved-tag", "AWS_ENDPOINT_URL");
    let services = json!({"once": {"image": "busybox", "command": ["echo", "ran"], "x-svc": {"job": true}}});
    let mut doc: Value = serde_json::from_str(&app.doc(&services)).unwrap();
    for (digest, runs) in [(json!("sha256:1"), 1), (json!("sha256:1"), 1), (Value::Null, 1), (json!("sha256:2"), 2), (Value::Null, 2)] {
        doc["img"] = json!({"once": {"uri": "busybox", "repository_arn": null, "tag": "latest", "digest": digest}});
        let said = run(&app.relay.endpoint, "svc-deploy", &[], &doc.to_string()).ok();
        assert_eq!(app.lines("once", "ran"), runs, "{digest}: {}", said.stderr);
    }
    app.down();
}
