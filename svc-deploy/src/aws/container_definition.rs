//! The container definitions of a task, in ECS's JSON.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::doc::Caller;
use shared::{Error, Result};

use super::kept::Kept;
use super::{log_group, secret, secret_file};
use crate::model::{AppProtocol, Container, Endpoint, HealthCheck, Linux, NetworkMode, Port, Protocol, Service, Wanted};

/// Returns `containerDefinitions` of `RegisterTaskDefinition`.
pub fn definitions(app: &str, caller: &Caller, service: &Service, kept: &Kept) -> Vec<Value> {
    let log = |options: &BTreeMap<String, String>| awslogs(app, caller, &service.name, options);
    let mut definitions = patched(service, |container| log(&container.log_options));
    let own = definitions.len();
    secret_file::add(service, &mut definitions, kept);
    // The container that writes secrets comes last, and has no options of its own.
    for added in definitions.iter_mut().skip(own) {
        added["logConfiguration"] = log(&BTreeMap::new());
    }
    for definition in &mut definitions {
        secret::resolve(caller, definition);
    }
    definitions
}

/// Returns the definitions with their patches. `x-svc.patch.container` is merged into the service's own container, which is the first.
fn patched(service: &Service, awslogs: impl Fn(&Container) -> Value) -> Vec<Value> {
    let patch = |(i, container): (usize, &Container)| {
        let mut definition = definition(container, service);
        let log = awslogs(container);
        if container.log.is_none() {
            definition["logConfiguration"] = log.clone();
        }
        let own = service.patch.container.as_ref().filter(|_| i == 0);
        for patch in service.patch.containers.get(&container.name).into_iter().chain(own) {
            change_driver(&mut definition, &patch["logConfiguration"]["logDriver"], &log);
            json_patch::merge(&mut definition, patch);
        }
        definition
    };
    service.containers.iter().enumerate().map(patch).collect()
}

/// A patch with another log driver gets none of the options of the one before, which ECS would refuse.
fn change_driver(definition: &mut Value, driver: &Value, awslogs: &Value) {
    if driver.is_string() && definition["logConfiguration"]["logDriver"] != *driver {
        definition["logConfiguration"] = if *driver == "awslogs" { awslogs.clone() } else { json!({}) };
    }
}

/// Refuses a container that waits for the health of one without a health check, as patches may say. ECS refuses it later.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html>
pub fn check_health(wanted: &Wanted) -> Result<()> {
    for service in &wanted.services {
        let definitions = patched(service, |_| Value::Null);
        let is_checked = |name: &Value| definitions.iter().any(|one| one["name"] == *name && one["healthCheck"]["command"].is_array());
        let dependencies = definitions.iter().flat_map(|one| one["dependsOn"].as_array().into_iter().flatten());
        if let Some(one) = dependencies.filter(|one| one["condition"] == "HEALTHY").find(|one| !is_checked(&one["containerName"])) {
            return Err(Error::document(
                "patch-healthy-without-check",
                format!("services.{}.x-svc.patch", service.name),
                format!(
                    "a container waits until {0} is healthy, but {0} has no health check. Add a healthcheck to it, or remove the condition HEALTHY",
                    one["containerName"].as_str().unwrap_or("another one")
                ),
            ));
        }
    }
    Ok(())
}

/// Bytes of the largest task definition that ECS accepts.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>
const LARGEST: usize = 64 * 1024;

