//! The content of a launch template's version: as EC2 takes it, and as JSON in which a found version is compared with it.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html>

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateTagSpecificationRequest, LaunchTemplateVersion, RequestLaunchTemplateData, ResourceType, ResponseLaunchTemplateData, Tag,
    VolumeType,
};
use aws_smithy_types::base64;
use serde_json::{Value, json};
use shared::Diff;

use crate::settings::{Ami, Instances};

shared::tagging!(aws_sdk_ec2::types::Tag);

/// What the template's data depends on beside the settings.
pub struct Host<'a> {
    /// Also the name of the cluster that the instances join.
    pub app: &'a str,
    /// The name of the instance profile.
    pub profile: &'a str,
    /// The device of the AMI's root volume.
    pub root: &'a str,
    /// Whether the AMI is Bottlerocket, which reads other user data and has two volumes.
    pub is_bottlerocket: bool,
    /// Tags of the instances and of their volumes.
    pub tags: &'a [(String, String)],
}

impl Host<'_> {
    /// Returns the data of the request.
    pub fn data(&self, instances: &Instances) -> RequestLaunchTemplateData {
        let tags_of = |kind| {
            let tags = aws_tags(self.tags.to_vec());
            LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(Some(tags)).build()
        };
        // With one hop, the agent on the instance reaches the instance's credentials, and containers behind the bridge do not.
        let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
            .http_tokens(LaunchTemplateHttpTokensState::Required)
            .http_put_response_hop_limit(1);
        let size = Some(instances.volume_gib);
        // Bottlerocket has its system on one volume, with the size of the AMI, and containers on another one.
        let volumes =
            if self.is_bottlerocket { vec![volume(self.root, None), volume("/dev/xvdb", size)] } else { vec![volume(self.root, size)] };
        RequestLaunchTemplateData::builder()
            .image_id(image(&instances.ami))
            .set_instance_type(instances.types.first().map(|kind| kind.as_str().into()))
            .iam_instance_profile(LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(self.profile).build())
            .set_security_group_ids(instances.group.clone().map(|id| vec![id]))
            .metadata_options(metadata.build())
            .set_block_device_mappings(Some(volumes))
            .tag_specifications(tags_of(ResourceType::Instance))
            .tag_specifications(tags_of(ResourceType::Volume))
            .user_data(base64::encode(self.user_data(instances.privileged)))
            .build()
    }

    /// Returns what makes the instance join the cluster and denies its credentials to tasks. No app's name needs quoting in a shell.
    ///
    /// The tags are part of it: to read them from EC2, the agent would have to reach EC2 before it registers, which it can't without a NAT gateway.
    /// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html>
    /// <https://bottlerocket.dev/en/os/latest/api/settings/ecs/>
    fn user_data(&self, privileged: bool) -> String {
        let app = self.app;
        if self.is_bottlerocket {
            return format!(
                "[settings.ecs]\ncluster = \"{app}\"\nenable-spot-instance-draining = true\nawsvpc-block-imds = true\n\
                 allow-privileged-containers = {privileged}\n"
            );
        }
        let tags: BTreeMap<&str, &str> = self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        format!(
            "#!/bin/sh\ncat >> /etc/ecs/ecs.config <<'END'\nECS_CLUSTER={app}\nECS_AWSVPC_BLOCK_IMDS=true\nECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n\
             ECS_CONTAINER_INSTANCE_TAGS={}\nEND\n",
            json!(tags)
        )
    }
}

fn volume(device: &str, gib: Option<i32>) -> LaunchTemplateBlockDeviceMappingRequest {
    let volume = LaunchTemplateEbsBlockDeviceRequest::builder().volume_type(VolumeType::Gp3).encrypted(true).delete_on_termination(true);
    LaunchTemplateBlockDeviceMappingRequest::builder().device_name(device).ebs(volume.set_volume_size(gib).build()).build()
}

/// Returns the AMI's ID, or the SSM parameter that holds it. EC2 reads the parameter whenever it starts an instance, so that new instances have the
/// newest AMI without a new version.
/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html>
fn image(ami: &Ami) -> String {
    match ami {
        Ami::Al2023 => "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id".to_owned(),
        Ami::Al2023Arm64 => "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id".to_owned(),
        Ami::Bottlerocket => "resolve:ssm:/aws/service/bottlerocket/aws-ecs-2/x86_64/latest/image_id".to_owned(),
        Ami::Id(id) => id.clone(),
    }
}

/// The fields that cluster-up sets, under the names of EC2's API.
#[derive(Debug, PartialEq)]
pub struct Content {
    fields: Value,
    user_data: Option<String>,
}

