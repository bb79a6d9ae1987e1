//! A service's build: what is asked for, its hash, and the build itself through the Docker Engine.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bollard::grpc::build::{ImageBuildFrontendOptionsBuilder, ImageBuildLoadInput, ImageBuildPlatform, SecretSource};
use bollard::grpc::driver::Build as _;
use bollard::grpc::driver::moby::Moby;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use shared::doc::{At, Document};
use shared::{Error, Result, Run};

use crate::context::{Context, DOCKERFILE};
use crate::engine::Engine;
use crate::wish::Wish;

/// Compose's `build`. <https://github.com/compose-spec/compose-spec/blob/main/build.md>
#[derive(Debug, Default)]
pub struct Build {
    context: Context,
    args: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    target: Option<String>,
    cache_from: Vec<String>,
    /// By id; only BuildKit sees them, for the time of a `RUN --mount=type=secret`.
    secrets: BTreeMap<String, SecretSource>,
    /// Whether `RUN --mount=type=ssh` may ask the SSH agent.
    ssh: bool,
}

impl Build {
    /// Reads `build` in its short and its long form.
    pub fn read(doc: &Document, build: &At<'_>) -> Result<Self> {
        if build.value().is_string() {
            return Ok(Self { context: Context::read(build, build.text()?, None, None)?, ..Self::default() });
        }
        for (key, place) in build.entries()?.into_iter().filter(|(_, place)| !place.value().is_null()) {
            match key {
                "context" | "dockerfile" | "dockerfile_inline" | "args" | "labels" | "target" | "cache_from" | "platforms" | "secrets"
                | "ssh" => {}
                "cache_to" | "no_cache" | "pull" | "tags" | "provenance" | "sbom" => doc.warn(format!("{} has no effect", place.path())),
                key if key.starts_with("x-") => {}
                _ => return Err(place.wrong("img-push can't do this yet: build this image elsewhere and give it as `image`")),
            }
        }
        let text = |key: &str| build.key(key).map(|at| at.text()).transpose();
        if let (Some(cache), true) = (build.key("cache_from"), build.key("secrets").is_some() || build.key("ssh").is_some()) {
            doc.warn(format!("{} has no effect on a build with secrets or ssh", cache.path()));
        }
        let list = |key: &str| build.key(key).map_or_else(|| Ok(Vec::new()), |at| at.list());
        let context = Context::read(build, text("context")?.unwrap_or("."), text("dockerfile")?, text("dockerfile_inline")?)?;
        Ok(Self {
            context,
            args: build.key("args").map(|at| pairs(&at)).transpose()?.unwrap_or_default(),
            labels: build.key("labels").map(|at| pairs(&at)).transpose()?.unwrap_or_default(),
            target: text("target")?.map(str::to_owned),
            cache_from: list("cache_from")?.iter().map(|at| at.text().map(str::to_owned)).collect::<Result<_>>()?,
            secrets: list("secrets")?.iter().map(|at| secret(doc, at)).collect::<Result<_>>()?,
            ssh: build.key("ssh").is_some_and(|at| at.value().as_array().is_none_or(|list| !list.is_empty())),
        })
    }

    /// A short text that stays the same as long as all that goes into the image does. Secrets do not, and where the cache comes from changes nothing.
    pub fn hash(&self, platform: Option<&str>) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}{:?}{:?}{platform:?}", self.args, self.labels, self.target));
        self.context.hash(&mut hash)?;
        Ok(short(hash))
    }
}

/// 16 hexadecimal digits: 64 bits, as short as a git hash and safe for as many images as one app has.
pub fn short(hash: Sha256) -> String {
    let digest = hash.finalize();
    let first: [u8; 8] = std::array::from_fn(|i| digest[i]);
    format!("{:016x}", u64::from_be_bytes(first))
}

