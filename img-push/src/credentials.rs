//! The credentials for registries, in one place for builds, pulls, pushes and the client that reads descriptions: ECR's own token for ECR, and
//! Docker's configuration for all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::Region;
use aws_sdk_ecr::types::AuthorizationData;
use bollard::auth::DockerCredentials;
use shared::error::given;
use shared::{Error, Result, Tried};
use tokio::sync::Mutex;

use crate::docker_config::DockerConfig;

/// Shared with the session that answers BuildKit, which asks for the credentials of a registry when it needs them.
#[derive(Clone)]
pub struct Credentials {
    ecr: Client,
    docker: Arc<DockerConfig>,
    /// The tokens of ECR, by region. A token is valid for twelve hours, for the registries of all accounts that the caller may use.
    tokens: Arc<Mutex<BTreeMap<String, DockerCredentials>>>,
}

impl Credentials {
    pub fn new(ecr: Client) -> Self {
        Self { ecr, docker: Arc::new(DockerConfig::of_user()), tokens: Arc::default() }
    }

    pub fn docker(&self) -> &DockerConfig {
        &self.docker
    }

    /// Returns the credentials for a registry, if there are some. A login to ECR that Docker keeps may have expired, so only a credential
    /// helper that is set for this registry comes before a token of the caller.
    ///
    /// # Errors
    /// Returns what ECR refused, and fails when a helper does not run.
    pub async fn of(&self, registry: &str) -> Result<Option<DockerCredentials>> {
        match region_of(registry) {
            Some(region) if !self.docker.has_helper_of(registry) => self.of_ecr(Some(region)).await.map(Some),
            _ => self.docker.credentials(registry).await,
        }
    }

    /// Returns a token for ECR in a region, or in that of the run.
    /// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn of_ecr(&self, region: Option<&str>) -> Result<DockerCredentials> {
        let own = self.ecr.config().region().map(ToString::to_string).unwrap_or_default();
        let region = region.unwrap_or(&own);
        let mut tokens = self.tokens.lock().await;
        if let Some(known) = tokens.get(region) {
            return Ok(known.clone());
        }
        let ecr = if region == own {
            self.ecr.clone()
        } else {
            Client::from_conf(self.ecr.config().to_builder().region(Region::new(region.to_owned())).build())
        };
        let token = token(&ecr).await?;
        tokens.insert(region.to_owned(), token.clone());
        Ok(token)
    }
}

async fn token(ecr: &Client) -> Result<DockerCredentials> {
    let said = ecr.get_authorization_token().send().await.tried("get an authorization token from ECR")?;
    let data = said.authorization_data().first();
    let token = given(data.and_then(AuthorizationData::authorization_token), "the authorization token")?;
    let text = aws_smithy_types::base64::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((user, password)) = text.as_deref().and_then(|text| text.split_once(':')) else {
        return Err(Error::failed(
            "ecr-token-form",
            "could not log in to ECR: the authorization token does not have the form user:password. Run the same command again",
        ));
    };
    Ok(DockerCredentials {
        username: Some(user.to_owned()),
        password: Some(password.to_owned()),
        serveraddress: data.and_then(AuthorizationData::proxy_endpoint).map(str::to_owned),
        ..DockerCredentials::default()
    })
}

/// Returns the region of a registry of ECR: `<account>.dkr.ecr.<region>.amazonaws.com`, `<account>.dkr.ecr-fips.<region>…`, or with dual stack
/// `<account>.dkr-ecr.<region>.on.aws`.
/// <https://docs.aws.amazon.com/general/latest/gr/ecr.html>
fn region_of(registry: &str) -> Option<&str> {
    let labels: Vec<&str> = registry.split('.').collect();
    let is_account = labels[0].len() == 12 && labels[0].chars().all(|c| c.is_ascii_digit());
    match labels[1..] {
        ["dkr", "ecr" | "ecr-fips", region, _, ..] | ["dkr-ecr" | "dkr-ecr-fips", region, _, ..] if is_account => Some(region),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::region_of;

    #[test]
    fn the_registries_of_ecr_are_recognized_with_their_region() {
        for (registry, region) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("123456789012.dkr-ecr.us-east-1.on.aws", Some("us-east-1")),
            ("dkr.ecr.eu-west-1.amazonaws.com", None),
            ("public.ecr.aws", None),
            ("ghcr.io", None),
            ("127.0.0.1:5000", None),
        ] {
            assert_eq!(region_of(registry), region, "{registry}");
        }
    }
}
