//! The sections that more than one tool reads. An id is `None` (`null`) only in a plan, where it is not known yet.

use std::collections::BTreeMap;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `aws`: account and region of the document
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    pub account: String,
    pub region: String,
    pub partition: String,
}

/// `net`: the network that net-up created or uses
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Net {
    pub vpc_id: Option<String>,
    pub cidr: String,
    pub zones: Vec<String>,
    pub public_subnet_ids: Vec<Option<String>>,
    pub private_subnet_ids: Vec<Option<String>>,
    pub internet_gateway_id: Option<String>,
    pub nat_gateway_ids: Vec<Option<String>>,
    pub public_route_table_id: Option<String>,
    pub private_route_table_ids: Vec<Option<String>>,
    /// Security group of the load balancer; it allows traffic from the internet
    pub lb_security_group_id: Option<String>,
    /// Security group of tasks and instances; it allows traffic from the load balancer and from the group itself
    pub task_security_group_id: Option<String>,
    /// Security group of the volumes' file system; it allows traffic from tasks and instances only. `null` without such volumes
    pub file_system_security_group_id: Option<String>,
    pub vpc_endpoint_ids: Vec<Option<String>>,
}

/// `img`: the image of each service
pub type Img = BTreeMap<String, Image>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// Image by digest: `<registry>/<repository>@sha256:…`; the name in the document for an image that ECR does not have
    pub uri: Option<String>,
    pub repository_arn: Option<String>,
    pub tag: String,
    /// Where in the image configs and files of the project are
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Where services mount volumes over files of the image, as far as the Docker Engine has the image
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeded: Vec<String>,
    /// Ports that the image opens, as in `5432/tcp`
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// `amd64`, `arm64`, or another one of Docker's names; `null` when nothing is known of the image
    #[serde(default)]
    pub architecture: Option<String>,
    #[serde(default)]
    pub digest: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LaunchType {
    /// On EC2 instances through an Auto Scaling group and a capacity provider
    #[default]
    Ec2,
    /// On Fargate
    Fargate,
}

/// `cluster`: the ECS cluster
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cluster {
    pub arn: Option<String>,
    pub name: String,
    pub launch_type: LaunchType,
    /// Capacity provider strategy of the services
    pub capacity_provider_strategy: Vec<Capacity>,
    /// Architecture of the instances, as EC2 names it: `x86_64` or `arm64`. On Fargate each service may have another one
    pub architecture: Option<String>,
    /// CPU units of the largest instance type; 1024 are a vCPU
    pub instance_cpu: Option<i32>,
    /// Memory of the largest instance type, in MiB
    pub instance_memory: Option<i32>,
    /// Minimum and maximum number of instances; 0 on Fargate
    pub min: i32,
    pub max: i32,
    pub auto_scaling_group: Option<String>,
    pub launch_template_id: Option<String>,
    pub instance_role_arn: Option<String>,
    /// EFS file system of the app's volumes; `null` without such volumes
    pub file_system_id: Option<String>,
    /// Name of the Cloud Map namespace in which the services find each other, through ECS Service Connect; `null` without one
    pub namespace: Option<String>,
    pub namespace_arn: Option<String>,
}

impl Cluster {
    /// Returns the platform of images for the cluster, as Docker names it. Fargate's own default is `linux/amd64`.
    pub(super) fn platform(&self) -> Option<&'static str> {
        match (self.launch_type, self.architecture.as_deref()) {
            (LaunchType::Fargate, _) | (_, Some("x86_64")) => Some(AMD64),
            (_, Some("arm64")) => Some(ARM64),
            _ => None,
        }
    }
}

pub const AMD64: &str = "linux/amd64";
pub const ARM64: &str = "linux/arm64";

/// Share of the tasks on a capacity provider: first `base` tasks, then in the proportion of the weights
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    pub capacity_provider: String,
    pub weight: i32,
    pub base: i32,
}

/// `svc`: the services and their load balancer
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Svc {
    /// URL of the load balancer; `null` when no service is published
    pub url: Option<String>,
    pub load_balancer_arn: Option<String>,
    pub load_balancer_name: Option<String>,
    pub listener_arns: Vec<Option<String>>,
    /// Role of `x-svc.execution_role`; without it each service has its own
    pub execution_role_arn: Option<String>,
    pub services: BTreeMap<String, ServiceRecord>,
    /// The jobs, which are no ECS services: they run to their end
    pub jobs: BTreeMap<String, JobRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceRecord {
    pub arn: Option<String>,
    pub name: String,
    pub task_definition_arn: Option<String>,
    /// Role with which ECS starts its tasks
    pub execution_role_arn: Option<String>,
    pub task_role_arn: Option<String>,
    /// Whether the load balancer forwards to it
    pub published: bool,
    pub target_group_arn: Option<String>,
    /// URL of the service behind the load balancer; `null` for one that only its host name reaches
    pub url: Option<String>,
    /// Whether two tasks at once may do harm, because it keeps data
    pub single: bool,
    /// Whether it may use more memory than it reserves, up to what the instance has
    pub memory_unlimited: bool,
    pub log_group: String,
    /// Names and ports under which other services call it, as in `api:8080`
    pub endpoints: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JobRecord {
    pub task_definition_arn: Option<String>,
    /// Role with which ECS starts its tasks
    pub execution_role_arn: Option<String>,
    pub task_role_arn: Option<String>,
    pub log_group: String,
    /// EventBridge schedule that runs the job; `null` for a job that runs only when it is deployed
    pub schedule_arn: Option<String>,
}
