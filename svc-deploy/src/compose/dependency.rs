//! `depends_on`: within a task the order of its containers, between services the order of their deployments.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#depends_on>

use std::collections::BTreeMap;

use shared::doc::{At, Document, is_job};
use shared::{Error, Result};

use crate::model::{Condition, Container, Dependency, Service};

/// Sets the order in which a service's own container and its sidecars start. `places` are their places in the document, in the same order.
pub fn within_task(containers: &mut [Container], places: &[&At<'_>]) -> Result<()> {
    let checked: BTreeMap<String, bool> = containers.iter().map(|one| (one.name.clone(), one.health_check.is_some())).collect();
    for (container, at) in containers.iter_mut().zip(places) {
        for one in conditions(at)? {
            let Some(is_checked) = checked.get(&one.service) else { continue };
            if one.condition == Condition::Healthy && !is_checked {
                return Err(one.at.wrong(
                    "healthy-without-check",
                    format!(
                        "services.{0} has no healthcheck, and ECS does not read that of an image. Add a healthcheck to services.{0}",
                        one.service
                    ),
                ));
            }
            container.depends_on.push(Dependency { condition: one.condition, container: one.service });
        }
    }
    let dependencies = containers.iter().flat_map(|container| &container.depends_on);
    let completing: Vec<String> = dependencies.filter(|one| one.condition == Condition::Success).map(|one| one.container.clone()).collect();
    // A container that others wait for to complete must be allowed to end.
    for container in containers.iter_mut().filter(|container| completing.contains(&container.name)) {
        container.essential = false;
    }
    Ok(())
}

/// One entry of `depends_on`.
struct Entry<'a> {
    at: At<'a>,
    service: String,
    condition: Condition,
    required: bool,
}

/// Reads what a container waits for: `depends_on`, and `links`, which imply it.
fn conditions<'a>(at: &At<'a>) -> Result<Vec<Entry<'a>>> {
    let mut all = depends_on(at)?;
    for at in at.key("links").map_or_else(|| Ok(Vec::new()), |at| at.list())? {
        let service = at.text()?.split(':').next().unwrap_or_default().to_owned();
        if !all.iter().any(|one| one.service == service) {
            all.push(Entry { service, condition: Condition::Start, required: true, at });
        }
    }
    Ok(all)
}

/// Reads `depends_on` in both forms: names, or names with conditions.
fn depends_on<'a>(at: &At<'a>) -> Result<Vec<Entry<'a>>> {
    let Some(depends_on) = at.key("depends_on") else { return Ok(Vec::new()) };
    if depends_on.value().is_array() {
        let started = |at: At<'a>| Ok(Entry { service: at.text()?.to_owned(), condition: Condition::Start, required: true, at });
        return depends_on.list()?.into_iter().map(started).collect();
    }
    let entry = |(name, at): (&str, At<'a>)| {
        let condition = match at.key("condition").map_or(Ok("service_started"), |at| at.text())? {
            "service_healthy" => Condition::Healthy,
            "service_completed_successfully" => Condition::Success,
            _ => Condition::Start,
        };
        let required = at.key("required").map_or(Ok(true), |at| at.truth())?;
        Ok(Entry { service: name.to_owned(), condition, required, at })
    };
    depends_on.entries()?.into_iter().map(entry).collect()
}

/// Returns the services that must be healthy, and the jobs that must have ended, before this one is deployed; `places` are those of its containers.
/// A job runs once, so it waits for everything that it depends on.
pub fn after(doc: &Document, containers: &[Container], places: &[&At<'_>], is_a_job: bool) -> Result<Vec<String>> {
    let is_within = |service: &str| containers.iter().any(|container| container.name == service);
    let mut after = Vec::new();
    for at in places {
        for one in conditions(at)?.into_iter().filter(|one| !is_within(&one.service)) {
            let exists = doc.root().key("services").is_some_and(|all| all.key(&one.service).is_some());
            match one.condition {
                _ if !exists && one.required => {
                    return Err(one
                        .at
                        .wrong("dependency-missing", format!("there is no service {:?}. Add it, or remove this", one.service)));
                }
                _ if !exists => {}
                Condition::Success if !is_job(doc, &one.service) => {
                    return Err(one.at.wrong(
                        "dependency-completes",
                        format!(
                            "{0} is a container of another service's task, which does not end with it. Remove network_mode from {0}, so that it is a job, or remove this",
                            one.service
                        ),
                    ));
                }
                Condition::Healthy | Condition::Success => after.push(one.service),
                Condition::Start if is_a_job => after.push(one.service),
                Condition::Start => {}
            }
        }
    }
    Ok(after)
}

/// Returns the services that are deployed before this one, so that it sees their endpoints when it starts.
pub fn before(doc: &Document, containers: &[Container], places: &[&At<'_>]) -> Result<Vec<String>> {
    let mut before = Vec::new();
    for at in places {
        before.extend(conditions(at)?.into_iter().filter(|one| one.condition == Condition::Start).map(|one| one.service));
    }
    let exists = |name: &String| doc.root().key("services").is_some_and(|all| all.key(name).is_some());
    before.retain(|name| exists(name) && !containers.iter().any(|container| container.name == *name));
    Ok(before)
}

/// Returns the services in the order in which they are deployed.
pub fn in_order(mut left: Vec<Service>) -> Result<Vec<Service>> {
    let mut ordered: Vec<Service> = Vec::new();
    while !left.is_empty() {
        let waits = |service: &Service| service.first().any(|name| left.iter().any(|other| other.name == *name));
        let Some(next) = left.iter().position(|service| !waits(service)) else {
            let names = cycle(&left).join(", ");
            return Err(Error::document(
                "dependency-cycle",
                "services",
                format!("these services wait for each other: {names}. Remove one of the dependencies between them from depends_on"),
            ));
        };
        ordered.push(left.remove(next));
    }
    Ok(ordered)
}

/// Returns the services of one cycle. Each of `all` waits for another one of them, so following what they wait for ends in a cycle.
fn cycle(all: &[Service]) -> Vec<&str> {
    let mut path: Vec<&Service> = Vec::new();
    let mut next = all.first();
    while let Some(service) = next {
        if let Some(start) = path.iter().position(|seen| seen.name == service.name) {
            path.drain(..start);
            break;
        }
        path.push(service);
        next = all.iter().find(|other| service.first().any(|name| *name == other.name));
    }
    path.into_iter().map(|service| service.name.as_str()).collect()
}
