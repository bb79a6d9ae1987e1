//! The NAT gateways: the way out for the private subnets.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{NatGateway, NatGatewayState, ResourceType};
use shared::error::given;
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub struct Found {
    /// Those that work or are about to.
    alive: BTreeMap<String, NatGateway>,
    /// Those on their way out, which still hold their address.
    deleting: Vec<String>,
    /// Those that AWS could not start; they go away by themselves within an hour, but hold their address until they are deleted.
    failed: Vec<NatGateway>,
    /// How many there have been, as far as AWS still shows them.
    seen: usize,
}

/// The `i`-th NAT gateway stands in the `i`-th public subnet.
pub fn name(i: usize) -> String {
    format!("nat-{}", i + 1)
}

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let items =
        ec2.describe_nat_gateways().set_filter(Some(tag::ours(run))).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let (mut alive, mut deleting, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = 0;
    for nat in items.tried("look for the NAT gateways")?.into_iter().filter(|nat| run.is_ours(nat.tags().iter().map(tag::pair))) {
        seen += 1;
        // Deleted ones stay visible for about an hour.
        match nat.state() {
            Some(NatGatewayState::Deleted) => {}
            Some(NatGatewayState::Deleting) => deleting.extend(nat.nat_gateway_id().map(str::to_owned)),
            Some(NatGatewayState::Failed) => failed.push(nat),
            _ => alive.push(nat),
        }
    }
    let alive = run.by_name("NAT gateway", alive, NatGateway::tags, tag::pair, NatGateway::nat_gateway_id)?;
    Ok(Found { alive, deleting, failed, seen })
}

impl NetUp {
    pub async fn nats_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        each(&self.found.nats.failed, async |nat| {
            run.warn(&format!(
                "AWS could not start a NAT gateway: {}; it is made again",
                nat.failure_message().unwrap_or("no reason given")
            ));
            self.delete_nat(run, nat).await
        })
        .await?;
        let ids = each(0..network.nats(), async |i| {
            let name = self::name(i);
            match self.found.nats.alive.get(&name).and_then(|nat| Some((nat.nat_gateway_id()?, nat.tags()))) {
                Some((id, tags)) => self.keep(run, "NAT gateway", &name, id, tags).await,
                None => run.create("NAT gateway", &run.named(&name), self.create_nat(run, &name, i)).await,
            }
        })
        .await?;
        self.net.borrow_mut().nat_gateway_ids = ids;
        Ok(())
    }

    /// Those that are no longer asked for, when no route leads to them any more, with their addresses.
    pub async fn surplus_down(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        // A zone that is no longer asked for keeps its subnets, in which tasks may still be, and these keep their way out.
        let kept = |name: &String| {
            let id = self.found.nats.alive.get(name).and_then(NatGateway::nat_gateway_id);
            (0..network.nats()).any(|i| self::name(i) == *name) || self.leads_beyond(id, network.private.len())
        };
        each(self.found.nats.alive.iter().filter(|(name, _)| !kept(name)), async |(_, nat)| self.delete_nat(run, nat).await).await?;
        each(self.found.addresses.iter().filter(|(name, _)| !kept(name)), async |(_, address)| self.release(run, address).await)
            .await
            .map(drop)
    }

    async fn create_nat(&self, run: &Run, name: &str, i: usize) -> Result<String> {
        let subnet = given(self.net.borrow().public_subnet_ids.get(i).and_then(Option::as_deref), "the public subnet's id")?;
        let address = self.allocation(name)?;
        // One that somebody has just deleted still holds its address.
        each(&self.found.nats.deleting, async |id| self.nat_gone(run, id).await).await?;
        // A run killed before it heard the id gets the same NAT gateway again, but never one that is gone.
        let token = shared::name::fit(&[&run.app, name, &subnet, &address, &self.found.nats.seen.to_string()], 64);
        // Subnet and address, made a moment ago, are not known everywhere yet.
        let made = while_not_yet(run, "the public subnet to be visible", Error::is_gone, async || {
            let tags = tag::specification(run, ResourceType::Natgateway, name);
            let call =
                self.ec2.create_nat_gateway().subnet_id(&subnet).allocation_id(&address).client_token(&token).tag_specifications(tags);
            call.send().await.tried(format!("create the NAT gateway {} in {subnet}", run.named(name)))
        })
        .await?;
        given(made.nat_gateway().and_then(NatGateway::nat_gateway_id), "the new NAT gateway's id")
    }

    /// NAT gateways start in one to two minutes, and say only then whether they could.
    pub async fn nats_ready(&self, run: &Run) -> Result<()> {
        let ids: Vec<String> = self.net.borrow().nat_gateway_ids.iter().flatten().cloned().collect();
        each(ids, async |id| {
            until(run, &format!("the NAT gateway {id}"), async || {
                let nat = self.nat(&id).await?;
                match nat.as_ref().and_then(NatGateway::state) {
                    Some(NatGatewayState::Available) => Ok(Some(())),
                    Some(NatGatewayState::Failed) => {
                        let why = nat.as_ref().and_then(NatGateway::failure_message).unwrap_or("no reason given");
                        Err(Error::Failed(format!(
                            "AWS could not start the NAT gateway {id}: {why}. Run the same command again: it makes a new one"
                        )))
                    }
                    _ => Ok(None),
                }
            })
            .await
        })
        .await
        .map(drop)
    }

    async fn nat(&self, id: &str) -> Result<Option<NatGateway>> {
        let said = self.ec2.describe_nat_gateways().nat_gateway_ids(id).send().await.tried(format!("look at the NAT gateway {id}"));
        Ok(shared::error::if_found(said)?.and_then(|said| said.nat_gateways().first().cloned()))
    }

    /// Waits until they are gone: until then they hold their addresses and the subnets.
    pub async fn nats_down(&self, run: &Run) -> Result<()> {
        let going = &self.found.nats;
        each(going.alive.values().chain(&going.failed), async |nat| self.delete_nat(run, nat).await).await?;
        each(&going.deleting, async |id| self.nat_gone(run, id).await).await.map(drop)
    }

    async fn delete_nat(&self, run: &Run, nat: &NatGateway) -> Result<()> {
        let id = given(nat.nat_gateway_id(), "the NAT gateway's id")?;
        let delete = async {
            self.ec2.delete_nat_gateway().nat_gateway_id(&id).send().await.tried(format!("delete the NAT gateway {id}"))?;
            self.nat_gone(run, &id).await
        };
        run.delete("NAT gateway", &id, delete).await
    }

    async fn nat_gone(&self, run: &Run, id: &str) -> Result<()> {
        until(run, &format!("the NAT gateway {id} to be deleted"), async || {
            let state = self.nat(id).await?.and_then(|nat| nat.state().cloned());
            Ok(matches!(state, None | Some(NatGatewayState::Deleted)).then_some(()))
        })
        .await
    }
}
