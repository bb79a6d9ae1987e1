//! What an app needs from ECS: plain values, neither the document's JSON nor AWS's, so that both floors can know them.

mod connect;
mod image;
mod job;
mod published;
mod secret;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
pub use shared::doc::port::Protocol;
use shared::doc::{Cluster, Net};

pub use connect::{AppProtocol, Connect, Endpoint};
pub use image::by_digest;
pub use job::{BY_HAND, IMAGE_LABEL, Job, KEEPER, KEEPER_MEMORY, KEEPER_SCRIPT, SHELL, Schedule};
pub use published::{Codes, Published, RULE_PRIORITIES, RULE_VALUES, RULE_WILDCARDS, TargetGroupShape, needs_https, wildcards};
pub use secret::{Parameter, Secret, SecretFile, SecretValue};
pub use storage::{AccessPoint, Efs, Mount, Tmpfs, Volume, VolumeSource};

/// All that one run is to bring about.
#[derive(Clone)]
pub struct Wanted {
    pub net: Net,
    pub cluster: Cluster,
    /// ARN of the load balancer's certificate; with it the load balancer serves HTTPS.
    pub certificate: Option<String>,
    pub ssl_policy: String,
    /// Whether the load balancer is in the private subnets.
    pub internal: bool,
    /// S3 bucket of the load balancer's access logs.
    pub access_logs: Option<String>,
    /// Attributes of the load balancer that the document sets. `None` leaves one to AWS.
    pub attributes: BTreeMap<String, Option<String>>,
    /// ARN of the load balancer that is used instead of one of our own.
    pub alb: Option<String>,
    /// The first number of the app's rules on that load balancer.
    pub priority: Option<i32>,
    /// ARN of the task execution role that is used instead of one of our own.
    pub execution_role: Option<String>,
    /// The ARN of the permissions boundary of the roles.
    pub boundary: Option<String>,
    /// Days for which log lines are kept.
    pub retention: i32,
    /// ARN of the key that encrypts them, instead of one of CloudWatch Logs.
    pub log_kms_key: Option<String>,
    /// The image of the container that writes secrets into files.
    pub files_image: String,
    /// Whether another volume may replace one that has data.
    pub change_volumes: bool,
    /// In the order in which they are deployed.
    pub services: Vec<Service>,
}

impl Wanted {
    /// Returns the services that this run deploys.
    pub fn selected(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.selected)
    }

    /// Returns the values that this run stores, by the name of their parameter.
    pub fn parameters(&self) -> BTreeMap<&str, &SecretValue> {
        let all = self.selected().flat_map(|service| &service.containers).flat_map(|container| &container.parameters);
        all.map(|parameter| (parameter.name.as_str(), &parameter.value)).collect()
    }

    /// Returns the volumes on the app's file system that this run needs, by name.
    pub fn access_points(&self) -> BTreeMap<&str, &AccessPoint> {
        self.services.iter().flat_map(Service::access_points).map(|point| (point.volume.as_str(), point)).collect()
    }

    /// Returns those of them that stay as ECS services; the others are jobs.
    pub fn deployed(&self) -> impl Iterator<Item = &Service> {
        self.selected().filter(|service| service.job.is_none())
    }

    /// Returns those of them that are published.
    pub fn selected_published(&self) -> impl Iterator<Item = (&Service, &Published)> {
        self.published().filter(|(service, _)| service.selected)
    }

    /// Returns all services that are behind the load balancer.
    pub fn published(&self) -> impl Iterator<Item = (&Service, &Published)> {
        self.services.iter().filter_map(|service| service.published.as_ref().map(|published| (service, published)))
    }
}

/// An ECS service, or a job, and its one task definition.
#[derive(Debug, Clone)]
pub struct Service {
    pub name: String,
    /// Whether this run deploys it. The load balancer and the execution role serve all services, so all are read.
    pub selected: bool,
    /// The containers of its task: its own first, then those of its sidecars.
    pub containers: Vec<Container>,
    pub network_mode: NetworkMode,
    /// Of the task; only Fargate needs it.
    pub size: Option<Size>,
    /// Whether its containers see the processes of each other, or of the instance.
    pub pid_mode: Option<Namespace>,
    /// The same for shared memory, semaphores and message queues.
    pub ipc_mode: Option<Namespace>,
    /// In Docker's words, as `linux/amd64`.
    pub platform: Option<&'static str>,
    pub published: Option<Published>,
    /// Whether CPU and memory are measured every 20 seconds instead of 60, for `scale-set`.
    pub fast_metrics: bool,
    /// Tasks at creation; afterwards the count belongs to `scale-set`.
    pub desired: i32,
    /// Whether two tasks at once may do harm: they would write to the same data, or each have data of its own.
    pub single: bool,
    /// Services that must be healthy, and jobs that must have ended, before this one is deployed.
    pub after: Vec<String>,
    /// What makes it a job, for which there is no ECS service.
    pub job: Option<Job>,
    /// Services that are deployed before this one, which does not wait for them.
    pub before: Vec<String>,
    /// How it calls other services by name, and is called; `None` outside of the namespace.
    pub connect: Option<Connect>,
    pub breaker: Breaker,
    pub healthy_percent: HealthyPercent,
    pub task_role: TaskRole,
    pub volumes: Vec<Volume>,
    /// Tags of the ECS service.
    pub labels: Vec<(String, String)>,
    pub patch: Patch,
}

impl Service {
    /// Returns the services that are deployed before this one.
    pub fn first(&self) -> impl Iterator<Item = &String> {
        self.after.iter().chain(&self.before)
    }

    /// Returns whether a container of it has ports that nobody knows.
    pub fn has_unknown_ports(&self) -> bool {
        self.containers.iter().any(|container| container.ports_unknown)
    }

