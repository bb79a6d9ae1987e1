//! How a service is behind the load balancer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::Error;

/// A rule of the load balancer takes five values in all its conditions.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
pub const RULE_VALUES: usize = 5;
/// It takes six wildcards in all its conditions.
pub const RULE_WILDCARDS: usize = 6;
/// The highest number of a rule.
pub const RULE_PRIORITIES: i32 = 50_000;

/// Returns the number of wildcards in a host or path.
pub fn wildcards(pattern: &str) -> usize {
    pattern.matches(['*', '?']).count()
}

/// How a service is behind the load balancer.
#[derive(Debug, Clone)]
pub struct Published {
    pub port: i32,
    /// The port of a listener of its own; without it the service shares the listener for HTTP, or for HTTPS.
    pub listener: Option<i32>,
    /// Empty for a service that gets every request that no other takes.
    pub paths: Vec<String>,
    pub hosts: Vec<String>,
    pub target_group: TargetGroupShape,
    /// Seconds in which a starting task may be unhealthy.
    pub grace: i32,
}

/// What a target group should be, in AWS's own words, so that `x-svc.patch.target_group` can change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TargetGroupShape {
    pub port: i32,
    pub protocol: String,
    pub protocol_version: String,
    pub target_type: String,
    pub health_check_protocol: Option<String>,
    pub health_check_port: Option<String>,
    pub health_check_path: String,
    pub health_check_interval_seconds: i32,
    pub health_check_timeout_seconds: i32,
    pub healthy_threshold_count: i32,
    pub unhealthy_threshold_count: i32,
    pub matcher: Codes,
    pub attributes: BTreeMap<String, String>,
}

impl TargetGroupShape {
    /// Returns whether the load balancer must speak HTTPS to forward to it.
    pub fn needs_https(&self) -> bool {
        matches!(self.protocol_version.as_str(), "HTTP2" | "GRPC")
    }
}

/// Returns the error of a service whose target group needs HTTPS.
pub fn needs_https(service: &str, what: &str) -> Error {
    Error::document("http2-without-https", format!("services.{service}.x-svc.patch.target_group"), format!("HTTP/2 and gRPC need {what}"))
}

/// The answers of a healthy target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Codes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_code: Option<String>,
}
