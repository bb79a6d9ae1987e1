//! Changes of scaling.

use aws_sdk_applicationautoscaling::types::ScalableDimension::EcsServiceDesiredCount;
use aws_sdk_applicationautoscaling::types::ServiceNamespace::Ecs;
use aws_sdk_applicationautoscaling::types::{PolicyType, ScalableTargetAction, SuspendedState};

use super::{APP, Deployed, Done, PIPE};

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    PIPE.with(|app| app.reverts("scale-set", says, change));
}

#[test]
fn scalable_target_changed() {
    reverts("scalable target service/drift/web (MaxCapacity: 3 -> 10)", async |app| {
        let call = app.clients.application.register_scalable_target().service_namespace(Ecs).scalable_dimension(EcsServiceDesiredCount);
        Ok(call.resource_id("service/drift/web").min_capacity(2).max_capacity(3).send().await.map(drop)?)
    });
}

#[test]
fn scaling_policy_deleted() {
    reverts("+ scaling policy service/drift/web ecs-pipe-cpu", async |app| {
        let call = app.clients.application.delete_scaling_policy().service_namespace(Ecs).scalable_dimension(EcsServiceDesiredCount);
        Ok(call.resource_id("service/drift/web").policy_name("ecs-pipe-cpu").send().await.map(drop)?)
    });
}

#[test]
fn scheduled_action_deleted() {
    reverts("+ scheduled action service/drift/api ecs-pipe-morning", async |app| {
        let call = app.clients.application.delete_scheduled_action().service_namespace(Ecs).scalable_dimension(EcsServiceDesiredCount);
        Ok(call.resource_id("service/drift/api").scheduled_action_name("ecs-pipe-morning").send().await.map(drop)?)
    });
}

#[test]
fn scalable_target_tag_deleted() {
    reverts("(tags.team: none -> shop)", async |app| {
        let call = app.clients.application.describe_scalable_targets().service_namespace(Ecs).resource_ids("service/drift/web");
        let said = call.send().await?;
        let arn = said.scalable_targets()[0].scalable_target_arn().unwrap().to_owned();
        Ok(app.clients.application.untag_resource().resource_arn(arn).tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn auto_scaling_group_maximum_changed() {
    reverts("Auto Scaling group drift (MaxSize: 9 -> 6)", async |app| {
        Ok(app.clients.groups.update_auto_scaling_group().auto_scaling_group_name(APP).max_size(9).send().await.map(drop)?)
    });
}

#[test]
fn scaling_policy_target_changed() {
    let says = "scaling policy service/drift/web ecs-pipe-cpu (TargetTrackingScalingPolicyConfiguration.TargetValue: 50 -> 70)";
    reverts(says, async |app| {
        let call = app.clients.application.describe_scaling_policies().service_namespace(Ecs).resource_id("service/drift/web");
        let said = call.policy_names("ecs-pipe-cpu").send().await?;
        let mut config = said.scaling_policies()[0].target_tracking_scaling_policy_configuration().unwrap().clone();
        config.target_value = 50.0;
        let call = app.clients.application.put_scaling_policy().service_namespace(Ecs).scalable_dimension(EcsServiceDesiredCount);
        let call = call.resource_id("service/drift/web").policy_name("ecs-pipe-cpu").policy_type(PolicyType::TargetTrackingScaling);
        Ok(call.target_tracking_scaling_policy_configuration(config).send().await.map(drop)?)
    });
}

#[test]
fn scheduled_action_changed() {
    reverts("scheduled action service/drift/api ecs-pipe-morning (Schedule: rate(1 day) -> cron(0 8 ? * MON-FRI *)", async |app| {
        let call = app.clients.application.put_scheduled_action().service_namespace(Ecs).scalable_dimension(EcsServiceDesiredCount);
        let bounds = ScalableTargetAction::builder().min_capacity(1).build();
        let call = call.resource_id("service/drift/api").scheduled_action_name("ecs-pipe-morning").schedule("rate(1 day)");
        Ok(call.scalable_target_action(bounds).send().await.map(drop)?)
    });
}

#[test]
fn service_stopped_by_hand() {
    reverts("~ service web (desiredCount: 0 -> 2)", async |app| {
        Ok(app.clients.ecs.update_service().cluster(APP).service("web").desired_count(0).send().await.map(drop)?)
    });
}

#[test]
fn scaling_suspended() {
    reverts("scalable target service/drift/web (SuspendedState.DynamicScalingOutSuspended: true -> false)", async |app| {
        let call = app.clients.application.register_scalable_target().service_namespace(Ecs).scalable_dimension(EcsServiceDesiredCount);
        let state = SuspendedState::builder().dynamic_scaling_out_suspended(true).build();
        Ok(call.resource_id("service/drift/web").suspended_state(state).send().await.map(drop)?)
    });
}
