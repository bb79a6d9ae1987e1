//! The Auto Scaling group with the instances, in the private subnets. It is created empty, because an instance that registers before the capacity
//! provider is associated never belongs to the provider.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, Instance, InstancesDistribution, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification,
    LifecycleState, MixedInstancesPolicy, Tag, TagDescription,
};
use shared::error::if_found;
use shared::owner::Pair;
use shared::wait::{until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::settings::{Instances, Wanted};

#[derive(Default)]
pub struct Found(Option<AutoScalingGroup>);

impl Found {
    pub fn exists(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the group, unless it is being deleted.
    pub fn living(&self) -> Option<&AutoScalingGroup> {
        self.0.as_ref().filter(|group| !is_being_deleted(group))
    }
}

/// Instances that one call of `SetInstanceProtection` takes.
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceProtection.html>
const AT_ONCE: usize = 50;

/// The version that instances start from. EC2 resolves it at the start of each instance.
const VERSION: &str = "$Default";

/// What a plan calls a launch template that is not created yet.
const NEW_TEMPLATE: &str = "the new launch template";

pub async fn find(autoscaling: &Client, run: &Run) -> Result<Found> {
    let said = autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(&run.app).send().await;
    let said = said.tried(format!("read the Auto Scaling group {}", run.app))?;
    Ok(Found(said.auto_scaling_groups().first().cloned()))
}

impl ClusterUp {
    pub async fn group_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        {
            let mut cluster = self.cluster.borrow_mut();
            cluster.auto_scaling_group = Some(run.app.clone());
            (cluster.min, cluster.max) = (instances.min, instances.max);
        }
        match self.found.group.living() {
            Some(found) => self.settle_group(run, wanted, instances, found).await,
            None => run.create("Auto Scaling group", &run.app, self.create_group(run, wanted, instances)).await.map(drop),
        }
    }

    async fn create_group(&self, run: &Run, wanted: &Wanted, instances: &Instances) -> Result<String> {
        if self.found.group.exists() {
            self.group_gone(run).await?;
        }
        // Auto Scaling does not see a new instance profile for up to two minutes.
        let not_yet = |error: &Error| error.is_code("ValidationError") && error.says("Invalid IAM Instance Profile");
        let created = while_not_yet(run, "the instance profile to be visible", not_yet, async || {
            let call = self.autoscaling.create_auto_scaling_group().auto_scaling_group_name(&run.app);
            // A maximum of 0 also says that `open_group` has yet to start the instances. No setting allows it.
            let call = call.min_size(0).max_size(0).desired_capacity(0).vpc_zone_identifier(subnets(instances).join(","));
            // Managed termination protection requires it. ECS removes it from an instance that has no tasks.
            let call = call.new_instances_protected_from_scale_in(true).set_tags(Some(aws_tags(run, wanted_tags(run))));
            let call = call.capacity_rebalance(rebalances(wanted.spot));
            let call = match source(&run.app, wanted.spot, &instances.types) {
                Source::One(template) => call.launch_template(template),
                Source::Mixed(policy) => call.mixed_instances_policy(policy),
            };
            call.send().await.tried(format!("create the Auto Scaling group {}", run.app)).map(drop)
        });
        match created.await {
            // An earlier call created it, but its answer was lost.
            Err(error) if error.is_code("AlreadyExists") => {}
            other => other?,
        }
        Ok(run.app.clone())
    }

    /// Corrects everything but the bounds, which scale-set changes once the group exists.
    async fn settle_group(&self, run: &Run, wanted: &Wanted, instances: &Instances, found: &AutoScalingGroup) -> Result<()> {
        if !is_ours(run, found) {
            return Err(run.unmanaged("Auto Scaling group", &run.app));
        }
        run.found("Auto Scaling group", &run.app);
        run.settle_tags(
            "Auto Scaling group",
            &run.app,
            wanted_tags(run),
            found.tags().iter().map(pair),
            async |missing| self.autoscaling.create_or_update_tags().set_tags(Some(aws_tags(run, missing))).send().await,
            async |left| {
                let left = left.into_iter().map(|key| (key, String::new())).collect();
                self.autoscaling.delete_tags().set_tags(Some(aws_tags(run, left))).send().await
            },
        )
        .await?;
        let source = source(&run.app, wanted.spot, &instances.types);
        let template = self.cluster.borrow().launch_template_id.clone();
        let diff = differences(found, instances, &source, template.as_deref().unwrap_or(NEW_TEMPLATE));
        let diff = diff.field("capacityRebalance", found.capacity_rebalance().unwrap_or(false), rebalances(wanted.spot));
        let update = async {
            let call = self.autoscaling.update_auto_scaling_group().auto_scaling_group_name(&run.app);
            let call = call.vpc_zone_identifier(subnets(instances).join(",")).new_instances_protected_from_scale_in(true);
            let call = call.capacity_rebalance(rebalances(wanted.spot));
            let call = match source {
                Source::One(template) => call.launch_template(template),
                Source::Mixed(policy) => call.mixed_instances_policy(policy),
            };
            call.send().await.tried(format!("update the Auto Scaling group {}", run.app)).map(drop)
        };
        run.change("Auto Scaling group", &run.app, &diff, update).await
    }

    pub async fn group_down(&self, run: &Run) -> Result<()> {
        let Some(group) = &self.found.group.0 else { return Ok(()) };
        if !run.may_delete("Auto Scaling group", &run.app, is_ours(run, group)) {
            return Ok(());
        }
        let delete = async {
            self.unprotect(run, group).await?;
            // Managed scaling may be changing the group.
            let busy = |error: &Error| error.is_code("ScalingActivityInProgress") || error.is_code("ResourceInUse");
            while_held(run, "the scaling activities of the Auto Scaling group to end", busy, async || {
                let call = self.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(&run.app).force_delete(true);
                if_found(call.send().await.tried(format!("delete the Auto Scaling group {}", run.app))).map(drop)
            })
            .await?;
            self.group_gone(run).await
        };
        run.delete("Auto Scaling group", &run.app, delete).await
    }

    /// Removes the protection from scale-in, which would block the deletion. ECS never removes it from running instances
    /// (aws/containers-roadmap 2862).
    async fn unprotect(&self, run: &Run, group: &AutoScalingGroup) -> Result<()> {
        for ids in protected(group).chunks(AT_ONCE) {
            let call = self.autoscaling.set_instance_protection().auto_scaling_group_name(&run.app).protected_from_scale_in(false);
            let call = call.set_instance_ids(Some(ids.to_vec()));
            match call.send().await.tried(format!("remove the protection from scale-in of the instances of {}", run.app)) {
                // One of them began to terminate meanwhile.
                Err(error) if error.says("is not in InService") || error.says("not part of Auto Scaling group") => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    async fn group_gone(&self, run: &Run) -> Result<()> {
        until(run, "the instances to be terminated", async || {
            let group = find(&self.autoscaling, run).await?;
            Ok((!group.exists()).then_some(()))
        })
        .await
    }
}

/// A group has a status only while it is being deleted, which takes as long as its instances.
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AutoScalingGroup.html>
fn is_being_deleted(group: &AutoScalingGroup) -> bool {
    group.status().is_some()
}

/// Returns the protected instances. Those that start or terminate are left out, because a call for them fails. The deletion of the group includes
/// them.
fn protected(group: &AutoScalingGroup) -> Vec<String> {
    let states = [LifecycleState::InService, LifecycleState::EnteringStandby, LifecycleState::Standby];
    let is_protected =
        |one: &&Instance| one.protected_from_scale_in() == Some(true) && one.lifecycle_state().is_some_and(|state| states.contains(state));
    group.instances().iter().filter(is_protected).filter_map(|one| one.instance_id().map(str::to_owned)).collect()
}

/// What instances are started from. One type on demand needs only the launch template.
enum Source {
    One(LaunchTemplateSpecification),
    Mixed(MixedInstancesPolicy),
}

fn source(app: &str, spot: i32, types: &[String]) -> Source {
    let template = LaunchTemplateSpecification::builder().launch_template_name(app).version(VERSION).build();
    if spot == 0 && types.len() == 1 {
        return Source::One(template);
    }
    let overrides = types.iter().map(|kind| LaunchTemplateOverrides::builder().instance_type(kind).build()).collect();
    let distribution = InstancesDistribution::builder()
        .on_demand_percentage_above_base_capacity(100 - spot)
        .on_demand_allocation_strategy("prioritized")
        .spot_allocation_strategy("price-capacity-optimized")
        .build();
    let template = LaunchTemplate::builder().launch_template_specification(template).set_overrides(Some(overrides)).build();
    Source::Mixed(MixedInstancesPolicy::builder().launch_template(template).instances_distribution(distribution).build())
}

/// The fields of a [`Source`] that a plan shows, in which both of its kinds can be compared.
struct Shape<'a> {
    template: Option<&'a str>,
    /// Found groups have it. A group keeps the template with which it was created, also when another one has its name.
    template_id: Option<&'a str>,
    version: Option<&'a str>,
    /// The first one is preferred.
    types: Vec<&'a str>,
    on_demand: i32,
}

impl<'a> Shape<'a> {
    fn of_wanted(source: &'a Source) -> Self {
        match source {
            Source::One(template) => Self::of_template(Some(template)),
            Source::Mixed(policy) => Self::of_policy(policy),
        }
    }

    fn of_found(group: &'a AutoScalingGroup) -> Self {
        match group.mixed_instances_policy() {
            Some(policy) => Self::of_policy(policy),
            None => Self::of_template(group.launch_template()),
        }
    }

    fn of_template(template: Option<&'a LaunchTemplateSpecification>) -> Self {
        Self {
            template: template.and_then(LaunchTemplateSpecification::launch_template_name),
            template_id: template.and_then(LaunchTemplateSpecification::launch_template_id),
            // AWS takes a template without a version for its default one.
            version: template.map(|template| template.version().unwrap_or(VERSION)),
            types: Vec::new(),
            on_demand: 100,
        }
    }

    fn of_policy(policy: &'a MixedInstancesPolicy) -> Self {
        let template = policy.launch_template();
        let overrides = template.map(LaunchTemplate::overrides).unwrap_or_default();
        let on_demand = policy.instances_distribution().and_then(InstancesDistribution::on_demand_percentage_above_base_capacity);
        Self {
            types: overrides.iter().filter_map(LaunchTemplateOverrides::instance_type).collect(),
            on_demand: on_demand.unwrap_or(100),
            ..Self::of_template(template.and_then(LaunchTemplate::launch_template_specification))
        }
    }
}

/// Replaces a Spot instance before AWS ends it.
/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-capacity-rebalancing.html>
fn rebalances(spot: i32) -> bool {
    spot > 0
}

fn differences(found: &AutoScalingGroup, instances: &Instances, source: &Source, template_id: &str) -> Diff {
    let (was, is) = (Shape::of_found(found), Shape::of_wanted(source));
    let mut diff = Diff::new().field("newInstancesProtectedFromScaleIn", found.new_instances_protected_from_scale_in(), true);
    // In the plan of a new network, the subnets have no IDs yet.
    if instances.subnets.iter().all(Option::is_some) {
        let subnets_of = found.vpc_zone_identifier().unwrap_or_default().split(',').map(str::trim).filter(|id| !id.is_empty());
        diff = diff.set("vpcZoneIdentifier", subnets_of, subnets(instances));
    }
    if let Some(id) = was.template_id {
        diff = diff.field("launchTemplate.launchTemplateId", id, template_id);
    }
    diff.field("launchTemplate.launchTemplateName", was.template, is.template)
        .field("launchTemplate.version", was.version, is.version)
        .field("instanceTypes", was.types, is.types)
        .field("onDemandPercentage", was.on_demand, is.on_demand)
}

fn subnets(instances: &Instances) -> Vec<&str> {
    instances.subnets.iter().flatten().map(String::as_str).collect()
}

/// Instances have the launch template's tags. With the tag `AmazonECSManaged`, ECS may tag them, too.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>
fn wanted_tags(run: &Run) -> Vec<(String, String)> {
    let mut pairs = run.tags("instances");
    pairs.retain(|(key, _)| key != "AmazonECSManaged");
    pairs.push(("AmazonECSManaged".to_owned(), String::new()));
    pairs
}

fn aws_tags(run: &Run, pairs: Vec<(String, String)>) -> Vec<Tag> {
    let tag = |(key, value): (String, String)| {
        let tag = Tag::builder().resource_type("auto-scaling-group").resource_id(&run.app).propagate_at_launch(key == "AmazonECSManaged");
        tag.key(key).value(value).build()
    };
    pairs.into_iter().map(tag).collect()
}

fn pair(tag: &TagDescription) -> Pair<'_> {
    (tag.key(), tag.value())
}

fn is_ours(run: &Run, group: &AutoScalingGroup) -> bool {
    run.is_ours(group.tags().iter().map(pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Ami;

    fn instances(types: &[&str], subnets: &[Option<&str>]) -> Instances {
        Instances {
            types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            min: 2,
            max: 6,
            ami: Ami::Al2023,
            volume_gib: 30,
            target_capacity: 100,
            session_manager: true,
            boundary: None,
            privileged: false,
            subnets: subnets.iter().map(|id| id.map(str::to_owned)).collect(),
            group: None,
            zones: Vec::new(),
        }
    }

    /// The group that AWS returns for these settings.
    fn group(spot: i32, types: &[&str]) -> AutoScalingGroup {
        let group = AutoScalingGroup::builder().new_instances_protected_from_scale_in(true).vpc_zone_identifier("subnet-2, subnet-1");
        match source("shop", spot, &instances(types, &[]).types) {
            Source::One(template) => group.launch_template(template).build(),
            Source::Mixed(policy) => group.mixed_instances_policy(policy).build(),
        }
    }

    fn plan(found: &AutoScalingGroup, spot: i32, types: &[&str]) -> String {
        let instances = instances(types, &[Some("subnet-1"), Some("subnet-2")]);
        differences(found, &instances, &source("shop", spot, &instances.types), "lt-1").to_string()
    }

    #[test]
    fn a_plan_names_the_fields_of_the_group() {
        let version = |version: &str| LaunchTemplateSpecification::builder().launch_template_name("shop").version(version).build();
        let base = || AutoScalingGroup::builder().new_instances_protected_from_scale_in(true).launch_template(version(VERSION));
        for (found, spot, types, said) in [
            (group(0, &["t3.medium"]), 0, &["t3.medium"][..], ""),
            (group(50, &["a", "b"]), 50, &["a", "b"], ""),
            (group(0, &["t3.medium"]), 0, &["m7i.large"], ""),
            (group(0, &["a"]), 50, &["a", "b"], "instanceTypes: none -> a, b, onDemandPercentage: 100 -> 50"),
            (group(50, &["a", "b"]), 70, &["b", "a"], "instanceTypes: a, b -> b, a, onDemandPercentage: 50 -> 30"),
            (group(50, &["a", "b"]), 0, &["a"], "instanceTypes: a, b -> none, onDemandPercentage: 50 -> 100"),
            (base().vpc_zone_identifier("subnet-1,subnet-3").build(), 0, &["a"], "vpcZoneIdentifier: subnet-3 -> subnet-2"),
            (base().build(), 0, &["a"], "vpcZoneIdentifier: none -> subnet-1, subnet-2"),
            (
                base()
                    .vpc_zone_identifier("subnet-1,subnet-2")
                    .launch_template(version("3"))
                    .new_instances_protected_from_scale_in(false)
                    .build(),
                0,
                &["a"],
                "newInstancesProtectedFromScaleIn: false -> true, launchTemplate.version: 3 -> $Default",
            ),
        ] {
            assert_eq!(plan(&found, spot, types), said);
        }
    }

    #[test]
    fn a_group_that_is_bound_to_a_deleted_template_is_bound_anew() {
        let bound = |id: &str| LaunchTemplateSpecification::builder().launch_template_name("shop").launch_template_id(id).version(VERSION);
        let group = |id: &str| {
            let group = AutoScalingGroup::builder().new_instances_protected_from_scale_in(true).launch_template(bound(id).build());
            group.vpc_zone_identifier("subnet-1,subnet-2").build()
        };
        assert_eq!(plan(&group("lt-1"), 0, &["a"]), "");
        assert_eq!(plan(&group("lt-0"), 0, &["a"]), "launchTemplate.launchTemplateId: lt-0 -> lt-1");
    }

    #[test]
    fn subnets_of_a_planned_network_are_not_compared() {
        let instances = instances(&["a"], &[Some("subnet-1"), None]);
        assert!(differences(&group(0, &["a"]), &instances, &source("shop", 0, &instances.types), "lt-1").is_empty());
    }

    #[test]
    fn only_instances_that_accept_the_call_lose_their_protection() {
        let one = |id: &str, state, protected| {
            Instance::builder().instance_id(id).lifecycle_state(state).protected_from_scale_in(protected).build()
        };
        let group = AutoScalingGroup::builder()
            .instances(one("i-1", LifecycleState::InService, true))
            .instances(one("i-2", LifecycleState::InService, false))
            .instances(one("i-3", LifecycleState::Terminating, true))
            .instances(one("i-4", LifecycleState::Standby, true))
            .instances(one("i-5", LifecycleState::Pending, true))
            .build();
        assert_eq!(protected(&group), ["i-1", "i-4"]);
    }
}
