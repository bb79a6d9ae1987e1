//! Images by digest.

use super::{Container, IMAGE_LABEL};

/// Uses the image by its digest, and notes the name that the document has.
pub fn by_digest(container: &mut Container, digest: &str) {
    let Some(image) = container.image.take() else { return };
    // A colon before the last slash belongs to the port of a registry.
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let end = image[last..].find(':').map_or(image.len(), |colon| last + colon);
    container.image = Some(format!("{}@{digest}", &image[..end]));
    container.labels.insert(IMAGE_LABEL.to_owned(), image);
}
