//! The digest of a job's image, which is part of what the job runs.

use serde_json::{Value, json};

use crate::model::IMAGE_LABEL;

/// Adds the digests of the found revision where this run knows none, for example because the registry does not answer. Otherwise the job would run
/// again.
pub fn keep_digests(request: &mut Value, found: &Value) {
    let digest = |wanted: &Value| {
        let all = found["containerDefinitions"].as_array().into_iter().flatten();
        let same = all.into_iter().find(|one| one["name"] == wanted["name"] && one["image"] == wanted["image"]);
        same.and_then(|one| one["dockerLabels"].get(IMAGE_LABEL)).cloned()
    };
    for container in request["containerDefinitions"].as_array_mut().into_iter().flatten() {
        let Some(digest) = digest(container) else { continue };
        let labels = container.as_object_mut().map(|fields| fields.entry("dockerLabels").or_insert_with(|| json!({})));
        if let Some(labels) = labels.and_then(Value::as_object_mut) {
            labels.entry(IMAGE_LABEL).or_insert(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_kept_until_another_one_is_known() {
        let definition = |image: &str, labels: Value| {
            let mut container = json!({"name": "migrate", "image": image});
            if !labels.is_null() {
                container["dockerLabels"] = labels;
            }
            json!({"containerDefinitions": [container]})
        };
        let found = definition("migrate:latest", json!({IMAGE_LABEL: "sha256:1"}));
        for (image, labels, kept) in [
            ("migrate:latest", Value::Null, json!({IMAGE_LABEL: "sha256:1"})),
            ("migrate:latest", json!({"a": "b"}), json!({"a": "b", IMAGE_LABEL: "sha256:1"})),
            ("migrate:latest", json!({IMAGE_LABEL: "sha256:2"}), json!({IMAGE_LABEL: "sha256:2"})),
            ("migrate:v2", Value::Null, Value::Null),
        ] {
            let mut request = definition(image, labels);
            keep_digests(&mut request, &found);
            assert_eq!(request, definition(image, kept));
        }
    }
}
