//! The house as docs/ draws it: who may know whom.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use tests::tool::{TOOLS, root, run};

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let said = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
    let names = |list: &Value| list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), names(&one["dependencies"])))
        .collect()
}

#[test]
fn the_tools_know_shared_and_not_each_other() {
    for (package, needs) in dependencies() {
        if package == "tests" {
            continue;
        }
        let others: Vec<_> = needs.iter().filter(|name| TOOLS.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{package} knows {others:?}");
        if package == "shared" {
            // STS says who is calling, and aws-config brings it along (docs/decisions/0002-shared-asks-sts.md).
            let services: Vec<_> = needs.iter().filter(|name| name.starts_with("aws-sdk-") && *name != "aws-sdk-sts").collect();
            assert!(services.is_empty(), "shared knows {services:?}");
        }
        if needs.iter().any(|name| name == "aws-sdk-ec2") {
            assert!(matches!(package.as_str(), "net-up" | "cluster-up"), "{package} links the huge aws-sdk-ec2");
        }
    }
}

/// `--help`, `--policy`, `--schema` and `--completions` come without a document and without AWS.
#[test]
fn every_tool_explains_itself() {
    for tool in TOOLS {
        let nowhere = "http://127.0.0.1:1";
        let help = run(nowhere, tool, &["--help"], "").ok().stdout;
        for part in ["Example:", "--plan", "--down", "--app", "--timeout", "section"] {
            assert!(help.contains(part), "{tool} --help does not say {part}");
        }
        let policy: Value = run(nowhere, tool, &["--policy", "--app", "shop"], "").ok().doc();
        assert_eq!(policy["Version"], "2012-10-17");
        assert!(!policy.to_string().contains("{app}"));
        let schema = run(nowhere, tool, &["--schema"], "").ok().doc();
        assert!(["name", "aws", "x-tags"].iter().all(|key| schema["properties"][key].is_object()), "{tool}: {schema}");
        assert!(run(nowhere, tool, &["--completions", "bash"], "").ok().stdout.contains(tool));
        assert!(run(nowhere, tool, &["--man"], "").ok().stdout.starts_with(".ie"));
    }
}
