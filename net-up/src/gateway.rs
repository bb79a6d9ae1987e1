//! The internet gateway.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InternetGateway, ResourceType};
use shared::error::given;
use shared::wait::{once, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub type Found = Option<InternetGateway>;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let items = ec2
        .describe_internet_gateways()
        .set_filters(Some(tag::ours(run)))
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await;
    let items = items.tried("look for the internet gateway")?;
    Ok(run.by_name("internet gateway", items, InternetGateway::tags, tag::pair, InternetGateway::internet_gateway_id)?.remove("internet"))
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

    /// A step of its own: the gateway needs no VPC, but this does.
    pub async fn attachment_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().is_none() {
            return Ok(());
        }
        let (id, found) = (self.net.borrow().internet_gateway_id.clone(), self.found.gateway.as_ref());
        let attached = found.and_then(|gateway| gateway.attachments().first()).and_then(|to| to.vpc_id());
        let vpc = self.net.borrow().vpc_id.clone();
        // In a plan the new VPC has no id yet; that the gateway will be attached goes without saying.
        let diff = if vpc.is_none() { Diff::new() } else { Diff::new().field("vpc", attached, vpc.as_deref()) };
        run.change("internet gateway", &run.app, &diff, self.attach(run, id)).await
    }

    async fn create_gateway(&self, run: &Run) -> Result<String> {
        let make = async || {
            let tags = tag::dated(run, ResourceType::InternetGateway, "internet");
            let made = self.once.create_internet_gateway().tag_specifications(tags).send().await;
            let made = made.tried(format!("create the internet gateway of {}", run.app))?;
            given(made.internet_gateway().and_then(InternetGateway::internet_gateway_id), "the new internet gateway's id")
        };
        let find = async || Ok(find(&self.ec2, run).await?.and_then(|gateway| gateway.internet_gateway_id().map(str::to_owned)));
        let id = once(run, "the internet gateway", make, find).await?;
        self.claim(run, ResourceType::InternetGateway, "internet", id).await
    }

    async fn attach(&self, run: &Run, id: Option<String>) -> Result<()> {
        let (id, vpc) = (given(id.as_deref(), "the internet gateway's id")?, self.vpc_id()?);
        // Gateway and VPC, made a moment ago, are not known everywhere yet.
        while_not_yet(run, "the internet gateway to be visible", Error::is_gone, async || {
            self.ec2
                .attach_internet_gateway()
                .internet_gateway_id(&id)
                .vpc_id(&vpc)
                .send()
                .await
                .tried(format!("attach {id} to {vpc}"))
                .map(drop)
        })
        .await
    }

    pub async fn attachment_down(&self, run: &Run) -> Result<()> {
        let Some(gateway) = &self.found.gateway else { return Ok(()) };
        let id = given(gateway.internet_gateway_id(), "the internet gateway's id")?;
        for vpc in gateway.attachments().iter().filter_map(|to| to.vpc_id()) {
            run.delete("internet gateway attachment", &format!("{id} to {vpc}"), self.detach(run, &id, vpc)).await?;
        }
        Ok(())
    }

    pub async fn gateway_down(&self, run: &Run) -> Result<()> {
        let Some(id) = self.found.gateway.as_ref().and_then(InternetGateway::internet_gateway_id) else { return Ok(()) };
        let delete = async {
            self.ec2
                .delete_internet_gateway()
                .internet_gateway_id(id)
                .send()
                .await
                .tried(format!("delete the internet gateway {id}"))
                .map(drop)
        };
        run.delete("internet gateway", id, delete).await
    }

    async fn detach(&self, run: &Run, id: &str, vpc: &str) -> Result<()> {
        // The public addresses of a load balancer or NAT gateway outlive it by a minute or two.
        let still_mapped = |error: &Error| error.is_code("DependencyViolation");
        let detached = while_held(run, "public addresses in the VPC to be gone", still_mapped, async || {
            self.ec2
                .detach_internet_gateway()
                .internet_gateway_id(id)
                .vpc_id(vpc)
                .send()
                .await
                .tried(format!("detach {id} from {vpc}"))
                .map(drop)
        });
        match detached.await {
            // Detached already, by a run that was stopped here.
            Err(error) if error.is_code("Gateway.NotAttached") => Ok(()),
            other => other,
        }
    }
}
