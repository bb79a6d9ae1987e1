//! Jobs: services that run to their end, once or by a schedule, and do not stay.

use serde_json::Value;

use super::at::At;
use super::compose::owner;
use super::document::Document;

/// Returns whether a service is a job: another one waits for it with `service_completed_successfully`, or its `x-svc` says so with `job: true` or a
/// `schedule`. What is not as it should be is reported where it is read.
#[must_use]
pub fn is_job(doc: &Document, name: &str) -> bool {
    let service = doc.root().key("services").and_then(|all| all.key(name));
    // A container of another service's task ends within that task.
    if service.as_ref().and_then(owner).is_some() {
        return false;
    }
    let setting = |key: &str| service.as_ref().and_then(|at| at.key("x-svc")).and_then(|at| at.key(key));
    setting("job").is_some_and(|at| at.value() == &Value::Bool(true)) || setting("schedule").is_some() || is_awaited(doc, name)
}

/// Returns whether another service waits for this one to complete, so that it runs before that one is deployed.
#[must_use]
pub fn is_awaited(doc: &Document, name: &str) -> bool {
    let Some(services) = doc.root().key("services") else { return false };
    let waits = |at: &At<'_>| {
        let condition = at.key("depends_on").and_then(|all| all.key(name)).and_then(|one| one.key("condition"));
        condition.is_some_and(|at| at.value() == "service_completed_successfully")
    };
    services.entries().is_ok_and(|all| all.iter().any(|(other, at)| *other != name && waits(at)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_awaited_named_or_scheduled() {
        let completed = json!({"condition": "service_completed_successfully"});
        let services = json!({
            "web": {"depends_on": {"migrate": completed, "init": completed, "db": {"condition": "service_healthy"}}},
            "worker": {"depends_on": ["seed"]},
            "migrate": {}, "db": {}, "seed": {},
            "init": {"network_mode": "service:web"},
            "once": {"x-svc": {"job": true}},
            "never": {"x-svc": {"job": false}},
            "night": {"x-svc": {"schedule": "rate(1 day)"}},
        });
        let doc = Document::parse(json!({"services": services}).to_string().as_bytes()).unwrap();
        let jobs: Vec<&str> = services.as_object().unwrap().keys().map(String::as_str).filter(|name| is_job(&doc, name)).collect();
        assert_eq!(jobs, ["migrate", "once", "night"]);
        assert_eq!((is_awaited(&doc, "migrate"), is_awaited(&doc, "night"), is_job(&doc, "unknown")), (true, false, false));
    }
}
