//! Rules and listeners that change while the load balancer serves requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tests::app::{fetch_as, fetch_at, one, serving};
use tests::{Output, Pipe, Relay, account, run};

const CERTIFICATE: &str = "arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555";

/// Deploys from the document on, without scaling and alarms.
fn up(relay: &Relay, doc: &Value) -> Output {
    Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok()
}

/// Requests the paths again and again, as a browser that follows a redirection to HTTPS.
struct Loop {
    done: Arc<AtomicBool>,
    answers: JoinHandle<Vec<String>>,
}

impl Loop {
    fn start(app: &'static str, paths: &'static [&'static str]) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let answers = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let mut answers = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    for path in paths {
                        let plain = fetch_at(app, 80, path);
                        let is_redirected = plain.starts_with("HTTP/1.1 301") || plain.starts_with("HTTP/1.0 301");
                        answers.push(format!("{path} {}", if is_redirected { fetch_at(app, 443, path) } else { plain }));
                    }
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                answers
            }
        });
        Self { done, answers }
    }

    /// Returns the answers that do not come from the service of their path.
    fn lost(self) -> Vec<String> {
        self.done.store(true, Ordering::Relaxed);
        let is_right = |answer: &String| answer.contains(if answer.starts_with("/api") { "hello from api" } else { "hello from web" });
        let answers = self.answers.join().unwrap();
        assert!(answers.len() > 50, "only {} requests", answers.len());
        answers.into_iter().filter(|answer| !is_right(answer)).collect()
    }
}

/// A change of path, host, certificate, health check and port: each request is answered by the
/// service that it is for.
#[test]
fn changes_of_rules_and_listeners_lose_no_request() {
    let (relay, app) = (Relay::new(), "steady");
    let mut doc = one(app, "fargate");
    doc["services"]["web"] = serving(8080, "web");
    doc["services"]["api"] = serving(8080, "api");
    doc["services"]["api"]["x-svc"] = json!({"path": ["/api/*"]});
    let mut live = up(&relay, &doc).doc();
    let requests = Loop::start(app, &["/", "/api/"]);
    let _ = relay.calls();

    live["services"]["api"]["x-svc"] = json!({"path": ["/api/*", "/v2/*"], "host": ["*.alb.localhost", "a.example.com"]});
    live = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok().doc();
    assert_eq!(relay.mutations(), ["elasticloadbalancing:ModifyRule"], "the rule is changed in place");

    // Another health check is another target group, so that the old tasks stay healthy.
    live["x-svc"] = json!({"certificate": CERTIFICATE});
    live["services"]["api"]["x-svc"]["health"] = json!({"path": "/api/"});
    live = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok().doc();

    live["x-svc"] = json!({});
    live["services"]["web"] = serving(9090, "web");
    live = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok().doc();
    assert_eq!(requests.lost(), Vec::<String>::new());

    let _ = relay.calls();
    let again = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "nothing is left to do");
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// The more exact host comes first, whatever the services are called, and more hosts than a rule
/// takes are split over several rules.
#[test]
fn an_exact_host_comes_before_a_pattern_of_another_service() {
    let (relay, app) = (Relay::new(), "hosts");
    let mut doc = one(app, "fargate");
    let with_host = |who: &str, hosts: &[&str]| {
        let mut service = serving(8080, who);
        service["x-svc"] = json!({"host": hosts});
        service
    };
    doc["services"] = json!({
        "a": with_host("a", &["*.bug.example", "one.example", "two.example", "three.example", "four.example", "five.example"]),
        "web": with_host("web", &["www.bug.example"]),
    });
    let first = up(&relay, &doc);
    assert!(fetch_as(app, "www.bug.example", "/").contains("hello from web"));
    assert!(fetch_as(app, "other.bug.example", "/").contains("hello from a"));
    assert!(fetch_as(app, "five.example", "/").contains("hello from a"));

    // A more exact rule comes between the others, and one leaves.
    let mut live = first.doc();
    live["services"]["a"]["x-svc"] = json!({"host": ["*.bug.example"]});
    live["services"]["web"]["x-svc"] = json!({"host": ["www.bug.example", "x*.bug.example"]});
    live = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok().doc();
    assert!(fetch_as(app, "x1.bug.example", "/").contains("hello from web"));
    assert!(fetch_as(app, "other.bug.example", "/").contains("hello from a"));
    let _ = relay.calls();
    let again = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
