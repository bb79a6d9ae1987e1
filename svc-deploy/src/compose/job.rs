//! Jobs: services that run to their end.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#depends_on>

use shared::Result;
use shared::doc::{At, Document, Img, is_awaited, is_job};

use crate::model::{
    Breaker, Condition, Connect, Container, Dependency, HealthyPercent, IMAGE_LABEL, Job, KEEPER, KEEPER_MEMORY, KEEPER_SCRIPT, SHELL,
    Schedule, Service, by_digest,
};
use crate::settings::ServiceSettings;

/// Returns when the service runs as a job, or `None` when it stays as an ECS service.
pub fn read(doc: &Document, name: &str, at: &At<'_>, settings: &ServiceSettings) -> Result<Option<Job>> {
    if !is_job(doc, name) {
        return Ok(None);
    }
    let awaited = is_awaited(doc, name);
    if let Some(place) = setting(at, "job").filter(|_| settings.job == Some(false)) {
        return Err(place.wrong(
            "job-or-service",
            "the service is a job, because it has a schedule or another service waits for it with service_completed_successfully. Remove this, or the other one",
        ));
    }
    let schedule = match (&settings.schedule, setting(at, "schedule")) {
        (Some(schedule), Some(place)) => Some(schedule_of(schedule.parts(), &place)?),
        _ => None,
    };
    warn_of_unused(doc, at);
    Ok(Some(Job { deployed: awaited || settings.job == Some(true), awaited, schedule }))
}

/// Removes the ports of a job, because nothing calls it, and returns how it is in the namespace of Service Connect. Only the tasks of services are in
/// the namespace, and a schedule runs none. Other services are left as they are.
pub fn without_ports(job: Option<&Job>, connected: Option<Connect>, containers: &mut [Container]) -> Option<Connect> {
    let Some(job) = job else { return connected };
    for container in containers {
        container.ports.clear();
        container.ports_unknown = false;
    }
    connected.filter(|_| job.schedule.is_none()).map(|connect| Connect { endpoints: Vec::new(), ..connect })
}

/// Uses each image of a service by its digest where that is known, so that a deployment runs one image. A job has the digest in a label, so that it
/// runs again when the tag is moved. The URI of an image in ECR has the digest.
pub fn with_digests(job: Option<&Job>, img: Option<&Img>, containers: &mut [Container]) {
    for container in containers {
        let image =
            img.and_then(|img| img.get(&container.name)).filter(|image| image.repository_arn.is_none() && image.uri == container.image);
        let Some(digest) = image.and_then(|image| image.digest.clone()) else { continue };
        if job.is_some() {
            container.labels.insert(IMAGE_LABEL.to_owned(), digest);
        } else if is_digest(&digest) && container.image.as_ref().is_some_and(|image| !image.contains('@')) {
            by_digest(container, &digest);
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
}

/// A job in the namespace runs as a service of one task. ECS would start a task that has ended again. So the containers of the job may end, and one
/// more waits until the service is deleted.
pub fn keep_alive(service: &mut Service, image: &str) {
    if service.job.is_none() || service.connect.is_none() {
        return;
    }
    for container in &mut service.containers {
        container.essential = false;
        // Without it the job would run again and again while the image of the other one can't be pulled.
        container.depends_on.push(Dependency { container: KEEPER.to_owned(), condition: Condition::Start });
    }
    service.containers.push(Container {
        name: KEEPER.to_owned(),
        image: Some(image.to_owned()),
        essential: true,
        // On Fargate the task has its memory.
        memory_reservation: service.size.is_none().then_some(KEEPER_MEMORY),
        // Whatever the entry point of the image is.
        entry_point: Some(SHELL.map(str::to_owned).to_vec()),
        command: Some(vec![KEEPER_SCRIPT.to_owned()]),
        ..Container::default()
    });
    service.desired = 1;
    service.breaker = Breaker { enable: false, rollback: false, failures: None };
    service.healthy_percent = HealthyPercent { minimum: 0, maximum: 100 };
}

fn setting<'a>(at: &At<'a>, key: &str) -> Option<At<'a>> {
    at.key("x-svc").and_then(|at| at.key(key))
}

/// EventBridge Scheduler checks the expression and the time zone in full; this is what it can't explain.
fn schedule_of((expression, timezone): (&str, &str), at: &At<'_>) -> Result<Schedule> {
    let is_form = |form: &str| expression.strip_prefix(form).is_some_and(|rest| rest.starts_with('(') && rest.ends_with(')'));
    if !["rate", "cron", "at"].iter().any(|form| is_form(form)) {
        let what = format!("must be of the form rate(1 hour), cron(0 8 ? * MON-FRI *) or at(2027-01-01T00:00:00); found {expression:?}");
        return Err(at.wrong("schedule-expression", what));
    }
    let fields = expression.trim_start_matches("cron(").trim_end_matches(')').split_whitespace().count();
    if is_form("cron") && fields != 6 {
        let what =
            format!("a cron expression of AWS has six fields, the last one for the year, as in cron(0 8 ? * MON-FRI *); found {fields}");
        return Err(at.wrong("schedule-fields", what));
    }
    Ok(Schedule { expression: expression.to_owned(), timezone: timezone.to_owned() })
}

