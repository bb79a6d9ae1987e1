//! What is asked of the images: `x-img` and its flags, and each service's `build`.

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::doc::{At, Selection, platform};
use shared::{Document, Error, Result};

use crate::build::{Build, short};

/// `x-img`
#[derive(Debug, Clone, Args, Serialize, Deserialize, JsonSchema)]
pub struct Flags {
    /// Images to keep in a repository, the newest [default: 30]
    #[arg(long)]
    keep: Option<u32>,
    /// Days after which an untagged image goes [default: 7]
    #[arg(long)]
    untagged_days: Option<u32>,
    /// Refuse to overwrite a tag [default: true]
    #[arg(long)]
    immutable: Option<bool>,
    /// Scan images for vulnerabilities when they are pushed [default: true]
    #[arg(long)]
    scan: Option<bool>,
    /// KMS key that encrypts new repositories [default: AWS's own key for ECR]
    #[arg(long, value_name = "ARN")]
    kms_key: Option<String>,
    /// Tag of the images, as a git commit [default: a hash of all that goes into the build]
    #[arg(id = "tag_images", long = "tag-images", value_name = "TAG")]
    tag: Option<String>,
    /// Copy images that are not built into ECR as well, so that AWS needs no other registry [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    mirror: Option<bool>,
    /// Push by way of this host instead of the one that ECR names (a private endpoint)
    #[arg(long, value_name = "HOST", env = "ECS_PIPE_REGISTRY")]
    registry: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    #[schemars(skip)]
    selection: Selection,
}

/// One image that there is to be in ECR.
#[derive(Debug)]
pub struct Wish {
    pub service: String,
    /// `<app>/<service>`, in the letters that ECR takes.
    pub repository: String,
    pub tag: String,
    /// In Docker's words.
    pub platform: Option<&'static str>,
    pub origin: Origin,
}

#[derive(Debug)]
pub enum Origin {
    Built(Build),
    /// From another registry, by this name.
    Copied(String),
}

impl Wish {
    /// The name under which the Docker Engine keeps the image until it is pushed.
    pub fn local_name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// The image of a service, unless it is used as it is. Without a tag of the user's own, the tag is a hash of all that goes into the image.
    fn read(doc: &Document, service: &str, at: &At<'_>, tag: Option<&str>, mirror: bool) -> Result<Option<Self>> {
        let platform = platform(at, doc.view("cluster")?.as_ref())?;
        let origin = match (at.key("build"), at.key("image")) {
            (Some(build), _) => Origin::Built(Build::read(doc, &build)?),
            (None, Some(image)) if mirror => Origin::Copied(image.text()?.to_owned()),
            _ => return Ok(None),
        };
        let tag = match (tag, &origin) {
            (Some(tag), _) => tag.to_owned(),
            (None, Origin::Built(build)) => build.hash(platform)?,
            (None, Origin::Copied(image)) => short(Sha256::new().chain_update(format!("{image}{platform:?}"))),
        };
        let repository = format!("{}/{}", doc.name()?, service.to_lowercase());
        if !is_repository(&repository) {
            return Err(at.wrong(format!(
                "{repository:?} can't name a repository: ECR takes letters and digits with one hyphen or underscore between them"
            )));
        }
        Ok(Some(Self { service: service.to_owned(), repository, tag, platform, origin }))
    }
}

/// The wishes, checked.
pub struct Wanted {
    pub keep: u32,
    pub untagged_days: u32,
    pub immutable: bool,
    pub scan: bool,
    pub kms_key: Option<String>,
    pub registry: Option<String>,
    pub images: Vec<Wish>,
    /// Services of the document that this run leaves alone.
    pub unselected: Vec<String>,
}

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let wish = doc.wish(&doc.root(), "x-img", flags)?;
        if let Some(tag) = wish.tag.as_deref().filter(|tag| !is_tag(tag)) {
            return Err(Error::document(
                if flags.tag.is_some() { "--tag-images" } else { "x-img.tag" },
                format!("{tag:?} can't tag an image: 1 to 128 letters, digits, dots, hyphens and underscores, no dot or hyphen first"),
            ));
        }
        let (tag, mirror) = (wish.tag.as_deref(), wish.mirror.unwrap_or(false));
        let mut images = Vec::new();
        for (service, at) in doc.services(&flags.selection)? {
            images.extend(Wish::read(doc, service, &at, tag, mirror)?);
        }
        for (n, wish) in images.iter().enumerate() {
            if let Some(other) = images[..n].iter().find(|other: &&Wish| other.repository == wish.repository) {
                let (service, repository) = (&wish.service, &wish.repository);
                return Err(Error::document(
                    format!("services.{service}"),
                    format!("its repository would be {repository}, which is that of services.{}: rename one", other.service),
                ));
            }
        }
        Ok(Self {
            keep: at_least_one("keep", wish.keep.unwrap_or(30))?,
            untagged_days: at_least_one("untagged_days", wish.untagged_days.unwrap_or(7))?,
            immutable: wish.immutable.unwrap_or(true),
            scan: wish.scan.unwrap_or(true),
            kms_key: wish.kms_key,
            registry: wish.registry,
            images,
            unselected: doc
                .services(&Selection::default())?
                .into_iter()
                .map(|(service, _)| service.to_owned())
                .filter(|service| !flags.selection.takes(service))
                .collect(),
        })
    }
}

fn at_least_one(key: &str, value: u32) -> Result<u32> {
    if value > 0 { Ok(value) } else { Err(Error::document(format!("x-img.{key}"), "must be 1 at least")) }
}

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html>
fn is_repository(name: &str) -> bool {
    let alone = |c: char| matches!(c, '.' | '_' | '-' | '/');
    name.split(alone).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !tag.starts_with(['.', '-'])
}
