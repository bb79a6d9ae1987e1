//! The request that registers a task definition, in AWS's own JSON.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>

use serde_json::{Value, json};
use shared::doc::{ARM64, Caller};

use super::kept::Kept;
use super::{container_definition, secret_file, volume};
use crate::model::Service;

/// The roles of a task, by ARN, and what else it refers to. In a plan they may be unknown.
#[derive(Default)]
pub struct Roles {
    pub execution: Option<String>,
    pub task: Option<String>,
    pub kept: Kept,
}

/// Returns the request without tags. `x-svc.patch.task` is merged into it last.
pub fn request(app: &str, caller: &Caller, service: &Service, roles: &Roles) -> Value {
    let launch_type = if service.size.is_some() { "FARGATE" } else { "EC2" };
    let mut request = json!({
        "family": family(app, &service.name),
        "networkMode": service.network_mode.value(),
        "requiresCompatibilities": [launch_type],
        "executionRoleArn": roles.execution,
        "taskRoleArn": roles.task,
        "containerDefinitions": container_definition::definitions(app, caller, service, &roles.kept),
    });
    if let Some(size) = service.size {
        request["cpu"] = json!(size.cpu.to_string());
        request["memory"] = json!(size.memory.to_string());
    }
    for (field, mode) in [("pidMode", service.pid_mode), ("ipcMode", service.ipc_mode)] {
        if let Some(mode) = mode {
            request[field] = json!(mode.value());
        }
    }
    let volumes = service.volumes.iter().map(|one| volume::definition(one, &roles.kept)).chain(secret_file::volumes(service));
    let volumes: Vec<Value> = volumes.collect();
    if !volumes.is_empty() {
        request["volumes"] = volumes.into();
    }
    if let Some(platform) = service.platform {
        let architecture = if platform == ARM64 { "ARM64" } else { "X86_64" };
        request["runtimePlatform"] = json!({"cpuArchitecture": architecture, "operatingSystemFamily": "LINUX"});
    }
    if let Some(patch) = &service.patch.task {
        json_patch::merge(&mut request, patch);
    }
    request
}

/// Returns the family of a service's task definitions.
pub fn family(app: &str, service: &str) -> String {
    format!("{app}-{service}")
}
