//! The capacity provider, through which ECS requests instances when tasks need them.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    AutoScalingGroupProvider, AutoScalingGroupProviderUpdate, CapacityProvider, CapacityProviderField, CapacityProviderStatus,
    CapacityProviderUpdateStatus, ManagedDraining, ManagedScaling, ManagedScalingStatus, ManagedTerminationProtection,
};
use shared::error::{given, if_found};
use shared::wait::{until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::{Instances, Wanted};
use crate::{ClusterUp, tag};

pub type Found = Option<CapacityProvider>;

/// Returns the provider's name. It must not begin with `aws`, `ecs` or `fargate`, which an app's name may.
pub fn name(run: &Run) -> String {
    format!("instances-of-{}", run.app)
}

pub async fn find(ecs: &Client, run: &Run) -> Result<Found> {
    let said = ecs.describe_capacity_providers().capacity_providers(name(run)).include(CapacityProviderField::Tags).send().await;
    let said = if_found(said.tried(format!("read the capacity provider {}", name(run))))?;
    // A deleted provider is visible for a while, as INACTIVE.
    let exists = |provider: &&CapacityProvider| provider.status() != Some(&CapacityProviderStatus::Inactive);
    Ok(said.and_then(|said| said.capacity_providers().iter().find(exists).cloned()))
}

impl ClusterUp {
    pub async fn provider_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let (name, scaling) = (name(run), scaling(instances));
        let Some(found) = self.found.provider.as_ref().filter(|found| !is_being_deleted(found)) else {
            return run.create("capacity provider", &name, self.create_provider(run, &name, scaling)).await.map(drop);
        };
        if !run.is_ours(found.tags().iter().map(tag::pair)) {
            return Err(run.unmanaged("capacity provider", &name));
        }
        run.found("capacity provider", &name);
        let arn = given(found.capacity_provider_arn(), "the ARN of the capacity provider")?;
        tag::settle(&self.ecs, run, "capacity provider", "instances", &arn, found.tags()).await?;
        let diff = differences(found.auto_scaling_group_provider(), instances.target_capacity);
        run.change("capacity provider", &name, &diff, self.update_provider(run, &name, scaling)).await
    }

    async fn create_provider(&self, run: &Run, name: &str, scaling: ManagedScaling) -> Result<String> {
        if self.found.provider.is_some() {
            self.provider_gone(run, name).await?;
        }
        let provider = AutoScalingGroupProvider::builder()
            // AWS takes the group's name, too, which is known without a call.
            // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AutoScalingGroupProvider.html
            .auto_scaling_group_arn(&run.app)
            .managed_scaling(scaling)
            .managed_termination_protection(ManagedTerminationProtection::Enabled)
            .managed_draining(ManagedDraining::Enabled)
            .build()
            .map_err(|error| Error::Internal(error.to_string()))?;
        let tags = tag::aws_tags(run.tags("instances"));
        let call = self.ecs.create_capacity_provider().name(name).auto_scaling_group_provider(provider).set_tags(Some(tags));
        // A new service-linked role is not visible at once.
        let not_yet = |error: &Error| error.says("Service Linked Role") || error.says("service linked role");
        let made = while_not_yet(run, "ECS's service-linked role to be visible", not_yet, async || {
            call.clone().send().await.tried(format!("create the capacity provider {name}"))
        })
        .await?;
        given(made.capacity_provider().and_then(CapacityProvider::capacity_provider_arn), "the ARN of the new capacity provider")
    }

    async fn update_provider(&self, run: &Run, name: &str, scaling: ManagedScaling) -> Result<()> {
        let provider = AutoScalingGroupProviderUpdate::builder()
            .managed_scaling(scaling)
            .managed_termination_protection(ManagedTerminationProtection::Enabled)
            .managed_draining(ManagedDraining::Enabled)
            .build();
        // ECS makes one change at a time.
        let busy = |error: &Error| error.is_code("UpdateInProgressException");
        while_held(run, "the last change of the capacity provider", busy, async || {
            let call = self.ecs.update_capacity_provider().name(name).auto_scaling_group_provider(provider.clone());
            call.send().await.tried(format!("update the capacity provider {name}")).map(drop)
        })
        .await
    }

    /// Deletes the provider and waits for it, because the Auto Scaling group is managed by ECS until then.
    pub async fn provider_down(&self, run: &Run) -> Result<()> {
        let Some(found) = &self.found.provider else { return Ok(()) };
        let name = name(run);
        if !run.may_delete("capacity provider", &name, run.is_ours(found.tags().iter().map(tag::pair))) {
            return Ok(());
        }
        let delete = async {
            // The cluster releases a provider a moment after its strategy changes.
            let held = |error: &Error| error.is_code("ResourceInUseException") || error.says("in use") || error.says("associated with");
            while_held(run, "the cluster to release the capacity provider", held, async || {
                let call = self.ecs.delete_capacity_provider().capacity_provider(&name);
                call.send().await.tried(format!("delete the capacity provider {name}")).map(drop)
            })
            .await?;
            self.provider_gone(run, &name).await
        };
        run.delete("capacity provider", &name, delete).await
    }

    async fn provider_gone(&self, run: &Run, name: &str) -> Result<()> {
        until(run, &format!("the capacity provider {name} to be deleted"), async || {
            let left = find(&self.ecs, run).await?;
            match left.as_ref().and_then(CapacityProvider::update_status) {
                Some(CapacityProviderUpdateStatus::DeleteFailed) => {
                    let reason = left.as_ref().and_then(CapacityProvider::update_status_reason).unwrap_or("AWS gives no reason");
                    Err(Error::failed(
                        "capacity-provider-not-deleted",
                        format!(
                            "could not delete the capacity provider {name}: {reason}. Remove what uses it, and run the same command again"
                        ),
                    ))
                }
                _ => Ok(left.is_none().then_some(())),
            }
        })
        .await
    }
}

