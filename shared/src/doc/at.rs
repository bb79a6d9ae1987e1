//! A place in the document: a value with its path, so that everything wrong is said with where it is.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub struct At<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> At<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[must_use]
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// What stands under a key; `null` counts as nothing.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(At { path: self.below(key), value })
    }

    /// An error about this place.
    #[must_use]
    pub fn wrong(&self, what: impl Into<String>) -> Error {
        Error::document(self.path.clone(), what)
    }

    /// # Errors
    /// That it is no string.
    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    /// A string, or a number or truth value as Compose writes it in a string.
    ///
    /// # Errors
    /// That it is none of these.
    pub fn scalar(&self) -> Result<String> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(self.value.to_string()),
            _ => Err(self.expected("a string, a number, or true or false")),
        }
    }

    /// # Errors
    /// That it is neither `true` nor `false`.
    pub fn truth(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// A whole number in a range, as a number or (as Compose prints some) in a string.
    ///
    /// # Errors
    /// That it is none, or out of the range.
    pub fn whole(&self, range: RangeInclusive<i32>) -> Result<i32> {
        let number = self.scalar().ok().and_then(|text| text.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.expected(&format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// A number in a range, as a number or in a string.
    ///
    /// # Errors
    /// That it is none, or out of the range.
    pub fn number(&self, range: RangeInclusive<f64>) -> Result<f64> {
        let number = self.scalar().ok().and_then(|text| text.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.expected(&format!("a number from {} to {}", range.start(), range.end())))
    }

    /// # Errors
    /// That it is no list.
    pub fn list(&self) -> Result<Vec<At<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.expected("a list"))?;
        Ok(items.iter().enumerate().map(|(i, value)| At { path: format!("{}[{i}]", self.path), value }).collect())
    }

    /// # Errors
    /// That it is no object.
    pub fn entries(&self) -> Result<Vec<(&'a str, At<'a>)>> {
        let object = self.value.as_object().ok_or_else(|| self.expected("an object"))?;
        Ok(object.iter().map(|(key, value)| (key.as_str(), At { path: self.below(key), value })).collect())
    }

    /// # Errors
    /// Where, below this place, it is not of the type.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T> {
        typed(self.value, &self.path)
    }

    /// Wishes of one kind under a key: flag over document. [`super::Document::wish`] is the way to it.
    ///
    /// # Errors
    /// Where and how the document's wish is wrong.
    pub(super) fn wish<T: Serialize + DeserializeOwned>(&self, key: &str, flags: &T) -> Result<T> {
        let mut wishes = match self.key(key) {
            Some(at) => at.value.as_object().cloned().ok_or_else(|| at.expected("an object"))?,
            None => Map::new(),
        };
        if let Ok(Value::Object(flags)) = serde_json::to_value(flags) {
            wishes.extend(flags.into_iter().filter(|(_, value)| !value.is_null()));
        }
        typed(&Value::Object(wishes), &self.below(key))
    }

    /// An error about the kind of thing that stands here.
    #[must_use]
    pub fn expected(&self, kind: &str) -> Error {
        let found = match self.value {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::String(_) if self.may_be_secret() => "a string".to_owned(),
            value => short(&value.to_string()),
        };
        self.wrong(format!("expected {kind}, found {found}"))
    }

    /// People put passwords there, whatever the documentation says.
    fn may_be_secret(&self) -> bool {
        self.path.split(['.', '[']).any(|step| ["environment", "args", "secrets"].contains(&step))
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn short(text: &str) -> String {
    if text.len() <= 60 { text.to_owned() } else { text.chars().take(60).collect::<String>() + "…" }
}

fn typed<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let path = match inner.as_str() {
            "." => path.to_owned(),
            inner if inner.starts_with('[') => format!("{path}{inner}"),
            inner => format!("{path}.{inner}"),
        };
        let said = error.inner().to_string();
        // What our types are called says nothing to who has written the document.
        let words = match said.split_once(", expected ") {
            Some((found, "u8" | "u16" | "u32" | "i32")) => format!("{found}, expected a whole number"),
            Some((found, "f64")) => format!("{found}, expected a number"),
            Some((found, kind)) if kind.starts_with("struct ") => format!("{found}, expected an object"),
            _ => said,
        };
        Error::document(path, words)
    })
}
