//! The settings of the images: `x-img` and its flags.

use clap::Args;
use serde::Serialize;
use shared::doc::Selection;
use shared::flags::Prune;
use shared::{Document, Error, Result};

/// The command line.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub img: ImgFlags,
    #[command(flatten)]
    #[serde(skip)]
    pub selection: Selection,
    #[command(flatten)]
    #[serde(skip)]
    pub prune: Prune,
}

shared::settings! {
    /// `x-img`: the images and their ECR repositories
    pub struct ImgSettings, ImgFlags {
        /// Number of images to keep in each repository
        ///
        /// ECR deletes the oldest images when a repository has more.
        keep: u32 [1..=2_147_483_647] = 30, arg(long, value_name = "IMAGES");
        /// Days to keep untagged images
        ///
        /// An image has no tag when its tag was moved to another image.
        untagged_days: u32 [1..=2_147_483_647] = 7, arg(long, value_name = "DAYS");
        /// Make tags immutable, so that ECR refuses to overwrite them
        immutable: bool = true, arg(long, value_name = "BOOL");
        /// Scan each image for vulnerabilities when it is pushed
        scan: bool = true, arg(long, value_name = "BOOL");
        /// KMS key that encrypts new repositories
        ///
        /// The key of an existing repository can't be changed.
        kms_key: String, arg(long, value_name = "ARN"), schemars(extend("x-default" = "AES-256 with keys of Amazon S3"));
        /// Tag of all images, for example a git commit
        ///
        /// 1 to 128 letters, digits, dots, hyphens and underscores, with no dot or hyphen first.
        /// An image that ECR already has under this tag is not built again.
        tag: String, arg(long = "tag-images", id = "tag-images", value_name = "TAG"),
            schemars(extend("x-flag" = "--tag-images", "x-default" = "a hash of all that goes into the image"));
        /// Also copy to ECR the images that are not built
        ///
        /// The cluster then pulls images from ECR only. When a tag is moved to another image, that is copied as well.
        mirror: bool = false, arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true");
        /// Host to push to, instead of the host that ECR returns
        ///
        /// For example a private endpoint.
        registry: String, arg(long, value_name = "HOST", env = "ECS_PIPE_REGISTRY"),
            schemars(extend("x-default" = "the host that ECR returns"));
    }
}

impl ImgSettings {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Says where and how a value is wrong, in the document or in a flag.
    pub fn read(doc: &Document, flags: &ImgFlags) -> Result<Self> {
        let settings: Self = shared::settings::read(doc, &doc.root(), "x-img", flags)?;
        match settings.tag.as_deref().filter(|tag| !is_tag(tag)) {
            Some(tag) => Err(Error::document(
                "image-tag",
                if flags.tag.is_some() { "--tag-images" } else { "x-img.tag" },
                format!("must be 1 to 128 letters, digits, dots, hyphens and underscores, with no dot or hyphen first; found {tag:?}"),
            )),
            None => Ok(settings),
        }
    }
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use shared::Document;

    use super::{ImgFlags, ImgSettings, is_tag};

    #[test]
    fn a_tag_is_checked_as_registries_do() {
        for (tag, fits) in [
            ("1.4", true),
            ("v1_rc-2", true),
            ("_", true),
            (&"a".repeat(128), true),
            (&"a".repeat(129), false),
            ("", false),
            (".hidden", false),
            ("-x", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(is_tag(tag), fits, "{tag}");
        }
    }

    #[test]
    fn a_wrong_setting_names_its_place() {
        for (x_img, flags, said) in [
            (r#"{"keep": 0}"#, ImgFlags::default(), "x-img.keep: must be between 1 and 2147483647; found 0"),
            (r#"{"untagged_days": 0}"#, ImgFlags::default(), "x-img.untagged_days: must be between 1 and"),
            (r#"{"tag": "a/b"}"#, ImgFlags::default(), "x-img.tag: must be 1 to 128"),
            (r#"{"tag": "good"}"#, ImgFlags { tag: Some(".bad".to_owned()), ..ImgFlags::default() }, "--tag-images: must be 1 to 128"),
        ] {
            let doc = Document::parse(format!(r#"{{"name": "shop", "x-img": {x_img}}}"#).as_bytes()).unwrap();
            let found = ImgSettings::read(&doc, &flags).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(found.contains(said), "{x_img}: {found}");
        }
    }
}
