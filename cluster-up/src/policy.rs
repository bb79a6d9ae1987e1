//! What cluster-up may do in AWS.

use shared::policy::Grant;

pub const GRANTS: &[Grant] = &[
    // These actions only read, and AWS can't limit most of them to one resource.
    Grant {
        sid: "Read",
        actions: &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeInstanceRefreshes",
            "autoscaling:DescribeScalingActivities",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeInstances",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeLaunchTemplates",
            "ecs:DescribeCapacityProviders",
            "ecs:ListServices",
            "elasticfilesystem:DescribeFileSystems",
            "iam:ListRoles",
            "servicediscovery:GetOperation",
            "servicediscovery:ListNamespaces",
        ],
        on: &["*"],
    },
    Grant {
        sid: "Cluster",
        actions: &[
            "ecs:CreateCluster",
            "ecs:DeleteCluster",
            "ecs:DescribeClusters",
            "ecs:ListContainerInstances",
            "ecs:PutClusterCapacityProviders",
            "ecs:TagResource",
            "ecs:UntagResource",
            "ecs:UpdateCluster",
        ],
        on: &["arn:*:ecs:*:*:cluster/{app}"],
    },
    Grant {
        sid: "InCluster",
        actions: &["ecs:DescribeContainerInstances", "ecs:DescribeServices"],
        on: &["arn:*:ecs:*:*:container-instance/{app}/*", "arn:*:ecs:*:*:service/{app}/*"],
    },
    // CreateHttpNamespace has no resources, and the ID of a namespace is not known before.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html
    Grant { sid: "CreateNamespace", actions: &["servicediscovery:CreateHttpNamespace"], on: &["*"] },
    Grant {
        sid: "Namespace",
        actions: &[
            "servicediscovery:DeleteNamespace",
            "servicediscovery:ListTagsForResource",
            "servicediscovery:TagResource",
            "servicediscovery:UntagResource",
        ],
        on: &["arn:*:servicediscovery:*:*:namespace/*"],
    },
    Grant {
        sid: "CapacityProvider",
        actions: &[
            "ecs:CreateCapacityProvider",
            "ecs:DeleteCapacityProvider",
            "ecs:TagResource",
            "ecs:UntagResource",
            "ecs:UpdateCapacityProvider",
        ],
        on: &["arn:*:ecs:*:*:capacity-provider/instances-of-{app}", "arn:*:ecs:*:*:capacity-provider/instances-of-{app}_2"],
    },
    Grant {
        sid: "Instances",
        actions: &[
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:SetInstanceProtection",
            "autoscaling:StartInstanceRefresh",
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            "autoscaling:UpdateAutoScalingGroup",
        ],
        on: &["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{app}"],
    },
    // EFS chooses the ids. It creates the network interfaces of mount targets with the caller's permissions.
    // https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html
    Grant {
        sid: "FileSystem",
        actions: &[
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaceAttribute",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:ModifyNetworkInterfaceAttribute",
            "elasticfilesystem:CreateFileSystem",
            "elasticfilesystem:CreateMountTarget",
            "elasticfilesystem:DeleteFileSystem",
            "elasticfilesystem:DeleteMountTarget",
            "elasticfilesystem:DescribeFileSystemPolicy",
            "elasticfilesystem:DescribeMountTargetSecurityGroups",
            "elasticfilesystem:DescribeMountTargets",
            "elasticfilesystem:ModifyMountTargetSecurityGroups",
            "elasticfilesystem:PutFileSystemPolicy",
            "elasticfilesystem:TagResource",
            "elasticfilesystem:UntagResource",
        ],
        on: &["*"],
    },
    // The Auto Scaling group starts instances with the caller's permissions: RunInstances, CreateTags, and GetParameters for the AMI.
    // https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
    Grant {
        sid: "LaunchTemplate",
        actions: &[
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:ModifyLaunchTemplate",
            "ec2:RunInstances",
            "ssm:GetParameters",
        ],
        on: &["*"],
    },
    // PassRole lets the launch template give the role to its instances.
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
            "iam:UntagInstanceProfile",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        on: &["arn:*:iam::*:role/{app}-instance-*", "arn:*:iam::*:instance-profile/{app}-instance-*"],
    },
    // The roles of ECS, of Auto Scaling and of EFS. The last two are created with the first group and the first file system of the account.
    Grant { sid: "ServiceRole", actions: &["iam:CreateServiceLinkedRole"], on: &["arn:*:iam::*:role/aws-service-role/*"] },
];
