//! Jobs: services that run to their end.

/// The label of a container with what its image does not say: the digest of a job's image, or the tag of an image that is used by its digest.
pub const IMAGE_LABEL: &str = "ecs-pipe.image";

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Whether a deployment runs it, or only its schedule.
    pub deployed: bool,
    /// Whether a service is deployed only after its end.
    pub awaited: bool,
    pub schedule: Option<Schedule>,
}

/// When EventBridge Scheduler runs a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// As in `rate(1 hour)`, `cron(0 8 ? * MON-FRI *)` or `at(2027-01-01T00:00:00)`.
    pub expression: String,
    /// As in `Europe/Vienna`.
    pub timezone: String,
}

/// The name of the container that keeps a task alive whose own container may end.
pub const KEEPER: &str = "ecs-pipe-keeper";
/// MiB; a shell that sleeps needs less.
pub const KEEPER_MEMORY: i32 = 16;
pub const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Sleeps until it is stopped.
pub const KEEPER_SCRIPT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done";

/// How the names of the services begin that run a task by hand. No service of a document has such a name, because a name does not begin with an
/// underscore.
pub const BY_HAND: &str = "_run-";
