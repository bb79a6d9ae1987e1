//! A service in the namespace of ECS Service Connect.

use std::collections::BTreeSet;

use shared::name::fingerprint;

/// The longest name in Cloud Map that ECS accepts for an endpoint.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectService.html>
const LONGEST: usize = 64;

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
    /// Returns the endpoint of a port. ECS creates it in Cloud Map, where its protocol can't be changed. So port and protocol are parts of its name.
    pub fn of(service: &str, port: i32, app_protocol: Option<AppProtocol>) -> Self {
        let name = service.to_lowercase();
        let suffix = app_protocol.map_or_else(|| format!("-{port}"), |protocol| format!("-{port}-{}", protocol.value()));
        let discovery_name = match LONGEST.saturating_sub(suffix.len()) {
            room if name.len() <= room => format!("{name}{suffix}"),
            room => format!("{}-{}{suffix}", &name[..room - 9], &fingerprint(&name)[..8]),
        };
        Self { port, app_protocol, discovery_name, dns_name: name }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_endpoints_fit_into_cloud_map() {
        let names = |service: &str, protocol| {
            let endpoint = Endpoint::of(service, 8080, protocol);
            (endpoint.discovery_name, endpoint.dns_name)
        };
        assert_eq!(names("api", None), ("api-8080".to_owned(), "api".to_owned()));
        assert_eq!(names("Api", Some(AppProtocol::Http)), ("api-8080-http".to_owned(), "api".to_owned()));
        let (long, other) = (names(&"a".repeat(60), None).0, names(&format!("{}b", "a".repeat(59)), None).0);
        assert!(long.len() == LONGEST && other.len() == LONGEST && long != other, "{long} {other}");
    }
}
