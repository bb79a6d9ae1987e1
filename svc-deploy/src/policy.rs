//! What svc-deploy may do in AWS.

use shared::policy::Grant;

pub const GRANTS: &[Grant] = &[
    // Most of these calls have no resource to which they could be limited. Others read what other tools or people created.
    Grant {
        sid: "Read",
        actions: &[
            "ecs:DescribeTaskDefinition",
            "ecs:ListServices",
            "ecs:ListTaskDefinitionFamilies",
            "ecs:ListTaskDefinitions",
            "elasticfilesystem:DescribeAccessPoints",
            "elasticfilesystem:DescribeMountTargets",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:DescribeTags",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "iam:ListRoles",
            "logs:DescribeLogGroups",
            "ssm:DescribeParameters",
            "scheduler:ListSchedules",
            "servicediscovery:ListServices",
        ],
        on: &["*"],
    },
    // EFS chooses the ids of file systems and access points.
    Grant {
        sid: "Volumes",
        actions: &[
            "elasticfilesystem:CreateAccessPoint",
            "elasticfilesystem:DeleteAccessPoint",
            "elasticfilesystem:TagResource",
            "elasticfilesystem:UntagResource",
        ],
        on: &["arn:*:elasticfilesystem:*:*:file-system/*", "arn:*:elasticfilesystem:*:*:access-point/*"],
    },
    Grant {
        sid: "Secrets",
        actions: &[
            "ssm:AddTagsToResource",
            "ssm:DeleteParameter",
            "ssm:GetParameters",
            "ssm:ListTagsForResource",
            "ssm:PutParameter",
            "ssm:RemoveTagsFromResource",
        ],
        on: &["arn:*:ssm:*:*:parameter/ecs-pipe/{app}/*"],
    },
    Grant {
        sid: "Services",
        actions: &[
            "ecs:CreateService",
            "ecs:DeleteService",
            "ecs:DescribeServices",
            "ecs:DescribeTasks",
            "ecs:ListTasks",
            "ecs:StopTask",
            "ecs:TagResource",
            "ecs:UntagResource",
            "ecs:UpdateService",
        ],
        on: &[
            "arn:*:ecs:*:*:service/{app}/*",
            "arn:*:ecs:*:*:task/{app}/*",
            "arn:*:ecs:*:*:container-instance/{app}/*",
            "arn:*:ecs:*:*:cluster/{app}",
        ],
    },
    Grant { sid: "Jobs", actions: &["ecs:RunTask"], on: &["arn:*:ecs:*:*:task-definition/{app}-*:*"] },
    Grant {
        sid: "Schedules",
        actions: &[
            "scheduler:CreateSchedule",
            "scheduler:CreateScheduleGroup",
            "scheduler:DeleteSchedule",
            "scheduler:DeleteScheduleGroup",
            "scheduler:GetSchedule",
            "scheduler:GetScheduleGroup",
            "scheduler:ListTagsForResource",
            "scheduler:TagResource",
            "scheduler:UntagResource",
            "scheduler:UpdateSchedule",
        ],
        on: &["arn:*:scheduler:*:*:schedule-group/{app}", "arn:*:scheduler:*:*:schedule/{app}/*"],
    },
    // DeregisterTaskDefinition has no resources.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    Grant {
        sid: "TaskDefinitions",
        actions: &[
            "ecs:DeleteTaskDefinitions",
            "ecs:DeregisterTaskDefinition",
            "ecs:RegisterTaskDefinition",
            "ecs:TagResource",
            "ecs:UntagResource",
        ],
        on: &["*"],
    },
    Grant {
        sid: "LoadBalancer",
        actions: &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:CreateRule",
            "elasticloadbalancing:CreateTargetGroup",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:DeleteRule",
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:ModifyListener",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
            "elasticloadbalancing:ModifyRule",
            "elasticloadbalancing:ModifyTargetGroup",
            "elasticloadbalancing:ModifyTargetGroupAttributes",
            "elasticloadbalancing:RemoveTags",
            "elasticloadbalancing:SetRulePriorities",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ],
        on: &[
            "arn:*:elasticloadbalancing:*:*:loadbalancer/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:listener/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:listener-rule/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:targetgroup/{app}-*",
        ],
    },
    // Elastic Load Balancing reads the network with the caller's permissions.
    // https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-permissions.html
    Grant {
        sid: "NetworkOfTheLoadBalancer",
        actions: &[
            "ec2:DescribeAccountAttributes",
            "ec2:DescribeAddresses",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "ec2:GetSecurityGroupsForVpc",
        ],
        on: &["*"],
    },
    // PassRole lets ECS use the roles in task definitions.
    Grant {
        sid: "Roles",
        actions: &[
            "iam:AttachRolePolicy",
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:PassRole",
            "iam:PutRolePolicy",
            "iam:TagRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        on: &["arn:*:iam::*:role/ecs-pipe/{app}/*"],
    },
    // Roles are read by name, and to IAM one that does not exist has no path.
    Grant {
        sid: "ReadRoles",
        actions: &["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"],
        on: &["arn:*:iam::*:role/ecs-pipe/{app}/*", "arn:*:iam::*:role/{app}-*"],
    },
    // ECS and Elastic Load Balancing each create their role with the first service and load balancer of the account.
    Grant { sid: "ServiceRoles", actions: &["iam:CreateServiceLinkedRole"], on: &["arn:*:iam::*:role/aws-service-role/*"] },
    Grant {
        sid: "Logs",
        actions: &[
            "logs:AssociateKmsKey",
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DisassociateKmsKey",
            "logs:GetLogEvents",
            "logs:ListTagsForResource",
            "logs:PutRetentionPolicy",
            "logs:TagResource",
            "logs:UntagResource",
        ],
        on: &["arn:*:logs:*:*:log-group:/ecs-pipe/{app}/*"],
    },
];
