//! The settings of the services: `x-svc` at the top level and in each service, with their flags, and the flags of one service without a Compose file.

mod balancer;
mod form;
mod schedule;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::doc::Selection;
use shared::doc::public::Publish;
use shared::flags::{DeleteData, Prune};

pub use balancer::{BalancerFlags, BalancerSettings, SharedPatch};
pub use form::{BreakerSetting, TaskRoleSetting};
pub use schedule::ScheduleSetting;

/// The command line.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub svc: SvcFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub selection: Selection,
    #[command(flatten)]
    #[serde(skip)]
    pub publish: Publish,
    #[command(flatten)]
    #[serde(skip)]
    pub one: One,
    #[command(flatten)]
    #[serde(skip)]
    pub data: DeleteData,
    #[command(flatten)]
    #[serde(skip)]
    pub prune: Prune,
    /// Start a new deployment of each service, also when nothing differs
    ///
    /// For example when a secret has another value, or a tag names another image whose digest is not known. Jobs do not run again.
    #[arg(long, conflicts_with_all = ["down", "run"])]
    #[serde(skip)]
    pub redeploy: bool,
    #[command(flatten)]
    #[serde(skip)]
    pub by_hand: ByHand,
}

/// One task by hand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "One task by hand")]
pub struct ByHand {
    /// Run one task of a deployed service or job, with its log on stdout; -- COMMAND replaces its command
    ///
    /// Needs the document of the deployment, or --app. It deploys nothing and prints no document: stdout has what the container writes. When it does
    /// not end with the exit code 0, the exit code of svc-deploy is 1. Ctrl-C stops the task; --no-wait starts it only. Example:
    /// svc-deploy --app shop --run api -- bin/console cache:clear
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["plan", "down", "check", "only", "except", "service", "prune"])]
    pub run: Option<String>,
    /// Command of the task that --run starts, instead of that of the service
    #[arg(last = true, value_name = "COMMAND", requires = "run")]
    pub command: Vec<String>,
}

/// TLS 1.2 and 1.3 with forward secrecy and post-quantum key exchange, as AWS recommends.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html>
const SSL_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09";

/// Docker's official image in the public gallery of ECR, from which every account can pull.
const FILES_IMAGE: &str = "public.ecr.aws/docker/library/busybox:stable";

shared::settings! {
    /// `x-svc`: what all services share
    pub struct SvcSettings, SvcFlags {
        /// ACM certificate of the load balancer
        ///
        /// With it the load balancer serves HTTPS on port 443 and redirects port 80 to it.
        certificate: String, arg(long, value_name = "ARN");
        /// TLS policy of the load balancer
        ssl_policy: String = SSL_POLICY.to_owned(), arg(long);
        /// Create the load balancer in the private subnets
        internal: bool = false, arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true");
        /// S3 bucket for the access logs of the load balancer
        access_logs: String, arg(long, value_name = "BUCKET");
        /// Attributes of the load balancer
        load_balancer: BalancerFlags, command(flatten);
        /// Existing load balancer to use instead of a new one
        ///
        /// svc-deploy adds rules to its listener, changes nothing else of it, and never deletes it. Each published service then needs a path or
        /// a host.
        alb: String, arg(long, value_name = "ARN");
        /// First priority of the app's rules on that load balancer
        ///
        /// Rules with lower numbers come first. Without it, the rules come after those of others.
        priority: i32 [1..=50_000], arg(long, value_name = "NUMBER"), serde(deserialize_with = "form::whole"),
            schemars(extend("x-default" = "above the highest priority of others"));
        /// Existing task execution role to use instead of a new one
        execution_role: String, arg(long, value_name = "ARN");
        /// ARN of the permissions boundary of the roles that svc-deploy creates
        ///
        /// A managed policy that limits what the policies of a role allow. Without this setting, a run removes the boundary.
        permissions_boundary: String, arg(long, value_name = "ARN"), schemars(extend("x-default" = "none"));
        /// Days to keep log lines
        ///
        /// One of the numbers that CloudWatch Logs accepts, for example 7, 30 or 365.
        retention: i32 = 30, arg(long, value_name = "DAYS");
        /// KMS key that encrypts the log groups
        ///
        /// The ARN of a key whose policy lets CloudWatch Logs use it. Without it, CloudWatch Logs encrypts with a key of its own.
        log_kms_key: String, arg(long, value_name = "ARN");
        /// Image of the small containers that svc-deploy adds to tasks
        ///
        /// It needs a shell with printf, mkdir, chown and chmod, for example any busybox. Without a route to the internet, use a copy in ECR.
        files_image: String = FILES_IMAGE.to_owned(), arg(long, value_name = "IMAGE");
        /// Let another volume replace one that has data
        ///
        /// Without it, svc-deploy refuses to mount something else where the deployed tasks have their data. The data itself is kept.
        change_volumes: bool = false, arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true");
        /// Merge patches (RFC 7396) of what the services share, applied last
        patch: SharedPatch, arg(skip);
    }
}