/// What only a service has. A job has no load balancer, no number of tasks and no deployment.
fn warn_of_unused(doc: &Document, at: &At<'_>) {
    let mut unused: Vec<At<'_>> = ["ports", "x-scale"].into_iter().filter_map(|key| at.key(key)).collect();
    let several = |at: &At<'_>| !matches!(at.scalar().as_deref(), Ok("1"));
    let replicas = at.key("deploy").and_then(|deploy| deploy.key("replicas"));
    unused.extend([replicas, at.key("scale")].into_iter().flatten().filter(several));
    let settings = ["path", "host", "port", "publish", "health", "grace", "breaker", "strategy"];
    unused.extend(settings.into_iter().filter_map(|key| setting(at, key)));
    let patches = setting(at, "patch");
    unused.extend(["service", "target_group"].into_iter().filter_map(|key| patches.as_ref().and_then(|at| at.key(key))));
    for place in unused {
        // Compose prints lists that are empty, too.
        if !place.value().as_array().is_some_and(Vec::is_empty) {
            doc.warn(
                "job-without-effect",
                format!("{} has no effect, because the service is a job: its task runs to its end", place.path()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(night: &Value, others: &Value) -> Result<Option<Job>, String> {
        let mut services = json!({"night": night});
        json_patch::merge(&mut services, others);
        let doc = Document::parse(json!({"services": services}).to_string().as_bytes()).unwrap();
        let at = doc.root().key("services").and_then(|all| all.key("night")).unwrap();
        let settings = shared::settings::read(&doc, &at, "x-svc", &crate::settings::ServiceFlags::default());
        settings.and_then(|settings| read(&doc, "night", &at, &settings)).map_err(|error| error.to_string())
    }

    fn scheduled(schedule: &Value) -> Result<Schedule, String> {
        job(&json!({"x-svc": {"schedule": schedule}}), &json!({})).map(|job| job.and_then(|job| job.schedule).unwrap())
    }

    #[test]
    fn a_scheduled_job_runs_in_a_deployment_only_when_it_is_said() {
        let waits = json!({"web": {"depends_on": {"night": {"condition": "service_completed_successfully"}}}});
        let of = |x_svc: Value, others: &Value| {
            job(&json!({"x-svc": x_svc}), others).map(|job| job.map(|job| (job.deployed, job.awaited, job.schedule.is_some())))
        };
        let nobody = json!({});
        assert_eq!(of(json!({}), &nobody), Ok(None));
        assert_eq!(of(json!({"job": true}), &nobody), Ok(Some((true, false, false))));
        assert_eq!(of(json!({"schedule": "rate(1 day)"}), &nobody), Ok(Some((false, false, true))));
        assert_eq!(of(json!({"schedule": "rate(1 day)", "job": true}), &nobody), Ok(Some((true, false, true))));
        assert_eq!(of(json!({"schedule": "rate(1 day)"}), &waits), Ok(Some((true, true, true))));
        assert!(of(json!({"job": false}), &waits).unwrap_err().contains("services.night.x-svc.job: the service is a job"));
    }

    #[test]
    fn a_schedule_has_a_form_and_a_time_zone() {
        let zone = |timezone: &str| Schedule { expression: "rate(1 hour)".to_owned(), timezone: timezone.to_owned() };
        assert_eq!(scheduled(&json!("rate(1 hour)")), Ok(zone("UTC")));
        assert_eq!(scheduled(&json!({"expression": "rate(1 hour)"})), Ok(zone("UTC")));
        assert_eq!(scheduled(&json!({"expression": "rate(1 hour)", "timezone": "Europe/Vienna"})), Ok(zone("Europe/Vienna")));
        assert!(scheduled(&json!("cron(0 8 ? * MON-FRI *)")).is_ok() && scheduled(&json!("at(2027-01-01T00:00:00)")).is_ok());
        for (schedule, said) in [
            (json!("0 8 * * *"), "x-svc.schedule: must be of the form rate(1 hour)"),
            (json!("cron(0 8 * * *)"), "six fields, the last one for the year, as in cron(0 8 ? * MON-FRI *); found 5"),
            (json!(5), "x-svc.schedule: must be a text such as"),
            (json!({"timezone": "UTC"}), "lacks the key \"expression\""),
            (json!({"expression": "rate(1 day)", "zone": "UTC"}), "unknown"),
        ] {
            let found = scheduled(&schedule).unwrap_err();
            assert!(found.contains(said), "{schedule}: {found}");
        }
    }
}
