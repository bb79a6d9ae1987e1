//! Who owns a resource: the tags that ecs-pipe writes, and what it leaves alone because they are missing.

use std::collections::{BTreeMap, HashMap};

use crate::diff::Diff;
use crate::error::{Error, Result, Tried};
use crate::run::Run;

pub use crate::tag::{TAG_APP, TAG_KEYS, TAG_NAME, TAG_STAGE};

/// Characters of a tag's value.
/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html>
pub const LONGEST_VALUE: usize = 256;

/// A tag as the SDKs return it.
pub type Pair<'a> = (Option<&'a str>, Option<&'a str>);

impl Run {
    /// Returns the tags of a resource: its app, its tool, its name, the `Name` that AWS's console shows, and the user's own.
    #[must_use]
    pub fn tags(&self, name: &str) -> Vec<(String, String)> {
        let ours = [(TAG_APP, self.app.as_str()), (TAG_STAGE, self.tool), (TAG_NAME, name)];
        let mut tags: Vec<_> = ours.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        tags.push(("Name".to_owned(), self.named(name)));
        // IAM ignores the case of keys.
        tags.retain(|(key, _)| !self.user_tags.iter().any(|(user, _)| user.eq_ignore_ascii_case(key)));
        tags.extend(self.user_tags.iter().cloned());
        with_keys(tags)
    }

    /// Sorts found resources by their `ecs-pipe:name`. Those that do not belong to this app and tool are left out, whatever the filter returned.
    ///
    /// # Errors
    /// Names the ids of two resources under one name, and of a resource without a name.
    pub fn by_name<T, G>(
        &self,
        kind: &str,
        items: Vec<T>,
        tags: fn(&T) -> &[G],
        pair: fn(&G) -> Pair<'_>,
        id: fn(&T) -> Option<&str>,
    ) -> Result<BTreeMap<String, T>> {
        let mut found: BTreeMap<String, T> = BTreeMap::new();
        for item in items.into_iter().filter(|item| self.is_ours(tags(item).iter().map(pair))) {
            let mut pairs = tags(&item).iter().map(pair);
            let name = pairs.find(|(key, _)| *key == Some(TAG_NAME)).and_then(|(_, value)| value).unwrap_or_default().to_owned();
            let id_of = |item: &T| id(item).unwrap_or("without an ID").to_owned();
            if name.is_empty() {
                return Err(nameless(kind, &id_of(&item), &self.app));
            }
            if let Some(other) = found.get(&name) {
                return Err(twice(kind, [&id_of(other), &id_of(&item)], &self.app, &name));
            }
            found.insert(name, item);
        }
        Ok(found)
    }

