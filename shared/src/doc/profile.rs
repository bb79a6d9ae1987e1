//! The profiles of services: Compose starts a service that has any only when one of them is enabled.
//! <https://github.com/compose-spec/compose-spec/blob/main/15-profiles.md>

use serde_json::{Map, Value};

/// The profile that enables all, as in Compose.
pub const ALL: &str = "*";

/// Removes the services of which no profile is enabled, as `docker compose config` does, and returns them with their profiles. Its output has only
/// services that are enabled, and is left as it is.
pub fn select(model: &mut Value, enabled: &[String]) -> Vec<(String, Vec<String>)> {
    let mut left_out = Vec::new();
    if enabled.iter().any(|profile| profile == ALL) || is_resolved(model) {
        return left_out;
    }
    let Some(services) = model.get_mut("services").and_then(Value::as_object_mut) else { return left_out };
    services.retain(|name, service| {
        let profiles = profiles(service);
        let is_enabled = profiles.is_empty() || profiles.iter().any(|profile| enabled.contains(profile));
        if !is_enabled {
            left_out.push((name.clone(), profiles));
        }
        is_enabled
    });
    left_out
}

/// A list that has anything but text is none, so that nothing is left out because of a mistake.
fn profiles(service: &Value) -> Vec<String> {
    let list = service.get("profiles").and_then(Value::as_array);
    let texts: Option<Vec<String>> = list.and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    texts.unwrap_or_default()
}

/// Returns whether `docker compose config` has printed the model. It writes what authors leave out: the name of the app, the networks of each service
/// as an object (or its `network_mode`), and a name for each network.
fn is_resolved(model: &Value) -> bool {
    let objects = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (networks, services) = (objects(model.get("networks")), objects(model.get("services")));
    let is_named = |network: &str| networks.get(network).and_then(|network| network.get("name")).is_some();
    let is_written = |service: &Value| match service.get("networks") {
        Some(Value::Object(own)) => own.keys().all(|network| is_named(network)),
        None => service.get("network_mode").is_some(),
        Some(_) => false,
    };
    model.get("name").is_some() && services.values().all(is_written) && has_long_ports(&services)
}

/// Short ports are only in files that a person wrote.
fn has_long_ports(services: &Map<String, Value>) -> bool {
    services.values().filter_map(|service| service.get("ports")?.as_array()).flatten().all(Value::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn left(model: &Value, enabled: &[&str]) -> Vec<String> {
        let (mut model, enabled) = (model.clone(), enabled.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let left_out = select(&mut model, &enabled);
        assert!(left_out.iter().all(|(name, _)| model["services"].get(name).is_none()));
        model["services"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn a_service_is_left_out_unless_one_of_its_profiles_is_enabled() {
        let model = json!({"name": "shop", "services": {"web": {}, "none": {"profiles": []}, "debug": {"profiles": ["dev", "test"]},
            "seed": {"profiles": ["seed"]}, "wrong": {"profiles": "dev"}}});
        assert_eq!(left(&model, &[]), ["web", "none", "wrong"]);
        assert_eq!(left(&model, &["test"]), ["web", "none", "debug", "wrong"]);
        assert_eq!(left(&model, &["dev", "seed"]).len(), 5);
        assert_eq!(left(&model, &[ALL]).len(), 5);
    }

    #[test]
    fn what_compose_prints_has_only_enabled_services() {
        let service = json!({"image": "nginx", "networks": {"default": null}, "ports": [{"target": 80, "mode": "ingress"}]});
        let mut model = json!({"name": "shop", "networks": {"default": {"name": "shop_default"}}, "services": {"web": service,
            "debug": {"image": "busybox", "profiles": ["dev"], "networks": {"default": null}}, "host": {"network_mode": "host"}}});
        assert_eq!(left(&model, &[]), ["web", "debug", "host"]);
        for (pointer, plain) in [
            ("/services/web/networks", json!(["default"])),
            ("/services/web/ports", json!(["80"])),
            ("/networks/default", json!({})),
            ("/networks", json!({"other": {"name": "other"}})),
        ] {
            let was = std::mem::replace(model.pointer_mut(pointer).unwrap(), plain);
            assert_eq!(left(&model, &[]), ["web", "host"], "{pointer}");
            *model.pointer_mut(pointer).unwrap() = was;
        }
        model.as_object_mut().unwrap().remove("name");
        assert_eq!(left(&model, &[]), ["web", "host"]);
    }
}
