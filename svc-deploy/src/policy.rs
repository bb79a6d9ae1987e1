//! What svc-deploy may do in AWS. IAM takes 6,144 characters, so what the same condition allows is one grant.

use shared::policy::{BOUNDARY, Grant, When};

/// What belongs to the app by its name.
const NAMED: &[&str] = &[
    "arn:*:ecs:*:*:service/{app}/*",
    "arn:*:ecs:*:*:task/{app}/*",
    "arn:*:ecs:*:*:container-instance/{app}/*",
    "arn:*:ecs:*:*:cluster/{app}",
    "arn:*:ssm:*:*:parameter/ecs-pipe/{app}/*",
    "arn:*:scheduler:*:*:schedule-group/{app}",
    "arn:*:scheduler:*:*:schedule/{app}/*",
    "arn:*:logs:*:*:log-group:/ecs-pipe/{app}/*",
    "arn:*:iam::*:role/ecs-pipe/{app}/*",
];
// AWS checks some actions with and some without the revision.
const TASK_DEFINITIONS: &[&str] = &["arn:*:ecs:*:*:task-definition/{app}-*"];
/// Listeners and rules of `x-svc.alb`. The load balancer itself has no slash behind its id.
const EXISTING: &str = "arn:*:elasticloadbalancing:*:*:*/{alb}/*";
const ROLES: &[&str] = &["arn:*:iam::*:role/ecs-pipe/{app}/*"];

