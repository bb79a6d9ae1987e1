//! The repositories of services that left the document. Compose calls them orphans.

use std::collections::BTreeSet;

use aws_sdk_ecr::Client;
use aws_sdk_ecs::types::{ContainerDefinition, TaskDefinitionFamilyStatus};
use shared::doc::Selection;
use shared::{Document, Result, Run, Tried};

use crate::repository::{self, Found};

/// Families that are read at the same time: ECS allows 20 calls a second, and more in a burst.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>
const AT_ONCE: usize = 20;

/// Finds the repositories whose service is not in the document and whose images no task definition of the app names. In a pipe, the tasks of such a
/// service run until svc-deploy deletes it, which is after this tool.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(ecr: &Client, run: &Run, doc: &Document) -> Result<Found> {
    let services: BTreeSet<&str> = doc.services(&Selection::default())?.into_iter().map(|(service, _)| service).collect();
    // That is a mistake, and not the end of the app.
    if services.is_empty() {
        return Ok(Found::new());
    }
    let mut orphans = repository::find(ecr, run, None).await?;
    orphans.retain(|_, found| found.ours && found.service().is_some_and(|service| !services.contains(service)));
    if orphans.is_empty() {
        return Ok(orphans);
    }
    let used = used(run).await?;
    orphans.retain(|name, _| {
        let is_used = used.contains(name);
        if is_used {
            run.note(&format!(
                "the repository {name} is kept, because a task definition of the app uses it. svc-deploy --prune deletes that, and the next img-push --prune deletes the repository"
            ));
        }
        !is_used
    });
    Ok(orphans)
}

/// Returns the repositories that the newest revisions of the app's task definitions name.
async fn used(run: &Run) -> Result<BTreeSet<String>> {
    let ecs = shared::client!(aws_sdk_ecs, run);
    let call = ecs.list_task_definition_families().family_prefix(run.named("")).status(TaskDefinitionFamilyStatus::Active);
    let families: Vec<String> = shared::pages!(call, format!("list the task definition families of {}", run.app))?;
    let mut used = BTreeSet::new();
    for some in families.chunks(AT_ONCE) {
        let all = shared::step::each(some, async |family| {
            let said = ecs.describe_task_definition().task_definition(family).send().await;
            let said = said.tried(format!("read the task definition {family}"))?;
            Ok(said.task_definition().map(|found| found.container_definitions().to_vec()).unwrap_or_default())
        });
        used.extend(all.await?.iter().flatten().filter_map(ContainerDefinition::image).filter_map(repository).map(str::to_owned));
    }
    Ok(used)
}

/// Returns the repository in the name of an image: `shop/web` of `<registry>/shop/web@sha256:…`.
fn repository(image: &str) -> Option<&str> {
    let (_, path) = image.split_once('/')?;
    path.split(['@', ':']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_of_an_image_is_what_is_between_the_registry_and_the_digest_or_tag() {
        for (image, expected) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web@sha256:0a", Some("shop/web")),
            ("127.0.0.1:4566/shop/web:1", Some("shop/web")),
            ("registry.example/shop/web", Some("shop/web")),
            ("nginx:1.27", None),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }
}
