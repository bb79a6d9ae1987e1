//! YAML that nobody would write: no tool panics, calls AWS, or takes long.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use tests::Relay;
use tests::tool::TOOLS;

use super::{nothing, run};
use crate::full;

/// A model with every form of YAML.
const MODEL: &str = r#"# A comment.
name: hostile
x-all: &all
  restart: always
  environment: &env {A: on, B: "é\n", C: 'it''s', D: 0o17, E: 22:22, F: ~}
services:
  web:
    <<: *all
    image: nginx
    ports: ["8080:80", {target: 81, published: "82"}]
    command: ["sh", "-c", "echo $$HOME"]
    x-svc: {path: /*, health: {path: /}}
  api:
    <<: [*all]
    image: >-
      nginx
    environment:
      <<: *env
      LONG: |
        one
          two
"#;

const PIECES: &[&str] = &[
    "- ",
    ": ",
    "&a ",
    "*a",
    "<<: *a\n",
    "<<: [*a, *b]\n",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "|\n",
    ">-\n",
    "!!int ",
    "!x ",
    "? ",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "# ",
    "\t",
    "\"",
    "'",
    "$$",
    "${A}",
    "name: x\n",
    "services:\n",
    "  web:\n",
    "    image: nginx\n",
    "\u{feff}",
    "\n",
    "  ",
    "\0",
    "\u{85}",
    "é",
    "null",
    "~",
    ".inf",
    "0x",
    "-0",
    "1e999",
    "99999999999999999999",
    "x",
    "=",
    "@",
    "`",
    "\\",
    "\r\n",
];

/// One for all documents: a relay listens until the process ends.
static RELAY: LazyLock<Relay> = LazyLock::new(nothing);

/// Refuses no document with a panic, a call, or after a long time.
fn check(text: &str) -> Result<(), TestCaseError> {
    let relay = &*RELAY;
    // All tools read the document with the same code.
    let tool = TOOLS[text.len() % TOOLS.len()];
    let started = Instant::now();
    let said = run(&relay.endpoint, tool, &["--check"], text);
    let most = if full() { Duration::from_secs(1) } else { Duration::from_secs(10) };
    prop_assert!(started.elapsed() < most, "{tool} took {:?}", started.elapsed());
    prop_assert!([0, 65].contains(&said.code), "{tool} ended with {}: {}", said.code, said.stderr);
    prop_assert!(!said.stderr.contains("panicked"), "{tool}: {}", said.stderr);
    prop_assert_eq!(relay.calls().len(), 0);
    Ok(())
}

fn config() -> Config {
    let cases = if full() { 5000 } else { 60 };
    // Documents that failed once are tried first.
    let kept = FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/yaml.txt"));
    Config { cases, failure_persistence: Some(Box::new(kept)), ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn junk_causes_no_panic(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        check(&pieces.concat())?;
    }

    /// A valid model that ends early, or with a piece of YAML in it.
    #[test]
    fn a_damaged_model_causes_no_panic(at in any::<prop::sample::Index>(), piece in prop::sample::select(PIECES), cut in any::<bool>()) {
        let places: Vec<usize> = MODEL.char_indices().map(|(at, _)| at).collect();
        let (before, after) = MODEL.split_at(places[at.index(places.len())]);
        check(&if cut { before.to_owned() } else { format!("{before}{piece}{after}") })?;
    }
}

#[test]
fn the_undamaged_model_is_right() {
    let said = run("http://127.0.0.1:1", "net-up", &["--check"], MODEL).ok();
    assert_eq!(said.stdout, MODEL);
}

#[test]
fn a_bomb_is_refused_at_once() {
    let list = |item: &str| [item; 10].join(", ");
    let mut bomb = format!("a0: &a0 [{}]\n", list("x"));
    for i in 1..12 {
        let items = list(&format!("*a{}", i - 1));
        bomb = format!("{bomb}a{i}: &a{i} [{items}]\n");
    }
    for text in [bomb, "[".repeat(1_000_000), format!("a: {}", "{a: ".repeat(100_000)), "- ".repeat(500_000), "a:\n ".repeat(300_000)] {
        let started = Instant::now();
        let said = run("http://127.0.0.1:1", "net-up", &["--check"], &text);
        assert_eq!(said.code, 65, "{}", said.stderr);
        assert!(said.stderr.contains("error[not-yaml]") && said.stderr.len() < 1000, "{}", &said.stderr[..said.stderr.len().min(1000)]);
        assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    }
}
