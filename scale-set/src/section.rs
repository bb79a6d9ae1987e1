//! The section `scale` of the document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `scale`: what scales, between which bounds, and with which policies.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Scale {
    pub services: BTreeMap<String, ScaledService>,
    pub instances: Option<ScaledInstances>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScaledService {
    /// The service as Application Auto Scaling names it: `service/<cluster>/<service>`.
    pub resource_id: String,
    pub min: i32,
    pub max: i32,
    /// By metric: `cpu`, `memory`, `requests`.
    pub policy_arns: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScaledInstances {
    pub auto_scaling_group: String,
    pub min: i32,
    pub max: i32,
}
