//! svc-deploy: changes of a load balancer while it serves requests, an unmanaged load balancer, and
//! a failed deployment.

mod by_hand;
mod health;
mod jobs;
mod listeners;
mod orphans;
mod ports;
mod redeploy;
mod removal;
mod requests;
mod rules;
mod small_app;
mod undone;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::BehaviorVersion;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, FixedResponseActionConfig, ProtocolEnum};
use serde_json::{Value, json};
use tests::app::{fetch, one, serving};
use tests::tool::TOOLS;
use tests::{Pipe, Relay, account, run};

/// Returns a client without the guard of the tools.
async fn elb() -> Client {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).load().await;
    #[expect(clippy::disallowed_methods, reason = "the guard is for the tools")]
    Client::new(&config)
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A target group has one port, so a service with another port gets another target group. The load
/// balancer forwards to it when the new tasks are healthy.
#[test]
fn a_changed_port_loses_no_request() {
    let (relay, app) = (Relay::new(), "moving");
    let mut doc = one(app, "fargate");
    doc["services"]["api"] = serving(8080, "old");
    doc["services"]["api"]["x-svc"] = json!({"path": ["/api/*"], "health": {"path": "/api/"}});
    let first = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok();

    let done = Arc::new(AtomicBool::new(false));
    let requests = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                answers.extend([fetch(app, "/"), fetch(app, "/api/")]);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            answers
        }
    });
    let mut live = first.doc();
    live["services"]["web"] = serving(9090, "new web");
    for (key, value) in serving(9090, "new").as_object().unwrap() {
        live["services"]["api"][key] = value.clone();
    }
    let moved = run(&relay.endpoint, "svc-deploy", &[], &live.to_string()).ok();
    done.store(true, Ordering::Relaxed);
    let answers = requests.join().unwrap();
    let lost: Vec<&String> = answers.iter().filter(|answer| !answer.contains("hello from")).collect();
    assert!(lost.is_empty(), "of {} requests these were lost: {lost:?}", answers.len());
    assert!(fetch(app, "/api/").contains("hello from new\n") && fetch(app, "/").contains("hello from new web\n"));

    let _ = relay.calls();
    let again = run(&relay.endpoint, "svc-deploy", &[], &moved.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "nothing is left to do");
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Returns the ports, protocols and actions of the listeners, as AWS has them.
fn listeners(svc: &Value) -> Vec<String> {
    let balancer = svc["load_balancer_arn"].as_str().unwrap();
    let said = wait(async { elb().await.describe_listeners().load_balancer_arn(balancer).send().await.unwrap() });
    let action = |actions: &[Action]| actions[0].r#type().unwrap().as_str().to_owned();
    let mut all: Vec<String> = said
        .listeners()
        .iter()
        .map(|one| format!("{} {} {}", one.port().unwrap(), one.protocol().unwrap().as_str(), action(one.default_actions())))
        .collect();
    all.sort();
    all
}

