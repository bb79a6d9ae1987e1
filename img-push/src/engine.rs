//! The Docker Engine: what an image is made with.

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;
use shared::{Error, Result, Run};

use crate::ImgPush;
use crate::wish::{Origin, Wish};

pub struct Engine(pub Docker);

impl ImgPush {
    pub async fn engine(&self) -> Result<Engine> {
        let unreachable = |error: bollard::errors::Error| {
            let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
            Error::Unavailable(format!(
                "no Docker Engine answers at {host} ({error}): start it, or set DOCKER_HOST, and run the same command again"
            ))
        };
        let docker = Docker::connect_with_defaults().map_err(unreachable)?;
        docker.ping().await.map_err(unreachable)?;
        Ok(Engine(docker))
    }

    /// Builds or fetches what ECR does not have yet.
    pub async fn image_up(&self, run: &Run, wish: &Wish) -> Result<()> {
        let name = wish.local_name();
        if !self.is_missing(wish) {
            run.found("image", name);
            return Ok(());
        }
        let make = async {
            let engine = self.engine().await?;
            match &wish.origin {
                Origin::Built(build) => engine.build(run, wish, build).await?,
                Origin::Copied(image) => engine.fetch(run, wish, image).await?,
            }
            Ok(name.clone())
        };
        run.create("image", &name, make).await.map(drop)
    }
}

impl Engine {
    /// Takes an image that is here already, as Compose does, if it is for the platform; or pulls it.
    async fn fetch(&self, run: &Run, wish: &Wish, image: &str) -> Result<()> {
        let here = self.0.inspect_image(image).await.ok().and_then(|image| Some(format!("{}/{}", image.os?, image.architecture?)));
        if here.is_none() || wish.platform.is_some() && here.as_deref() != wish.platform {
            // Without a tag the engine would pull all of them.
            let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
            let options = CreateImageOptionsBuilder::new().from_image(image).tag(if tagged { "" } else { "latest" });
            let options = wish.platform.iter().fold(options, |options, platform| options.platform(platform));
            let mut stream = std::pin::pin!(self.0.create_image(Some(options.build()), None, None));
            while let Some(said) = stream.next().await {
                run.check()?;
                said.map_err(|error| {
                    Error::Failed(format!(
                        "could not pull {image} for services.{}: {error}. See that the name is right and the Docker Engine may pull it (docker pull {image}), and run the same command again",
                        wish.service
                    ))
                })?;
            }
        }
        self.tag(image, &wish.repository, wish).await
    }

    /// Gives an image that the engine has another name; its tag stays the wish's.
    pub async fn tag(&self, image: &str, repository: &str, wish: &Wish) -> Result<()> {
        let names = TagImageOptionsBuilder::new().repo(repository).tag(&wish.tag).build();
        self.0.tag_image(image, Some(names)).await.map_err(|error| {
            Error::Failed(format!(
                "could not tag {image} as {repository}:{} for services.{}: {error}. Run the same command again",
                wish.tag, wish.service
            ))
        })
    }
}