shared::settings! {
    /// `x-svc` of a service
    pub struct ServiceSettings, ServiceFlags {
        /// Request paths that the load balancer forwards to the service
        ///
        /// One path or a list, for example /api/*. A service that omits both path and host receives all other requests.
        path: Vec<String>, arg(long, value_name = "PATH", value_delimiter = ',', requires = "service"),
            serde(deserialize_with = "form::one_or_more"), schemars(schema_with = "form::texts", extend("x-default" = "all others"));
        /// Host names that the load balancer forwards to the service
        ///
        /// One name or a list, for example www.example.com or *.example.com.
        host: Vec<String>, arg(long, value_name = "HOST", value_delimiter = ',', requires = "service"),
            serde(deserialize_with = "form::one_or_more"), schemars(schema_with = "form::texts", extend("x-default" = "every host"));
        /// Port of `ports` that is behind the load balancer
        port: u16 [1..=65535], arg(skip), serde(deserialize_with = "form::whole"),
            schemars(extend("x-default" = "the first of `ports` that may speak HTTP", "x-flag" = false));
        /// Whether the service is public, behind the load balancer
        ///
        /// The default is true for a service that Compose publishes on all addresses and that may speak HTTP.
        publish: bool, arg(skip), schemars(extend("x-default" = "as Compose publishes it", "x-flag" = false));
        /// Health check of the load balancer
        health: HealthFlags, command(flatten);
        /// Whether the service and the others reach each other by name
        ///
        /// ECS Service Connect adds a proxy to each task: 256 CPU units and 64 MiB on Fargate.
        connect: bool = true, arg(long, value_name = "BOOL", requires = "service");
        /// Tcp ports that the image opens
        ///
        /// Instead of those that the image names itself. Other services reach them by the service's name.
        expose: Vec<String>, arg(long, value_name = "PORT", value_delimiter = ',', requires = "service"),
            serde(deserialize_with = "form::numbers"),
            schemars(schema_with = "form::ports", extend("x-default" = "those of the image"));
        /// Seconds after the start of a task in which ECS ignores failed health checks
        grace: i32 [0..=2_147_483_647] = 60, arg(long, value_name = "SECONDS", requires = "service"), serde(deserialize_with = "form::whole");
        /// Circuit breaker of deployments
        ///
        /// true, false, or the number of failed tasks that ends a deployment.
        breaker: BreakerSetting = BreakerSetting::Switch(true), arg(long, value_name = "true|false|TASKS", requires = "service");
        /// Kind of deployment
        strategy: Strategy = Strategy::Rolling, arg(skip);
        /// Network mode of the tasks
        network_mode: NetworkModeSetting, arg(long, value_enum, value_name = "MODE", requires = "service"),
            schemars(extend("x-default" = "bridge on EC2, awsvpc on Fargate and with sidecars"));
        /// Allow volumes on the disk of the instance
        host_volumes: bool = false, arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", requires = "service");
        /// How the containers get their secrets
        ///
        /// As files in /run/secrets, as Compose does it, or as environment variables.
        secrets: SecretsSetting = SecretsSetting::Files, arg(skip);
        /// Role with which the service's code calls AWS
        ///
        /// The ARN of an existing role, or {"policies": [ARNs]} for a role of its own with these policies.
        task_role: TaskRoleSetting, arg(long, value_name = "ARN", requires = "service"), schemars(extend("x-default" = "a role without policies"));
        /// Whether the service is a job: each deployment that changes it runs it once, to its end
        ///
        /// A service that another one waits for with service_completed_successfully is always a job.
        job: bool, arg(skip), schemars(extend("x-default" = "true if another service waits for its end"));
        /// Times at which EventBridge Scheduler runs the job
        ///
        /// rate(1 hour), cron(0 8 ? * MON-FRI *) or at(2027-01-01T00:00:00); or an object with expression and timezone.
        schedule: ScheduleSetting, arg(skip);
        /// Merge patches (RFC 7396) in AWS's own JSON, applied last
        patch: PatchSetting, arg(skip);
    }
}

