//! Tests that need neither AWS nor Docker: a tool refuses its input, or gets no answer from AWS.

mod bad_documents;
mod check;
mod denied;
mod hostile_documents;
mod wrong_flags;
mod yaml_documents;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::tool::{command, finish, spawn};
use tests::{Output, Relay};

/// An endpoint without a listener.
const UNREACHABLE: &str = "http://127.0.0.1:1";

/// Starts a relay without an AWS behind it.
fn nothing() -> Relay {
    Relay::to(UNREACHABLE, SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Runs a tool with credentials and a region of its own, so that the result does not depend on the
/// environment.
fn run(endpoint: &str, tool: &str, args: &[&str], stdin: &str) -> Output {
    let mut command = command(tool, args);
    command.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    finish(spawn(&mut command, endpoint), stdin)
}

/// Returns a document with all sections, as after a run of the whole pipe.
fn live(services: &Value) -> Value {
    json!({
        "name": "bad",
        "aws": {"account": "000000000000", "region": "us-east-1", "partition": "aws"},
        "net": {"vpc_id": "vpc-1", "cidr": "10.0.0.0/16", "zones": ["us-east-1a", "us-east-1b"], "public_subnet_ids": ["subnet-1", "subnet-2"],
                "private_subnet_ids": ["subnet-3", "subnet-4"], "lb_security_group_id": "sg-1", "task_security_group_id": "sg-2"},
        "cluster": {"arn": "arn:aws:ecs:us-east-1:000000000000:cluster/bad", "name": "bad", "launch_type": "fargate"},
        "services": services,
    })
}

/// Runs a tool, which must exit with this code and this text, and without a document.
fn refused(relay: &Relay, (tool, args): (&str, &[&str]), doc: &str, (code, says): (i32, &str)) {
    let said = run(&relay.endpoint, tool, args, doc);
    assert_eq!(said.code, code, "{tool} {args:?} < {doc}\n{}", said.stderr);
    assert!(said.stderr.contains(says), "{tool} {args:?} < {doc}: {says} is not in\n{}", said.stderr);
    assert_eq!(said.stdout, "", "{tool} {args:?} < {doc}");
}
