//! One service from flags: written into the document, so that everything after reads it there.

use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::doc::public::Publish;
use shared::doc::{At, Document};
use shared::{Error, Result};

use super::forms::values;
use crate::settings::One;

/// Returns the flag of the public services. Beside `--service` it may be a switch for that service, which [`put_into`] writes into the document.
pub fn without_switch(one: &One, publish: &Publish) -> Publish {
    if switch(one, publish).is_some() { Publish::default() } else { publish.clone() }
}

fn switch(one: &One, publish: &Publish) -> Option<bool> {
    match publish.only.as_slice() {
        [only] => one.service.as_ref().and_then(|_| only.parse().ok()),
        _ => None,
    }
}

/// Returns the document with the service of the flags in it: flag over document, so only what is given replaces what is there.
pub fn put_into(one: &One, publish: &Publish, doc: &Document) -> Result<Document> {
    let Some(name) = &one.service else { return Ok(doc.clone()) };
    let mut doc = doc.clone();
    let mut services = match doc.root().key("services") {
        Some(at) => at.value().as_object().cloned().ok_or_else(|| at.expected("services-not-an-object", "an object"))?,
        None => Map::new(),
    };
    let mut patch = Map::new();
    let mut put = |key: &str, value: Option<Value>| patch.extend(value.map(|value| (key.to_owned(), value)));
    put("image", one.image.as_ref().map(|image| json!(image)));
    put("build", one.image.as_ref().map(|_| Value::Null));
    put("ports", one.port.map(|port| json!([port])));
    put("deploy", given(&json!({"cpus": one.cpus, "memory": one.memory})).map(|limits| json!({"resources": {"limits": limits}})));
    let mut settings = one.settings.clone();
    settings.publish = switch(one, publish);
    put("x-svc", given(&settings));
    let found = doc.root().key("services").and_then(|all| all.key(name));
    found.map_or(Ok(()), |at| check_objects(&at, &patch))?;
    if !one.env.is_empty() {
        let found = doc.root().key("services").and_then(|all| all.key(name)).and_then(|at| at.key("environment"));
        let found = found.map_or(Ok(Vec::new()), |at| values(&at))?.into_iter().map(|(key, value)| (key, json!(value)));
        let given = one.env.iter().map(|(key, value)| (key.clone(), json!(value)));
        patch.insert("environment".to_owned(), found.chain(given).collect());
    }
    let service = services.entry(name).or_insert_with(|| json!({}));
    json_patch::merge(service, &Value::Object(patch));
    doc.put("services", Value::Object(services));
    Ok(doc)
}

/// Returns what is given; a null would remove what the document has.
fn given(flags: &impl Serialize) -> Option<Value> {
    let Value::Object(flags) = serde_json::to_value(flags).ok()? else { return None };
    let given: Map<String, Value> = flags
        .into_iter()
        .filter_map(|(key, value)| match value {
            Value::Null => None,
            Value::Object(_) => given(&value).map(|value| (key, value)),
            value => Some((key, value)),
        })
        .collect();
    (!given.is_empty()).then_some(Value::Object(given))
}

/// A flag must not hide that the document has something else where its object should be.
fn check_objects(at: &At<'_>, patch: &Map<String, Value>) -> Result<()> {
    at.entries()?;
    for (key, value) in patch {
        if let (Some(at), Value::Object(patch)) = (at.key(key), value) {
            check_objects(&at, patch)?;
        }
    }
    Ok(())
}

/// Blames the flag for a wrong value of the service that came from it.
pub fn blame_flag(one: &One, error: Error) -> Error {
    let (Some(name), Error::Document { code, path, what }) = (&one.service, &error) else { return error };
    let Some(place) = path.strip_prefix(&format!("services.{name}.")) else { return error };
    let is_below = |given: &str| place.strip_prefix(given).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let Some((given, flag)) = given_flags(one).into_iter().find(|(given, _)| is_below(given)) else { return error };
    let service = if given.starts_with("x-svc.") { format!(" (for services.{name})") } else { String::new() };
    Error::usage(code, format!("--{flag}{service}: {what}"))
}

