//! A service's build: what is asked for, its hash, and the build itself through the Docker Engine.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use shared::doc::{At, Document};
use shared::{Error, Result, Run};

use crate::ImgPush;
use crate::context::{Context, DOCKERFILE};

/// Compose's `build`. <https://github.com/compose-spec/compose-spec/blob/main/build.md>
#[derive(Debug)]
pub struct Build {
    pub service: String,
    /// `<app>/<service>`, in the letters that ECR takes.
    pub repository: String,
    pub tag: String,
    context: Context,
    args: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    target: Option<String>,
    platform: Option<String>,
    cache_from: Vec<String>,
}

impl Build {
    /// Reads `build` in its short and its long form, and hashes all that goes into it unless a tag is given.
    pub fn read(doc: &Document, service: &str, at: &At<'_>, build: &At<'_>, tag: Option<&str>) -> Result<Self> {
        let app = doc.name()?;
        if build.value().is_string() {
            let context = Context::read(build, build.text()?, None, None)?;
            return Self { context, ..Self::new(app, service, at)? }.tagged(tag);
        }
        for (key, place) in build.entries()?.into_iter().filter(|(_, place)| !place.value().is_null()) {
            match key {
                "context" | "dockerfile" | "dockerfile_inline" | "args" | "labels" | "target" | "cache_from" | "platforms" => {}
                "cache_to" | "no_cache" | "pull" | "tags" | "provenance" | "sbom" => doc.warn(format!("{} has no effect", place.path())),
                key if key.starts_with("x-") => {}
                _ => return Err(place.wrong("img-push can't do this yet: build this image elsewhere and give it as `image`")),
            }
        }
        let folder = build.key("context");
        let folder = folder.as_ref().map_or(Ok("."), At::text)?;
        let inline = build.key("dockerfile_inline").map(|at| at.text()).transpose()?;
        let dockerfile = build.key("dockerfile").map(|at| at.text()).transpose()?;
        let mut this = Self { context: Context::read(build, folder, dockerfile, inline)?, ..Self::new(app, service, at)? };
        this.args = build.key("args").map(|at| pairs(&at)).transpose()?.unwrap_or_default();
        this.labels = build.key("labels").map(|at| pairs(&at)).transpose()?.unwrap_or_default();
        this.target = build.key("target").map(|at| at.text().map(str::to_owned)).transpose()?;
        if let Some(list) = build.key("cache_from") {
            this.cache_from = list.list()?.iter().map(|at| at.text().map(str::to_owned)).collect::<Result<_>>()?;
        }
        if let Some(list) = build.key("platforms") {
            let platforms = list.list()?;
            let [one] = platforms.as_slice() else { return Err(list.wrong("one platform an image: ECS tasks run on one")) };
            this.platform = Some(one.text()?.to_owned());
        }
        this.tagged(tag)
    }

    fn new(app: &str, service: &str, at: &At<'_>) -> Result<Self> {
        Ok(Self {
            service: service.to_owned(),
            repository: format!("{app}/{}", service.to_lowercase()),
            tag: String::new(),
            context: Context::default(),
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            platform: at.key("platform").map(|at| at.text().map(str::to_owned)).transpose()?,
            cache_from: Vec::new(),
        })
    }

    fn tagged(mut self, tag: Option<&str>) -> Result<Self> {
        self.tag = match tag {
            Some(tag) => tag.to_owned(),
            None => self.hash()?,
        };
        Ok(self)
    }

    /// Where the cache comes from changes nothing in the image, so it does not count.
    fn hash(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}{:?}{:?}{:?}", self.args, self.labels, self.target, self.platform));
        self.context.hash(&mut hash)?;
        let digest = hash.finalize();
        // 16 hexadecimal digits: 64 bits, as short as a git hash and safe for as many images as one app has.
        let first: [u8; 8] = std::array::from_fn(|i| digest[i]);
        Ok(format!("{:016x}", u64::from_be_bytes(first)))
    }

    /// The name under which the Docker Engine keeps the built image until it is pushed.
    pub fn local_name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// `{"A": "b"}` or `["A=b"]`; a name without a value takes it from the environment, as Compose does.
fn pairs(at: &At<'_>) -> Result<BTreeMap<String, String>> {
    let from_environment = |key: &str| std::env::var(key).ok().map(|value| (key.to_owned(), value));
    if at.value().is_array() {
        let mut pairs = BTreeMap::new();
        for item in at.list()? {
            pairs.extend(match item.text()?.split_once('=') {
                Some((key, value)) => Some((key.to_owned(), value.to_owned())),
                None => from_environment(item.text()?),
            });
        }
        return Ok(pairs);
    }
    let entry = |(key, value): (&str, At<'_>)| {
        if value.value().is_null() { Ok(from_environment(key)) } else { value.scalar().map(|value| Some((key.to_owned(), value))) }
    };
    at.entries()?.into_iter().filter_map(|pair| entry(pair).transpose()).collect()
}

impl ImgPush {
    /// Builds what ECR does not have yet.
    pub async fn build_up(&self, run: &Run, build: &Build) -> Result<()> {
        if !self.is_missing(build) {
            run.found("image", build.local_name());
            return Ok(());
        }
        run.create("image", &build.local_name(), async { self.engine().await?.build(run, build).await.map(|()| build.local_name()) })
            .await
            .map(drop)
    }

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
}

pub struct Engine(pub Docker);

/// How many of the last lines of a failed build are shown.
const LAST_LINES: usize = 20;

impl Engine {
    async fn build(&self, run: &Run, build: &Build) -> Result<()> {
        let map = |pairs: &BTreeMap<String, String>| pairs.clone().into_iter().collect::<HashMap<_, _>>();
        let session = format!("ecs-pipe-{}-{}", std::process::id(), build.local_name().replace(['/', ':'], "-"));
        let mut options =
            BuildImageOptionsBuilder::new().dockerfile(DOCKERFILE).t(&build.local_name()).version(BuilderVersion::BuilderBuildKit);
        options = options.session(&session).buildargs(&map(&build.args)).labels(&map(&build.labels)).cachefrom(&build.cache_from);
        options = build.target.iter().fold(options, |options, target| options.target(target));
        options = build.platform.iter().fold(options, |options, platform| options.platform(platform));
        let mut stream = std::pin::pin!(self.0.build_image(options.build(), None, Some(bollard::body_try_stream(build.context.pieces()))));
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
            if let Some(why) = failed {
                let tail = log[log.len().saturating_sub(LAST_LINES)..].join("\n  ");
                let place = build.context.root.display();
                return Err(Error::Failed(format!(
                    "could not build the image of services.{} from {place}: {why}\n  {tail}\nMend the build and run the same command again; nothing was pushed for it",
                    build.service
                )));
            }
        }
        Ok(())
    }
}

/// What BuildKit says of its steps and what they print.
fn lines(info: &BuildInfo) -> Vec<String> {
    match &info.aux {
        Some(bollard::models::BuildInfoAux::BuildKit(status)) => {
            let steps =
                status.vertexes.iter().filter(|step| step.started.is_some() && step.completed.is_none()).map(|step| step.name.clone());
            let output =
                status.logs.iter().flat_map(|log| String::from_utf8_lossy(&log.msg).lines().map(str::to_owned).collect::<Vec<_>>());
            steps.chain(output).collect()
        }
        _ => info.stream.iter().flat_map(|text| text.lines().map(str::to_owned)).collect(),
    }
}