    /// Returns whether these tags say that the resource belongs to this app and that this tool created it.
    pub fn is_ours<'a>(&self, tags: impl IntoIterator<Item = Pair<'a>>) -> bool {
        let (mut app, mut stage) = (false, false);
        for (key, value) in tags {
            app |= key == Some(TAG_APP) && value == Some(&self.app);
            stage |= key == Some(TAG_STAGE) && value == Some(self.tool);
        }
        app && stage
    }

    /// Returns whether these tags say that the resource belongs to this app, whichever tool created it.
    pub fn is_of_app<'a>(&self, tags: impl IntoIterator<Item = Pair<'a>>) -> bool {
        tags.into_iter().any(|(key, value)| key == Some(TAG_APP) && value == Some(&self.app))
    }

    /// Returns whether `--down` may delete this. A resource that has our name, but not our tags, is kept with a warning.
    #[must_use]
    pub fn may_delete(&self, kind: &str, name: &str, ours: bool) -> bool {
        if !ours {
            self.warn(
                "unmanaged-kept",
                format!("the {kind} {name} is kept: its tags do not say that {} created it for the app {}", self.tool, self.app),
            );
        }
        ours
    }

    /// Refuses to touch a resource that has our name but not our tags.
    #[must_use]
    pub fn unmanaged(&self, kind: &str, name: &str) -> Error {
        let article = if kind.to_lowercase().starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
        Error::failed(
            "unmanaged-name",
            format!(
                "could not use the name {name}: {article} {kind} of this name exists, and its tags do not say that {} created it for the app {}. It was not changed. Rename the app, or rename or delete that {kind}, and run the same command again",
                self.tool, self.app
            ),
        )
    }

    /// Sets the tags that a found resource lacks, or has with another value, and removes those that an earlier document set and this one does not.
    /// Other tags on it are left alone.
    ///
    /// # Errors
    /// As [`Run::change`].
    pub async fn settle_tags<'a, S, SE, R, RE>(
        &self,
        kind: &str,
        name: &str,
        wanted: Vec<(String, String)>,
        found: impl IntoIterator<Item = Pair<'a>>,
        set: impl AsyncFnOnce(Vec<(String, String)>) -> Result<S, SE>,
        remove: impl AsyncFnOnce(Vec<String>) -> Result<R, RE>,
    ) -> Result<()>
    where
        Result<S, SE>: Tried<S>,
        Result<R, RE>: Tried<R>,
    {
        let found: BTreeMap<&str, &str> = found.into_iter().filter_map(|(key, value)| Some((key?, value.unwrap_or_default()))).collect();
        let left = left(&wanted, &found);
        let missing: Vec<(String, String)> =
            wanted.into_iter().filter(|(key, value)| found.get(key.as_str()) != Some(&value.as_str())).collect();
        let diff = missing.iter().fold(Diff::new(), |diff, (key, value)| {
            let (was, is) = (found.get(key.as_str()).copied(), value.as_str());
            // A tag without a value is not the same as no tag.
            diff.field(&format!("tags.{key}"), was.map(quoted), Some(quoted(is)))
        });
        let was = |key: &String| found.get(key.as_str()).map(|was| quoted(was));
        let diff = left.iter().fold(diff, |diff, key| diff.field(&format!("tags.{key}"), was(key), None::<String>));
        // First those that are removed: to IAM, `name` is the same key as `Name`.
        self.change(kind, name, &diff, async {
            if !left.is_empty() {
                remove(left.clone()).await.tried(format!("remove tags of the {kind} {name}"))?;
            }
            if !missing.is_empty() {
                set(missing).await.tried(format!("tag the {kind} {name}"))?;
            }
            Ok(())
        })
        .await
    }
}

/// Returns the tags with the one that names the user's own. A key with a space is not named, because a space is what separates them.
#[must_use]
pub fn with_keys(mut tags: Vec<(String, String)>) -> Vec<(String, String)> {
    tags.retain(|(key, _)| key != TAG_KEYS);
    let is_users = |key: &&str| !key.starts_with("ecs-pipe:") && *key != "Name" && !key.contains(' ');
    let mut keys = String::new();
    for key in tags.iter().map(|(key, _)| key.as_str()).filter(is_users) {
        if keys.len() + key.len() < LONGEST_VALUE {
            let space = if keys.is_empty() { "" } else { " " };
            keys = format!("{keys}{space}{key}");
        }
    }
    if !keys.is_empty() {
        tags.push((TAG_KEYS.to_owned(), keys));
    }
    tags
}

/// Returns the keys of the tags that an earlier document set and this one does not.
fn left(wanted: &[(String, String)], found: &BTreeMap<&str, &str>) -> Vec<String> {
    let keys = found.get(TAG_KEYS).copied().unwrap_or_default().split(' ').chain([TAG_KEYS]);
    let left = keys.filter(|key| found.contains_key(key) && !wanted.iter().any(|(wanted, _)| wanted == key));
    left.map(str::to_owned).collect()
}

fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() }
}

fn nameless(kind: &str, id: &str, app: &str) -> Error {
    Error::failed(
        "tag-missing",
        format!(
            "could not tell what the {kind} {id} is for: it has the tags of the app {app}, but no tag {TAG_NAME}. Set that tag again, or remove its tag {TAG_APP}, and run the same command again"
        ),
    )
}

fn twice(kind: &str, ids: [&str; 2], app: &str, name: &str) -> Error {
    let [one, other] = ids;
    Error::failed(
        "two-of-one-name",
        format!(
            "could not choose between the {kind} {one} and the {kind} {other}: both have the tags of the app {app} and the name {name:?}. Find out which one is in use, delete the other one or its tag {TAG_APP}, and run the same command again"
        ),
    )
}

/// Returns tags that a service keeps in a map as pairs.
pub fn pairs<S>(tags: &HashMap<String, String, S>) -> impl Iterator<Item = Pair<'_>> {
    tags.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str())))
}

