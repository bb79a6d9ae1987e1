//! The Docker Engine: builds, pulls and tags images.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use bollard::Docker;
use bollard::grpc::build::{ImageBuildFrontendOptionsBuilder, ImageBuildLoadInput, ImageBuildPlatform};
use bollard::grpc::driver::Build as _;
use bollard::grpc::driver::moby::Moby;
use bollard::models::{BuildInfo, BuildInfoAux, ContainerCreateBody};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, BuilderVersion, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
    RemoveContainerOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use shared::{Error, Result, Run};

use crate::ImgPush;
use crate::build::Build;
use crate::context::{DOCKERFILE, written};
use crate::image::{Origin, WantedImage};
use crate::layer::{ARCHIVE, Layer};

/// A connection to the Docker Engine.
pub struct Engine(pub Docker);

/// Bytes of an archive in which the first file of a folder is expected, after the folders in it.
const BEGINNING: usize = 64 * 1024;

/// How many of the last lines of a failed build are shown.
const LAST_LINES: usize = 20;

impl ImgPush {
    /// Builds or pulls the image, unless ECR has it.
    ///
    /// # Errors
    /// Returns what the Docker Engine or BuildKit refused.
    pub async fn image_up(&self, run: &Run, image: &WantedImage) -> Result<()> {
        let name = image.local_name();
        if !self.is_missing(image) {
            run.found("image", name);
            return Ok(());
        }
        let make = async {
            let engine = Engine::connect().await?;
            match &image.origin {
                Origin::Built(build) => engine.build(run, image, build).await?,
                Origin::Copied(source) => engine.pull(run, image, source).await?,
            }
            if let Some(layer) = &image.layer {
                engine.add_layer(run, image, layer).await?;
            }
            Ok(name.clone())
        };
        run.create("image", &name, make).await.map(drop)
    }
}

impl Engine {
    /// Connects to the Docker Engine of `DOCKER_HOST`, or to the local one.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] when it does not answer.
    pub async fn connect() -> Result<Self> {
        let unreachable = |error: bollard::errors::Error| {
            let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
            Error::unavailable(
                "no-docker-engine",
                format!(
                    "could not reach the Docker Engine at {host}: {error}. Start the Docker Engine, or set DOCKER_HOST to its address. Then run the same command again"
                ),
            )
        };
        let docker = Docker::connect_with_defaults().map_err(unreachable)?;
        docker.ping().await.map_err(unreachable)?;
        Ok(Self(docker))
    }

    /// Uses an image that the Docker Engine has, as Compose does, if it is for the platform. Pulls it otherwise.
    async fn pull(&self, run: &Run, image: &WantedImage, source: &str) -> Result<()> {
        let local = self.0.inspect_image(source).await.ok().and_then(|found| Some(format!("{}/{}", found.os?, found.architecture?)));
        if local.is_none() || image.platform.is_some() && local.as_deref() != image.platform {
            // Without a tag the Docker Engine would pull all of them.
            let tagged = source.contains('@') || source.rsplit('/').next().is_some_and(|last| last.contains(':'));
            let options = CreateImageOptionsBuilder::new().from_image(source).tag(if tagged { "" } else { "latest" });
            let options = image.platform.iter().fold(options, |options, platform| options.platform(platform));
            let mut stream = std::pin::pin!(self.0.create_image(Some(options.build()), None, None));
            while let Some(said) = stream.next().await {
                run.check()?;
                said.map_err(|error| {
                    Error::failed(
                        "pull-failed",
                        format!(
                            "could not pull {source} for services.{}: {error}. Correct the name, or pull it with `docker pull {source}`, and run the same command again",
                            image.service
                        ),
                    )
                })?;
            }
        }
        self.tag(source, &image.repository, image.base_tag(), image).await
    }

    /// Gives an image that the Docker Engine has the name of a repository and a tag.
    ///
    /// # Errors
    /// Returns what the Docker Engine refused.
    pub async fn tag(&self, source: &str, repository: &str, tag: &str, image: &WantedImage) -> Result<()> {
        let names = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        self.0.tag_image(source, Some(names)).await.map_err(|error| {
            Error::failed(
                "image-not-tagged",
                format!("could not tag {source} as {repository}:{tag} for services.{}: {error}. Run the same command again", image.service),
            )
        })
    }

    /// Returns those of these folders in which the image has files. What the Docker Engine does not answer is taken for an empty folder.
    pub async fn with_files(&self, image: &str, folders: &[String]) -> Vec<String> {
        if folders.is_empty() {
            return Vec::new();
        }
        // Files are read from a container, which is never started. It needs a command, and an image may have none.
        let config =
            ContainerCreateBody { image: Some(image.to_owned()), cmd: Some(vec!["-".to_owned()]), ..ContainerCreateBody::default() };
        let Ok(container) = self.0.create_container(None, config).await else { return Vec::new() };
        let mut with = Vec::new();
        for folder in folders {
            if self.has_files(&container.id, folder).await {
                with.push(folder.clone());
            }
        }
        // Volumes that the image declares are deleted with it.
        let _ = self.0.remove_container(&container.id, Some(RemoveContainerOptionsBuilder::new().v(true).build())).await;
        with
    }

    /// Reads the beginning of the folder's archive.
    async fn has_files(&self, container: &str, folder: &str) -> bool {
        let options = DownloadFromContainerOptionsBuilder::new().path(&format!("{folder}/.")).build();
        let mut stream = std::pin::pin!(self.0.download_from_container(container, Some(options)));
        let mut beginning = Vec::new();
        while let Some(Ok(bytes)) = stream.next().await {
            beginning.extend_from_slice(&bytes);
            if beginning.len() > BEGINNING {
                break;
            }
        }
        let mut archive = tar::Archive::new(beginning.as_slice());
        archive.entries().is_ok_and(|entries| entries.flatten().any(|entry| !entry.header().entry_type().is_dir()))
    }

