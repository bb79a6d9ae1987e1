//! Two pipes at the same time: for one app, and for two apps in one account.

use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Output, Pipe, Relay};

use crate::full;

fn app(name: &str) -> Value {
    json!({"name": name, "x-cluster": {"launch_type": "ec2"}, "services": {
        "web": {"image": "nginx:1.27", "ports": ["80"]}, "api": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"path": ["/api/*"]}}}})
}

fn up(relay: &Relay, doc: &str) -> Output {
    Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) }.run_while_ok(doc)
}

fn both(first: impl FnOnce() -> Output + Send, second: impl FnOnce() -> Output + Send) -> [Output; 2] {
    std::thread::scope(|scope| {
        let other = scope.spawn(second);
        let one = first();
        [one, other.join().unwrap()]
    })
}

/// The result is one app without duplicates. A pipe that stops says why.
#[test]
fn two_pipes_for_one_app_give_one_app() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let _ = up(&relay, &app("alone").to_string()).ok();
    let wanted: Vec<String> = holdings(&relay.endpoint, "alone").iter().map(|line| line.replace("alone", "twice")).collect();
    let _ = Pipe::down(&relay.endpoint).run(&app("alone").to_string());
    let doc = app("twice").to_string();
    let rounds = if full() { 10 } else { 3 };
    for round in 0..rounds {
        let outcomes = both(|| up(&relay, &doc), || up(&relay, &doc));
        for outcome in &outcomes {
            assert!(matches!(outcome.code, 0 | 75), "round {round}: {} {}", outcome.code, outcome.stderr);
            assert!(outcome.code == 0 || outcome.stderr.contains("run the same command again"), "{}", outcome.stderr);
        }
        assert!(
            outcomes.iter().any(|outcome| outcome.code == 0),
            "round {round}: one of them succeeds\n{}\n{}",
            outcomes[0].stderr,
            outcomes[1].stderr
        );
        let again = up(&relay, &doc).ok();
        assert_eq!(holdings(&relay.endpoint, "twice"), wanted, "round {round}");
        let _ = relay.calls();
        let _ = up(&relay, &doc).ok();
        assert_eq!(relay.mutations(), Vec::<String>::new(), "round {round}");
        let _ = Pipe::down(&relay.endpoint).run_while_ok(&again.stdout).ok();
        assert_eq!(holdings(&relay.endpoint, "twice"), Vec::<String>::new(), "round {round}");
    }
}

/// Even if the name of one app begins with the name of the other.
#[test]
fn two_apps_do_not_change_each_other() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let [one, other] = both(|| up(&relay, &app("pair").to_string()), || up(&relay, &app("pair-b").to_string()));
    let (one, other) = (one.ok(), other.ok());
    let held = holdings(&relay.endpoint, "pair-b");
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&one.stdout).ok();
    assert_eq!(holdings(&relay.endpoint, "pair-b"), held, "the other app is not changed");
    let _ = relay.calls();
    let again = up(&relay, &app("pair-b").to_string()).ok();
    assert_eq!((relay.mutations(), again.doc()), (Vec::new(), other.doc()));
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&other.stdout).ok();
    assert_eq!(holdings(&relay.endpoint, "pair-b"), Vec::<String>::new());
}
