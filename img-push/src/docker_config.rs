//! Docker's configuration: `config.json`, its credential helpers, and the contexts that name the address of an engine.
//! <https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties>

use std::path::PathBuf;
use std::process::Stdio;

use bollard::auth::DockerCredentials;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::{Error, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The name under which Docker keeps the credentials of Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The user name with which a helper returns a token instead of a password.
const TOKEN: &str = "<token>";

#[derive(Debug, Default, Clone)]
pub struct DockerConfig {
    folder: PathBuf,
    /// `config.json`; null when there is none.
    config: Value,
}

/// Where the Docker Engine is.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// For example `unix:///var/run/docker.sock`.
    pub host: String,
    /// The context of Docker that names the host.
    pub context: Option<String>,
    pub uses_tls: bool,
}

impl DockerConfig {
    /// Reads the configuration in `DOCKER_CONFIG`, or else in `~/.docker`.
    pub fn of_user() -> Self {
        let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = folder.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
        Self::in_folder(folder.unwrap_or_default())
    }

    fn in_folder(folder: PathBuf) -> Self {
        let text = std::fs::read(folder.join("config.json")).unwrap_or_default();
        Self { folder, config: serde_json::from_slice(&text).unwrap_or_default() }
    }

    /// Returns whether a credential helper is set for this registry alone.
    pub fn has_helper_of(&self, registry: &str) -> bool {
        self.config["credHelpers"][registry].is_string()
    }

    /// Returns the credentials for a registry, if Docker has some: from the helper of this registry, from the helper of all registries, or
    /// from the file.
    ///
    /// # Errors
    /// Fails when a helper does not run.
    pub async fn credentials(&self, registry: &str) -> Result<Option<DockerCredentials>> {
        let key = match registry {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
            other => other,
        };
        let helper = self.config["credHelpers"][key].as_str().or(self.config["credsStore"].as_str()).filter(|name| !name.is_empty());
        let of_helper = match helper {
            Some(helper) => ask_helper(helper, key).await?,
            None => None,
        };
        Ok(of_helper.or_else(|| self.of_file(key)))
    }

    fn of_file(&self, key: &str) -> Option<DockerCredentials> {
        let auths = self.config["auths"].as_object()?;
        let entry = auths.get(key).or_else(|| auths.iter().find(|(name, _)| host(name) == key).map(|(_, entry)| entry))?;
        let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(token) = text("identitytoken") {
            return Some(DockerCredentials {
                identitytoken: Some(token),
                serveraddress: Some(key.to_owned()),
                ..DockerCredentials::default()
            });
        }
        let bytes = aws_smithy_types::base64::decode(text("auth").unwrap_or_default()).ok()?;
        let decoded = String::from_utf8(bytes).ok()?;
        let pair = decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.trim_end_matches('\0').to_owned()));
        let (user, password) = pair.or_else(|| Some((text("username")?, text("password")?)))?;
        Some(login(key, user, password))
    }

    /// Returns where the engine is: `DOCKER_HOST`, else the context in `DOCKER_CONTEXT` or in the file, else the local socket.
    ///
    /// # Errors
    /// Fails for a context that Docker does not have.
    pub fn place(&self) -> Result<Place> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let uses_tls = variable("DOCKER_TLS_VERIFY").is_some() || variable("DOCKER_TLS").is_some();
        if let Some(host) = variable("DOCKER_HOST") {
            return Ok(Place { uses_tls: uses_tls && !host.starts_with("unix:"), host, context: None });
        }
        let context = variable("DOCKER_CONTEXT").or_else(|| self.config["currentContext"].as_str().map(str::to_owned));
        match context.filter(|context| !context.is_empty() && context != "default") {
            Some(context) => self.place_of(context),
            None => Ok(Place { host: "unix:///var/run/docker.sock".to_owned(), context: None, uses_tls: false }),
        }
    }

    /// Docker keeps each context in a folder that is named by the hash of its name.
    fn place_of(&self, context: String) -> Result<Place> {
        let id = Sha256::digest(context.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let folder = self.folder.join("contexts");
        let meta = std::fs::read(folder.join("meta").join(&id).join("meta.json")).unwrap_or_default();
        let meta: Value = serde_json::from_slice(&meta).unwrap_or_default();
        let Some(host) = meta["Endpoints"]["docker"]["Host"].as_str().filter(|host| !host.is_empty()) else {
            return Err(Error::unavailable(
                "docker-context-unknown",
                format!(
                    "could not find the Docker context {context:?} in {}. Choose another one with `docker context use`, or set DOCKER_HOST. Then run the same command again",
                    folder.display()
                ),
            ));
        };
        let uses_tls = folder.join("tls").join(&id).join("docker").is_dir();
        Ok(Place { host: host.to_owned(), context: Some(context), uses_tls })
    }
}

/// Returns the host of a registry as the file names it: `https://ghcr.io/v2/` and `ghcr.io` are the same.
fn host(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.split('/').next().unwrap_or(name)
}

fn login(registry: &str, user: String, password: String) -> DockerCredentials {
    DockerCredentials {
        username: Some(user),
        password: Some(password),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    }
}

