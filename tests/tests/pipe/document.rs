//! The document of every tool: the account that it is for, and the keys that no tool knows.

use serde_json::{Value, json};
use tests::account::holdings;
use tests::tool::TOOLS;
use tests::{Relay, run, script};

/// The error is found before the first change.
#[test]
fn a_document_of_another_account_is_refused() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let doc = json!({"name": "elsewhere", "aws": {"account": "111111111111", "region": "us-east-1", "partition": "aws"}});
    for tool in TOOLS {
        let said = run(&relay.endpoint, tool, &["--down"], &doc.to_string());
        assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains("aws.account: the document is of account 111111111111"), "{tool}: {}", said.stderr);
    }
    assert_eq!(relay.mutations(), Vec::<String>::new());
}

/// Unknown keys are kept in their order, and numbers with their digits.
#[test]
fn unknown_keys_are_kept() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let kept = r#""z":1.500,"a":[123456789012345678901234567890,1e+5],"name":"passing","x-own":{"b":{"y":null,"x":"ä"}}"#;
    for tool in TOOLS {
        let said = run(&relay.endpoint, tool, &["--down"], &format!("{{{kept}}}")).ok();
        assert!(said.stdout.starts_with(&format!("{{{kept}")), "{tool}: {}", said.stdout);
    }
}

/// A live document has the sections of the run before, which both of the last two tools may change.
#[test]
fn a_live_document_is_deployed_again() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let web = json!({"image": "nginx:1.27", "ports": ["80"], "x-scale": {"min": 2}});
    let doc = json!({"name": "again", "x-cluster": {"launch_type": "fargate"}, "services": {"web": web, "api": {"image": "nginx:1.27"}}});
    let deploy = |doc: &Value| script(&relay.endpoint, "deploy", &["--no-wait"], &doc.to_string()).ok().doc();
    let mut live = deploy(&doc);
    live["services"]["web"]["x-scale"]["min"] = json!(3);
    live["services"]["worker"] = json!({"image": "busybox:1.37"});
    let again = deploy(&live);
    assert_eq!(again["scale"]["services"]["web"]["min"], 3);
    assert!(again["alarms"]["alarm_names"].to_string().contains("again/worker/cpu"), "{}", again["alarms"]);
    let plan = script(&relay.endpoint, "plan", &[], &again.to_string());
    assert_eq!((plan.code, super::masked::changes(&plan)), (0, String::new()), "{}", plan.stderr);
    let _ = script(&relay.endpoint, "teardown", &[], &again.to_string()).ok();
    assert_eq!(holdings(&relay.endpoint, "again"), Vec::<String>::new());
}
