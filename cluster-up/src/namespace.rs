//! The namespace of Cloud Map in which the services of the app find each other by name, through ECS Service Connect.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect.html>

use aws_sdk_servicediscovery::Client;
use aws_sdk_servicediscovery::types::{
    FilterCondition, NamespaceFilter, NamespaceFilterName, NamespaceSummary, NamespaceType, Operation, OperationStatus,
    OperationTargetType, Tag,
};
use shared::error::{given, if_found};
use shared::wait::{until, while_held};
use shared::{Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::settings::Wanted;

shared::tagging!(aws_sdk_servicediscovery::types::Tag);

/// The namespace with the app's name.
pub type Found = Option<FoundNamespace>;

pub struct FoundNamespace {
    id: String,
    arn: String,
    tags: Vec<Tag>,
}

pub async fn find(cloud_map: &Client, run: &Run) -> Result<Found> {
    let filter = NamespaceFilter::builder().name(NamespaceFilterName::Name).condition(FilterCondition::Eq).values(&run.app);
    let filter = filter.build().map_err(|error| Error::Internal(error.to_string()))?;
    let pages = cloud_map.list_namespaces().filters(filter).into_paginator().send().collect::<Result<Vec<_>, _>>().await;
    let pages = pages.tried("list the namespaces of Cloud Map")?;
    let all: Vec<NamespaceSummary> = pages.into_iter().flat_map(|page| page.namespaces.unwrap_or_default()).collect();
    // Namespaces that are based on DNS have names of their own.
    let is_named = |one: &&NamespaceSummary| one.name() == Some(&run.app) && one.r#type() == Some(&NamespaceType::Http);
    let Some(found) = all.iter().find(is_named) else { return Ok(None) };
    let (id, arn) = (given(found.id(), "the ID of the namespace")?, given(found.arn(), "the ARN of the namespace")?);
    let said = cloud_map.list_tags_for_resource().resource_arn(&arn).send().await;
    // Without tags, it was deleted between the two answers.
    let said = if_found(said.tried(format!("list the tags of the namespace {arn}")))?;
    Ok(said.map(|said| FoundNamespace { id, arn, tags: said.tags.unwrap_or_default() }))
}

impl ClusterUp {
    /// A namespace that exists is kept also when the app has one service again, because that service may still use it.
    pub async fn namespace_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let arn = match &self.found.namespace {
            Some(found) if run.is_ours(found.tags.iter().map(pair)) => {
                run.found("namespace", &run.app);
                self.settle_namespace(run, found).await?;
                Some(found.arn.clone())
            }
            _ if !wanted.connects => return Ok(()),
            Some(_) => return Err(run.unmanaged("namespace", &run.app)),
            None => run.create("namespace", &run.app, self.create_namespace(run)).await?,
        };
        let mut cluster = self.cluster.borrow_mut();
        (cluster.namespace, cluster.namespace_arn) = (Some(run.app.clone()), arn);
        Ok(())
    }

    async fn create_namespace(&self, run: &Run) -> Result<String> {
        let call = self.cloud_map.create_http_namespace().name(&run.app).description("Names of the services, for ECS Service Connect");
        let call = call.set_tags(Some(aws_tags(run.tags("namespace"))));
        let said = call.send().await.tried(format!("create the namespace {}", run.app))?;
        let operation = self.finished(run, "create", said.operation_id()).await?;
        let id = operation.targets().and_then(|targets| targets.get(&OperationTargetType::Namespace));
        run.arn("servicediscovery", &format!("namespace/{}", given(id, "the ID of the new namespace")?))
    }

    async fn settle_namespace(&self, run: &Run, found: &FoundNamespace) -> Result<()> {
        run.settle_tags(
            "namespace",
            &run.app,
            run.tags("namespace"),
            found.tags.iter().map(pair),
            async |missing| self.cloud_map.tag_resource().resource_arn(&found.arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.cloud_map.untag_resource().resource_arn(&found.arn).set_tag_keys(Some(left)).send().await,
        )
        .await
    }

    pub async fn namespace_down(&self, run: &Run) -> Result<()> {
        let Some(found) = &self.found.namespace else { return Ok(()) };
        if !run.may_delete("namespace", &run.app, run.is_ours(found.tags.iter().map(pair))) {
            return Ok(());
        }
        // ECS deletes its endpoints in the namespace a moment after the services.
        let still_used = |error: &Error| error.is_code("ResourceInUse");
        let delete = async {
            let said = while_held(run, "ECS to delete the endpoints in the namespace", still_used, async || {
                self.cloud_map.delete_namespace().id(&found.id).send().await.tried(format!("delete the namespace {}", run.app))
            })
            .await?;
            self.finished(run, "delete", said.operation_id()).await.map(drop)
        };
        run.delete("namespace", &run.app, delete).await
    }

    /// Waits for the end of an operation: Cloud Map creates and deletes namespaces after its answer.
    async fn finished(&self, run: &Run, verb: &str, id: Option<&str>) -> Result<Operation> {
        let id = given(id, "the ID of Cloud Map's operation")?;
        until(run, &format!("Cloud Map to {verb} the namespace {}", run.app), async || {
            let said = self.cloud_map.get_operation().operation_id(&id).send().await;
            let said = said.tried(format!("read the operation {id} of Cloud Map"))?;
            let Some(operation) = said.operation() else { return Ok(None) };
            match operation.status() {
                Some(OperationStatus::Success) => Ok(Some(operation.clone())),
                Some(OperationStatus::Fail) => Err(failed(run, verb, operation)),
                _ => Ok(None),
            }
        })
        .await
    }
}

fn failed(run: &Run, verb: &str, operation: &Operation) -> Error {
    let (code, said) = (operation.error_code().unwrap_or("no code"), operation.error_message().unwrap_or("Cloud Map gave no reason"));
    let what = format!("could not {verb} the namespace {}: {code}: {said}", run.app);
    Error::failed("namespace-failed", format!("{what}. Fix the cause and run the same command again"))
}
