//! What the fields of a service are where neither svc-deploy nor a patch sets them. `UpdateService` keeps what a request lacks, so what leaves the
//! document is sent with its default.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>

use serde_json::{Map, Value};
use shared::Diff;

use super::found_service::FoundService;
use crate::model::Service;

/// Paths of fields with their defaults, as JSON.
const DEFAULTS: &[(&str, &str)] = &[
    ("deploymentConfiguration.alarms", r#"{"alarmNames": [], "enable": false, "rollback": false}"#),
    ("deploymentConfiguration.bakeTimeInMinutes", "0"),
    ("deploymentConfiguration.lifecycleHooks", "[]"),
    ("deploymentConfiguration.strategy", "\"ROLLING\""),
    ("deploymentController.type", "\"ECS\""),
    (EXECUTE, "false"),
    ("placementConstraints", "[]"),
    (PLATFORM, "\"LATEST\""),
    ("serviceRegistries", "[]"),
    ("volumeConfigurations", "[]"),
    ("vpcLatticeConfigurations", "[]"),
];

/// Fields that svc-deploy sends and compares itself, or that have no effect later.
const OWN: &[&str] = &[
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
    "cluster",
    "deploymentConfiguration",
    "desiredCount",
    "enableECSManagedTags",
    "forceNewDeployment",
    "healthCheckGracePeriodSeconds",
    "loadBalancers",
    "networkConfiguration",
    "placementStrategy",
    "propagateTags",
    "service",
    "serviceConnectConfiguration",
    "serviceName",
    "tags",
    "taskDefinition",
];

/// ECS may return the number of the version that `LATEST` means. So it is compared only when the patch is another one.
const PLATFORM: &str = "platformVersion";

/// Tasks keep ECS Exec as it was when they started.
const EXECUTE: &str = "enableExecuteCommand";

/// Returns whether a patch sets the field at a path.
pub fn is_patched(service: &Service, path: &str) -> bool {
    let mut value = service.patch.service.as_ref();
    for key in path.split('.') {
        match value {
            Some(Value::Object(fields)) => value = fields.get(key),
            // A list or `null` replaces all within.
            Some(_) => return true,
            None => return false,
        }
    }
    value.is_some()
}

/// The fields that return to their defaults.
pub struct Left<'a>(Vec<(&'static str, &'a Value, Value)>);

/// Finds them: a patch set them once. `is_patch_new` says whether the patch is another one now.
pub fn left<'a>(service: &Service, found: &'a FoundService, is_patch_new: bool) -> Left<'a> {
    let now = |path: &str| {
        let pointer = format!("/{}", path.replace('.', "/"));
        // Some fields are those of the newest deployment.
        found.json.pointer(&pointer).or_else(|| found.json.pointer(&format!("/deployments/0{pointer}")))
    };
    let of = |(path, default): &(&'static str, &str)| {
        let default: Value = serde_json::from_str(default).unwrap_or_default();
        let is_default = |found: &Value| says_nothing(found) || contains(&default, found);
        Some((*path, now(path).filter(|found| !is_default(found))?, default))
    };
    let is_compared = |(path, _): &&(&str, &str)| !is_patched(service, path) && (is_patch_new || *path != PLATFORM);
    Left(DEFAULTS.iter().filter(is_compared).filter_map(of).collect())
}

impl Left<'_> {
    pub fn diff(&self) -> Diff {
        self.0.iter().fold(Diff::new(), |diff, (path, found, default)| diff.and(Diff::new().json(path, Some(found), default)))
    }

    /// Returns whether running tasks would keep what is left.
    pub fn needs_new_tasks(&self) -> bool {
        self.0.iter().any(|(path, ..)| *path == EXECUTE)
    }

    /// Adds the defaults to a request.
    pub fn add_to(&self, request: &mut Value) {
        for (path, _, default) in &self.0 {
            let nested = path.rsplit('.').fold(default.clone(), |value, key| Map::from_iter([(key.to_owned(), value)]).into());
            json_patch::merge(request, &nested);
        }
    }
}

