//! What the real `docker compose config` prints, as YAML and as JSON.

use serde_json::{Value, json};
use tests::app::{compose, compose_with_profile, fetch};
use tests::tool::TOOLS;
use tests::{Pipe, Relay, account, run};

/// With everything that a shell, YAML or Compose could read in another way.
const PASSWORD: &str = "pa$5 $HOME ${X} '\"`\\ \n\té: ✓ #{}[]%& $$";

/// A service that serves the variable PASSWORD at every path.
fn file(app: &str, password: &str) -> String {
    // As in a Compose file, each dollar is doubled. A JSON string is a YAML string.
    let password = json!(password.replace('$', "$$"));
    format!(
        r#"
name: {app}
x-net: {{nat: none}}
x-cluster: {{launch_type: fargate}}
services:
  web:
    image: busybox
    command: ["sh", "-c", "mkdir /w; printf %s \"$$PASSWORD\" > /w/index.html; exec httpd -f -p 8080 -h /w"]
    environment:
      PASSWORD: {password}
      ON: on
      OCTAL: 0o17
      TIME: 22:22
      VERSION: 1.10
    ports: ["8080:8080"]
    labels: {{price: "5$$"}}
"#
    )
}

#[test]
fn a_password_arrives_exactly_as_written() {
    let relay = Relay::new();
    for (app, args) in [("pass-yaml", &[][..]), ("pass-json", &["--format", "json"])] {
        let printed = compose(&file(app, PASSWORD), args);
        assert!(printed.contains("pa$$5 $$HOME"), "Compose doubles dollars: {printed}");
        let up = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "img-push" | "scale-set" | "alarms-set")).run(&printed).ok();
        let answer = fetch(app, "/");
        assert_eq!(answer.split_once("\r\n\r\n").map(|(_, body)| body), Some(PASSWORD), "{app}");
        assert_eq!(up.doc()["services"]["web"]["labels"]["price"], "5$");
        // A live document is not a Compose model any more: nothing in it is doubled.
        let _ = relay.calls();
        let _ = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "img-push" | "scale-set" | "alarms-set")).run(&up.stdout).ok();
        assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
        for tool in TOOLS.iter().rev() {
            let _ = run(&relay.endpoint, tool, &["--down", "--app", app], "").ok();
        }
        assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
    }
}

/// A plain Compose file has the values that Compose gives it.
#[test]
fn a_plain_file_is_read_as_compose_reads_it() {
    let file = file("plain", PASSWORD);
    let of = |text: &str| shared::Document::parse(text.as_bytes()).unwrap().value()["services"]["web"]["environment"].clone();
    let (plain, printed) = (of(&file), of(&compose(&file, &[])));
    let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (key, value) in printed.as_object().unwrap() {
        assert_eq!(as_text(&plain[key]), as_text(value), "{key}");
    }
    assert_eq!(printed["PASSWORD"], PASSWORD);
}

/// JSON has no `x-…` keys of services, so a warning says so.
#[test]
fn json_of_compose_is_taken_with_a_warning() {
    let file = file("lost", "x").replace("ports:", "x-svc: {publish: false}\n    ports:");
    let said = |args: &[&str]| run("http://127.0.0.1:1", "net-up", &["--check"], &compose(&file, args)).ok().stderr;
    assert!(said(&["--format", "json"]).contains("warning[compose-json]: "), "{}", said(&["--format", "json"]));
    assert!(!said(&[]).contains("compose-json"), "{}", said(&[]));
}

/// A plain file has the services that Compose prints, and what it prints has all that are enabled.
#[test]
fn profiles_enable_what_compose_enables() {
    let file =
        format!("{}  debug: {{image: busybox, profiles: [dev]}}\n  host: {{image: busybox, network_mode: host}}\n", file("profiles", "x"));
    let names = |text: &str, profiles: &[&str]| {
        let profiles: Vec<String> = profiles.iter().map(|name| (*name).to_owned()).collect();
        let doc = shared::Document::read(text.as_bytes(), &profiles).unwrap();
        let mut names: Vec<String> = doc.value()["services"].as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    for args in [&[][..], &["--format", "json"]] {
        assert_eq!(names(&file, &[]), names(&compose(&file, args), &[]));
        let enabled = compose_with_profile(&file, "dev", args);
        assert_eq!((names(&file, &["dev"]), names(&enabled, &[])), (names(&enabled, &["*"]), names(&enabled, &["*"])), "{enabled}");
    }
    assert_eq!(names(&file, &[]), ["host", "web"]);
}
