//! The ECR repositories, one a built service, and which images they have.

use std::collections::BTreeMap;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageDetail, ImageIdentifier, ImageScanningConfiguration, ImageTagMutability, Repository, Tag,
};
use futures_util::future::try_join_all;
use futures_util::try_join;
use serde_json::{Value, json};
use shared::error::{given, if_found};
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ImgPush;
use crate::wish::{Wanted, Wish};

/// By repository name.
pub type Found = BTreeMap<String, FoundRepository>;

pub struct FoundRepository {
    repository: Repository,
    ours: bool,
    tags: Vec<Tag>,
    lifecycle: Option<Value>,
    /// The digest of the image that is to be built, if it is there already.
    pub digest: Option<String>,
}

/// Building up, the repositories of the services; taking down, all of the app's.
pub async fn find(ecr: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let found = match wanted {
        Some(wanted) => try_join_all(wanted.images.iter().map(|wish| one(ecr, run, wish))).await?.into_iter().flatten().collect(),
        None => try_join_all(all(ecr, run).await?.into_iter().map(|repository| with_tags(ecr, run, repository))).await?,
    };
    Ok(found.into_iter().map(|found| (found.repository.repository_name().unwrap_or_default().to_owned(), found)).collect())
}

async fn all(ecr: &Client, run: &Run) -> Result<Vec<Repository>> {
    let items = ecr.describe_repositories().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut items = items.tried("look for the repositories")?;
    let prefix = format!("{}/", run.app);
    items.retain(|repository| repository.repository_name().is_some_and(|name| name.starts_with(&prefix)));
    Ok(items)
}

async fn one(ecr: &Client, run: &Run, wish: &Wish) -> Result<Option<FoundRepository>> {
    let name = &wish.repository;
    let repository = async {
        if_found(ecr.describe_repositories().repository_names(name).send().await.tried(format!("look for the repository {name}")))
    };
    let lifecycle = async {
        let said = ecr.get_lifecycle_policy().repository_name(name).send().await;
        if_found(said.tried(format!("look at the lifecycle policy of {name}")))
    };
    let image = async {
        let id = ImageIdentifier::builder().image_tag(&wish.tag).build();
        if_found(
            ecr.describe_images().repository_name(name).image_ids(id).send().await.tried(format!("look for the image {name}:{}", wish.tag)),
        )
    };
    let (repository, tags, lifecycle, image) = try_join!(repository, tags_of(ecr, run, name), lifecycle, image)?;
    let Some(repository) = repository.and_then(|said| said.repositories().first().cloned()) else { return Ok(None) };
    let tags = match tags {
        Some(tags) => tags,
        // Made by another run between the two answers.
        None => tags_of(ecr, run, name).await?.unwrap_or_default(),
    };
    let lifecycle = lifecycle.and_then(|said| serde_json::from_str(said.lifecycle_policy_text().unwrap_or_default()).ok());
    let digest = image.and_then(|said| said.image_details().first().and_then(ImageDetail::image_digest).map(str::to_owned));
    Ok(Some(FoundRepository { repository, ours: is_ours(run, &tags), tags, lifecycle, digest }))
}

async fn with_tags(ecr: &Client, run: &Run, repository: Repository) -> Result<FoundRepository> {
    let tags = tags_of(ecr, run, repository.repository_name().unwrap_or_default()).await?.unwrap_or_default();
    Ok(FoundRepository { repository, ours: is_ours(run, &tags), tags, lifecycle: None, digest: None })
}

/// Asked by the ARN that the name gives, so that it need not wait for the repository to be found.
async fn tags_of(ecr: &Client, run: &Run, name: &str) -> Result<Option<Vec<Tag>>> {
    run.ask_caller().await?;
    let arn = run.arn("ecr", &format!("repository/{name}"))?;
    let said = if_found(ecr.list_tags_for_resource().resource_arn(&arn).send().await.tried(format!("read the tags of {arn}")))?;
    Ok(said.map(|said| said.tags.unwrap_or_default()))
}

fn is_ours(run: &Run, tags: &[Tag]) -> bool {
    run.is_ours(tags.iter().map(pair))
}

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (Some(tag.key()), Some(tag.value()))
}

fn aws_tags(tags: Vec<(String, String)>) -> Result<Vec<Tag>> {
    let tag = |(key, value): (String, String)| Tag::builder().key(key).value(value).build().map_err(|error| failed(&error));
    tags.into_iter().map(tag).collect()
}

fn failed(error: &aws_sdk_ecr::error::BuildError) -> Error {
    Error::Failed(error.to_string())
}

