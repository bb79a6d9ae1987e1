//! The capacity provider: lets ECS ask for instances when tasks need them.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    AutoScalingGroupProvider, AutoScalingGroupProviderUpdate, CapacityProvider, CapacityProviderField, CapacityProviderStatus,
    CapacityProviderUpdateStatus, ManagedDraining, ManagedScaling, ManagedScalingStatus, ManagedTerminationProtection, Tag,
};
use shared::error::{given, if_found};
use shared::wait::{until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::wish::{Instances, Wanted};

pub type Found = Option<CapacityProvider>;

/// A capacity provider's name must not begin with `aws`, `ecs` or `fargate`, which an app's may.
pub fn name(run: &Run) -> String {
    format!("instances-of-{}", run.app)
}

pub async fn find(ecs: &Client, run: &Run) -> Result<Found> {
    let said = ecs.describe_capacity_providers().capacity_providers(name(run)).include(CapacityProviderField::Tags).send().await;
    let said = if_found(said.tried(format!("look for the capacity provider {}", name(run))))?;
    // Deleted ones stay visible for a while.
    let there = |provider: &&CapacityProvider| provider.status() != Some(&CapacityProviderStatus::Inactive);
    Ok(said.and_then(|said| said.capacity_providers().iter().find(there).cloned()))
}

impl ClusterUp {
    pub async fn provider_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let (name, scaling) = (name(run), scaling(instances));
        let Some(found) = self.found.provider.as_ref().filter(|found| !is_going(found)) else {
            return run.create("capacity provider", &name, self.create_provider(run, &name, scaling)).await.map(drop);
        };
        if !run.is_ours(found.tags().iter().map(|tag| (tag.key(), tag.value()))) {
            return Err(run.foreign("capacity provider", &name));
        }
        run.found("capacity provider", &name);
        let arn = found.capacity_provider_arn().unwrap_or_default();
        self.keep_tags(run, "capacity provider", "instances", arn, found.tags()).await?;
        let group = found.auto_scaling_group_provider();
        let managed = group.and_then(AutoScalingGroupProvider::managed_scaling);
        let diff = Diff::new()
            .field("managedScaling", managed.and_then(ManagedScaling::status), Some(&ManagedScalingStatus::Enabled))
            .field("targetCapacity", managed.and_then(ManagedScaling::target_capacity), Some(instances.target_capacity))
            .field(
                "managedTerminationProtection",
                group.and_then(AutoScalingGroupProvider::managed_termination_protection),
                Some(&ManagedTerminationProtection::Enabled),
            )
            .field("managedDraining", group.and_then(AutoScalingGroupProvider::managed_draining), Some(&ManagedDraining::Enabled));
        run.change("capacity provider", &name, &diff, self.update_provider(run, &name, scaling)).await
    }

    async fn create_provider(&self, run: &Run, name: &str, scaling: ManagedScaling) -> Result<String> {
        if self.found.provider.is_some() {
            self.provider_gone(run, name).await?;
        }
        let provider = AutoScalingGroupProvider::builder()
            // Its name does as well as its ARN, and is known without asking.
            // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AutoScalingGroupProvider.html
            .auto_scaling_group_arn(&run.app)
            .managed_scaling(scaling)
            .managed_termination_protection(ManagedTerminationProtection::Enabled)
            .managed_draining(ManagedDraining::Enabled)
            .build()
            .map_err(|error| Error::Failed(error.to_string()))?;
        let tags = run.tags("instances").into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let call = self.ecs.create_capacity_provider().name(name).auto_scaling_group_provider(provider).set_tags(Some(tags));
        // ECS's role, made a moment ago, is not known everywhere yet.
        let not_yet = |error: &Error| error.says("Service Linked Role") || error.says("service linked role");
        let made = while_not_yet(run, "ECS's service-linked role to be visible", not_yet, async || {
            call.clone().send().await.tried(format!("create the capacity provider {name}"))
        })
        .await?;
        given(made.capacity_provider().and_then(CapacityProvider::capacity_provider_arn), "the new capacity provider's ARN")
    }

    async fn update_provider(&self, run: &Run, name: &str, scaling: ManagedScaling) -> Result<()> {
        let provider = AutoScalingGroupProviderUpdate::builder()
            .managed_scaling(scaling)
            .managed_termination_protection(ManagedTerminationProtection::Enabled)
            .managed_draining(ManagedDraining::Enabled)
            .build();
        // One change at a time.
        let busy = |error: &Error| error.is_code("UpdateInProgressException");
        while_held(run, "the capacity provider's last change", busy, async || {
            self.ecs
                .update_capacity_provider()
                .name(name)
                .auto_scaling_group_provider(provider.clone())
                .send()
                .await
                .tried(format!("change the capacity provider {name}"))
                .map(drop)
        })
        .await
    }

    /// Waits until it is gone: until then the Auto Scaling group is in its hands.
    pub async fn provider_down(&self, run: &Run) -> Result<()> {
        let Some(found) = &self.found.provider else { return Ok(()) };
        let name = name(run);
        if !run.goes("capacity provider", &name, run.is_ours(found.tags().iter().map(|tag| (tag.key(), tag.value())))) {
            return Ok(());
        }
        let delete = async {
            // A cluster lets go of it a moment after it was told to.
            let held = |error: &Error| error.is_code("ResourceInUseException") || error.says("in use") || error.says("associated with");
            while_held(run, "the cluster to let go of the capacity provider", held, async || {
                self.ecs
                    .delete_capacity_provider()
                    .capacity_provider(&name)
                    .send()
                    .await
                    .tried(format!("delete the capacity provider {name}"))
                    .map(drop)
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
                    let why = left.as_ref().and_then(CapacityProvider::update_status_reason).unwrap_or("no reason given");
                    Err(Error::Failed(format!("AWS could not delete the capacity provider {name}: {why}")))
                }
                _ => Ok(left.is_none().then_some(())),
            }
        })
        .await
    }
}

fn is_going(provider: &CapacityProvider) -> bool {
    provider.update_status() == Some(&CapacityProviderUpdateStatus::DeleteInProgress)
}

fn scaling(instances: &Instances) -> ManagedScaling {
    ManagedScaling::builder().status(ManagedScalingStatus::Enabled).target_capacity(instances.target_capacity).build()
}
