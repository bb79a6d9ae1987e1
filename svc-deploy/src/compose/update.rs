//! Compose's `deploy`: how a service is deployed, as far as ECS can.
//! <https://github.com/compose-spec/compose-spec/blob/main/deploy.md>

use serde_json::Value;
use shared::Result;
use shared::doc::{At, Document};

use super::machine;
use crate::model::{Breaker, HealthyPercent};
use crate::settings::BreakerSetting;

/// Refuses what would change what the service does, and warns of what has no effect. Returns the GPUs that it reserves.
pub fn check(doc: &Document, deploy: &At<'_>, fargate: bool) -> Result<Option<i32>> {
    let mut gpus = None;
    for (key, at) in given(deploy)? {
        match key {
            "mode" if at.value() == "replicated" => {}
            "mode" => {
                return Err(at.expected(
                    "deploy-mode",
                    "replicated, because ECS services are. Run a job with `aws ecs run-task`; one task on each instance is not possible here",
                ));
            }
            "placement" => check_placement(doc, &at)?,
            "resources" => gpus = check_resources(doc, &at, fargate)?,
            "update_config" => {
                for (_, at) in given(&at)?.into_iter().filter(|(key, _)| !["order", "failure_action"].contains(key)) {
                    warn(doc, &at);
                }
            }
            "replicas" | "labels" => {}
            _ => warn(doc, &at),
        }
    }
    Ok(gpus)
}

/// The roles of a swarm's nodes mean nothing to ECS, which also spreads tasks by itself.
fn check_placement(doc: &Document, placement: &At<'_>) -> Result<()> {
    for (key, at) in given(placement)? {
        let is_of_swarm = |one: &At<'_>| one.value().as_str().is_some_and(|text| text.trim_start().starts_with("node.role"));
        if key == "preferences" || (key == "constraints" && at.list()?.iter().all(is_of_swarm)) {
            warn(doc, &at);
            continue;
        }
        return Err(at.wrong(
            "deploy-placement",
            "svc-deploy spreads tasks over zones and instances. Remove this, or set placementConstraints in x-svc.patch.service",
        ));
    }
    Ok(())
}

fn check_resources(doc: &Document, resources: &At<'_>, fargate: bool) -> Result<Option<i32>> {
    let mut gpus = None;
    for (kind, at) in given(resources)? {
        for (key, at) in given(&at)? {
            match (kind, key) {
                (_, "cpus" | "memory") => {}
                ("reservations", "devices") if !fargate => gpus = Some(machine::gpus(&at)?),
                ("reservations", "devices" | "generic_resources") => {
                    return Err(at.wrong(
                        "deploy-devices",
                        "svc-deploy reserves GPUs of instances (devices with the capability gpu), but nothing else. Remove this, or run the app on EC2",
                    ));
                }
                _ => warn(doc, &at),
            }
        }
    }
    Ok(gpus)
}

/// Returns what has content; Compose prints empty objects.
fn given<'a>(at: &At<'a>) -> Result<Vec<(&'a str, At<'a>)>> {
    let no_items = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let empty = |value: &Value| value.is_null() || no_items(value) || value.as_object().is_some_and(serde_json::Map::is_empty);
    Ok(at.entries()?.into_iter().filter(|(_, at)| !empty(at.value())).collect())
}

fn warn(doc: &Document, at: &At<'_>) {
    doc.warn_at("deploy-without-effect", at, "this has no effect on ECS");
}

/// `x-svc.breaker` is on, off, or a number of failed tasks; `failure_action` decides on the rollback.
pub fn breaker(deploy: Option<&At<'_>>, setting: BreakerSetting) -> Result<Breaker> {
    let (enable, failures) = match setting {
        BreakerSetting::Switch(on) => (on, None),
        BreakerSetting::Failures(failures) => (true, Some(failures)),
    };
    let action = deploy.and_then(|deploy| deploy.key("update_config")).and_then(|config| config.key("failure_action"));
    let Some(action) = action else { return Ok(Breaker { enable, rollback: enable, failures }) };
    match action.text()? {
        "rollback" => Ok(Breaker { enable, rollback: enable, failures }),
        "pause" => Ok(Breaker { enable, rollback: false, failures }),
        "continue" => Ok(Breaker { enable: false, rollback: false, failures: None }),
        _ => Err(action.expected("failure-action", "one of rollback, pause and continue")),
    }
}

/// Reads the order of an update. A task that must be alone is stopped before the next one starts. ECS rounds the minimum up, so half of one task would
/// be that task.
pub fn healthy_percent(deploy: Option<&At<'_>>, tasks: i32, single: bool) -> Result<HealthyPercent> {
    let order = deploy.and_then(|deploy| deploy.key("update_config")).and_then(|config| config.key("order"));
    // ECS's own way, and the one that loses no capacity.
    let start_first = HealthyPercent { minimum: 100, maximum: 200 };
    let stop_first = HealthyPercent { minimum: if tasks > 1 { 50 } else { 0 }, maximum: 100 };
    let Some(order) = order else { return Ok(if single { stop_first } else { start_first }) };
    match order.text()? {
        "start-first" => Ok(start_first),
        "stop-first" => Ok(stop_first),
        _ => Err(order.expected("update-order", "one of start-first and stop-first")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of<T>(deploy: &Value, read: impl Fn(Option<&At<'_>>) -> Result<T>) -> Result<T, String> {
        let doc = Document::parse(json!({"deploy": deploy}).to_string().as_bytes()).unwrap();
        read(doc.root().key("deploy").as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_failure_action_decides_on_the_rollback() {
        let on = BreakerSetting::Switch(true);
        for (action, setting, expected) in [
            ("rollback", on, (true, true, None)),
            ("pause", BreakerSetting::Failures(5), (true, false, Some(5))),
            ("continue", on, (false, false, None)),
            ("rollback", BreakerSetting::Switch(false), (false, false, None)),
        ] {
            let found = of(&json!({"update_config": {"failure_action": action}}), |deploy| breaker(deploy, setting)).unwrap();
            assert_eq!((found.enable, found.rollback, found.failures), expected, "{action}");
        }
        assert!(of(&json!({"update_config": {"failure_action": "stop"}}), |deploy| breaker(deploy, on)).is_err());
    }

    #[test]
    fn stop_first_lets_a_single_task_stop() {
        let percent = |order: &str, tasks| {
            let found = of(&json!({"update_config": {"order": order}}), |deploy| healthy_percent(deploy, tasks, false)).unwrap();
            (found.minimum, found.maximum)
        };
        assert_eq!([percent("start-first", 1), percent("stop-first", 2), percent("stop-first", 1)], [(100, 200), (50, 100), (0, 100)]);
    }
}
