//! The scaling policies of the services: which metric is kept at which value. AWS creates an alarm for each (`TargetTracking-…`) and
//! manages it. <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html>

use std::collections::BTreeMap;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::error::BuildError;
use aws_sdk_applicationautoscaling::types::{
    MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalingPolicy, ServiceNamespace,
    TargetTrackingScalingPolicyConfiguration as Configuration,
};
use futures_util::future::try_join_all;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ScaleSet;
use crate::scalable_target::{is_busy, while_busy};
use crate::settings::{Metric, Target, Tasks, Wanted};

/// By resource id.
pub type Found = BTreeMap<String, Vec<ScalingPolicy>>;

/// Seconds after a scale-out until the next one: a new task needs about that long to take its share.
const SCALE_OUT: i32 = 60;
/// Seconds after a scale-in until the next one, AWS's own default: a task that is stopped too early costs more than one stopped late.
const SCALE_IN: i32 = 300;

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/target-tracking-faster-auto-scaling.html>
fn kind(target: &Target) -> MetricType {
    match (target.metric, target.fast) {
        (Metric::Cpu, false) => MetricType::EcsServiceAverageCpuUtilization,
        (Metric::Cpu, true) => MetricType::EcsServiceAverageCpuUtilizationHighResolution,
        (Metric::Memory, false) => MetricType::EcsServiceAverageMemoryUtilization,
        (Metric::Memory, true) => MetricType::EcsServiceAverageMemoryUtilizationHighResolution,
        (Metric::Requests, _) => MetricType::AlbRequestCountPerTarget,
    }
}

fn name(metric: Metric) -> String {
    format!("ecs-pipe-{}", metric.name())
}

/// Finds the policies of the settings' services; with `--down` none, because AWS deletes them with their target.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(application: &Client, wanted: Option<&Wanted>) -> Result<Found> {
    let ids = wanted.into_iter().flat_map(|wanted| &wanted.tasks).map(|tasks| tasks.resource_id.clone());
    let found = try_join_all(ids.map(async |id| {
        let call = application.describe_scaling_policies().service_namespace(ServiceNamespace::Ecs).resource_id(&id);
        let policies = shared::pages!(call, format!("list the scaling policies of {id}"))?;
        Ok::<_, Error>((id, policies))
    }))
    .await?;
    Ok(found.into_iter().collect())
}

impl ScaleSet {
    pub async fn policies_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        // AWS deletes a policy with its target. One that it still lists without a target is an old answer.
        let found = self.found.policies.get(&tasks.resource_id).filter(|_| self.found.targets.contains_key(&tasks.resource_id));
        let found = found.map(Vec::as_slice).unwrap_or_default();
        let mut arns = Vec::new();
        for target in &tasks.targets {
            arns.push(self.policy_up(run, tasks, target, found).await?);
        }
        if let Some(record) = self.scale.borrow_mut().services.get_mut(&tasks.service) {
            record.policy_arns = tasks.targets.iter().map(|target| target.metric.name().to_owned()).zip(arns).collect();
        }
        // Only policies of metrics that are no longer set. Policies with other names are unmanaged.
        let left = Metric::ALL.into_iter().filter(|metric| !tasks.targets.iter().any(|target| target.metric == *metric));
        for name in left.map(name).filter(|name| found.iter().any(|policy| policy.policy_name() == name)) {
            self.remove_policy(run, tasks, &name).await?;
        }
        Ok(())
    }

    async fn policy_up(&self, run: &Run, tasks: &Tasks, target: &Target, found: &[ScalingPolicy]) -> Result<Option<String>> {
        let (name, what) = (name(target.metric), format!("{} {}", tasks.resource_id, name(target.metric)));
        let Some(policy) = found.iter().find(|policy| policy.policy_name() == name) else {
            return run.create("scaling policy", &what, self.put_policy(run, tasks, target)).await;
        };
        run.found("scaling policy", &what);
        let diff = diff(policy.target_tracking_scaling_policy_configuration(), target);
        run.change("scaling policy", &what, &diff, async { self.put_policy(run, tasks, target).await.map(drop) }).await?;
        Ok(Some(policy.policy_arn().to_owned()))
    }

    async fn put_policy(&self, run: &Run, tasks: &Tasks, target: &Target) -> Result<String> {
        let name = name(target.metric);
        let config = configuration(target).map_err(|error| Error::Internal(error.to_string()))?;
        let call = self.application.put_scaling_policy().policy_name(&name).service_namespace(ServiceNamespace::Ecs);
        let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let call = call.policy_type(PolicyType::TargetTrackingScaling).target_tracking_scaling_policy_configuration(config);
        // A new target is not visible everywhere at once, nor is the service-linked role that AWS created with it.
        let unknown = |error: &Error| error.is_code("ObjectNotFoundException") || error.is_code("FailedResourceAccessException");
        let not_yet = |error: &Error| unknown(error) || is_busy(error);
        let set = while_not_yet(run, "the scalable target to be visible", not_yet, async || {
            call.clone().send().await.tried(format!("set the scaling policy {name} of {}", tasks.resource_id))
        })
        .await?;
        Ok(set.policy_arn().to_owned())
    }

    async fn remove_policy(&self, run: &Run, tasks: &Tasks, name: &str) -> Result<()> {
        let id = &tasks.resource_id;
        let call = self.application.delete_scaling_policy().policy_name(name).service_namespace(ServiceNamespace::Ecs);
        let call = call.resource_id(id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let delete =
            while_busy(run, async || call.clone().send().await.tried(format!("delete the scaling policy {name} of {id}")).map(drop));
        run.delete("scaling policy", &format!("{id} {name}"), delete).await
    }
}

