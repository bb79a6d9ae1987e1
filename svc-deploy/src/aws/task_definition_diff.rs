//! The found revision of a task definition against the one that is wanted, field by field.

use serde_json::{Map, Value};
use shared::Diff;

use crate::model::Patch;

/// What a plan shows for an image that is not pushed yet.
const NEW_IMAGE: &str = "the new image";

/// What only AWS's answer has, never a request.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html>
const ONLY_IN_ANSWERS: &[&str] = &[
    "compatibilities",
    "deleteRequestedAt",
    "deregisteredAt",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "revision",
    "status",
    "tags",
    "taskDefinitionArn",
];

/// What ECS takes for a field that a request lacks, as JSON. Its answer has these fields all the same.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html> and the pages of the objects within.
const DEFAULTS: &[(&str, &str)] = &[
    ("containers.*.cpu", "0"),
    ("containers.*.essential", "true"),
    ("containers.*.healthCheck.interval", "30"),
    ("containers.*.healthCheck.retries", "3"),
    ("containers.*.healthCheck.startPeriod", "0"),
    ("containers.*.healthCheck.timeout", "5"),
    ("containers.*.mountPoints.*.readOnly", "false"),
    ("containers.*.portMappings.*.protocol", "\"tcp\""),
    ("containers.*.versionConsistency", "\"enabled\""),
    ("enableFaultInjection", "false"),
    ("volumes.*.efsVolumeConfiguration.authorizationConfig.iam", "\"DISABLED\""),
    ("volumes.*.efsVolumeConfiguration.rootDirectory", "\"/\""),
];

/// What is a role.
const ROLES: &[&str] = &["executionRoleArn", "taskRoleArn"];

/// Returns whether the request has everything that a run would send. A plan does not know the ARN of a new role, nor an image that is not pushed.
pub fn is_known(request: &Value) -> bool {
    let known = |fields: Option<&Map<String, Value>>| fields.is_none_or(|fields| !fields.values().any(Value::is_null));
    let containers = request.get("containerDefinitions").and_then(Value::as_array);
    known(request.as_object())
        && containers.into_iter().flatten().all(|container| container.get("image").is_none_or(|image| !image.is_null()))
}

/// Compares a revision that was registered from another request.
pub fn diff(found: &Value, wanted: &Value) -> Diff {
    let (mut found, mut wanted) = (comparable(found), comparable(wanted));
    // A new role has the ARN of the one that it replaces, so what is unknown is no difference.
    let unknown = wanted.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key.clone());
    unknown.collect::<Vec<_>>().iter().for_each(|key| drop(found.shift_remove(key)));
    for container in wanted.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(image @ Value::Null) = container.get_mut("image") {
            *image = NEW_IMAGE.into();
        }
    }
    let (mut found, mut wanted) = (Value::Object(found), Value::Object(wanted));
    for (path, default) in DEFAULTS {
        let (path, default) = (path.split('.').collect::<Vec<_>>(), serde_json::from_str(default).unwrap_or_default());
        fill(&mut found, &path, &default);
        fill(&mut wanted, &path, &default);
    }
    Diff::new().json("", Some(&found), &wanted)
}

/// Compares a revision that was registered from this very request, so only a revision that somebody else tagged differs. What a patch sets is left
/// out, because AWS may write it in another way, as `1024` for `1 vCPU`. So is the name of a role, for which AWS writes the ARN.
pub fn drift(found: &Value, wanted: &Value, patch: &Patch) -> Diff {
    let mut wanted = wanted.clone();
    if let Some(patch) = &patch.task {
        remove(&mut wanted, patch);
    }
    for (i, container) in wanted["containerDefinitions"].as_array_mut().into_iter().flatten().enumerate() {
        // Its name tells the containers apart.
        let name = container["name"].clone();
        let own = patch.container.as_ref().filter(|_| i == 0);
        for patch in own.into_iter().chain(patch.containers.get(name.as_str().unwrap_or_default())) {
            remove(container, patch);
        }
        container["name"] = name;
    }
    let mut wanted = comparable(&wanted);
    wanted.retain(|key, value| !ROLES.contains(&key.as_str()) || value.as_str().is_some_and(|role| role.starts_with("arn:")));
    Diff::new().json_within("", &Value::Object(comparable(found)), &Value::Object(wanted))
}

