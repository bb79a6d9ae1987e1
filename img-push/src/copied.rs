//! What the names of copied images mean now. A tag such as `latest` can be moved to another image, which is then copied as well.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageDetail;
use futures_util::join;
use shared::error::if_found;
use shared::step::each;
use shared::{Result, Run};

use crate::credentials::Credentials;
use crate::docker_config::registry_of;
use crate::image::{Origin, Wanted, WantedImage};
use crate::registry;

/// Hexadecimal digits of the digest in a tag: as many as Docker shows of an ID.
const SHOWN: usize = 12;

/// Returns the images with tags that follow the digest of what is copied, or `None` when nothing is copied. A tag from the settings is kept.
///
/// # Errors
/// Returns what ECR refused.
pub async fn resolved(ecr: &Client, run: &Run, wanted: &Wanted, credentials: &Credentials) -> Result<Option<Wanted>> {
    if wanted.settings.tag.is_some() || !wanted.images.iter().any(|image| source(image).is_some()) {
        return Ok(None);
    }
    let images = each(wanted.images.clone(), async |mut image: WantedImage| {
        if let Some(name) = source(&image).map(str::to_owned) {
            let (digest, copies) = join!(digest(&name, credentials), copies(ecr, &image));
            resolve(run, &mut image, &name, digest, &copies?);
        }
        Ok(image)
    });
    Ok(Some(Wanted { images: images.await?, ..wanted.clone() }))
}

/// Returns the name that may mean another image later.
fn source(image: &WantedImage) -> Option<&str> {
    match &image.origin {
        Origin::Copied(name) if !name.contains('@') => Some(name),
        _ => None,
    }
}

/// Returns `None` also without credentials: the pull, if there is one, reports that.
async fn digest(name: &str, credentials: &Credentials) -> Option<String> {
    let login = credentials.of(registry_of(name)).await.ok().flatten();
    registry::digest(name, login).await
}

/// Returns the tags in the repository of an image that are copies of the same name, the newest first.
async fn copies(ecr: &Client, image: &WantedImage) -> Result<Vec<String>> {
    let call = ecr.describe_images().repository_name(&image.repository);
    let images: Option<Vec<ImageDetail>> = if_found(shared::pages!(call, format!("list the images of {}", image.repository)))?;
    let mut images = images.unwrap_or_default();
    images.sort_by_key(|one| std::cmp::Reverse(one.image_pushed_at().map(aws_smithy_types::DateTime::as_nanos)));
    let tags = images.iter().flat_map(ImageDetail::image_tags).filter(|tag| is_copy(tag, &image.tag));
    Ok(tags.cloned().collect())
}

/// Returns whether a tag is the hash of a name, alone or with a digest.
fn is_copy(tag: &str, hash: &str) -> bool {
    tag.strip_prefix(hash).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Sets the tag. When the registry does not answer, the newest copy is used.
fn resolve(run: &Run, image: &mut WantedImage, name: &str, digest: Option<String>, copies: &[String]) {
    let Some(digest) = digest else {
        if let Some(rest) = copies.first().and_then(|newest| newest.strip_prefix(&image.tag)).map(str::to_owned) {
            image.extend_tags(&rest);
        }
        return;
    };
    let hash = image.tag.clone();
    let shown: String = digest.trim_start_matches("sha256:").chars().take(SHOWN).collect();
    image.extend_tags(&format!("-{shown}"));
    image.origin = Origin::Copied(format!("{}@{digest}", untagged(name)));
    let is_moved = copies.first().is_some_and(|newest| *newest != image.tag && *newest != hash);
    if is_moved && !copies.contains(&image.tag) {
        run.note(&format!("{name} of services.{} means another image than before ({digest}), which is copied as well", image.service));
    }
}

/// Returns the name of an image without its tag.
fn untagged(name: &str) -> &str {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find(':').map_or(name, |colon| &name[..last + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_hash_of_its_name_with_or_without_a_digest() {
        for (tag, expected) in [("0a1b", true), ("0a1b-0123456789ab", true), ("0a1b0", false), ("v1", false)] {
            assert_eq!(is_copy(tag, "0a1b"), expected, "{tag}");
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        for (name, expected) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("127.0.0.1:5000/private/base", "127.0.0.1:5000/private/base"),
            ("127.0.0.1:5000/private/base:1", "127.0.0.1:5000/private/base"),
        ] {
            assert_eq!(untagged(name), expected, "{name}");
        }
    }
}
