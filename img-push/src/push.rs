//! Pushes: log in to ECR, tag the image for its repository, push it, and record the digest that ECR gives it.

use aws_sdk_ecr::types::{AuthorizationData, ImageDetail, ImageIdentifier};
use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use shared::doc::Image;
use shared::error::{given, made};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use crate::ImgPush;
use crate::engine::Engine;
use crate::image::{Wanted, WantedImage};

impl ImgPush {
    /// Gets the credentials for pushes while the images are built.
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn login_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if !run.is_planning() && wanted.images.iter().any(|image| self.is_missing(image)) {
            *self.login.borrow_mut() = Some(self.login().await?);
        }
        Ok(())
    }

    /// Returns a token for all repositories of the account, valid for twelve hours.
    /// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>
    pub async fn login(&self) -> Result<DockerCredentials> {
        let said = self.ecr.get_authorization_token().send().await.tried("get an authorization token from ECR")?;
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

    /// Records the images that ECR has, and pushes the others.
    ///
    /// # Errors
    /// Returns what the Docker Engine or ECR refused.
    pub async fn pushes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        for image in wanted.images.iter().filter(|image| run.is_planning() || !self.is_missing(image)) {
            let digest = self.found.get(&image.repository).and_then(|found| found.digest.clone());
            self.record(image, &self.entry(run, image, digest)?);
        }
        let missing: Vec<&WantedImage> = wanted.images.iter().filter(|image| !run.is_planning() && self.is_missing(image)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let engine = Engine::connect().await?;
        each(missing, async |image| {
            let digest = run.carry("push of", &image.local_name(), self.push(run, wanted, image, &engine)).await?;
            self.record(image, &self.entry(run, image, Some(digest))?);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Returns the entry of the services that use an image.
    fn entry(&self, run: &Run, image: &WantedImage, digest: Option<String>) -> Result<Image> {
        let uri = self.uris.borrow().get(&image.service).cloned();
        Ok(Image {
            uri: uri.zip(digest).map(|(uri, digest)| format!("{uri}@{digest}")),
            repository_arn: Some(run.arn("ecr", &format!("repository/{}", image.repository))?),
            tag: image.tag.clone(),
            files: image.layer.iter().flat_map(|layer| layer.targets.clone()).collect(),
            ..Image::default()
        })
    }

    /// Pushes one image and returns its digest.
    async fn push(&self, run: &Run, wanted: &Wanted, image: &WantedImage, engine: &Engine) -> Result<String> {
        let uri = made(self.uris.borrow().get(&image.service).map(String::as_str), "the URI of the repository")?;
        let login = made(self.login.borrow().as_ref(), "the authorization token of ECR")?;
        let target = match &wanted.settings.registry {
            Some(host) => format!("{host}/{}", image.repository),
            None => uri,
        };
        engine.tag(&image.local_name(), &target, &image.tag, image).await?;
        run.note(&format!("pushing {target}:{}", image.tag));
        let options = PushImageOptionsBuilder::new().tag(&image.tag).build();
        let mut stream = std::pin::pin!(engine.0.push_image(&target, Some(options), Some(login)));
        let mut digest = None;
        while let Some(said) = stream.next().await {
            run.check()?;
            match said {
                Ok(said) => digest = said.status.as_deref().and_then(digest_of).or(digest),
                // Another run has pushed it meanwhile.
                Err(error) if error.to_string().contains("cannot be overwritten") => return self.listed_digest(run, image).await,
                Err(error) => return Err(not_pushed(image, &target, &error)),
            }
        }
        match digest {
            Some(digest) => Ok(digest),
            None => self.listed_digest(run, image).await,
        }
    }

    /// Returns the digest as ECR lists it, when the Docker Engine did not print it.
    async fn listed_digest(&self, run: &Run, image: &WantedImage) -> Result<String> {
        // ECR lists an image a moment after it was pushed.
        let said = while_not_yet(run, "ECR to list the pushed image", Error::is_gone, async || {
            let id = ImageIdentifier::builder().image_tag(&image.tag).build();
            let call = self.ecr.describe_images().repository_name(&image.repository).image_ids(id);
            call.send().await.tried(format!("read the image {}", image.local_name()))
        })
        .await?;
        given(said.image_details().first().and_then(ImageDetail::image_digest), "the digest of the image")
    }
}

fn not_pushed(image: &WantedImage, target: &str, error: &bollard::errors::Error) -> Error {
    let what = format!("could not push the image of services.{} to {target}:{}: {error}", image.service, image.tag);
    if error.to_string().contains("not authorized to perform") {
        return Error::denied(
            "push-denied",
            format!(
                "{what}. Allow the denied action for these credentials, or use other credentials. --policy prints all permissions that this tool needs"
            ),
        );
    }
    Error::failed("push-failed", format!("{what}. The Docker Engine has the image. Run the same command again to push it"))
}

/// Reads the digest in the last line that the Docker Engine prints of a push: `<tag>: digest: sha256:… size: 1234`.
fn digest_of(status: &str) -> Option<String> {
    let (_, said) = status.split_once("digest: ")?;
    said.split_whitespace().next().filter(|digest| digest.starts_with("sha256:")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn the_last_line_of_a_push_has_the_digest() {
        for (status, digest) in [
            ("f78b: digest: sha256:73202 size: 734", Some("sha256:73202")),
            ("f78b: digest: md5:73202 size: 734", None),
            ("f78b: digest: ", None),
            ("Pushed", None),
        ] {
            assert_eq!(digest_of(status).as_deref(), digest, "{status}");
        }
    }
}
