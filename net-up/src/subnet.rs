//! The subnets: a public and a private one in each zone.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{AvailabilityZone, ResourceType, Subnet};
use futures_util::try_join;
use ipnet::Ipv4Net;
use shared::error::given;
use shared::step::each;
use shared::wait::{while_held, while_not_yet};
use shared::{Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub struct Found {
    pub by_name: BTreeMap<String, Subnet>,
    /// The region's zones that are open to everyone, in their order; of subnets that the user named, theirs.
    zones: Vec<String>,
}

impl Found {
    /// The zone of each pair of subnets: that of the subnets that are there, and for new ones the first that is free.
    pub fn place(&self, count: usize) -> Result<Vec<String>> {
        let there = |i: usize| {
            let named = |kind: &str| self.by_name.get(&format!("{kind}-{}", i + 1));
            named("public").or_else(|| named("private")).and_then(Subnet::availability_zone).map(str::to_owned)
        };
        let known: Vec<Option<String>> = (0..count).map(there).collect();
        let mut free = self.zones.iter().filter(|zone| !known.iter().flatten().any(|taken| taken == *zone));
        let zones: Option<Vec<String>> = known.iter().map(|zone| zone.clone().or_else(|| free.next().cloned())).collect();
        zones.ok_or_else(|| Error::document("x-net.azs", format!("{count} zones asked for, but the region has {}", self.zones.len())))
    }
}

pub async fn find(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    match wanted {
        Some(Wanted::Adopt { vpc, public, private }) => {
            let mut ids = [public.as_slice(), private].concat();
            ids.sort_unstable();
            ids.dedup();
            let zones = zones_of(&adopted(ec2, vpc, ids).await?, public, private)?;
            Ok(Found { by_name: BTreeMap::new(), zones })
        }
        Some(Wanted::Make(_)) => {
            let (by_name, zones) = try_join!(made(ec2, run), zones(ec2))?;
            Ok(Found { by_name, zones })
        }
        None => Ok(Found { by_name: made(ec2, run).await?, zones: Vec::new() }),
    }
}

async fn made(ec2: &Client, run: &Run) -> Result<BTreeMap<String, Subnet>> {
    let items =
        ec2.describe_subnets().set_filters(Some(tag::ours(run))).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    run.by_name("subnet", items.tried("look for the subnets")?, Subnet::tags, tag::pair, Subnet::subnet_id)
}

async fn adopted(ec2: &Client, vpc: &str, ids: Vec<String>) -> Result<Vec<Subnet>> {
    let items = ec2.describe_subnets().set_subnet_ids(Some(ids)).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let items = items.tried("look at the subnets that x-net names")?;
    match items.iter().find(|subnet| subnet.vpc_id() != Some(vpc)) {
        Some(foreign) => Err(Error::document("x-net.vpc", format!("the subnet {} is not in {vpc}", foreign.subnet_id().unwrap_or("?")))),
        None => Ok(items),
    }
}

/// The zones of subnets that the user named: the load balancer takes one subnet in each, and reaches tasks only where it has one.
fn zones_of(adopted: &[Subnet], public: &[String], private: &[String]) -> Result<Vec<String>> {
    let zone = |id: &String| adopted.iter().find(|subnet| subnet.subnet_id() == Some(id)).and_then(Subnet::availability_zone);
    let mut zones: Vec<String> = public.iter().filter_map(zone).map(str::to_owned).collect();
    zones.sort();
    zones.dedup();
    if zones.len() < 2 || zones.len() < public.len() {
        return Err(Error::document("x-net.public_subnets", "a load balancer needs public subnets in two zones, and takes one in each"));
    }
    match private.iter().find(|id| zone(id).is_some_and(|its| !zones.iter().any(|zone| zone == its))) {
        Some(far) => Err(Error::document(
            "x-net.private_subnets",
            format!("{far} is in a zone without a public subnet, where the load balancer does not reach its tasks"),
        )),
        None => Ok(zones),
    }
}

/// Local and wavelength zones, and zones that must be opted into, are left out: not every service is there.
async fn zones(ec2: &Client) -> Result<Vec<String>> {
    let filters = [
        tag::filter("zone-type", "availability-zone"),
        tag::filter("opt-in-status", "opt-in-not-required"),
        tag::filter("state", "available"),
    ];
    let said =
        ec2.describe_availability_zones().set_filters(Some(filters.to_vec())).send().await.tried("list the region's availability zones")?;
    let mut zones: Vec<&AvailabilityZone> = said.availability_zones().iter().collect();
    zones.sort_by_key(|zone| (zone.zone_id().is_some_and(|id| LAST.contains(&id)), zone.zone_name()));
    Ok(zones.into_iter().filter_map(AvailabilityZone::zone_name).map(str::to_owned).collect())
}

/// Zones without Fargate, or without the instance types of today: taken only when there are no others.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html>
/// <https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-nitro-instances.html>
const LAST: &[&str] = &["apne1-az3", "cac1-az3", "cnn1-az3", "use1-az3", "usw1-az2"];

impl NetUp {
    pub async fn subnets_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let network = match wanted {
            Wanted::Make(network) => network,
            Wanted::Adopt { public, private, .. } => {
                let mut net = self.net.borrow_mut();
                net.public_subnet_ids = public.iter().cloned().map(Some).collect();
                net.private_subnet_ids = private.iter().cloned().map(Some).collect();
                net.zones.clone_from(&self.found.subnets.zones);
                return Ok(());
            }
        };
        let zones = self.found.subnets.place(network.public.len())?;
        let numbered = |kind, cidrs: &[Ipv4Net]| cidrs.iter().enumerate().map(|(i, cidr)| (kind, i, *cidr)).collect::<Vec<_>>();
        let all = [numbered("public", &network.public), numbered("private", &network.private)].concat();
        let mut ids = each(all, async |(kind, i, cidr)| self.subnet_up(run, &format!("{kind}-{}", i + 1), &zones[i], cidr).await).await?;
        let mut net = self.net.borrow_mut();
        net.private_subnet_ids = ids.split_off(network.public.len());
        net.public_subnet_ids = ids;
        net.zones = zones;
        Ok(())
    }

    async fn subnet_up(&self, run: &Run, name: &str, zone: &str, cidr: Ipv4Net) -> Result<Option<String>> {
        let cidr = cidr.to_string();
        let Some(found) = self.found.subnets.by_name.get(name) else {
            return run.create("subnet", &run.named(name), self.create_subnet(run, name, zone, &cidr)).await;
        };
        match found.cidr_block() {
            Some(was) if was != cidr => Err(Error::document(
                "x-net",
                format!(
                    "the subnet {} has {was}, which can't be changed to {cidr}: ask for {was}, or take the app down first",
                    run.named(name)
                ),
            )),
            _ => self.keep(run, "subnet", name, found.subnet_id().unwrap_or_default(), found.tags()).await,
        }
    }

    async fn create_subnet(&self, run: &Run, name: &str, zone: &str, cidr: &str) -> Result<String> {
        let vpc = self.vpc_id()?;
        // A VPC made a moment ago is not known everywhere yet.
        let made = while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
            let tags = tag::specification(run, ResourceType::Subnet, name);
            let call = self.ec2.create_subnet().vpc_id(&vpc).availability_zone(zone).cidr_block(cidr).tag_specifications(tags);
            call.send().await.tried(format!("create the subnet {} ({cidr}) in {vpc}", run.named(name)))
        })
        .await?;
        given(made.subnet().and_then(Subnet::subnet_id), "the new subnet's id")
    }

    pub async fn subnets_down(&self, run: &Run) -> Result<()> {
        each(self.found.subnets.by_name.values().filter_map(Subnet::subnet_id), async |id| {
            // The network interfaces of load balancers and tasks outlive them by a minute or two.
            let still_used = |error: &Error| error.is_code("DependencyViolation");
            let delete = while_held(run, "the subnet's network interfaces to be gone", still_used, async || {
                self.ec2.delete_subnet().subnet_id(id).send().await.tried(format!("delete the subnet {id}")).map(drop)
            });
            run.delete("subnet", id, delete).await
        })
        .await
        .map(drop)
    }
}
