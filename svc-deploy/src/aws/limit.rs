//! What AWS accepts of the requests that follow from the document: how many containers, and how large policies. It is checked before anything is created.

use serde_json::Value;
use shared::doc::Caller;
use shared::{Document, Error, Result};

use super::execution_policy::execution_policy;
use super::kept::Kept;
use super::role::{own_arns, scheduled};
use super::scheduler_policy::scheduler_policy;
use super::task_definition_request::{Roles, request};
use crate::model::{Service, Wanted};

/// Containers of one task definition.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>
const MOST_CONTAINERS: usize = 10;
/// Characters of the inline policies of a role; IAM does not count white space.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LONGEST_POLICY: usize = 10_240;

/// Checks the task definitions and the policies.
///
/// # Errors
/// Names the service that has too much.
pub fn check(doc: &Document, wanted: &Wanted) -> Result<()> {
    let app = doc.name()?;
    let caller = doc.view("aws")?.unwrap_or_else(shortest);
    let roles = Roles { kept: Kept { files_image: wanted.files_image.clone(), ..Kept::default() }, ..Roles::default() };
    for service in &wanted.services {
        let request = request(app, &caller, service, &roles);
        check_containers(service, &request)?;
        let policy = execution_policy(app, &caller, &request, &[]).filter(|_| wanted.execution_role.is_none());
        check_policy(policy.as_ref(), &format!("services.{}", service.name), "fewer secrets and images from ECR")?;
    }
    let jobs: Vec<&str> = scheduled(wanted).map(|service| service.name.as_str()).collect();
    let roles: Vec<String> = jobs.iter().flat_map(|job| own_arns(app, &caller, job)).collect();
    let policy = scheduler_policy(app, &caller, &jobs, &roles);
    check_policy(Some(&policy).filter(|_| !jobs.is_empty()), "services", "fewer jobs with a schedule, for example one that runs several")
}

/// The shortest names, for a document that no tool has written yet: with others a policy is longer, and never shorter.
fn shortest() -> Caller {
    Caller { account: "000000000000".to_owned(), region: "us-east-1".to_owned(), partition: "aws".to_owned() }
}

fn check_containers(service: &Service, request: &Value) -> Result<()> {
    let count = request["containerDefinitions"].as_array().map_or(0, Vec::len);
    if count <= MOST_CONTAINERS {
        return Ok(());
    }
    Err(Error::document(
        "container-count",
        format!("services.{}", service.name),
        format!(
            "a task must have at most {MOST_CONTAINERS} containers, with those of its sidecars and the one that writes its secrets; found {count}. Make a service of its own from one of them"
        ),
    ))
}

fn check_policy(policy: Option<&Value>, place: &str, advice: &str) -> Result<()> {
    let length = policy.map_or(0, |policy| policy.to_string().chars().filter(|c| !c.is_whitespace()).count());
    if length <= LONGEST_POLICY {
        return Ok(());
    }
    Err(Error::document(
        "policy-length",
        place,
        format!("the policy of its role must have at most {LONGEST_POLICY} characters; found {length}. Use {advice}, or an existing role"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{log_group, samples, schedule, target_group, task_definition_request};
    use crate::model::{Job, Schedule, Secret};

    fn code(services: Vec<Service>) -> Option<&'static str> {
        let doc = Document::parse(br#"{"name": "shop"}"#).unwrap();
        check(&doc, &samples::wanted(services)).err().map(|error| error.code())
    }

    #[test]
    fn a_task_has_ten_containers() {
        let with = |count: usize| {
            let containers = (0..count).map(|i| samples::container(&format!("c{i}"))).collect();
            vec![Service { containers, ..samples::service("web") }]
        };
        assert_eq!((code(with(10)), code(with(11))), (None, Some("container-count")));
    }

    #[test]
    fn the_policies_fit_into_their_roles() {
        let with_secrets = |count: usize| {
            let mut service = samples::service("web");
            let source = |i| format!("/ecs-pipe/shop/a-secret-with-a-long-name-{i}");
            service.containers[0].secrets = (0..count).map(|i| Secret { variable: format!("S{i}"), source: source(i) }).collect();
            vec![service]
        };
        assert_eq!((code(with_secrets(50)), code(with_secrets(200))), (None, Some("policy-length")));
        let schedule = Schedule { expression: "rate(1 day)".to_owned(), timezone: "UTC".to_owned() };
        let jobs = |count: usize| {
            let job = || Some(Job { deployed: false, awaited: false, schedule: Some(schedule.clone()) });
            (0..count).map(|i| Service { job: job(), ..samples::service(&format!("job-{i}")) }).collect()
        };
        assert_eq!((code(jobs(20)), code(jobs(60))), (None, Some("policy-length")));
    }

    /// The longest name of an app, of a service and of a region.
    #[test]
    fn derived_names_are_within_the_limits() {
        let (app, service) = (format!("a{}", "b".repeat(19)), format!("{}_", "s".repeat(59)));
        let caller = Caller { region: "ap-southeast-1".to_owned(), ..samples::caller() };
        let is_short = |name: &str, limit: usize| assert!(name.len() <= limit && !name.ends_with('-'), "{name}");
        is_short(&task_definition_request::family(&app, &service), 255);
        is_short(&log_group::name(&app, &service), 512);
        is_short(&schedule::name(&app, &service), 64);
        is_short(&target_group::name(&app, &service, &samples::target_group()), 32);
        for arn in own_arns(&app, &caller, &service) {
            is_short(arn.rsplit('/').next().unwrap(), 64);
        }
    }
}
