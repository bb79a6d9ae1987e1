//! The Auto Scaling group's bounds and, when asked, tracking on its instances' CPU. The group itself is `cluster-up`'s.

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, MetricType, PredefinedMetricSpecification, ScalingPolicy, TargetTrackingConfiguration};
use futures_util::try_join;
use shared::error::if_found;
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::{Instances, Wanted};
use crate::{ScaleSet, ScaledInstances};

#[derive(Default)]
pub struct Found {
    group: Option<AutoScalingGroup>,
    policy: Option<ScalingPolicy>,
}

const POLICY: &str = "ecs-pipe-cpu";

pub async fn find(groups: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    if wanted.is_some_and(|wanted| wanted.instances.is_none()) {
        return Ok(Found::default());
    }
    let name = wanted.and_then(|wanted| wanted.instances.as_ref()).map_or(&run.app, |instances| &instances.group);
    let group = async {
        let said = groups.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await;
        said.tried(format!("look for the Auto Scaling group {name}"))
    };
    let policy = async {
        let said = groups.describe_policies().auto_scaling_group_name(name).policy_names(POLICY).send().await;
        if_found(said.tried(format!("look for the scaling policy of the Auto Scaling group {name}")))
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
        self.scale.borrow_mut().instances =
            Some(ScaledInstances { auto_scaling_group: instances.group.clone(), min: instances.min, max: instances.max });
        match &self.found.group.group {
            Some(found) if !is_of_app(run, found) => return Err(run.foreign("Auto Scaling group", &instances.group)),
            Some(found) => self.settle_bounds(run, instances, found).await?,
            // In a plan it is there as soon as cluster-up has made it.
            None if run.is_planning() => {}
            None => {
                return Err(Error::Failed(format!(
                    "there is no Auto Scaling group {}: cluster-up makes it; run it again",
                    instances.group
                )));
            }
        }
        self.settle_policy(run, instances).await
    }

    async fn settle_bounds(&self, run: &Run, instances: &Instances, found: &AutoScalingGroup) -> Result<()> {
        let diff = Diff::new().field("min", found.min_size(), Some(instances.min)).field("max", found.max_size(), Some(instances.max));
        let update = async {
            let call = self
                .groups
                .update_auto_scaling_group()
                .auto_scaling_group_name(&instances.group)
                .min_size(instances.min)
                .max_size(instances.max);
            call.send().await.tried(format!("set the bounds of the Auto Scaling group {}", instances.group)).map(drop)
        };
        run.change("Auto Scaling group", &instances.group, &diff, update).await
    }

    async fn settle_policy(&self, run: &Run, instances: &Instances) -> Result<()> {
        let what = format!("{} {POLICY}", instances.group);
        match (instances.cpu, &self.found.group.policy) {
            (None, None) => Ok(()),
            (None, Some(_)) => self.group_down(run).await,
            (Some(cpu), None) => {
                run.create("scaling policy", &what, async { self.put_policy(instances, cpu).await.map(|()| what.clone()) }).await.map(drop)
            }
            (Some(cpu), Some(found)) => {
                let config = found.target_tracking_configuration();
                let metric = config.and_then(TargetTrackingConfiguration::predefined_metric_specification);
                let diff = Diff::new()
                    .field("cpu", config.and_then(TargetTrackingConfiguration::target_value), Some(cpu))
                    .field(
                        "metric",
                        metric.and_then(PredefinedMetricSpecification::predefined_metric_type),
                        Some(&MetricType::AsgAverageCpuUtilization),
                    )
                    .field("disableScaleIn", config.and_then(TargetTrackingConfiguration::disable_scale_in).unwrap_or(false), false);
                run.change("scaling policy", &what, &diff, self.put_policy(instances, cpu)).await
            }
        }
    }

    async fn put_policy(&self, instances: &Instances, cpu: f64) -> Result<()> {
        let metric = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization).build();
        let config = TargetTrackingConfiguration::builder().predefined_metric_specification(metric).target_value(cpu).build();
        let call = self
            .groups
            .put_scaling_policy()
            .auto_scaling_group_name(&instances.group)
            .policy_name(POLICY)
            .policy_type("TargetTrackingScaling");
        call.target_tracking_configuration(config)
            .send()
            .await
            .tried(format!("put the scaling policy of the Auto Scaling group {}", instances.group))
            .map(drop)
    }

    /// The bounds stay: the group is `cluster-up`'s.
    pub async fn group_down(&self, run: &Run) -> Result<()> {
        if self.found.group.policy.is_none() || !self.found.group.group.as_ref().is_some_and(|group| is_of_app(run, group)) {
            return Ok(());
        }
        let delete = async {
            self.groups
                .delete_policy()
                .auto_scaling_group_name(&run.app)
                .policy_name(POLICY)
                .send()
                .await
                .tried(format!("delete the scaling policy of {}", run.app))
                .map(drop)
        };
        run.delete("scaling policy", &format!("{} {POLICY}", run.app), delete).await
    }
}
