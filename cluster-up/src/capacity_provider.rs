//! The capacity provider, through which ECS requests instances when tasks need them.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>

use aws_sdk_autoscaling::types::AutoScalingGroup;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    AutoScalingGroupProvider, AutoScalingGroupProviderUpdate, CapacityProvider, CapacityProviderField, CapacityProviderStatus,
    CapacityProviderUpdateStatus, Cluster, ManagedDraining, ManagedScaling, ManagedScalingStatus, ManagedTerminationProtection,
};
use shared::error::{given, if_found};
use shared::wait::{until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::{Instances, Wanted};
use crate::{ClusterUp, tag};

/// The providers with our names, also those that are being deleted. Usually there is one.
#[derive(Default)]
pub struct Found(Vec<CapacityProvider>);

/// Returns the names of the provider. A provider keeps its Auto Scaling group for life, and can't be deleted while services use it. So when the
/// group was deleted by hand, the next provider has the other name. They must not begin with `aws`, `ecs` or `fargate`, which an app's name may.
/// No app's name has an underscore.
fn names(run: &Run) -> [String; 2] {
    [format!("instances-of-{}", run.app), format!("instances-of-{}_2", run.app)]
}

pub async fn find(ecs: &Client, run: &Run) -> Result<Found> {
    let call = ecs.describe_capacity_providers().set_capacity_providers(Some(names(run).to_vec())).include(CapacityProviderField::Tags);
    let said = if_found(call.send().await.tried(format!("read the capacity provider {}", names(run)[0])))?;
    let mut all = said.and_then(|said| said.capacity_providers).unwrap_or_default();
    // A deleted provider is visible for a while, as INACTIVE.
    all.retain(|provider| provider.status() != Some(&CapacityProviderStatus::Inactive));
    Ok(Found(all))
}

impl Found {
    fn named(&self, name: &str) -> Option<&CapacityProvider> {
        self.0.iter().find(|provider| provider.name() == Some(name))
    }

    /// Returns the provider of this group.
    fn of_group(&self, group: Option<&AutoScalingGroup>) -> Option<&CapacityProvider> {
        let group = group?;
        self.0.iter().find(|provider| !is_being_deleted(provider) && is_of_group(provider, group))
    }

    /// Returns the names of the providers that have lost their group, without those that are being deleted.
    pub fn dead(&self, group: Option<&AutoScalingGroup>) -> Vec<&str> {
        let dead = self.0.iter().filter(|provider| !is_being_deleted(provider) && !group.is_some_and(|group| is_of_group(provider, group)));
        dead.filter_map(CapacityProvider::name).collect()
    }

    /// # Errors
    /// Says why ECS could not create or update the provider of this name.
    pub fn check(&self, name: &str) -> Result<()> {
        let Some(provider) = self.named(name).filter(|provider| failed(provider)) else { return Ok(()) };
        let reason = provider.update_status_reason().unwrap_or("AWS gives no reason");
        let text =
            format!("could not create or update the capacity provider {name}: {reason}. Fix the cause, and run the same command again");
        Err(Error::failed("capacity-provider-not-ready", text))
    }
}

/// Returns whether the provider has this group. Another group of the same name has another ARN.
fn is_of_group(provider: &CapacityProvider, group: &AutoScalingGroup) -> bool {
    let found = provider.auto_scaling_group_provider().map(AutoScalingGroupProvider::auto_scaling_group_arn);
    found.is_some_and(|found| group.auto_scaling_group_arn() == Some(found) || group.auto_scaling_group_name() == Some(found))
}

fn failed(provider: &CapacityProvider) -> bool {
    let status = provider.update_status();
    status.is_some_and(|status| matches!(status.as_str(), "CREATE_FAILED" | "UPDATE_FAILED"))
}

/// Returns the name of the provider: of the one that has the group, or else the first name that can be used.
fn name_of(names: &[String; 2], found: &Found, group: Option<&AutoScalingGroup>, associated: &[String]) -> String {
    if let Some(name) = found.of_group(group).and_then(CapacityProvider::name) {
        return name.to_owned();
    }
    let [first, second] = names;
    let is_usable = |name: &String| found.named(name).is_none() || !associated.contains(name);
    if is_usable(first) || !is_usable(second) { first.clone() } else { second.clone() }
}

impl ClusterUp {
    /// Returns the name of the app's provider.
    pub fn provider_name(&self, run: &Run) -> String {
        let associated = self.found.cluster.as_ref().map(Cluster::capacity_providers).unwrap_or_default();
        name_of(&names(run), &self.found.provider, self.found.group.living(), associated)
    }

    pub async fn provider_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let (name, scaling) = (self.provider_name(run), scaling(instances));
        if let Some(other) = self.found.provider.0.iter().find(|found| !run.is_ours(found.tags().iter().map(tag::pair))) {
            return Err(run.unmanaged("capacity provider", other.name().unwrap_or(&name)));
        }
        let Some(found) = self.found.provider.of_group(self.found.group.living()) else {
            return run.create("capacity provider", &name, self.create_provider(run, &name, scaling)).await.map(drop);
        };
        run.found("capacity provider", &name);
        let arn = given(found.capacity_provider_arn(), "the ARN of the capacity provider")?;
        tag::settle(&self.ecs, run, "capacity provider", "instances", &arn, found.tags()).await?;
        let diff = differences(found.auto_scaling_group_provider(), instances.target_capacity);
        let diff = diff.note(failed(found), "the last change failed");
        run.change("capacity provider", &name, &diff, self.update_provider(run, &name, scaling)).await
    }

    async fn create_provider(&self, run: &Run, name: &str, scaling: ManagedScaling) -> Result<String> {
        if let Some(found) = self.found.provider.named(name) {
            if !is_being_deleted(found) {
                self.delete_provider(run, name).await?;
            }
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
        for found in &self.found.provider.0 {
            let name = given(found.name(), "the name of the capacity provider")?;
            if run.may_delete("capacity provider", &name, run.is_ours(found.tags().iter().map(tag::pair))) {
                self.remove_provider(run, &name).await?;
            }
        }
        Ok(())
    }

    /// Deletes a provider that no cluster uses any more.
    pub async fn remove_provider(&self, run: &Run, name: &str) -> Result<()> {
        let delete = async {
            self.delete_provider(run, name).await?;
            self.provider_gone(run, name).await
        };
        run.delete("capacity provider", name, delete).await
    }

    async fn delete_provider(&self, run: &Run, name: &str) -> Result<()> {
        // The cluster releases a provider a moment after its strategy changes.
        let held = |error: &Error| error.is_code("ResourceInUseException") || error.says("in use") || error.says("associated with");
        while_held(run, "the cluster to release the capacity provider", held, async || {
            let call = self.ecs.delete_capacity_provider().capacity_provider(name);
            if_found(call.send().await.tried(format!("delete the capacity provider {name}"))).map(drop)
        })
        .await
    }

    async fn provider_gone(&self, run: &Run, name: &str) -> Result<()> {
        until(run, &format!("the capacity provider {name} to be deleted"), async || {
            let left = find(&self.ecs, run).await?;
            let left = left.named(name);
            match left.and_then(CapacityProvider::update_status) {
                Some(CapacityProviderUpdateStatus::DeleteFailed) => {
                    let reason = left.and_then(CapacityProvider::update_status_reason).unwrap_or("AWS gives no reason");
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

    fn provider_of(name: &str, group: &str) -> CapacityProvider {
        let group = AutoScalingGroupProvider::builder().auto_scaling_group_arn(group).build().unwrap();
        CapacityProvider::builder().name(name).auto_scaling_group_provider(group).build()
    }

    #[test]
    fn a_provider_whose_group_was_deleted_is_replaced_under_the_other_name_while_it_is_associated() {
        let names = ["one", "two"].map(str::to_owned);
        let group = AutoScalingGroup::builder().auto_scaling_group_name("shop").auto_scaling_group_arn("arn:new").build();
        let associated = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (found, group, in_cluster, name, dead) in [
            (vec![], None, &[][..], "one", &[][..]),
            (vec![provider_of("one", "arn:new")], Some(&group), &["one"], "one", &[]),
            (vec![provider_of("one", "shop")], Some(&group), &["one"], "one", &[]),
            (vec![provider_of("one", "arn:old")], Some(&group), &["one"], "two", &["one"]),
            (vec![provider_of("one", "arn:old")], None, &["one"], "two", &["one"]),
            (vec![provider_of("one", "arn:old")], None, &[], "one", &["one"]),
            (vec![provider_of("one", "arn:old"), provider_of("two", "arn:new")], Some(&group), &["one", "two"], "two", &["one"]),
            (vec![provider_of("two", "arn:old")], Some(&group), &["two"], "one", &["two"]),
        ] {
            let found = Found(found);
            assert_eq!(name_of(&names, &found, group, &associated(in_cluster)), name);
            assert_eq!(found.dead(group), dead);
        }
    }

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
