//! No credential, token or secret value comes out of a tool, however much it is asked to say.

use serde_json::{Value, json};
use tests::tool::{TOOLS, command, finish, spawn};
use tests::{Faults, Hand, Output, Relay, account};

/// What a caller signs with; the local AWS takes any.
const KEY: &str = "gW7xPq2mVzR4tYb9KdN6sLh3JfC8aEu5";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEPT4RfVbGz9QmXw7sTnY2kLd";
/// What people put where it does not belong.
const PASSWORD: &str = "correct-horse-battery-staple";

struct Listener {
    relay: Relay,
    never: Vec<String>,
    /// How many outputs were searched.
    heard: usize,
}

impl Listener {
    fn run(&mut self, tool: &str, args: &[&str], stdin: &str) -> Output {
        let mut command = command(tool, args);
        command.env("AWS_SECRET_ACCESS_KEY", KEY).env("AWS_SESSION_TOKEN", TOKEN).env("RUST_BACKTRACE", "full");
        let said = finish(spawn(&mut command, &self.relay.endpoint), stdin);
        for secret in &self.never {
            assert!(!said.stderr.contains(secret), "{tool} {args:?} tells {secret}:\n{}", said.stderr);
            // The document passes on what stands in it, and nothing else.
            assert!(secret == PASSWORD || !said.stdout.contains(secret), "{tool} {args:?} writes {secret}");
        }
        self.heard += 1;
        said
    }
}

fn app(environment: &Value) -> Value {
    json!({"name": "discreet", "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "services": {"web": {
        "build": {"context": "./worker", "dockerfile_inline": "FROM busybox\nARG PASSWORD\nCMD sleep 1000", "args": {"PASSWORD": PASSWORD}},
        "environment": environment}}})
}

#[test]
fn nothing_secret_is_said() {
    let relay = Relay::new();
    let hand = Hand::at(&relay.endpoint);
    // ECR's token is user and password, in base64; neither form is for people.
    let said = hand.wait(hand.ecr.get_authorization_token().send()).unwrap();
    let token = said.authorization_data()[0].authorization_token().unwrap().to_owned();
    let never = vec![KEY.to_owned(), TOKEN.to_owned(), PASSWORD.to_owned(), token];
    let mut listener = Listener { relay, never, heard: 0 };
    for verbosity in [vec!["-vv"], vec!["-vv", "--log-format", "json"]] {
        let mut doc = app(&json!({"PASSWORD": PASSWORD})).to_string();
        for tool in TOOLS {
            let _ = listener.run(tool, &[&verbosity[..], &["--plan"]].concat(), &doc);
            doc = listener.run(tool, &verbosity, &doc).ok().stdout;
        }
        // Another value is a new revision, of which the plan says no more than that.
        let changed = doc.replace(&format!("\"environment\":{{\"PASSWORD\":\"{PASSWORD}"), "\"environment\":{\"PASSWORD\":\"another");
        assert_ne!(doc, changed);
        assert_eq!(listener.run("svc-deploy", &[&verbosity[..], &["--plan"]].concat(), &changed).code, 3);
        for tool in TOOLS.iter().rev() {
            doc = listener.run(tool, &[&verbosity[..], &["--down"]].concat(), &doc).ok().stdout;
        }
    }
    wrong(&mut listener);
    assert_eq!(account::resources(&listener.relay.endpoint, "discreet"), Vec::<String>::new());
    eprintln!("{} outputs searched", listener.heard);
}

/// Refusals and mistakes, whose messages say what was there.
fn wrong(listener: &mut Listener) {
    for fault in [Faults { denied: true, ..Faults::default() }, Faults { throttled: 1.0, ..Faults::default() }] {
        listener.relay.fail(fault);
        let said = listener.run("net-up", &["-vv", "--timeout", "3s"], &app(&json!({"PASSWORD": PASSWORD})).to_string());
        assert_ne!(said.code, 0);
        listener.relay.fail(Faults::default());
    }
    let live = json!({"aws": {"account": "000000000000", "region": "us-east-1", "partition": "aws"},
        "net": {"public_subnet_ids": [], "private_subnet_ids": [], "cidr": "", "zones": []},
        "cluster": {"arn": "arn", "name": "discreet", "launch_type": "fargate"}});
    let mistakes = [
        json!({"environment": {"PASSWORD": [PASSWORD]}}),
        json!({"environment": [{"PASSWORD": PASSWORD}]}),
        json!({"environment": PASSWORD}),
        json!({"build": {"context": "./worker", "args": PASSWORD}}),
        json!({"secrets": [[PASSWORD]]}),
        json!([{"environment": {"PASSWORD": PASSWORD}}]),
    ];
    for mistake in mistakes {
        let mut doc = live.clone();
        doc["name"] = json!("discreet");
        doc["services"] = json!({"web": mistake});
        for tool in ["img-push", "svc-deploy"] {
            let _ = listener.run(tool, &["--plan", "-vv"], &doc.to_string());
        }
        doc["secrets"] = json!({"web": {"content": PASSWORD}});
        assert_eq!(listener.run("svc-deploy", &["--plan", "-vv"], &doc.to_string()).code, 65);
    }
}
