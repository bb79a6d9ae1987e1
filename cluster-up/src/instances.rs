//! The instances of the Auto Scaling group: started after the capacity provider is associated, and replaced when they are not the provider's.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LifecycleState};
use aws_sdk_ec2::types::{Instance as Ec2Instance, Reservation};
use aws_smithy_types::DateTime;
use futures_util::try_join;
use scaling_activity::Watch;
use shared::error::if_found;
use shared::step::each;
use shared::wait::{until, while_held};
use shared::{Diff, Error, Result, Run, Tried};

use crate::container_instance::{self, Registered};
use crate::settings::{Instances, Wanted};
use crate::{ClusterUp, auto_scaling_group, capacity_provider, cluster};

/// An instance that is not registered this long after its start never will be. The agent registers when the instance has booted, which takes
/// a few minutes at most, and ends for good when it finds no cluster (aws/amazon-ecs-agent 4689).
const LOST: i64 = 15 * 60;

impl ClusterUp {
    /// Starts the instances of a new group, and replaces those that are not the provider's. By now the provider is associated with the cluster.
    pub async fn instances_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        self.open_group(run, instances).await?;
        self.replace_strangers(run).await
    }

    /// Sets the bounds of a group that is closed: of a new one, or of one whose first run ended early. Later, scale-set sets them.
    async fn open_group(&self, run: &Run, instances: &Instances) -> Result<()> {
        let found = self.found.group.living();
        let is_open = found.is_some_and(|group| group.max_size() != Some(0));
        // The plan of a new group is the group itself.
        if is_open || (found.is_none() && run.is_planning()) {
            return Ok(());
        }
        let (min, max) = (instances.min, instances.max);
        let diff = Diff::new().field("MinSize", 0, min).field("MaxSize", 0, max).field("DesiredCapacity", 0, min);
        let open = async {
            let call = self.autoscaling.update_auto_scaling_group().auto_scaling_group_name(&run.app);
            let call = call.min_size(min).max_size(max).desired_capacity(min);
            call.send().await.tried(format!("start the instances of the Auto Scaling group {}", run.app)).map(drop)
        };
        run.change("Auto Scaling group", &run.app, &diff, open).await
    }

    /// Replaces the instances that are not the provider's. ECS places no task of the app on them, because its services use the provider.
    async fn replace_strangers(&self, run: &Run) -> Result<()> {
        let Some(group) = self.found.group.living() else { return Ok(()) };
        let provider = self.provider_name(run);
        let was_associated = self.found.cluster.as_ref().is_some_and(|found| found.capacity_providers().contains(&provider));
        let (mut strangers, unknown) = sorted(group, &self.found.registered, &provider);
        if was_associated {
            strangers.extend(self.lost(unknown).await?);
        } else {
            // They started before the provider was associated.
            strangers.extend(unknown);
        }
        if strangers.is_empty() {
            return Ok(());
        }
        if !run.is_planning() {
            run.note(&format!(
                "these instances do not belong to the capacity provider {provider}, so ECS starts no tasks on them. They are replaced: {}",
                strangers.join(", ")
            ));
        }
        each(strangers, async |id| {
            let diff = Diff::new().field("capacityProviderName", self.provider_of(&id), Some(provider.as_str()));
            run.change("instance", &id, &diff, self.replace(run, &id)).await
        })
        .await
        .map(drop)
    }

    fn provider_of(&self, id: &str) -> Option<&str> {
        self.found.registered.iter().find(|one| one.id == id).and_then(|one| one.provider.as_deref())
    }

    /// Terminates an instance through its group, which starts another one for it. This also applies to protected instances.
    async fn replace(&self, run: &Run, id: &str) -> Result<()> {
        let busy = |error: &Error| error.is_code("ScalingActivityInProgress");
        while_held(run, "the scaling activities of the Auto Scaling group to end", busy, async || {
            let call = self.autoscaling.terminate_instance_in_auto_scaling_group().instance_id(id).should_decrement_desired_capacity(false);
            match call.send().await.tried(format!("replace the instance {id}")) {
                // It ended meanwhile.
                Err(error) if error.says("No managed instance found") => Ok(()),
                other => other.map(drop),
            }
        })
        .await
    }

    /// Returns those that should have registered long ago.
    async fn lost(&self, unregistered: Vec<String>) -> Result<Vec<String>> {
        if unregistered.is_empty() {
            return Ok(unregistered);
        }
        let call = self.ec2.describe_instances().set_instance_ids(Some(unregistered));
        let said = if_found(shared::pages!(call, "read the instances that have not registered with the cluster"))?.unwrap_or_default();
        let now = DateTime::from(std::time::SystemTime::now()).secs();
        let all: Vec<&Ec2Instance> = said.iter().flat_map(Reservation::instances).collect();
        Ok(all.into_iter().filter(|one| is_lost(one, now)).filter_map(|one| one.instance_id().map(str::to_owned)).collect())
    }

    /// Waits until as many instances as the group should have are registered with the cluster.
    pub async fn instances_ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.instances.is_none() {
            return Ok(());
        }
        let provider = self.provider_name(run);
        let mut launches = if self.found.group.living().is_none() { Watch::of_new_group() } else { Watch::default() };
        until(run, "the instances to register with the cluster", async || {
            let (group, registered, failures, cluster, providers) = try_join!(
                auto_scaling_group::find(&self.autoscaling, run),
                container_instance::find(&self.ecs, run),
                scaling_activity::failed_launches(&self.autoscaling, run),
                cluster::find(&self.ecs, run),
                capacity_provider::find(&self.ecs, run),
            )?;
            if let Some(failure) = launches.newer(&failures) {
                return Err(failure.error(run));
            }
            cluster::check_attachments(run, cluster.as_ref())?;
            providers.check(&provider)?;
            let ours = registered.iter().filter(|one| one.is_active && one.provider.as_ref() == Some(&provider)).count();
            let desired = group.living().and_then(AutoScalingGroup::desired_capacity).unwrap_or(0);
            Ok((ours >= usize::try_from(desired).unwrap_or(0)).then_some(()))
        })
        .await
    }
}

