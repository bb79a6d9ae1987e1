//! Makes the network of an app: VPC, subnets, gateways, routes and security groups.

mod address;
mod claim;
mod endpoint;
mod flow_log;
mod flow_log_group;
mod flow_log_role;
mod gateway;
mod group;
mod nat;
mod route;
mod subnet;
mod tag;
mod vpc;
mod wish;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use futures_util::try_join;
use schemars::JsonSchema;
use serde::Serialize;
use shared::doc::Net;
use shared::policy::Grant;
use shared::{Document, Result, Run, Stage};

use wish::{Flags, Wanted};

fn main() -> ExitCode {
    shared::main::<NetUp>()
}

struct NetUp {
    ec2: aws_sdk_ec2::Client,
    /// For what EC2 would make twice.
    once: aws_sdk_ec2::Client,
    iam: aws_sdk_iam::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    found: Found,
    /// The section as it grows.
    net: RefCell<Net>,
    /// Elastic IPs allocated in this run, by the name of their NAT gateway.
    addresses: RefCell<BTreeMap<String, Option<String>>>,
    /// The security group of the interface endpoints, when there are any.
    endpoint_group: RefCell<Option<String>>,
    /// The security group that came with the VPC.
    default_group: RefCell<Option<aws_sdk_ec2::types::SecurityGroup>>,
}

/// What there was before the walk began.
struct Found {
    vpc: vpc::Found,
    subnets: subnet::Found,
    addresses: address::Found,
    gateway: gateway::Found,
    nats: nat::Found,
    tables: route::Found,
    groups: group::Found,
    endpoints: endpoint::Found,
    flow_log: flow_log::Found,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Vpc,
    Addresses,
    Gateway,
    Dns,
    Attachment,
    Subnets,
    Groups,
    DefaultGroup,
    RouteTables,
    GroupRules,
    PublicRoutes,
    NatGateways,
    PrivateRoutes,
    Endpoints,
    FlowLogParts,
    FlowLog,
    Surplus,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(rename = "x-net")]
    x_net: Option<Flags>,
    net: Option<Net>,
}

