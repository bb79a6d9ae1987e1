//! The document as it was read, to be read by path and written section by section.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::at::At;
use super::check::{check_all_tags, check_tags};
use super::{dollar, profile, unique, yaml};
use crate::error::{Error, Result};
use crate::name::check_app;

/// Keys that no tool knows stay as they are, in their order, numbers to the digit.
#[derive(Debug, Clone)]
pub struct Document {
    value: Value,
    /// Shared by copies, so that none is lost.
    said: Rc<Said>,
}

/// What reading found.
#[derive(Debug, Default)]
struct Said {
    warnings: RefCell<Vec<Warning>>,
    findings: RefCell<Vec<Error>>,
}

#[derive(Debug)]
struct Warning {
    code: &'static str,
    places: Vec<String>,
    text: String,
}

/// Places of one warning that are printed.
const PLACES: usize = 4;

impl Warning {
    fn shown(&self) -> String {
        let Self { places, text, .. } = self;
        let more = places.len().saturating_sub(PLACES);
        match places.as_slice() {
            [] => text.clone(),
            _ if more > 0 => format!("{} and {more} more: {text}", places[..PLACES].join(", ")),
            all => format!("{}: {text}", all.join(", ")),
        }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::of(Value::Object(Map::new()))
    }
}

impl Document {
    /// Reads a document with all its services, whatever profiles they have.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn parse(text: &[u8]) -> Result<Self> {
        Self::read(text, &[profile::ALL.to_owned()])
    }

    /// Reads YAML or JSON. Without the section `aws` it is a Compose model: `$$` means `$`, and only services of these profiles are enabled, beside those
    /// without a profile; no tool has written it yet.
    ///
    /// # Errors
    /// Returns [`Error::Document`] when the text is neither, or not an object.
    pub fn read(text: &[u8], profiles: &[String]) -> Result<Self> {
        let is_json = text.trim_ascii_start().starts_with(b"{");
        let value = if is_json { json(text)? } else { yaml::parse(text)? };
        if !value.is_object() {
            return Err(Error::document("not-a-document", "stdin", "must be a Compose model in YAML or JSON, which is an object"));
        }
        let mut doc = Self::of(value);
        if doc.root().key("aws").is_none() {
            if doc.from_compose_json() {
                doc.warn(
                    "compose-json",
                    "the document is JSON as `docker compose config --format json` prints it, which leaves out the x-… keys of services and volumes. Pipe its YAML instead: `docker compose config`",
                );
            }
            for (service, its) in profile::select(&mut doc.value, profiles) {
                let (all, first) = (its.join(", "), its.first().cloned().unwrap_or_default());
                doc.warn(
                    "profile-not-enabled",
                    format!(
                        "services.{service} is left out, because none of its profiles ({all}) is enabled. To deploy it, set COMPOSE_PROFILES={first}, or --compose-profile {first}"
                    ),
                );
            }
            doc.said.findings.replace(dollar::single(&mut doc.value));
        }
        Ok(doc)
    }

    pub(super) fn of(value: Value) -> Self {
        Self { value, said: Rc::default() }
    }

    /// Returns whether `docker compose config --format json` has printed it, without the `x-…` keys of services and volumes. That JSON, also as part
    /// of a live document, has `command` and `entrypoint` for every service; YAML leaves out those without a value.
    #[must_use]
    pub fn from_compose_json(&self) -> bool {
        let services = self.root().key("services").and_then(|at| at.value().as_object());
        let both: Option<Vec<_>> =
            services.and_then(|all| all.values().map(|service| service.get("command").zip(service.get("entrypoint"))).collect());
        both.is_some_and(|all| all.iter().any(|(command, entrypoint)| command.is_null() || entrypoint.is_null()))
    }

    /// Keeps an error for the end, so that one run reports everything that is wrong.
    pub fn keep<T>(&self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.said.findings.borrow_mut().push(error)).ok()
    }

    /// Returns all values, or the last error; the errors before it are kept, so that one run reports them, too.
    ///
    /// # Errors
    /// Fails when one of the results is an error.
    pub fn all<T>(&self, results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
        let (mut values, mut last) = (Vec::new(), None);
        for result in results {
            match result {
                Ok(value) => values.push(value),
                Err(error) => self.said.findings.borrow_mut().extend(last.replace(error)),
            }
        }
        last.map_or(Ok(values), Err)
    }

    /// Returns both values, or the second error; the first one is then kept.
    ///
    /// # Errors
    /// Fails when one of the results is an error.
    pub fn both<A, B>(&self, first: Result<A>, second: Result<B>) -> Result<(A, B)> {
        match (first, second) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(a), Err(b)) => {
                self.said.findings.borrow_mut().push(a);
                Err(b)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Changes the errors that are kept so far, for example to blame a flag for a value that came from it.
    pub fn change_findings(&self, change: impl FnMut(Error) -> Error) {
        let mut findings = self.said.findings.borrow_mut();
        *findings = findings.drain(..).map(change).collect();
    }

    pub(crate) fn findings(&self) -> Vec<Error> {
        self.said.findings.take()
    }

    /// Warns of something in the document; printed when all of it has been read.
    pub fn warn(&self, code: &'static str, text: impl Into<String>) {
        self.add_warning(code, None, text.into());
    }

    /// Warns of something at a place. The same about several places is one warning.
    pub fn warn_at(&self, code: &'static str, place: &At<'_>, text: impl Into<String>) {
        self.add_warning(code, Some(place.path().to_owned()), text.into());
    }

    fn add_warning(&self, code: &'static str, place: Option<String>, text: String) {
        let mut warnings = self.said.warnings.borrow_mut();
        let is_same = |other: &&mut Warning| other.code == code && other.text == text && other.places.is_empty() == place.is_none();
        match warnings.iter_mut().find(is_same) {
            Some(other) => other.places.extend(place.filter(|place| !other.places.contains(place))),
            None => warnings.push(Warning { code, places: place.into_iter().collect(), text }),
        }
    }

    /// Returns the warnings, each once, and forgets them.
    #[must_use]
    pub fn warnings(&self) -> Vec<(&'static str, String)> {
        self.said.warnings.take().into_iter().map(|warning| (warning.code, warning.shown())).collect()
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
        check_all_tags("x-tags", &tags)?;
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

pub(super) fn json(text: &[u8]) -> Result<Value> {
    let value = serde_json::from_slice(text).map_err(|error| not_json(&error))?;
    match unique::twice(text) {
        Some(place) => Err(Error::document("key-twice", place, "this key occurs twice in the same object. Remove one of the two")),
        None => Ok(value),
    }
}

pub(super) fn not_json(error: &serde_json::Error) -> Error {
    Error::document("not-json", "stdin", format!("not JSON: {error}. Pipe the output of `docker compose config` into the first tool"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_names_all_its_places() {
        let doc = Document::parse(br#"{"a": {"b": 1, "c": 2, "d": 3, "e": 4, "f": 5}}"#).unwrap();
        let warn = |key: &str| doc.warn_at("test", &doc.root().key("a").unwrap().key(key).unwrap(), "has no effect");
        warn("b");
        warn("b");
        assert_eq!(doc.warnings(), [("test", "a.b: has no effect".to_owned())]);
        ["b", "c", "d", "e", "f"].into_iter().for_each(warn);
        doc.warn("test", "has no effect");
        let all = ["a.b, a.c, a.d, a.e and 1 more: has no effect", "has no effect"];
        assert_eq!(doc.warnings(), all.map(|text| ("test", text.to_owned())));
    }
}