/// Runs a credential helper as Docker does. `None` when it has no credentials for this registry.
/// <https://github.com/docker/docker-credential-helpers>
async fn ask_helper(helper: &str, registry: &str) -> Result<Option<DockerCredentials>> {
    let program = format!("docker-credential-{helper}");
    let no_answer = |why: &str| {
        Error::failed(
            "credential-helper-failed",
            format!(
                "could not get the credentials for {registry} from {program}: {why}. Install or repair this program, or remove it from Docker's config.json. Then run the same command again"
            ),
        )
    };
    let run = async {
        let mut child = Command::new(&program).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(registry.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let done = run.await.map_err(|error| no_answer(&error.to_string()))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        return if said.contains("credentials not found") { Ok(None) } else { Err(no_answer(&said)) };
    }
    let said: Value = serde_json::from_slice(&done.stdout).map_err(|_| no_answer("its answer is not JSON"))?;
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    let (user, secret) = (text("Username"), text("Secret"));
    Ok(match (user.as_str(), secret.is_empty()) {
        (_, true) => None,
        (TOKEN, false) => Some(DockerCredentials {
            identitytoken: Some(secret),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        }),
        _ => Some(login(registry, user, secret)),
    })
}

/// Returns the registry in the name of an image.
pub fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A folder with Docker's configuration that is deleted after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str, config: &Value) -> Self {
            let path = std::env::temp_dir().join(format!("img-push-docker-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("config.json"), config.to_string()).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_file_has_the_credentials_of_the_registry() {
        let folder = Folder::new(
            "file",
            &json!({"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpw"}, "ghcr.io": {"auth": "eDp5Onk="}, "https://quay.io/v2/": {"auth": "dTpw"},
                "azure.io": {"auth": "MDAwOg==", "identitytoken": "refresh"}, "bad.io": {"auth": "?"}, "empty.io": {}}}),
        );
        let config = DockerConfig::in_folder(folder.0.clone());
        for (registry, expected) in [
            ("docker.io", Some(("u", "p"))),
            ("registry-1.docker.io", Some(("u", "p"))),
            ("ghcr.io", Some(("x", "y:y"))),
            ("quay.io", Some(("u", "p"))),
            ("bad.io", None),
            ("empty.io", None),
            ("other.io", None),
        ] {
            let found = config.credentials(registry).await.unwrap();
            let found = found.map(|found| (found.username.unwrap_or_default(), found.password.unwrap_or_default()));
            assert_eq!(found.as_ref().map(|(user, password)| (user.as_str(), password.as_str())), expected, "{registry}");
        }
        let token = config.credentials("azure.io").await.unwrap().unwrap();
        assert_eq!((token.identitytoken.as_deref(), token.username), (Some("refresh"), None));
        assert_eq!(DockerConfig::in_folder("/nowhere".into()).credentials("docker.io").await.unwrap(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_helper_that_is_missing_is_named() {
        let folder = Folder::new("helper", &json!({"credHelpers": {"a.io": "no-such-helper"}, "auths": {"b.io": {"auth": "dTpw"}}}));
        let config = DockerConfig::in_folder(folder.0.clone());
        let said = config.credentials("a.io").await.unwrap_err().to_string();
        assert!(said.contains("credentials for a.io from docker-credential-no-such-helper: "), "{said}");
        assert!(config.credentials("b.io").await.unwrap().is_some());
        assert!(config.has_helper_of("a.io") && !config.has_helper_of("b.io"));
    }

    #[test]
    fn a_context_says_where_the_engine_is() {
        let folder = Folder::new("context", &json!({"currentContext": "remote"}));
        let config = DockerConfig::in_folder(folder.0.clone());
        let said = config.place_of("remote".to_owned()).unwrap_err().to_string();
        assert!(said.contains("could not find the Docker context \"remote\""), "{said}");
        // SHA-256 of `remote`.
        let id = "b71199ebd070b36beab7317920c2c2f1d777df8d05e5527d8458fda57cb17a7a";
        let meta = folder.0.join("contexts/meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            json!({"Name": "remote", "Endpoints": {"docker": {"Host": "tcp://build:2375"}}}).to_string(),
        )
        .unwrap();
        let place = |uses_tls| Place { host: "tcp://build:2375".to_owned(), context: Some("remote".to_owned()), uses_tls };
        assert_eq!(config.place_of("remote".to_owned()).unwrap(), place(false));
        std::fs::create_dir_all(folder.0.join("contexts/tls").join(id).join("docker")).unwrap();
        assert_eq!(config.place_of("remote".to_owned()).unwrap(), place(true));
    }

    #[test]
    fn the_name_of_an_image_says_its_registry() {
        for (image, registry) in [
            ("nginx", "docker.io"),
            ("library/nginx:1", "docker.io"),
            ("ghcr.io/a/b", "ghcr.io"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/a@sha256:1", "127.0.0.1:5000"),
        ] {
            assert_eq!(registry_of(image), registry, "{image}");
        }
    }
}
