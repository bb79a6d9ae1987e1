//! The settings of the app's load balancer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form;

shared::settings! {
    /// Attributes of the load balancer
    pub struct BalancerSettings, BalancerFlags {
        /// Seconds after which the load balancer closes a connection that is silent
        ///
        /// Raise it for WebSockets and for requests that take longer than a minute.
        idle_timeout: i32 [1..=4000], arg(long, value_name = "SECONDS"), serde(deserialize_with = "form::whole"),
            schemars(extend("x-default" = "60", "x-flag" = "idle-timeout"));
        /// Seconds for which the load balancer keeps the connection of a client
        keep_alive: i32 [60..=604_800], arg(long, value_name = "SECONDS"), serde(deserialize_with = "form::whole"),
            schemars(extend("x-default" = "3600", "x-flag" = "keep-alive"));
    }
}

/// Merge patches (RFC 7396) in AWS's own JSON
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SharedPatch {
    /// Of the load balancer: `Attributes`
    pub load_balancer: Option<Map<String, Value>>,
}
