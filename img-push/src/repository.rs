//! The ECR repositories, one for each service with an image, and which images they have.

use std::collections::BTreeMap;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageDetail, ImageIdentifier, ImageScanningConfiguration, ImageTagMutability, Repository, Tag,
};
use futures_util::future::try_join_all;
use futures_util::try_join;
use serde_json::{Value, json};
use shared::error::{given, if_found};
use shared::owner::TAG_NAME;
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ImgPush;
use crate::image::{Wanted, WantedImage};
use crate::settings::ImgSettings;

shared::tagging!(aws_sdk_ecr::types::Tag);

/// The repositories that exist, by name.
pub type Found = BTreeMap<String, FoundRepository>;

/// What ECR has under the name of a repository.
pub struct FoundRepository {
    repository: Repository,
    pub ours: bool,
    tags: Vec<Tag>,
    lifecycle: Option<Value>,
    /// The digest of the wanted image, if the repository has it.
    pub digest: Option<String>,
}

/// Finds the repositories of the wanted images, or with `--down` all repositories of the app.
///
/// # Errors
/// Returns what ECR refused.
pub async fn find(ecr: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let found = match wanted {
        Some(wanted) => try_join_all(wanted.images.iter().map(|image| find_one(ecr, run, image))).await?.into_iter().flatten().collect(),
        None => all(ecr, run).await?,
    };
    Ok(found.into_iter().map(|found| (found.repository.repository_name().unwrap_or_default().to_owned(), found)).collect())
}

async fn all(ecr: &Client, run: &Run) -> Result<Vec<FoundRepository>> {
    let mut items = shared::pages!(ecr.describe_repositories(), "list the repositories")?;
    let prefix = format!("{}/", run.app);
    items.retain(|repository| repository.repository_name().is_some_and(|name| name.starts_with(&prefix)));
    try_join_all(items.into_iter().map(|repository| with_tags(ecr, run, repository))).await
}

/// Finds a repository by name. All four calls are made at the same time, because each needs only the name.
async fn find_one(ecr: &Client, run: &Run, image: &WantedImage) -> Result<Option<FoundRepository>> {
    let name = &image.repository;
    let repository =
        async { if_found(ecr.describe_repositories().repository_names(name).send().await.tried(format!("read the repository {name}"))) };
    let lifecycle = async {
        let said = ecr.get_lifecycle_policy().repository_name(name).send().await;
        if_found(said.tried(format!("read the lifecycle policy of the repository {name}")))
    };
    let digest = async {
        let id = ImageIdentifier::builder().image_tag(&image.tag).build();
        let said = ecr.describe_images().repository_name(name).image_ids(id).send().await;
        if_found(said.tried(format!("read the image {}", image.local_name())))
    };
    let (repository, tags, lifecycle, digest) = try_join!(repository, tags_of(ecr, run, name), lifecycle, digest)?;
    let Some(repository) = repository.and_then(|said| said.repositories().first().cloned()) else { return Ok(None) };
    let tags = match tags {
        Some(tags) => tags,
        // Another run created the repository between the two answers.
        None => tags_of(ecr, run, name).await?.unwrap_or_default(),
    };
    let lifecycle = lifecycle.and_then(|said| serde_json::from_str(said.lifecycle_policy_text().unwrap_or_default()).ok());
    let digest = digest.and_then(|said| said.image_details().first().and_then(ImageDetail::image_digest).map(str::to_owned));
    Ok(Some(FoundRepository { repository, ours: is_ours(run, &tags), tags, lifecycle, digest }))
}

async fn with_tags(ecr: &Client, run: &Run, repository: Repository) -> Result<FoundRepository> {
    let tags = tags_of(ecr, run, repository.repository_name().unwrap_or_default()).await?.unwrap_or_default();
    Ok(FoundRepository { repository, ours: is_ours(run, &tags), tags, lifecycle: None, digest: None })
}

/// Returns the tags of a repository, if it exists. The ARN follows from the name, so this need not wait until the repository is found.
async fn tags_of(ecr: &Client, run: &Run, name: &str) -> Result<Option<Vec<Tag>>> {
    run.ask_caller().await?;
    let arn = run.arn("ecr", &format!("repository/{name}"))?;
    let said = ecr.list_tags_for_resource().resource_arn(arn).send().await;
    let said = if_found(said.tried(format!("list the tags of the repository {name}")))?;
    Ok(said.map(|said| said.tags.unwrap_or_default()))
}

impl FoundRepository {
    /// Returns the service that named it.
    pub fn service(&self) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key() == TAG_NAME).map(Tag::value)
    }
}

