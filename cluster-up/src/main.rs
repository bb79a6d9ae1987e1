//! Makes where tasks run: the ECS cluster, and on EC2 its instances.

mod auto_scaling_group;
mod capacity_provider;
mod cluster;
mod instance_role;
mod instance_type;
mod launch_template;
mod service_role;
mod wish;

use std::cell::RefCell;
use std::process::ExitCode;

use futures_util::try_join;
use schemars::JsonSchema;
use serde::Serialize;
use shared::doc::Cluster;
use shared::policy::Grant;
use shared::{Document, Result, Run, Stage};

use wish::{Flags, Wanted};

fn main() -> ExitCode {
    shared::main::<ClusterUp>()
}

struct ClusterUp {
    ecs: aws_sdk_ecs::Client,
    ec2: aws_sdk_ec2::Client,
    iam: aws_sdk_iam::Client,
    autoscaling: aws_sdk_autoscaling::Client,
    found: Found,
    /// The section as it grows.
    cluster: RefCell<Cluster>,
}

/// What there was before the walk began.
struct Found {
    service_role: service_role::Found,
    instance_role: instance_role::Found,
    template: launch_template::Found,
    group: auto_scaling_group::Found,
    provider: capacity_provider::Found,
    cluster: cluster::Found,
    image: Option<instance_type::FoundImage>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    ServiceRole,
    InstanceRole,
    LaunchTemplate,
    Cluster,
    AutoScalingGroup,
    CapacityProvider,
    ClusterCapacity,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(rename = "x-cluster")]
    x_cluster: Option<Flags>,
    cluster: Option<Cluster>,
}

impl Stage for ClusterUp {
    const TOOL: &'static str = "cluster-up";
    const SECTION: &'static str = "cluster";
    const ABOUT: &'static str = "Makes where tasks run: the ECS cluster, and on EC2 its instances";
    const DETAILS: &'static str = "Reads the document on stdin: the section `net` (of net-up) and wishes from `x-cluster`. Makes an ECS cluster; for the \
        launch type ec2 also the instances' role, a launch template (ECS-optimised AMI, IMDSv2, encrypted volume), an Auto Scaling group over the \
        private subnets and a capacity provider with managed scaling. Writes the document with the section `cluster`; instances start meanwhile.\n\n\
        Example:\n  net-up --app shop | cluster-up --launch-type fargate | svc-deploy --service web --image nginx:1.27 --port 80";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("net", "net-up")];
    const GRANTS: &'static [Grant] = GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::ServiceRole, Step::InstanceRole, Step::LaunchTemplate],
        &[Step::Cluster, Step::AutoScalingGroup],
        &[Step::CapacityProvider],
        &[Step::ClusterCapacity],
    ];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;
    type Part = Part;

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn look(run: &Run, _: &Document, _: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (ecs, ec2) = (shared::client!(aws_sdk_ecs, run), shared::client!(aws_sdk_ec2, run));
        let (iam, autoscaling) = (shared::client!(aws_sdk_iam, run), shared::client!(aws_sdk_autoscaling, run));
        let (service_role, instance_role, template, group, provider, cluster, image) = try_join!(
            service_role::find(&iam),
            instance_role::find(&iam, run),
            launch_template::find(&ec2, run),
            auto_scaling_group::find(&autoscaling, run),
            capacity_provider::find(&ecs, run),
            cluster::find(&ecs, run),
            instance_type::check(&ec2, wanted),
        )?;
        let architecture = image.as_ref().map(|image| image.architecture.clone());
        let found = Found { service_role, instance_role, template, group, provider, cluster, image };
        cluster::check_launch_type(run, wanted, &found)?;
        Ok(Self { ecs, ec2, iam, autoscaling, found, cluster: RefCell::new(Cluster { architecture, ..Cluster::default() }) })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::ServiceRole => self.service_role_up(run).await,
            Step::InstanceRole => self.instance_role_up(run, wanted).await,
            Step::LaunchTemplate => self.template_up(run, wanted).await,
            Step::Cluster => self.cluster_up(run, wanted).await,
            Step::AutoScalingGroup => self.group_up(run, wanted).await,
            Step::CapacityProvider => self.provider_up(run, wanted).await,
            Step::ClusterCapacity => self.capacity_up(run, wanted).await,
        }
    }

    async fn ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        self.instances_ready(run, wanted).await
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            // ECS's role in the account serves every cluster there.
            Step::ServiceRole => Ok(()),
            Step::InstanceRole => self.instance_role_down(run).await,
            Step::LaunchTemplate => self.template_down(run).await,
            Step::Cluster => self.cluster_down(run).await,
            Step::AutoScalingGroup => self.group_down(run).await,
            Step::CapacityProvider => self.provider_down(run).await,
            Step::ClusterCapacity => self.capacity_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.cluster.borrow().clone()
    }
}

const GRANTS: &[Grant] = &[
    Grant {
        sid: "Look",
        actions: &[
            "autoscaling:DescribeAutoScalingGroups",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeLaunchTemplates",
            "ecs:DescribeCapacityProviders",
            "iam:ListRoles",
        ],
        on: &["*"],
    },
    Grant {
        sid: "Cluster",
        actions: &[
            "ecs:CreateCluster",
            "ecs:DeleteCluster",
            "ecs:DescribeClusters",
            "ecs:PutClusterCapacityProviders",
            "ecs:TagResource",
            "ecs:UpdateCluster",
        ],
        on: &["arn:*:ecs:*:*:cluster/{app}"],
    },
    Grant {
        sid: "CapacityProvider",
        actions: &["ecs:CreateCapacityProvider", "ecs:DeleteCapacityProvider", "ecs:TagResource", "ecs:UpdateCapacityProvider"],
        on: &["arn:*:ecs:*:*:capacity-provider/instances-of-{app}"],
    },
    Grant {
        sid: "Instances",
        actions: &[
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:SetInstanceProtection",
            "autoscaling:UpdateAutoScalingGroup",
        ],
        on: &["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{app}"],
    },
    // The Auto Scaling group starts instances in the caller's name, so the caller must be allowed to.
    // https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
    Grant {
        sid: "LaunchTemplate",
        actions: &[
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:ModifyLaunchTemplate",
            "ec2:RunInstances",
            "ssm:GetParameters",
        ],
        on: &["*"],
    },
    Grant {
        sid: "InstanceRole",
        actions: &[
            "iam:AddRoleToInstanceProfile",
            "iam:AttachRolePolicy",
            "iam:CreateInstanceProfile",
            "iam:CreateRole",
            "iam:DeleteInstanceProfile",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:GetInstanceProfile",
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:PassRole",
            "iam:RemoveRoleFromInstanceProfile",
            "iam:TagInstanceProfile",
            "iam:TagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        on: &["arn:*:iam::*:role/{app}-instance-*", "arn:*:iam::*:instance-profile/{app}-instance-*"],
    },
    Grant { sid: "ServiceRole", actions: &["iam:CreateServiceLinkedRole"], on: &["arn:*:iam::*:role/aws-service-role/*"] },
];