shared::settings! {
    /// How the load balancer checks a task
    pub struct Health, HealthFlags {
        /// Path of the health check
        path: String = "/".to_owned(), arg(long = "health-path", id = "health-path", value_name = "PATH", requires = "service");
        /// HTTP status codes that mean healthy
        codes: String = "200-399".to_owned(), arg(long = "health-codes", id = "health-codes", value_name = "CODES", requires = "service"),
            serde(deserialize_with = "form::text"), schemars(extend("type" = ["string", "integer", "null"]));
        /// Seconds between two health checks
        interval: i32 [5..=300] = 15, arg(long = "health-interval", id = "health-interval", value_name = "SECONDS", requires = "service"),
            serde(deserialize_with = "form::whole");
        /// Seconds to wait for a response; must be less than the interval
        timeout: i32 [2..=120], arg(long = "health-timeout", id = "health-timeout", value_name = "SECONDS", requires = "service"),
            serde(deserialize_with = "form::whole"), schemars(extend("x-default" = "5, or one less than the interval"));
        /// Successful checks in a row until a target is healthy
        healthy: i32 [2..=10] = 2, arg(long = "health-healthy", id = "health-healthy", value_name = "CHECKS", requires = "service"),
            serde(deserialize_with = "form::whole");
        /// Failed checks in a row until a target is unhealthy
        unhealthy: i32 [2..=10] = 3, arg(long = "health-unhealthy", id = "health-unhealthy", value_name = "CHECKS", requires = "service"),
            serde(deserialize_with = "form::whole");
    }
}

/// One service from flags, without a Compose file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "One service without a Compose file")]
pub struct One {
    /// Name of the service; the flags below describe it
    #[arg(long, value_name = "NAME", conflicts_with = "prune")]
    pub service: Option<String>,
    /// Image of the service
    #[arg(long, requires = "service")]
    pub image: Option<String>,
    /// Port of the container, which is behind the load balancer
    #[arg(long, requires = "service")]
    pub port: Option<u16>,
    /// Limit of vCPUs, for example 0.5
    #[arg(long, requires = "service")]
    pub cpus: Option<f64>,
    /// Limit of memory, for example 512m
    #[arg(long, requires = "service")]
    pub memory: Option<String>,
    /// Environment variable (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = shared::flags::key_value, requires = "service")]
    pub env: Vec<(String, String)>,
    #[command(flatten)]
    pub settings: ServiceFlags,
}

/// How a service gets new tasks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// ECS replaces the tasks step by step
    Rolling,
}

/// How a container gets its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SecretsSetting {
    /// As the files /run/secrets/NAME
    Files,
    /// As environment variables
    Env,
}

/// How the tasks are in the network. The third mode, host, is Compose's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkModeSetting {
    /// Each task has a network interface of its own
    Awsvpc,
    /// The tasks share the network of their instance, so only on EC2
    Bridge,
}

