//! The elastic IPs of the NAT gateways: the addresses from which tasks reach the internet.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Address, DomainType, ResourceType};
use shared::error::{given, if_found, made};
use shared::step::each;
use shared::wait::{once, while_held};
use shared::{Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{NetUp, nat, tag};

/// By the name of their NAT gateway.
pub type Found = BTreeMap<String, Address>;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let call = ec2.describe_addresses().set_filters(Some(tag::ours(run)));
    let said = call.send().await.tried(format!("list the elastic IPs of {}", run.app))?;
    run.by_name("elastic IP", said.addresses().to_vec(), Address::tags, tag::pair, Address::allocation_id)
}

impl NetUp {
    /// A step of its own: elastic IPs need no VPC, so NAT gateways do not have to wait for them.
    pub async fn addresses_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        let ids = each((0..network.nats()).map(nat::name), async |name| {
            let id = match self.found.addresses.get(&name).and_then(|address| Some((address.allocation_id()?, address.tags()))) {
                Some((id, tags)) => self.keep(run, "elastic IP", &name, id, tags).await?,
                None => run.create("elastic IP", &run.named(&name), self.allocate(run, &name)).await?,
            };
            Ok((name, id))
        })
        .await?;
        self.addresses.borrow_mut().extend(ids);
        Ok(())
    }

    async fn allocate(&self, run: &Run, name: &str) -> Result<String> {
        let create = async || {
            let tags = tag::dated(run, ResourceType::ElasticIp, name);
            let allocated = self.once.allocate_address().domain(DomainType::Vpc).tag_specifications(tags).send().await;
            let allocated = allocated.tried(format!("allocate the elastic IP {}", run.named(name)))?;
            given(allocated.allocation_id(), "the ID of the new elastic IP")
        };
        let find = async || Ok(find(&self.ec2, run).await?.get(name).and_then(|address| address.allocation_id().map(str::to_owned)));
        let id = once(run, &format!("the elastic IP {}", run.named(name)), create, find).await?;
        let exists = async |id: &str| {
            let said = if_found(self.ec2.describe_addresses().allocation_ids(id).send().await.tried(format!("read the elastic IP {id}")))?;
            Ok(said.is_some_and(|said| said.addresses().iter().any(|one| run.is_ours(one.tags().iter().map(tag::pair)))))
        };
        self.claim(run, name, id, exists, async |id| self.release_address(id).await).await
    }

    /// Returns the allocation id for a NAT gateway.
    pub fn allocation(&self, name: &str) -> Result<String> {
        made(self.addresses.borrow().get(name).and_then(|id| id.as_deref()), "the elastic IP's ID")
    }

    pub async fn addresses_down(&self, run: &Run) -> Result<()> {
        each(self.found.addresses.values(), async |address| self.release(run, address).await).await.map(drop)
    }

    pub async fn release(&self, run: &Run, address: &Address) -> Result<()> {
        let Some(id) = address.allocation_id() else { return Ok(()) };
        // A NAT gateway keeps its address for a moment after its deletion. AWS then returns AuthFailure.
        let still_held = |error: &Error| error.is_code("AuthFailure") || error.is_code("InvalidIPAddress.InUse");
        let release = while_held(run, "the NAT gateway to release its elastic IP", still_held, async || self.release_address(id).await);
        run.delete("elastic IP", id, release).await
    }

    async fn release_address(&self, id: &str) -> Result<()> {
        self.ec2.release_address().allocation_id(id).send().await.tried(format!("release the elastic IP {id}")).map(drop)
    }
}
