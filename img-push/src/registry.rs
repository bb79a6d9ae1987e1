//! Registries of images: what an image says of itself, without a pull of its layers.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>

use std::time::Duration;

use bollard::auth::DockerCredentials;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::ImageIndexEntry;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::Value;
use tokio::time::timeout;

/// Time for all calls about one image. A registry that takes longer is as good as none.
const TIME: Duration = Duration::from_secs(8);
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    pub ports: Vec<String>,
    pub architecture: String,
    /// The paths of volumes at which it has files.
    pub seeded: Vec<String>,
}

/// Reads the configuration of an image from its registry. Returns `None` when the registry does not answer, or refuses.
pub async fn describe(image: &str, platform: Option<&'static str>, login: Option<DockerCredentials>) -> Option<Description> {
    let reference: Reference = image.parse().ok()?;
    let client = client(&reference, platform);
    let (_, _, config) = timeout(TIME, client.pull_manifest_and_config(&reference, &auth(login))).await.ok()?.ok()?;
    of_config(&config)
}

/// Returns the digest of what the name of an image means now: that of all platforms, where it has several. It reads no manifest, so Docker Hub does
/// not count it as a pull. Returns `None` when the registry does not answer, or refuses.
pub async fn digest(image: &str, login: Option<DockerCredentials>) -> Option<String> {
    let reference: Reference = image.parse().ok()?;
    timeout(TIME, client(&reference, None).fetch_manifest_digest(&reference, &auth(login))).await.ok()?.ok()
}

fn client(reference: &Reference, platform: Option<&'static str>) -> Client {
    Client::new(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(plain(reference.resolve_registry())),
        platform_resolver: Some(Box::new(move |entries| choose(entries, platform))),
        connect_timeout: Some(CONNECT_TIME),
        read_timeout: Some(TIME),
        ..ClientConfig::default()
    })
}

fn auth(login: Option<DockerCredentials>) -> RegistryAuth {
    match login {
        Some(DockerCredentials { username: Some(user), password: Some(password), .. }) => RegistryAuth::Basic(user, password),
        _ => RegistryAuth::Anonymous,
    }
}

/// As Docker, speaks HTTP with registries on this machine.
fn plain(registry: &str) -> Vec<String> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    if host == "localhost" || host.starts_with("127.") { vec![registry.to_owned()] } else { Vec::new() }
}

/// Chooses the image of a platform, or of Fargate's default.
fn choose(entries: &[ImageIndexEntry], platform: Option<&str>) -> Option<String> {
    let wanted = platform.and_then(|platform| platform.split_once('/')).map_or("amd64", |(_, architecture)| architecture);
    let is_it = |entry: &&ImageIndexEntry| {
        entry.platform.as_ref().is_some_and(|one| one.os.to_string() == "linux" && one.architecture.to_string() == wanted)
    };
    entries.iter().find(is_it).map(|entry| entry.digest.clone())
}

/// <https://github.com/opencontainers/image-spec/blob/main/config.md>
fn of_config(config: &str) -> Option<Description> {
    let config: Value = serde_json::from_str(config).ok()?;
    let ports = config["config"]["ExposedPorts"].as_object();
    let mut ports: Vec<String> = ports.map(|ports| ports.keys().cloned().collect()).unwrap_or_default();
    ports.sort();
    Some(Description { ports, architecture: config["architecture"].as_str()?.to_owned(), seeded: Vec::new() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_says_its_ports_and_architecture() {
        let config = json!({"architecture": "arm64", "os": "linux", "config": {"ExposedPorts": {"5432/tcp": {}, "1234/udp": {}}}});
        let found = of_config(&config.to_string()).unwrap();
        assert_eq!((found.ports, found.architecture), (vec!["1234/udp".to_owned(), "5432/tcp".to_owned()], "arm64".to_owned()));
        assert_eq!(of_config("{}"), None);
    }

    #[test]
    fn only_registries_on_this_machine_speak_http() {
        assert_eq!(plain("127.0.0.1:5000"), ["127.0.0.1:5000"]);
        assert_eq!(plain("index.docker.io"), [""; 0]);
    }
}
