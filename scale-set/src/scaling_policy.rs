//! The scaling policies of the services: which metric is held at which value. The alarms that they make for themselves (`TargetTracking-…`) are
//! theirs. <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html>

use std::collections::BTreeMap;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{
    MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalingPolicy, ServiceNamespace,
    TargetTrackingScalingPolicyConfiguration,
};
use futures_util::future::try_join_all;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::{Metric, Target, Tasks, Wanted};
use crate::{ScaleSet, is_busy};

/// By resource id.
pub type Found = BTreeMap<String, Vec<ScalingPolicy>>;

/// Seconds after a scale-out until the next: a new task needs about that long to take its share.
const SCALE_OUT: i32 = 60;
/// Seconds after a scale-in until the next, AWS's own default: going slowly costs less than going back.
const SCALE_IN: i32 = 300;

fn kind(metric: Metric) -> MetricType {
    match metric {
        Metric::Cpu => MetricType::EcsServiceAverageCpuUtilization,
        Metric::Memory => MetricType::EcsServiceAverageMemoryUtilization,
        Metric::Requests => MetricType::AlbRequestCountPerTarget,
    }
}

fn name(metric: Metric) -> String {
    format!("ecs-pipe-{}", metric.name())
}

pub async fn find(application: &Client, wanted: Option<&Wanted>) -> Result<Found> {
    let ids = wanted.into_iter().flat_map(|wanted| &wanted.tasks).map(|tasks| tasks.resource_id.clone());
    let found = try_join_all(ids.map(async |id| {
        let call = application.describe_scaling_policies().service_namespace(ServiceNamespace::Ecs).resource_id(&id);
        let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        Ok::<_, Error>((id.clone(), items.tried(format!("look for the scaling policies of {id}"))?))
    }))
    .await?;
    Ok(found.into_iter().collect())
}

impl ScaleSet {
    pub async fn policies_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        // A policy goes with its target: one that is still listed without it is an old answer.
        let found = self.found.policies.get(&tasks.resource_id).filter(|_| self.found.targets.contains_key(&tasks.resource_id));
        let found = found.map(Vec::as_slice).unwrap_or_default();
        let mut arns = Vec::new();
        for target in &tasks.targets {
            arns.push(self.policy_up(run, tasks, target, found).await?);
        }
        if let Some(record) = self.scale.borrow_mut().services.get_mut(&tasks.service) {
            record.policy_arns = tasks.targets.iter().map(|target| target.metric.name().to_owned()).zip(arns).collect();
        }
        // A metric that is no longer held; policies with other names are somebody else's.
        let left = [Metric::Cpu, Metric::Memory, Metric::Requests]
            .into_iter()
            .filter(|metric| !tasks.targets.iter().any(|target| target.metric == *metric));
        let extra = left.map(name).filter(|name| found.iter().any(|policy| policy.policy_name() == name));
        for name in extra {
            let call = self.application.delete_scaling_policy().policy_name(&name).service_namespace(ServiceNamespace::Ecs);
            let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
            let delete = while_held(run, "another change of the scalable target to end", is_busy, async || {
                call.clone().send().await.tried(format!("delete the scaling policy {name} of {}", tasks.resource_id)).map(drop)
            });
            run.delete("scaling policy", &format!("{} {name}", tasks.resource_id), delete).await?;
        }
        Ok(())
    }

    async fn policy_up(&self, run: &Run, tasks: &Tasks, target: &Target, found: &[ScalingPolicy]) -> Result<Option<String>> {
        let (name, what) = (name(target.metric), format!("{} {}", tasks.resource_id, name(target.metric)));
        let Some(policy) = found.iter().find(|policy| policy.policy_name() == name) else {
            return run.create("scaling policy", &what, self.put(run, tasks, target)).await;
        };
        run.found("scaling policy", &what);
        let config = policy.target_tracking_scaling_policy_configuration();
        let metric = config.and_then(|config| config.predefined_metric_specification());
        let diff = Diff::new()
            .field(target.metric.name(), config.map(TargetTrackingScalingPolicyConfiguration::target_value), Some(target.value))
            .field("metric", metric.map(PredefinedMetricSpecification::predefined_metric_type), Some(&kind(target.metric)))
            .field("disableScaleIn", config.and_then(TargetTrackingScalingPolicyConfiguration::disable_scale_in).unwrap_or(false), false)
            .field("resourceLabel", metric.and_then(|metric| metric.resource_label()), target.label.as_deref())
            .field("scaleOutCooldown", config.and_then(TargetTrackingScalingPolicyConfiguration::scale_out_cooldown), Some(SCALE_OUT))
            .field("scaleInCooldown", config.and_then(TargetTrackingScalingPolicyConfiguration::scale_in_cooldown), Some(SCALE_IN));
        run.change("scaling policy", &what, &diff, async { self.put(run, tasks, target).await.map(drop) }).await?;
        Ok(Some(policy.policy_arn().to_owned()))
    }

    async fn put(&self, run: &Run, tasks: &Tasks, target: &Target) -> Result<String> {
        let impossible = |error: aws_sdk_applicationautoscaling::error::BuildError| Error::Failed(error.to_string());
        let metric = PredefinedMetricSpecification::builder()
            .predefined_metric_type(kind(target.metric))
            .set_resource_label(target.label.clone())
            .build()
            .map_err(impossible)?;
        let config = TargetTrackingScalingPolicyConfiguration::builder().target_value(target.value).predefined_metric_specification(metric);
        let config = config.scale_out_cooldown(SCALE_OUT).scale_in_cooldown(SCALE_IN).build().map_err(impossible)?;
        let call = self.application.put_scaling_policy().policy_name(name(target.metric)).service_namespace(ServiceNamespace::Ecs);
        let call = call.resource_id(&tasks.resource_id).scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let call = call.policy_type(PolicyType::TargetTrackingScaling).target_tracking_scaling_policy_configuration(config);
        // A target made a moment ago is not known everywhere yet, nor the service-linked role that came with it.
        let unknown = |error: &Error| error.is_code("ObjectNotFoundException") || error.is_code("FailedResourceAccessException");
        let not_yet = |error: &Error| unknown(error) || is_busy(error);
        let made = while_not_yet(run, "the scalable target to be visible", not_yet, async || {
            call.clone().send().await.tried(format!("put the scaling policy {} of {}", name(target.metric), tasks.resource_id))
        })
        .await?;
        Ok(made.policy_arn().to_owned())
    }
}
