//! What is asked of the images: `x-img` and its flags, and each service's `build`.

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::Selection;
use shared::{Document, Error, Result};

use crate::build::Build;

/// `x-img`
#[derive(Debug, Clone, Args, Serialize, Deserialize, JsonSchema)]
pub struct Flags {
    /// Tagged images to keep in a repository, the newest [default: 30]
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
    #[arg(long)]
    tag_images: Option<String>,
    /// `x-img.tag`
    #[arg(skip)]
    tag: Option<String>,
    /// Push by way of this host instead of the one that ECR names (a private endpoint)
    #[arg(long, value_name = "HOST", env = "ECS_PIPE_REGISTRY")]
    registry: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    #[schemars(skip)]
    selection: Selection,
}

/// The wishes, checked.
pub struct Wanted {
    pub keep: u32,
    pub untagged_days: u32,
    pub immutable: bool,
    pub scan: bool,
    pub kms_key: Option<String>,
    pub registry: Option<String>,
    pub builds: Vec<Build>,
    /// Services of the document that this run leaves alone.
    pub unselected: Vec<String>,
}

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let wish = doc.wish(&doc.root(), "x-img", flags)?;
        let tag = wish.tag_images.or(wish.tag);
        if let Some(tag) = tag.as_deref().filter(|tag| !is_tag(tag)) {
            return Err(Error::document(
                "x-img.tag",
                format!("{tag:?} can't tag an image: 1 to 128 letters, digits, dots, hyphens and underscores, no dot or hyphen first"),
            ));
        }
        let mut builds = Vec::new();
        for (service, at) in doc.services(&flags.selection)? {
            if let Some(build) = at.key("build") {
                builds.push(Build::read(doc, service, &at, &build, tag.as_deref())?);
            }
        }
        Ok(Self {
            keep: at_least_one("keep", wish.keep.unwrap_or(30))?,
            untagged_days: at_least_one("untagged_days", wish.untagged_days.unwrap_or(7))?,
            immutable: wish.immutable.unwrap_or(true),
            scan: wish.scan.unwrap_or(true),
            kms_key: wish.kms_key,
            registry: wish.registry,
            builds,
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

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !tag.starts_with(['.', '-'])
}
