//! Several public services without paths: a listener each, on the port that Compose publishes.

use serde_json::{Value, json};
use tests::app::{fetch_at, one, serving};
use tests::{Clients, Output, Pipe, Relay, account, run};

use super::listeners;

/// Deploys from the document on, without scaling and alarms.
fn up(relay: &Relay, doc: &Value) -> Output {
    Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok()
}

/// Returns the ports that the internet reaches, as the load balancer's security group has them.
fn open(relay: &Relay, doc: &Value) -> Vec<i32> {
    let (clients, group) = (Clients::at(&relay.endpoint), doc["net"]["lb_security_group_id"].as_str().unwrap());
    let said = clients.wait(clients.ec2.describe_security_groups().group_ids(group).send()).unwrap();
    let mut ports: Vec<i32> =
        said.security_groups()[0].ip_permissions().iter().filter_map(aws_sdk_ec2::types::IpPermission::from_port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn several_services_answer_on_the_ports_that_compose_publishes() {
    let (relay, app) = (Relay::new(), "several");
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["ports"] = json!(["8080:8080"]);
    doc["services"]["api"] = serving(8000, "api");
    doc["services"]["api"]["ports"] = json!(["9000:8000"]);
    doc["services"]["inside"] = serving(8000, "inside");
    doc["services"]["inside"]["ports"] = json!(["127.0.0.1:9100:8000"]);
    let first = up(&relay, &doc);
    let warning = "warning[several-addresses]: these services are open to the internet: services.web, services.api on port 9000. ";
    assert!(first.stderr.contains(warning), "{}", first.stderr);
    let live = first.doc();
    assert_eq!(listeners(&live["svc"]), ["80 HTTP forward", "9000 HTTP forward"]);
    assert_eq!(open(&relay, &live), [80, 443, 9000]);
    assert!(fetch_at(app, 80, "/").contains("hello from several"));
    assert!(fetch_at(app, 9000, "/").contains("hello from api"));
    let url = |doc: &Value, service: &str| doc["svc"]["services"][service]["url"].as_str().map(str::to_owned);
    assert_eq!(url(&live, "web").as_deref(), live["svc"]["url"].as_str());
    assert!(url(&live, "api").unwrap().ends_with(":9000") && url(&live, "inside").is_none(), "{}", live["svc"]);
    assert!(first.stderr.contains(&format!(", api at {}", url(&live, "api").unwrap())), "{}", first.stderr);

    let _ = relay.calls();
    let again = up(&relay, &live);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    drifted(&relay, &again);
    moved(&relay, app, again.doc());
    let _ = Pipe::down(&relay.endpoint).run(&first.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A listener that was deleted by hand is created again, also beside another one.
fn drifted(relay: &Relay, live: &Output) {
    let (clients, arns) = (Clients::at(&relay.endpoint), live.doc()["svc"]["listener_arns"].clone());
    assert_eq!(arns.as_array().map(Vec::len), Some(2), "{arns}");
    clients.wait(clients.elb.delete_listener().listener_arn(arns[1].as_str().unwrap()).send()).unwrap();
    let plan = run(&relay.endpoint, "svc-deploy", &["--plan"], &live.stdout);
    assert_eq!((plan.code, plan.acts('+')), (3, vec!["listener several:9000".to_owned()]), "{}", plan.stderr);
    let back = run(&relay.endpoint, "svc-deploy", &[], &live.stdout).ok();
    assert_eq!(listeners(&back.doc()["svc"]), ["80 HTTP forward", "9000 HTTP forward"]);
}

/// Another published port is another listener, and a service that is no longer public has none.
fn moved(relay: &Relay, app: &str, mut doc: Value) {
    doc["services"]["api"]["ports"] = json!(["9001:8000"]);
    let moved = up(relay, &doc).doc();
    assert_eq!(
        (listeners(&moved["svc"]), open(relay, &moved)),
        (vec!["80 HTTP forward".into(), "9001 HTTP forward".into()], vec![80, 443, 9001])
    );
    assert!(fetch_at(app, 9001, "/").contains("hello from api"));

    let publish = ["--publish", "web"];
    let net = run(&relay.endpoint, "net-up", &publish, &moved.to_string()).ok();
    let alone = run(&relay.endpoint, "svc-deploy", &publish, &net.stdout).ok();
    assert_eq!((listeners(&alone.doc()["svc"]), open(relay, &moved)), (vec!["80 HTTP forward".to_owned()], vec![80, 443]));
    assert_eq!(alone.doc()["svc"]["services"]["api"]["published"], false);
    assert!(!alone.stderr.contains("several-addresses"), "{}", alone.stderr);
    let _ = relay.calls();
    let again = run(&relay.endpoint, "svc-deploy", &publish, &alone.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
}
