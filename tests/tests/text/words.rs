//! Words that the style guide refuses, in code, documentation and scripts.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::source::{files, has_extension, read, shown};

const REFUSED: &[&str] = &[
    "mend",
    "mended",
    "wish",
    "wishes",
    "by way of",
    "by the clock",
    "somebody else's",
    "the leave to",
    "is well",
    "leads to",
    "given back",
    "not known everywhere",
    "asked for",
    "stands there",
    "taken out",
];

#[test]
fn refused_words_are_not_used() {
    let refused = pattern();
    let mut found = Vec::new();
    for path in texts() {
        found.extend(find(&refused, &read(&path)).into_iter().map(|(line, words)| format!("{}:{line}: {words}", shown(&path))));
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

/// Returns the files that people read, except this one, which has the list.
fn texts() -> Vec<PathBuf> {
    let all = files("").into_iter().chain(files(".github"));
    all.filter(|path| is_text(path)).filter(|path| shown(path) != "tests/tests/text/words.rs").collect()
}

fn is_text(path: &Path) -> bool {
    let place = shown(path);
    let named = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].contains(&place.as_str());
    let in_folder = ["scripts/", "examples/", ".github/"].iter().any(|folder| place.starts_with(folder));
    named || in_folder || has_extension(path, "rs") || place.starts_with("docs/") && has_extension(path, "md")
}

/// Matches the refused words in any case. Between two words there may be the end of a line, with
/// the comment sign of the next line.
fn pattern() -> Regex {
    let phrases: Vec<String> = REFUSED.iter().map(|phrase| phrase.replace(' ', r"(?:\s|//[/!]?|[#*>])+").replace('\'', "['’]")).collect();
    Regex::new(&format!(r"(?i)\b(?:{})\b", phrases.join("|"))).unwrap()
}

/// Returns the refused words of a text with their lines.
fn find(refused: &Regex, text: &str) -> Vec<(usize, String)> {
    let line = |start| text[..start].matches('\n').count() + 1;
    refused.find_iter(text).map(|found| (line(found.start()), found.as_str().replace('\n', " "))).collect()
}

#[test]
fn refused_words_are_found_in_any_case_and_as_whole_words() {
    let found = |text: &str| find(&pattern(), text).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
    assert_eq!(found("It is\nMended.\n\nA wish"), [2, 4]);
    assert_eq!(found("recommended, wishful, mend_it, wishlist"), [0; 0]);
    assert_eq!(found("/// by the\n/// clock, # somebody\n# else’s"), [1, 2], "over the end of a line");
    assert_eq!(found("\"asked for\" `is well`"), [1, 1]);
    assert_eq!(found("is wellknown, it leads too"), [0; 0]);
}