/// Resources of which the template sets the tags. An answer may have the template's own tags among them.
const TAGGED: [ResourceType; 2] = [ResourceType::Instance, ResourceType::Volume];

/// The request and the answer have the same fields, but each has types of its own.
macro_rules! content {
    ($data:expr) => {{
        let volumes = $data.block_device_mappings().iter().map(|mapping| {
            let ebs = mapping.ebs();
            json!({"deviceName": mapping.device_name(), "ebs": {
                "volumeSize": ebs.and_then(|ebs| ebs.volume_size()),
                "volumeType": ebs.and_then(|ebs| ebs.volume_type()).map(VolumeType::as_str),
                "encrypted": ebs.and_then(|ebs| ebs.encrypted()),
                "deleteOnTermination": ebs.and_then(|ebs| ebs.delete_on_termination()),
            }})
        });
        let tagged = $data.tag_specifications().iter().filter(|one| one.resource_type().is_some_and(|kind| TAGGED.contains(kind)));
        let tags = tagged.map(|one| json!({"resourceType": one.resource_type().map(ResourceType::as_str), "tags": by_key(one.tags())}));
        let metadata = $data.metadata_options();
        let fields = json!({
            "imageId": $data.image_id(),
            "instanceType": $data.instance_type().map(|kind| kind.as_str()),
            "iamInstanceProfile": {"name": $data.iam_instance_profile().and_then(|profile| profile.name())},
            "securityGroupIds": $data.security_group_ids(),
            "metadataOptions": {
                "httpTokens": metadata.and_then(|options| options.http_tokens()).map(|tokens| tokens.as_str()),
                "httpPutResponseHopLimit": metadata.and_then(|options| options.http_put_response_hop_limit()),
            },
            "blockDeviceMappings": volumes.collect::<Vec<_>>(),
            "tagSpecifications": tags.collect::<Vec<_>>(),
        });
        Content { fields, user_data: $data.user_data().map(decoded) }
    }};
}

/// The order of tags means nothing, and a tag without a value has the empty one.
fn by_key(tags: &[Tag]) -> BTreeMap<&str, &str> {
    tags.iter().filter_map(|tag| Some((tag.key()?, tag.value().unwrap_or_default()))).collect()
}

