//! The ECS cluster.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{Attachment, Cluster, ClusterField, ClusterServiceConnectDefaultsRequest, ClusterSetting, ClusterSettingName};
use shared::doc::LaunchType;
use shared::error::given;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::providers::{FARGATE, providers};
use crate::settings::Wanted;
use crate::{ClusterUp, tag};

pub type Found = Option<Cluster>;

/// What a plan calls a namespace that is not created yet.
const NEW_NAMESPACE: &str = "the new namespace";

pub async fn find(ecs: &Client, run: &Run) -> Result<Found> {
    let call = ecs.describe_clusters().clusters(&run.app).include(ClusterField::Settings).include(ClusterField::Tags);
    let call = call.include(ClusterField::Attachments);
    let said = call.send().await.tried(format!("read the cluster {}", run.app))?;
    // A deleted cluster is visible for a while, as INACTIVE.
    Ok(said.clusters().iter().find(|cluster| cluster.status() != Some("INACTIVE")).cloned())
}

/// Refuses another launch type than that of the existing cluster, because ECS can't move running tasks between the two.
pub fn check_launch_type(run: &Run, wanted: Option<&Wanted>, cluster: Option<&Cluster>, has_group: bool) -> Result<()> {
    let on_fargate = cluster.is_some_and(|cluster| cluster.capacity_providers().iter().any(|name| name == FARGATE));
    let (is, wanted) = match wanted.map(Wanted::launch_type) {
        Some(LaunchType::Ec2) if on_fargate => ("fargate", "ec2"),
        Some(LaunchType::Fargate) if has_group => ("ec2", "fargate"),
        _ => return Ok(()),
    };
    let text = format!(
        "must be {is}, because the app {0} runs with this launch type and AWS can't change it; found {wanted}. Set x-cluster.launch_type or --launch-type to {is}, or delete the app with --down first",
        run.app
    );
    Err(Error::document("launch-type-change", "x-cluster.launch_type", text))
}

/// The state of a cluster whose last change of capacity providers failed.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Cluster.html>
const FAILED: &str = "UPDATE_FAILED";

/// Returns whether ECS could not attach a capacity provider to the cluster.
pub fn attachment_failed(cluster: &Cluster) -> bool {
    cluster.attachments_status() == Some(FAILED)
}

/// # Errors
/// Says which attachment of the capacity providers failed, and why.
pub fn check_attachments(run: &Run, cluster: Option<&Cluster>) -> Result<()> {
    let Some(cluster) = cluster.filter(|cluster| attachment_failed(cluster)) else { return Ok(()) };
    let text = format!(
        "could not attach the capacity provider to the cluster {}: {}. Fix the cause, and run the same command again",
        run.app,
        reasons(cluster.attachments())
    );
    Err(Error::failed("capacity-provider-not-attached", text))
}