/// Returns the top-level fields that a patch sets and whose defaults are unknown here, so that they can't be undone.
pub fn unknown(patch: &Value) -> Vec<&str> {
    let known =
        |key: &&String| OWN.contains(&key.as_str()) || DEFAULTS.iter().any(|(path, _)| path.split('.').next() == Some(key.as_str()));
    patch.as_object().into_iter().flat_map(|fields| fields.keys()).filter(|key| !known(key)).map(String::as_str).collect()
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
        _ => false,
    }
}

/// Returns whether a found value has nothing but what the default has.
fn contains(default: &Value, found: &Value) -> bool {
    match (default, found) {
        (Value::Object(default), Value::Object(found)) => {
            found.iter().all(|(key, value)| says_nothing(value) || default.get(key).is_some_and(|default| contains(default, value)))
        }
        _ => default == found,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::Service as EcsService;
    use serde_json::json;

    use super::*;
    use crate::aws::samples;

    fn found(json: Value) -> FoundService {
        FoundService { service: EcsService::builder().build(), json }
    }

    #[test]
    fn what_a_patch_no_longer_sets_returns_to_its_default() {
        let mut service = samples::service("web");
        let now = json!({"enableExecuteCommand": true, "platformVersion": "1.4.0", "serviceRegistries": [], "placementConstraints": [],
            "deploymentConfiguration": {"maximumPercent": 200, "bakeTimeInMinutes": 5, "strategy": "ROLLING",
                "alarms": {"alarmNames": ["a"], "enable": true, "rollback": true}},
            "deployments": [{"volumeConfigurations": [{"name": "data"}]}]});
        let now = found(now);
        let shown = |service: &Service| left(service, &now, true).diff().to_string();
        for part in
            ["enableExecuteCommand: true -> false", "platformVersion: 1.4.0 -> LATEST", "deploymentConfiguration.bakeTimeInMinutes: 5 -> 0"]
        {
            assert!(shown(&service).contains(part), "{}", shown(&service));
        }
        let all = left(&service, &now, true);
        let mut request = json!({"deploymentConfiguration": {"maximumPercent": 200}});
        all.add_to(&mut request);
        assert!(all.needs_new_tasks(), "running tasks keep ECS Exec");
        assert_eq!(
            request,
            json!({"enableExecuteCommand": false, "platformVersion": "LATEST", "volumeConfigurations": [],
                "deploymentConfiguration": {"maximumPercent": 200, "bakeTimeInMinutes": 0,
                    "alarms": {"alarmNames": [], "enable": false, "rollback": false}}})
        );
        service.patch.service =
            Some(json!({"enableExecuteCommand": true, "deploymentConfiguration": {"bakeTimeInMinutes": 5, "alarms": null}}));
        let shown = shown(&service);
        assert!(!shown.contains("Execute") && !shown.contains("bakeTime") && !shown.contains("alarms"), "{shown}");
        assert!(shown.contains("platformVersion"), "{shown}");
    }

    #[test]
    fn what_ecs_returns_without_a_patch_is_the_default() {
        let now = json!({"enableExecuteCommand": false, "platformVersion": "LATEST", "deploymentController": {"type": "ECS"}, "serviceRegistries": [],
            "deploymentConfiguration": {"strategy": "ROLLING", "bakeTimeInMinutes": 0, "alarms": {"alarmNames": [], "rollback": false, "enable": false}}});
        assert!(left(&samples::service("web"), &found(now), true).diff().is_empty());
        assert!(left(&samples::service("web"), &found(json!({"platformVersion": ""})), true).diff().is_empty(), "on EC2");
        assert!(left(&samples::service("web"), &found(json!({"platformVersion": "1.4.0"})), false).diff().is_empty());
    }

    #[test]
    fn fields_of_tomorrow_are_named() {
        assert_eq!(unknown(&json!({"enableExecuteCommand": true, "ofTomorrow": 1, "propagateTags": "NONE"})), ["ofTomorrow"]);
    }
}