/// Merge patches (RFC 7396) in AWS's own JSON
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PatchSetting {
    /// Of `RegisterTaskDefinition`
    pub task: Option<Map<String, Value>>,
    /// Of the service's own container definition
    pub container: Option<Map<String, Value>>,
    /// Of the definitions of its containers, by name, also of sidecars
    pub containers: Option<BTreeMap<String, Map<String, Value>>>,
    /// Of `CreateService` and `UpdateService`
    pub service: Option<Map<String, Value>>,
    /// Of `CreateTargetGroup`, with `Attributes`
    pub target_group: Option<Map<String, Value>>,
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};
    use schemars::schema_for;
    use serde_json::json;
    use shared::Document;
    use shared::flags::Common;

    use super::form::BREAKER;
    use super::*;

    fn read(x_svc: &Value) -> Result<ServiceSettings, String> {
        let doc = Document::parse(json!({"x-svc": x_svc}).to_string().as_bytes()).unwrap();
        shared::settings::read(&doc, &doc.root(), "x-svc", &ServiceFlags::default()).map_err(|error| error.to_string())
    }

    fn flags(args: &[&str]) -> Result<ServiceFlags, String> {
        let command = Common::augment_args(Flags::augment_args(Command::new("svc-deploy")));
        let matches = command.try_get_matches_from([&["svc-deploy", "--service", "web"], args].concat());
        let one = matches.and_then(|matches| One::from_arg_matches(&matches));
        one.map(|one| one.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_may_be_text_and_codes_a_number() {
        let health = json!({"codes": 200, "interval": "10", "timeout": "3", "healthy": "4", "unhealthy": "5"});
        let found = read(&json!({"port": "80", "grace": "5", "health": health})).unwrap();
        let health = Health::from(found.health.unwrap());
        assert_eq!((found.port, found.grace, health.codes.as_str()), (Some(80), 5, "200"));
        assert_eq!((health.interval, health.timeout, health.healthy, health.unhealthy), (10, Some(3), 4, 5));
        let nulls = read(&json!({"port": null, "path": null, "health": {"codes": null}})).unwrap();
        assert_eq!((nulls.port, nulls.path), (None, None));
        for (x_svc, said) in [
            (json!({"port": "http"}), "x-svc.port: must be a whole number; found \"http\""),
            (json!({"port": "70000"}), "x-svc.port: must be between 1 and 65535; found \"70000\""),
            (json!({"grace": -1}), "x-svc.grace: must be between 0 and 2147483647; found -1"),
            (json!({"grace": 1.5}), "x-svc.grace: must be a whole number; found 1.5"),
            (json!({"health": {"interval": "1"}}), "x-svc.health.interval: must be between 5 and 300; found \"1\""),
            (json!({"health": {"codes": [200]}}), "x-svc.health.codes: must be a string or a number; found a list"),
        ] {
            let found = read(&x_svc).err().unwrap_or_default();
            assert!(found.contains(said), "{x_svc}: {found}");
        }
    }

    #[test]
    fn a_breaker_needs_a_failed_task() {
        for (value, expected) in [(json!(true), BreakerSetting::Switch(true)), (json!(1), BreakerSetting::Failures(1))] {
            assert_eq!(read(&json!({"breaker": value})).map(|found| found.breaker), Ok(expected));
            assert_eq!(flags(&["--breaker", &value.to_string()]).map(|found| found.breaker), Ok(Some(expected)));
        }
        for value in ["0", "-1"] {
            let found = read(&json!({"breaker": value.parse::<i32>().unwrap()})).err().unwrap_or_default();
            assert!(found.contains(&format!("x-svc.breaker: must be {BREAKER}; found {value}")), "{found}");
            let found = flags(&[&format!("--breaker={value}")]).err().unwrap_or_default();
            assert!(found.contains(&format!("must be {BREAKER}")), "{found}");
        }
    }

    #[test]
    fn paths_and_hosts_may_be_a_list_or_given_twice() {
        let of = |args: &[&str]| flags(args).map(|found| (found.path, found.host));
        let list = |texts: [&str; 2]| Some(texts.map(str::to_owned).to_vec());
        assert_eq!(of(&["--path", "/a,/b"]), Ok((list(["/a", "/b"]), None)));
        assert_eq!(of(&["--path", "/a", "--path", "/b"]), Ok((list(["/a", "/b"]), None)));
        assert_eq!(of(&["--host", "a.b", "--host", "b.b"]), Ok((None, list(["a.b", "b.b"]))));
        assert_eq!(read(&json!({"path": "/a,b"})).map(|found| found.path), Ok(Some(vec!["/a,b".to_owned()])));
        let schema = schema_for!(ServiceFlags).to_value();
        let forms = &schema["properties"]["path"]["anyOf"];
        assert_eq!((&forms[0]["type"], &forms[1]["type"]), (&json!("string"), &json!("array")), "{schema:#}");
    }
}
