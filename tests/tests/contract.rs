//! What is the same for all tools: who may do nothing, whose document is of another account, and what passes through.

use serde_json::json;
use tests::{Faults, Relay, run};

#[test]
fn nothing_is_allowed() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    relay.fail(Faults { denied: true, ..Faults::default() });
    for tool in tests::tool::TOOLS {
        let said = run(&relay.endpoint, tool, &["--down", "--app", "denied"], "");
        assert_eq!((said.code, said.stdout.as_str()), (77, ""), "{tool}: {}", said.stderr);
        let names_an_action =
            said.stderr.contains("sts:GetCallerIdentity") || said.stderr.contains(":Describe") || said.stderr.contains(":List");
        assert!(names_an_action || said.stderr.contains(":Get"), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains("--policy prints everything this tool needs"), "{tool}: {}", said.stderr);
    }
}

/// Found out while looking, before anything is changed.
#[test]
fn the_document_is_of_another_account() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let doc = json!({"name": "elsewhere", "aws": {"account": "111111111111", "region": "us-east-1", "partition": "aws"}});
    for tool in tests::tool::TOOLS {
        let said = run(&relay.endpoint, tool, &["--down"], &doc.to_string());
        assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains("aws.account: the document is of account 111111111111"), "{tool}: {}", said.stderr);
    }
    assert_eq!(relay.mutations(), Vec::<String>::new());
}

/// What a tool does not know passes through as it was written: numbers with their digits, keys in their order.
#[test]
fn what_is_not_known_passes_through() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let kept = r#""z":1.500,"a":[123456789012345678901234567890,1e+5],"name":"passing","x-own":{"b":{"y":null,"x":"ä"}}"#;
    for tool in tests::tool::TOOLS {
        let said = run(&relay.endpoint, tool, &["--down"], &format!("{{{kept}}}")).ok();
        assert!(said.stdout.starts_with(&format!("{{{kept}")), "{tool}: {}", said.stdout);
    }
}
