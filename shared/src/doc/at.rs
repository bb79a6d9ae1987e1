//! A place in the document: a value with its path, so that everything wrong is said with where it is.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub struct At<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> At<'a> {
    /// A value that is at `path`; the root's path is empty.
    pub(crate) fn of(path: String, value: &'a Value) -> Self {
        Self { path, value }
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[must_use]
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Returns the value of a key; `null` counts as nothing.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(At { path: self.path_of(key), value })
    }

    /// Returns an error about this place.
    #[must_use]
    pub fn wrong(&self, code: &'static str, what: impl Into<String>) -> Error {
        Error::document(code, self.path.clone(), what)
    }

    /// # Errors
    /// Fails when the value is not a string.
    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.expected("not-a-string", "a string"))
    }

    /// Returns a string, or a number or boolean as Compose writes it in a string.
    ///
    /// # Errors
    /// Fails when the value is an object or a list.
    pub fn scalar(&self) -> Result<String> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(self.value.to_string()),
            _ => Err(self.expected("not-a-scalar", "a string, a number, true or false")),
        }
    }

    /// # Errors
    /// Fails when the value is neither `true` nor `false`.
    pub fn truth(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("not-a-boolean", "true or false"))
    }

    /// Returns a whole number in a range, written as a number or (as Compose prints some) as a string.
    ///
    /// # Errors
    /// Fails when the value is something else, or out of the range.
    pub fn whole(&self, range: RangeInclusive<i32>) -> Result<i32> {
        let number = self.scalar().ok().and_then(|text| text.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.expected("not-in-range", &format!("a whole number between {} and {}", range.start(), range.end())))
    }

    /// Returns a number in a range, written as a number or as a string.
    ///
    /// # Errors
    /// As [`At::whole`].
    pub fn number(&self, range: RangeInclusive<f64>) -> Result<f64> {
        let number = self.scalar().ok().and_then(|text| text.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.expected("number-not-in-range", &format!("a number between {} and {}", range.start(), range.end())))
    }

    /// # Errors
    /// Fails when the value is not a list.
    pub fn list(&self) -> Result<Vec<At<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.expected("not-a-list", "a list"))?;
        Ok(items.iter().enumerate().map(|(i, value)| At { path: format!("{}[{i}]", self.path), value }).collect())
    }

    /// # Errors
    /// Fails when the value is not an object.
    pub fn entries(&self) -> Result<Vec<(&'a str, At<'a>)>> {
        let object = self.value.as_object().ok_or_else(|| self.expected("not-an-object", "an object"))?;
        Ok(object.iter().map(|(key, value)| (key.as_str(), At { path: self.path_of(key), value })).collect())
    }

    /// # Errors
    /// Says where, below this place, a value is not of the type.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T> {
        typed(self.value, &self.path)
    }

    /// Returns the error "must be `kind`", with the value found.
    #[must_use]
    pub fn expected(&self, code: &'static str, kind: &str) -> Error {
        let found = match self.value {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::String(_) if self.may_be_secret() => "a string".to_owned(),
            value => short(&value.to_string()),
        };
        self.wrong(code, format!("must be {kind}; found {found}"))
    }

    /// People write passwords there, whatever the documentation says.
    fn may_be_secret(&self) -> bool {
        self.path.split(['.', '[']).any(|step| ["environment", "args", "secrets"].contains(&step))
    }

    /// Returns the same value, as if it were at `key` below this place: for a name that is a part of a text.
    #[must_use]
    pub fn below(&self, key: &str) -> At<'a> {
        At { path: self.path_of(key), value: self.value }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn short(text: &str) -> String {
    if text.len() <= 60 { text.to_owned() } else { text.chars().take(60).collect::<String>() + "…" }
}

fn typed<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut at = At { path: path.to_owned(), value };
        for segment in error.path() {
            let step = match segment {
                Segment::Seq { index } => at.value.get(index).map(|value| (format!("{}[{index}]", at.path), value)),
                Segment::Map { key } => at.value.get(key).map(|value| (at.path_of(key), value)),
                Segment::Enum { .. } | Segment::Unknown => None,
            };
            let Some((path, value)) = step else { break };
            at = At { path, value };
        }
        in_words(&at, &error.inner().to_string())
    })
}

/// Returns serde's error in words that do not name our types.
fn in_words(at: &At<'_>, said: &str) -> Error {
    let plain = |text: &str| text.replace('`', "");
    if let Some((key, known)) = said.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, expected ")) {
        return at
            .wrong("unknown-key-of-setting", format!("has the unknown key {key:?}; the keys are {}", plain(known).replace("one of ", "")));
    }
    if let Some(key) = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return at.wrong("missing-key", format!("lacks the key {key:?}. Add it"));
    }
    let kind = match said.split_once(", expected ").map(|(_, kind)| kind) {
        Some("u8" | "u16" | "u32" | "i32" | "i64" | "usize") => "a whole number".to_owned(),
        Some("f64") => "a number".to_owned(),
        Some("a boolean") => "true or false".to_owned(),
        Some("a sequence") => "a list".to_owned(),
        Some("a map") => "an object".to_owned(),
        Some(kind) if kind.starts_with("struct ") => "an object".to_owned(),
        Some(kind) => plain(kind),
        None => return at.wrong("invalid-value", format!("is not valid: {said}")),
    };
    at.expected("wrong-type", &kind)
}
