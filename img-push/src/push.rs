//! Pushing: tag, log in with ECR's credentials, push, and the digest that ECR then knows.

use aws_sdk_ecr::types::{AuthorizationData, ImageDetail, ImageIdentifier};
use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use shared::doc::Image;
use shared::error::given;
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use crate::ImgPush;
use crate::engine::Engine;
use crate::wish::{Wanted, Wish};

impl ImgPush {
    pub async fn pushes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        for wish in wanted.images.iter().filter(|wish| run.is_planning() || !self.is_missing(wish)) {
            let digest = self.found.get(&wish.repository).and_then(|found| found.digest.clone());
            self.record(&wish.service, self.image(run, wish, digest)?);
        }
        let missing: Vec<&Wish> = wanted.images.iter().filter(|wish| !run.is_planning() && self.is_missing(wish)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let engine = self.engine().await?;
        each(missing, async |wish| {
            let digest = run.carry("push of", &wish.local_name(), self.push(run, wanted, wish, &engine)).await?;
            self.record(&wish.service, self.image(run, wish, Some(digest))?);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Whether ECR does not have the image yet.
    pub fn is_missing(&self, wish: &Wish) -> bool {
        self.found.get(&wish.repository).is_none_or(|found| found.digest.is_none())
    }

    /// Logs in while the images are built.
    pub async fn login_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if !run.is_planning() && wanted.images.iter().any(|wish| self.is_missing(wish)) {
            *self.login.borrow_mut() = self.login().await?;
        }
        Ok(())
    }

    fn image(&self, run: &Run, wish: &Wish, digest: Option<String>) -> Result<Image> {
        let uri = self.uris.borrow().get(&wish.service).cloned();
        Ok(Image {
            uri: uri.zip(digest).map(|(uri, digest)| format!("{uri}@{digest}")),
            repository_arn: Some(run.arn("ecr", &format!("repository/{}", wish.repository))?),
            tag: wish.tag.clone(),
        })
    }

    /// A token for all of the account's repositories, good for twelve hours.
    /// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>
    async fn login(&self) -> Result<DockerCredentials> {
        let said = self.ecr.get_authorization_token().send().await.tried("log in to ECR")?;
        let data = said.authorization_data().first();
        let token = given(data.and_then(AuthorizationData::authorization_token), "ECR's login")?;
        let text = aws_smithy_types::base64::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = text.as_deref().and_then(|text| text.split_once(':')) else {
            return Err(Error::Failed("ECR's login is not of the form user:password; run the same command again".to_owned()));
        };
        Ok(DockerCredentials {
            username: Some(user.to_owned()),
            password: Some(password.to_owned()),
            serveraddress: data.and_then(AuthorizationData::proxy_endpoint).map(str::to_owned),
            ..DockerCredentials::default()
        })
    }

    async fn push(&self, run: &Run, wanted: &Wanted, wish: &Wish, engine: &Engine) -> Result<String> {
        let uri = given(self.uris.borrow().get(&wish.service).map(String::as_str), "the repository's URI")?;
        let target = match &wanted.registry {
            Some(host) => format!("{host}/{}", wish.repository),
            None => uri,
        };
        let failed = |error: &bollard::errors::Error| {
            let what = format!("could not push the image of services.{} to {target}:{}: {error}", wish.service, wish.tag);
            if error.to_string().contains("not authorized to perform") {
                return Error::Denied(format!("{what}. Allow the action named there (--policy prints everything this tool needs)"));
            }
            Error::Failed(format!("{what}. The Docker Engine has it; run the same command again to push it"))
        };
        engine.tag(&wish.local_name(), &target, wish).await?;
        run.note(&format!("pushing {target}:{}", wish.tag));
        let (options, login) = (PushImageOptionsBuilder::new().tag(&wish.tag).build(), self.login.borrow().clone());
        let mut stream = std::pin::pin!(engine.0.push_image(&target, Some(options), Some(login)));
        let mut digest = None;
        while let Some(said) = stream.next().await {
            run.check()?;
            match said {
                Ok(said) => digest = said.status.as_deref().and_then(digest_of).or(digest),
                // Another run has pushed it meanwhile.
                Err(error) if error.to_string().contains("cannot be overwritten") => return self.listed_digest(run, wish).await,
                Err(error) => return Err(failed(&error)),
            }
        }
        match digest {
            Some(digest) => Ok(digest),
            None => self.listed_digest(run, wish).await,
        }
    }

    /// The digest as ECR lists it, from an engine that does not say it.
    async fn listed_digest(&self, run: &Run, wish: &Wish) -> Result<String> {
        // An image is listed a moment after it was pushed.
        let said = while_not_yet(run, "ECR to list the pushed image", Error::is_gone, async || {
            let id = ImageIdentifier::builder().image_tag(&wish.tag).build();
            let call = self.ecr.describe_images().repository_name(&wish.repository).image_ids(id);
            call.send().await.tried(format!("look for the image {}", wish.local_name()))
        })
        .await?;
        given(said.image_details().first().and_then(ImageDetail::image_digest), "the image's digest")
    }
}

/// The Docker Engine's last word of a push: `<tag>: digest: sha256:… size: 1234`.
fn digest_of(status: &str) -> Option<String> {
    let (_, said) = status.split_once("digest: ")?;
    said.split_whitespace().next().filter(|digest| digest.starts_with("sha256:")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn the_digest_is_in_the_last_word() {
        assert_eq!(digest_of("f78b: digest: sha256:73202 size: 734").as_deref(), Some("sha256:73202"));
        assert_eq!(digest_of("Pushed"), None);
    }
}
