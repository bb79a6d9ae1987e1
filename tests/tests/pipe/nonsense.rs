//! Responses that can't be read, as from a proxy or a cut connection. A message is for people: it
//! has no words of Rust, and no values of the document or of AWS's response.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};
use tests::tool::{TOOLS, down};
use tests::{Call, Faults, Nonsense, Output, Relay, run};

use crate::full;

/// A value in a task definition. A message may name the variable, and never its value.
const VALUE: &str = "correct-horse-battery-staple";

fn app(name: &str) -> Value {
    json!({"name": name, "x-net": {"nat": "none"}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
        "web": {"image": "nginx:1.27", "ports": ["80"], "environment": {"PASSWORD": VALUE}, "volumes": ["data:/data"]}}})
}

/// What no message has.
static UNFIT: LazyLock<[(&str, Regex); 4]> = LazyLock::new(|| {
    [
        ("Rust's words", r"\b(Some\(|None\b|Ok\(|Err\(|[A-Z]\w+ ?\{|[A-Z]\w+Error\(|panicked|unwrap|(aws_\w+|serde_json|hyper|std)::)"),
        ("a page", r"(?i)</?(html|h1|title)|it works!"),
        ("a value", VALUE),
        ("nothing", r"\(\)|: \.|: $"),
    ]
    .map(|(what, words)| (what, Regex::new(words).unwrap()))
});

fn is_unfit(line: &str) -> Option<&'static str> {
    let unfit = UNFIT.iter().find(|(_, words)| words.is_match(line)).map(|(what, _)| *what);
    unfit.or_else(|| (line.chars().count() > 1200).then_some("too much"))
}

/// Returns what is wrong with the output of a tool.
fn read(said: &Output) -> Vec<String> {
    let failed = said.code != 0;
    let mut wrong = Vec::new();
    if ![0, 1, 75].contains(&said.code) || failed != said.stdout.is_empty() || failed != said.stderr.contains("error[") {
        wrong.push(format!("exit code {}: {}", said.code, said.stderr));
    }
    wrong.extend(said.stderr.lines().filter_map(|line| is_unfit(line).map(|what| format!("{what} in {line}"))));
    wrong
}

/// The actions of a run, each once.
fn actions(calls: Vec<Call>) -> BTreeSet<String> {
    calls.into_iter().map(|call| call.action).collect()
}

/// A tool whose calls get responses that can't be read.
struct Victim<'a> {
    relay: &'a Relay,
    tool: &'a str,
    /// How many actions there were so far; each gets another kind.
    tried: usize,
    wrong: Vec<String>,
}

impl Victim<'_> {
    fn run(&self, args: &[&str], doc: &str) -> Output {
        run(&self.relay.endpoint, self.tool, &[args, &["--no-wait"]].concat(), doc)
    }

    fn answered(&mut self, action: &str, args: &[&str], doc: &str) {
        let kinds = if full() { Nonsense::ALL.to_vec() } else { vec![Nonsense::ALL[self.tried % Nonsense::ALL.len()]] };
        self.tried += 1;
        for kind in kinds {
            self.relay.fail(Faults { nonsense: Some((action.to_owned(), kind)), ..Faults::default() });
            let said = self.run(&[args, &["--timeout", "1s", "-vv"]].concat(), doc);
            self.relay.fail(Faults::default());
            let place = format!("{} {args:?}, {action} answered with {kind:?}", self.tool);
            self.wrong.extend(read(&said).into_iter().map(|wrong| format!("{place}: {wrong}")));
        }
    }

    /// Every action of a first and a second run, and of `--down`.
    fn life(&mut self, doc: &str) -> String {
        let _ = self.relay.calls();
        let live = self.run(&[], doc).ok().stdout;
        let ups = actions(self.relay.calls());
        let _ = self.run(down(self.tool), &live).ok();
        let downs = actions(self.relay.calls());
        for action in &ups {
            self.answered(action, &[], doc);
            let _ = self.run(down(self.tool), doc).ok();
        }
        for action in downs.difference(&ups) {
            let _ = self.run(&[], doc).ok();
            self.answered(action, down(self.tool), doc);
        }
        self.run(&[], doc).ok().stdout
    }
}

#[test]
fn no_message_has_rust_or_values() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let (mut doc, mut actions) = (app("nonsense").to_string(), 0);
    let mut wrong = Vec::new();
    for tool in TOOLS {
        let mut victim = Victim { relay: &relay, tool, tried: 0, wrong: Vec::new() };
        doc = victim.life(&doc);
        actions += victim.tried;
        wrong.append(&mut victim.wrong);
    }
    for tool in TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, down(tool), &doc).ok();
    }
    assert_eq!(wrong, Vec::<String>::new());
    eprintln!("{actions} actions answered with nonsense");
}