/// User data that somebody set without base64 is compared as it is.
fn decoded(text: &str) -> String {
    base64::decode(text).map_or_else(|_| text.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

impl Content {
    pub fn of_request(data: &RequestLaunchTemplateData) -> Self {
        content!(data)
    }

    fn of_answer(data: &ResponseLaunchTemplateData) -> Self {
        content!(data)
    }

    /// Returns the text that describes a version with this content in EC2's console.
    pub fn fingerprint(&self) -> String {
        shared::name::fingerprint(&format!("{}\n{}", self.fields, self.user_data.as_deref().unwrap_or_default()))
    }

    /// Compares this content with that of a version.
    ///
    /// A version with the same fingerprint was created from this content. A field that only one side has is no difference then, because AWS
    /// may leave it out of the answer. In every other version, each difference counts; one with the same content is kept.
    pub fn diff(&self, found: &LaunchTemplateVersion) -> Diff {
        let was = found.launch_template_data().map_or(Self { fields: Value::Null, user_data: None }, Self::of_answer);
        let (text, script) = (was.user_data.as_deref(), self.user_data.as_deref().unwrap_or_default());
        if found.version_description() == Some(self.fingerprint().as_str()) {
            let diff = Diff::new().json_within("", &was.fields, &self.fields);
            return if text.is_some() { diff.lines("userData", text, script) } else { diff };
        }
        Diff::new().json("", Some(&was.fields), &self.fields).lines("userData", text, script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::builders::ResponseLaunchTemplateDataBuilder;
    use aws_sdk_ec2::types::{
        LaunchTemplateBlockDeviceMapping, LaunchTemplateEbsBlockDevice, LaunchTemplateIamInstanceProfileSpecification,
        LaunchTemplateInstanceMetadataOptions, LaunchTemplateTagSpecification,
    };

    fn instances(ami: Ami) -> Instances {
        Instances {
            types: vec!["t3.medium".to_owned(), "t3a.medium".to_owned()],
            min: 2,
            max: 6,
            ami,
            volume_gib: 30,
            target_capacity: 100,
            session_manager: true,
            boundary: None,
            privileged: false,
            subnets: Vec::new(),
            group: Some("sg-1".to_owned()),
            zones: Vec::new(),
        }
    }

    fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn wanted_with(instances: &Instances, pairs: &[(&str, &str)]) -> Content {
        let is_bottlerocket = instances.ami == Ami::Bottlerocket;
        let host = Host { app: "shop", profile: "shop-instance-eu-central-1", root: "/dev/xvda", is_bottlerocket, tags: &tags(pairs) };
        Content::of_request(&host.data(instances))
    }

    fn wanted() -> Content {
        wanted_with(&instances(Ami::Al2023), &[("ecs-pipe:app", "shop"), ("Name", "shop-instance")])
    }

    /// The answer to the request of [`wanted`].
    fn answer() -> ResponseLaunchTemplateDataBuilder {
        let ebs = LaunchTemplateEbsBlockDevice::builder().volume_type(VolumeType::Gp3).encrypted(true).delete_on_termination(true);
        let volume = LaunchTemplateBlockDeviceMapping::builder().device_name("/dev/xvda").ebs(ebs.volume_size(30).build()).build();
        let metadata = LaunchTemplateInstanceMetadataOptions::builder()
            .http_tokens(LaunchTemplateHttpTokensState::Required)
            .http_put_response_hop_limit(1);
        let tags_of = |kind| {
            let tags = aws_tags(tags(&[("Name", "shop-instance"), ("ecs-pipe:app", "shop")]));
            LaunchTemplateTagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build()
        };
        ResponseLaunchTemplateData::builder()
            .image_id(image(&Ami::Al2023))
            .instance_type("t3.medium".into())
            .iam_instance_profile(LaunchTemplateIamInstanceProfileSpecification::builder().name("shop-instance-eu-central-1").build())
            .security_group_ids("sg-1")
            .metadata_options(metadata.build())
            .block_device_mappings(volume)
            .tag_specifications(tags_of(ResourceType::Instance))
            .tag_specifications(tags_of(ResourceType::Volume))
            .tag_specifications(tags_of(ResourceType::LaunchTemplate))
            .user_data(base64::encode(wanted().user_data.unwrap()))
    }

    /// What a plan says about a found version.
    fn plan(description: &str, found: ResponseLaunchTemplateDataBuilder, wanted: &Content) -> String {
        let version = LaunchTemplateVersion::builder().version_description(description).launch_template_data(found.build()).build();
        wanted.diff(&version).to_string()
    }

    #[test]
    fn request_and_answer_have_the_same_content() {
        assert_eq!(Content::of_answer(&answer().build()), wanted());
        assert_eq!(
            wanted().fields,
            json!({
                "imageId": "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
                "instanceType": "t3.medium",
                "iamInstanceProfile": {"name": "shop-instance-eu-central-1"},
                "securityGroupIds": ["sg-1"],
                "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
                "blockDeviceMappings": [
                    {"deviceName": "/dev/xvda", "ebs": {
                        "volumeSize": 30, "volumeType": "gp3", "encrypted": true, "deleteOnTermination": true}}],
                "tagSpecifications": [
                    {"resourceType": "instance", "tags": {"Name": "shop-instance", "ecs-pipe:app": "shop"}},
                    {"resourceType": "volume", "tags": {"Name": "shop-instance", "ecs-pipe:app": "shop"}}],
            })
        );
        assert_eq!(plan(&wanted().fingerprint(), answer(), &wanted()), "");
    }

    #[test]
    fn a_plan_names_the_line_of_the_user_data_that_changes() {
        let script = "#!/bin/sh\ncat >> /etc/ecs/ecs.config <<'END'\n# joins\nECS_CLUSTER=shop\nEND\n";
        let mut wanted = wanted();
        wanted.user_data = Some(script.replace("ECS_CLUSTER=shop", "ECS_CLUSTER=store"));
        let found = || answer().user_data(base64::encode(script));
        for description in ["1111111111111111", &wanted.fingerprint()] {
            assert_eq!(plan(description, found(), &wanted), "userData[4]: ECS_CLUSTER=shop -> ECS_CLUSTER=store");
        }
    }

    #[test]
    fn a_plan_names_the_fields_that_change() {
        let mut arm = instances(Ami::Al2023Arm64);
        (arm.types, arm.volume_gib, arm.group) = (vec!["t4g.medium".to_owned()], 40, Some("sg-2".to_owned()));
        let wanted = wanted_with(&arm, &[("ecs-pipe:app", "shop"), ("Name", "shop-instance"), ("team", "")]);
        let plan = plan("1111111111111111", answer(), &wanted);
        let differences: Vec<&str> = plan.split(", ").collect();
        assert_eq!(
            differences[1..],
            [
                "instanceType: t3.medium -> t4g.medium",
                "securityGroupIds: sg-1 -> sg-2",
                "blockDeviceMappings./dev/xvda.ebs.volumeSize: 30 -> 40",
                "tagSpecifications.instance.tags.team: none -> \"\"",
                "tagSpecifications.volume.tags.team: none -> \"\"",
                "userData[6]: ECS_CONTAINER_INSTANCE_TAGS={\"Name\":\"shop-instance\",\"ecs-pipe:app\":\"shop\"} -> \
                 ECS_CONTAINER_INSTANCE_TAGS={\"Name\":\"shop-instance\",\"ecs-pipe:app\":\"shop\",\"team\":\"\"}",
            ],
        );
        assert!(differences[0].starts_with("imageId: resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/"), "{}", differences[0]);
    }

    #[test]
    fn a_version_of_another_author_is_compared_in_full() {
        let found = ResponseLaunchTemplateData::builder().image_id("ami-12345678");
        let plan = plan("", found, &wanted());
        for part in [
            "imageId: ami-12345678 -> resolve:ssm:",
            "instanceType: none -> t3.medium",
            "metadataOptions.httpTokens: none -> required",
            "userData[3]: none -> ECS_CLUSTER=shop",
        ] {
            assert!(plan.contains(part), "{part} is not in {plan}");
        }
    }

    #[test]
    fn what_an_answer_leaves_out_is_no_difference_in_our_own_version() {
        let bare = || ResponseLaunchTemplateData::builder().image_id(image(&Ami::Al2023));
        assert_eq!(plan(&wanted().fingerprint(), bare(), &wanted()), "");
        assert_eq!(
            plan(&wanted().fingerprint(), bare().instance_type("t3.micro".into()), &wanted()),
            "instanceType: t3.micro -> t3.medium"
        );
        let version = LaunchTemplateVersion::builder().version_description(wanted().fingerprint()).build();
        assert!(wanted().diff(&version).is_empty());
    }

    #[test]
    fn an_equal_version_with_another_fingerprint_is_kept() {
        assert_eq!(plan("0123456789abcdef", answer(), &wanted()), "");
    }

    #[test]
    fn the_fingerprint_follows_the_content_and_not_the_order_of_tags() {
        let shop = instances(Ami::Al2023);
        let (one, other) = (wanted_with(&shop, &[("a", "1"), ("b", "2")]), wanted_with(&shop, &[("b", "2"), ("a", "1")]));
        assert_eq!(one.fingerprint(), other.fingerprint());
        for changed in [
            wanted_with(&shop, &[("a", "1"), ("b", "3")]),
            wanted_with(&instances(Ami::Bottlerocket), &[("a", "1"), ("b", "2")]),
            wanted_with(&Instances { volume_gib: 31, ..instances(Ami::Al2023) }, &[("a", "1"), ("b", "2")]),
            Content { user_data: Some(String::new()), ..wanted_with(&shop, &[("a", "1"), ("b", "2")]) },
        ] {
            assert_ne!(changed.fingerprint(), one.fingerprint(), "{changed:?}");
        }
    }

    #[test]
    fn bottlerocket_has_the_volume_of_containers_beside_the_root() {
        let content = wanted_with(&instances(Ami::Bottlerocket), &[]);
        let sizes: Vec<(&Value, &Value)> = content.fields["blockDeviceMappings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (&one["deviceName"], &one["ebs"]["volumeSize"]))
            .collect();
        assert_eq!(sizes, [(&json!("/dev/xvda"), &Value::Null), (&json!("/dev/xvdb"), &json!(30))]);
        let text = content.user_data.unwrap();
        for line in ["cluster = \"shop\"", "awsvpc-block-imds = true", "allow-privileged-containers = false"] {
            assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        }
        let privileged = wanted_with(&Instances { privileged: true, ..instances(Ami::Bottlerocket) }, &[]);
        assert!(privileged.user_data.unwrap().contains("allow-privileged-containers = true"));
    }

    #[test]
    fn the_agent_gets_its_tags_without_a_call() {
        let content = wanted_with(&instances(Ami::Al2023), &[("Name", "shop-instance"), ("team", "a \"b\"")]);
        let text = content.user_data.unwrap();
        let tags = text.lines().find_map(|line| line.strip_prefix("ECS_CONTAINER_INSTANCE_TAGS=")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(tags).unwrap(), json!({"Name": "shop-instance", "team": "a \"b\""}));
        // With this variable, the agent calls EC2 before it registers.
        assert!(!text.contains("PROPAGATE_TAGS_FROM"), "{text}");
    }
}
