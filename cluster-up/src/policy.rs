//! What cluster-up may do in AWS. IAM takes 6,144 characters, so resources with the tag of the app are not named one by one.

use shared::policy::{BOUNDARY, Grant, When};

const CLUSTER: &[&str] = &["arn:*:ecs:*:*:cluster/{app}", "arn:*:ecs:*:*:capacity-provider/instances-of-{app}*"];
const TEMPLATES: &[&str] = &["arn:*:ec2:*:*:launch-template/*"];
const ROLES: &[&str] = &["arn:*:iam::*:role/{app}-instance-*"];

pub const GRANTS: &[Grant] = &[
    // These actions only read, and AWS can't limit most of them to one resource.
    Grant {
        sid: "Read",
        actions: &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeInstanceRefreshes",
            "autoscaling:DescribeScalingActivities",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceType*",
            "ec2:DescribeInstances",
            "ec2:DescribeLaunchTemplate*",
            "ec2:DescribeNetworkInterface*",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ecs:DescribeCapacityProviders",
            "ecs:ListServices",
            "elasticfilesystem:Describe*",
            "iam:ListRoles",
            "servicediscovery:GetOperation",
            "servicediscovery:ListNamespaces",
            "servicediscovery:ListTagsForResource",
        ],
        on: &["*"],
        when: &[],
    },
    Grant {
        sid: "ReadByName",
        actions: &[
            "ecs:Describe*",
            "ecs:ListContainerInstances",
            "iam:GetInstanceProfile",
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
        ],
        on: &[
            "arn:*:ecs:*:*:cluster/{app}",
            "arn:*:ecs:*:*:container-instance/{app}/*",
            "arn:*:ecs:*:*:service/{app}/*",
            "arn:*:iam::*:*/{app}-instance-*",
        ],
        when: &[],
    },
    // None of these changes what exists. The IDs of namespaces, file systems and launch templates are not known before.
    Grant {
        sid: "Create",
        actions: &[
            "autoscaling:CreateAutoScalingGroup",
            "ec2:CreateLaunchTemplate",
            "ecs:CreateCapacityProvider",
            "ecs:CreateCluster",
            "elasticfilesystem:CreateFileSystem",
            "iam:CreateInstanceProfile",
            "servicediscovery:CreateHttpNamespace",
        ],
        on: &["*"],
        when: &[When::Tagged],
    },
    Grant {
        sid: "TagNewCluster",
        actions: &["ecs:TagResource"],
        on: CLUSTER,
        when: &[When::Tagged, When::Is("ecs:CreateAction", &["CreateCapacityProvider", "CreateCluster"])],
    },
    Grant {
        sid: "TagNewFileSystem",
        actions: &["elasticfilesystem:TagResource"],
        on: &["*"],
        when: &[When::Tagged, When::Is("elasticfilesystem:CreateAction", &["CreateFileSystem"])],
    },
    Grant {
        sid: "TagNewLaunchTemplate",
        actions: &["ec2:CreateTags"],
        on: &["*"],
        when: &[When::Tagged, When::Is("ec2:CreateAction", &["CreateLaunchTemplate", "RunInstances"])],
    },
    // Auto Scaling and IAM have no key for the action that creates what is tagged.
    Grant {
        sid: "TagNewByName",
        actions: &["autoscaling:CreateOrUpdateTags", "iam:TagInstanceProfile", "iam:TagRole"],
        on: &["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{app}", "arn:*:iam::*:*/{app}-instance-*"],
        when: &[When::Tagged, When::Untagged],
    },
    // Neither action has resources, and a run sends only the tags that a namespace lacks. So this can't be limited to namespaces of the app.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html
    Grant { sid: "TagNamespace", actions: &["servicediscovery:TagResource", "servicediscovery:UntagResource"], on: &["*"], when: &[] },
    // The Auto Scaling group starts instances with the caller's permissions: RunInstances, CreateTags, and GetParameters for the AMI.
    // https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
    Grant {
        sid: "Ours",
        actions: &[
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeleteTags",
            "autoscaling:SetInstanceProtection",
            "autoscaling:StartInstanceRefresh",
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            "autoscaling:UpdateAutoScalingGroup",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateNetworkInterface",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteTags",
            "ec2:ModifyLaunchTemplate",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:RunInstances",
            "ecs:DeleteCapacityProvider",
            "ecs:DeleteCluster",
            "ecs:PutClusterCapacityProviders",
            "ecs:TagResource",
            "ecs:UntagResource",
            "ecs:UpdateCapacityProvider",
            "ecs:UpdateCluster",
            "elasticfilesystem:CreateMountTarget",
            "elasticfilesystem:DeleteFileSystem",
            "elasticfilesystem:DeleteMountTarget",
            "elasticfilesystem:ModifyMountTargetSecurityGroups",
            "elasticfilesystem:PutFileSystemPolicy",
            "elasticfilesystem:TagResource",
            "elasticfilesystem:UntagResource",
            "iam:AddRoleToInstanceProfile",
            "iam:DeleteInstanceProfile",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:RemoveRoleFromInstanceProfile",
            "iam:TagInstanceProfile",
            "iam:TagRole",
            "iam:UntagInstanceProfile",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
            "servicediscovery:DeleteNamespace",
        ],
        on: &["*"],
        when: &[When::Ours],
    },
    // EFS creates the network interfaces of mount targets with the caller's permissions. They have no tags, and the subnets may be those of an existing
    // VPC, so only the security groups must be ours.
    // https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html
    Grant {
        sid: "NetworkInterfaces",
        actions: &["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute"],
        on: &["arn:*:ec2:*:*:network-interface/*", "arn:*:ec2:*:*:subnet/*"],
        when: &[],
    },
    // An instance of a launch template is also checked on the template, which has the tag of the app.
    Grant {
        sid: "OfTemplate",
        actions: &["ec2:RunInstances"],
        on: &[
            "arn:*:ec2:*:*:instance/*",
            "arn:*:ec2:*:*:network-interface/*",
            "arn:*:ec2:*:*:security-group/*",
            "arn:*:ec2:*:*:subnet/*",
            "arn:*:ec2:*:*:volume/*",
            "arn:*:ec2:*::*/*",
        ],
        when: &[When::Is("ec2:LaunchTemplate", TEMPLATES)],
    },
    // The AMIs that AWS publishes.
    Grant { sid: "Ami", actions: &["ssm:GetParameters"], on: &["arn:*:ssm:*::parameter/aws/service/*"], when: &[] },
    Grant { sid: "CreateRole", actions: &["iam:CreateRole"], on: ROLES, when: &[When::Tagged, When::Bounded] },
    Grant {
        sid: "AttachPolicies",
        actions: &["iam:AttachRolePolicy"],
        on: &["*"],
        when: &[
            When::Ours,
            When::Bounded,
            When::Is(
                "iam:PolicyARN",
                &[
                    "arn:*:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role",
                    "arn:*:iam::aws:policy/AmazonSSMManagedInstanceCore",
                ],
            ),
        ],
    },
    Grant {
        sid: "SetBoundary",
        actions: &["iam:PutRolePermissionsBoundary"],
        on: &["*"],
        when: &[When::Ours, When::Is("iam:PermissionsBoundary", &[BOUNDARY])],
    },
    Grant { sid: "DeleteBoundary", actions: &["iam:DeleteRolePermissionsBoundary"], on: &["*"], when: &[When::Ours, When::Unbounded] },
    // PassRole lets the launch template give the role to its instances. In China, the service has another name.
    Grant {
        sid: "PassRole",
        actions: &["iam:PassRole"],
        on: ROLES,
        when: &[When::Is("iam:PassedToService", &["ec2.amazonaws.com", "ec2.amazonaws.com.cn"])],
    },
    // The roles of ECS, of Auto Scaling and of EFS. The last two are created with the first group and the first file system of the account.
    Grant {
        sid: "ServiceRole",
        actions: &["iam:CreateServiceLinkedRole"],
        on: &["*"],
        when: &[When::Is("iam:AWSServiceName", &["autoscaling.amazonaws.com", "ecs.amazonaws.com", "elasticfilesystem.amazonaws.com"])],
    },
];
