//! The launch template: what an instance is. A version of it never changes, so what it says is known by the fingerprint in its description.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateTagSpecificationRequest, LaunchTemplateVersion, RequestLaunchTemplateData, ResourceType, Tag, TagSpecification,
    VolumeType,
};
use shared::error::{given, if_found};
use shared::{Diff, Result, Run, Tried};

use crate::wish::{Ami, Instances, Wanted};
use crate::{ClusterUp, instance_role};

#[derive(Default)]
pub struct Found {
    /// The default version, which the Auto Scaling group uses.
    version: Option<LaunchTemplateVersion>,
    ours: bool,
    tags: Vec<Tag>,
}

/// The shortest name of a launch template.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html>
pub const SHORTEST: usize = 3;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    if run.app.len() < SHORTEST {
        return Ok(Found::default());
    }
    let template = async {
        let said = ec2.describe_launch_templates().launch_template_names(&run.app).send().await;
        if_found(said.tried(format!("look for the launch template {}", run.app)))
    };
    let version = async {
        let said = ec2.describe_launch_template_versions().launch_template_name(&run.app).versions("$Default").send().await;
        if_found(said.tried(format!("look for the version of the launch template {}", run.app)))
    };
    let (template, version) = futures_util::try_join!(template, version)?;
    let tags = template.and_then(|said| said.launch_templates().first().map(|template| template.tags().to_vec())).unwrap_or_default();
    let ours = run.is_ours(tags.iter().map(pair));
    Ok(Found { version: version.and_then(|said| said.launch_template_versions().first().cloned()), ours, tags })
}

impl ClusterUp {
    pub async fn template_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let root = self.found.image.as_ref().map(|image| image.root_device.as_str()).unwrap_or_default();
        let data = data(run, instances, root);
        let fingerprint = fingerprint(run, instances, root);
        let Some(found) = &self.found.template.version else {
            let id = run.create("launch template", &run.app, self.create_template(run, data, &fingerprint)).await?;
            self.cluster.borrow_mut().launch_template_id = id;
            return Ok(());
        };
        if !self.found.template.ours {
            return Err(run.foreign("launch template", &run.app));
        }
        let id = given(found.launch_template_id(), "the launch template's id")?;
        self.cluster.borrow_mut().launch_template_id = Some(id.clone());
        run.settle_tags("launch template", &run.app, run.tags("instance"), self.found.template.tags.iter().map(pair), async |missing| {
            let call = self.ec2.create_tags().resources(&id).set_tags(Some(tags(missing)));
            call.send().await.tried(format!("tag the launch template {id}")).map(drop)
        })
        .await?;
        // In a plan of a new network the security group has no id yet, and a new security group is change enough.
        if instances.group.is_none() {
            return Ok(());
        }
        let diff = Diff::new().field("version", found.version_description(), Some(fingerprint.as_str()));
        run.change("launch template", &run.app, &diff, self.new_version(run, &id, data, &fingerprint)).await
    }

    async fn create_template(&self, run: &Run, data: RequestLaunchTemplateData, fingerprint: &str) -> Result<String> {
        let tags =
            TagSpecification::builder().resource_type(ResourceType::LaunchTemplate).set_tags(Some(tags(run.tags("instance")))).build();
        let call = self.ec2.create_launch_template().launch_template_name(&run.app).version_description(fingerprint);
        let made = call
            .launch_template_data(data)
            .tag_specifications(tags)
            .send()
            .await
            .tried(format!("create the launch template {}", run.app))?;
        given(made.launch_template().and_then(|template| template.launch_template_id()), "the new launch template's id")
    }

    async fn new_version(&self, run: &Run, id: &str, data: RequestLaunchTemplateData, fingerprint: &str) -> Result<()> {
        let call =
            self.ec2.create_launch_template_version().launch_template_id(id).version_description(fingerprint).launch_template_data(data);
        let made = call.send().await.tried(format!("create a version of the launch template {}", run.app))?;
        let number = made.launch_template_version().and_then(LaunchTemplateVersion::version_number).map(|number| number.to_string());
        let number = given(number.as_deref(), "the new version's number")?;
        self.ec2
            .modify_launch_template()
            .launch_template_id(id)
            .default_version(number)
            .send()
            .await
            .tried(format!("make the new version of {} the default", run.app))?;
        run.note(&format!(
            "new instances will be of the new version; those that run stay as they are. To replace them: aws autoscaling start-instance-refresh --auto-scaling-group-name {}",
            run.app
        ));
        Ok(())
    }

    pub async fn template_down(&self, run: &Run) -> Result<()> {
        let Found { version: Some(version), ours: true, .. } = &self.found.template else { return Ok(()) };
        let id = given(version.launch_template_id(), "the launch template's id")?;
        let delete = async {
            self.ec2
                .delete_launch_template()
                .launch_template_id(&id)
                .send()
                .await
                .tried(format!("delete the launch template {id}"))
                .map(drop)
        };
        run.delete("launch template", &run.app, delete).await
    }
}

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (tag.key(), tag.value())
}

