//! The document as it was read, to be read by path and written section by section.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::at::At;
use super::check::check_tags;
use super::unique;
use crate::error::{Error, Result};
use crate::name::check_app;

/// Keys that no tool knows stay as they are, in their order, numbers to the digit.
#[derive(Debug, Clone)]
pub struct Document {
    value: Value,
    /// Shared by copies, so that none is lost.
    warnings: Rc<RefCell<Vec<(&'static str, String)>>>,
}

impl Default for Document {
    fn default() -> Self {
        Self::of(Value::Object(Map::new()))
    }
}

impl Document {
    /// # Errors
    /// Returns [`Error::Document`] when the text is not a JSON object.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            Error::document(
                "not-json",
                "stdin",
                format!("not JSON: {error}. Convert a Compose file with `docker compose config --format json`"),
            )
        })?;
        if let Some(place) = unique::twice(text) {
            return Err(Error::document("key-twice", place, "this key occurs twice in the same object. Remove one of the two"));
        }
        if value.is_object() { Ok(Self::of(value)) } else { Err(Error::document("not-a-document", "stdin", "must be a JSON object")) }
    }

    fn of(value: Value) -> Self {
        Self { value, warnings: Rc::default() }
    }

    /// Warns of something in the document; printed when all of it has been read.
    pub fn warn(&self, code: &'static str, text: impl Into<String>) {
        self.warnings.borrow_mut().push((code, text.into()));
    }

    pub(crate) fn warnings(&self) -> Vec<(&'static str, String)> {
        self.warnings.take()
    }

    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The root, for reading by path.
    #[must_use]
    pub fn root(&self) -> At<'_> {
        At::of(String::new(), &self.value)
    }

    /// Returns the app's name.
    ///
    /// # Errors
    /// Fails when there is none, or one that no app can have.
    pub fn name(&self) -> Result<&str> {
        let name = self
            .root()
            .key("name")
            .ok_or_else(|| Error::document("no-name", "name", "the app has no name. Add `name` to the document, or set --app"))?;
        let text = name.text()?;
        check_app(text, name.path())?;
        Ok(text)
    }

    /// Sets the app's name, from the flag `--app`.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] when no app can have this name.
    pub fn set_name(&mut self, name: &str) -> Result<()> {
        check_app(name, "--app").map_err(Error::of_flag)?;
        if let Value::Object(root) = &mut self.value {
            // A new name comes first, as Compose prints it; an old one keeps its place.
            if root.contains_key("name") {
                root.insert("name".to_owned(), name.into());
            } else {
                root.shift_insert(0, "name".to_owned(), name.into());
            }
        }
        Ok(())
    }

    /// Returns a section, if the document has it.
    ///
    /// # Errors
    /// Says where and how it is wrong.
    pub fn view<T: DeserializeOwned>(&self, section: &str) -> Result<Option<T>> {
        self.root().key(section).map(|at| at.typed()).transpose()
    }

    /// Returns a section that an earlier tool has written.
    ///
    /// # Errors
    /// Fails when it is missing, and says where and how it is wrong.
    pub fn need<T: DeserializeOwned>(&self, section: &'static str, maker: &'static str) -> Result<T> {
        self.view(section)?.ok_or(Error::Missing { section, maker })
    }

    /// Checks that all these sections are there.
    pub(crate) fn check_needs(&self, needs: &[(&'static str, &'static str)]) -> Result<()> {
        needs.iter().try_for_each(|(section, maker)| self.need::<Value>(section, maker).map(drop))
    }

    /// Checks that what these sections name exists, and is not only planned.
    pub(crate) fn check_made<'a>(&self, sections: impl Iterator<Item = &'a str>) -> Result<()> {
        match sections.filter_map(|section| self.root().key(section)).find(|at| is_planned(at.value())) {
            Some(at) => Err(at.wrong(
                "planned-document",
                "has IDs that are null, because the document comes from --plan, which creates nothing. Run the tools before this one without --plan",
            )),
            None => Ok(()),
        }
    }

    /// Returns the user's tags: those of the flags over those of `x-tags`.
    ///
    /// # Errors
    /// Fails where `x-tags` is not an object of strings, or a tag is not valid.
    pub fn tags(&self, flags: &[(String, String)]) -> Result<Vec<(String, String)>> {
        check_tags("--tag", flags).map_err(Error::of_flag)?;
        let mut tags: Vec<(String, String)> = Vec::new();
        if let Some(at) = self.root().key("x-tags") {
            for (key, value) in at.entries()? {
                tags.push((key.to_owned(), value.text()?.to_owned()));
            }
        }
        tags.retain(|(key, _)| !flags.iter().any(|(flag, _)| flag == key));
        tags.extend(flags.iter().cloned());
        check_tags("x-tags", &tags)?;
        Ok(tags)
    }

    /// Writes a section: where it was, or at the end.
    pub fn put(&mut self, section: &str, value: Value) {
        if let Value::Object(root) = &mut self.value {
            root.insert(section.to_owned(), value);
        }
    }

    /// Removes a section; the others keep their order.
    pub fn remove(&mut self, section: &str) {
        if let Value::Object(root) = &mut self.value {
            root.shift_remove(section);
        }
    }
}

/// Returns whether the section's own resource has no id yet; other ids are `null` also when there is no such resource.
fn is_planned(section: &Value) -> bool {
    match section {
        Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| if value.is_null() { ["arn", "uri", "vpc_id"].contains(&key.as_str()) } else { is_planned(value) }),
        Value::Array(ids) => ids.contains(&Value::Null),
        _ => false,
    }
}