/// A name, or `{source, target}`; what it is stands at the top level, in a file or in a variable of the environment.
/// <https://github.com/compose-spec/compose-spec/blob/main/09-secrets.md>
fn secret(doc: &Document, at: &At<'_>) -> Result<(String, SecretSource)> {
    let source = if at.value().is_object() { at.key("source").ok_or_else(|| at.wrong("a secret without source"))? } else { at.clone() };
    let name = source.text()?;
    let id = at.key("target").map_or(Ok(name), |at| at.text())?.to_owned();
    let top = doc.root().key("secrets").and_then(|all| all.key(name));
    let top = top.ok_or_else(|| source.wrong(format!("there is no secret {name:?} at the top level")))?;
    if let Some(file) = top.key("file") {
        let path = PathBuf::from(file.text()?);
        return if path.is_file() { Ok((id, SecretSource::File(path))) } else { Err(file.wrong("there is no such file")) };
    }
    match top.key("environment") {
        Some(variable) if std::env::var_os(variable.text()?).is_some() => Ok((id, SecretSource::Env(variable.text()?.to_owned()))),
        Some(variable) => Err(variable.wrong("this variable of the environment is not set")),
        None => Err(top.wrong("a build takes secrets from a `file` or a variable of the `environment`")),
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

/// How many of the last lines of a failed build are shown.
const LAST_LINES: usize = 20;

impl Engine {
    pub async fn build(&self, run: &Run, wish: &Wish, build: &Build) -> Result<()> {
        let (why, log) = if build.secrets.is_empty() && !build.ssh {
            self.build_in_sight(run, wish, build).await?
        } else {
            (self.build_with_secrets(wish, build).await?, Vec::new())
        };
        let Some(why) = why else { return Ok(()) };
        let tail = log[log.len().saturating_sub(LAST_LINES)..].join("\n  ");
        let place = build.context.root.display();
        Err(Error::Failed(format!(
            "could not build the image of services.{} from {place}: {why}\n  {tail}\nMend the build and run the same command again; nothing was pushed for it",
            wish.service
        )))
    }

    /// Gives why the build failed, if it did, and what it said.
    async fn build_in_sight(&self, run: &Run, wish: &Wish, build: &Build) -> Result<(Option<String>, Vec<String>)> {
        let map = |pairs: &BTreeMap<String, String>| pairs.clone().into_iter().collect::<HashMap<_, _>>();
        let session = format!("ecs-pipe-{}-{}", std::process::id(), wish.local_name().replace(['/', ':'], "-"));
        let mut options =
            BuildImageOptionsBuilder::new().dockerfile(DOCKERFILE).t(&wish.local_name()).version(BuilderVersion::BuilderBuildKit);
        options = options.session(&session).buildargs(&map(&build.args)).labels(&map(&build.labels)).cachefrom(&build.cache_from);
        options = build.target.iter().fold(options, |options, target| options.target(target));
        options = wish.platform.iter().fold(options, |options, platform| options.platform(platform));
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
            if failed.is_some() {
                return Ok((failed, log));
            }
        }
        Ok((None, log))
    }

    /// Only BuildKit's own protocol carries secrets; it takes the context in one piece and does not say what the steps print.
    async fn build_with_secrets(&self, wish: &Wish, build: &Build) -> Result<Option<String>> {
        let unreadable =
            |error: std::io::Error| Error::Failed(format!("could not read the build context {}: {error}", build.context.root.display()));
        let pieces: Vec<Bytes> = build.context.pieces().try_collect().await.map_err(unreadable)?;
        let mut options = ImageBuildFrontendOptionsBuilder::new().dockerfile(Path::new(DOCKERFILE)).enable_ssh(build.ssh);
        options = build.args.iter().fold(options, |options, (key, value)| options.buildarg(key, value));
        options = build.labels.iter().fold(options, |options, (key, value)| options.label(key, value));
        options = build.secrets.iter().fold(options, |options, (id, source)| options.set_secret(id, source));
        options = build.target.iter().fold(options, |options, target| options.target(target));
        if let Some((os, architecture)) = wish.platform.and_then(|platform| platform.split_once('/')) {
            options = options.platforms(&ImageBuildPlatform { architecture: architecture.to_owned(), os: os.to_owned(), variant: None });
        }
        let context = ImageBuildLoadInput::Upload(pieces.concat().into());
        let done = Moby::new(&self.0).docker_build(&wish.local_name(), options.build(), context, None, None).await;
        Ok(done.err().map(|error| error.to_string()))
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
