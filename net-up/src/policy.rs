//! What `net-up` may do in AWS (`--policy`).

use shared::policy::Grant;

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
    },
    // EC2 chooses the ids, so only the types of the resources are known.
    Grant {
        sid: "Network",
        actions: &[
            "ec2:AllocateAddress",
            "ec2:AssociateRouteTable",
            "ec2:AttachInternetGateway",
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateFlowLogs",
            "ec2:CreateInternetGateway",
            "ec2:CreateNatGateway",
            "ec2:CreateRoute",
            "ec2:CreateRouteTable",
            "ec2:CreateSecurityGroup",
            "ec2:CreateSubnet",
            "ec2:CreateTags",
            "ec2:DeleteTags",
            "ec2:CreateVpc",
            "ec2:CreateVpcEndpoint",
            "ec2:DeleteFlowLogs",
            "ec2:DeleteInternetGateway",
            "ec2:DeleteNatGateway",
            "ec2:DeleteRoute",
            "ec2:DeleteRouteTable",
            "ec2:DeleteSecurityGroup",
            "ec2:DeleteSubnet",
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
        on: &[
            "arn:*:ec2:*:*:vpc/*",
            "arn:*:ec2:*:*:subnet/*",
            "arn:*:ec2:*:*:internet-gateway/*",
            "arn:*:ec2:*:*:natgateway/*",
            "arn:*:ec2:*:*:elastic-ip/*",
            "arn:*:ec2:*:*:ipv4pool-ec2/*",
            "arn:*:ec2:*:*:route-table/*",
            "arn:*:ec2:*:*:security-group/*",
            "arn:*:ec2:*:*:security-group-rule/*",
            "arn:*:ec2:*:*:vpc-endpoint/*",
            "arn:*:ec2:*:*:vpc-flow-log/*",
        ],
    },
    // For `x-net.flow_logs`.
    Grant {
        sid: "FlowLogGroup",
        actions: &[
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:ListTagsForResource",
            "logs:PutRetentionPolicy",
            "logs:TagResource",
            "logs:UntagResource",
        ],
        on: &["arn:*:logs:*:*:log-group:/ecs-pipe-flow-logs/{app}", "arn:*:logs:*:*:log-group:/ecs-pipe-flow-logs/{app}:*"],
    },
    // CloudWatch Logs requires these of the caller who creates or deletes a flow log.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
    Grant { sid: "FlowLogDelivery", actions: &["logs:CreateLogDelivery", "logs:DeleteLogDelivery"], on: &["*"] },
    // The role with which VPC Flow Logs writes to the log group.
    Grant {
        sid: "FlowLogRole",
        actions: &[
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:PassRole",
            "iam:PutRolePolicy",
            "iam:TagRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        on: &["arn:*:iam::*:role/{app}-flow-logs-*"],
    },
    // AWS creates a private hosted zone for an interface endpoint with private DNS names.
    // https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
    Grant { sid: "PrivateNames", actions: &["route53:AssociateVPCWithHostedZone"], on: &["*"] },
];
