//! Every request with which svc-deploy changes something, for an app that uses everything.

use percent_encoding::percent_decode_str;
use regex::Regex;
use serde_json::{Value, json};
use tests::{Clients, Pipe, Relay, account, run};

/// An app that uses everything that the launch type has: HTTP2, paths and hosts, secrets, EFS, sidecars, roles and patches.
fn everything(app: &str, cluster: &Value) -> Value {
    let web = json!({
        "image": "nginx:1.27", "ports": ["8080:80"], "environment": {"GREETING": "hello"}, "secrets": ["token"], "volumes": ["data:/data:ro"],
        "deploy": {"replicas": 3, "labels": {"cost": "shop"}, "update_config": {"order": "stop-first"}},
        "x-svc": {"path": ["/shop/*"], "host": ["www.example.com"], "health": {"path": "/up"}, "breaker": 5, "connect": false,
                  "task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]},
                  "patch": {"service": {"enableExecuteCommand": true}, "target_group": {"Attributes": {"stickiness.enabled": "true"}}}}});
    let http2 = json!({"image": "grpc/api:1", "ports": ["50051"],
        "x-svc": {"path": "/api/*", "patch": {"target_group": {"ProtocolVersion": "HTTP2"}}}});
    // Services that are deployed at the same time may see each other's endpoints or not. Here only api has one, and worker comes after it.
    let rest = json!({"image": "nginx:1.27", "ports": ["80"], "x-svc": {"connect": false}});
    let worker = json!({"image": "busybox", "command": "sleep 1000", "depends_on": ["log", "api"]});
    let log = json!({"image": "fluent-bit:3", "network_mode": "service:worker"});
    json!({
        "name": app, "x-net": {"nat": "none", "endpoints": ["s3", "ecr", "ecs", "logs"]}, "x-cluster": cluster,
        "x-svc": {"retention": 7, "certificate": format!("arn:aws:iam::000000000000:server-certificate/{app}")}, "x-tags": {"team": "shop"},
        "volumes": {"data": {"x-efs": {"file_system_id": "fs-1", "iam": true}}},
        "secrets": {"token": {"external": true, "name": "shop/token"}},
        "services": {"web": web, "api": http2, "rest": rest, "worker": worker, "log": log}})
}

#[test]
fn requests_on_ec2() {
    snapshot("requests-ec2", &json!({}));
}

#[test]
fn requests_on_fargate() {
    snapshot("requests-fargate", &json!({"launch_type": "fargate"}));
}

fn snapshot(app: &str, cluster: &Value) {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let doc = everything(app, cluster).to_string();
    // Elastic Load Balancing takes only a certificate that exists, and HTTP2 needs one.
    let clients = Clients::at(&relay.endpoint);
    let call = clients.iam.upload_server_certificate().server_certificate_name(app).certificate_body("body").private_key("key");
    let _ = clients.wait(call.send()).unwrap();
    let base = Pipe::up(&relay.endpoint).only(|tool| matches!(tool, "net-up" | "cluster-up")).run(&doc).ok();
    let _ = relay.calls();
    let live = run(&relay.endpoint, "svc-deploy", &["--no-wait"], &base.stdout).ok();
    let up = requests(&relay);
    let _ = run(&relay.endpoint, "svc-deploy", &["--down"], &live.stdout).ok();
    let down = requests(&relay);
    insta::assert_snapshot!(app, format!("{up}\n\n--down\n\n{down}"));
    let _ = Pipe::down(&relay.endpoint).run(&base.stdout).ok();
    let _ = clients.wait(clients.iam.delete_server_certificate().server_certificate_name(app).send()).unwrap();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Returns the changing requests in words, sorted, because those of a wave are sent at the same time.
fn requests(relay: &Relay) -> String {
    let mut all: Vec<String> =
        relay.calls().iter().filter(|call| call.mutates()).map(|call| format!("{}\n{}", call.action, words(&call.body))).collect();
    all.sort();
    // A call whose connection broke is sent again.
    all.dedup();
    all.join("\n\n")
}

/// Returns a body with a line for each field. Ids that are other ones in each run are left out.
fn words(body: &str) -> String {
    let text = match serde_json::from_str::<Value>(body) {
        Ok(mut json) => {
            json.sort_all_objects();
            format!("{json:#}")
        }
        Err(_) => {
            let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
            let fields = body.split('&').filter(|field| !field.starts_with("Action=") && !field.starts_with("Version="));
            fields.map(decode).collect::<Vec<_>>().join("\n")
        }
    };
    let ids =
        Regex::new(r"\b(vpc|subnet|sg|vpce|arn:aws:elasticloadbalancing:[^/ ]+/(?:app/)?[a-z0-9-]+)([-/])[0-9a-f]{8,}(/[0-9a-f]{16})*")
            .unwrap();
    let namespace = Regex::new(r"namespace/ns-[0-9a-z]+").unwrap();
    namespace.replace_all(&ids.replace_all(&text, "$1$2…"), "namespace/ns-…").into_owned()
}
