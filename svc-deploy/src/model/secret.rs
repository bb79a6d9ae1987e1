//! Secrets: where their values come from, and how a container gets them.

use std::fmt;

/// A variable whose value ECS reads from Secrets Manager or Systems Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub variable: String,
    /// An ARN, the path of an SSM parameter (`/…`), or the name of a secret.
    pub source: String,
}

/// A file whose content ECS reads from Secrets Manager or Systems Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// As that of a [`Secret`].
    pub source: String,
    /// Below `/run/secrets/`.
    pub path: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A value that svc-deploy keeps in Systems Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name of the parameter: `/ecs-pipe/<app>/<secret>`.
    pub name: String,
    pub value: SecretValue,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub String);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}
