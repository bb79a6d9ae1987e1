//! Images that others push: a deployment runs them by digest, so that all of its tasks have the same one although a tag can be moved.

use serde_json::Value;
use shared::Run;

use super::task_definition::Found;
use super::task_definition_request::family;
use crate::model::{Container, IMAGE_LABEL, Wanted, by_digest};

/// Returns the settings with the digests of the found revisions where this run knows none, or `None` when nothing is to be changed. Says which
/// services keep a digest, and which run an image by its tag. A job has its digest in a label.
pub fn kept(run: &Run, wanted: &Wanted, found: &Found) -> Option<Wanted> {
    let mut completed = wanted.clone();
    let (mut kept, mut by_tag) = (Vec::new(), Vec::new());
    for service in completed.services.iter_mut().filter(|service| service.selected && service.job.is_none()) {
        let definition = found.get(&family(&run.app, &service.name)).map(|revision| &revision.definition);
        for container in &mut service.containers {
            let Some(tag) = container.image.clone().filter(|image| !image.contains('@')) else { continue };
            let definition = definition.unwrap_or(&Value::Null);
            let shown = format!("{} ({tag})", container.name);
            if keep(container, definition) {
                kept.push(shown);
            } else if !has_image(definition, &container.name, &tag) {
                by_tag.push(shown);
            }
        }
    }
    if !kept.is_empty() {
        let text = "keep the images of their running revisions, because img-push did not find in this run what their tags mean now. Check that their registries answer, and run all tools again";
        run.warn("image-digest-kept", format!("these services {text}: {}", kept.join(", ")));
    }
    if !by_tag.is_empty() {
        let text = "use images by tags whose digests are not known, so tasks that start later can have other images. Run img-push before svc-deploy; after a tag was moved, use --redeploy";
        run.warn("image-by-tag", format!("these services {text}: {}", by_tag.join(", ")));
    }
    (!kept.is_empty()).then_some(completed)
}

/// Returns whether a revision uses this image, so that the run which registered it has said so.
fn has_image(definition: &Value, container: &str, image: &str) -> bool {
    let all = definition["containerDefinitions"].as_array().into_iter().flatten();
    all.into_iter().any(|one| one["name"] == container && one["image"] == image)
}

/// Sets the image of a revision that was registered for the same tag, and returns whether there is one.
fn keep(container: &mut Container, definition: &Value) -> bool {
    let all = definition["containerDefinitions"].as_array().into_iter().flatten();
    let same = all.into_iter().find(|one| one["name"] == container.name.as_str());
    let tag = same.and_then(|one| one["dockerLabels"][IMAGE_LABEL].as_str());
    let digest = same.and_then(|one| one["image"].as_str()).and_then(|image| image.split_once('@')).map(|(_, digest)| digest);
    match (container.image.clone(), tag, digest) {
        (Some(image), Some(tag), Some(digest)) if image == tag => {
            by_digest(container, digest);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::samples;

    #[test]
    fn a_digest_is_kept_while_the_document_has_the_same_tag() {
        let digest = format!("sha256:{:064}", 1);
        let mut container = samples::container("web");
        container.image = Some("localhost:5000/shop/web:v1".to_owned());
        let before = container.clone();
        by_digest(&mut container, &digest);
        assert_eq!(container.image, Some(format!("localhost:5000/shop/web@{digest}")));
        let definition = json!({"containerDefinitions": [{"name": "web", "image": container.image, "dockerLabels": container.labels}]});
        let mut again = before.clone();
        assert!(keep(&mut again, &definition));
        assert_eq!(again, container, "the same request, so no new revision");
        let mut other = Container { image: Some("localhost:5000/shop/web:v2".to_owned()), ..before.clone() };
        assert!(!keep(&mut other, &definition), "another tag");
        assert!(!keep(&mut before.clone(), &json!({"containerDefinitions": [{"name": "web", "image": "localhost:5000/shop/web:v1"}]})));
        assert!(!keep(&mut before.clone(), &Value::Null), "no revision");
    }
}
