//! Snapshots of plans, without the ids that AWS chooses.

use insta::Settings;
use regex::Regex;
use tests::Output;

/// Account numbers and regions are the same in each run, so they are not masked.
const MASKS: &[(&str, &str)] = &[
    (r"\b(vpc|vpce|subnet|igw|nat|eipalloc|eni|rtb|rtbassoc|sg|lt|fl|fs|fsmt|fsap)-[0-9a-f]{8,}\b", "$1-…"),
    (r"\bns-[0-9a-z]{16,}\b", "ns-…"),
    (r"((?:loadbalancer/app|targetgroup|listener/app|listener-rule/app)/[\w-]+)(?:/\w+)+", "$1/…"),
    (r"(task-definition/[\w-]+):\d+", "$1:…"),
    (r"(taskDefinition: [\w-]+):\d+", "$1:…"),
    (r"\b\d{13}\.(\d+)\b", "….$1"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "…"),
];

/// Returns the settings of all snapshots of plans.
pub fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_omit_expression(true);
    for (id, mask) in MASKS {
        settings.add_filter(id, *mask);
    }
    settings
}

/// Returns a text as its snapshot would be.
pub fn ids(text: &str) -> String {
    let mask = |text: String, (id, mask): &(&str, &str)| Regex::new(id).unwrap().replace_all(&text, *mask).into_owned();
    MASKS.iter().fold(text.to_owned(), mask)
}

/// Returns the lines of a plan about what would be created, changed and deleted, with their tools.
pub fn changes(plan: &Output) -> String {
    let is_change = |line: &&str| line.split_once(": ").is_some_and(|(_, change)| change.starts_with(['+', '~', '-']));
    plan.stderr.lines().filter(is_change).collect::<Vec<_>>().join("\n")
}
