//! Pushes: log in to ECR, tag the image for its repository, push it, and record the digest that ECR gives it.

use aws_sdk_ecr::types::{ImageDetail, ImageIdentifier};
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use shared::doc::Image;
use shared::error::{given, made};
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use crate::ImgPush;
use crate::connection::{Engine, is_end};
use crate::image::{Wanted, WantedImage};

impl ImgPush {
    /// Gets the credentials for pushes while the images are built.
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn login_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if !run.is_planning() && wanted.images.iter().any(|image| self.is_missing(image)) {
            self.credentials.of_ecr(None).await?;
        }
        Ok(())
    }

    /// Pushes the images that ECR does not have.
    ///
    /// # Errors
    /// Returns what the Docker Engine or ECR refused.
    pub async fn pushes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let missing: Vec<&WantedImage> = wanted.images.iter().filter(|image| !run.is_planning() && self.is_missing(image)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let engine = Engine::connect(self.credentials.docker()).await?;
        each(missing, async |image| run.carry("push of", &image.local_name(), self.push(run, wanted, image, &engine)).await).await.map(drop)
    }

    /// Records all images with the digests that ECR has.
    ///
    /// # Errors
    /// Returns what ECR refused, and that a pushed image is not there.
    pub async fn digests_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(&wanted.images, async |image| {
            let digest = if run.is_planning() || !self.is_missing(image) {
                self.found.get(&image.repository).and_then(|found| found.digest.clone())
            } else {
                Some(self.listed_digest(run, image).await?)
            };
            self.record(image, &self.entry(run, image, digest)?);
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

    async fn push(&self, run: &Run, wanted: &Wanted, image: &WantedImage, engine: &Engine) -> Result<()> {
        let uri = made(self.uris.borrow().get(&image.service).map(String::as_str), "the URI of the repository")?;
        let login = self.credentials.of_ecr(None).await?;
        let target = match &wanted.settings.registry {
            Some(host) => format!("{host}/{}", image.repository),
            None => uri,
        };
        engine.tag(&image.local_name(), &target, &image.tag, image).await?;
        run.note(&format!("pushing {target}:{}", image.tag));
        // The containerd image store has images for several platforms under one name, not all of them with their layers.
        let platform = engine.platform_of(&image.local_name()).await;
        let options = PushImageOptionsBuilder::new().tag(&image.tag);
        let options = platform.iter().fold(options, |options, platform| options.platform(platform));
        let mut stream = std::pin::pin!(engine.docker.push_image(&target, Some(options.build()), Some(login)));
        while let Some(said) = stream.next().await {
            run.check()?;
            match said {
                Ok(_) => {}
                Err(error) if is_end(&error) => {}
                // Another run has pushed it meanwhile.
                Err(error) if error.to_string().contains("cannot be overwritten") => break,
                Err(error) => return Err(not_pushed(image, &target, &error)),
            }
        }
        Ok(())
    }

    /// Returns the digest that ECR has under the tag. The Docker Engine may end a push without an error and without the tag.
    async fn listed_digest(&self, run: &Run, image: &WantedImage) -> Result<String> {
        // ECR lists an image a moment after it was pushed.
        let said = while_not_yet(run, "ECR to list the pushed image", Error::is_gone, async || {
            let id = ImageIdentifier::builder().image_tag(&image.tag).build();
            let call = self.ecr.describe_images().repository_name(&image.repository).image_ids(id);
            call.send().await.tried(format!("read the image {}", image.local_name()))
        })
        .await;
        match said {
            Err(error) if error.is_gone() => Err(Error::failed(
                "push-without-tag",
                format!(
                    "could not find the image {} in ECR: the Docker Engine reported its push without an error, but ECR has no image with this tag. Update the Docker Engine, or disable its containerd image store, and run the same command again",
                    image.local_name()
                ),
            )),
            said => given(said?.image_details().first().and_then(ImageDetail::image_digest), "the digest of the image"),
        }
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
