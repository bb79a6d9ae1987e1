//! The keys of a Compose service that are no field of a container definition: why, and where.

use shared::Result;
use shared::doc::At;

use super::size;

/// Keys that are read elsewhere, or have no meaning in ECS and do not change what the service does.
pub const SILENT: &[&str] = &[
    "attach",
    "build",
    "cap_add",
    "cap_drop",
    "container_name",
    "cpus",
    "depends_on",
    "develop",
    "expose",
    "image",
    "ipc",
    "links",
    "mem_limit",
    "mem_reservation",
    "network_mode",
    "networks",
    "pid",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "restart",
    "scale",
    "volumes",
];

/// Compose keys that ECS does not have, each of which would change behaviour if it were ignored.
pub const IMPOSSIBLE: &[&str] = &[
    "blkio_config",
    "cgroup",
    "cgroup_parent",
    "cpu_count",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpuset",
    "credential_spec",
    "device_cgroup_rules",
    "external_links",
    "group_add",
    "isolation",
    "mac_address",
    "oom_kill_disable",
    "oom_score_adj",
    "post_start",
    "pre_stop",
    "provider",
    "runtime",
    "storage_opt",
    "userns_mode",
    "uts",
    "volumes_from",
];

/// Keys that ECS does not have, and why a service runs without them.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("domainname", "a task has the name that AWS gives it"),
    ("mem_swappiness", "a task has no swap space"),
    ("memswap_limit", "a task has no swap space"),
    ("pids_limit", "ECS limits the processes of a container by its ulimit nproc only"),
    ("stop_signal", "ECS stops a container with the STOPSIGNAL of its image, or with SIGTERM"),
];

/// Keys that only Compose itself resolves.
pub const OF_COMPOSE: &[(&str, &str)] = &[
    ("env_file", "the variables of the file are missing"),
    ("extends", "what the service extends is missing"),
    ("label_file", "the labels of the file are missing"),
];

/// Keys that only a container on an instance can have, or only one without a network interface of its own.
pub const NOT_ON_FARGATE: &[&str] = &["devices", "gpus", "privileged", "security_opt", "shm_size"];
pub const NOT_ON_AWSVPC: &[&str] = &["dns", "extra_hosts"];

/// The same, but a service runs without them.
pub const DROPPED_ON_AWSVPC: &[&str] = &["dns_search", "hostname"];

/// MiB of shared memory that Docker gives a container that says nothing.
const SHARED_MEMORY: i32 = 64;

/// Returns whether a key only says what is so without it.
pub fn is_default(key: &str, value: &At<'_>) -> Result<bool> {
    Ok(match key {
        "privileged" => !value.truth()?,
        "shm_size" => size::mib(value)? <= SHARED_MEMORY,
        _ => {
            let (list, object) = (value.value().as_array(), value.value().as_object());
            list.is_some_and(Vec::is_empty) || object.is_some_and(serde_json::Map::is_empty)
        }
    })
}
