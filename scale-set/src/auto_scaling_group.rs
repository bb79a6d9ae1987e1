//! The bounds of the Auto Scaling group and, when `x-scale.cpu` is set, target tracking on the CPU of its instances. `cluster-up` creates
//! the group.

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, MetricType, PredefinedMetricSpecification, ScalingPolicy, TargetTrackingConfiguration};
use futures_util::try_join;
use shared::error::if_found;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ScaleSet;
use crate::section::ScaledInstances;
use crate::settings::{Instances, Wanted};

#[derive(Default)]
pub struct Found {
    group: Option<AutoScalingGroup>,
    policy: Option<ScalingPolicy>,
}

const POLICY: &str = "ecs-pipe-cpu";

/// Finds the group and its policy; nothing when the cluster has no group.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(groups: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    if wanted.is_some_and(|wanted| wanted.instances.is_none()) {
        return Ok(Found::default());
    }
    let name = wanted.and_then(|wanted| wanted.instances.as_ref()).map_or(&run.app, |instances| &instances.group);
    let group = async {
        let said = groups.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await;
        said.tried(format!("read the Auto Scaling group {name}"))
    };
    let policy = async {
        let said = groups.describe_policies().auto_scaling_group_name(name).policy_names(POLICY).send().await;
        if_found(said.tried(format!("read the scaling policy of the Auto Scaling group {name}")))
    };
    let (group, policy) = try_join!(group, policy)?;
    Ok(Found {
        group: group.auto_scaling_groups().first().cloned(),
        policy: policy.and_then(|said| said.scaling_policies().first().cloned()),
    })
}

fn is_of_app(run: &Run, group: &AutoScalingGroup) -> bool {
    run.is_of_app(group.tags().iter().map(|tag| (tag.key(), tag.value())))
}

impl ScaleSet {
    pub async fn group_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let Instances { group, bounds, .. } = instances;
        self.scale.borrow_mut().instances = Some(ScaledInstances { auto_scaling_group: group.clone(), min: bounds.min, max: bounds.max });
        match &self.found.group.group {
            Some(found) if !is_of_app(run, found) => return Err(run.unmanaged("Auto Scaling group", group)),
            Some(found) => self.settle_bounds(run, instances, found).await?,
            // In a plan of a new cluster the group does not exist yet.
            None if run.is_planning() => {}
            None => return Err(missing(group)),
        }
        self.settle_group_policy(run, instances).await
    }

    async fn settle_bounds(&self, run: &Run, instances: &Instances, found: &AutoScalingGroup) -> Result<()> {
        let Instances { group, bounds, .. } = instances;
        let diff = Diff::new().field("MinSize", found.min_size(), Some(bounds.min)).field("MaxSize", found.max_size(), Some(bounds.max));
        let update = async {
            let call = self.groups.update_auto_scaling_group().auto_scaling_group_name(group).min_size(bounds.min).max_size(bounds.max);
            call.send().await.tried(format!("update the bounds of the Auto Scaling group {group}")).map(drop)
        };
        run.change("Auto Scaling group", group, &diff, update).await
    }

    async fn settle_group_policy(&self, run: &Run, instances: &Instances) -> Result<()> {
        let what = format!("{} {POLICY}", instances.group);
        match (instances.cpu, &self.found.group.policy) {
            (None, None) => Ok(()),
            (None, Some(_)) => self.group_down(run).await,
            (Some(cpu), None) => {
                let create = async { self.put_group_policy(instances, cpu).await.map(|()| what.clone()) };
                run.create("scaling policy", &what, create).await.map(drop)
            }
            (Some(cpu), Some(found)) => {
                let diff = diff(found.target_tracking_configuration(), cpu);
                run.change("scaling policy", &what, &diff, self.put_group_policy(instances, cpu)).await
            }
        }
    }

    async fn put_group_policy(&self, instances: &Instances, cpu: f64) -> Result<()> {
        let call = self.groups.put_scaling_policy().auto_scaling_group_name(&instances.group).policy_name(POLICY);
        let call = call.policy_type("TargetTrackingScaling").target_tracking_configuration(configuration(cpu));
        call.send().await.tried(format!("set the scaling policy of the Auto Scaling group {}", instances.group)).map(drop)
    }

    /// Deletes the policy. The bounds are kept, because the group is `cluster-up`'s.
    pub async fn group_down(&self, run: &Run) -> Result<()> {
        if self.found.group.policy.is_none() || !self.found.group.group.as_ref().is_some_and(|group| is_of_app(run, group)) {
            return Ok(());
        }
        let delete = async {
            let call = self.groups.delete_policy().auto_scaling_group_name(&run.app).policy_name(POLICY);
            call.send().await.tried(format!("delete the scaling policy of the Auto Scaling group {}", run.app)).map(drop)
        };
        run.delete("scaling policy", &format!("{} {POLICY}", run.app), delete).await
    }
}

fn missing(group: &str) -> Error {
    let what = format!("could not update the Auto Scaling group {group}: it does not exist");
    Error::failed("scaled-group-missing", format!("{what}. Run cluster-up again, which creates it, and then the same command"))
}

fn configuration(cpu: f64) -> TargetTrackingConfiguration {
    let metric = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization).build();
    TargetTrackingConfiguration::builder().predefined_metric_specification(metric).target_value(cpu).build()
}

fn diff(found: Option<&TargetTrackingConfiguration>, cpu: f64) -> Diff {
    let field = |name: &str| format!("TargetTrackingConfiguration.{name}");
    let metric = found.and_then(TargetTrackingConfiguration::predefined_metric_specification);
    let metric = metric.and_then(PredefinedMetricSpecification::predefined_metric_type).map(MetricType::as_str);
    let wanted = MetricType::AsgAverageCpuUtilization;
    Diff::new()
        .field(&field("TargetValue"), found.and_then(TargetTrackingConfiguration::target_value), Some(cpu))
        .field(&field("PredefinedMetricSpecification.PredefinedMetricType"), metric, Some(wanted.as_str()))
        .field(&field("DisableScaleIn"), found.and_then(TargetTrackingConfiguration::disable_scale_in).unwrap_or(false), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_threshold_is_the_only_field_in_a_plan() {
        let found = configuration(70.0);
        assert!(diff(Some(&found), 70.0).is_empty());
        assert_eq!(diff(Some(&found), 60.5).to_string(), "TargetTrackingConfiguration.TargetValue: 70 -> 60.5");
    }
}
