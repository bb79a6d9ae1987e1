//! Two at once: two apps in one account.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Output, Pipe, Relay};

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

/// Two apps do not see each other, even when the name of one begins with the other's.
#[test]
fn two_apps_do_not_see_each_other() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let [one, other] = both(|| up(&relay, &app("pair").to_string()), || up(&relay, &app("pair-b").to_string()));
    let (one, other) = (one.ok(), other.ok());
    let held = holdings(&relay.endpoint, "pair-b");
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&one.stdout).ok();
    assert_eq!(holdings(&relay.endpoint, "pair-b"), held, "the other app is as it was");
    let _ = relay.calls();
    let again = up(&relay, &app("pair-b").to_string()).ok();
    assert_eq!((relay.mutations(), again.doc()), (Vec::new(), other.doc()));
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&other.stdout).ok();
    assert_eq!(holdings(&relay.endpoint, "pair-b"), Vec::<String>::new());
}
