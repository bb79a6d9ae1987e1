//! Wanted against found: the fields that differ, as `--plan` prints them and a run changes them.

mod json;
mod shown;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

pub use shown::Shown;

use crate::policy;
use json::walk;
use shown::{NONE, short_pair};

/// Returns the first path at which two values differ. What is empty counts as not there.
pub(crate) fn differing(path: &str, one: &Value, other: &Value) -> Option<String> {
    walk(path, Some(one), Some(other)).into_iter().next().map(|difference| difference.path)
}

/// The fields that differ, in the order in which they were compared.
#[derive(Debug, Default, Clone)]
pub struct Diff(Vec<String>);

impl Diff {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares one field; equal fields leave no trace.
    #[must_use]
    pub fn field(mut self, name: &str, found: impl Shown, wanted: impl Shown) -> Self {
        let (found, wanted) = (found.shown(), wanted.shown());
        if found != wanted {
            let (found, wanted) = short_pair(&found, &wanted);
            self.0.push(format!("{name}: {found} -> {wanted}"));
        }
        self
    }

    /// Compares two lists whose order means nothing, and shows only the items that differ.
    #[must_use]
    pub fn set<A: Shown, B: Shown>(self, name: &str, found: impl IntoIterator<Item = A>, wanted: impl IntoIterator<Item = B>) -> Self {
        let found: BTreeSet<String> = found.into_iter().map(|item| item.shown()).collect();
        let wanted: BTreeSet<String> = wanted.into_iter().map(|item| item.shown()).collect();
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| these.difference(those).cloned().collect::<Vec<_>>().join(", ");
        self.field(name, only(&found, &wanted), only(&wanted, &found))
    }

    /// Compares a text of several lines, and shows the lines that differ with their numbers.
    #[must_use]
    pub fn lines(self, name: &str, found: Option<&str>, wanted: &str) -> Self {
        let found: Vec<&str> = found.unwrap_or_default().lines().collect();
        let wanted: Vec<&str> = wanted.lines().collect();
        let same = |(a, b): &(&&str, &&str)| a == b;
        let head = found.iter().zip(&wanted).take_while(same).count();
        let tail = found[head..].iter().rev().zip(wanted[head..].iter().rev()).take_while(same).count();
        let (found, wanted) = (&found[head..found.len() - tail], &wanted[head..wanted.len() - tail]);
        (0..found.len().max(wanted.len()))
            .fold(self, |diff, i| diff.field(&format!("{name}[{}]", head + i + 1), line(found.get(i)), line(wanted.get(i))))
    }

    /// Compares JSON, path by path; the order of keys means nothing. Lists of things with names are compared by name.
    #[must_use]
    pub fn json(mut self, name: &str, found: Option<&Value>, wanted: &Value) -> Self {
        self.0.extend(walk(name, found, Some(wanted)).iter().map(ToString::to_string));
        self
    }

    /// As [`Diff::json`], but what only AWS's answer has is taken for a default of AWS's and left out.
    #[must_use]
    pub fn json_within(mut self, name: &str, found: &Value, wanted: &Value) -> Self {
        self.0.extend(walk(name, Some(found), Some(wanted)).iter().filter(|one| one.is_on_both_sides()).map(ToString::to_string));
        self
    }

    /// Compares an IAM policy, statement by statement. Of a new one only the statements' names are shown.
    #[must_use]
    pub fn policy(self, name: &str, found: Option<&Value>, wanted: &Value) -> Self {
        match found {
            Some(found) => self.json(name, Some(&policy::comparable(found)), &policy::comparable(wanted)),
            None => self.field(name, NONE, policy::names(wanted)),
        }
    }

    /// Adds what could not be shown as a field, in words.
    #[must_use]
    pub fn note(mut self, differs: bool, text: &str) -> Self {
        if differs {
            self.0.push(text.to_owned());
        }
        self
    }

    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An empty line is not the same as none.
fn line(text: Option<&&str>) -> Option<String> {
    text.map(|text| if text.is_empty() { "\"\"".to_owned() } else { (*text).to_owned() })
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl fmt::Display for json::Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.found, &self.wanted) {
            (None, _) if self.is_secret => write!(f, "{}: added", self.path),
            (_, None) if self.is_secret => write!(f, "{}: removed", self.path),
            _ if self.is_secret => write!(f, "{}: changed", self.path),
            (found, wanted) => {
                let (found, wanted) = short_pair(found.as_deref().unwrap_or(NONE), wanted.as_deref().unwrap_or(NONE));
                write!(f, "{}: {found} -> {wanted}", self.path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_shown() {
        let diff = Diff::new().field("a", 1, 1).field("b", Some("x"), Some("y")).field("c", None::<i32>, Some(3)).field("d", true, false);
        assert_eq!(diff.to_string(), "b: x -> y, c: none -> 3, d: true -> false");
    }

    #[test]
    fn of_sets_only_the_items_that_differ_are_shown() {
        assert!(Diff::new().set("ids", ["a", "b"], ["b", "a"]).is_empty());
        assert_eq!(Diff::new().set("ids", ["a", "b"], ["b", "c"]).to_string(), "ids: a -> c");
        assert_eq!(Diff::new().set("ids", ["a"], ["a", "b"]).to_string(), "ids: none -> b");
    }

    #[test]
    fn of_texts_only_the_lines_that_differ_are_shown() {
        let diff = Diff::new().lines("userData", Some("#!/bin/sh\nA=1\nB=2\nend"), "#!/bin/sh\nA=1\nB=3\nend");
        assert_eq!(diff.to_string(), "userData[3]: B=2 -> B=3");
        assert_eq!(Diff::new().lines("userData", Some("a\nc"), "a\nb\nc").to_string(), "userData[2]: none -> b");
        assert_eq!(Diff::new().lines("userData", Some("a\nb"), "a\n\nb").to_string(), "userData[2]: none -> \"\"");
    }

    #[test]
    fn policies_are_compared_by_statement() {
        let found = json!({"Version": "2012-10-17", "Statement": {"Sid": "Pull", "Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": ["a"]}});
        let mut wanted = found.clone();
        wanted["Statement"] = json!([{"Sid": "Pull", "Effect": "Allow", "Action": ["ecr:BatchGetImage"], "Resource": "a"}]);
        assert!(Diff::new().policy("policy", Some(&found), &wanted).is_empty());
        wanted["Statement"][0]["Resource"] = json!(["a", "b"]);
        assert_eq!(Diff::new().policy("policy", Some(&found), &wanted).to_string(), "policy.Statement.Pull.Resource: none -> b");
        assert_eq!(Diff::new().policy("policy", None, &wanted).to_string(), "policy: none -> Pull");
    }

    #[test]
    fn long_values_are_shortened_in_the_middle() {
        let text = Diff::new().field("a", "x".repeat(300), "y").to_string();
        assert!(text.len() < 130 && text.contains("x…x") && text.ends_with("x -> y"), "{text}");
        let (found, wanted) = (format!("{0}a{0}", "x".repeat(300)), format!("{0}b{0}", "x".repeat(300)));
        let text = Diff::new().field("a", found, wanted).to_string();
        assert!(text.contains("xax") && text.contains("xbx"), "the difference is in the middle: {text}");
    }
}
