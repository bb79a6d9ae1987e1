//! The Auto Scaling group: the instances, over the private subnets.

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, InstancesDistribution, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, LifecycleState,
    MixedInstancesPolicy, Tag,
};
use shared::error::if_found;
use shared::wait::{until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::wish::{Instances, Wanted};

pub type Found = Option<AutoScalingGroup>;

/// How many instances one call of `SetInstanceProtection` takes.
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceProtection.html>
const AT_ONCE: usize = 50;

pub async fn find(autoscaling: &Client, run: &Run) -> Result<Found> {
    let said = autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(&run.app).send().await;
    let said = said.tried(format!("look for the Auto Scaling group {}", run.app))?;
    Ok(said.auto_scaling_groups().first().cloned())
}

impl ClusterUp {
    pub async fn group_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        {
            let mut cluster = self.cluster.borrow_mut();
            cluster.auto_scaling_group = Some(run.app.clone());
            (cluster.min, cluster.max) = (instances.min, instances.max);
        }
        match &self.found.group {
            Some(found) if !is_going(found) => self.settle_group(run, wanted, instances, found).await,
            _ => run.create("Auto Scaling group", &run.app, self.create_group(run, wanted, instances)).await.map(drop),
        }
    }

    async fn create_group(&self, run: &Run, wanted: &Wanted, instances: &Instances) -> Result<String> {
        if self.found.group.is_some() {
            self.group_gone(run).await?;
        }
        // An instance profile made a moment ago is not known to Auto Scaling yet (up to two minutes).
        let not_yet = |error: &Error| error.is_code("ValidationError") && error.says("Invalid IAM Instance Profile");
        let created = while_not_yet(run, "the instance profile to be visible", not_yet, async || {
            let call = self
                .autoscaling
                .create_auto_scaling_group()
                .auto_scaling_group_name(&run.app)
                .min_size(instances.min)
                .max_size(instances.max);
            // ECS's managed termination protection needs it, and takes it away only from empty instances.
            let call = call
                .vpc_zone_identifier(subnets(instances))
                .new_instances_protected_from_scale_in(true)
                .set_tags(Some(tags(run, wanted_tags(run))));
            let call = match source(run, wanted, instances) {
                Source::One(template) => call.launch_template(template),
                Source::Mixed(policy) => call.mixed_instances_policy(policy),
            };
            call.send().await.tried(format!("create the Auto Scaling group {}", run.app)).map(drop)
        });
        match created.await {
            // Done already by a run whose answer was lost.
            Err(error) if error.is_code("AlreadyExists") => {}
            other => other?,
        }
        Ok(run.app.clone())
    }

    /// Its bounds are `scale-set`'s once it exists.
    async fn settle_group(&self, run: &Run, wanted: &Wanted, instances: &Instances, found: &AutoScalingGroup) -> Result<()> {
        if !run.is_ours(found.tags().iter().map(|tag| (tag.key(), tag.value()))) {
            return Err(run.foreign("Auto Scaling group", &run.app));
        }
        run.found("Auto Scaling group", &run.app);
        let found_tags = found.tags().iter().map(|tag| (tag.key(), tag.value()));
        run.settle_tags("Auto Scaling group", &run.app, wanted_tags(run), found_tags, async |missing| {
            let call = self.autoscaling.create_or_update_tags().set_tags(Some(tags(run, missing)));
            call.send().await.tried(format!("tag the Auto Scaling group {}", run.app)).map(drop)
        })
        .await?;
        let mut diff =
            Diff::new().field("new instances protected from scale-in", found.new_instances_protected_from_scale_in(), Some(true));
        if instances.subnets.iter().all(Option::is_some) {
            diff = diff.field("subnets", sorted(found.vpc_zone_identifier().unwrap_or_default()), sorted(&subnets(instances)));
        }
        let source = source(run, wanted, instances);
        diff = diff.field("instances", of_found(found), of_wanted(&source));
        let update = async {
            let call =
                self.autoscaling.update_auto_scaling_group().auto_scaling_group_name(&run.app).vpc_zone_identifier(subnets(instances));
            let call = call.new_instances_protected_from_scale_in(true);
            let call = match source {
                Source::One(template) => call.launch_template(template),
                Source::Mixed(policy) => call.mixed_instances_policy(policy),
            };
            call.send().await.tried(format!("change the Auto Scaling group {}", run.app)).map(drop)
        };
        run.change("Auto Scaling group", &run.app, &diff, update).await
    }

    /// Waits until as many instances serve as the group asks for.
    pub async fn instances_ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.instances.is_none() {
            return Ok(());
        }
        until(run, "the instances to be in service", async || {
            let group = find(&self.autoscaling, run).await?;
            let serving = |group: &AutoScalingGroup| {
                group.instances().iter().filter(|instance| instance.lifecycle_state() == Some(&LifecycleState::InService)).count()
            };
            Ok(group
                .is_some_and(|group| serving(&group) >= usize::try_from(group.desired_capacity().unwrap_or(0)).unwrap_or(0))
                .then_some(()))
        })
        .await
    }

    /// ECS never takes its protection from instances (aws/containers-roadmap 2862), so that is done here first.
    pub async fn group_down(&self, run: &Run) -> Result<()> {
        let Some(group) = &self.found.group else { return Ok(()) };
        if !run.goes("Auto Scaling group", &run.app, run.is_ours(group.tags().iter().map(|tag| (tag.key(), tag.value())))) {
            return Ok(());
        }
        let delete = async {
            // Those that start or end can't be spoken to, and the group's deletion takes them all the same.
            let settled = [LifecycleState::InService, LifecycleState::EnteringStandby, LifecycleState::Standby];
            let guarded: Vec<&str> = group
                .instances()
                .iter()
                .filter(|one| {
                    one.protected_from_scale_in() == Some(true) && one.lifecycle_state().is_some_and(|state| settled.contains(state))
                })
                .filter_map(|one| one.instance_id())
                .collect();
            for ids in guarded.chunks(AT_ONCE) {
                let ids = ids.iter().map(|id| (*id).to_owned()).collect();
                let call = self
                    .autoscaling
                    .set_instance_protection()
                    .auto_scaling_group_name(&run.app)
                    .protected_from_scale_in(false)
                    .set_instance_ids(Some(ids));
                match call.send().await.tried(format!("take the protection from the instances of {}", run.app)) {
                    // One of them has begun to end since.
                    Err(error) if error.says("is not in InService") || error.says("not part of Auto Scaling group") => {}
                    other => drop(other?),
                }
            }
            // Managed scaling may just be at work.
            let busy = |error: &Error| error.is_code("ScalingActivityInProgress") || error.is_code("ResourceInUse");
            while_held(run, "the Auto Scaling group to be still", busy, async || {
                let call = self.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(&run.app).force_delete(true);
                if_found(call.send().await.tried(format!("delete the Auto Scaling group {}", run.app))).map(drop)
            })
            .await?;
            self.group_gone(run).await
        };
        run.delete("Auto Scaling group", &run.app, delete).await
    }

    async fn group_gone(&self, run: &Run) -> Result<()> {
        until(run, "the instances to be terminated", async || Ok(find(&self.autoscaling, run).await?.is_none().then_some(()))).await
    }
}

