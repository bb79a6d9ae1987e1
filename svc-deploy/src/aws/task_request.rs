//! The request that runs one task of a job, in AWS's own JSON.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>

use serde_json::{Value, json};

use super::ecs_tag;
use super::service_request::{network, strategy};
use crate::model::{NetworkMode, Service, Wanted};

/// Who started a task: a deployment, and neither a person nor a schedule. ECS accepts letters, digits, hyphens, slashes and underscores.
pub const STARTED_BY: &str = "ecs-pipe/svc-deploy";

/// Returns the request for a revision, without its token.
pub fn request(app: &str, wanted: &Wanted, service: &Service, revision: &str, tags: Vec<(String, String)>) -> Value {
    let mut request = json!({
        "cluster": app,
        "taskDefinition": revision,
        "count": 1,
        "capacityProviderStrategy": strategy(&wanted.cluster),
        "startedBy": STARTED_BY,
        "enableECSManagedTags": true,
        "tags": ecs_tag::json(tags),
    });
    if service.network_mode == NetworkMode::Awsvpc {
        request["networkConfiguration"] = network(&wanted.net);
    }
    request
}

/// Adds the token that makes a repeated call return the task of the first one: two runs at the same moment start one task. A token is of use until an
/// hour after its task has stopped, so the task of another attempt (`after`, which failed) needs another token.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ECS_Idempotency.html>
pub fn with_token(mut request: Value, after: Option<&str>) -> Value {
    request["clientToken"] = json!(format!("ecs-pipe-{}", shared::name::fingerprint(&format!("{request} {}", after.unwrap_or_default()))));
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;

    const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-migrate:3";

    #[test]
    fn the_network_follows_the_mode() {
        let (wanted, mut service) = (samples::wanted(Vec::new()), samples::service("migrate"));
        let of = |service: &Service| request("shop", &wanted, service, REVISION, vec![("a".to_owned(), "b".to_owned())]);
        let own = of(&service);
        assert_eq!(own["networkConfiguration"]["awsvpcConfiguration"]["subnets"], json!(["subnet-1", "subnet-2"]));
        assert_eq!(own["tags"], json!([{"key": "a", "value": "b"}]));
        service.network_mode = NetworkMode::Bridge;
        assert_eq!(of(&service).get("networkConfiguration"), None);
    }

    #[test]
    fn the_token_follows_the_content_and_the_attempt() {
        let (wanted, service) = (samples::wanted(Vec::new()), samples::service("migrate"));
        let token = |revision: &str, after| {
            let request = with_token(request("shop", &wanted, &service, revision, Vec::new()), after);
            request["clientToken"].as_str().unwrap().to_owned()
        };
        let first = token(REVISION, None);
        assert_eq!(first, token(REVISION, None));
        assert!(first.len() <= 64, "{first}");
        assert_ne!(first, token("arn:aws:ecs:us-east-1:123456789012:task-definition/shop-migrate:4", None));
        assert_ne!(first, token(REVISION, Some("arn:aws:ecs:us-east-1:123456789012:task/shop/1")));
    }
}