/// Removes the fields that a patch sets.
fn remove(value: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(patch)) = (value, patch) else { return };
    for (key, patch) in patch {
        match fields.get_mut(key) {
            Some(inner @ Value::Object(_)) if patch.is_object() => remove(inner, patch),
            Some(_) => drop(fields.shift_remove(key)),
            None => {}
        }
    }
}

/// Returns what a request would have to register the same content.
pub fn as_request(definition: &Value) -> Value {
    let mut fields = definition.as_object().cloned().unwrap_or_default();
    fields.retain(|key, _| !ONLY_IN_ANSWERS.contains(&key.as_str()));
    fields.into()
}

/// Returns a task definition without what only an answer has. The containers come first, because most changes are theirs.
fn comparable(definition: &Value) -> Map<String, Value> {
    let mut fields = definition.as_object().cloned().unwrap_or_default();
    // An empty text means nothing, as in `pidMode`.
    fields.retain(|key, value| !ONLY_IN_ANSWERS.contains(&key.as_str()) && value.as_str() != Some(""));
    let containers = fields.shift_remove("containerDefinitions").map(|containers| ("containers".to_owned(), containers));
    containers.into_iter().chain(fields).collect()
}

/// Adds a default where the field is missing; `*` stands for every item of a list.
fn fill(value: &mut Value, path: &[&str], default: &Value) {
    match (path, value) {
        ([field], Value::Object(fields)) if fields.get(*field).is_none_or(Value::is_null) => {
            fields.insert((*field).to_owned(), default.clone());
        }
        (["*", rest @ ..], Value::Array(items)) => items.iter_mut().for_each(|item| fill(item, rest, default)),
        ([field, rest @ ..], Value::Object(fields)) if !rest.is_empty() => {
            fields.get_mut(*field).into_iter().for_each(|inner| fill(inner, rest, default));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::samples;
    use crate::aws::task_definition_request::{Roles, request};
    use crate::model::{Mount, Port, Protocol, Service, Volume, VolumeSource};

    fn service() -> Service {
        let mut service = samples::service("api");
        service.containers[0].environment = [("GREETING".to_owned(), "hello".to_owned())].into();
        service.containers[0].ports = vec![Port { number: 80, protocol: Protocol::Tcp }];
        service
    }

    fn roles() -> Roles {
        Roles {
            execution: Some("arn:aws:iam::1:role/execution".to_owned()),
            task: Some("arn:aws:iam::1:role/task".to_owned()),
            ..Roles::default()
        }
    }

    fn wanted(service: &Service) -> Value {
        request("shop", &samples::caller(), service, &roles())
    }

    /// The request as ECS answers it, with what it adds.
    fn answer(mut request: Value) -> Value {
        let more = json!({"taskDefinitionArn": "arn", "revision": 1, "status": "ACTIVE", "registeredAt": 1.7e9, "registeredBy": "arn",
            "compatibilities": ["EC2", "FARGATE"], "requiresAttributes": [{"name": "x"}], "placementConstraints": [], "volumes": [],
            "pidMode": "", "enableFaultInjection": false});
        let fields = request.as_object_mut().unwrap();
        for (key, value) in more.as_object().unwrap() {
            fields.entry(key).or_insert_with(|| value.clone());
        }
        for container in request["containerDefinitions"].as_array_mut().unwrap() {
            json_patch::merge(container, &json!({"mountPoints": [], "volumesFrom": [], "systemControls": [], "environmentFiles": []}));
        }
        request
    }

    #[test]
    fn the_same_request_does_not_differ() {
        let wanted = wanted(&service());
        assert_eq!(diff(&answer(wanted.clone()), &wanted).to_string(), "");
        assert_eq!(drift(&answer(wanted.clone()), &wanted, &Patch::default()).to_string(), "");
    }

    #[test]
    fn one_variable_is_one_difference() {
        let found = answer(wanted(&service()));
        let mut service = service();
        service.containers[0].environment.insert("GREETING".to_owned(), "good day".to_owned());
        assert_eq!(diff(&found, &wanted(&service)).to_string(), "containers.api.environment.GREETING: hello -> good day");
    }

    #[test]
    fn what_was_set_and_is_no_longer_is_a_difference() {
        let mut before = service();
        before.patch.task = Some(json!({"ephemeralStorage": {"sizeInGiB": 30}}));
        before.containers.push(samples::container("log"));
        before.volumes = vec![Volume { name: "data".to_owned(), source: VolumeSource::Docker }];
        let text = diff(&answer(wanted(&before)), &wanted(&service())).to_string();
        for part in [
            "ephemeralStorage.sizeInGiB: 30 -> none",
            "containers.log.image: nginx -> none",
            "volumes.data.dockerVolumeConfiguration.scope: shared -> none",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn defaults_of_ecs_are_no_difference_but_other_values_are() {
        let mut service = service();
        service.containers[0].mounts = vec![Mount { volume: "data".to_owned(), path: "/data".to_owned(), read_only: false }];
        service.patch.container = Some(json!({"cpu": null, "essential": null, "healthCheck": {"command": ["CMD", "true"]},
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}], "portMappings": [{"containerPort": 80, "hostPort": 80}]}));
        service.patch.task = Some(json!({"volumes": [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}));
        let wanted = wanted(&service);
        let mut found = answer(wanted.clone());
        let filled = json!({"cpu": 0, "essential": true, "versionConsistency": "enabled",
            "healthCheck": {"interval": 30, "timeout": 5, "retries": 3, "startPeriod": 0},
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": false}],
            "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}]});
        json_patch::merge(&mut found["containerDefinitions"][0], &filled);
        found["volumes"] = json!([{"name": "data", "host": {}, "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/"}}]);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        found["containerDefinitions"][0]["healthCheck"]["interval"] = json!(10);
        assert_eq!(diff(&found, &wanted).to_string(), "containers.api.healthCheck.interval: 10 -> 30");
    }

    #[test]
    fn what_a_plan_does_not_know_is_not_shown_as_removed() {
        let found = answer(wanted(&service()));
        let mut unknown = request("shop", &samples::caller(), &service(), &Roles::default());
        assert!(!is_known(&unknown) && is_known(&wanted(&service())));
        assert_eq!(diff(&found, &unknown).to_string(), "");
        unknown["containerDefinitions"][0]["image"] = Value::Null;
        assert_eq!(diff(&found, &unknown).to_string(), "containers.api.image: nginx -> the new image");
    }

    #[test]
    fn a_revision_that_somebody_else_tagged_differs() {
        let wanted = wanted(&service());
        let mut found = answer(wanted.clone());
        found["containerDefinitions"][0]["image"] = json!("theirs");
        found["containerDefinitions"][0]["user"] = json!("root");
        assert_eq!(drift(&found, &wanted, &Patch::default()).to_string(), "containers.api.image: theirs -> nginx");
    }

    #[test]
    fn the_name_of_a_role_is_no_drift_but_another_arn_is() {
        let mut wanted = wanted(&service());
        let mut found = answer(wanted.clone());
        wanted["executionRoleArn"] = json!("execution");
        assert_eq!(drift(&found, &wanted, &Patch::default()).to_string(), "");
        found["taskRoleArn"] = json!("arn:aws:iam::1:role/other");
        let expected = "taskRoleArn: arn:aws:iam::1:role/other -> arn:aws:iam::1:role/task";
        assert_eq!(drift(&found, &wanted, &Patch::default()).to_string(), expected);
    }

    #[test]
    fn what_aws_writes_in_another_way_than_a_patch_is_no_drift() {
        let mut service = service();
        service.patch.task = Some(json!({"cpu": "1 vCPU", "memory": "2 GB"}));
        service.patch.container = Some(json!({"name": "api", "healthCheck": {"command": ["CMD", "true"], "interval": 10}}));
        let wanted = wanted(&service);
        let mut found = answer(wanted.clone());
        json_patch::merge(&mut found, &json!({"cpu": "1024", "memory": "2048"}));
        found["containerDefinitions"][0]["healthCheck"]["interval"] = json!(15);
        assert_eq!(drift(&found, &wanted, &service.patch).to_string(), "");
    }
}
