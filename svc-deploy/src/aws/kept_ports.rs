//! Ports that only an image says, when nobody has read the image: the service keeps those that it has, because others may call them.

use serde_json::Value;
use shared::Run;

use super::task_definition::Found;
use super::task_definition_request::family;
use crate::model::{Container, Endpoint, Port, Protocol, Service, Wanted};

/// Returns the settings with the ports of the found revisions where nothing else says them, or `None` when nothing is to be added.
pub fn kept(run: &Run, wanted: &Wanted, found: &Found) -> Option<Wanted> {
    let mut completed = wanted.clone();
    let mut is_changed = false;
    for service in completed.services.iter_mut().filter(|service| service.selected && service.connect.is_some()) {
        let Some(revision) = found.get(&family(&run.app, &service.name)) else { continue };
        let ports = keep(service, &revision.definition);
        if !ports.is_empty() {
            is_changed = true;
            run.warn(
                "image-ports-kept",
                format!(
                    "services.{} keeps the ports of its running revision ({}), because the ports of its image are not known in this run. Add them to expose, or set x-svc.expose: [] to remove them",
                    service.name,
                    ports.join(", ")
                ),
            );
        }
    }
    is_changed.then_some(completed)
}

/// Adds the ports of a revision, and returns them.
fn keep(service: &mut Service, definition: &Value) -> Vec<String> {
    let Service { name, containers, connect, .. } = service;
    let (Some(connect), mut kept) = (connect, Vec::new()) else { return Vec::new() };
    for container in containers.iter_mut().filter(|container| container.ports_unknown) {
        for number in mapped(container, definition) {
            container.ports.push(Port { number, protocol: Protocol::Tcp });
            connect.endpoints.push(Endpoint::of(name, number, None));
            kept.push(number.to_string());
        }
    }
    kept
}

/// Returns the ports that a container has in a revision, and that have a name in the namespace.
fn mapped(container: &Container, definition: &Value) -> Vec<i32> {
    let all = definition["containerDefinitions"].as_array().into_iter().flatten();
    let ports = all.filter(|one| one["name"] == container.name.as_str()).filter_map(|one| one["portMappings"].as_array()).flatten();
    let number = |port: &Value| i32::try_from(port["containerPort"].as_i64()?).ok();
    let named = ports.filter_map(|port| number(port).filter(|number| port["name"] == format!("tcp-{number}")));
    named.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::aws::samples;
    use crate::model::Connect;

    #[test]
    fn unknown_ports_are_those_of_the_revision() {
        let definition = json!({"containerDefinitions": [
            {"name": "log", "portMappings": [{"name": "tcp-1", "containerPort": 1}]},
            {"name": "queue", "portMappings": [{"name": "tcp-7000", "containerPort": 7000, "hostPort": 0}, {"containerPort": 9, "protocol": "udp"}]}]});
        let mut service = samples::service("queue");
        assert_eq!(keep(&mut service, &definition), [""; 0], "outside of the namespace");
        service.connect = Some(Connect { endpoints: Vec::new(), peers: BTreeSet::new() });
        assert_eq!(keep(&mut service, &definition), [""; 0], "known");
        service.containers[0].ports_unknown = true;
        assert_eq!(keep(&mut service, &definition), ["7000"]);
        assert_eq!(service.containers[0].ports, [Port { number: 7000, protocol: Protocol::Tcp }]);
        assert_eq!(service.connect.unwrap().endpoints, [Endpoint::of("queue", 7000, None)]);
    }
}
