//! Compose's `deploy`: how a service is deployed, as far as ECS can.
//! <https://github.com/compose-spec/compose-spec/blob/main/deploy.md>

use serde_json::Value;
use shared::Result;
use shared::doc::{At, Document};

use crate::model::{Breaker, HealthyPercent};
use crate::settings::BreakerSetting;

/// Refuses what would change what the service does, and warns of what has no effect.
pub fn check(doc: &Document, deploy: &At<'_>) -> Result<()> {
    for (key, at) in given(deploy)? {
        match key {
            "mode" if at.value() == "replicated" => {}
            "mode" => {
                return Err(at.expected(
                    "deploy-mode",
                    "replicated, because ECS services are. Run a job with `aws ecs run-task`; one task on each instance is not possible here",
                ));
            }
            "placement" => {
                return Err(at.wrong(
                    "deploy-placement",
                    "svc-deploy spreads tasks over zones and instances. Remove this, or set placementConstraints in x-svc.patch.service",
                ));
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
                    return Err(at.wrong(
                        "deploy-devices",
                        "svc-deploy does not map devices. Remove this, or set resourceRequirements in x-svc.patch.container, for example for GPUs",
                    ));
                }
                _ => warn(doc, &at),
            }
        }
    }
    Ok(())
}

/// Returns what has content; Compose prints empty objects.
fn given<'a>(at: &At<'a>) -> Result<Vec<(&'a str, At<'a>)>> {
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    Ok(at.entries()?.into_iter().filter(|(_, at)| !empty(at.value())).collect())
}

fn warn(doc: &Document, at: &At<'_>) {
    doc.warn("deploy-without-effect", format!("{} has no effect on ECS", at.path()));
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

/// Reads the order of an update. ECS rounds the minimum up, so half of one task would be that task.
pub fn healthy_percent(deploy: Option<&At<'_>>, tasks: i32) -> Result<HealthyPercent> {
    let order = deploy.and_then(|deploy| deploy.key("update_config")).and_then(|config| config.key("order"));
    // ECS's own way, and the one that loses no capacity.
    let start_first = HealthyPercent { minimum: 100, maximum: 200 };
    let Some(order) = order else { return Ok(start_first) };
    match order.text()? {
        "start-first" => Ok(start_first),
        "stop-first" => Ok(HealthyPercent { minimum: if tasks > 1 { 50 } else { 0 }, maximum: 100 }),
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
            let found = of(&json!({"update_config": {"order": order}}), |deploy| healthy_percent(deploy, tasks)).unwrap();
            (found.minimum, found.maximum)
        };
        assert_eq!([percent("start-first", 1), percent("stop-first", 2), percent("stop-first", 1)], [(100, 200), (50, 100), (0, 100)]);
    }
}