    async fn build(&self, run: &Run, image: &WantedImage, build: &Build) -> Result<()> {
        let (why, log) = if build.needs_session() {
            (self.build_with_session(image, build).await?, Vec::new())
        } else {
            self.build_with_log(run, image, build).await?
        };
        let Some(why) = why else { return Ok(()) };
        let said = last_lines(why, &log);
        Err(Error::failed(
            "build-failed",
            format!(
                "could not build the image of services.{} from {}: {said}\nFix the build and run the same command again. Nothing was pushed for this service",
                image.service,
                build.context.root.display()
            ),
        ))
    }

    /// Builds an image. Returns why the build failed, if it did, and what it printed.
    async fn build_with_log(&self, run: &Run, image: &WantedImage, build: &Build) -> Result<(Option<String>, Vec<String>)> {
        let map = |pairs: &BTreeMap<String, String>| pairs.clone().into_iter().collect::<HashMap<_, _>>();
        let mut options = options(&image.base_name());
        options = options.buildargs(&map(&build.args)).labels(&map(&build.labels)).cachefrom(&build.cache_from);
        options = build.target.iter().fold(options, |options, target| options.target(target));
        options = image.platform.iter().fold(options, |options, platform| options.platform(platform));
        self.follow(run, options, build.context.pieces()).await
    }

    /// Builds the image with the service's files on the image without them.
    async fn add_layer(&self, run: &Run, image: &WantedImage, layer: &Layer) -> Result<()> {
        let dockerfile = format!("FROM {}\nADD {ARCHIVE} /\n", image.base_name());
        let options = image.platform.iter().fold(options(&image.local_name()), |options, platform| options.platform(platform));
        let layer = layer.clone();
        let pieces = written(move |out| layer.write_context((DOCKERFILE, &dockerfile), out));
        let (why, log) = self.follow(run, options, pieces).await?;
        let Some(why) = why else { return Ok(()) };
        Err(Error::failed(
            "files-not-added",
            format!(
                "could not add the configs and files of services.{} to its image: {}\nFix the cause and run the same command again. Nothing was pushed for this service",
                image.service,
                last_lines(why, &log)
            ),
        ))
    }

    /// Sends a build context and reads what the build prints. Returns why the build failed, if it did, and what it printed.
    async fn follow(
        &self,
        run: &Run,
        options: BuildImageOptionsBuilder,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(Option<String>, Vec<String>)> {
        let mut stream = std::pin::pin!(self.0.build_image(options.build(), None, Some(bollard::body_try_stream(pieces))));
        let mut log = Vec::new();
        while let Some(said) = stream.next().await {
            run.check()?;
            let failed = match said {
                Ok(info) => {
                    log.extend(lines(&info));
                    info.error_detail.and_then(|detail| detail.message)
                }
                Err(error) => Some(error.to_string()),
            };
            if failed.is_some() {
                return Ok((failed, log));
            }
        }
        Ok((None, log))
    }

    /// Builds an image with secrets or SSH, which only BuildKit's own protocol carries. It takes the context in one piece and does not
    /// return what the steps print.
    async fn build_with_session(&self, image: &WantedImage, build: &Build) -> Result<Option<String>> {
        let pieces: Vec<Bytes> = build.context.pieces().try_collect().await.map_err(|error| build.context.unreadable(&error))?;
        let mut options = ImageBuildFrontendOptionsBuilder::new().dockerfile(Path::new(DOCKERFILE)).enable_ssh(build.ssh);
        options = build.args.iter().fold(options, |options, (key, value)| options.buildarg(key, value));
        options = build.labels.iter().fold(options, |options, (key, value)| options.label(key, value));
        options = build.secrets.iter().fold(options, |options, (id, source)| options.set_secret(id, source));
        options = build.target.iter().fold(options, |options, target| options.target(target));
        if let Some((os, architecture)) = image.platform.and_then(|platform| platform.split_once('/')) {
            options = options.platforms(&ImageBuildPlatform { architecture: architecture.to_owned(), os: os.to_owned(), variant: None });
        }
        let context = ImageBuildLoadInput::Upload(pieces.concat().into());
        let done = Moby::new(&self.0).docker_build(&image.base_name(), options.build(), context, None, None).await;
        Ok(done.err().map(|error| error.to_string()))
    }
}

/// Returns the options of a build with BuildKit that has this name.
fn options(name: &str) -> BuildImageOptionsBuilder {
    let session = format!("ecs-pipe-{}-{}", std::process::id(), name.replace(['/', ':'], "-"));
    BuildImageOptionsBuilder::new().dockerfile(DOCKERFILE).t(name).version(BuilderVersion::BuilderBuildKit).session(&session)
}

/// Returns why a build failed with the last lines that it printed.
fn last_lines(why: String, log: &[String]) -> String {
    [&[why], &log[log.len().saturating_sub(LAST_LINES)..]].concat().join("\n  ")
}

/// Returns the steps that BuildKit reports, and what they print.
fn lines(info: &BuildInfo) -> Vec<String> {
    match &info.aux {
        Some(BuildInfoAux::BuildKit(status)) => {
            let steps =
                status.vertexes.iter().filter(|step| step.started.is_some() && step.completed.is_none()).map(|step| step.name.clone());
            let output =
                status.logs.iter().flat_map(|log| String::from_utf8_lossy(&log.msg).lines().map(str::to_owned).collect::<Vec<_>>());
            steps.chain(output).collect()
        }
        _ => info.stream.iter().flat_map(|text| text.lines().map(str::to_owned)).collect(),
    }
}
