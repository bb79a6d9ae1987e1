//! The internet gateway, and its attachment to the VPC.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InternetGateway, ResourceType};
use shared::error::{given, if_found, made};
use shared::wait::{once, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{NetUp, tag};

pub type Found = Option<InternetGateway>;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let call = ec2.describe_internet_gateways().set_filters(Some(tag::ours(run)));
    let all = shared::pages!(call, format!("list the internet gateways of {}", run.app))?;
    Ok(run.by_name("internet gateway", all, InternetGateway::tags, tag::pair, InternetGateway::internet_gateway_id)?.remove("internet"))
}

impl NetUp {
    pub async fn gateway_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().is_none() {
            return Ok(());
        }
        let found = self.found.gateway.as_ref();
        let id = match found.and_then(|gateway| Some((gateway.internet_gateway_id()?, gateway.tags()))) {
            Some((id, tags)) => self.keep(run, "internet gateway", "internet", id, tags).await?,
            None => run.create("internet gateway", &run.app, self.create_gateway(run)).await?,
        };
        self.net.borrow_mut().internet_gateway_id = id;
        Ok(())
    }

    async fn create_gateway(&self, run: &Run) -> Result<String> {
        let create = async || {
            let tags = tag::dated(run, ResourceType::InternetGateway, "internet");
            let created = self.once.create_internet_gateway().tag_specifications(tags).send().await;
            let created = created.tried(format!("create the internet gateway of {}", run.app))?;
            given(created.internet_gateway().and_then(InternetGateway::internet_gateway_id), "the ID of the new internet gateway")
        };
        let find = async || Ok(find(&self.ec2, run).await?.and_then(|gateway| gateway.internet_gateway_id().map(str::to_owned)));
        let id = once(run, "the internet gateway", create, find).await?;
        let exists = async |id: &str| {
            let call = self.ec2.describe_internet_gateways().internet_gateway_ids(id);
            let said = if_found(call.send().await.tried(format!("read the internet gateway {id}")))?;
            Ok(said.is_some_and(|said| said.internet_gateways().iter().any(|one| run.is_ours(one.tags().iter().map(tag::pair)))))
        };
        self.claim(run, "internet", id, exists, async |id| self.delete_gateway(id).await).await
    }

    pub async fn gateway_down(&self, run: &Run) -> Result<()> {
        let Some(id) = self.found.gateway.as_ref().and_then(InternetGateway::internet_gateway_id) else { return Ok(()) };
        run.delete("internet gateway", id, self.delete_gateway(id)).await
    }

    async fn delete_gateway(&self, id: &str) -> Result<()> {
        let call = self.ec2.delete_internet_gateway().internet_gateway_id(id);
        call.send().await.tried(format!("delete the internet gateway {id}")).map(drop)
    }

    /// A step of its own: the attachment needs the VPC, the gateway does not.
    pub async fn attachment_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().is_none() {
            return Ok(());
        }
        let (id, found) = (self.net.borrow().internet_gateway_id.clone(), self.found.gateway.as_ref());
        let attached = found.and_then(|gateway| gateway.attachments().first()).and_then(|to| to.vpc_id());
        let vpc = self.net.borrow().vpc_id.clone();
        // The plan of a new VPC, which has no id yet, does not list the attachment.
        let diff = if vpc.is_none() { Diff::new() } else { Diff::new().field("vpcId", attached, vpc.as_deref()) };
        run.change("internet gateway", &run.app, &diff, self.attach(run, id)).await
    }

    async fn attach(&self, run: &Run, id: Option<String>) -> Result<()> {
        let (id, vpc) = (made(id.as_deref(), "the internet gateway's ID")?, self.vpc_id()?);
        // A new gateway and a new VPC are not visible at once.
        while_not_yet(run, "the internet gateway to be visible", Error::is_gone, async || {
            let call = self.ec2.attach_internet_gateway().internet_gateway_id(&id).vpc_id(&vpc);
            call.send().await.tried(format!("attach the internet gateway {id} to the VPC {vpc}")).map(drop)
        })
        .await
    }

    pub async fn attachment_down(&self, run: &Run) -> Result<()> {
        let Some(gateway) = &self.found.gateway else { return Ok(()) };
        let id = given(gateway.internet_gateway_id(), "the ID of the internet gateway")?;
        for vpc in gateway.attachments().iter().filter_map(|to| to.vpc_id()) {
            run.delete("internet gateway attachment", &format!("{id} to {vpc}"), self.detach(run, &id, vpc)).await?;
        }
        Ok(())
    }

    async fn detach(&self, run: &Run, id: &str, vpc: &str) -> Result<()> {
        // AWS releases the public addresses of a load balancer or NAT gateway a minute or two after its deletion.
        let still_mapped = |error: &Error| error.is_code("DependencyViolation");
        let detached = while_held(run, "the public addresses in the VPC to be released", still_mapped, async || {
            let call = self.ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc);
            call.send().await.tried(format!("detach the internet gateway {id} from the VPC {vpc}")).map(drop)
        });
        match detached.await {
            // A run that was stopped here has detached it.
            Err(error) if error.is_code("Gateway.NotAttached") => Ok(()),
            other => other,
        }
    }
}
