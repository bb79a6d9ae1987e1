//! A new deployment of an unchanged document.

use serde_json::json;
use tests::app::one;
use tests::{Pipe, Relay, account, run};

/// The flag starts one, and without it the next run changes nothing. The digest of a registry that does not answer is not known, which is said.
#[test]
fn redeploy_starts_a_new_deployment_of_an_unchanged_service() {
    let (relay, app) = (Relay::new(), "again");
    let mut doc = one(app, "fargate");
    doc["services"]["web"]["deploy"] = json!({"replicas": 1});
    let live = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run(&doc.to_string()).ok().stdout;
    let plan = run(&relay.endpoint, "svc-deploy", &["--plan", "--redeploy"], &live);
    assert!(plan.stderr.contains("~ service web (a new deployment (--redeploy))"), "{}", plan.stderr);
    let _ = relay.calls();
    let deployed = run(&relay.endpoint, "svc-deploy", &["--redeploy"], &live).ok();
    let forced = |call: &tests::Call| call.action == "ecs:UpdateService" && call.body.contains("\"forceNewDeployment\":true");
    let calls = relay.calls();
    assert_eq!(calls.iter().filter(|call| forced(call)).count(), 1, "{}", deployed.stderr);
    let again = run(&relay.endpoint, "svc-deploy", &[], &deployed.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "{}", again.stderr);
    let _ = Pipe::down(&relay.endpoint).run(&again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
