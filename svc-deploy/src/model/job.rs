//! Jobs: services that run to their end.

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
