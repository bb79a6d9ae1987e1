//! Wanted against found: what `--plan` prints and what a run changes.

use std::fmt;

use serde_json::Value;

use crate::policy;

/// Characters of a value that are shown; a policy would fill the screen.
const LONGEST: usize = 100;

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
    #[expect(clippy::needless_pass_by_value, reason = "callers compare an Option<&T> with a Some(&T) made on the spot")]
    pub fn field<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(mut self, name: &str, found: T, wanted: U) -> Self {
        if found != wanted {
            self.0.push(format!("{name}: {} -> {}", plain(&found), plain(&wanted)));
        }
        self
    }

    /// Compares a JSON value, in which the order of keys means nothing.
    #[must_use]
    pub fn json(self, name: &str, found: Option<&Value>, wanted: &Value) -> Self {
        if found == Some(wanted) { self } else { self.field(name, found.map(Value::to_string), Some(wanted.to_string())) }
    }

    /// Compares an IAM policy.
    #[must_use]
    pub fn policy(self, name: &str, found: Option<&Value>, wanted: &Value) -> Self {
        match found {
            Some(found) if policy::plain(found) == policy::plain(wanted) => self,
            // Two long texts would not show where they differ.
            Some(_) => self.field(name, "another", "as it should be"),
            None => self.json(name, None, wanted),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// A value as a person writes it: `Some("x")` is `x`, `None` is `none`.
fn plain(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    let text = text.strip_prefix("Some(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(&text);
    let text = if text == "None" { "none" } else { text.trim_matches('"') };
    let text = if text.is_empty() { "none".to_owned() } else { text.replace("\\\"", "\"") };
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::Diff;

    #[test]
    fn only_what_differs_is_said() {
        let diff = Diff::new().field("a", 1, 1).field("b", Some("x"), Some("y")).field("c", None, Some(3));
        assert_eq!(diff.to_string(), "b: x -> y, c: none -> 3");
    }
}