fn is_ours(run: &Run, tags: &[Tag]) -> bool {
    run.is_ours(tags.iter().map(pair))
}

impl ImgPush {
    /// Returns whether ECR does not have the image yet.
    pub fn is_missing(&self, image: &WantedImage) -> bool {
        self.found.get(&image.repository).is_none_or(|found| found.digest.is_none())
    }

    /// Creates the repository of an image, or updates it.
    ///
    /// # Errors
    /// Returns what ECR refused, and fails for a repository of this name that `img-push` did not create.
    pub async fn repository_up(&self, run: &Run, wanted: &Wanted, image: &WantedImage) -> Result<()> {
        let name = &image.repository;
        let uri = match self.found.get(name) {
            Some(found) if !found.ours => return Err(run.unmanaged("repository", name)),
            Some(found) => {
                run.found("repository", name);
                self.settle(run, wanted, image, found).await?;
                found.repository.repository_uri().map(str::to_owned)
            }
            None => run.create("repository", name, self.create(run, wanted, image)).await?,
        };
        if let Some(uri) = uri {
            self.uris.borrow_mut().insert(image.service.clone(), uri);
        }
        Ok(())
    }

    /// Creates a repository and returns its URI.
    async fn create(&self, run: &Run, wanted: &Wanted, image: &WantedImage) -> Result<String> {
        let name = &image.repository;
        let call = self.ecr.create_repository().repository_name(name).image_tag_mutability(mutability(&wanted.settings));
        let call = call
            .image_scanning_configuration(scanning(&wanted.settings))
            .set_encryption_configuration(encryption(&wanted.settings)?)
            .set_tags(Some(aws_tags(run.tags(&image.service))));
        let said = call.send().await.tried(format!("create the repository {name}"))?;
        given(said.repository().and_then(Repository::repository_uri), "the URI of the new repository")
    }

    /// Updates the tags and the configuration of a found repository.
    async fn settle(&self, run: &Run, wanted: &Wanted, image: &WantedImage, found: &FoundRepository) -> Result<()> {
        let name = &image.repository;
        let arn = found.repository.repository_arn().unwrap_or_default();
        run.settle_tags(
            "repository",
            name,
            run.tags(&image.service),
            found.tags.iter().map(pair),
            async |missing| self.ecr.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.ecr.untag_resource().resource_arn(arn).set_tag_keys(Some(left)).send().await,
        )
        .await?;
        let set = async {
            let call = self.ecr.put_image_tag_mutability().repository_name(name).image_tag_mutability(mutability(&wanted.settings));
            call.send().await.tried(format!("set the tag mutability of the repository {name}")).map(drop)
        };
        run.change("repository", name, &mutability_diff(&found.repository, &wanted.settings), set).await?;
        let set = async {
            let call = self.ecr.put_image_scanning_configuration().repository_name(name);
            let call = call.image_scanning_configuration(scanning(&wanted.settings));
            call.send().await.tried(format!("set the scanning configuration of the repository {name}")).map(drop)
        };
        run.change("repository", name, &scanning_diff(&found.repository, &wanted.settings), set).await
    }

    /// Sets the lifecycle policy of a repository. A plan does not list it for a repository that does not exist yet.
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn lifecycle_up(&self, run: &Run, wanted: &Wanted, image: &WantedImage) -> Result<()> {
        let (name, found) = (&image.repository, self.found.get(&image.repository));
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        let diff = lifecycle_diff(found.and_then(|found| found.lifecycle.as_ref()), &wanted.settings);
        let set = async {
            let policy = lifecycle_policy(&wanted.settings).to_string();
            let call = self.ecr.put_lifecycle_policy().repository_name(name).lifecycle_policy_text(policy);
            call.send().await.tried(format!("set the lifecycle policy of the repository {name}")).map(drop)
        };
        run.change("repository", name, &diff, set).await
    }

    /// Deletes these repositories with all their images (`force`).
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn repositories_down(&self, run: &Run, found: &Found) -> Result<()> {
        each(found.iter().filter(|(name, found)| run.may_delete("repository", name, found.ours)), async |(name, _)| {
            let delete = async {
                let call = self.ecr.delete_repository().repository_name(name).force(true);
                call.send().await.tried(format!("delete the repository {name}")).map(drop)
            };
            run.delete("repository", name, delete).await
        })
        .await
        .map(drop)
    }
}

/// Returns the encryption of a new repository; `None` is ECR's default.
fn encryption(settings: &ImgSettings) -> Result<Option<EncryptionConfiguration>> {
    let Some(key) = &settings.kms_key else { return Ok(None) };
    let built = EncryptionConfiguration::builder().encryption_type(EncryptionType::Kms).kms_key(key).build();
    built.map(Some).map_err(|error| Error::Internal(error.to_string()))
}

