//! Every tool runs from flags, without a document.

use tests::{Clients, Output, Pipe, Relay, account, run};

#[test]
fn flags_replace_the_document() {
    let (relay, app) = (Relay::new(), "flags");
    let step = |tool: &str, args: &[&str], stdin: &Output| run(&relay.endpoint, tool, args, &stdin.stdout).ok();
    let none = Output { code: 0, stdout: String::new(), stderr: String::new() };
    let net = step("net-up", &["--app", app, "--nat", "none", "--cidr", "10.9.0.0/20"], &none);
    assert_eq!(net.doc()["net"]["cidr"], "10.9.0.0/20");
    let cluster = step("cluster-up", &["--launch-type", "fargate"], &net);
    let img = step("img-push", &[], &cluster);
    let settings = ["--host", "a.example.com,b.example.com", "--path", "/x,/y", "--grace", "30", "--breaker", "5", "--env", "A=b"];
    let svc =
        step("svc-deploy", &[&["--service", "web", "--image", "busybox", "--port", "8080", "--no-wait"], &settings[..]].concat(), &img);
    let clients = Clients::at(&relay.endpoint);
    let said = clients.wait(clients.ecs.describe_services().cluster(app).services("web").send()).unwrap();
    assert_eq!(said.services()[0].health_check_grace_period_seconds(), Some(30));
    let scale = step("scale-set", &["--min", "3", "--max", "5"], &svc);
    assert_eq!(scale.doc()["scale"]["services"]["web"]["max"], 5);
    let alarms = step("alarms-set", &["--notify", "ops@example.com", "--latency-p99", "2"], &scale);
    assert!(alarms.doc()["alarms"]["topic_arn"].is_string());
    let _ = Pipe::down(&relay.endpoint).run(&alarms.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
