//! Changes of the cluster and its instances.

use aws_sdk_ec2::types::{LaunchTemplateVersion, RequestLaunchTemplateData};
use aws_sdk_ecs::types::{
    AutoScalingGroupProviderUpdate, ClusterServiceConnectDefaultsRequest, ClusterSetting, ClusterSettingName, ManagedScaling,
    ManagedScalingStatus,
};

use super::{APP, Deployed, Done, PIPE, allow_all_inline, trust_anybody};

const ROLE: &str = "drift-instance-us-east-1";

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    PIPE.with(|app| app.reverts("cluster-up", says, change));
}

#[test]
fn cluster_tag_deleted() {
    reverts("cluster/drift (tags.team: none -> shop)", async |app| {
        Ok(app.clients.ecs.untag_resource().resource_arn(app.id("/cluster/arn")).tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn namespace_tag_deleted() {
    reverts("namespace drift (tags.team: none -> shop)", async |app| {
        let call = app.clients.cloud_map.untag_resource().resource_arn(app.id("/cluster/namespace_arn"));
        Ok(call.tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn cluster_default_namespace_changed() {
    reverts("cluster drift (serviceConnectDefaults.namespace: theirs -> arn:aws:servicediscovery:", async |app| {
        let theirs = ClusterServiceConnectDefaultsRequest::builder().namespace("theirs").build()?;
        Ok(app.clients.ecs.update_cluster().cluster(APP).service_connect_defaults(theirs).send().await.map(drop)?)
    });
}

#[test]
fn container_insights_disabled() {
    reverts("cluster drift (containerInsights: disabled -> ", async |app| {
        let off = ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value("disabled").build();
        Ok(app.clients.ecs.update_cluster().cluster(APP).settings(off).send().await.map(drop)?)
    });
}

/// ECS keeps a provider that services use in the cluster.
#[test]
fn default_capacity_provider_strategy_removed() {
    reverts("cluster drift (defaultCapacityProviderStrategy.instances-of-drift.weight: none -> 1", async |app| {
        let call = app.clients.ecs.put_cluster_capacity_providers().cluster(APP).capacity_providers("instances-of-drift");
        Ok(call.set_default_capacity_provider_strategy(Some(Vec::new())).send().await.map(drop)?)
    });
}

#[test]
fn scale_in_protection_disabled() {
    reverts("Auto Scaling group drift (newInstancesProtectedFromScaleIn: false -> true)", async |app| {
        let call = app.clients.groups.update_auto_scaling_group().auto_scaling_group_name(APP);
        Ok(call.new_instances_protected_from_scale_in(false).send().await.map(drop)?)
    });
}

#[test]
fn instance_role_policy_detached() {
    reverts(
        "role drift-instance-us-east-1 (attached policies: none -> arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role)",
        async |app| {
            let agent = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role";
            Ok(app.clients.iam.detach_role_policy().role_name(ROLE).policy_arn(agent).send().await.map(drop)?)
        },
    );
}

#[test]
fn instance_role_trust_changed() {
    reverts(
        "role drift-instance-us-east-1 (trust.Statement[0].Principal.Service: none -> ec2.amazonaws.com, trust.Statement[0].Principal.AWS: * -> none)",
        async |app| trust_anybody(&app.clients, ROLE).await,
    );
}

#[test]
fn instance_role_inline_policy_added() {
    reverts("role drift-instance-us-east-1 (inline policies: theirs -> none)", async |app| allow_all_inline(&app.clients, ROLE).await);
}

#[test]
fn instance_profile_role_removed() {
    reverts("instance profile drift-instance-us-east-1 (role: none -> ", async |app| {
        let call = app.clients.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE);
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn launch_template_version_added() {
    reverts("launch template drift (imageId: ami-12345678 -> resolve:ssm:", async |app| {
        let data = RequestLaunchTemplateData::builder().image_id("ami-12345678").build();
        let call = app.clients.ec2.create_launch_template_version().launch_template_name(APP).launch_template_data(data);
        let made = call.send().await?;
        let number = made.launch_template_version().and_then(LaunchTemplateVersion::version_number).unwrap();
        let call = app.clients.ec2.modify_launch_template().launch_template_name(APP).default_version(number.to_string());
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn capacity_provider_target_changed() {
    reverts("capacity provider instances-of-drift (", async |app| {
        let scaling = ManagedScaling::builder().status(ManagedScalingStatus::Enabled).target_capacity(50).build();
        let update = AutoScalingGroupProviderUpdate::builder().managed_scaling(scaling).build();
        let call = app.clients.ecs.update_capacity_provider().name("instances-of-drift").auto_scaling_group_provider(update);
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn group_subnet_removed() {
    reverts("Auto Scaling group drift (vpcZoneIdentifier: none -> subnet-", async |app| {
        let call = app.clients.groups.update_auto_scaling_group().auto_scaling_group_name(APP);
        Ok(call.vpc_zone_identifier(app.id("/net/private_subnet_ids/0")).send().await.map(drop)?)
    });
}
