//! `network_mode`, and `networks`: on AWS all tasks of an app are in one network, so what Compose keeps apart is not kept apart by it.

use std::collections::BTreeSet;

use shared::Result;
use shared::doc::{At, Document};

use crate::model::NetworkMode;
use crate::settings::NetworkModeSetting;

/// Warns of services that share no network in Compose.
pub fn explain(doc: &Document, services: &[(&str, At<'_>)]) {
    let all: Vec<(&str, BTreeSet<&str>)> = services.iter().filter_map(|(name, at)| Some((*name, networks(at)?))).collect();
    let apart = all.iter().enumerate().flat_map(|(n, one)| all[n + 1..].iter().map(move |other| (one, other)));
    let mut apart = apart.filter(|(one, other)| one.1.is_disjoint(&other.1));
    let Some(((one, _), (other, _))) = apart.next() else { return };
    let more = match apart.count() {
        0 => String::new(),
        more => format!(" (and {more} more pairs)"),
    };
    doc.warn(
        "networks-not-apart",
        format!("services.{one} and services.{other}{more} share no network in Compose, but on AWS the security group lets all tasks of the app reach each other"),
    );
}

/// Returns the networks of a service, or `None` for one that is in the network of another, of the machine, or in none.
fn networks<'a>(at: &At<'a>) -> Option<BTreeSet<&'a str>> {
    if at.key("network_mode").is_some() {
        return None;
    }
    let Some(networks) = at.key("networks") else { return Some(BTreeSet::from(["default"])) };
    match networks.value() {
        serde_json::Value::Array(names) => Some(names.iter().filter_map(serde_json::Value::as_str).collect()),
        serde_json::Value::Object(networks) => Some(networks.keys().map(String::as_str).collect()),
        _ => None,
    }
}

/// Returns the network mode of the task. `shared` says whether it has sidecars.
pub fn mode(at: &At<'_>, setting: Option<NetworkModeSetting>, fargate: bool, shared: bool) -> Result<NetworkMode> {
    let compose = at.key("network_mode");
    if let Some(place) = compose.as_ref().filter(|mode| !["bridge", "default", "host"].iter().any(|known| mode.value() == known)) {
        return Err(place.expected("compose-network-mode", "one of bridge, host (on EC2) and service:NAME"));
    }
    let host = compose.filter(|mode| mode.value() == "host");
    if let Some(place) = host.as_ref().filter(|_| fargate) {
        return Err(place.wrong("host-network-on-fargate", "Fargate has no host network. Remove this"));
    }
    let place = at.key("x-svc").and_then(|at| at.key("network_mode")).unwrap_or_else(|| at.clone());
    match setting {
        None if fargate => Ok(NetworkMode::Awsvpc),
        None if host.is_some() => Ok(NetworkMode::Host),
        // Otherwise the containers of a task reach each other only on a network interface of their own.
        None if shared => Ok(NetworkMode::Awsvpc),
        Some(_) if host.is_some() => Err(place.wrong("two-network-modes", "contradicts network_mode: host. Remove one of the two")),
        Some(NetworkModeSetting::Awsvpc) => Ok(NetworkMode::Awsvpc),
        Some(NetworkModeSetting::Bridge) if fargate => Err(place.expected("network-mode", "awsvpc on Fargate")),
        None | Some(NetworkModeSetting::Bridge) => Ok(NetworkMode::Bridge),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::doc::Selection;

    use super::*;

    #[test]
    fn services_without_a_network_in_common_are_named() {
        let said = |services: serde_json::Value| {
            let doc = Document::parse(json!({"services": services}).to_string().as_bytes()).unwrap();
            explain(&doc, &doc.services(&Selection::default()).unwrap());
            doc.warnings().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(said(json!({"web": {}, "db": {"networks": {"default": null}}})), "");
        let (front, both, back) =
            (json!({"networks": ["front"]}), json!({"networks": ["front", "back"]}), json!({"networks": {"back": null}}));
        assert!(said(json!({"web": front, "api": both, "db": back})).starts_with("services.web and services.db share no network"));
        assert!(said(json!({"web": front, "db": back, "cache": back})).contains("(and 1 more pairs)"));
        assert_eq!(said(json!({"web": front, "log": {"network_mode": "service:web"}})), "");
    }
}