fn configuration(target: &Target) -> Result<Configuration, BuildError> {
    let metric = PredefinedMetricSpecification::builder().predefined_metric_type(kind(target));
    let metric = metric.set_resource_label(target.label.clone()).build()?;
    let config = Configuration::builder().target_value(target.value).predefined_metric_specification(metric);
    config.scale_out_cooldown(SCALE_OUT).scale_in_cooldown(SCALE_IN).build()
}

fn diff(found: Option<&Configuration>, target: &Target) -> Diff {
    let field = |name: &str| format!("TargetTrackingScalingPolicyConfiguration.{name}");
    let metric = found.and_then(Configuration::predefined_metric_specification);
    let kind_found = metric.map(|metric| metric.predefined_metric_type().as_str());
    let label_found = metric.and_then(PredefinedMetricSpecification::resource_label);
    Diff::new()
        .field(&field("TargetValue"), found.map(Configuration::target_value), Some(target.value))
        .field(&field("PredefinedMetricSpecification.PredefinedMetricType"), kind_found, Some(kind(target).as_str()))
        .field(&field("PredefinedMetricSpecification.ResourceLabel"), label_found, target.label.as_deref())
        .field(&field("DisableScaleIn"), found.and_then(Configuration::disable_scale_in).unwrap_or(false), false)
        .field(&field("ScaleOutCooldown"), found.and_then(Configuration::scale_out_cooldown), Some(SCALE_OUT))
        .field(&field("ScaleInCooldown"), found.and_then(Configuration::scale_in_cooldown), Some(SCALE_IN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_threshold_is_the_only_field_in_a_plan() {
        let cpu = |value| Target { metric: Metric::Cpu, value, fast: false, label: None };
        let found = configuration(&cpu(70.0)).unwrap();
        assert!(diff(Some(&found), &cpu(70.0)).is_empty());
        assert_eq!(diff(Some(&found), &cpu(60.0)).to_string(), "TargetTrackingScalingPolicyConfiguration.TargetValue: 70 -> 60");
    }

    #[test]
    fn fast_metrics_are_another_metric() {
        let cpu = Target { metric: Metric::Cpu, value: 70.0, fast: false, label: None };
        let said = diff(Some(&configuration(&cpu).unwrap()), &Target { fast: true, ..cpu }).to_string();
        assert!(
            said.ends_with("PredefinedMetricType: ECSServiceAverageCPUUtilization -> ECSServiceAverageCPUUtilizationHighResolution"),
            "{said}"
        );
    }

    #[test]
    fn a_new_load_balancer_changes_the_label() {
        let requests = |label: &str| Target { metric: Metric::Requests, value: 100.0, fast: false, label: Some(label.to_owned()) };
        let said = diff(Some(&configuration(&requests("app/a/1")).unwrap()), &requests("app/a/2")).to_string();
        assert_eq!(said, "TargetTrackingScalingPolicyConfiguration.PredefinedMetricSpecification.ResourceLabel: app/a/1 -> app/a/2");
    }

    #[test]
    fn a_policy_of_another_type_differs_in_what_it_lacks() {
        let said = diff(None, &Target { metric: Metric::Cpu, value: 70.0, fast: false, label: None }).to_string();
        for part in
            ["TargetValue: none -> 70", "PredefinedMetricType: none -> ECSServiceAverageCPUUtilization", "ScaleInCooldown: none -> 300"]
        {
            assert!(said.contains(part), "{said}");
        }
    }
}