/// Returns each given flag with the place of its value in the service.
fn given_flags(one: &One) -> Vec<(String, String)> {
    let named = [
        ("image", "image", one.image.is_some()),
        ("ports", "port", one.port.is_some()),
        ("deploy.resources.limits.cpus", "cpus", one.cpus.is_some()),
        ("deploy.resources.limits.memory", "memory", one.memory.is_some()),
    ];
    let mut flags: Vec<(String, String)> =
        named.into_iter().filter(|(_, _, is_given)| *is_given).map(|(place, flag, _)| (place.to_owned(), flag.to_owned())).collect();
    flags.extend(one.env.iter().map(|(name, _)| (format!("environment.{name}"), "env".to_owned())));
    let Some(Value::Object(settings)) = given(&one.settings) else { return flags };
    for (key, value) in settings {
        let flag = key.replace('_', "-");
        match value {
            Value::Object(inner) => flags.extend(inner.keys().map(|inner| (format!("x-svc.{key}.{inner}"), format!("{flag}-{inner}")))),
            _ => flags.push((format!("x-svc.{key}"), flag)),
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> One {
        One { service: Some("web".to_owned()), image: Some("nginx".to_owned()), cpus: Some(0.5), ..One::default() }
    }

    #[test]
    fn flags_replace_only_what_they_give() {
        let doc = Document::parse(br#"{"services": {"web": {"build": ".", "x-svc": {"grace": 5, "path": "/a"}}}}"#).unwrap();
        let mut one = one();
        one.settings.grace = Some(10);
        one.env = vec![("A".to_owned(), "b".to_owned())];
        let doc = put_into(&one, &Publish::default(), &doc).unwrap();
        let expected = json!({"image": "nginx", "x-svc": {"grace": 10, "path": "/a"}, "environment": {"A": "b"},
            "deploy": {"resources": {"limits": {"cpus": 0.5}}}});
        assert_eq!(doc.value()["services"]["web"], expected);
    }

    #[test]
    fn the_flag_of_the_public_services_may_be_a_switch_of_the_one() {
        let doc = Document::parse(b"{}").unwrap();
        for (words, written, only) in [(vec!["false"], json!(false), 0), (vec!["true"], json!(true), 0), (vec!["web"], json!(null), 1)] {
            let publish = Publish { only: words.iter().map(|word| (*word).to_owned()).collect() };
            let doc = put_into(&one(), &publish, &doc).unwrap();
            assert_eq!(doc.value()["services"]["web"]["x-svc"]["publish"], written, "{words:?}");
            assert_eq!(without_switch(&one(), &publish).only.len(), only, "{words:?}");
        }
    }

    #[test]
    fn a_wrong_flag_is_blamed_and_a_wrong_document_is_not() {
        let mut one = one();
        one.settings.health = Some(crate::settings::HealthFlags { path: Some("up".to_owned()), ..Default::default() });
        let said = |path: &str| {
            let error = blame_flag(&one, Error::document("test-code", path, "is wrong"));
            (error.exit_code(), error.to_string())
        };
        assert_eq!(said("services.web.x-svc.health.path"), (2, "--health-path (for services.web): is wrong".to_owned()));
        assert_eq!(said("services.web.deploy.resources.limits.cpus").0, 2);
        assert_eq!(said("services.web.x-svc.health.interval").0, 65, "the document has it");
        assert_eq!(said("services.web.x-svc.health").0, 65);
        assert_eq!(said("services.web.x-svc.grace").0, 65);
        assert_eq!(said("services.api.image").0, 65);
        one.port = Some(0);
        let error = blame_flag(&one, Error::document("test-port", "services.web.ports[0]", "must not be --ports"));
        assert_eq!(error.to_string(), "--port: must not be --ports");
    }

    #[test]
    fn a_flag_does_not_hide_a_wrong_document() {
        let mut one = one();
        one.settings.health = Some(crate::settings::HealthFlags { path: Some("/up".to_owned()), ..Default::default() });
        for (web, path) in [
            (json!("nginx"), "services.web"),
            (json!({"x-svc": []}), "services.web.x-svc"),
            (json!({"x-svc": {"health": "x"}}), "services.web.x-svc.health"),
            (json!({"deploy": {"resources": 1}}), "services.web.deploy.resources"),
        ] {
            let doc = Document::parse(json!({"services": {"web": web}}).to_string().as_bytes()).unwrap();
            let said = put_into(&one, &Publish::default(), &doc).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(&format!("at {path}: must be an object; found")), "{said}");
        }
    }
}