fn tags(pairs: Vec<(String, String)>) -> Vec<Tag> {
    pairs.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html>
fn data(run: &Run, instances: &Instances, root: &str) -> RequestLaunchTemplateData {
    let of_instance =
        |kind| LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(Some(tags(run.tags("instance")))).build();
    // One hop: the agent on the instance reaches the instance's credentials, containers behind the bridge do not.
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(1);
    let volume = |device: &str, gib| {
        let volume =
            LaunchTemplateEbsBlockDeviceRequest::builder().volume_type(VolumeType::Gp3).encrypted(true).delete_on_termination(true);
        LaunchTemplateBlockDeviceMappingRequest::builder().device_name(device).ebs(volume.set_volume_size(gib).build()).build()
    };
    let size = Some(instances.volume_gib);
    // Bottlerocket keeps itself on one volume, as large as its AMI has it, and containers on another.
    let volumes =
        if instances.ami == Ami::Bottlerocket { vec![volume(root, None), volume("/dev/xvdb", size)] } else { vec![volume(root, size)] };
    RequestLaunchTemplateData::builder()
        .image_id(image(&instances.ami))
        .set_instance_type(instances.types.first().map(|kind| kind.as_str().into()))
        .iam_instance_profile(LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(instance_role::name(run)).build())
        .set_security_group_ids(instances.group.clone().map(|id| vec![id]))
        .metadata_options(metadata.build())
        .set_block_device_mappings(Some(volumes))
        .tag_specifications(of_instance(ResourceType::Instance))
        .tag_specifications(of_instance(ResourceType::Volume))
        .user_data(aws_smithy_types::base64::encode(user_data(run, &instances.ami)))
        .build()
}

/// EC2 looks the parameter up whenever it starts an instance, so new instances have the newest AMI without a new version.
/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html>
fn image(ami: &Ami) -> String {
    match ami {
        Ami::Al2023 => "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id".to_owned(),
        Ami::Al2023Arm64 => "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id".to_owned(),
        Ami::Bottlerocket => "resolve:ssm:/aws/service/bottlerocket/aws-ecs-2/x86_64/latest/image_id".to_owned(),
        Ami::Id(id) => id.clone(),
    }
}

/// Joins the cluster, and closes the instance's credentials to tasks. The app's name has no character that a shell would mind.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html>
fn user_data(run: &Run, ami: &Ami) -> String {
    let app = &run.app;
    match ami {
        Ami::Bottlerocket => format!("[settings.ecs]\ncluster = \"{app}\"\nenable-spot-instance-draining = true\n"),
        _ => format!(
            "#!/bin/sh\ncat >> /etc/ecs/ecs.config <<'END'\nECS_CLUSTER={app}\nECS_AWSVPC_BLOCK_IMDS=true\nECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n\
             ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM=ec2_instance\nEND\n"
        ),
    }
}

/// The same for the same wishes. Counted up when `data` makes something else of them.
fn fingerprint(run: &Run, instances: &Instances, root: &str) -> String {
    const MADE: u32 = 2;
    let kind = instances.types.first();
    let parts = (
        MADE,
        image(&instances.ami),
        kind,
        instance_role::name(run),
        &instances.group,
        (root, instances.volume_gib),
        user_data(run, &instances.ami),
        run.tags("instance"),
    );
    shared::name::fingerprint(&format!("{parts:?}"))
}
