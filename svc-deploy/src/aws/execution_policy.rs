//! The policy of the task execution role: it may pull only the images of the service, write only
//! its log groups and read only its secrets, also those of patches.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html>

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::doc::Caller;
use shared::name::repository as repository_name;

use super::arn::arn;
use super::secret;

/// Returns the policy for the task definition of a service, as it is registered, and for other images that its tasks may use; `None` when ECS needs
/// nothing to start its tasks.
pub fn execution_policy(app: &str, caller: &Caller, request: &Value, images: &[&str]) -> Option<Value> {
    let containers: Vec<&Value> = request["containerDefinitions"].as_array().into_iter().flatten().collect();
    let mut statements = log_statements(caller, &containers);
    let others = images.iter().filter_map(|image| repository_of(image)).map(|of| format!("arn:{}:ecr:{of}", caller.partition));
    let repositories: BTreeSet<String> =
        containers.iter().filter_map(|container| repository(app, caller, container)).chain(others).collect();
    if !repositories.is_empty() {
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        statements.push(json!({"Sid": "LogIn", "Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": "*"}));
        statements.push(json!({"Sid": "Pull", "Effect": "Allow", "Action": pull, "Resource": repositories}));
    }
    statements.extend(file_statements(&containers));
    statements.extend(secret_statements(caller, &secrets(caller, request, &containers)));
    (!statements.is_empty()).then(|| json!({"Version": "2012-10-17", "Statement": statements}))
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
fn log_statements(caller: &Caller, containers: &[&Value]) -> Vec<Value> {
    let of_awslogs = containers.iter().map(|one| &one["logConfiguration"]).filter(|log| log["logDriver"] == "awslogs");
    let options: Vec<&Value> = of_awslogs.map(|log| &log["options"]).collect();
    let group = |options: &&Value| {
        let (name, region) = (options["awslogs-group"].as_str()?, options["awslogs-region"].as_str().unwrap_or(&caller.region));
        Some(format!("arn:{}:logs:{region}:{}:log-group:{name}:*", caller.partition, caller.account))
    };
    let groups: BTreeSet<String> = options.iter().filter_map(group).collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let mut actions = vec!["logs:CreateLogStream", "logs:PutLogEvents"];
    if options.iter().any(|options| options["awslogs-create-group"] == "true") {
        actions.push("logs:CreateLogGroup");
    }
    vec![json!({"Sid": "Log", "Effect": "Allow", "Action": actions, "Resource": groups})]
}

/// Returns the ARN of the repository in ECR that the image comes from; other registries need no permission of AWS.
fn repository(app: &str, caller: &Caller, container: &Value) -> Option<String> {
    let resource = match container["image"].as_str() {
        Some(image) => repository_of(image)?,
        // It is built, but not by this run: the image is unknown, but not its repository.
        None => format!("{}:{}:repository/{}", caller.region, caller.account, repository_name(app, container["name"].as_str()?)),
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

/// Files in S3 with variables, and with the configuration of `FireLens`.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/use-environment-file.html>
fn file_statements(containers: &[&Value]) -> Vec<Value> {
    let variables = containers.iter().flat_map(|one| one["environmentFiles"].as_array().into_iter().flatten()).map(|file| &file["value"]);
    let configurations = containers.iter().map(|one| &one["firelensConfiguration"]["options"]["config-file-value"]);
    let is_in_s3 = |arn: &&str| arn.split(':').nth(2) == Some("s3");
    let files: BTreeSet<&str> = variables.chain(configurations).filter_map(Value::as_str).filter(is_in_s3).collect();
    if files.is_empty() {
        return Vec::new();
    }
    let buckets: BTreeSet<&str> = files.iter().filter_map(|file| file.split('/').next()).collect();
    vec![
        json!({"Sid": "Files", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": files}),
        json!({"Sid": "Buckets", "Effect": "Allow", "Action": ["s3:GetBucketLocation"], "Resource": buckets}),
    ]
}

/// Returns the ARNs of all that ECS reads from Secrets Manager and Systems Manager before it starts the containers.
fn secrets(caller: &Caller, request: &Value, containers: &[&Value]) -> BTreeSet<String> {
    let lists = containers.iter().flat_map(|one| [&one["secrets"], &one["logConfiguration"]["secretOptions"]]);
    let values = lists.filter_map(Value::as_array).flatten().map(|secret| &secret["valueFrom"]);
    let registries = containers.iter().map(|one| &one["repositoryCredentials"]["credentialsParameter"]);
    let volumes = request["volumes"].as_array().into_iter().flatten();
    let volumes = volumes.map(|one| &one["fsxWindowsFileServerVolumeConfiguration"]["authorizationConfig"]["credentialsParameter"]);
    values.chain(registries).chain(volumes).filter_map(Value::as_str).map(|source| secret::arn(caller, source)).collect()
}

fn secret_statements(caller: &Caller, sources: &BTreeSet<String>) -> Vec<Value> {
    let (parameters, secrets): (Vec<&String>, Vec<&String>) = sources.iter().partition(|arn| arn.contains(":ssm:"));
    let mut statements = Vec::new();
    if !parameters.is_empty() {
        statements.push(json!({"Sid": "Parameters", "Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": parameters}));
    }
    // Of `…:secret:name-AbCdEf:key:stage:version` only the first seven fields are the secret's ARN, which may lack its six last characters.
    let whole = |secret: &&String| secret.splitn(8, ':').take(7).collect::<Vec<_>>().join(":");
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
    use crate::aws::kept::Kept;
    use crate::aws::samples;
    use crate::aws::task_definition_request::{Roles, request};
    use crate::model::{Secret, SecretFile, Service};

    fn service(name: &str, image: Option<&str>, secrets: &[&str]) -> Service {
        let mut service = samples::service(name);
        service.containers[0].image = image.map(str::to_owned);
        let secret = |source: &&str| Secret { variable: "X".to_owned(), source: (*source).to_owned() };
        service.containers[0].secrets = secrets.iter().map(secret).collect();
        service
    }

    fn policy_with(service: &Service, files_image: &str) -> Value {
        let kept = Kept { files_image: files_image.to_owned(), ..Kept::default() };
        let request = request("shop", &samples::caller(), service, &Roles { kept, ..Roles::default() });
        execution_policy("shop", &samples::caller(), &request, &[]).unwrap_or_default()
    }

    fn policy(service: &Service) -> Value {
        policy_with(service, "busybox")
    }

    /// The resources of a statement, or `null` when there is no such statement.
    fn resources(policy: &Value, sid: &str) -> Value {
        let statements = policy["Statement"].as_array().map(Vec::as_slice).unwrap_or_default();
        statements.iter().find(|statement| statement["Sid"] == sid).map_or(Value::Null, |statement| statement["Resource"].clone())
    }

    #[test]
    fn only_the_log_group_of_the_service_is_written() {
        let policy = policy(&service("web", Some("nginx"), &[]));
        assert_eq!(resources(&policy, "Log"), json!(["arn:aws:logs:us-east-1:123456789012:log-group:/ecs-pipe/shop/web:*"]));
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
            let policy = policy(&service("Web", image, &[]));
            assert_eq!(resources(&policy, "Pull"), expected, "{image:?}");
            assert_eq!(resources(&policy, "LogIn").is_null(), expected.is_null());
        }
    }

    #[test]
    fn the_image_that_writes_secrets_may_be_a_copy_in_ecr() {
        let mut service = service("web", Some("nginx"), &[]);
        let file = SecretFile { source: "token".to_owned(), path: "token".to_owned(), mode: 0o444, uid: 0, gid: 0 };
        service.containers[0].secret_files = vec![file];
        assert_eq!(resources(&policy(&service), "Pull"), Value::Null);
        let policy = policy_with(&service, "1.dkr.ecr.eu-west-1.amazonaws.com/busybox:stable");
        assert_eq!(resources(&policy, "Pull"), json!(["arn:aws:ecr:eu-west-1:1:repository/busybox"]));
        assert!(!resources(&policy, "Secrets").is_null());
    }

    #[test]
    fn parameters_and_secrets_have_statements_of_their_own() {
        let sources = ["/shop/key", "token", "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password::"];
        let policy = policy(&service("web", Some("nginx"), &sources));
        assert_eq!(resources(&policy, "Parameters"), json!(["arn:aws:ssm:us-east-1:123456789012:parameter/shop/key"]));
        let secret = |name: &str| format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}");
        let expected = json!([secret("db-AbCdEf-??????"), secret("db-AbCdEf"), secret("token-??????"), secret("token")]);
        assert_eq!(resources(&policy, "Secrets"), expected);
        assert_eq!(resources(&policy, "Decrypt"), "arn:aws:kms:us-east-1:123456789012:key/*");
    }

    #[test]
    fn without_secrets_no_key_is_used() {
        assert_eq!(resources(&policy(&service("web", Some("nginx"), &[])), "Decrypt"), Value::Null);
    }

    #[test]
    fn what_patches_add_is_granted() {
        let mut service = service("web", Some("nginx"), &[]);
        service.containers.push(samples::container("log"));
        service.patch.container = Some(json!({
            "image": "1.dkr.ecr.us-east-1.amazonaws.com/other:1",
            "repositoryCredentials": {"credentialsParameter": "hub"},
            "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/web.env"}],
            "logConfiguration": {"logDriver": "splunk", "secretOptions": [{"name": "splunk-token", "valueFrom": "/shop/splunk"}]}}));
        let secrets = json!({"secrets": [{"name": "A", "valueFrom": "/shop/log"}], "logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": "theirs", "awslogs-region": "eu-west-1", "awslogs-create-group": "true"}}});
        service.patch.containers = [("log".to_owned(), secrets)].into();
        let policy = policy(&service);
        let parameter = |name: &str| format!("arn:aws:ssm:us-east-1:123456789012:parameter/shop/{name}");
        for (sid, expected) in [
            ("Pull", json!(["arn:aws:ecr:us-east-1:1:repository/other"])),
            ("Files", json!(["arn:aws:s3:::bucket/web.env"])),
            ("Buckets", json!(["arn:aws:s3:::bucket"])),
            ("Parameters", json!([parameter("log"), parameter("splunk")])),
            ("Log", json!(["arn:aws:logs:eu-west-1:123456789012:log-group:theirs:*"])),
        ] {
            assert_eq!(resources(&policy, sid), expected, "{sid}");
        }
        assert!(resources(&policy, "Secrets")[1].as_str().unwrap().ends_with(":secret:hub"));
        assert!(policy.to_string().contains("logs:CreateLogGroup"));
        service.patch.container = Some(json!({"logConfiguration": {"logDriver": "none"}}));
        service.containers.truncate(1);
        service.patch.containers.clear();
        assert_eq!(self::policy(&service), Value::Null);
    }
}
