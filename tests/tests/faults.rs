//! A bad day at AWS: throttles, faults, cut connections, things that are not known everywhere yet. Every run ends well, or with a clear error and 75,
//! and a further run converges.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Faults, Output, Pipe, Relay, run};

/// How many seeds are tried; fifty with `ECS_PIPE_FULL=1`.
fn seeds() -> u64 {
    if std::env::var_os("ECS_PIPE_FULL").is_some() { 50 } else { 4 }
}

fn app(name: &str, launch_type: &str) -> Value {
    json!({"name": name, "x-cluster": {"launch_type": launch_type}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
        "web": {"image": "nginx:1.27", "ports": ["80"]},
        "worker": {"image": "nginx:1.27", "x-svc": {"task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}}}}})
}

/// moto's tasks never run, so there is nothing to wait for.
fn up(relay: &Relay, doc: &str) -> Output {
    Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) }.run_while_ok(doc)
}

fn down(relay: &Relay, doc: &str) -> Output {
    Pipe::down(&relay.endpoint).run_while_ok(doc)
}

/// What one seed has come to.
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
    assert!(matches!(gone.code, 0 | 75), "seed {seed}, taken down: {} {}", gone.code, gone.stderr);
    relay.fail(Faults::default());
    let gone_well = gone.code == 0;
    let gone = down(&relay, &again.stdout);
    assert_eq!(gone.code, 0, "seed {seed}, taken down again: {}", gone.stderr);
    assert_eq!(holdings(&relay.endpoint, &name), Vec::<String>::new(), "seed {seed}");
    (first.code == 0, gone_well)
}

/// 30 % throttled, 10 % answered with 500 or 503, 5 % cut off, half of them after AWS has acted.
#[test]
fn a_bad_day_ends_well_or_clearly() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let clean = up(&relay, &app("clean", "ec2").to_string()).ok();
    let wanted: Vec<String> = holdings(&relay.endpoint, "clean").iter().map(|line| line.replace("clean", "APP")).collect();
    let _ = down(&relay, &clean.stdout).ok();
    let (next, began) = (AtomicU64::new(0), Instant::now());
    // Most of the time goes by in pauses, so several at a time.
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
    let well = |of: fn(&(bool, bool)) -> bool| results.iter().filter(|result| of(result)).count();
    eprintln!(
        "{} seeds: {} went up and {} came down at the first attempt, all at the second; {:.0} s",
        results.len(),
        well(|result| result.0),
        well(|result| result.1),
        began.elapsed().as_secs_f64()
    );
}

/// No network: every call is tried for a while, and then the tool says what to look at.
#[test]
fn nobody_is_there() {
    let said = run("http://127.0.0.1:1", "alarms-set", &["--down", "--app", "alone"], "");
    assert_eq!((said.code, said.stdout.as_str()), (69, ""), "{}", said.stderr);
    assert!(said.stderr.contains("Check the network, the region and AWS_ENDPOINT_URL"), "{}", said.stderr);
}

/// The same for repositories and images, where images are really pushed.
#[test]
fn a_bad_day_for_images() {
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

/// What AWS takes minutes for is waited for by who is told to wait, and taken for there by who is not.
#[test]
fn what_is_pending_is_waited_for() {
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
        assert_eq!((relay.mutations(), again.doc()), (Vec::new(), said.doc()), "{tool}: what is pending is there");
        text = said.stdout;
    }
    relay.fail(Faults::default());
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&text).ok();
    assert_eq!(holdings(&relay.endpoint, name), Vec::<String>::new());
}

/// What was made a moment ago is not known elsewhere for three seconds, roles can't be used for four, and slow things stay pending for five.
#[test]
fn what_is_not_known_everywhere_yet_is_waited_for() {
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
