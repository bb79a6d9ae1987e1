//! What `net-up` may do in AWS (`--policy`).

use shared::policy::{BOUNDARY, Grant, When};

const ROLES: &[&str] = &["arn:*:iam::*:role/{app}-flow-logs-*"];
const EC2: &[&str] = &["arn:*:ec2:*:*:*/*"];
const LOG_GROUPS: &[&str] = &["arn:*:logs:*:*:log-group:/ecs-pipe-flow-logs/{app}", "arn:*:logs:*:*:log-group:/ecs-pipe-flow-logs/{app}:*"];

/// The permissions that it needs.
pub const GRANTS: &[Grant] = &[
    // These actions support no permissions for single resources.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    Grant {
        sid: "Read",
        actions: &[
            "ec2:DescribeAddresses",
            "ec2:DescribeAvailabilityZones",
            "ec2:DescribeFlowLogs",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeNatGateways",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeTags",
            "ec2:DescribeVpcAttribute",
            "ec2:DescribeVpcEndpointServices",
            "ec2:DescribeVpcEndpoints",
            "ec2:DescribeVpcs",
            "logs:DescribeLogGroups",
        ],
        on: &["*"],
        when: &[],
    },
    // EC2 checks the new resource, and each resource that the call names. The VPC is not in one list with the others, so that nothing is created in
    // another VPC.
    Grant { sid: "CreateVpc", actions: &["ec2:CreateVpc"], on: &["arn:*:ec2:*:*:vpc/*"], when: &[When::Tagged] },
    Grant {
        sid: "Create",
        actions: &[
            "ec2:AllocateAddress",
            "ec2:CreateFlowLogs",
            "ec2:CreateInternetGateway",
            "ec2:CreateNatGateway",
            "ec2:CreateRouteTable",
            "ec2:CreateSecurityGroup",
            "ec2:CreateSubnet",
            "ec2:CreateVpcEndpoint",
        ],
        on: &[
            "arn:*:ec2:*:*:elastic-ip/*",
            "arn:*:ec2:*:*:internet-gateway/*",
            "arn:*:ec2:*:*:natgateway/*",
            "arn:*:ec2:*:*:route-table/*",
            "arn:*:ec2:*:*:security-group/*",
            "arn:*:ec2:*:*:subnet/*",
            "arn:*:ec2:*:*:vpc-endpoint/*",
            "arn:*:ec2:*:*:vpc-flow-log/*",
        ],
        when: &[When::Tagged],
    },
    Grant {
        sid: "TagNew",
        actions: &["ec2:CreateTags"],
        on: EC2,
        when: &[
            When::Tagged,
            When::Is(
                "ec2:CreateAction",
                &[
                    "AllocateAddress",
                    "CreateFlowLogs",
                    "CreateInternetGateway",
                    "CreateNatGateway",
                    "CreateRouteTable",
                    "CreateSecurityGroup",
                    "CreateSubnet",
                    "CreateVpc",
                    "CreateVpcEndpoint",
                ],
            ),
        ],
    },
    Grant {
        sid: "Ours",
        actions: &[
            "ec2:AssociateRouteTable",
            "ec2:AttachInternetGateway",
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateFlowLogs",
            "ec2:CreateNatGateway",
            "ec2:CreateRoute",
            "ec2:CreateRouteTable",
            "ec2:CreateSecurityGroup",
            "ec2:CreateSubnet",
            "ec2:CreateTags",
            "ec2:CreateVpcEndpoint",
            "ec2:DeleteFlowLogs",
            "ec2:DeleteInternetGateway",
            "ec2:DeleteNatGateway",
            "ec2:DeleteRoute",
            "ec2:DeleteRouteTable",
            "ec2:DeleteSecurityGroup",
            "ec2:DeleteSubnet",
            "ec2:DeleteTags",
            "ec2:DeleteVpc",
            "ec2:DeleteVpcEndpoints",
            "ec2:DetachInternetGateway",
            "ec2:DisassociateRouteTable",
            "ec2:ModifyVpcAttribute",
            "ec2:ModifyVpcEndpoint",
            "ec2:ReleaseAddress",
            "ec2:ReplaceRoute",
            "ec2:ReplaceRouteTableAssociation",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
        ],
        on: EC2,
        when: &[When::Ours],
    },
    // An existing VPC (`x-net.vpc`) has no tag of ours. Only security groups are created in it.
    Grant { sid: "ExistingVpc", actions: &["ec2:CreateSecurityGroup"], on: &["arn:*:ec2:*:*:vpc/{vpc}"], when: &[] },
    // AWS creates the default group of a VPC, without tags. Its VPC is not known before.
    Grant {
        sid: "DefaultGroup",
        actions: &["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"],
        on: &["arn:*:ec2:*:*:security-group/*"],
        when: &[When::Untagged],
    },
    // A new rule has no tags. The call is checked on its security group as well.
    Grant {
        sid: "Rules",
        actions: &["ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress"],
        on: &["arn:*:ec2:*:*:security-group-rule/*"],
        when: &[],
    },
    // The pool of Amazon's addresses has no tags. The call is checked on the new address as well.
    Grant { sid: "Pool", actions: &["ec2:AllocateAddress"], on: &["arn:*:ec2:*:*:ipv4pool-ec2/*"], when: &[] },
    // For `--down --force`. An endpoint has no condition key for its VPC, so this can't be limited to the VPC of the app.
    Grant {
        sid: "GuardDuty",
        actions: &["ec2:DeleteSecurityGroup", "ec2:DeleteVpcEndpoints"],
        on: &["arn:*:ec2:*:*:security-group/*", "arn:*:ec2:*:*:vpc-endpoint/*"],
        when: &[When::Is("aws:ResourceTag/GuardDutyManaged", &["true"])],
    },
    // For `x-net.flow_logs`.
    Grant {
        sid: "CreateFlowLogGroup",
        actions: &["logs:CreateLogGroup", "logs:ListTagsForResource", "logs:TagResource"],
        on: LOG_GROUPS,
        when: &[],
    },
    Grant {
        sid: "FlowLogGroup",
        actions: &["logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:UntagResource"],
        on: LOG_GROUPS,
        when: &[When::OursByName],
    },
    // CloudWatch Logs requires these of the caller who creates or deletes a flow log. They have no resources.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
    Grant { sid: "FlowLogDelivery", actions: &["logs:CreateLogDelivery", "logs:DeleteLogDelivery"], on: &["*"], when: &[] },
    // The role with which VPC Flow Logs writes to the log group.
    Grant {
        sid: "ReadRole",
        actions: &["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"],
        on: ROLES,
        when: &[],
    },
    Grant { sid: "CreateRole", actions: &["iam:CreateRole"], on: ROLES, when: &[When::Tagged, When::Bounded] },
    Grant { sid: "TagNewRole", actions: &["iam:TagRole"], on: ROLES, when: &[When::Tagged, When::Untagged] },
    Grant {
        sid: "Role",
        actions: &[
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:TagRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        on: ROLES,
        when: &[When::Ours],
    },
    Grant { sid: "RolePolicy", actions: &["iam:PutRolePolicy"], on: ROLES, when: &[When::Ours, When::Bounded] },
    Grant {
        sid: "SetBoundary",
        actions: &["iam:PutRolePermissionsBoundary"],
        on: ROLES,
        when: &[When::Ours, When::Is("iam:PermissionsBoundary", &[BOUNDARY])],
    },
    Grant { sid: "DeleteBoundary", actions: &["iam:DeleteRolePermissionsBoundary"], on: ROLES, when: &[When::Ours, When::Unbounded] },
    Grant {
        sid: "PassRole",
        actions: &["iam:PassRole"],
        on: ROLES,
        when: &[When::Is("iam:PassedToService", &["vpc-flow-logs.amazonaws.com"])],
    },
    // AWS creates a private hosted zone for an interface endpoint with private DNS names. Its ID is not known before.
    // https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
    Grant { sid: "PrivateNames", actions: &["route53:AssociateVPCWithHostedZone"], on: &["*"], when: &[] },
];
