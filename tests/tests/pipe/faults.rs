//! Faults of AWS: throttled calls, server errors, cut connections, and eventual consistency.
//! Each run ends with exit code 0, or with an error and 75. Another run completes the work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Faults, Output, Pipe, Relay, run};

use crate::full;

/// Returns the number of seeds.
fn seeds() -> u64 {
    if full() { 50 } else { 4 }
}

fn app(name: &str, launch_type: &str) -> Value {
    json!({"name": name, "x-cluster": {"launch_type": launch_type}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
        "web": {"image": "nginx:1.27", "ports": ["80"]},
        "worker": {"image": "nginx:1.27", "x-svc": {"task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}}}}})
}

/// Deploys without a wait, because moto runs no tasks.
fn up(relay: &Relay, doc: &str) -> Output {
    Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) }.run_while_ok(doc)
}

fn down(relay: &Relay, doc: &str) -> Output {
    Pipe::down(&relay.endpoint).run_while_ok(doc)
}

/// Deploys and deletes an app with the faults of a seed. Returns whether each succeeded at the
/// first attempt.
fn one(seed: u64, wanted: &[String]) -> (bool, bool) {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let name = format!("seed-{seed}");
    let doc = app(&name, "ec2").to_string();
    let bad = Faults { seed, throttled: 0.30, broken: 0.10, cut: 0.05, ..Faults::default() };
    relay.fail(bad.clone());
    let first = up(&relay, &doc);
    assert!(matches!(first.code, 0 | 75), "seed {seed}: {} {}", first.code, first.stderr);
    relay.fail(Faults::default());
    let again = up(&relay, &doc);
    assert_eq!(again.code, 0, "seed {seed}, the run after it: {}", again.stderr);
    assert_eq!(holdings(&relay.endpoint, &name), wanted.iter().map(|line| line.replace("APP", &name)).collect::<Vec<_>>(), "seed {seed}");
    relay.fail(Faults { seed: seed + 1000, ..bad });
    let gone = down(&relay, &again.stdout);
    assert!(matches!(gone.code, 0 | 75), "seed {seed}, --down: {} {}", gone.code, gone.stderr);
    relay.fail(Faults::default());
    let deleted = gone.code == 0;
    let gone = down(&relay, &again.stdout);
    assert_eq!(gone.code, 0, "seed {seed}, --down again: {}", gone.stderr);
    assert_eq!(holdings(&relay.endpoint, &name), Vec::<String>::new(), "seed {seed}");
    (first.code == 0, deleted)
}

/// 30 % of the calls are throttled, 10 % fail with 500 or 503, and the connection of 5 % is cut,
/// half of them after AWS has acted.
#[test]
fn random_faults_end_with_success_or_an_error() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let clean = up(&relay, &app("clean", "ec2").to_string()).ok();
    let wanted: Vec<String> = holdings(&relay.endpoint, "clean").iter().map(|line| line.replace("clean", "APP")).collect();
    let _ = down(&relay, &clean.stdout).ok();
    let (next, began) = (AtomicU64::new(0), Instant::now());
    // A run spends most of its time in pauses, so several run at the same time.
    let results: Vec<(bool, bool)> = std::thread::scope(|scope| {
        let work = || {
            let mut results = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds() {
                    return results;
                }
                results.push(one(seed, &wanted));
            }
        };
        let workers: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let count = |of: fn(&(bool, bool)) -> bool| results.iter().filter(|result| of(result)).count();
    eprintln!(
        "{} seeds: {} deployed and {} deleted at the first attempt, all at the second; {:.0} s",
        results.len(),
        count(|result| result.0),
        count(|result| result.1),
        began.elapsed().as_secs_f64()
    );
}

/// The same for repositories and images, in ministack, to which Docker can push.
#[test]
fn random_faults_of_img_push_end_with_success_or_an_error() {
    let (relay, name) = (Relay::new(), "bad-images");
    let built = |what: &str| json!({"build": {"context": "./worker", "dockerfile_inline": format!("FROM busybox\nENV WHAT={what}")}});
    let doc = json!({"name": name, "services": {"web": built("web"), "api": built("api")}}).to_string();
    let push = |args: &[&str]| run(&relay.endpoint, "img-push", args, &doc);
    let clean = push(&[]).ok().doc();
    for seed in 0..seeds() {
        for args in [&["--down"][..], &[]] {
            relay.fail(Faults { seed, throttled: 0.30, broken: 0.10, cut: 0.05, ..Faults::default() });
            let said = push(args);
            assert!(matches!(said.code, 0 | 75), "seed {seed} {args:?}: {} {}", said.code, said.stderr);
            relay.fail(Faults::default());
            let again = push(args).ok().doc();
            assert!(
                args.is_empty() == again.get("img").is_some() && (!args.is_empty() || again["img"] == clean["img"]),
                "seed {seed}: {again}"
            );
        }
    }
    let _ = push(&["--down"]).ok();
    assert_eq!(holdings(&relay.endpoint, name), Vec::<String>::new());
}

/// With --wait, a tool waits for a resource for which AWS needs minutes. With --no-wait, a pending
/// resource counts as created.
#[test]
fn a_pending_resource_is_waited_for_with_wait() {
    let (relay, name) = (Relay::new(), "pending");
    let mut doc = tests::app::one(name, "ec2");
    doc["services"]["web"]["x-svc"] = json!({"breaker": 1});
    let mut text = doc.to_string();
    relay.fail(Faults { pending: Duration::from_secs(6), ..Faults::default() });
    for (tool, waits) in [("net-up", true), ("cluster-up", false), ("svc-deploy", true)] {
        let began = Instant::now();
        let said = run(&relay.endpoint, tool, if waits { &["--wait"] } else { &[] }, &text).ok();
        assert_eq!(began.elapsed() > Duration::from_secs(6), waits, "{tool} took {:?}", began.elapsed());
        let _ = relay.calls();
        let again = run(&relay.endpoint, tool, &["--no-wait"], &text).ok();
        assert_eq!((relay.mutations(), again.doc()), (Vec::new(), said.doc()), "{tool}: a pending resource is not created again");
        text = said.stdout;
    }
    relay.fail(Faults::default());
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&text).ok();
    assert_eq!(holdings(&relay.endpoint, name), Vec::<String>::new());
}

/// New resources are not visible for three seconds, new roles can't be used for four, and slow
/// resources are pending for five.
#[test]
fn a_resource_that_is_not_visible_yet_is_waited_for() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    for launch_type in ["ec2", "fargate"] {
        let name = format!("lag-{launch_type}");
        let mut doc = app(&name, launch_type);
        doc["x-net"] = json!({"endpoints": ["s3"], "flow_logs": 7});
        let doc = doc.to_string();
        let clean = up(&relay, &doc).ok();
        let wanted = holdings(&relay.endpoint, &name);
        let _ = down(&relay, &clean.stdout).ok();
        let seconds = Duration::from_secs;
        relay.fail(Faults { hidden: seconds(3), unusable: seconds(4), pending: seconds(5), ..Faults::default() });
        let slow = up(&relay, &doc).ok();
        relay.fail(Faults::default());
        assert_eq!(holdings(&relay.endpoint, &name), wanted, "{launch_type}");
        let _ = relay.calls();
        let again = up(&relay, &doc).ok();
        assert_eq!((relay.mutations(), again.doc()), (Vec::new(), slow.doc()), "{launch_type}");
        let _ = down(&relay, &again.stdout).ok();
        assert_eq!(holdings(&relay.endpoint, &name), Vec::<String>::new());
    }
}
