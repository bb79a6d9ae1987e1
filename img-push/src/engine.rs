//! The Docker Engine: builds, pulls and tags images.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bollard::models::{BuildInfo, BuildInfoAux, ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use shared::{Error, Result, Run};

use crate::ImgPush;
use crate::build::Build;
use crate::connection::{Engine, SESSION_CONTEXT, is_end};
use crate::credentials::Credentials;
use crate::docker_config::registry_of;
use crate::file_sync::{DOCKERFILE, FileServer, Files, Sent};
use crate::image::{Origin, WantedImage};
use crate::layer::{ARCHIVE, Layer};
use crate::session::Session;

/// Bytes of an archive in which the first file of a folder is expected, after the folders in it.
const BEGINNING: usize = 64 * 1024;

/// How many of the last lines of a failed build are shown.
const LAST_LINES: usize = 20;

/// How many builds this run has started, for the name of the next session.
static BUILDS: AtomicUsize = AtomicUsize::new(0);

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
            let engine = Engine::connect(self.credentials.docker()).await?;
            match &image.origin {
                Origin::Built(build) => {
                    let _beside_others = self.builds.read().await;
                    engine.build(run, image, build, &self.credentials).await?;
                }
                Origin::Copied(source) => engine.pull(run, image, source, &self.credentials).await?,
            }
            if let Some(layer) = &image.layer {
                // Its base is an image that only the Docker Engine has. With the containerd image store, BuildKit looks for it in a registry
                // when another build reads the same content under another name at that moment.
                let _alone = self.builds.write().await;
                engine.add_layer(run, image, layer, &self.credentials).await?;
            }
            Ok(name.clone())
        };
        run.create("image", &name, make).await.map(drop)
    }
}

impl Engine {
    /// Returns the platform of an image that the Docker Engine has, as its API writes it.
    pub async fn platform_of(&self, image: &str) -> Option<String> {
        let found: ImageInspect = self.docker.inspect_image(image).await.ok()?;
        let mut platform = json!({"os": found.os?, "architecture": found.architecture?});
        if let Some(variant) = found.variant.filter(|variant| !variant.is_empty()) {
            platform["variant"] = variant.into();
        }
        Some(platform.to_string())
    }