impl ImgPush {
    pub async fn repository_up(&self, run: &Run, wanted: &Wanted, wish: &Wish) -> Result<()> {
        let name = &wish.repository;
        let found = self.found.get(name);
        if found.is_some_and(|found| !found.ours) {
            return Err(run.foreign("repository", name));
        }
        let uri = match found {
            Some(found) => {
                run.found("repository", name);
                self.settle(run, wanted, wish, found).await?;
                found.repository.repository_uri().map(str::to_owned)
            }
            None => run.create("repository", name, self.create(run, wanted, wish)).await?,
        };
        if let Some(uri) = uri {
            self.uris.borrow_mut().insert(wish.service.clone(), uri);
        }
        Ok(())
    }

    /// What goes by itself, and what stays.
    pub async fn lifecycle_up(&self, run: &Run, wanted: &Wanted, wish: &Wish) -> Result<()> {
        let (name, found, policy) = (&wish.repository, self.found.get(&wish.repository), lifecycle(wanted));
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        let diff = Diff::new().json("lifecycle policy", found.and_then(|found| found.lifecycle.as_ref()), &policy);
        let put = async {
            self.ecr
                .put_lifecycle_policy()
                .repository_name(name)
                .lifecycle_policy_text(policy.to_string())
                .send()
                .await
                .tried(format!("put the lifecycle policy of {name}"))
                .map(drop)
        };
        run.change("repository", name, &diff, put).await
    }

    async fn create(&self, run: &Run, wanted: &Wanted, wish: &Wish) -> Result<String> {
        let encryption = match &wanted.kms_key {
            Some(key) => Some(
                EncryptionConfiguration::builder()
                    .encryption_type(EncryptionType::Kms)
                    .kms_key(key)
                    .build()
                    .map_err(|error| failed(&error))?,
            ),
            None => None,
        };
        let call = self.ecr.create_repository().repository_name(&wish.repository).image_tag_mutability(mutability(wanted));
        let call = call
            .image_scanning_configuration(scanning(wanted))
            .set_encryption_configuration(encryption)
            .set_tags(Some(aws_tags(run.tags(&wish.service))?));
        let made = call.send().await.tried(format!("create the repository {}", wish.repository))?;
        given(made.repository().and_then(Repository::repository_uri), "the new repository's URI")
    }

    async fn settle(&self, run: &Run, wanted: &Wanted, wish: &Wish, found: &FoundRepository) -> Result<()> {
        let name = found.repository.repository_name().unwrap_or_default();
        run.settle_tags("repository", name, run.tags(&wish.service), found.tags.iter().map(pair), async |missing| {
            let arn = found.repository.repository_arn().unwrap_or_default();
            let call = self.ecr.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing)?));
            call.send().await.tried(format!("tag the repository {name}")).map(drop)
        })
        .await?;
        let diff = Diff::new().field(
            "imageTagMutability",
            found.repository.image_tag_mutability().map(ImageTagMutability::as_str),
            Some(mutability(wanted).as_str()),
        );
        let put = async {
            self.ecr
                .put_image_tag_mutability()
                .repository_name(name)
                .image_tag_mutability(mutability(wanted))
                .send()
                .await
                .tried(format!("change the tags of {name}"))
                .map(drop)
        };
        run.change("repository", name, &diff, put).await?;
        let scans = found.repository.image_scanning_configuration().is_some_and(ImageScanningConfiguration::scan_on_push);
        let diff = Diff::new().field("scanOnPush", scans, wanted.scan);
        let put = async {
            self.ecr
                .put_image_scanning_configuration()
                .repository_name(name)
                .image_scanning_configuration(scanning(wanted))
                .send()
                .await
                .tried(format!("change the scanning of {name}"))
                .map(drop)
        };
        run.change("repository", name, &diff, put).await
    }

    /// With all their images, which is what `force` says.
    pub async fn repositories_down(&self, run: &Run) -> Result<()> {
        each(self.found.iter().filter(|(name, found)| run.goes("repository", name, found.ours)), async |(name, _)| {
            let delete = async {
                self.ecr
                    .delete_repository()
                    .repository_name(name)
                    .force(true)
                    .send()
                    .await
                    .tried(format!("delete the repository {name}"))
                    .map(drop)
            };
            run.delete("repository", name, delete).await
        })
        .await
        .map(drop)
    }
}

fn mutability(wanted: &Wanted) -> ImageTagMutability {
    if wanted.immutable { ImageTagMutability::Immutable } else { ImageTagMutability::Mutable }
}

fn scanning(wanted: &Wanted) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(wanted.scan).build()
}

/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html>
fn lifecycle(wanted: &Wanted) -> Value {
    json!({"rules": [
        {"rulePriority": 1, "description": "untagged images go",
         "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": wanted.untagged_days},
         "action": {"type": "expire"}},
        {"rulePriority": 2, "description": "the newest images stay",
         "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": wanted.keep},
         "action": {"type": "expire"}}]})
}
