//! No tool prints a credential, a token or a secret value, even with -vv.

use serde_json::{Value, json};
use tests::tool::{TOOLS, command, finish, spawn};
use tests::{Clients, Faults, Output, Relay, account};

/// The caller's credentials. The local AWS accepts any.
const KEY: &str = "gW7xPq2mVzR4tYb9KdN6sLh3JfC8aEu5";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEPT4RfVbGz9QmXw7sTnY2kLd";
/// A secret in a place that is not for secrets.
const PASSWORD: &str = "correct-horse-battery-staple";
/// Secrets of a file and of a variable, before and after a change.
const IN_FILE: [&str; 2] = ["Rk8vNq2x-of-the-file", "Wd5tYb7c-of-the-file"];
const IN_VARIABLE: [&str; 2] = ["Hj3mPs9z-of-the-variable", "Lf6gVu4k-of-the-variable"];

/// Searches every output for secrets.
struct Search {
    relay: Relay,
    never: Vec<String>,
    /// The value of the variable that has a secret.
    variable: &'static str,
    /// The number of outputs so far.
    outputs: usize,
}

impl Search {
    fn run(&mut self, tool: &str, args: &[&str], stdin: &str) -> Output {
        let mut command = command(tool, args);
        command
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env("AWS_SESSION_TOKEN", TOKEN)
            .env("RUST_BACKTRACE", "full")
            .env("DISCREET_TOKEN", self.variable);
        let said = finish(spawn(&mut command, &self.relay.endpoint), stdin);
        for secret in &self.never {
            assert!(!said.stderr.contains(secret), "{tool} {args:?} prints {secret}:\n{}", said.stderr);
            // The document on stdout has the values of the document on stdin, and no others.
            assert!(secret == PASSWORD || !said.stdout.contains(secret), "{tool} {args:?} writes {secret}");
        }
        self.outputs += 1;
        said
    }
}

fn app(environment: &Value) -> Value {
    json!({"name": "discreet", "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "services": {"web": {
        "build": {"context": "./worker", "dockerfile_inline": "FROM busybox\nARG PASSWORD\nCMD sleep 1000", "args": {"PASSWORD": PASSWORD}},
        "environment": environment}}})
}

#[test]
fn no_output_contains_a_secret() {
    let relay = Relay::new();
    let clients = Clients::at(&relay.endpoint);
    // ECR's token is the user and the password in base64.
    let said = clients.wait(clients.ecr.get_authorization_token().send()).unwrap();
    let token = said.authorization_data()[0].authorization_token().unwrap().to_owned();
    let never = vec![KEY.to_owned(), TOKEN.to_owned(), PASSWORD.to_owned(), token];
    let mut search = Search { relay, never, variable: IN_VARIABLE[0], outputs: 0 };
    for verbosity in [vec!["-vv"], vec!["-vv", "--log-format", "json"]] {
        let mut doc = app(&json!({"PASSWORD": PASSWORD})).to_string();
        for tool in TOOLS {
            let _ = search.run(tool, &[&verbosity[..], &["--plan"]].concat(), &doc);
            doc = search.run(tool, &verbosity, &doc).ok().stdout;
        }
        // Another value gives a new revision. The plan shows the variable, and neither value.
        let changed = doc.replace(&format!("\"environment\":{{\"PASSWORD\":\"{PASSWORD}"), "\"environment\":{\"PASSWORD\":\"another");
        assert_ne!(doc, changed);
        let plan = search.run("svc-deploy", &[&verbosity[..], &["--plan"]].concat(), &changed);
        assert_eq!(plan.code, 3, "{}", plan.stderr);
        let says = "task definition discreet-web (containers.web.environment.PASSWORD: changed)";
        assert!(plan.stderr.contains(says), "{}", plan.stderr);
        for tool in TOOLS.iter().rev() {
            doc = search.run(tool, &[&verbosity[..], &["--down"]].concat(), &doc).ok().stdout;
        }
    }
    errors(&mut search);
    assert_eq!(account::resources(&search.relay.endpoint, "discreet"), Vec::<String>::new());
    eprintln!("{} outputs searched", search.outputs);
}

/// Errors of AWS and of the document, whose messages show the value found.
fn errors(search: &mut Search) {
    for fault in [Faults { denied: true, ..Faults::default() }, Faults { throttled: 1.0, ..Faults::default() }] {
        search.relay.fail(fault);
        let said = search.run("net-up", &["-vv", "--timeout", "3s"], &app(&json!({"PASSWORD": PASSWORD})).to_string());
        assert_ne!(said.code, 0);
        search.relay.fail(Faults::default());
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
            let _ = search.run(tool, &["--plan", "-vv"], &doc.to_string());
        }
        doc["secrets"] = json!({"web": {"content": PASSWORD}});
        assert_eq!(search.run("svc-deploy", &["--plan", "-vv"], &doc.to_string()).code, 65);
    }
}

/// The values of secrets go from a file and a variable into Systems Manager, and are compared there.
#[test]
fn no_output_contains_the_value_of_a_secret() {
    let folder = std::env::temp_dir().join(format!("discreet-{}", std::process::id()));
    let write = |value: &str| std::fs::write(&folder, value).unwrap();
    let never = [IN_FILE, IN_VARIABLE].concat().into_iter().map(str::to_owned).collect();
    let mut search = Search { relay: Relay::before("ECS_PIPE_MOTO"), never, variable: IN_VARIABLE[0], outputs: 0 };
    let service = |form: &str| json!({"image": "busybox", "secrets": ["file", "variable"], "x-svc": {"secrets": form}});
    let doc = json!({"name": "discreet-file", "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"},
        "secrets": {"file": {"file": folder}, "variable": {"environment": "DISCREET_TOKEN"}},
        "services": {"web": service("files"), "api": service("env")}});
    for verbosity in [vec!["-vv", "--no-wait"], vec!["-vv", "--no-wait", "--log-format", "json"]] {
        let mut doc = doc.to_string();
        for n in 0..2 {
            write(IN_FILE[n]);
            search.variable = IN_VARIABLE[n];
            for tool in ["net-up", "cluster-up", "svc-deploy"] {
                let _ = search.run(tool, &["--check"], &doc).ok();
                let plan = search.run(tool, &[&verbosity[..], &["--plan"]].concat(), &doc);
                assert!(
                    tool != "svc-deploy" || plan.code == 3 && plan.stderr.contains("parameter /ecs-pipe/discreet-file/variable"),
                    "{}",
                    plan.stderr
                );
                doc = search.run(tool, &verbosity, &doc).ok().stdout;
            }
        }
        // What AWS and the document say of a wrong value.
        write(&format!("{{{{{}", IN_FILE[0]));
        assert_eq!(search.run("svc-deploy", &["--plan", "-vv"], &doc).code, 65);
        search.relay.fail(Faults { denied: true, ..Faults::default() });
        write(IN_FILE[0]);
        assert_ne!(search.run("svc-deploy", &["-vv", "--timeout", "3s"], &doc).code, 0);
        search.relay.fail(Faults::default());
        for tool in ["svc-deploy", "cluster-up", "net-up"] {
            doc = search.run(tool, &[&verbosity[..], &["--down"]].concat(), &doc).ok().stdout;
        }
    }
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(account::resources(&search.relay.endpoint, "discreet-file"), Vec::<String>::new());
}