/// Declares `pair` and `aws_tags` for a service's own type of tags: `shared::tagging!(aws_sdk_ec2::types::Tag);`.
#[macro_export]
macro_rules! tagging {
    ($tag:ty) => {
        /// Returns a tag's key and value.
        pub fn pair(tag: &$tag) -> $crate::owner::Pair<'_> {
            ($crate::owner::Text::text(tag.key()), $crate::owner::Text::text(tag.value()))
        }

        /// Returns tags as the service takes them.
        pub fn aws_tags(tags: Vec<(String, String)>) -> Vec<$tag> {
            tags.into_iter()
                .filter_map(|(key, value)| $crate::owner::Built::built(<$tag>::builder().key(key).value(value).build()))
                .collect()
        }
    };
}

/// Some SDKs return a tag's key as `&str`, others as `Option<&str>`.
pub trait Text<'a> {
    fn text(self) -> Option<&'a str>;
}

impl<'a> Text<'a> for &'a str {
    fn text(self) -> Option<&'a str> {
        Some(self)
    }
}

impl<'a> Text<'a> for Option<&'a str> {
    fn text(self) -> Option<&'a str> {
        self
    }
}

/// Some SDKs check that a tag has a key and a value when it is built. Here it always has both.
pub trait Built<T> {
    fn built(self) -> Option<T>;
}

impl<T, E> Built<T> for Result<T, E> {
    fn built(self) -> Option<T> {
        self.ok()
    }
}

impl<T> Built<T> for T {
    fn built(self) -> Option<T> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::run;

    /// A resource with its id and tags.
    type Thing = (&'static str, Vec<(&'static str, &'static str)>);

    fn named(name: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![(TAG_APP, "shop"), (TAG_STAGE, "net-up"), (TAG_NAME, name)]
    }

    fn sorted(things: Vec<Thing>) -> Result<Vec<String>, String> {
        let found = run().by_name("subnet", things, |thing| &thing.1, |(key, value)| (Some(key), Some(value)), |thing| Some(thing.0));
        found.map(|found| found.into_keys().collect()).map_err(|error| format!("[{}] {error}", error.code()))
    }

    #[test]
    fn resources_are_found_by_their_name_tag() {
        let other_app = vec![(TAG_APP, "shop-b"), (TAG_STAGE, "net-up"), (TAG_NAME, "public-1")];
        let other_tool = vec![(TAG_APP, "shop"), (TAG_STAGE, "cluster-up"), (TAG_NAME, "public-1")];
        let all = vec![("b", named("public-2")), ("a", named("public-1")), ("c", other_app), ("d", other_tool), ("e", Vec::new())];
        assert_eq!(sorted(all), Ok(vec!["public-1".to_owned(), "public-2".to_owned()]));
    }

    #[test]
    fn two_of_one_name_are_reported_with_their_ids() {
        let said = sorted(vec![("subnet-1", named("public-1")), ("subnet-2", named("public-1"))]).unwrap_err();
        assert!(said.starts_with("[two-of-one-name]") && said.contains("subnet-1") && said.contains("subnet-2"), "{said}");
    }

    #[test]
    fn one_without_a_name_is_reported_with_its_id() {
        let said = sorted(vec![("subnet-1", vec![(TAG_APP, "shop"), (TAG_STAGE, "net-up")])]).unwrap_err();
        assert!(said.starts_with("[tag-missing]") && said.contains("subnet-1"), "{said}");
    }

    #[test]
    fn the_users_tags_go_over_ours_without_regard_to_case() {
        let run = Run { user_tags: vec![("name".to_owned(), "mine".to_owned())], ..run() };
        let tags = run.tags("public-1");
        let keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, [TAG_APP, TAG_STAGE, TAG_NAME, "name", TAG_KEYS]);
    }

    #[test]
    fn tags_that_left_the_document_are_known() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let before = [pair(TAG_APP, "shop"), pair("Name", "web"), pair("team", "a"), pair("cost", "b"), pair("a b", "c")];
        let before = with_keys(before.to_vec());
        assert_eq!(before.last(), Some(&pair(TAG_KEYS, "team cost")));
        assert_eq!(with_keys(before.clone()), before);
        let mut found: BTreeMap<&str, &str> = before.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        found.insert("theirs", "x");
        assert_eq!(left(&before, &found), [""; 0]);
        assert_eq!(left(&with_keys(vec![pair("cost", "b")]), &found), ["team"]);
        assert_eq!(left(&with_keys(vec![pair("Name", "web")]), &found), ["team", "cost", TAG_KEYS]);
    }
}