pub const GRANTS: &[Grant] = &[
    // Most of these calls have no resource to which they could be limited. Others read what other tools or people created. Elastic Load Balancing
    // reads the network with the caller's permissions.
    // https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-permissions.html
    Grant {
        sid: "Read",
        actions: &[
            "autoscaling:DescribeScalingActivities",
            "ecs:DescribeTaskDefinition",
            "ecs:ListServices",
            "ecs:ListTaskDefinitionFamilies",
            "ecs:ListTaskDefinitions",
            "elasticfilesystem:Describe*",
            "ec2:DescribeAccountAttributes",
            "ec2:DescribeAddresses",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "ec2:GetSecurityGroupsForVpc",
            "elasticloadbalancing:Describe*",
            "iam:ListRoles",
            "logs:DescribeLogGroups",
            "ssm:DescribeParameters",
            "scheduler:ListSchedules",
            "servicediscovery:ListServices",
        ],
        on: &["*"],
        when: &[],
    },
    // These read or create, or, as PutParameter, do both, so that there may be no tag yet. Schedules have no tags, and a task has only those that its
    // service gives it. The actions that end in Resource read and change tags.
    Grant {
        sid: "ByName",
        actions: &[
            "ecs:CreateService",
            "ecs:DescribeClusters",
            "ecs:DescribeServices",
            "ecs:DescribeTasks",
            "ecs:ListTasks",
            "ecs:StopTask",
            "ecs:TagResource",
            "iam:TagRole",
            "logs:CreateLogGroup",
            "logs:*Resource",
            "scheduler:CreateSchedule",
            "scheduler:CreateScheduleGroup",
            "scheduler:DeleteSchedule",
            "scheduler:GetSchedule",
            "scheduler:GetScheduleGroup",
            "scheduler:*Resource",
            "scheduler:UpdateSchedule",
            "ssm:*Resource",
            "ssm:PutParameter",
        ],
        on: NAMED,
        when: &[],
    },
    Grant {
        sid: "Named",
        actions: &[
            "ecs:DeleteService",
            "ecs:UntagResource",
            "ecs:UpdateService",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
            "logs:AssociateKmsKey",
            "logs:DeleteLogGroup",
            "logs:DisassociateKmsKey",
            "logs:GetLogEvents",
            "logs:PutRetentionPolicy",
            "scheduler:DeleteScheduleGroup",
            "ssm:DeleteParameter",
            "ssm:GetParameters",
        ],
        on: NAMED,
        when: &[When::OursByName],
    },
    Grant {
        sid: "Jobs",
        actions: &["ecs:RunTask"],
        on: TASK_DEFINITIONS,
        when: &[When::Is("ecs:cluster", &["arn:*:ecs:*:*:cluster/{app}"])],
    },
    // This action has neither resources nor condition keys. Services that run a revision keep it.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    Grant { sid: "Deregister", actions: &["ecs:DeregisterTaskDefinition"], on: &["*"], when: &[] },
    Grant {
        sid: "Create",
        actions: &[
            "ecs:RegisterTaskDefinition",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:CreateRule",
            "elasticloadbalancing:CreateTargetGroup",
        ],
        on: &[
            "arn:*:ecs:*:*:task-definition/{app}-*",
            "arn:*:elasticloadbalancing:*:*:*/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:targetgroup/{app}-*",
            EXISTING,
        ],
        when: &[When::Tagged],
    },
    Grant {
        sid: "TagNewTasks",
        actions: &["ecs:TagResource"],
        on: TASK_DEFINITIONS,
        when: &[When::Tagged, When::Is("ecs:CreateAction", &["RegisterTaskDefinition"])],
    },
    // What may be created is said above.
    Grant {
        sid: "TagNewBalancer",
        actions: &["elasticloadbalancing:AddTags"],
        on: &["*"],
        when: &[
            When::Tagged,
            When::Is("elasticloadbalancing:CreateAction", &["CreateListener", "CreateLoadBalancer", "CreateRule", "CreateTargetGroup"]),
        ],
    },
    // EFS chooses the ids of file systems and access points. An access point is checked on its file system.
    Grant { sid: "CreateAccessPoint", actions: &["elasticfilesystem:CreateAccessPoint"], on: &["*"], when: &[When::Ours, When::Tagged] },
    Grant {
        sid: "TagNewAccessPoint",
        actions: &["elasticfilesystem:TagResource"],
        on: &["*"],
        when: &[When::Tagged, When::Is("elasticfilesystem:CreateAction", &["CreateAccessPoint"])],
    },
    Grant {
        sid: "Ours",
        actions: &[
            "ecs:DeleteTaskDefinitions",
            "ecs:TagResource",
            "ecs:UntagResource",
            "elasticfilesystem:DeleteAccessPoint",
            "elasticfilesystem:TagResource",
            "elasticfilesystem:UntagResource",
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:DeleteRule",
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:Modify*",
            "elasticloadbalancing:RemoveTags",
            "elasticloadbalancing:SetRulePriorities",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ],
        on: &["*"],
        when: &[When::Ours],
    },
    // The path of a role is of the app alone, so it says whose the role is.
    Grant { sid: "CreateRoles", actions: &["iam:CreateRole"], on: ROLES, when: &[When::Tagged, When::Bounded] },
    Grant { sid: "RolePolicies", actions: &["iam:PutRolePolicy"], on: ROLES, when: &[When::OursByName, When::Bounded] },
    // Those of `task_role.policies`.
    Grant {
        sid: "AttachPolicies",
        actions: &["iam:AttachRolePolicy"],
        on: ROLES,
        when: &[When::OursByName, When::Bounded, When::Is("iam:PolicyARN", &["{policies}"])],
    },
    Grant {
        sid: "SetBoundary",
        actions: &["iam:PutRolePermissionsBoundary"],
        on: ROLES,
        when: &[When::OursByName, When::Is("iam:PermissionsBoundary", &[BOUNDARY])],
    },
    Grant { sid: "DeleteBoundary", actions: &["iam:DeleteRolePermissionsBoundary"], on: ROLES, when: &[When::OursByName, When::Unbounded] },
    // PassRole lets ECS use the roles in task definitions, and EventBridge Scheduler that of the schedules.
    Grant {
        sid: "PassRoles",
        actions: &["iam:PassRole"],
        on: ROLES,
        when: &[When::Is("iam:PassedToService", &["ecs-tasks.amazonaws.com", "scheduler.amazonaws.com"])],
    },
    // Existing roles (`execution_role` and `task_role`).
    Grant {
        sid: "PassExistingRoles",
        actions: &["iam:PassRole"],
        on: &["{roles}"],
        when: &[When::Is("iam:PassedToService", &["ecs-tasks.amazonaws.com"])],
    },
    // Roles are read by name, and to IAM one that does not exist has no path.
    Grant {
        sid: "ReadRoles",
        actions: &["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"],
        on: &["arn:*:iam::*:role/ecs-pipe/{app}/*", "arn:*:iam::*:role/{app}-*"],
        when: &[],
    },
    // ECS and Elastic Load Balancing each create their role with the first service and load balancer of the account.
    Grant {
        sid: "ServiceRoles",
        actions: &["iam:CreateServiceLinkedRole"],
        on: &["*"],
        when: &[When::Is("iam:AWSServiceName", &["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com"])],
    },
];
