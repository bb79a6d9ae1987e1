//! How many calls follow one another: each one costs the time of a round trip.

use std::time::Duration;

use serde_json::{Value, json};
use tests::tool::TOOLS;
use tests::{Clients, Faults, Pipe, Relay, account, longest_chain, run};

/// Three applications. Services that see each other's names are deployed again when the names exist, which takes two calls more.
fn app(name: &str, launch_type: &str, names: bool) -> Value {
    json!({"name": name, "x-cluster": {"launch_type": launch_type}, "services": {
        "web": {"build": "./web", "ports": ["8080"], "x-svc": {"connect": names}},
        "api": {"build": "./api", "ports": ["8080"], "x-svc": {"connect": names, "path": ["/api/*"]}, "x-scale": {"min": 2, "max": 10, "cpu": 70}},
        "worker": {"build": "./worker", "environment": {"EVERY": "2"}, "x-svc": {"connect": names}}}})
}

/// Deploys the app, without the wait for the tasks: the number of its reads depends on how long these take to start. Returns the document and the
/// longest chain of each tool.
fn chains(relay: &Relay, doc: &str) -> (String, [usize; 6]) {
    let mut doc = doc.to_owned();
    let lengths = TOOLS.map(|tool| {
        let _ = relay.calls();
        doc = run(&relay.endpoint, tool, &["--no-wait"], &doc).ok().stdout;
        longest_chain(&relay.calls()).len()
    });
    (doc, lengths)
}

/// Returns how many calls of `scripts/deploy` follow one another. It runs the last two tools at the same time.
fn whole([net, cluster, img, svc, scale, alarms]: [usize; 6]) -> usize {
    net + cluster + img + svc + scale.max(alarms)
}

fn check(name: &str, launch_type: &str, names: bool, expected: [[usize; 6]; 2]) {
    let relay = Relay::new();
    Clients::at(&relay.endpoint).create_service_linked_role();
    // So long that the calls of a wave overlap, also on a busy machine.
    relay.fail(Faults { delay: Duration::from_millis(700), ..Faults::default() });
    let (live, first) = chains(&relay, &app(name, launch_type, names).to_string());
    // Until the instances are registered, cluster-up reads whether they are lost.
    let _ = run(&relay.endpoint, "cluster-up", &["--wait"], &live).ok();
    let (_, second) = chains(&relay, &live);
    relay.fail(Faults::default());
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&live).ok();
    assert_eq!(account::resources(&relay.endpoint, name), Vec::<String>::new());
    assert_eq!([first, second], expected, "of {TOOLS:?}");
    assert!(names || whole(first) <= 24 && whole(second) <= 10, "{} and {}", whole(first), whole(second));
}

#[test]
fn few_calls_follow_one_another_on_ec2() {
    check("chain-ec2", "ec2", false, [[6, 7, 3, 5, 3, 3], [2, 2, 1, 3, 2, 1]]);
}

#[test]
fn few_calls_follow_one_another_with_names() {
    check("chain-names", "ec2", true, [[6, 7, 3, 7, 3, 3], [2, 2, 1, 3, 2, 1]]);
}

#[test]
fn few_calls_follow_one_another_on_fargate() {
    check("chain-fargate", "fargate", false, [[6, 4, 3, 5, 3, 3], [2, 2, 1, 3, 2, 1]]);
}
