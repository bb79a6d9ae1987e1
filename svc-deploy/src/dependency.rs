//! `depends_on`: within a task the order of its containers, between services the order of their deployments.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#depends_on>

use serde_json::{Value, json};
use shared::doc::{At, Document};
use shared::{Error, Result};

use crate::compose::Service;

/// Sidecars and their owner start in the order that `depends_on` says.
pub fn within_task(containers: &mut [Value], owner: &At<'_>, sidecars: &[&(&str, At<'_>)]) -> Result<()> {
    let names: Vec<String> = containers.iter().filter_map(|container| container["name"].as_str()).map(str::to_owned).collect();
    for (container, at) in containers.iter_mut().zip(std::iter::once(owner).chain(sidecars.iter().map(|(_, at)| at))) {
        let within: Vec<Value> = dependencies(at)?
            .into_iter()
            .filter(|one| names.contains(&one.service))
            .map(|one| {
                let condition = match one.condition.as_str() {
                    "service_healthy" => "HEALTHY",
                    "service_completed_successfully" => "SUCCESS",
                    _ => "START",
                };
                json!({"containerName": one.service, "condition": condition})
            })
            .collect();
        if !within.is_empty() {
            container["dependsOn"] = within.into();
        }
    }
    let completing: Vec<String> = containers
        .iter()
        .flat_map(|container| container["dependsOn"].as_array().cloned().unwrap_or_default())
        .filter(|one| one["condition"] == "SUCCESS")
        .filter_map(|one| one["containerName"].as_str().map(str::to_owned))
        .collect();
    // A container that is to complete must be allowed to.
    for container in containers.iter_mut().filter(|container| completing.iter().any(|name| container["name"] == name.as_str())) {
        container["essential"] = json!(false);
    }
    Ok(())
}

/// What a service waits for.
struct Dependency<'a> {
    at: At<'a>,
    service: String,
    condition: String,
    required: bool,
}

/// `depends_on` in both forms: names, or names with conditions.
fn dependencies<'a>(at: &At<'a>) -> Result<Vec<Dependency<'a>>> {
    let Some(depends_on) = at.key("depends_on") else { return Ok(Vec::new()) };
    let started =
        |at: At<'a>| Ok(Dependency { service: at.text()?.to_owned(), condition: "service_started".to_owned(), required: true, at });
    if depends_on.value().is_array() {
        return depends_on.list()?.into_iter().map(started).collect();
    }
    let condition = |(name, at): (&str, At<'a>)| {
        let condition = at.key("condition").map_or(Ok("service_started"), |at| at.text())?.to_owned();
        let required = at.key("required").map_or(Ok(true), |at| at.truth())?;
        Ok(Dependency { service: name.to_owned(), condition, required, at })
    };
    depends_on.entries()?.into_iter().map(condition).collect()
}

/// `service_healthy` between services orders their deployments.
pub fn after(doc: &Document, name: &str, at: &At<'_>, sidecars: &[&(&str, At<'_>)]) -> Result<Vec<String>> {
    let is_within = |service: &str| service == name || sidecars.iter().any(|(sidecar, _)| *sidecar == service);
    let mut healthy = Vec::new();
    for at in std::iter::once(at).chain(sidecars.iter().map(|(_, at)| at)) {
        for one in dependencies(at)?.into_iter().filter(|one| !is_within(&one.service)) {
            if doc.root().key("services").and_then(|all| all.key(&one.service)).is_none() {
                if one.required {
                    return Err(one.at.wrong(format!("there is no service {:?}", one.service)));
                }
            } else if one.condition == "service_healthy" {
                healthy.push(one.service);
            } else if one.condition == "service_completed_successfully" {
                return Err(one.at.wrong(format!(
                    "an ECS service never completes: make {} a sidecar of this one (network_mode: service:…), or run it before with `aws ecs run-task`",
                    one.service
                )));
            }
        }
    }
    Ok(healthy)
}

/// The services in the order in which they are deployed.
pub fn in_order(mut left: Vec<Service>) -> Result<Vec<Service>> {
    let mut ordered: Vec<Service> = Vec::new();
    while !left.is_empty() {
        let waits = |service: &Service| service.after.iter().any(|name| left.iter().any(|other| other.name == *name));
        let Some(next) = left.iter().position(|service| !waits(service)) else {
            let names: Vec<&str> = left.iter().map(|service| service.name.as_str()).collect();
            return Err(Error::document("services", format!("{} wait for each other (depends_on with service_healthy)", names.join(", "))));
        };
        ordered.push(left.remove(next));
    }
    Ok(ordered)
}