fn is_being_deleted(provider: &CapacityProvider) -> bool {
    provider.update_status() == Some(&CapacityProviderUpdateStatus::DeleteInProgress)
}

fn scaling(instances: &Instances) -> ManagedScaling {
    ManagedScaling::builder().status(ManagedScalingStatus::Enabled).target_capacity(instances.target_capacity).build()
}

fn differences(found: Option<&AutoScalingGroupProvider>, target_capacity: i32) -> Diff {
    let scaling = found.and_then(AutoScalingGroupProvider::managed_scaling);
    let status = scaling.and_then(ManagedScaling::status).map(ManagedScalingStatus::as_str);
    let protection = found.and_then(AutoScalingGroupProvider::managed_termination_protection);
    let draining = found.and_then(AutoScalingGroupProvider::managed_draining);
    Diff::new()
        .field("managedScaling.status", status, ManagedScalingStatus::Enabled.as_str())
        .field("managedScaling.targetCapacity", scaling.and_then(ManagedScaling::target_capacity), target_capacity)
        .field(
            "managedTerminationProtection",
            protection.map(ManagedTerminationProtection::as_str),
            ManagedTerminationProtection::Enabled.as_str(),
        )
        .field("managedDraining", draining.map(ManagedDraining::as_str), ManagedDraining::Enabled.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_the_fields_of_the_provider() {
        let provider = |status, target, protection| {
            let scaling = ManagedScaling::builder().status(status).target_capacity(target).build();
            let provider = AutoScalingGroupProvider::builder().auto_scaling_group_arn("shop").managed_scaling(scaling);
            provider.managed_termination_protection(protection).managed_draining(ManagedDraining::Enabled).build().unwrap()
        };
        let ours = provider(ManagedScalingStatus::Enabled, 100, ManagedTerminationProtection::Enabled);
        assert!(differences(Some(&ours), 100).is_empty());
        let theirs = provider(ManagedScalingStatus::Disabled, 100, ManagedTerminationProtection::Disabled);
        assert_eq!(
            differences(Some(&theirs), 90).to_string(),
            "managedScaling.status: DISABLED -> ENABLED, managedScaling.targetCapacity: 100 -> 90, managedTerminationProtection: DISABLED -> ENABLED"
        );
    }
}
