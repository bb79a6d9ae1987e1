//! Services that call each other by name, as in Compose.

use serde_json::{Value, json};
use tests::app::{fetch, serving};
use tests::tool::TOOLS;
use tests::{Pipe, Relay, account, run};

/// Returns a service that responds on this port, which the document does not publish.
fn private(port: u16, who: &str) -> Value {
    let mut service = serving(port, who);
    service.as_object_mut().unwrap().remove("ports");
    service
}

/// Returns an app in which `web` calls the others when it gets a request for `/cgi-bin/<name>-<port>`.
fn app(name: &str, launch_type: &str) -> Value {
    let call = |to: &str, port: u16| {
        format!(
            r#"printf '#!/bin/sh\necho Content-type: text/plain; echo; printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 2 {to} {port}\n' > /w/cgi-bin/{to}-{port}; "#
        )
    };
    let calls = [("api", 8080), ("api", 9999), ("db", 5432), ("queue", 7000)].map(|(to, port)| call(to, port)).concat();
    let script = format!("mkdir -p /w/cgi-bin; echo the web > /w/index.html; {calls} chmod +x /w/cgi-bin/*; exec httpd -f -p 80 -h /w");
    let web = json!({"image": "busybox", "command": ["sh", "-c", script], "ports": ["80"], "depends_on": ["api"],
        "environment": {"API": "http://api:8080"}});
    let mut api = private(8080, "api");
    api["expose"] = json!(["8080"]);
    api["depends_on"] = json!(["db"]);
    // The stand-in for a database listens on a port that the document does not name.
    let mut db = private(5432, "db");
    db["x-svc"] = json!({"expose": 5432});
    json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": launch_type}, "services": {"web": web, "api": api, "db": db}})
}

fn names(name: &str, launch_type: &str) {
    let relay = Relay::new();
    let mut doc = app(name, launch_type);
    let up = |doc: &Value| Pipe::up(&relay.endpoint).run(&doc.to_string()).ok();
    let first = up(&doc);
    assert_eq!(first.doc()["svc"]["services"]["api"]["endpoints"], json!(["api:8080"]));
    assert!(fetch(name, "/").contains("the web"));
    assert!(fetch(name, "/cgi-bin/api-8080").contains("hello from api"), "{}", fetch(name, "/cgi-bin/api-8080"));
    assert!(fetch(name, "/cgi-bin/db-5432").contains("hello from db"));
    assert!(!fetch(name, "/cgi-bin/api-9999").contains("hello"), "only the port of the endpoint");
    let _ = relay.calls();
    let second = up(&doc);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
    assert_eq!(first.doc(), second.doc());

    // A new service: the tasks that run do not see it, so their services are deployed again, once.
    doc["services"]["queue"] = private(7000, "queue");
    doc["services"]["queue"]["expose"] = json!(["7000"]);
    assert!(!fetch(name, "/cgi-bin/queue-7000").contains("hello"));
    let plan = Pipe::plan(&relay.endpoint).run(&doc.to_string());
    assert!(plan.stderr.contains("~ service web (endpoint of queue is new -> a new deployment)"), "{}", plan.stderr);
    let _ = relay.calls();
    let third = up(&doc);
    assert!(third.stderr.contains("~ service web (endpoint of queue is new -> a new deployment)"), "{}", third.stderr);
    let updates = relay.mutations().iter().filter(|action| *action == "ecs:UpdateService").count();
    assert_eq!(updates, 3, "{}", third.stderr);
    assert!(fetch(name, "/cgi-bin/queue-7000").contains("hello from queue"), "{}", third.stderr);
    let _ = relay.calls();
    let fourth = up(&doc);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the deployments are not started again: {}", fourth.stderr);
    for tool in TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, &["--down", "--app", name], "").ok();
    }
    assert_eq!(account::resources(&relay.endpoint, name), Vec::<String>::new());
}

#[test]
fn services_call_each_other_by_name_on_ec2() {
    names("names-ec2", "ec2");
}

#[test]
fn services_call_each_other_by_name_on_fargate() {
    names("names-fargate", "fargate");
}

/// `x-svc.connect: false` leaves a service out. Values that call it are warned of.
#[test]
fn a_service_that_is_left_out_is_neither_called_nor_calls() {
    let (relay, name) = (Relay::new(), "left-out");
    let mut doc = app(name, "fargate");
    let first = Pipe::up(&relay.endpoint).run(&doc.to_string()).ok();
    assert!(fetch(name, "/cgi-bin/api-8080").contains("hello from api"));
    doc["services"]["api"]["x-svc"] = json!({"connect": false});
    let second = Pipe::up(&relay.endpoint).run(&doc.to_string()).ok();
    let warning = "warning[name-unreachable]: services.web.environment.API calls api:8080, but services.api has x-svc.connect: false";
    assert!(second.stderr.contains(warning), "{}", second.stderr);
    assert!(second.stderr.contains("serviceConnectConfiguration.enabled: true -> false"), "{}", second.stderr);
    assert_eq!(second.doc()["svc"]["services"]["api"]["endpoints"], json!([]));
    let _ = relay.calls();
    let _ = Pipe::up(&relay.endpoint).run(&doc.to_string()).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());
    let _ = Pipe::down(&relay.endpoint).run(&first.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, name), Vec::<String>::new());
}