/// Returns what ECS says of the attachments that failed, as in `as_policy FAILED (reason: …)`.
fn reasons(attachments: &[Attachment]) -> String {
    let failed = attachments.iter().filter(|one| one.status().is_some_and(|status| status.ends_with("FAILED")));
    let said = failed.map(|one| {
        let details = one.details().iter().filter_map(|pair| Some(format!("{}: {}", pair.name()?, pair.value()?)));
        let details = details.collect::<Vec<_>>().join(", ");
        format!("{} {} ({details})", one.r#type().unwrap_or("attachment"), one.status().unwrap_or_default())
    });
    let said = said.collect::<Vec<_>>().join("; ");
    if said.is_empty() { "AWS gives no reason".to_owned() } else { said }
}

impl ClusterUp {
    pub async fn cluster_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let insights = ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(wanted.insights.value()).build();
        let arn = match &self.found.cluster {
            Some(found) => Some(self.settle_cluster(run, wanted, found, insights).await?),
            None => run.create("cluster", &run.app, self.create_cluster(run, wanted, insights)).await?,
        };
        let mut cluster = self.cluster.borrow_mut();
        (cluster.arn, cluster.name, cluster.launch_type) = (arn, run.app.clone(), wanted.launch_type());
        Ok(())
    }

    /// On EC2 the capacity provider follows, which needs the Auto Scaling group.
    async fn create_cluster(&self, run: &Run, wanted: &Wanted, insights: ClusterSetting) -> Result<String> {
        let fargate = if wanted.instances.is_none() { Some(providers(&self.provider_name(run), wanted)?) } else { None };
        let (names, strategy) = fargate.map(|providers| (providers.names, providers.strategy)).unzip();
        // A new service-linked role can't be used at once.
        let not_yet = |error: &Error| error.says("service linked role");
        let made = while_not_yet(run, "ECS's service-linked role to be usable", not_yet, async || {
            let call = self.ecs.create_cluster().cluster_name(&run.app).settings(insights.clone());
            let call = call.set_service_connect_defaults(self.connect_defaults()?).set_tags(Some(tag::aws_tags(run.tags("cluster"))));
            let call = call.set_capacity_providers(names.clone()).set_default_capacity_provider_strategy(strategy.clone());
            call.send().await.tried(format!("create the cluster {}", run.app))
        })
        .await?;
        given(made.cluster().and_then(Cluster::cluster_arn), "the ARN of the new cluster")
    }

    async fn settle_cluster(&self, run: &Run, wanted: &Wanted, found: &Cluster, insights: ClusterSetting) -> Result<String> {
        if !is_ours(run, found) {
            return Err(run.unmanaged("cluster", &run.app));
        }
        run.found("cluster", &run.app);
        let arn = given(found.cluster_arn(), "the ARN of the cluster")?;
        tag::settle(&self.ecs, run, "cluster", "cluster", &arn, found.tags()).await?;
        let setting = found.settings().iter().find(|setting| setting.name() == Some(&ClusterSettingName::ContainerInsights));
        let diff = Diff::new().field("containerInsights", setting.and_then(ClusterSetting::value), wanted.insights.value());
        let diff = diff.and(self.namespace_diff(found));
        let update = async {
            let call =
                self.ecs.update_cluster().cluster(&run.app).settings(insights).set_service_connect_defaults(self.connect_defaults()?);
            call.send().await.tried(format!("update the settings of the cluster {}", run.app)).map(drop)
        };
        run.change("cluster", &run.app, &diff, update).await?;
        Ok(arn)
    }

    /// Returns the namespace of new services. A cluster without one keeps what it has.
    fn connect_defaults(&self) -> Result<Option<ClusterServiceConnectDefaultsRequest>> {
        let Some(arn) = self.cluster.borrow().namespace_arn.clone() else { return Ok(None) };
        let request = ClusterServiceConnectDefaultsRequest::builder().namespace(arn).build();
        request.map(Some).map_err(|error| Error::Internal(error.to_string()))
    }

    fn namespace_diff(&self, found: &Cluster) -> Diff {
        let cluster = self.cluster.borrow();
        if cluster.namespace.is_none() {
            return Diff::new();
        }
        let was = found.service_connect_defaults().and_then(|defaults| defaults.namespace());
        Diff::new().field("serviceConnectDefaults.namespace", was, cluster.namespace_arn.as_deref().unwrap_or(NEW_NAMESPACE))
    }

    pub async fn cluster_down(&self, run: &Run) -> Result<()> {
        let Some(found) = &self.found.cluster else { return Ok(()) };
        if !run.may_delete("cluster", &run.app, is_ours(run, found)) {
            return Ok(());
        }
        // Instances leave the cluster a minute or two after they are told to stop, and services when they are drained.
        let still_used = |error: &Error| {
            [
                "ClusterContainsContainerInstancesException",
                "ClusterContainsServicesException",
                "ClusterContainsTasksException",
                "ClusterContainsCapacityProviderException",
                "UpdateInProgressException",
            ]
            .iter()
            .any(|code| error.is_code(code))
        };
        let delete = while_held(run, "the instances to leave the cluster", still_used, async || {
            self.ecs.delete_cluster().cluster(&run.app).send().await.tried(format!("delete the cluster {}", run.app)).map(drop)
        });
        run.delete("cluster", &run.app, delete).await
    }
}

/// Returns whether the cluster's tags say that cluster-up created it for this app.
pub fn is_ours(run: &Run, cluster: &Cluster) -> bool {
    run.is_ours(cluster.tags().iter().map(tag::pair))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::KeyValuePair;

    use super::*;

    #[test]
    fn a_failed_attachment_is_named_with_its_details() {
        let attachment = |kind: &str, status: &str| {
            let detail = KeyValuePair::builder().name("capacityProviderName").value("instances-of-shop").build();
            Attachment::builder().r#type(kind).status(status).details(detail).build()
        };
        let cluster = Cluster::builder().attachments_status(FAILED).attachments(attachment("as_policy", "FAILED"));
        let cluster = cluster.attachments(attachment("managed_draining", "CREATED")).build();
        assert!(attachment_failed(&cluster));
        assert_eq!(reasons(cluster.attachments()), "as_policy FAILED (capacityProviderName: instances-of-shop)");
    }
}