/// Refuses containers that are too large for one task definition.
pub fn check_size(wanted: &Wanted) -> Result<()> {
    for service in &wanted.services {
        let size: usize = patched(service, |_| Value::Null).iter().map(|definition| definition.to_string().len()).sum();
        if size > LARGEST {
            return Err(Error::document(
                "task-definition-size",
                format!("services.{}", service.name),
                format!("a task definition must have at most {LARGEST} bytes; found {size}. Shorten the environment, labels or commands"),
            ));
        }
    }
    Ok(())
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
fn awslogs(app: &str, caller: &Caller, service: &str, more: &BTreeMap<String, String>) -> Value {
    let mut options = json!({
        "awslogs-group": log_group::name(app, service),
        "awslogs-region": caller.region,
        "awslogs-stream-prefix": service,
        // A full buffer must not stop the service.
        "mode": "non-blocking",
        "max-buffer-size": "25m",
    });
    for (name, value) in more {
        options[name] = json!(value);
    }
    json!({"logDriver": "awslogs", "options": options})
}

/// What is `null` or empty is left out, but for the image: a plan may not know it.
fn definition(container: &Container, service: &Service) -> Value {
    let mut definition = Map::from_iter([("name".to_owned(), json!(container.name)), ("image".to_owned(), json!(container.image))]);
    for part in [basics(container, service), process(container), host(container), links(container)] {
        definition.extend(present(part));
    }
    definition.into()
}

fn basics(container: &Container, service: &Service) -> Value {
    json!({
        "essential": container.essential,
        "cpu": container.cpu,
        "memory": container.memory,
        "memoryReservation": container.memory_reservation,
        "resourceRequirements": list(container.gpus, |gpus| json!({"type": "GPU", "value": gpus.to_string()})),
        "portMappings": list(&container.ports, |port| port_mapping(*port, service)),
    })
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>
fn port_mapping(port: Port, service: &Service) -> Value {
    // On a bridge ECS chooses the port of the instance, so that several tasks fit on one.
    let host = if service.network_mode == NetworkMode::Bridge { 0 } else { port.number };
    let endpoint = service.endpoint(port.number).filter(|_| port.protocol == Protocol::Tcp);
    json!({
        "name": endpoint.map(Endpoint::port_name),
        "containerPort": port.number,
        "hostPort": host,
        "protocol": port.protocol.value(),
        "appProtocol": endpoint.and_then(|endpoint| endpoint.app_protocol).map(AppProtocol::value),
    })
}

fn process(container: &Container) -> Value {
    json!({
        "command": container.command,
        "entryPoint": container.entry_point,
        "workingDirectory": container.working_directory,
        "user": container.user,
        "readonlyRootFilesystem": container.read_only,
        "pseudoTerminal": container.pseudo_terminal,
        "interactive": container.interactive,
        "privileged": container.privileged,
        "stopTimeout": container.stop_timeout,
        "environment": list(&container.environment, |(name, value)| json!({"name": name, "value": value})),
        "secrets": list(&container.secrets, |secret| json!({"name": secret.variable, "valueFrom": secret.source})),
        "healthCheck": container.health_check.as_ref().map(health_check),
        "dockerLabels": container.labels,
        "logConfiguration": container.log.as_ref().map(|log| json!({"logDriver": log.driver, "options": log.options})),
    })
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>
fn health_check(check: &HealthCheck) -> Value {
    json!({
        "command": check.command,
        "timeout": check.timeout,
        "interval": check.interval,
        "startPeriod": check.start_period,
        "retries": check.retries,
    })
}

fn host(container: &Container) -> Value {
    json!({
        "hostname": container.hostname,
        "extraHosts": list(&container.extra_hosts, |(host, address)| json!({"hostname": host, "ipAddress": address})),
        "dnsServers": container.dns_servers,
        "dnsSearchDomains": container.dns_search_domains,
        "ulimits": list(&container.ulimits, |one| json!({"name": one.name, "softLimit": one.soft, "hardLimit": one.hard})),
        "systemControls": list(&container.system_controls, |(name, value)| json!({"namespace": name, "value": value})),
        "dockerSecurityOptions": container.security_options,
        "linuxParameters": linux(&container.linux),
    })
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinuxParameters.html>,
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tmpfs.html>
fn linux(linux: &Linux) -> Value {
    json!({
        "initProcessEnabled": linux.init,
        "sharedMemorySize": linux.shared_memory,
        "capabilities": {"add": linux.capabilities_added, "drop": linux.capabilities_dropped},
        "tmpfs": list(&linux.tmpfs, |mount| json!({"containerPath": mount.path, "size": mount.size, "mountOptions": mount.options})),
        "devices": list(&linux.devices, |one| json!({"hostPath": one.host, "containerPath": one.container, "permissions": one.permissions})),
    })
}

fn links(container: &Container) -> Value {
    let mount =
        |mount: &crate::model::Mount| json!({"sourceVolume": mount.volume, "containerPath": mount.path, "readOnly": mount.read_only});
    json!({
        "mountPoints": list(&container.mounts, mount),
        "dependsOn": list(&container.depends_on, |one| json!({"containerName": one.container, "condition": one.condition.value()})),
    })
}

fn list<I: IntoIterator>(items: I, json: impl Fn(I::Item) -> Value) -> Value {
    items.into_iter().map(json).collect()
}

/// Returns the fields that say something, at every depth.
fn present(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { return Map::new() };
    fields.into_iter().map(|(key, value)| (key, deep(value))).filter(|(_, value)| !says_nothing(value)).collect()
}

fn deep(value: Value) -> Value {
    match value {
        Value::Object(_) => present(value).into(),
        Value::Array(items) => items.into_iter().map(deep).collect(),
        other => other,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;
    use crate::model::{Condition, Dependency, LogDriver, Mount, Secret, Tmpfs, Ulimit};

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    fn rendered(change: impl FnOnce(&mut Container)) -> Value {
        let mut container = samples::container("web");
        change(&mut container);
        definition(&container, &Service { network_mode: NetworkMode::Bridge, ..samples::service("web") })
    }

    /// What a container has beside the sample's fields, and what ECS's JSON then has beside the sample's.
    #[test]
    fn each_field_is_written_as_ecs_names_it() {
        type Change = fn(&mut Container);
        let cases: Vec<(Change, Value)> = vec![
            (|_| {}, json!({})),
            (|one| one.image = None, json!({"image": null})),
            (|one| one.essential = false, json!({"essential": false})),
            (|one| one.memory_reservation = Some(128), json!({"memoryReservation": 128})),
            (|one| one.gpus = Some(2), json!({"resourceRequirements": [{"type": "GPU", "value": "2"}]})),
            (|one| one.security_options = texts(["no-new-privileges"]), json!({"dockerSecurityOptions": ["no-new-privileges"]})),
            (|one| one.command = Some(texts(["a", "b c"])), json!({"command": ["a", "b c"]})),
            (|one| one.command = Some(Vec::new()), json!({})),
            (|one| one.entry_point = Some(texts(["a"])), json!({"entryPoint": ["a"]})),
            (|one| one.working_directory = Some("/srv".to_owned()), json!({"workingDirectory": "/srv"})),
            (|one| one.user = Some("1000:1000".to_owned()), json!({"user": "1000:1000"})),
            (|one| one.read_only = Some(false), json!({"readonlyRootFilesystem": false})),
            (|one| one.pseudo_terminal = Some(true), json!({"pseudoTerminal": true})),
            (|one| one.interactive = Some(true), json!({"interactive": true})),
            (|one| one.privileged = Some(true), json!({"privileged": true})),
            (|one| one.hostname = Some("web".to_owned()), json!({"hostname": "web"})),
            (|one| one.stop_timeout = Some(90), json!({"stopTimeout": 90})),
            (|one| one.dns_servers = texts(["10.0.0.2"]), json!({"dnsServers": ["10.0.0.2"]})),
            (|one| one.dns_search_domains = texts(["shop.internal"]), json!({"dnsSearchDomains": ["shop.internal"]})),
            (|one| one.linux.init = Some(true), json!({"linuxParameters": {"initProcessEnabled": true}})),
            (|one| one.linux.shared_memory = Some(64), json!({"linuxParameters": {"sharedMemorySize": 64}})),
            (|one| one.linux.capabilities_dropped = texts(["ALL"]), json!({"linuxParameters": {"capabilities": {"drop": ["ALL"]}}})),
        ];
        for (change, expected) in cases {
            let mut whole = json!({"name": "web", "image": "nginx", "essential": true, "cpu": 256, "memory": 512});
            // A merge patch would remove what it sets to null.
            expected.as_object().into_iter().flatten().for_each(|(key, value)| whole[key] = value.clone());
            assert_eq!(rendered(change), whole, "{expected}");
        }
        assert_eq!(rendered(|one| one.labels = [("a".to_owned(), "x".to_owned())].into())["dockerLabels"], json!({"a": "x"}));
    }

    #[test]
    fn lists_are_written_as_ecs_names_their_items() {
        let text = str::to_owned;
        let whole = rendered(|one| {
            one.environment = [("B".to_owned(), "2".to_owned()), ("A".to_owned(), String::new())].into();
            one.extra_hosts = vec![(text("db"), text("10.0.0.1"))];
            one.ulimits = vec![Ulimit { name: text("nofile"), soft: 1, hard: 2 }];
            one.system_controls = vec![(text("net.core.somaxconn"), text("1024"))];
            one.mounts = vec![Mount { volume: text("data"), path: text("/data"), read_only: true }];
            one.depends_on = vec![Dependency { container: text("db"), condition: Condition::Healthy }];
            one.linux.tmpfs = vec![Tmpfs { path: text("/run"), size: 64, options: Vec::new() }];
            one.secrets = vec![Secret { variable: text("TOKEN"), source: text("/shop/token") }];
            one.log = Some(LogDriver { driver: text("splunk"), options: [(text("a"), text("b"))].into() });
            one.health_check =
                Some(HealthCheck { command: texts(["CMD", "true"]), timeout: 30, interval: Some(10), start_period: None, retries: None });
        });
        for (field, expected) in [
            ("environment", json!([{"name": "A", "value": ""}, {"name": "B", "value": "2"}])),
            ("extraHosts", json!([{"hostname": "db", "ipAddress": "10.0.0.1"}])),
            ("ulimits", json!([{"name": "nofile", "softLimit": 1, "hardLimit": 2}])),
            ("systemControls", json!([{"namespace": "net.core.somaxconn", "value": "1024"}])),
            ("mountPoints", json!([{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}])),
            ("dependsOn", json!([{"containerName": "db", "condition": "HEALTHY"}])),
            ("linuxParameters", json!({"tmpfs": [{"containerPath": "/run", "size": 64}]})),
            ("secrets", json!([{"name": "TOKEN", "valueFrom": "/shop/token"}])),
            ("logConfiguration", json!({"logDriver": "splunk", "options": {"a": "b"}})),
            ("healthCheck", json!({"command": ["CMD", "true"], "timeout": 30, "interval": 10})),
        ] {
            assert_eq!(whole[field], expected, "{field}");
        }
    }

    #[test]
    fn the_host_port_follows_the_network_mode() {
        let port = Port { number: 53, protocol: Protocol::Udp };
        for (mode, host) in [(NetworkMode::Bridge, 0), (NetworkMode::Awsvpc, 53), (NetworkMode::Host, 53)] {
            let service = Service { network_mode: mode, ..samples::service("web") };
            let mapping = Value::Object(present(port_mapping(port, &service)));
            assert_eq!(mapping, json!({"containerPort": 53, "hostPort": host, "protocol": "udp"}));
        }
    }

    #[test]
    fn the_patch_is_merged_into_the_own_container_before_the_default_log_driver() {
        let mut service = samples::service("web");
        service.containers.push(samples::container("sidecar"));
        service.patch.containers = [("sidecar".to_owned(), json!({"user": "log", "memory": null}))].into();
        service.patch.container =
            Some(json!({"logConfiguration": {"logDriver": "none"}, "secrets": [{"name": "A", "valueFrom": "/a"}], "cpu": null}));
        let definitions = definitions("shop", &samples::caller(), &service, &Kept::default());
        assert_eq!(definitions[0]["logConfiguration"], json!({"logDriver": "none"}));
        assert_eq!(definitions[0]["secrets"][0]["valueFrom"], "arn:aws:ssm:us-east-1:123456789012:parameter/a");
        assert_eq!(definitions[0].get("cpu"), None);
        assert_eq!((&definitions[1]["cpu"], &definitions[1]["user"], definitions[1].get("memory")), (&json!(256), &json!("log"), None));
        assert_eq!(definitions[1]["logConfiguration"]["options"]["awslogs-group"], "/ecs-pipe/shop/web");
    }

    #[test]
    fn a_patch_of_the_log_keeps_the_group_unless_the_driver_is_another_one() {
        let log = |compose: Option<LogDriver>, patch: Value| {
            let mut service = samples::service("web");
            service.containers[0].log = compose;
            service.patch.container = Some(json!({"logConfiguration": patch}));
            definitions("shop", &samples::caller(), &service, &Kept::default())[0]["logConfiguration"].clone()
        };
        let own = awslogs("shop", &samples::caller(), "web", &BTreeMap::new());
        let pattern = |mut log: Value| {
            log["options"]["awslogs-multiline-pattern"] = json!("^x");
            log
        };
        let splunk = || Some(LogDriver { driver: "splunk".to_owned(), options: [("a".to_owned(), "b".to_owned())].into() });
        let options = json!({"awslogs-multiline-pattern": "^x"});
        assert_eq!(log(None, json!({"options": options})), pattern(own.clone()));
        assert_eq!(log(None, json!({"logDriver": "awslogs", "options": options})), pattern(own.clone()));
        assert_eq!(log(splunk(), json!({"logDriver": "awslogs"})), own);
        assert_eq!(log(None, json!({"options": {"mode": null}}))["options"].get("mode"), None);
        assert_eq!(
            log(None, json!({"logDriver": "fluentd", "options": {"c": "d"}})),
            json!({"logDriver": "fluentd", "options": {"c": "d"}})
        );
        assert_eq!(log(splunk(), json!({"options": {"c": "d"}})), json!({"logDriver": "splunk", "options": {"a": "b", "c": "d"}}));
    }

    #[test]
    fn who_waits_for_health_needs_a_health_check() {
        let mut service = samples::service("web");
        service.containers.push(samples::container("sidecar"));
        let waits = json!({"dependsOn": [{"containerName": "sidecar", "condition": "HEALTHY"}]});
        let check = json!({"healthCheck": {"command": ["CMD", "true"]}});
        service.patch.container = Some(waits);
        let found = |service: Service| check_health(&samples::wanted(vec![service])).map_err(|error| error.code());
        service.patch.containers = [("sidecar".to_owned(), check)].into();
        let unchecked =
            Service { patch: crate::model::Patch { containers: BTreeMap::new(), ..service.patch.clone() }, ..samples::service("web") };
        assert_eq!((found(service), found(unchecked)), (Ok(()), Err("patch-healthy-without-check")));
    }
}