    /// Uses an image that the Docker Engine has, as Compose does, if it is for the platform. Pulls it otherwise.
    async fn pull(&self, run: &Run, image: &WantedImage, source: &str, credentials: &Credentials) -> Result<()> {
        let local = self.docker.inspect_image(source).await.ok().and_then(|found| Some(format!("{}/{}", found.os?, found.architecture?)));
        if local.is_none() || image.platform.is_some() && local.as_deref() != image.platform {
            let login = credentials.of(registry_of(source)).await?;
            // Without a tag the Docker Engine would pull all of them.
            let tagged = source.contains('@') || source.rsplit('/').next().is_some_and(|last| last.contains(':'));
            let options = CreateImageOptionsBuilder::new().from_image(source).tag(if tagged { "" } else { "latest" });
            let options = image.platform.iter().fold(options, |options, platform| options.platform(platform));
            let mut stream = std::pin::pin!(self.docker.create_image(Some(options.build()), None, login));
            while let Some(said) = stream.next().await {
                run.check()?;
                let Some(error) = said.err().filter(|error| !is_end(error)) else { continue };
                return Err(Error::failed(
                    "pull-failed",
                    format!(
                        "could not pull {source} for services.{}: {error}. Correct the name, or log in to its registry with `docker login`, and run the same command again",
                        image.service
                    ),
                ));
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
        self.docker.tag_image(source, Some(names)).await.map_err(|error| {
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
        let Ok(container) = self.docker.create_container(None, config).await else { return Vec::new() };
        let mut with = Vec::new();
        for folder in folders {
            if self.has_files(&container.id, folder).await {
                with.push(folder.clone());
            }
        }
        // Volumes that the image declares are deleted with it.
        let _ = self.docker.remove_container(&container.id, Some(RemoveContainerOptionsBuilder::new().v(true).build())).await;
        with
    }

    /// Reads the beginning of the folder's archive.
    async fn has_files(&self, container: &str, folder: &str) -> bool {
        let options = DownloadFromContainerOptionsBuilder::new().path(&format!("{folder}/.")).build();
        let mut stream = std::pin::pin!(self.docker.download_from_container(container, Some(options)));
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

    async fn build(&self, run: &Run, image: &WantedImage, build: &Build, credentials: &Credentials) -> Result<()> {
        let session = Session {
            files: FileServer(Arc::new(build.context.to_send()?)),
            credentials: credentials.clone(),
            secrets: build.secrets.clone(),
            ssh: build.ssh,
        };
        let map = |pairs: &BTreeMap<String, String>| pairs.clone().into_iter().collect::<HashMap<_, _>>();
        let mut options = BuildImageOptionsBuilder::new();
        options = options.buildargs(&map(&build.args)).labels(&map(&build.labels)).cachefrom(&build.cache_from);
        options = build.target.iter().fold(options, |options, target| options.target(target));
        let Some(why) = self.build_in(run, (image, &image.base_name()), session, options).await? else { return Ok(()) };
        Err(Error::failed(
            "build-failed",
            format!(
                "could not build the image of services.{} from {}: {why}\nFix the build and run the same command again. Nothing was pushed for this service",
                image.service,
                build.context.root.display(),
            ),
        ))
    }

    /// Builds the image with the service's files on the image without them.
    async fn add_layer(&self, run: &Run, image: &WantedImage, layer: &Layer, credentials: &Credentials) -> Result<()> {
        let dockerfile = format!("FROM {}\nADD {ARCHIVE} /\n", image.base_name());
        let files = Files { context: vec![Sent::of_layer(layer)], dockerfile };
        let (files, credentials) = (FileServer(Arc::new(files)), credentials.clone());
        let session = Session { files, credentials, secrets: BTreeMap::new(), ssh: false };
        let options = BuildImageOptionsBuilder::new();
        let Some(why) = self.build_in(run, (image, &image.local_name()), session, options).await? else { return Ok(()) };
        Err(Error::failed(
            "files-not-added",
            format!(
                "could not add the configs and files of services.{} to its image: {why}\nFix the cause and run the same command again. Nothing was pushed for this service",
                image.service,
            ),
        ))
    }

    /// Builds an image of this name with what the session answers. Returns why the build failed, if it did, and the last lines that it printed.
    async fn build_in(
        &self,
        run: &Run,
        (image, name): (&WantedImage, &str),
        session: Session,
        options: BuildImageOptionsBuilder,
    ) -> Result<Option<String>> {
        let build = BUILDS.fetch_add(1, Ordering::Relaxed);
        let id = format!("ecs-pipe-{}-{build}-{}", std::process::id(), image.tag);
        session.open(&self.host, &id).await.map_err(|error| self.unreachable(&error))?;
        // bollard would open a session of its own for a build with BuildKit. `Engine::connect` sets the version of this one.
        let options = options.t(name).dockerfile(DOCKERFILE).session(&id).remote(SESSION_CONTEXT);
        let options = image.platform.iter().fold(options, |options, platform| options.platform(platform));
        let body = bollard::body_full(Bytes::new());
        let mut stream = std::pin::pin!(self.docker.build_image(options.build(), None, Some(body)));
        let mut log = Vec::new();
        while let Some(said) = stream.next().await {
            run.check()?;
            let failed = match said {
                Ok(info) => {
                    log.extend(lines(&info));
                    info.error_detail.and_then(|detail| detail.message)
                }
                Err(error) if is_end(&error) => break,
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = failed {
                return Ok(Some(last_lines(why, &log)));
            }
        }
        let made = self.docker.inspect_image(name).await;
        Ok(made.err().map(|_| last_lines("the Docker Engine ended the build without an image".to_owned(), &log)))
    }
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
