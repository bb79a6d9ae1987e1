//! The VPC, with DNS.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, Vpc, VpcAttributeName};
use futures_util::try_join;
use shared::error::given;
use shared::wait::{once, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub struct Found {
    /// The app's VPC, or the adopted one.
    vpc: Option<Vpc>,
    dns_support: bool,
    dns_hostnames: bool,
}

pub async fn find(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let vpc = match wanted {
        Some(Wanted::Adopt { vpc: id, .. }) => Some(adopted(ec2, id).await?),
        _ => made(ec2, run).await?,
    };
    let Some(id) = vpc.as_ref().and_then(Vpc::vpc_id) else { return Ok(Found { vpc, dns_support: true, dns_hostnames: false }) };
    let attribute = async |name: VpcAttributeName| {
        ec2.describe_vpc_attribute().vpc_id(id).attribute(name).send().await.tried(format!("read the DNS settings of {id}"))
    };
    let (support, hostnames) = try_join!(attribute(VpcAttributeName::EnableDnsSupport), attribute(VpcAttributeName::EnableDnsHostnames))?;
    let on = |value: Option<&AttributeBooleanValue>| value.and_then(AttributeBooleanValue::value).unwrap_or(false);
    Ok(Found { dns_support: on(support.enable_dns_support()), dns_hostnames: on(hostnames.enable_dns_hostnames()), vpc })
}

async fn made(ec2: &Client, run: &Run) -> Result<Option<Vpc>> {
    let items = ec2.describe_vpcs().set_filters(Some(tag::ours(run))).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut found = run.by_name("VPC", items.tried("look for the VPC")?, Vpc::tags, tag::pair, Vpc::vpc_id)?;
    Ok(found.remove("vpc"))
}

async fn adopted(ec2: &Client, id: &str) -> Result<Vpc> {
    let said = ec2.describe_vpcs().vpc_ids(id).send().await.tried(format!("look at the VPC {id} that x-net.vpc names"))?;
    said.vpcs().first().cloned().ok_or_else(|| Error::document("x-net.vpc", format!("there is no VPC {id} in this account and region")))
}

impl Found {
    /// Whether this run makes it.
    pub fn is_new(&self) -> bool {
        self.vpc.is_none()
    }
}

impl NetUp {
    /// The VPC as found; the address range of a VPC can't be changed.
    pub async fn vpc_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let found = self.found.vpc.vpc.as_ref();
        let Some(network) = wanted.network() else {
            let mut net = self.net.borrow_mut();
            net.vpc_id = found.and_then(Vpc::vpc_id).map(str::to_owned);
            found.and_then(Vpc::cidr_block).unwrap_or_default().clone_into(&mut net.cidr);
            return Ok(());
        };
        let cidr = network.cidr.to_string();
        if let Some(was) = found.and_then(Vpc::cidr_block).filter(|was| *was != cidr) {
            return Err(Error::document(
                "x-net.cidr",
                format!("the VPC of {} has {was}, which can't be changed to {cidr}: ask for {was}, or take the app down first", run.app),
            ));
        }
        let id = match found.and_then(|vpc| Some((vpc.vpc_id()?, vpc.tags()))) {
            Some((id, tags)) => self.keep(run, "VPC", "vpc", id, tags).await?,
            None => run.create("VPC", &run.app, self.create_vpc(run, &cidr)).await?,
        };
        self.net.borrow_mut().vpc_id.clone_from(&id);
        self.net.borrow_mut().cidr = cidr;
        Ok(())
    }

    async fn create_vpc(&self, run: &Run, cidr: &str) -> Result<String> {
        let make = async || {
            let call = self.once.create_vpc().cidr_block(cidr).tag_specifications(tag::dated(run, ResourceType::Vpc, "vpc"));
            let made = call.send().await.tried(format!("create the VPC of {}", run.app))?;
            given(made.vpc().and_then(Vpc::vpc_id), "the new VPC's id")
        };
        let find = async || Ok(made(&self.ec2, run).await?.and_then(|vpc| vpc.vpc_id().map(str::to_owned)));
        let id = once(run, "the VPC", make, find).await?;
        self.claim(run, ResourceType::Vpc, "vpc", id).await
    }

    /// Both switches are needed for private names (ECR, logs, VPC endpoints), and each takes a call of its own.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>
    pub async fn dns_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        // In a plan of a new VPC that goes without saying.
        if wanted.network().is_none() || self.net.borrow().vpc_id.is_none() {
            return Ok(());
        }
        let on = AttributeBooleanValue::builder().value(true).build();
        let modify = async |support: Option<AttributeBooleanValue>, hostnames: Option<AttributeBooleanValue>| {
            let id = self.vpc_id()?;
            // A VPC made a moment ago is not known everywhere yet.
            while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
                let call = self.ec2.modify_vpc_attribute().vpc_id(&id);
                let call = call.set_enable_dns_support(support.clone()).set_enable_dns_hostnames(hostnames.clone());
                call.send().await.tried(format!("switch DNS on in {id}")).map(drop)
            })
            .await
        };
        let (support, hostnames) = (
            Diff::new().field("enableDnsSupport", self.found.vpc.dns_support, true),
            Diff::new().field("enableDnsHostnames", self.found.vpc.dns_hostnames, true),
        );
        try_join!(
            run.change("VPC", &run.app, &support, modify(Some(on.clone()), None)),
            run.change("VPC", &run.app, &hostnames, modify(None, Some(on.clone())))
        )?;
        Ok(())
    }

    pub async fn vpc_down(&self, run: &Run) -> Result<()> {
        let Some(id) = self.found.vpc.vpc.as_ref().and_then(Vpc::vpc_id) else { return Ok(()) };
        // The network interfaces of load balancers and tasks outlive them by a minute or two.
        let still_used = |error: &Error| error.is_code("DependencyViolation");
        let delete = while_held(run, "everything in the VPC to be gone", still_used, async || {
            self.ec2.delete_vpc().vpc_id(id).send().await.tried(format!("delete the VPC {id}")).map(drop)
        });
        run.delete("VPC", id, delete).await
    }
}
