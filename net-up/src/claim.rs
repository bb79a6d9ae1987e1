//! Two runs at the same moment may make the same thing twice, because EC2 knows no names: the earliest stays, and both runs go on with it.

use aws_sdk_ec2::types::{ResourceType, Tag, TagDescription};
use shared::error::if_found;
use shared::{Error, Result, Run, Tried};

use crate::{NetUp, tag};

/// Of which app and name a thing is and when it was made, so that one filter finds all of that name in their order.
const MADE: &str = "ecs-pipe:made";

pub fn made(run: &Run, name: &str) -> Tag {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Tag::builder().key(MADE).value(format!("{}{:013}", of(run, name), now.as_millis())).build()
}

fn of(run: &Run, name: &str) -> String {
    format!("{}/{name} ", run.app)
}

impl NetUp {
    /// Gives the one that stays: `mine`, or an earlier one, and then `mine` is gone. The clocks of two machines may differ by a little; then both
    /// stay, and the next run names them.
    pub async fn claim(&self, run: &Run, kind: ResourceType, name: &str, mine: String) -> Result<String> {
        let of_name = of(run, name);
        let filters = [("key", MADE), ("value", &format!("{of_name}*"))].map(|(key, value)| tag::filter(key, value));
        let call = self.ec2.describe_tags().set_filters(Some(filters.to_vec()));
        let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let items = items.tried(format!("see whether another run has made {}", run.named(name)))?;
        // A NAT gateway and its address have one name, but ids of two kinds.
        let of_kind = |tag: &&TagDescription| tag.resource_id().and_then(|id| id.split('-').next()) == mine.split('-').next();
        let of_this = |tag: &&TagDescription| tag.value().is_some_and(|value| value.starts_with(&of_name)) && of_kind(tag);
        let mut all: Vec<(&str, &str)> = items.iter().filter(of_this).filter_map(|tag| tag.value().zip(tag.resource_id())).collect();
        all.sort_unstable();
        for (_, other) in all.into_iter().take_while(|(_, id)| *id != mine) {
            // The tags of what is gone are listed for a while.
            if !self.is_there(run, &kind, other).await? {
                continue;
            }
            run.note(&format!(
                "another run has made {} at the same moment: {mine} of this one is deleted, and both go on with {other}",
                run.named(name)
            ));
            self.give_up(&kind, &mine).await?;
            return Ok(other.to_owned());
        }
        Ok(mine)
    }

    /// Whether it is there and still the app's: somebody may have taken its tags away.
    async fn is_there(&self, run: &Run, kind: &ResourceType, id: &str) -> Result<bool> {
        let doing = format!("look at {id}, which another run may have made");
        let ec2 = &self.ec2;
        let ours = |tags: &[Tag]| run.is_ours(tags.iter().map(tag::pair));
        let there = match kind {
            ResourceType::Vpc => if_found(ec2.describe_vpcs().vpc_ids(id).send().await.tried(doing))?
                .is_some_and(|said| said.vpcs().iter().any(|one| ours(one.tags()))),
            ResourceType::InternetGateway => if_found(ec2.describe_internet_gateways().internet_gateway_ids(id).send().await.tried(doing))?
                .is_some_and(|said| said.internet_gateways().iter().any(|one| ours(one.tags()))),
            ResourceType::ElasticIp => if_found(ec2.describe_addresses().allocation_ids(id).send().await.tried(doing))?
                .is_some_and(|said| said.addresses().iter().any(|one| ours(one.tags()))),
            // A deleted one is listed for a while, in that state.
            _ => if_found(ec2.describe_vpc_endpoints().vpc_endpoint_ids(id).send().await.tried(doing))?
                .is_some_and(|said| said.vpc_endpoints().iter().any(|one| crate::endpoint::is_alive(one) && ours(one.tags()))),
        };
        Ok(there)
    }

    /// Nothing hangs on it yet.
    async fn give_up(&self, kind: &ResourceType, id: &str) -> Result<()> {
        let doing = format!("delete {id}, which another run has made as well");
        match kind {
            ResourceType::Vpc => self.ec2.delete_vpc().vpc_id(id).send().await.tried(doing).map(drop),
            ResourceType::InternetGateway => self.ec2.delete_internet_gateway().internet_gateway_id(id).send().await.tried(doing).map(drop),
            ResourceType::ElasticIp => self.ec2.release_address().allocation_id(id).send().await.tried(doing).map(drop),
            ResourceType::VpcEndpoint => self.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id).send().await.tried(doing).map(drop),
            other => Err(Error::Failed(format!("{} is not made by more than one run", other.as_str()))),
        }
    }
}
