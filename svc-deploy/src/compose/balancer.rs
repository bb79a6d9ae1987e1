//! The attributes of the app's load balancer.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html>

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shared::{Error, Result};

use crate::settings::{BalancerSettings, SvcSettings};

const PATCH: &str = "x-svc.patch.load_balancer";
const IDLE_TIMEOUT: &str = "idle_timeout.timeout_seconds";
const KEEP_ALIVE: &str = "client_keep_alive.seconds";

/// Returns what the document sets, beside what svc-deploy sets itself. The patch has the last word: `None` leaves an attribute to AWS.
pub fn attributes(settings: &SvcSettings) -> Result<BTreeMap<String, Option<String>>> {
    let BalancerSettings { idle_timeout, keep_alive } = settings.load_balancer.clone().unwrap_or_default().into();
    let given = [(IDLE_TIMEOUT, idle_timeout), (KEEP_ALIVE, keep_alive)];
    let mut attributes: BTreeMap<String, Option<String>> =
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Some(value?.to_string())))).collect();
    let patch = settings.patch.as_ref().and_then(|patch| patch.load_balancer.as_ref());
    for (key, value) in patch.map_or(Ok(Vec::new()), patched)? {
        attributes.insert(key, value);
    }
    Ok(attributes)
}

fn patched(patch: &Map<String, Value>) -> Result<Vec<(String, Option<String>)>> {
    if let Some(other) = patch.keys().find(|key| *key != "Attributes") {
        return Err(wrong(PATCH, &format!("unknown field {other:?}. Use Attributes")));
    }
    let attributes = match patch.get("Attributes") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(attributes)) => attributes,
        Some(_) => return Err(wrong(PATCH, "Attributes must be an object with the value of each attribute")),
    };
    attributes.iter().map(|(key, value)| Ok((key.clone(), text(key, value)?))).collect()
}

/// Elastic Load Balancing refuses other values only after the load balancer has been created.
fn text(key: &str, value: &Value) -> Result<Option<String>> {
    let place = format!("{PATCH}.Attributes.{key}");
    if key.is_empty() || key.len() > 256 || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')) {
        return Err(wrong(&place, "the name of an attribute must have at most 256 letters, digits, dots and underscores"));
    }
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => return Err(wrong(&place, "must be a string, a number or a boolean")),
    };
    let range = match key {
        IDLE_TIMEOUT => 1..=4000,
        KEEP_ALIVE => 60..=604_800,
        _ if text.len() > 1024 => return Err(wrong(&place, "must have at most 1024 characters")),
        _ => return Ok(Some(text)),
    };
    if text.parse().is_ok_and(|seconds: i64| range.contains(&seconds)) {
        return Ok(Some(text));
    }
    Err(wrong(&place, &format!("must be between {} and {}; found {text:?}", range.start(), range.end())))
}

fn wrong(place: &str, what: &str) -> Error {
    Error::document("load-balancer-attribute", place, what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::Document;

    use super::*;
    use crate::settings::SvcFlags;

    fn read(x_svc: &Value) -> Result<Vec<(String, Option<String>)>, String> {
        let doc = Document::parse(json!({"x-svc": x_svc}).to_string().as_bytes()).unwrap();
        let settings = shared::settings::read(&doc, &doc.root(), "x-svc", &SvcFlags::default());
        settings.and_then(|settings| attributes(&settings)).map(|all| all.into_iter().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_patch_has_the_last_word_over_the_settings() {
        let text = |text: &str| Some(text.to_owned());
        let all = |pairs: &[(&str, Option<String>)]| Ok(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect());
        assert_eq!(read(&json!({})), Ok(Vec::new()));
        let settings = json!({"idle_timeout": "300", "keep_alive": 60});
        assert_eq!(read(&json!({"load_balancer": settings})), all(&[(KEEP_ALIVE, text("60")), (IDLE_TIMEOUT, text("300"))]));
        let patch = json!({"Attributes": {IDLE_TIMEOUT: 4000, KEEP_ALIVE: null, "routing.http2.enabled": false}});
        let expected = [(KEEP_ALIVE, None), (IDLE_TIMEOUT, text("4000")), ("routing.http2.enabled", text("false"))];
        assert_eq!(read(&json!({"load_balancer": settings, "patch": {"load_balancer": patch}})), all(&expected));
    }

    #[test]
    fn what_elastic_load_balancing_refuses_is_refused_with_its_path() {
        let patch = |key: &str, value: Value| json!({"patch": {"load_balancer": {"Attributes": {key: value}}}});
        for (x_svc, said) in [
            (json!({"load_balancer": {"idle_timeout": 0}}), "x-svc.load_balancer.idle_timeout: must be between 1 and 4000; found 0"),
            (json!({"load_balancer": {"keep_alive": 59}}), "x-svc.load_balancer.keep_alive: must be between 60 and 604800; found 59"),
            (patch(IDLE_TIMEOUT, json!("4001")), "Attributes.idle_timeout.timeout_seconds: must be between 1 and 4000; found \"4001\""),
            (patch(KEEP_ALIVE, json!("x")), "Attributes.client_keep_alive.seconds: must be between 60 and 604800; found \"x\""),
            (patch("a b", json!("x")), "Attributes.a b: the name of an attribute must have"),
            (patch("a", json!(["x"])), "Attributes.a: must be a string, a number or a boolean"),
            (patch("a", json!("x".repeat(1025))), "Attributes.a: must have at most 1024 characters"),
            (json!({"patch": {"load_balancer": {"Name": "x"}}}), "x-svc.patch.load_balancer: unknown field \"Name\". Use Attributes"),
            (json!({"patch": {"load_balancer": {"Attributes": []}}}), "Attributes must be an object"),
        ] {
            let found = read(&x_svc).err().unwrap_or_default();
            assert!(found.contains(said), "{x_svc}: {found}");
        }
    }
}
