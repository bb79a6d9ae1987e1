//! Creates the network of an app: VPC, subnets, gateways, routes and security groups.

mod address;
mod batch;
mod blocker;
mod claim;
mod endpoint;
mod flow_log;
mod flow_log_group;
mod flow_log_role;
mod gateway;
mod group;
mod guard_duty;
mod nat;
mod needed;
mod policy;
mod route;
mod rule;
mod settings;
mod subnet;
mod tag;
mod vpc;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use aws_sdk_ec2::types::SecurityGroup;
use futures_util::try_join;
use serde::Serialize;
use shared::doc::{Net, volume};
use shared::error::made;
use shared::policy::{Grant, Named};
use shared::settings::Parts;
use shared::{Document, Result, Run, Stage};

use settings::{Flags, NetFlags, Wanted};

fn main() -> ExitCode {
    shared::main::<NetUp>()
}

struct NetUp {
    ec2: aws_sdk_ec2::Client,
    /// For calls that EC2 would carry out twice.
    once: aws_sdk_ec2::Client,
    iam: aws_sdk_iam::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    found: Found,
    /// The section, which the steps fill.
    net: RefCell<Net>,
    /// The elastic IPs, by the name of their NAT gateway.
    addresses: RefCell<BTreeMap<String, Option<String>>>,
    /// The security group of the interface endpoints, when there are any.
    endpoint_group: RefCell<Option<String>>,
    /// Whether `--down` also deletes what `GuardDuty` created.
    force: bool,
    /// Whether services have volumes on the app's file system, which needs a security group.
    has_volumes: bool,
    /// The security group that AWS created with the VPC.
    default_group: RefCell<Option<SecurityGroup>>,
}

/// What exists before the first step.
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
    /// Only `--down` meets it.
    guard_duty: guard_duty::Found,
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
    /// With the routes and associations of the private subnets, which then do not wait for the endpoints.
    NatGateways,
    Endpoints,
    FlowLogParts,
    FlowLog,
    /// NAT gateways and elastic IPs that the settings no longer name.
    Surplus,
}

impl Stage for NetUp {
    const TOOL: &'static str = "net-up";
    const SECTION: &'static str = "net";
    const ABOUT: &'static str = "Create the network of an app: VPC, subnets, gateways, routes and security groups";
    const DETAILS: &'static str = "Reads the document on stdin (settings from `x-net`), or starts a new one with --app. Creates a VPC with \
        a public and a private subnet in each zone, an internet gateway, NAT gateways, route tables and security groups. The internet \
        reaches only the load balancer, on the ports of the public services, and only the load balancer and the app's own tasks reach tasks and instances. Writes the document with the section \
        `net`.\n\nExample:\n  net-up --app shop --nat single | cluster-up";
    const NEEDS: &'static [(&'static str, &'static str)] = &[];
    const GRANTS: &'static [Grant] = policy::GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::Vpc, Step::Addresses, Step::Gateway, Step::FlowLogParts],
        &[Step::Dns, Step::Attachment, Step::Subnets, Step::Groups, Step::DefaultGroup, Step::RouteTables],
        // A NAT gateway needs the attached internet gateway.
        &[Step::GroupRules, Step::PublicRoutes, Step::NatGateways, Step::Endpoints, Step::FlowLog],
        // By now no route uses the surplus NAT gateways.
        &[Step::Surplus],
    ];
    type Step = Step;
    type Flags = NetFlags;
    type Wanted = Wanted;

    fn parts() -> Parts {
        Parts::default().with::<Option<Flags>>("x-net").with::<Option<Net>>("net")
    }

    fn wanted(doc: &Document, flags: &NetFlags) -> Result<Wanted> {
        volume::on_file_system(doc)?;
        Wanted::read(doc, flags)
    }

    fn named(doc: &Document, flags: &NetFlags) -> Result<Named> {
        settings::named(doc, flags)
    }

    async fn find(run: &Run, doc: &Document, flags: &NetFlags, wanted: Option<&Wanted>) -> Result<Self> {
        let ec2 = shared::client!(aws_sdk_ec2, run);
        let (iam, logs) = (shared::client!(aws_sdk_iam, run), shared::client!(aws_sdk_cloudwatchlogs, run));
        let guard_duty = async { if wanted.is_none() { guard_duty::find(&ec2).await } else { Ok(guard_duty::Found::default()) } };
        let (vpc, subnets, addresses, gateway, nats, tables, groups, endpoints, flow_log, guard_duty) = try_join!(
            vpc::find(&ec2, run, wanted),
            subnet::find(&ec2, run, wanted),
            address::find(&ec2, run),
            gateway::find(&ec2, run),
            nat::find(&ec2, run),
            route::find(&ec2, run),
            group::find(&ec2, run),
            endpoint::find(&ec2, run, wanted),
            flow_log::find((&ec2, &iam, &logs), run, wanted),
            guard_duty,
        )?;
        if let Some(network) = wanted.and_then(Wanted::network) {
            endpoints.check_zones(&subnets.place(network.public.len())?)?;
        }
        Ok(Self {
            once: shared::client_once!(aws_sdk_ec2, run),
            ec2,
            iam,
            logs,
            found: Found { vpc, subnets, addresses, gateway, nats, tables, groups, endpoints, flow_log, guard_duty },
            force: flags.force,
            net: RefCell::default(),
            addresses: RefCell::default(),
            endpoint_group: RefCell::default(),
            has_volumes: wanted.is_some() && !volume::on_file_system(doc)?.is_empty(),
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
            Step::PublicRoutes => self.public_routes_up(run, wanted).await,
            Step::NatGateways => self.nats_and_routes_up(run, wanted).await,
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
            Step::Groups => {
                self.groups_down(run).await?;
                self.guard_duty_groups_down(run).await
            }
            // AWS deletes DNS attributes and default group with the VPC, and rules with their group. The other steps delete all else.
            Step::Dns | Step::DefaultGroup | Step::GroupRules | Step::Surplus => Ok(()),
            Step::RouteTables => self.tables_down(run).await,
            Step::PublicRoutes => self.routes_down(run, true).await,
            Step::NatGateways => self.nats_and_routes_down(run).await,
            Step::Endpoints => {
                self.endpoints_down(run).await?;
                self.guard_duty_endpoints_down(run).await
            }
            Step::FlowLogParts => self.flow_log_parts_down(run).await,
            Step::FlowLog => self.flow_logs_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.net.borrow().clone()
    }
}

impl NetUp {
    /// Returns the VPC's id, for calls after the step that creates the VPC.
    fn vpc_id(&self) -> Result<String> {
        made(self.net.borrow().vpc_id.as_deref(), "the VPC's ID")
    }
}