impl Stage for NetUp {
    const TOOL: &'static str = "net-up";
    const SECTION: &'static str = "net";
    const ABOUT: &'static str = "Makes the network of an app: VPC, subnets, gateways, routes and security groups";
    const DETAILS: &'static str = "Reads the document on stdin (wishes from `x-net`), or starts a new one for --app. Makes a VPC with a public and a \
        private subnet in each zone, an internet gateway, NAT gateways, route tables, and security groups that let the internet reach only the load \
        balancer and only the load balancer reach tasks and instances. Writes the document with the section `net`.\n\n\
        Example:\n  net-up --app shop --nat single | cluster-up";
    const NEEDS: &'static [(&'static str, &'static str)] = &[];
    const GRANTS: &'static [Grant] = GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::Vpc, Step::Addresses, Step::Gateway, Step::FlowLogParts],
        &[Step::Dns, Step::Attachment, Step::Subnets, Step::Groups, Step::DefaultGroup, Step::RouteTables],
        // A NAT gateway needs the attached internet gateway.
        &[Step::GroupRules, Step::PublicRoutes, Step::NatGateways, Step::Endpoints],
        &[Step::PrivateRoutes, Step::FlowLog],
        // What no route leads to any more.
        &[Step::Surplus],
    ];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;
    type Part = Part;

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn look(run: &Run, _: &Document, _: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let ec2 = shared::client!(aws_sdk_ec2, run);
        let (iam, logs) = (shared::client!(aws_sdk_iam, run), shared::client!(aws_sdk_cloudwatchlogs, run));
        let (vpc, subnets, addresses, gateway, nats, tables, groups, endpoints, flow_log) = try_join!(
            vpc::find(&ec2, run, wanted),
            subnet::find(&ec2, run, wanted),
            address::find(&ec2, run),
            gateway::find(&ec2, run),
            nat::find(&ec2, run),
            route::find(&ec2, run),
            group::find(&ec2, run),
            endpoint::find(&ec2, run, wanted),
            flow_log::find((&ec2, &iam, &logs), run, wanted),
        )?;
        if let Some(network) = wanted.and_then(Wanted::network) {
            endpoints.check_zones(&subnets.place(network.public.len())?)?;
        }
        Ok(Self {
            once: shared::client_once!(aws_sdk_ec2, run),
            ec2,
            iam,
            logs,
            found: Found { vpc, subnets, addresses, gateway, nats, tables, groups, endpoints, flow_log },
            net: RefCell::default(),
            addresses: RefCell::default(),
            endpoint_group: RefCell::default(),
            default_group: RefCell::default(),
        })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::Vpc => self.vpc_up(run, wanted).await,
            Step::Addresses => self.addresses_up(run, wanted).await,
            Step::Gateway => self.gateway_up(run, wanted).await,
            Step::Dns => self.dns_up(run, wanted).await,
            Step::Attachment => self.attachment_up(run, wanted).await,
            Step::Subnets => self.subnets_up(run, wanted).await,
            Step::Groups => self.groups_up(run, wanted).await,
            Step::DefaultGroup => self.default_group_up(run, wanted).await,
            Step::GroupRules => self.group_rules_up(run, wanted).await,
            Step::RouteTables => self.tables_up(run, wanted).await,
            Step::NatGateways => self.nats_up(run, wanted).await,
            Step::PublicRoutes => self.public_routes_up(run, wanted).await,
            Step::PrivateRoutes => self.private_routes_up(run, wanted).await,
            Step::Endpoints => self.endpoints_up(run, wanted).await,
            Step::FlowLogParts => self.flow_log_parts_up(run, wanted).await,
            Step::FlowLog => self.flow_log_up(run, wanted).await,
            Step::Surplus => self.surplus_down(run, wanted).await,
        }
    }

    async fn ready(&self, run: &Run, _: &Wanted) -> Result<()> {
        self.nats_ready(run).await
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Vpc => self.vpc_down(run).await,
            Step::Addresses => self.addresses_down(run).await,
            Step::Gateway => self.gateway_down(run).await,
            Step::Attachment => self.attachment_down(run).await,
            Step::Subnets => self.subnets_down(run).await,
            Step::Groups => self.groups_down(run).await,
            // Settings and the default group go with the VPC, rules with their group, surplus with the rest.
            Step::Dns | Step::DefaultGroup | Step::GroupRules | Step::Surplus => Ok(()),
            Step::RouteTables => self.tables_down(run).await,
            Step::PublicRoutes => self.routes_down(run, true).await,
            Step::NatGateways => self.nats_down(run).await,
            Step::PrivateRoutes => self.routes_down(run, false).await,
            Step::Endpoints => self.endpoints_down(run).await,
            Step::FlowLogParts => self.flow_log_parts_down(run).await,
            Step::FlowLog => self.flow_logs_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.net.borrow().clone()
    }
}

impl NetUp {
    /// The VPC's id, for a call that can only be made when it is known.
    fn vpc_id(&self) -> Result<String> {
        shared::error::given(self.net.borrow().vpc_id.as_deref(), "the VPC's id")
    }
}

/// EC2's describe calls know no resources, so they stand on `*`; the others are bound to the kinds of resource that this tool makes.
const GRANTS: &[Grant] = &[
    Grant {
        sid: "Look",
        actions: &[
            "ec2:DescribeAddresses",
            "ec2:DescribeAvailabilityZones",
            "ec2:DescribeFlowLogs",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeNatGateways",
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
        actions: &["logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:ListTagsForResource", "logs:PutRetentionPolicy", "logs:TagResource"],
        on: &["arn:*:logs:*:*:log-group:/ecs-pipe-flow-logs/{app}", "arn:*:logs:*:*:log-group:/ecs-pipe-flow-logs/{app}:*"],
    },
    // Logs wants them of who makes a flow log.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
    Grant { sid: "FlowLogDelivery", actions: &["logs:CreateLogDelivery", "logs:DeleteLogDelivery"], on: &["*"] },
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
            "iam:UpdateAssumeRolePolicy",
        ],
        on: &["arn:*:iam::*:role/{app}-flow-logs-*"],
    },
    // An interface endpoint with private names brings a hosted zone along.
    // https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
    Grant { sid: "PrivateNames", actions: &["route53:AssociateVPCWithHostedZone"], on: &["*"] },
];
