//! The connection to the Docker Engine.

use std::fmt::Display;

use bollard::{BollardRequest, Docker};
use shared::{Error, Result};

use crate::docker_config::{DockerConfig, Place};

pub struct Engine {
    pub docker: Docker,
    /// For example `unix:///var/run/docker.sock`.
    pub host: String,
}

/// The context of a build whose files BuildKit reads in its session.
pub const SESSION_CONTEXT: &str = "client-session";

impl Engine {
    /// Connects to the Docker Engine of `DOCKER_HOST`, of the current context of Docker, or to the local one.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] when it does not answer, or has an address that this tool can't use.
    pub async fn connect(config: &DockerConfig) -> Result<Self> {
        let place = config.place()?;
        let Place { host, context, uses_tls } = &place;
        let at = context.as_ref().map_or_else(|| host.clone(), |context| format!("{host} (the Docker context {context:?})"));
        if *uses_tls || !["unix://", "tcp://", "http://"].iter().any(|scheme| host.starts_with(scheme)) {
            return Err(Error::unavailable(
                "docker-host-unsupported",
                format!(
                    "could not use the Docker Engine at {at}: img-push speaks neither TLS nor SSH with it. Forward its socket, for example with `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set DOCKER_HOST=unix:///tmp/docker.sock. Then run the same command again"
                ),
            ));
        }
        let docker = Docker::connect_with_host(host).map_err(|error| unreachable(&at, &error))?.with_request_modifier(corrected);
        docker.ping().await.map_err(|error| unreachable(&at, &error))?;
        Ok(Self { docker, host: host.clone() })
    }

    /// Returns the error about an engine that does not answer any more.
    pub fn unreachable(&self, error: &dyn Display) -> Error {
        unreachable(&self.host, error)
    }
}

/// Returns whether an error is the end of an answer: bollard takes the line break of the last line for a line that is not complete.
pub fn is_end(error: &bollard::errors::Error) -> bool {
    error.to_string() == "bytes remaining on stream"
}

fn unreachable(at: &str, error: &dyn Display) -> Error {
    Error::unavailable(
        "no-docker-engine",
        format!(
            "could not reach the Docker Engine at {at}: {error}. Start the Docker Engine, or set DOCKER_HOST to its address. Then run the same command again"
        ),
    )
}

/// Corrects two things in the requests of bollard: the Docker Engine reads credentials in the URL-safe alphabet of base64, and a build whose
/// session is ours is one for BuildKit, which has the version 2.
fn corrected(mut request: BollardRequest) -> BollardRequest {
    for name in ["X-Registry-Auth", "X-Registry-Config"] {
        let safe = request.headers().get(name).and_then(|value| value.to_str().ok()).map(|text| text.replace('+', "-").replace('/', "_"));
        if let (Some(value), Some(Ok(safe))) = (request.headers_mut().get_mut(name), safe.map(|text| text.parse())) {
            *value = safe;
        }
    }
    let uri = request.uri().to_string();
    if uri.contains(&format!("remote={SESSION_CONTEXT}&"))
        && let Ok(uri) = uri.replace("&version=1&", "&version=2&").parse()
    {
        *request.uri_mut() = uri;
    }
    request
}
