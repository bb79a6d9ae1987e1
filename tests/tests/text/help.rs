//! What a tool says about itself: `--help`, `--policy`, `--schema`, `--completions` and `--man`.

use serde_json::Value;
use tests::tool::{TOOLS, command, finish, run, spawn};

const UNREACHABLE: &str = "http://127.0.0.1:1";

/// Compares the help of a tool with its snapshot. The variables of the environment are removed,
/// because clap shows their values.
fn snapshot(tool: &str) {
    let mut help = command(tool, &["--help"]);
    let said = finish(spawn(help.env_clear().env("COLUMNS", "100"), UNREACHABLE), "").ok();
    insta::assert_snapshot!(tool, said.stdout);
}

#[test]
fn help_of_net_up() {
    snapshot("net-up");
}

#[test]
fn help_of_cluster_up() {
    snapshot("cluster-up");
}

#[test]
fn help_of_img_push() {
    snapshot("img-push");
}

#[test]
fn help_of_svc_deploy() {
    snapshot("svc-deploy");
}

#[test]
fn help_of_scale_set() {
    snapshot("scale-set");
}

#[test]
fn help_of_alarms_set() {
    snapshot("alarms-set");
}

/// Without a document and without AWS.
#[test]
fn every_tool_describes_itself() {
    for tool in TOOLS {
        let help = run(UNREACHABLE, tool, &["--help"], "").ok().stdout;
        for part in ["Example:", "--plan", "--down", "--app", "--timeout", "section"] {
            assert!(help.contains(part), "{tool} --help does not say {part}");
        }
        let policy: Value = run(UNREACHABLE, tool, &["--policy", "--app", "shop"], "").ok().doc();
        assert_eq!(policy["Version"], "2012-10-17");
        assert!(!policy.to_string().contains("{app}"));
        let schema = run(UNREACHABLE, tool, &["--schema"], "").ok().doc();
        assert!(["name", "aws", "x-tags"].iter().all(|key| schema["properties"][key].is_object()), "{tool}: {schema}");
        assert!(run(UNREACHABLE, tool, &["--completions", "bash"], "").ok().stdout.contains(tool));
        assert!(run(UNREACHABLE, tool, &["--man"], "").ok().stdout.starts_with(".ie"));
    }
}
