//! The tags of services and task definitions.

use aws_sdk_ecs::types::Tag;
use serde_json::{Value, json};
use shared::{Diff, Result, Run, Tried};

use crate::SvcDeploy;

shared::tagging!(aws_sdk_ecs::types::Tag);

/// Returns tags as a request in AWS's own JSON has them.
pub fn json(tags: Vec<(String, String)>) -> Value {
    tags.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// Returns the value of a tag.
pub fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

/// The tag of a service with the keys of the document's own tags, so that a run knows which ones have left the document.
const OF_DOCUMENT: &str = "ecs-pipe:tags";
/// Characters of a tag's value.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html>
pub const LONGEST_VALUE: usize = 256;

/// Adds the tag that names the others. A key with a space is not named, because a space is what separates them.
pub fn with_names(mut tags: Vec<(String, String)>) -> Vec<(String, String)> {
    let of_document = |key: &&str| !key.starts_with("ecs-pipe:") && *key != "Name" && !key.contains(' ');
    let mut names = String::new();
    for key in tags.iter().map(|(key, _)| key.as_str()).filter(of_document) {
        if names.len() + key.len() < LONGEST_VALUE {
            let space = if names.is_empty() { "" } else { " " };
            names = format!("{names}{space}{key}");
        }
    }
    if !names.is_empty() {
        tags.push((OF_DOCUMENT.to_owned(), names));
    }
    tags
}

/// Returns the tags that an earlier document set and this one does not.
fn left<'a>(wanted: &[(String, String)], found: &'a [Tag]) -> Vec<(&'a str, &'a str)> {
    let names = value(found, OF_DOCUMENT).unwrap_or_default().split(' ').chain([OF_DOCUMENT]);
    let left = names.filter(|name| !wanted.iter().any(|(key, _)| key == name));
    left.filter_map(|name| Some((name, value(found, name)?))).collect()
}

impl SvcDeploy {
    /// Removes the tags of a found service that have left the document.
    pub async fn remove_ecs_tags(&self, run: &Run, arn: &str, wanted: &[(String, String)], found: &[Tag]) -> Result<()> {
        let left = left(wanted, found);
        let diff = left.iter().fold(Diff::new(), |diff, (key, value)| diff.field(&format!("tags.{key}"), Some(*value), None::<&str>));
        run.change("service", arn, &diff, async {
            let keys = left.iter().map(|(key, _)| (*key).to_owned()).collect();
            let call = self.ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
            call.send().await.tried(format!("remove tags of the service {arn}")).map(drop)
        })
        .await
    }

    /// Sets the tags that a found service or task definition lacks.
    pub async fn settle_ecs_tags(&self, run: &Run, kind: &str, arn: &str, wanted: Vec<(String, String)>, found: &[Tag]) -> Result<()> {
        run.settle_tags(kind, arn, wanted, found.iter().map(pair), async |missing| {
            let call = self.ecs.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing)));
            call.send().await.tried(format!("tag the {kind} {arn}")).map(drop)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_left_the_document_are_known() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let before =
            with_names(vec![pair("ecs-pipe:app", "shop"), pair("Name", "web"), pair("team", "a"), pair("cost", "b"), pair("a b", "c")]);
        assert_eq!(before.last(), Some(&pair(OF_DOCUMENT, "team cost")));
        let theirs = [pair("theirs", "x")];
        let found: Vec<Tag> = before.iter().chain(&theirs).map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        assert_eq!(left(&before, &found), []);
        assert_eq!(left(&with_names(vec![pair("cost", "b")]), &found), [("team", "a")]);
        assert_eq!(left(&with_names(vec![pair("Name", "web")]), &found), [("team", "a"), ("cost", "b"), (OF_DOCUMENT, "team cost")]);
    }
}