    /// Returns the endpoint of a tcp port.
    pub fn endpoint(&self, port: i32) -> Option<&Endpoint> {
        self.connect.iter().flat_map(|connect| &connect.endpoints).find(|endpoint| endpoint.port == port)
    }

    /// Returns its volumes on the app's file system.
    pub fn access_points(&self) -> impl Iterator<Item = &AccessPoint> {
        self.volumes.iter().filter_map(|volume| match &volume.source {
            VolumeSource::AccessPoint(point) => Some(point),
            _ => None,
        })
    }

    /// Returns whether a container writes to a volume on the app's file system.
    pub fn writes_to_file_system(&self) -> bool {
        let mounts = self.containers.iter().flat_map(|container| &container.mounts).filter(|mount| !mount.read_only);
        mounts.into_iter().any(|mount| self.access_points().any(|point| point.volume == mount.volume))
    }
}

/// One container of a task. What is `None` or empty is left to ECS or to the image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Container {
    pub name: String,
    /// Unknown only in a plan, and for services that the run does not deploy.
    pub image: Option<String>,
    /// Whether the task ends when it ends.
    pub essential: bool,
    /// Units; 1024 are a vCPU.
    pub cpu: i32,
    /// MiB at which the container is killed. Without it, the task or the instance is the limit.
    pub memory: Option<i32>,
    /// MiB that are kept free for it.
    pub memory_reservation: Option<i32>,
    pub gpus: Option<i32>,
    pub ports: Vec<Port>,
    /// Whether only the image says which ports it opens, and nobody knows what it says.
    pub ports_unknown: bool,
    pub command: Option<Vec<String>>,
    pub entry_point: Option<Vec<String>>,
    pub working_directory: Option<String>,
    pub user: Option<String>,
    pub read_only: Option<bool>,
    pub pseudo_terminal: Option<bool>,
    pub interactive: Option<bool>,
    pub privileged: Option<bool>,
    pub hostname: Option<String>,
    /// Seconds from SIGTERM to SIGKILL.
    pub stop_timeout: Option<u64>,
    pub environment: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Host names and their addresses.
    pub extra_hosts: Vec<(String, String)>,
    pub dns_servers: Vec<String>,
    pub dns_search_domains: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    /// Names of kernel parameters and their values.
    pub system_controls: Vec<(String, String)>,
    pub health_check: Option<HealthCheck>,
    pub security_options: Vec<String>,
    /// Another log driver than `awslogs`.
    pub log: Option<LogDriver>,
    /// Options of `awslogs` beside those that name the log group.
    pub log_options: BTreeMap<String, String>,
    pub secrets: Vec<Secret>,
    pub secret_files: Vec<SecretFile>,
    /// The values that svc-deploy stores for it.
    pub parameters: Vec<Parameter>,
    pub linux: Linux,
    pub mounts: Vec<Mount>,
    /// The paths at which the image has a copy of the project's files, instead of a mount.
    pub copied: Vec<String>,
    pub depends_on: Vec<Dependency>,
}

/// Settings of the Linux kernel for one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Linux {
    pub init: Option<bool>,
    /// MiB.
    pub shared_memory: Option<i32>,
    pub capabilities_added: Vec<String>,
    pub capabilities_dropped: Vec<String>,
    pub tmpfs: Vec<Tmpfs>,
    pub devices: Vec<Device>,
}

/// A device of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub host: String,
    pub container: String,
    /// As ECS spells them: `read`, `write`, `mknod`.
    pub permissions: Vec<&'static str>,
}

/// Whose processes or shared memory the containers of a task see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Those of the instance.
    Host,
    /// Those of all containers of the task.
    Task,
    /// Each its own.
    Own,
}

impl Namespace {
    /// As ECS spells it.
    pub fn value(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Task => "task",
            Self::Own => "none",
        }
    }
}

/// CPU units (1024 a vCPU) and MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub cpu: i32,
    pub memory: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub number: i32,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: i32,
    pub hard: i32,
}

/// How Docker checks a container, in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub command: Vec<String>,
    pub timeout: u64,
    pub interval: Option<u64>,
    pub start_period: Option<u64>,
    pub retries: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDriver {
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

/// What a container waits for within its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub container: String,
    pub condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Start,
    Healthy,
    Success,
}

impl Condition {
    /// As ECS spells it.
    pub fn value(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Healthy => "HEALTHY",
            Self::Success => "SUCCESS",
        }
    }
}

/// The role with which the service's code calls AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRole {
    /// A role of our own with these policies, by ARN.
    Own(BTreeSet<String>),
    /// An existing role, by ARN; it is never changed or deleted.
    Adopted(String),
}

/// RFC 7396 merge patches in AWS's own JSON, applied last. They are JSON on every floor, because nothing here knows what they say.
#[derive(Debug, Default, Clone)]
pub struct Patch {
    /// Of `RegisterTaskDefinition`.
    pub task: Option<Value>,
    /// Of the service's own container definition.
    pub container: Option<Value>,
    /// Of the definitions of the task's containers, by name.
    pub containers: BTreeMap<String, Value>,
    /// Of `CreateService` and `UpdateService`.
    pub service: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    Awsvpc,
    Bridge,
    Host,
}

impl NetworkMode {
    /// As ECS spells it.
    pub fn value(self) -> &'static str {
        match self {
            Self::Awsvpc => "awsvpc",
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

/// What ECS does when the tasks of a deployment fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    pub enable: bool,
    pub rollback: bool,
    /// Failed tasks that end a deployment; otherwise ECS's own share of the tasks.
    pub failures: Option<i32>,
}

/// Tasks that are healthy during a deployment, in percent of the desired count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthyPercent {
    pub minimum: i32,
    pub maximum: i32,
}
