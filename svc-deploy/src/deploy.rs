//! Compose's `deploy`: how a service is deployed, as far as ECS can.
//! <https://github.com/compose-spec/compose-spec/blob/main/deploy.md>

use aws_sdk_ecs::types::ThresholdType;
use serde_json::Value;
use shared::Result;
use shared::doc::{At, Document};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    pub enable: bool,
    pub rollback: bool,
    /// Failed tasks that end a deployment; otherwise ECS's own share of the tasks.
    pub failures: Option<i32>,
}

/// Refuses what would change what the service does, and warns of what has no effect.
pub fn check(doc: &Document, deploy: &At<'_>) -> Result<()> {
    for (key, at) in given(deploy)? {
        match key {
            "mode" if at.value() == "replicated" => {}
            "mode" => {
                return Err(at.wrong(
                    "ECS services are replicated: for a job there is `aws ecs run-task`, and one task an instance is not possible here",
                ));
            }
            "placement" => {
                return Err(
                    at.wrong("svc-deploy spreads tasks over zones and instances: x-svc.patch.service can say placementConstraints instead")
                );
            }
            "resources" => check_resources(doc, &at)?,
            "update_config" => {
                for (_, at) in given(&at)?.into_iter().filter(|(key, _)| !["order", "failure_action"].contains(key)) {
                    warn(doc, &at);
                }
            }
            "replicas" | "labels" => {}
            _ => warn(doc, &at),
        }
    }
    Ok(())
}

fn check_resources(doc: &Document, resources: &At<'_>) -> Result<()> {
    for (kind, at) in given(resources)? {
        for (key, at) in given(&at)? {
            match (kind, key) {
                ("limits", "cpus" | "memory") | ("reservations", "memory") => {}
                ("reservations", "devices" | "generic_resources") => {
                    return Err(at.wrong("is not possible here: x-svc.patch.container can say resourceRequirements, as for GPUs"));
                }
                _ => warn(doc, &at),
            }
        }
    }
    Ok(())
}

/// What says something; Compose prints empty objects.
fn given<'a>(at: &At<'a>) -> Result<Vec<(&'a str, At<'a>)>> {
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    Ok(at.entries()?.into_iter().filter(|(_, at)| !empty(at.value())).collect())
}

fn warn(doc: &Document, at: &At<'_>) {
    doc.warn(format!("{} has no effect on ECS", at.path()));
}

/// `breaker` is on, off, or on with a number of failed tasks.
pub fn breaker(deploy: Option<&At<'_>>, wish: Option<&At<'_>>) -> Result<Breaker> {
    let (enable, failures) = match wish {
        Some(at) if at.value().is_number() => (true, Some(at.whole(1..=i32::MAX)?)),
        Some(at) => (at.truth()?, None),
        None => (true, None),
    };
    let action = deploy.and_then(|deploy| deploy.key("update_config")).and_then(|config| config.key("failure_action"));
    let Some(action) = action else { return Ok(Breaker { enable, rollback: enable, failures }) };
    match action.text()? {
        "rollback" => Ok(Breaker { enable, rollback: enable, failures }),
        "pause" => Ok(Breaker { enable, rollback: false, failures }),
        "continue" => Ok(Breaker { enable: false, rollback: false, failures: None }),
        _ => Err(action.expected("rollback, pause or continue")),
    }
}

impl Breaker {
    /// ECS's own: half of the tasks, but at least 3 and at most 200 failures.
    /// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
    pub const ECS: (ThresholdType, i32) = (ThresholdType::BoundedPercent, 50);

    /// The default is said as well, so that it comes back when the wish is taken out.
    pub fn threshold(self) -> (ThresholdType, i32) {
        self.failures.map_or(Self::ECS, |failures| (ThresholdType::Count, failures))
    }
}

/// Minimum and maximum of healthy tasks while deploying, in percent. ECS rounds the minimum up, so half of one task would be that task.
pub fn healthy_percent(deploy: Option<&At<'_>>, tasks: i32) -> Result<(i32, i32)> {
    let order = deploy.and_then(|deploy| deploy.key("update_config")).and_then(|config| config.key("order"));
    // ECS's own way, and the one that loses no capacity.
    let Some(order) = order else { return Ok((100, 200)) };
    match order.text()? {
        "start-first" => Ok((100, 200)),
        "stop-first" => Ok((if tasks > 1 { 50 } else { 0 }, 100)),
        _ => Err(order.expected("start-first or stop-first")),
    }
}
