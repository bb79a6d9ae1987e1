//! The NAT gateways, through which private subnets reach the internet.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{NatGateway, NatGatewayState, ResourceType};
use shared::error::{given, if_found, made};
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{NetUp, route, tag};

pub struct Found {
    /// Those that are available or pending.
    alive: BTreeMap<String, NatGateway>,
    /// The ids of those that AWS is deleting, which still hold their elastic IPs.
    deleting: Vec<String>,
    /// Those that AWS could not start. AWS deletes them within an hour; until then they hold their elastic IPs.
    failed: Vec<NatGateway>,
    /// The number of all that AWS still lists.
    seen: usize,
}

/// Returns the name of the NAT gateway in the `i`-th public subnet.
pub fn name(i: usize) -> String {
    format!("nat-{}", i + 1)
}

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let call = ec2.describe_nat_gateways().set_filter(Some(tag::ours(run)));
    let all = shared::pages!(call, format!("list the NAT gateways of {}", run.app))?;
    let (mut alive, mut deleting, mut failed, mut seen) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for nat in all.into_iter().filter(|nat| run.is_ours(nat.tags().iter().map(tag::pair))) {
        seen += 1;
        match nat.state() {
            // AWS lists deleted ones for about an hour.
            Some(NatGatewayState::Deleted) => {}
            Some(NatGatewayState::Deleting) => deleting.extend(nat.nat_gateway_id().map(str::to_owned)),
            Some(NatGatewayState::Failed) => failed.push(nat),
            _ => alive.push(nat),
        }
    }
    let alive = run.by_name("NAT gateway", alive, NatGateway::tags, tag::pair, NatGateway::nat_gateway_id)?;
    Ok(Found { alive, deleting, failed, seen })
}

/// Returns why AWS could not start a NAT gateway.
fn failure(nat: &NatGateway) -> &str {
    nat.failure_message().unwrap_or("AWS gives no reason")
}

impl NetUp {
    pub async fn nats_and_routes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        self.nats_up(run, wanted).await?;
        self.private_routes_up(run, wanted).await
    }

    pub async fn nats_and_routes_down(&self, run: &Run) -> Result<()> {
        self.routes_down(run, false).await?;
        self.nats_down(run).await
    }

    async fn nats_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        each(&self.found.nats.failed, async |nat| {
            let id = nat.nat_gateway_id().unwrap_or_default();
            run.warn("nat-gateway-replaced", format!("AWS could not start the NAT gateway {id}: {}. It is replaced", failure(nat)));
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

    async fn create_nat(&self, run: &Run, name: &str, i: usize) -> Result<String> {
        let subnet = made(self.net.borrow().public_subnet_ids.get(i).and_then(Option::as_deref), "the public subnet's ID")?;
        let address = self.allocation(name)?;
        // One that was deleted a moment ago still holds its elastic IP.
        each(&self.found.nats.deleting, async |id| self.until_nat_is_deleted(run, id).await).await?;
        // A run that was killed before it read the answer gets the same NAT gateway again, but never one that is deleted since.
        let token = shared::name::fit(&[&run.app, name, &subnet, &address, &self.found.nats.seen.to_string()], 64);
        // A new subnet and a new elastic IP are not visible at once.
        let created = while_not_yet(run, "the public subnet to be visible", Error::is_gone, async || {
            let call = self.ec2.create_nat_gateway().subnet_id(&subnet).allocation_id(&address).client_token(&token);
            let call = call.tag_specifications(tag::specification(run, ResourceType::Natgateway, name));
            call.send().await.tried(format!("create the NAT gateway {} in the subnet {subnet}", run.named(name)))
        })
        .await?;
        given(created.nat_gateway().and_then(NatGateway::nat_gateway_id), "the ID of the new NAT gateway")
    }

    /// Waits until the NAT gateways are available. AWS needs one to two minutes, and reports only then whether it could start them.
    pub async fn nats_ready(&self, run: &Run) -> Result<()> {
        let ids: Vec<String> = self.net.borrow().nat_gateway_ids.iter().flatten().cloned().collect();
        each(ids, async |id| {
            until(run, &format!("the NAT gateway {id} to be available"), async || match self.nat(&id).await? {
                Some(nat) if nat.state() == Some(&NatGatewayState::Available) => Ok(Some(())),
                Some(nat) if nat.state() == Some(&NatGatewayState::Failed) => {
                    let what = format!("could not start the NAT gateway {id}: {}. Run the same command again to replace it", failure(&nat));
                    Err(Error::failed("nat-gateway-failed", what))
                }
                _ => Ok(None),
            })
            .await
        })
        .await
        .map(drop)
    }

    async fn nat(&self, id: &str) -> Result<Option<NatGateway>> {
        let said = self.ec2.describe_nat_gateways().nat_gateway_ids(id).send().await.tried(format!("read the NAT gateway {id}"));
        Ok(if_found(said)?.and_then(|said| said.nat_gateways().first().cloned()))
    }

    /// Deletes NAT gateways that the settings no longer name, with their elastic IPs. No route uses them any more.
    pub async fn surplus_down(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        // A zone that the settings no longer name keeps its subnets, because tasks may still run there, and these keep their NAT gateway.
        let is_kept = |name: &String| {
            let id = self.found.nats.alive.get(name).and_then(NatGateway::nat_gateway_id);
            let is_used = id.is_some_and(|id| route::is_used_beyond(&self.found.tables, id, network.private.len()));
            (0..network.nats()).any(|i| self::name(i) == *name) || is_used
        };
        each(self.found.nats.alive.iter().filter(|(name, _)| !is_kept(name)), async |(_, nat)| self.delete_nat(run, nat).await).await?;
        each(self.found.addresses.iter().filter(|(name, _)| !is_kept(name)), async |(_, address)| self.release(run, address).await)
            .await
            .map(drop)
    }

    /// Waits until they are deleted: until then they hold their elastic IPs and the subnets.
    async fn nats_down(&self, run: &Run) -> Result<()> {
        let found = &self.found.nats;
        each(found.alive.values().chain(&found.failed), async |nat| self.delete_nat(run, nat).await).await?;
        each(&found.deleting, async |id| self.until_nat_is_deleted(run, id).await).await.map(drop)
    }

    async fn delete_nat(&self, run: &Run, nat: &NatGateway) -> Result<()> {
        let id = given(nat.nat_gateway_id(), "the ID of the NAT gateway")?;
        let delete = async {
            self.ec2.delete_nat_gateway().nat_gateway_id(&id).send().await.tried(format!("delete the NAT gateway {id}"))?;
            self.until_nat_is_deleted(run, &id).await
        };
        run.delete("NAT gateway", &id, delete).await
    }

    async fn until_nat_is_deleted(&self, run: &Run, id: &str) -> Result<()> {
        until(run, &format!("the NAT gateway {id} to be deleted"), async || {
            let state = self.nat(id).await?.and_then(|nat| nat.state().cloned());
            Ok(matches!(state, None | Some(NatGatewayState::Deleted)).then_some(()))
        })
        .await
    }
}
