//! The VPC with its DNS attributes.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, Vpc, VpcAttributeName};
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::wait::{once, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::blocker::Part;
use crate::settings::{Place, Wanted};
use crate::{NetUp, tag};

pub struct Found {
    /// The app's VPC, or the existing one that the settings name.
    vpc: Option<Vpc>,
    dns_support: bool,
    dns_hostnames: bool,
}

impl Found {
    pub fn id(&self) -> Option<&str> {
        self.vpc.as_ref().and_then(Vpc::vpc_id)
    }

    /// Returns whether this run creates the VPC.
    pub fn is_new(&self) -> bool {
        self.vpc.is_none()
    }
}

pub async fn find(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let vpc = match wanted.map(|wanted| &wanted.place) {
        Some(Place::Adopt { vpc: id, .. }) => Some(find_adopted(ec2, id).await?),
        _ => find_ours(ec2, run).await?,
    };
    let Some(id) = vpc.as_ref().and_then(Vpc::vpc_id) else { return Ok(Found { vpc, dns_support: true, dns_hostnames: false }) };
    let attribute = async |name: VpcAttributeName| {
        let doing = format!("read {} of the VPC {id}", name.as_str());
        ec2.describe_vpc_attribute().vpc_id(id).attribute(name).send().await.tried(doing)
    };
    let (support, hostnames) = try_join!(attribute(VpcAttributeName::EnableDnsSupport), attribute(VpcAttributeName::EnableDnsHostnames))?;
    let on = |value: Option<&AttributeBooleanValue>| value.and_then(AttributeBooleanValue::value).unwrap_or(false);
    Ok(Found { dns_support: on(support.enable_dns_support()), dns_hostnames: on(hostnames.enable_dns_hostnames()), vpc })
}

async fn find_ours(ec2: &Client, run: &Run) -> Result<Option<Vpc>> {
    let all = shared::pages!(ec2.describe_vpcs().set_filters(Some(tag::ours(run))), format!("list the VPCs of {}", run.app))?;
    Ok(run.by_name("VPC", all, Vpc::tags, tag::pair, Vpc::vpc_id)?.remove("vpc"))
}

async fn find_adopted(ec2: &Client, id: &str) -> Result<Vpc> {
    let said = ec2.describe_vpcs().vpc_ids(id).send().await.tried(format!("read the VPC {id} of x-net.vpc"))?;
    said.vpcs().first().cloned().ok_or_else(|| {
        let what = format!("there is no VPC {id} in this account and region. Set the ID of a VPC that exists, or another --region");
        Error::document("no-such-vpc", "x-net.vpc", what)
    })
}

impl NetUp {
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
            let what = format!(
                "the VPC of {} has {was}, and AWS can't change it to {cidr}. \
                 Set {was}, or delete the app with --down before you deploy it again",
                run.app
            );
            return Err(Error::document("vpc-cidr-changed", "x-net.cidr", what));
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
        let create = async || {
            let call = self.once.create_vpc().cidr_block(cidr).tag_specifications(tag::dated(run, ResourceType::Vpc, "vpc"));
            let created = call.send().await.tried(format!("create the VPC of {}", run.app))?;
            given(created.vpc().and_then(Vpc::vpc_id), "the ID of the new VPC")
        };
        let find = async || Ok(find_ours(&self.ec2, run).await?.and_then(|vpc| vpc.vpc_id().map(str::to_owned)));
        let id = once(run, "the VPC", create, find).await?;
        let exists = async |id: &str| {
            let said = if_found(self.ec2.describe_vpcs().vpc_ids(id).send().await.tried(format!("read the VPC {id}")))?;
            Ok(said.is_some_and(|said| said.vpcs().iter().any(|vpc| run.is_ours(vpc.tags().iter().map(tag::pair)))))
        };
        self.claim(run, "vpc", id, exists, async |id| self.delete_vpc(id).await).await
    }

    /// Enables both DNS attributes, each with a call of its own. Private names of ECR, CloudWatch Logs and VPC endpoints need both.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>
    pub async fn dns_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        // The plan of a new VPC does not list its attributes.
        if wanted.network().is_none() || self.net.borrow().vpc_id.is_none() {
            return Ok(());
        }
        let on = AttributeBooleanValue::builder().value(true).build();
        let modify = async |support: Option<AttributeBooleanValue>, hostnames: Option<AttributeBooleanValue>| {
            let id = self.vpc_id()?;
            // A new VPC is not visible at once.
            while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
                let call = self.ec2.modify_vpc_attribute().vpc_id(&id);
                let call = call.set_enable_dns_support(support.clone()).set_enable_dns_hostnames(hostnames.clone());
                call.send().await.tried(format!("enable DNS in the VPC {id}")).map(drop)
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
        let delete = self.delete_when_unused(run, "everything in the VPC to be deleted", Part::Vpc(id), async || self.delete_vpc(id).await);
        run.delete("VPC", id, delete).await
    }

    async fn delete_vpc(&self, id: &str) -> Result<()> {
        self.ec2.delete_vpc().vpc_id(id).send().await.tried(format!("delete the VPC {id}")).map(drop)
    }
}
