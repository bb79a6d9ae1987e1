//! The document that flows through the pipe: a JSON value of which each section is a typed view.

mod at;
mod compose;
mod sections;
mod unique;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use at::At;
pub use compose::{Selection, platform};
pub use sections::{AMD64, ARM64, Caller, Capacity, Cluster, Image, Img, LaunchType, Net, ServiceRecord, Svc};

use crate::error::{Error, Result};
use crate::name::check_app;

/// Keys that no tool knows stay as they are, in their order, numbers to the digit.
#[derive(Debug, Clone)]
pub struct Document {
    value: Value,
    /// Shared by copies, so that none is lost.
    warnings: Rc<RefCell<Vec<String>>>,
}

impl Default for Document {
    fn default() -> Self {
        Self::of(Value::Object(Map::new()))
    }
}

impl Document {
    /// # Errors
    /// [`Error::Document`] when the text is no JSON object.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            Error::document("stdin", format!("not JSON: {error}. A Compose file becomes JSON with `docker compose config --format json`"))
        })?;
        if let Some(place) = unique::twice(text) {
            return Err(Error::document(place, "stands there twice: take one of the two out"));
        }
        if value.is_object() { Ok(Self::of(value)) } else { Err(Error::document("stdin", "not a JSON object")) }
    }

    fn of(value: Value) -> Self {
        Self { value, warnings: Rc::default() }
    }

    /// Something in the document has no effect; said once, when all of it has been read.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.borrow_mut().push(text.into());
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The root, for reading by path.
    #[must_use]
    pub fn root(&self) -> At<'_> {
        At::root(&self.value)
    }

    /// The app's name.
    ///
    /// # Errors
    /// That there is none, or that it can't be one.
    pub fn name(&self) -> Result<&str> {
        let name =
            self.root().key("name").ok_or_else(|| Error::document("name", "the app has no name: give `name` in the document, or --app"))?;
        let text = name.text()?;
        check_app(text, name.path())?;
        Ok(text)
    }

    /// # Errors
    /// That the name can't be one; a wrong flag, so [`Error::Usage`].
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

    /// A section, if it is there.
    ///
    /// # Errors
    /// Where and how it is wrong.
    pub fn view<T: DeserializeOwned>(&self, section: &str) -> Result<Option<T>> {
        self.root().key(section).map(|at| at.typed()).transpose()
    }

    /// A section that a stage before has made.
    ///
    /// # Errors
    /// That it is missing, or where and how it is wrong.
    pub fn need<T: DeserializeOwned>(&self, section: &'static str, maker: &'static str) -> Result<T> {
        self.view(section)?.ok_or(Error::Missing { section, maker })
    }

    /// The first section of these that is not there is an error.
    pub(crate) fn check_needs(&self, needs: &[(&'static str, &'static str)]) -> Result<()> {
        needs.iter().try_for_each(|(section, maker)| self.need::<Value>(section, maker).map(drop))
    }

    /// That what these sections name is made, and not only planned.
    pub(crate) fn check_made<'a>(&self, sections: impl Iterator<Item = &'a str>) -> Result<()> {
        match sections.filter_map(|section| self.root().key(section)).find(|at| is_planned(at.value())) {
            Some(at) => Err(at.wrong(
                "has ids that are null: this document is of a plan (--plan), in which nothing is made. Run the stages before without --plan",
            )),
            None => Ok(()),
        }
    }

    /// Wishes of one kind: flag over document. `T` is the type of both, with every field optional.
    ///
    /// # Errors
    /// Where and how the document's wish is wrong.
    pub fn wish<T: Serialize + DeserializeOwned + JsonSchema>(&self, at: &At<'_>, key: &str, flags: &T) -> Result<T> {
        self.warn_of_unknown::<T>(at, key)?;
        at.wish(key, flags)
    }

    /// A wish that `T` does not know is warned of: a slip of the pen would otherwise be a wish unheard.
    ///
    /// # Errors
    /// That what stands there is no object.
    pub fn warn_of_unknown<T: JsonSchema>(&self, at: &At<'_>, key: &str) -> Result<()> {
        let schema = schemars::schema_for!(T).to_value();
        for (name, place) in at.key(key).map_or_else(|| Ok(Vec::new()), |at| at.entries())? {
            if schema["properties"].get(name).is_none() {
                self.warn(format!("{} is not known to this version and has no effect", place.path()));
            }
        }
        Ok(())
    }

    /// The user's tags: the flags' over those of `x-tags`.
    ///
    /// # Errors
    /// Where `x-tags` is not an object of strings.
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

    /// Writes a section; it stands last, or where it stood.
    pub fn put(&mut self, section: &str, value: Value) {
        if let Value::Object(root) = &mut self.value {
            root.insert(section.to_owned(), value);
        }
    }

    /// Takes a section out; the others keep their order.
    pub fn take(&mut self, section: &str) {
        if let Value::Object(root) = &mut self.value {
            root.shift_remove(section);
        }
    }
}

/// The JSON schema of a tool's part of the document, with what all tools read.
#[must_use]
pub fn schema<P: JsonSchema>() -> Value {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Part<P> {
        /// The app's: `[a-z][a-z0-9-]{0,18}[a-z0-9]`
        name: Option<String>,
        /// The user's own tags of all that is made
        #[schemars(rename = "x-tags")]
        x_tags: Option<BTreeMap<String, String>>,
        aws: Option<Caller>,
        #[schemars(flatten)]
        own: P,
    }
    schemars::schema_for!(Part<P>).to_value()
}

/// Whether what a section is about has no id yet; other ids are `null` also when there is no such thing.
fn is_planned(section: &Value) -> bool {
    match section {
        Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| if value.is_null() { ["arn", "uri", "vpc_id"].contains(&key.as_str()) } else { is_planned(value) }),
        Value::Array(ids) => ids.contains(&Value::Null),
        _ => false,
    }
}

/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
const RETENTIONS: &[i32] = &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// Tags that users may give: what all of AWS's services take.
/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html#tag-conventions>
///
/// # Errors
/// That one of them is AWS's or ours, too long, or has a character that a tag can't have.
pub fn check_tags(path: &str, tags: &[(String, String)]) -> Result<()> {
    let fits = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c));
    for (key, value) in tags {
        let shown: String = key.chars().take(128).collect();
        let wrong = |what: &str| Err(Error::document(format!("{path}.{shown}"), what));
        if key.starts_with("ecs-pipe:") || key.starts_with("aws:") {
            return wrong("tags that begin with ecs-pipe: or aws: are not yours to give");
        } else if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return wrong("a tag's key has 1 to 128 characters, its value 256 at most");
        } else if !fits(key) || !fits(value) {
            return wrong("a tag has letters, digits, spaces and _ . : / = + - @");
        }
    }
    Ok(())
}

/// Days that log lines are kept.
///
/// # Errors
/// That CloudWatch Logs does not know this number.
pub fn check_retention(path: &str, days: i32) -> Result<i32> {
    if RETENTIONS.contains(&days) {
        Ok(days)
    } else {
        Err(Error::document(path, format!("{days} days: CloudWatch Logs knows {RETENTIONS:?}")))
    }
}