/// With a certificate, HTTPS serves and HTTP redirects to it. Without the certificate, HTTP serves
/// again.
#[test]
fn a_certificate_switches_https_on_and_off() {
    let (relay, app) = (Relay::new(), "secured");
    let mut doc = one(app, "fargate");
    doc["services"]["api"] = doc["services"]["web"].clone();
    doc["services"]["api"]["x-svc"] = json!({"path": ["/api/*"]});
    let first = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok();
    assert_eq!(listeners(&first.doc()["svc"]), ["80 HTTP forward"]);

    let certificate = ["--certificate", "arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555"];
    let secured = run(&relay.endpoint, "svc-deploy", &certificate, &first.stdout).ok();
    assert_eq!(listeners(&secured.doc()["svc"]), ["443 HTTPS forward", "80 HTTP redirect"]);
    assert!(secured.doc()["svc"]["url"].as_str().unwrap().starts_with("https://"));
    let _ = relay.calls();
    let again = run(&relay.endpoint, "svc-deploy", &certificate, &secured.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    let plain = run(&relay.endpoint, "svc-deploy", &[], &again.stdout).ok();
    assert_eq!(listeners(&plain.doc()["svc"]), ["80 HTTP forward"]);
    assert!(fetch(app, "/api/").contains("hello from secured"));
    let _ = Pipe::down(&relay.endpoint).run(&plain.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// On an unmanaged load balancer, svc-deploy creates rules and changes nothing else.
#[test]
fn an_unmanaged_load_balancer_gets_rules_and_keeps_its_own() {
    let (relay, app) = (Relay::new(), "guest");
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["x-svc"] = json!({"path": ["/api/*"], "health": {"path": "/api/"}});
    let base = Pipe::up(&relay.endpoint).only(|tool| matches!(tool, "net-up" | "cluster-up")).run(&doc.to_string()).ok().doc();
    let (balancer, rule) = wait(host(&base["net"]));

    let mut adopting = base.clone();
    adopting["x-svc"] = json!({"alb": balancer});
    let up = run(&relay.endpoint, "svc-deploy", &[], &adopting.to_string()).ok();
    assert!(fetch("host", "/api/").contains("hello from guest"));
    assert!(fetch("host", "/elsewhere").contains("the host's own"));
    assert_eq!(
        wait(priorities(&up.doc()["svc"]["listener_arns"][0])),
        ["7", "8", "default"],
        "the rule of ecs-pipe is evaluated after the existing rule"
    );
    let _ = relay.calls();
    let up = run(&relay.endpoint, "svc-deploy", &[], &up.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    let mut greedy = adopting.clone();
    greedy["services"]["web"]["x-svc"] = json!({});
    let refused = run(&relay.endpoint, "svc-deploy", &[], &greedy.to_string());
    assert_eq!(refused.code, 65, "{}", refused.stderr);
    assert!(refused.stderr.contains("services.web.x-svc.path"), "{}", refused.stderr);

    let _ = run(&relay.endpoint, "svc-deploy", &["--down", "--app", app], "").ok();
    let left = wait(async { elb().await.describe_rules().rule_arns(&rule).send().await.unwrap() });
    assert_eq!(left.rules().len(), 1, "the unmanaged rule is kept");
    wait(async { elb().await.delete_load_balancer().load_balancer_arn(&balancer).send().await.unwrap() });
    let _ = Pipe::down(&relay.endpoint).run(&up.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// Creates a load balancer with a rule by hand. Returns both ARNs.
async fn host(net: &Value) -> (String, String) {
    use aws_sdk_elasticloadbalancingv2::types::{PathPatternConditionConfig, RuleCondition};
    let elb = elb().await;
    let subnets = net["public_subnet_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let call = elb.create_load_balancer().name("host").set_subnets(Some(subnets));
    let made = call.security_groups(net["lb_security_group_id"].as_str().unwrap()).send().await.unwrap();
    let balancer = made.load_balancers()[0].load_balancer_arn().unwrap().to_owned();
    let answer = FixedResponseActionConfig::builder().status_code("200").message_body("the host's own").build();
    let action = Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(answer).build();
    let call = elb.create_listener().load_balancer_arn(&balancer).protocol(ProtocolEnum::Http).port(80);
    let listener = call.default_actions(action.clone()).send().await.unwrap().listeners()[0].listener_arn().unwrap().to_owned();
    let path = PathPatternConditionConfig::builder().values("/mine/*").build();
    let condition = RuleCondition::builder().field("path-pattern").path_pattern_config(path).build();
    let call = elb.create_rule().listener_arn(listener).priority(7).conditions(condition).actions(action);
    let rule = call.send().await.unwrap().rules()[0].rule_arn().unwrap().to_owned();
    (balancer, rule)
}

/// Returns the priorities of the rules of a listener.
async fn priorities(listener: &Value) -> Vec<String> {
    let said = elb().await.describe_rules().listener_arn(listener.as_str().unwrap()).send().await.unwrap();
    let mut all: Vec<String> = said.rules().iter().map(|rule| rule.priority().unwrap().to_owned()).collect();
    all.sort();
    all
}

/// A container that exits at once: the deployment fails, and the error has the reason, the exit
/// code and the log.
#[test]
fn a_failed_deployment_is_an_error_with_its_reason() {
    let (relay, app) = (Relay::new(), "failing");
    let doc = json!({"name": app, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "services": {"job": {
        "image": "busybox", "command": ["sh", "-c", "echo no database at db:5432; exit 7"], "x-svc": {"breaker": 1}}}});
    let said = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string());
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert_eq!(said.stdout, "", "nothing on stdout, so that the next stage stops too");
    for part in [
        "error[deployment-failed]: could not complete the deployment of services.job: ",
        "container job ended with exit code 7",
        "log: no database at db:5432",
        "Fix the cause and run the same command again",
    ] {
        assert!(said.stderr.contains(part), "{part} is not in:\n{}", said.stderr);
    }
    // The cause may be fixed outside of the document, so the same document starts a new deployment.
    let _ = relay.calls();
    let again = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string());
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.contains("~ service job (rolloutState: FAILED -> a new deployment)"), "{}", again.stderr);
    assert_eq!(relay.mutations(), ["ecs:UpdateService"]);
    for tool in TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, &["--down", "--app", app], "").ok();
    }
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
