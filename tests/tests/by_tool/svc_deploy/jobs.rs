//! Jobs: they run once for each content, before what waits for them, and by a schedule.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_ecs::types::{DesiredStatus, Task};
use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, ScheduleState};
use serde_json::{Value, json};
use tests::tool::{TOOLS, finish, start};
use tests::{Call, Clients, Faults, Moment, Output, Pipe, Relay, account, run};

/// An app on the local AWS, with the network and the cluster that it needs.
struct App {
    relay: Relay,
    aws: Clients,
    name: &'static str,
    base: Value,
    /// When the test began: ECS still returns the tasks of an earlier app of the same name.
    since: SystemTime,
}

impl App {
    fn new(name: &'static str, env: &str) -> Self {
        Self::with(name, env, &json!({}))
    }

    /// An app of several services has a namespace, in which they call each other by name.
    fn with(name: &'static str, env: &str, services: &Value) -> Self {
        let relay = Relay::before(env);
        let doc = json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "x-svc": {"files_image": "busybox"},
            "services": services});
        let base = Pipe::up(&relay.endpoint).only(|tool| matches!(tool, "net-up" | "cluster-up")).run(&doc.to_string()).ok().doc();
        let _ = relay.calls();
        Self { aws: Clients::at(&relay.endpoint), relay, name, base, since: SystemTime::now() }
    }

    fn doc(&self, services: &Value) -> String {
        let mut doc = self.base.clone();
        doc["services"] = services.clone();
        doc.to_string()
    }

    fn deploy(&self, args: &[&str], services: &Value) -> Output {
        run(&self.relay.endpoint, "svc-deploy", args, &self.doc(services))
    }

    /// Returns the tasks of a service or job, running and stopped.
    fn tasks(&self, service: &str) -> Vec<Task> {
        let of = async |status: DesiredStatus| {
            let call = self.aws.ecs.list_tasks().cluster(self.name).family(format!("{}-{service}", self.name)).desired_status(status);
            let arns = call.send().await.unwrap().task_arns().to_vec();
            if arns.is_empty() {
                return Vec::new();
            }
            self.aws.ecs.describe_tasks().cluster(self.name).set_tasks(Some(arns)).send().await.unwrap().tasks().to_vec()
        };
        let mut tasks = self.aws.wait(async { [of(DesiredStatus::Running).await, of(DesiredStatus::Stopped).await].concat() });
        let since = self.since.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        tasks.retain(|task| task.created_at().unwrap().as_secs_f64() >= since.floor());
        tasks
    }

    /// Returns how many lines of a log are this line.
    fn lines(&self, service: &str, line: &str) -> usize {
        let call = self.aws.logs.filter_log_events().log_group_name(format!("/ecs-pipe/{}/{service}", self.name));
        let said = self.aws.wait(call.send()).unwrap();
        said.events().iter().filter(|event| event.message().is_some_and(|message| message.trim_end() == line)).count()
    }

    /// Returns the revision that a service runs.
    fn revision(&self, service: &str) -> String {
        let said = self.aws.wait(self.aws.ecs.describe_services().cluster(self.name).services(service).send()).unwrap();
        said.services()[0].task_definition().unwrap().to_owned()
    }

    /// Expects that a further run has nothing to do.
    fn rests(&self, services: &Value) {
        let _ = self.relay.calls();
        let _ = self.deploy(&[], services).ok();
        assert_eq!(self.relay.mutations(), Vec::<String>::new(), "nothing is left to do");
        let plan = self.deploy(&["--plan"], services);
        assert_eq!((plan.code, plan.acts('+'), plan.acts('~')), (0, Vec::new(), Vec::new()), "{}", plan.stderr);
    }

    /// Deletes everything, from the name of the app alone.
    fn down(self) {
        for tool in TOOLS.iter().rev() {
            let _ = run(&self.relay.endpoint, tool, &["--down", "--app", self.name], "").ok();
        }
        assert_eq!(account::resources(&self.relay.endpoint, self.name), Vec::<String>::new());
    }
}

/// A service that stays.
fn stays(after: &Value) -> Value {
    json!({"image": "busybox", "command": ["sh", "-c", "exec sleep 1000"], "depends_on": after})
}

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
    let (job, wait) = (position(&calls, "ecs:RunTask", "migrate"), position(&calls, "ecs:DescribeTasks", ""));
    assert!(position(&calls, "ecs:CreateService", "\"db\"") < job && position(&calls, "ecs:CreateService", "\"other\"") < job);
    for waiting in ["\"app\"", "\"worker\""] {
        assert!(job < wait && wait < position(&calls, "ecs:CreateService", waiting), "{waiting} waits for the job");
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

/// A registry that does not answer takes no port from a service: others call it.
#[test]
fn unknown_ports_are_kept() {
    let services = json!({"queue": stays(&json!([])), "web": stays(&json!([]))});
    let app = App::with("kept-ports", "AWS_ENDPOINT_URL", &services);
    let deploy = |img: &Value| {
        let mut doc: Value = serde_json::from_str(&app.doc(&services)).unwrap();
        doc["img"] = img.clone();
        run(&app.relay.endpoint, "svc-deploy", &[], &doc.to_string()).ok()
    };
    let image = |ports: Value, architecture: Value| json!({"uri": "busybox", "repository_arn": null, "tag": "latest", "exposed_ports": ports, "architecture": architecture});
    let known = image(json!([]), json!("amd64"));
    let first = deploy(&json!({"queue": image(json!(["7000/tcp"]), json!("amd64")), "web": known}));
    assert_eq!(first.doc()["svc"]["services"]["queue"]["endpoints"], json!(["queue:7000"]), "{}", first.stderr);
    let _ = app.relay.calls();
    let second = deploy(&json!({"queue": image(json!([]), Value::Null), "web": known}));
    assert_eq!((app.relay.mutations(), &second.doc()["svc"]), (Vec::new(), &first.doc()["svc"]), "{}", second.stderr);
    assert!(
        second.stderr.contains("warning[image-ports-kept]: services.queue keeps the ports of its running revision (7000)"),
        "{}",
        second.stderr
    );
    let third = deploy(&json!({"queue": known, "web": known}));
    assert_eq!(third.doc()["svc"]["services"]["queue"]["endpoints"], json!([]), "an image without ports has none");
    app.down();
}
