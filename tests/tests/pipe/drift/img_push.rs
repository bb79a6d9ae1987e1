//! Changes of a repository and its image, in ministack, to which Docker can push.

use aws_sdk_ecr::types::{ImageIdentifier, ImageScanningConfiguration, ImageTagMutability};
use serde_json::json;
use tests::{Relay, run};

use super::{Deployed, Done, Shared};

const APP: &str = "drift-images";
const REPOSITORY: &str = "drift-images/web";

static IMAGES: Shared = Shared::new(up, |app| run(&app.relay.endpoint, "img-push", &["--down"], &app.live));

fn up() -> Deployed {
    let relay = Relay::new();
    let doc = json!({"name": APP, "x-tags": {"team": "shop"}, "services": {"web": {
        "build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}}}});
    let up = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok();
    Deployed::new(relay, APP, up.stdout)
}

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    IMAGES.with(|app| app.reverts("img-push", says, change));
}

#[test]
fn lifecycle_policy_deleted() {
    reverts(
        "repository drift-images/web (lifecyclePolicy: none -> expire untagged images after 7 days, keep the newest 30 images)",
        async |app| Ok(app.clients.ecr.delete_lifecycle_policy().repository_name(REPOSITORY).send().await.map(drop)?),
    );
}

#[test]
fn tag_mutability_changed() {
    reverts("repository drift-images/web (imageTagMutability: MUTABLE -> IMMUTABLE)", async |app| {
        let call = app.clients.ecr.put_image_tag_mutability().repository_name(REPOSITORY);
        Ok(call.image_tag_mutability(ImageTagMutability::Mutable).send().await.map(drop)?)
    });
}

#[test]
fn scan_on_push_disabled() {
    reverts("repository drift-images/web (imageScanningConfiguration.scanOnPush: false -> true)", async |app| {
        let off = ImageScanningConfiguration::builder().scan_on_push(false).build();
        let call = app.clients.ecr.put_image_scanning_configuration().repository_name(REPOSITORY);
        Ok(call.image_scanning_configuration(off).send().await.map(drop)?)
    });
}

#[test]
fn repository_tag_deleted() {
    reverts("repository drift-images/web (tags.team: none -> shop)", async |app| {
        let arn = "arn:aws:ecr:us-east-1:000000000000:repository/drift-images/web";
        Ok(app.clients.ecr.untag_resource().resource_arn(arn).tag_keys("team").send().await.map(drop)?)
    });
}

/// The repository has only one image.
#[test]
fn image_deleted() {
    reverts("image drift-images/web:", async |app| {
        let said = app.clients.ecr.list_images().repository_name(REPOSITORY).send().await?;
        let tag = said.image_ids().iter().find_map(|image| image.image_tag()).unwrap_or_default();
        let image = ImageIdentifier::builder().image_tag(tag).build();
        Ok(app.clients.ecr.batch_delete_image().repository_name(REPOSITORY).image_ids(image).send().await.map(drop)?)
    });
}

#[test]
fn the_repository_is_deleted_after_all_changes() {
    IMAGES.is_deleted();
}