/// A group has a status only while it is being deleted, which takes as long as its instances.
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AutoScalingGroup.html>
fn is_going(group: &AutoScalingGroup) -> bool {
    group.status().is_some()
}

/// What instances are made from: one type on demand needs only the template.
enum Source {
    One(LaunchTemplateSpecification),
    Mixed(MixedInstancesPolicy),
}

fn source(run: &Run, wanted: &Wanted, instances: &Instances) -> Source {
    let template = LaunchTemplateSpecification::builder().launch_template_name(&run.app).version("$Default").build();
    if wanted.spot == 0 && instances.types.len() == 1 {
        return Source::One(template);
    }
    let overrides = instances.types.iter().map(|kind| LaunchTemplateOverrides::builder().instance_type(kind).build()).collect();
    let distribution = InstancesDistribution::builder()
        .on_demand_percentage_above_base_capacity(100 - wanted.spot)
        .on_demand_allocation_strategy("prioritized")
        .spot_allocation_strategy("price-capacity-optimized")
        .build();
    let template = LaunchTemplate::builder().launch_template_specification(template).set_overrides(Some(overrides)).build();
    Source::Mixed(MixedInstancesPolicy::builder().launch_template(template).instances_distribution(distribution).build())
}

fn of_wanted(source: &Source) -> String {
    match source {
        Source::One(template) => of_template(template),
        Source::Mixed(policy) => of_policy(policy),
    }
}

fn of_found(group: &AutoScalingGroup) -> String {
    match group.mixed_instances_policy() {
        Some(policy) => of_policy(policy),
        None => group.launch_template().map(of_template).unwrap_or_default(),
    }
}

fn of_template(template: &LaunchTemplateSpecification) -> String {
    format!("{}:{}", template.launch_template_name().unwrap_or_default(), template.version().unwrap_or("$Default"))
}

fn of_policy(policy: &MixedInstancesPolicy) -> String {
    let template = policy.launch_template();
    let types: Vec<&str> =
        template.map(LaunchTemplate::overrides).unwrap_or_default().iter().filter_map(|one| one.instance_type()).collect();
    let on_demand = policy.instances_distribution().and_then(InstancesDistribution::on_demand_percentage_above_base_capacity);
    let name = template.and_then(LaunchTemplate::launch_template_specification).map(of_template).unwrap_or_default();
    format!("{name} {} {}% on demand", types.join(" "), on_demand.unwrap_or(100))
}

fn subnets(instances: &Instances) -> String {
    instances.subnets.iter().flatten().cloned().collect::<Vec<_>>().join(",")
}

fn sorted(ids: &str) -> String {
    let mut ids: Vec<&str> = ids.split(',').map(str::trim).collect();
    ids.sort_unstable();
    ids.join(",")
}

/// Instances carry the launch template's tags; with `AmazonECSManaged`, ECS may tag them too.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>
fn wanted_tags(run: &Run) -> Vec<(String, String)> {
    let mut pairs = run.tags("instances");
    pairs.retain(|(key, _)| key != "AmazonECSManaged");
    pairs.push(("AmazonECSManaged".to_owned(), String::new()));
    pairs
}

fn tags(run: &Run, pairs: Vec<(String, String)>) -> Vec<Tag> {
    let tag = |(key, value): (String, String)| {
        let tag = Tag::builder().resource_type("auto-scaling-group").resource_id(&run.app).propagate_at_launch(key == "AmazonECSManaged");
        tag.key(key).value(value).build()
    };
    pairs.into_iter().map(tag).collect()
}
