//! A service in the namespace of ECS Service Connect.

use std::collections::BTreeSet;

/// A service in the namespace of Service Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Under which names it is called; empty for a service that only calls others.
    pub endpoints: Vec<Endpoint>,
    /// Services that it may call: their endpoints must exist when its tasks are deployed.
    pub peers: BTreeSet<String>,
}

/// A port with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Port of the container, and of the name.
    pub port: i32,
    /// `None` is tcp.
    pub app_protocol: Option<AppProtocol>,
    /// In Cloud Map.
    pub discovery_name: String,
    /// The host that other services call.
    pub dns_name: String,
}

impl Endpoint {
    /// Returns the name of the port in the task definition.
    pub fn port_name(&self) -> String {
        format!("{}-{}", self.app_protocol.map_or("tcp", AppProtocol::value), self.port)
    }
}

/// A protocol that the proxy of Service Connect reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppProtocol {
    Http,
    Http2,
    Grpc,
}

impl AppProtocol {
    /// As ECS spells it.
    pub fn value(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}
