//! The documentation has lines of at most 100 columns.

use std::path::Path;

use regex::Regex;

use crate::source::{files, has_extension, read, shown};

#[test]
fn documentation_has_at_most_100_columns() {
    let mut found = Vec::new();
    for path in files("").into_iter().filter(|path| is_documentation(path)) {
        found.extend(long(&read(&path)).into_iter().map(|(line, columns)| format!("{}:{line}: {columns} columns", shown(&path))));
    }
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

fn is_documentation(path: &Path) -> bool {
    let place = shown(path);
    let in_docs = place.strip_prefix("docs/").is_some_and(|name| !name.contains('/'));
    in_docs && has_extension(path, "md") || ["README.md", "CONTRIBUTING.md"].contains(&place.as_str())
}

/// Returns the long lines of a Markdown text, with their columns. Tables and code blocks are left
/// out, and so are lines that are one URL or one link.
fn long(text: &str) -> Vec<(usize, usize)> {
    let link = Regex::new(r"^\s*(?:[-*]\s+|\d+\.\s+)?(?:<?https?://\S+>?|!?\[[^\]]*\]\(\S+\)|\[[^\]]+\]:\s*\S+)[.,;:]?\s*$").unwrap();
    let (mut fence, mut indented, mut blank) = (None, false, true);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let sign = ["```", "~~~"].into_iter().find(|sign| start.starts_with(sign));
        if fence.is_some() || sign.is_some() {
            // The end of a code block has the same sign as its start.
            fence = if fence.is_none() { sign } else { fence.filter(|_| sign != fence) };
            blank = false;
            continue;
        }
        // A code block without a fence has an empty line before it.
        indented = (indented || blank) && (line.starts_with("    ") || line.starts_with('\t') || start.is_empty() && indented);
        blank = start.is_empty() || start.starts_with('#');
        let columns = line.chars().count();
        if columns > 100 && !indented && !start.starts_with('|') && !link.is_match(line) {
            found.push((index + 1, columns));
        }
    }
    found
}

#[test]
fn long_lines_of_text_are_found() {
    let words = "word ".repeat(30);
    let url = format!("https://example.com/{}", "a".repeat(100));
    let lines = |text: &str| long(text).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
    assert_eq!(lines(&format!("short\n{words}\n- {words}")), [2, 3]);
    assert_eq!(lines(&"ä".repeat(100)), [0; 0], "columns are not bytes");
    assert_eq!(lines(&format!("| {words} |\n{words}")), [2], "a table");
    assert_eq!(lines(&format!("```sh\n{words}\n```\n{words}")), [4], "a code block");
    assert_eq!(lines(&format!("text\n\n    {words}\n\n    {words}\n\n{words}")), [7], "an indented code block");
    assert_eq!(lines(&format!("text\n    {words}")), [2], "indented text is no code block");
    assert_eq!(lines(&format!("{url}\n<{url}>\n- [a link]({url}).\n[a link]: {url}")), [0; 0], "one URL or link");
    assert_eq!(lines(&format!("See {url}")), [1]);
}
