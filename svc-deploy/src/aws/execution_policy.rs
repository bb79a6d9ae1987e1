//! The policy of the task execution role: it may pull only the app's images, write only its log groups and read only its secrets.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html>

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::doc::Caller;
use shared::name::repository as repository_name;

use super::arn::arn;
use super::{log_group, secret};
use crate::model::{Container, Wanted};

/// Returns the policy for all services, also those that this run does not deploy.
pub fn execution_policy(app: &str, caller: &Caller, wanted: &Wanted) -> Value {
    let groups: BTreeSet<String> =
        wanted.services.iter().map(|service| format!("log-group:{}:*", log_group::name(app, &service.name))).collect();
    let groups: Vec<String> = groups.iter().map(|group| arn(caller, "logs", group)).collect();
    let mut statements =
        vec![json!({"Sid": "Log", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": groups})];
    let containers = wanted.services.iter().flat_map(|service| &service.containers);
    let writes_files = containers.clone().any(|container| !container.secret_files.is_empty());
    // A run by hand of a service with names adds it, too.
    let has_names = wanted.services.iter().any(|service| service.connect.is_some());
    // The image may be a copy in ECR, for networks without a route to the internet.
    let files = (writes_files || has_names)
        .then(|| repository_of(&wanted.files_image))
        .flatten()
        .map(|of| format!("arn:{}:ecr:{of}", caller.partition));
    let repositories: BTreeSet<String> = containers.filter_map(|container| repository(app, caller, container)).chain(files).collect();
    if !repositories.is_empty() {
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        statements.push(json!({"Sid": "LogIn", "Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": "*"}));
        statements.push(json!({"Sid": "Pull", "Effect": "Allow", "Action": pull, "Resource": repositories}));
    }
    statements.extend(secret_statements(caller, wanted));
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Returns the ARN of the repository in ECR that the image comes from; other registries need no permission of AWS.
fn repository(app: &str, caller: &Caller, container: &Container) -> Option<String> {
    let resource = match &container.image {
        Some(image) => repository_of(image)?,
        // It is built, but not by this run: the image is unknown, but not its repository.
        None => format!("{}:{}:repository/{}", caller.region, caller.account, repository_name(app, &container.name)),
    };
    Some(format!("arn:{}:ecr:{resource}", caller.partition))
}

/// Returns `region:account:repository/name` of an image in ECR: `<account>.dkr.ecr.<region>.<dns suffix>/<name>@…`.
fn repository_of(image: &str) -> Option<String> {
    let (host, rest) = image.split_once('/')?;
    let mut labels = host.split('.');
    let (account, dkr, ecr, region) = (labels.next()?, labels.next()?, labels.next()?, labels.next()?);
    let name = rest.split(['@', ':']).next()?;
    (dkr == "dkr" && ecr == "ecr").then(|| format!("{region}:{account}:repository/{name}"))
}

fn secret_statements(caller: &Caller, wanted: &Wanted) -> Vec<Value> {
    let sources: BTreeSet<&str> = wanted.services.iter().flat_map(|service| service.secrets()).collect();
    let (parameters, secrets): (Vec<String>, Vec<String>) =
        sources.into_iter().map(|source| secret::arn(caller, source)).partition(|arn| arn.contains(":ssm:"));
    let mut statements = Vec::new();
    if !parameters.is_empty() {
        statements.push(json!({"Sid": "Parameters", "Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": parameters}));
    }
    // Of `…:secret:name-AbCdEf:key:stage:version` only the first seven fields are the secret's ARN, which may lack its six last characters.
    let whole = |secret: &String| secret.splitn(8, ':').take(7).collect::<Vec<_>>().join(":");
    let secrets: Vec<String> = secrets.iter().map(whole).flat_map(|arn| [format!("{arn}-??????"), arn]).collect();
    if !secrets.is_empty() {
        statements.push(json!({"Sid": "Secrets", "Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": secrets}));
    }
    // A key of the account may encrypt them. These two services then use it with the role's permissions.
    if !statements.is_empty() {
        let services = [format!("secretsmanager.{}.*", caller.region), format!("ssm.{}.*", caller.region)];
        statements.push(json!({"Sid": "Decrypt", "Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": arn(caller, "kms", "key/*"),
            "Condition": {"StringLike": {"kms:ViaService": services}}}));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;
    use crate::model::{Secret, SecretFile, Service};

    fn service(name: &str, image: Option<&str>, secrets: &[&str]) -> Service {
        let mut service = samples::service(name);
        service.containers[0].image = image.map(str::to_owned);
        let secret = |source: &&str| Secret { variable: "X".to_owned(), source: (*source).to_owned() };
        service.containers[0].secrets = secrets.iter().map(secret).collect();
        service
    }

    fn policy(services: Vec<Service>) -> Value {
        execution_policy("shop", &samples::caller(), &samples::wanted(services))
    }

    /// The resources of a statement, or `null` when there is no such statement.
    fn resources(policy: &Value, sid: &str) -> Value {
        let statements = policy["Statement"].as_array().unwrap();
        statements.iter().find(|statement| statement["Sid"] == sid).map_or(Value::Null, |statement| statement["Resource"].clone())
    }

    #[test]
    fn only_the_log_groups_of_the_app_are_written() {
        let policy = policy(vec![service("web", Some("nginx"), &[]), service("api", Some("nginx"), &[])]);
        let group = |name: &str| format!("arn:aws:logs:us-east-1:123456789012:log-group:/ecs-pipe/shop/{name}:*");
        assert_eq!(resources(&policy, "Log"), json!([group("api"), group("web")]));
        assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn an_image_of_ecr_grants_its_repository_and_another_image_nothing() {
        for (image, expected) in [
            (
                Some("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/web@sha256:0"),
                json!(["arn:aws:ecr:us-east-1:123456789012:repository/shop/web"]),
            ),
            (Some("1.dkr.ecr.cn-north-1.amazonaws.com.cn/base:2"), json!(["arn:aws:ecr:cn-north-1:1:repository/base"])),
            // Built, but unknown.
            (None, json!([format!("arn:aws:ecr:us-east-1:123456789012:repository/{}", repository_name("shop", "Web"))])),
            (Some("nginx:1.27"), Value::Null),
            (Some("ghcr.io/a/b:1"), Value::Null),
            (Some("public.ecr.aws/nginx/nginx:1.27"), Value::Null),
        ] {
            let policy = policy(vec![service("Web", image, &[])]);
            assert_eq!(resources(&policy, "Pull"), expected, "{image:?}");
            assert_eq!(resources(&policy, "LogIn").is_null(), expected.is_null());
        }
    }

    #[test]
    fn the_image_that_writes_secrets_may_be_a_copy_in_ecr() {
        let mut service = service("web", Some("nginx"), &[]);
        let file = SecretFile { source: "token".to_owned(), path: "token".to_owned(), mode: 0o444, uid: 0, gid: 0 };
        service.containers[0].secret_files = vec![file];
        let mut wanted = samples::wanted(vec![service]);
        assert_eq!(resources(&execution_policy("shop", &samples::caller(), &wanted), "Pull"), Value::Null);
        wanted.files_image = "1.dkr.ecr.eu-west-1.amazonaws.com/busybox:stable".to_owned();
        let policy = execution_policy("shop", &samples::caller(), &wanted);
        assert_eq!(resources(&policy, "Pull"), json!(["arn:aws:ecr:eu-west-1:1:repository/busybox"]));
    }

    #[test]
    fn parameters_and_secrets_have_statements_of_their_own() {
        let sources = ["/shop/key", "token", "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password::"];
        let policy = policy(vec![service("web", Some("nginx"), &sources), service("api", Some("nginx"), &["token"])]);
        assert_eq!(resources(&policy, "Parameters"), json!(["arn:aws:ssm:us-east-1:123456789012:parameter/shop/key"]));
        let secret = |name: &str| format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}");
        let expected = json!([secret("db-AbCdEf-??????"), secret("db-AbCdEf"), secret("token-??????"), secret("token")]);
        assert_eq!(resources(&policy, "Secrets"), expected);
        assert_eq!(resources(&policy, "Decrypt"), "arn:aws:kms:us-east-1:123456789012:key/*");
    }

    #[test]
    fn without_secrets_no_key_is_used() {
        assert_eq!(resources(&policy(vec![service("web", Some("nginx"), &[])]), "Decrypt"), Value::Null);
    }
}
