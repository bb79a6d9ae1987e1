//! The elastic IPs of the NAT gateways: the addresses that the world sees.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Address, DomainType, ResourceType};
use shared::error::given;
use shared::step::each;
use shared::wait::{once, while_held};
use shared::{Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, nat, tag};

pub type Found = BTreeMap<String, Address>;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let said = ec2.describe_addresses().set_filters(Some(tag::ours(run))).send().await.tried("look for the elastic IPs")?;
    run.by_name("elastic IP", said.addresses().to_vec(), Address::tags, tag::pair, Address::allocation_id)
}

impl NetUp {
    /// Made beside the VPC, so that NAT gateways need not wait for them.
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
        let make = async || {
            let tags = tag::dated(run, ResourceType::ElasticIp, name);
            let made = self.once.allocate_address().domain(DomainType::Vpc).tag_specifications(tags).send().await;
            given(made.tried(format!("allocate the elastic IP {}", run.named(name)))?.allocation_id(), "the new elastic IP's id")
        };
        let find = async || Ok(find(&self.ec2, run).await?.get(name).and_then(|address| address.allocation_id().map(str::to_owned)));
        let id = once(run, &format!("the elastic IP {}", run.named(name)), make, find).await?;
        self.claim(run, ResourceType::ElasticIp, name, id).await
    }

    /// The allocation id for a NAT gateway, found or made.
    pub fn allocation(&self, name: &str) -> Result<String> {
        given(self.addresses.borrow().get(name).and_then(|id| id.as_deref()), "the elastic IP's id")
    }

    pub async fn addresses_down(&self, run: &Run) -> Result<()> {
        each(self.found.addresses.values(), async |address| self.release(run, address).await).await.map(drop)
    }

    pub async fn release(&self, run: &Run, address: &Address) -> Result<()> {
        let Some(id) = address.allocation_id() else { return Ok(()) };
        // A NAT gateway that is just deleted still holds its address for a moment, and AWS then speaks of permissions.
        let still_held = |error: &Error| error.is_code("AuthFailure") || error.is_code("InvalidIPAddress.InUse");
        let release = while_held(run, "the NAT gateway to let its address go", still_held, async || {
            self.ec2.release_address().allocation_id(id).send().await.tried(format!("release the elastic IP {id}")).map(drop)
        });
        run.delete("elastic IP", id, release).await
    }
}