/// Returns the group's running instances that registered without this provider, and those that have not registered.
fn sorted(group: &AutoScalingGroup, registered: &[Registered], provider: &str) -> (Vec<String>, Vec<String>) {
    let runs = |one: &&Instance| one.lifecycle_state() == Some(&LifecycleState::InService);
    let (mut strangers, mut unknown) = (Vec::new(), Vec::new());
    for id in group.instances().iter().filter(runs).filter_map(Instance::instance_id) {
        match registered.iter().find(|one| one.id == id) {
            Some(one) if one.provider.as_deref() == Some(provider) => {}
            Some(_) => strangers.push(id.to_owned()),
            None => unknown.push(id.to_owned()),
        }
    }
    (strangers, unknown)
}

fn is_lost(instance: &Ec2Instance, now: i64) -> bool {
    instance.launch_time().is_some_and(|start| now - start.secs() > LOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(instances: &[(&str, LifecycleState)]) -> AutoScalingGroup {
        let one = |(id, state): &(&str, LifecycleState)| Instance::builder().instance_id(*id).lifecycle_state(state.clone()).build();
        AutoScalingGroup::builder().set_instances(Some(instances.iter().map(one).collect())).build()
    }

    #[test]
    fn instances_of_another_provider_or_of_none_are_strangers() {
        let registered =
            |id: &str, provider: Option<&str>| Registered { id: id.to_owned(), provider: provider.map(str::to_owned), is_active: true };
        let all = ["i-ours", "i-none", "i-other", "i-boots"].map(|id| (id, LifecycleState::InService));
        let all = [all.as_slice(), &[("i-ends", LifecycleState::Terminating), ("i-starts", LifecycleState::Pending)]].concat();
        let registered = [registered("i-ours", Some("ours")), registered("i-none", None), registered("i-other", Some("other"))];
        let (strangers, unknown) = sorted(&group(&all), &registered, "ours");
        assert_eq!(strangers, ["i-none", "i-other"]);
        assert_eq!(unknown, ["i-boots"], "an instance that starts or ends is left alone");
    }

    #[test]
    fn an_instance_that_has_not_registered_in_time_is_lost() {
        let started = |secs| Ec2Instance::builder().launch_time(DateTime::from_secs(secs)).build();
        assert!(!is_lost(&started(1000), 1000 + LOST));
        assert!(is_lost(&started(1000), 1001 + LOST));
    }
}
