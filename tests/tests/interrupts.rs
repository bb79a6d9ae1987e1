//! Told to stop, and nobody listening: Ctrl-C at any time, and a pipe that is closed downstream.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::account::holdings;
use tests::tool::{finish, start};
use tests::{Faults, Relay, run};

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Wherever the run is: it stops within two seconds, says what is under way, and the same command goes on from there.
#[test]
fn ctrl_c_stops_at_a_safe_point() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "interrupted");
    // Slow enough to be interrupted in the middle of each wave, and then of the wait.
    let slow = Faults { delay: Duration::from_millis(300), pending: Duration::from_mins(10), ..Faults::default() };
    for after in [100, 700, 1300, 1900, 2500, 6000] {
        for (name, code) in [("-INT", 130), ("-TERM", 143)] {
            relay.fail(slow.clone());
            let mut child = start(&relay.endpoint, "net-up", &["--app", app, "--nat", "single", "--wait"]);
            drop(child.stdin.take());
            std::thread::sleep(Duration::from_millis(after));
            signal(name, child.id());
            let told = Instant::now();
            let said = finish(child, "");
            assert!(told.elapsed() < Duration::from_secs(2), "{name} after {after} ms took {:?}", told.elapsed());
            assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{name} after {after} ms: {}", said.stderr);
            // Before it has read its document there is nothing to say.
            assert!(said.stderr.is_empty() || said.stderr.contains("interrupted"), "{}", said.stderr);
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

/// A reader that has gone away is no error of ours, and no panic.
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