fn mutability(settings: &ImgSettings) -> ImageTagMutability {
    if settings.immutable { ImageTagMutability::Immutable } else { ImageTagMutability::Mutable }
}

fn mutability_diff(found: &Repository, settings: &ImgSettings) -> Diff {
    let found = found.image_tag_mutability().map(ImageTagMutability::as_str);
    Diff::new().field("imageTagMutability", found, Some(mutability(settings).as_str()))
}

fn scanning(settings: &ImgSettings) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(settings.scan).build()
}

fn scanning_diff(found: &Repository, settings: &ImgSettings) -> Diff {
    let found = found.image_scanning_configuration().is_some_and(ImageScanningConfiguration::scan_on_push);
    Diff::new().field("imageScanningConfiguration.scanOnPush", found, settings.scan)
}

/// The rule for images with any tag must have the last priority.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html>
fn lifecycle_policy(settings: &ImgSettings) -> Value {
    json!({"rules": [
        {"rulePriority": 1, "description": "expire untagged images",
         "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": settings.untagged_days},
         "action": {"type": "expire"}},
        {"rulePriority": 2, "description": "keep the newest images",
         "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": settings.keep},
         "action": {"type": "expire"}}]})
}

/// Returns the fields of the lifecycle policy that differ. A policy that does not exist yet is shown by what its rules do.
fn lifecycle_diff(found: Option<&Value>, settings: &ImgSettings) -> Diff {
    if found.is_some() {
        return Diff::new().json("lifecyclePolicy", found, &lifecycle_policy(settings));
    }
    let rules = format!("expire untagged images after {} days, keep the newest {} images", settings.untagged_days, settings.keep);
    Diff::new().field("lifecyclePolicy", None::<&str>, rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ImgFlags;

    fn settings(keep: u32, untagged_days: u32) -> ImgSettings {
        ImgFlags { keep: Some(keep), untagged_days: Some(untagged_days), ..ImgFlags::default() }.into()
    }

    #[test]
    fn a_plan_names_the_fields_of_the_lifecycle_policy_that_differ() {
        let found = lifecycle_policy(&settings(30, 7));
        let mut described = found.clone();
        described["rules"][1]["description"] = json!("by hand");
        let mut extended = found.clone();
        extended["rules"][0]["selection"]["tagPrefixList"] = json!(["v"]);
        let mut reordered = found.clone();
        reordered["rules"] = json!([found["rules"][1], found["rules"][0]]);
        for (found, wanted, said) in [
            (&found, settings(30, 7), ""),
            (&reordered, settings(30, 7), ""),
            (&found, settings(10, 7), "lifecyclePolicy.rules.2.selection.countNumber: 30 -> 10"),
            (&found, settings(30, 14), "lifecyclePolicy.rules.1.selection.countNumber: 7 -> 14"),
            (&described, settings(30, 7), "lifecyclePolicy.rules.2.description: by hand -> keep the newest images"),
            (&extended, settings(30, 7), "lifecyclePolicy.rules.1.selection.tagPrefixList: v -> none"),
        ] {
            assert_eq!(lifecycle_diff(Some(found), &wanted).to_string(), said, "{found}");
        }
    }

    #[test]
    fn a_plan_says_what_a_new_lifecycle_policy_does() {
        let said = lifecycle_diff(None, &settings(30, 7)).to_string();
        assert_eq!(said, "lifecyclePolicy: none -> expire untagged images after 7 days, keep the newest 30 images");
    }

    #[test]
    fn a_plan_names_the_fields_of_the_repository_that_differ() {
        let repository = |mutability, scan| {
            let scanning = ImageScanningConfiguration::builder().scan_on_push(scan).build();
            Repository::builder().image_tag_mutability(mutability).image_scanning_configuration(scanning).build()
        };
        for (found, said) in [
            (repository(ImageTagMutability::Immutable, true), ""),
            (repository(ImageTagMutability::Mutable, true), "imageTagMutability: MUTABLE -> IMMUTABLE"),
            (repository(ImageTagMutability::Immutable, false), "imageScanningConfiguration.scanOnPush: false -> true"),
            (Repository::builder().build(), "imageTagMutability: none -> IMMUTABLE, imageScanningConfiguration.scanOnPush: false -> true"),
        ] {
            let diff = mutability_diff(&found, &settings(30, 7)).and(scanning_diff(&found, &settings(30, 7)));
            assert_eq!(diff.to_string(), said);
        }
    }
}
