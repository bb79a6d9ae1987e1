//! The section `alarms` of the document.

use schemars::JsonSchema;
use serde::Serialize;

/// `alarms`: what is watched, and which topic of the app is notified.
#[derive(Debug, Default, Clone, Serialize, JsonSchema)]
pub struct Alarms {
    pub topic_arn: Option<String>,
    pub alarm_names: Vec<String>,
    /// The alarm to page on
    pub composite_alarm_name: Option<String>,
    pub dashboard_name: Option<String>,
}
