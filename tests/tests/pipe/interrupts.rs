//! Signals at any time, and a pipe that its reader closes.

use std::io::Write;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::account::holdings;
use tests::tool::{TOOLS, finish, start, start_script};
use tests::{Faults, Output, Pipe, Relay, run, script};

/// Sends a signal to a process, or to the group that it leads, if the id has a hyphen.
fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, "--", process]).status().unwrap().success());
}

/// The tool stops within two seconds at any point, and says what is under way. The same command
/// completes the work.
#[test]
fn a_signal_stops_a_tool_at_a_safe_point() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "interrupted");
    // Slow enough for a signal in each wave, and in the wait after them.
    let slow = Faults { delay: Duration::from_millis(300), pending: Duration::from_mins(10), ..Faults::default() };
    for after in [100, 700, 1300, 1900, 2500, 6000] {
        for (name, code) in [("-INT", 130), ("-TERM", 143)] {
            relay.fail(slow.clone());
            let mut child = start(&relay.endpoint, "net-up", &["--app", app, "--nat", "single", "--wait"]);
            drop(child.stdin.take());
            std::thread::sleep(Duration::from_millis(after));
            let said = stops(child, name, code);
            assert!(said.stderr.contains("interrupted"), "{}", said.stderr);
            assert!(
                !said.stderr.contains('+') || said.stderr.contains("run the same command again"),
                "{name} after {after} ms: {}",
                said.stderr
            );
            relay.fail(Faults::default());
            let again = run(&relay.endpoint, "net-up", &["--app", app, "--nat", "single"], "").ok();
            let plan = run(&relay.endpoint, "net-up", &["--plan", "--nat", "single"], &again.stdout);
            assert_eq!(plan.code, 0, "{name} after {after} ms, nothing is left to do: {}", plan.stderr);
            let _ = run(&relay.endpoint, "net-up", &["--down", "--app", app], "").ok();
            assert_eq!(holdings(&relay.endpoint, app), Vec::<String>::new());
        }
    }
}

/// Each tool gets a signal while a changing call is under way, after the stages before it have
/// succeeded.
#[test]
fn every_tool_reports_the_calls_under_way() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "in-flight");
    let mut doc = json!({"name": app, "x-net": {"nat": "none"}, "services": {"web": {"image": "nginx:1.27", "ports": ["80"]}}});
    for tool in TOOLS {
        let mut wanted = doc.clone();
        if tool == "img-push" {
            wanted["services"]["web"]["build"] = json!({"context": "./worker", "dockerfile_inline": "FROM busybox"});
        }
        relay.fail(Faults { delay: Duration::from_secs(3), ..Faults::default() });
        let mut child = start(&relay.endpoint, tool, &["--no-wait"]);
        child.stdin.take().unwrap().write_all(wanted.to_string().as_bytes()).unwrap();
        relay.wait_for_a_change();
        let said = stops(child, "-INT", 130);
        assert!(said.stderr.contains("under way when the run stopped, with an unknown outcome: "), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains(&format!("run the same command again to go on from here, or `{tool} --down --app {app}`")), "{tool}");
        relay.fail(Faults::default());
        if tool == "img-push" {
            let _ = run(&relay.endpoint, tool, &["--down", "--app", app], "").ok();
        }
        doc = run(&relay.endpoint, tool, &["--no-wait"], &doc.to_string()).ok().doc();
        let plan = run(&relay.endpoint, tool, &["--plan"], &doc.to_string());
        assert_eq!(plan.code, 0, "{tool}, nothing is left to do: {}", plan.stderr);
    }
    // moto runs no tasks, so this wait does not end.
    let mut child = start(&relay.endpoint, "svc-deploy", &[]);
    child.stdin.take().unwrap().write_all(doc.to_string().as_bytes()).unwrap();
    let _ = relay.calls();
    // It reads the services once before it waits.
    let mut reads = 0;
    while reads < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        std::thread::sleep(Duration::from_millis(100));
        reads += relay.calls().iter().filter(|call| call.action == "ecs:DescribeServices").count();
    }
    let said = stops(child, "-TERM", 143);
    assert!(said.stderr.contains("waiting for"), "{}", said.stderr);
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&doc.to_string()).ok();
    assert_eq!(holdings(&relay.endpoint, app), Vec::<String>::new());
}

/// Sends a signal. The tool must stop within two seconds, with this code and without a document.
fn stops(child: Child, name: &str, code: i32) -> Output {
    signal(name, &child.id().to_string());
    let sent = Instant::now();
    let said = finish(child, "");
    assert!(sent.elapsed() < Duration::from_secs(2), "{name} took {:?}: {}", sent.elapsed(), said.stderr);
    assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{name}: {}", said.stderr);
    said
}

/// A terminal sends the signal to all stages at the same time. The moments count from the first call, when all tools are there; the last signal
/// comes before it, while the settings are checked.
#[test]
fn a_signal_stops_all_stages_of_a_pipe() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "stopped-pipe");
    let doc = json!({"name": app, "x-net": {"nat": "none"}, "services": {"web": {"image": "nginx:1.27", "ports": ["80"]}}}).to_string();
    let moments = [(Some(0), "-INT"), (Some(1500), "-INT"), (Some(1500), "-TERM"), (Some(3500), "-INT"), (None, "-INT")];
    for (after, name) in moments {
        relay.fail(Faults { delay: Duration::from_millis(300), ..Faults::default() });
        // Reads of the run before may still be under way.
        std::thread::sleep(Duration::from_millis(500));
        let _ = relay.calls();
        let mut child = start_script(&relay.endpoint, "deploy", &["--no-wait"]);
        drop(child.stdin.take().unwrap().write_all(doc.as_bytes()));
        while after.is_some() && relay.calls().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(after.unwrap_or(200)));
        signal(name, &format!("-{}", child.id()));
        let sent = Instant::now();
        let said = finish(child, "");
        assert!(sent.elapsed() < Duration::from_secs(3), "after {after:?} ms took {:?}", sent.elapsed());
        let code = if name == "-INT" { 130 } else { 143 };
        assert_eq!((said.code, said.stdout.as_str()), (code, ""), "after {after:?} ms: {}", said.stderr);
        // Of the script, and of a tool as soon as one is there.
        let mut lines = said.stderr.lines().filter(|line| line.contains("error[interrupted]: interrupted"));
        assert!(lines.any(|line| after.is_none() || !line.starts_with("deploy:")), "after {after:?} ms: {}", said.stderr);
    }
    relay.fail(Faults::default());
    let live = script(&relay.endpoint, "deploy", &["--no-wait"], &doc).ok().stdout;
    let plan = script(&relay.endpoint, "plan", &[], &live);
    assert_eq!(plan.code, 0, "nothing is left to do: {}", plan.stderr);
    let _ = script(&relay.endpoint, "teardown", &[], &live).ok();
    assert_eq!(holdings(&relay.endpoint, app), Vec::<String>::new());
}

/// A reader that closes the pipe is neither an error nor a panic.
#[test]
fn a_closed_pipe_is_not_a_panic() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "unheard");
    let mut child = start(&relay.endpoint, "net-up", &["--plan"]);
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(format!(r#"{{"name": "{app}"}}"#).as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(!said.contains("panic"), "{said}");
}
