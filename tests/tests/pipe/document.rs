//! The document of every tool: the account that it is for, and the keys that no tool knows.

use serde_json::json;
use tests::tool::TOOLS;
use tests::{Relay, run};

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
