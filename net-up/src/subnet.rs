//! The subnets: a public and a private one in each zone.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{AvailabilityZone, ResourceType, Subnet};
use futures_util::try_join;
use ipnet::Ipv4Net;
use shared::error::given;
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Error, Result, Run, Tried};

use crate::blocker::Part;
use crate::settings::{LEAST, Network, Place, Wanted, too_small};
use crate::{NetUp, tag};

pub struct Found {
    pub by_name: BTreeMap<String, Subnet>,
    /// The region's zones in the order in which they are used; with an existing network, the zones of its subnets.
    zones: Vec<String>,
}

/// Returns the name of the `i`-th subnet of a kind, as in `public-1`.
fn name(kind: &str, i: usize) -> String {
    format!("{kind}-{}", i + 1)
}

impl Found {
    /// Returns the zone of each pair of subnets: the one in which they are, and for new ones the first that is unused.
    pub fn place(&self, count: usize) -> Result<Vec<String>> {
        let zone = |i: usize| {
            let subnet = self.by_name.get(&name("public", i)).or_else(|| self.by_name.get(&name("private", i)));
            subnet.and_then(Subnet::availability_zone).map(str::to_owned)
        };
        let known: Vec<Option<String>> = (0..count).map(zone).collect();
        let mut unused = self.zones.iter().filter(|zone| !known.iter().flatten().any(|used| used == *zone));
        let zones: Option<Vec<String>> = known.iter().map(|zone| zone.clone().or_else(|| unused.next().cloned())).collect();
        zones.ok_or_else(|| {
            let what = format!("must be at most {}, because the region has no more zones; found {count}", self.zones.len());
            Error::document("azs-beyond-region", "x-net.azs", what)
        })
    }
}

pub async fn find(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    match wanted.map(|wanted| &wanted.place) {
        Some(Place::Adopt { vpc, public, private }) => {
            let mut ids = [public.as_slice(), private].concat();
            ids.sort_unstable();
            ids.dedup();
            let zones = zones_of(&find_adopted(ec2, vpc, ids).await?, public, private)?;
            Ok(Found { by_name: BTreeMap::new(), zones })
        }
        Some(Place::Create(_)) => {
            let (by_name, zones) = try_join!(find_ours(ec2, run), zones(ec2))?;
            Ok(Found { by_name, zones })
        }
        None => Ok(Found { by_name: find_ours(ec2, run).await?, zones: Vec::new() }),
    }
}

async fn find_ours(ec2: &Client, run: &Run) -> Result<BTreeMap<String, Subnet>> {
    let call = ec2.describe_subnets().set_filters(Some(tag::ours(run)));
    let all = shared::pages!(call, format!("list the subnets of {}", run.app))?;
    run.by_name("subnet", all, Subnet::tags, tag::pair, Subnet::subnet_id)
}

async fn find_adopted(ec2: &Client, vpc: &str, ids: Vec<String>) -> Result<Vec<Subnet>> {
    let all = shared::pages!(ec2.describe_subnets().set_subnet_ids(Some(ids)), "read the subnets of x-net")?;
    match all.iter().find(|subnet| subnet.vpc_id() != Some(vpc)) {
        Some(other) => {
            let (id, its) = (other.subnet_id().unwrap_or("without an ID"), other.vpc_id().unwrap_or("another VPC"));
            let what =
                format!("the subnet {id} is in {its}, not in {vpc}. Replace it with a subnet of {vpc}, or set x-net.vpc (--vpc) to {its}");
            Err(Error::document("subnet-in-other-vpc", "x-net.vpc", what))
        }
        None => Ok(all),
    }
}

/// Returns the zones of existing subnets. A load balancer takes one subnet in each zone, and reaches only tasks in these zones.
fn zones_of(adopted: &[Subnet], public: &[String], private: &[String]) -> Result<Vec<String>> {
    check_size(adopted, public)?;
    let zone = |id: &String| adopted.iter().find(|subnet| subnet.subnet_id() == Some(id)).and_then(Subnet::availability_zone);
    let mut zones: Vec<String> = public.iter().filter_map(zone).map(str::to_owned).collect();
    zones.sort();
    zones.dedup();
    if zones.len() < 2 || zones.len() < public.len() {
        let what = format!(
            "must name subnets in two or more zones, one in each zone, because a load balancer needs that; found {} in {}",
            public.len(),
            zones.join(", ")
        );
        return Err(Error::document("public-subnet-zones", "x-net.public_subnets", what));
    }
    match private.iter().find_map(|id| zone(id).map(|zone| (id, zone)).filter(|(_, zone)| !zones.iter().any(|its| its == zone))) {
        Some((id, zone)) => {
            let what = format!(
                "must be in the zones of the public subnets ({}), because the load balancer reaches no others; found {id} in {zone}",
                zones.join(", ")
            );
            Err(Error::document("private-subnet-zone", "x-net.private_subnets", what))
        }
        None => Ok(zones),
    }
}

fn check_size(adopted: &[Subnet], public: &[String]) -> Result<()> {
    let range = |subnet: &Subnet| subnet.cidr_block().and_then(|range| range.parse::<Ipv4Net>().ok());
    let is_public = |subnet: &&Subnet| public.iter().any(|id| subnet.subnet_id() == Some(id));
    let small = |subnet: &Subnet| Some((subnet.subnet_id()?.to_owned(), range(subnet).filter(|range| range.prefix_len() > LEAST)?));
    match adopted.iter().filter(is_public).find_map(small) {
        Some((id, range)) => {
            let what = format!("must be /{LEAST} or larger, because a load balancer needs that; found {id} with {range}");
            Err(too_small("x-net.public_subnets", what))
        }
        None => Ok(()),
    }
}

/// Returns the region's availability zones. Local zones, Wavelength zones and zones with opt-in lack services.
async fn zones(ec2: &Client) -> Result<Vec<String>> {
    let filters = vec![
        tag::filter("zone-type", "availability-zone"),
        tag::filter("opt-in-status", "opt-in-not-required"),
        tag::filter("state", "available"),
    ];
    let said = ec2.describe_availability_zones().set_filters(Some(filters)).send().await.tried("list the region's availability zones")?;
    let mut zones: Vec<&AvailabilityZone> = said.availability_zones().iter().collect();
    zones.sort_by_key(|zone| (zone.zone_id().is_some_and(|id| LAST.contains(&id)), zone.zone_name()));
    Ok(zones.into_iter().filter_map(AvailabilityZone::zone_name).map(str::to_owned).collect())
}

/// The ids of zones that lack Fargate or current instance types. They are used only when there are no others.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html>
/// <https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-nitro-instances.html>
const LAST: &[&str] = &["apne1-az3", "cac1-az3", "cnn1-az3", "use1-az3", "usw1-az2"];

impl NetUp {
    pub async fn subnets_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        match &wanted.place {
            Place::Create(network) => self.own_subnets_up(run, network).await,
            Place::Adopt { public, private, .. } => {
                let mut net = self.net.borrow_mut();
                net.public_subnet_ids = public.iter().cloned().map(Some).collect();
                net.private_subnet_ids = private.iter().cloned().map(Some).collect();
                net.zones.clone_from(&self.found.subnets.zones);
                Ok(())
            }
        }
    }

    async fn own_subnets_up(&self, run: &Run, network: &Network) -> Result<()> {
        let zones = self.found.subnets.place(network.public.len())?;
        let numbered = |kind, cidrs: &[Ipv4Net]| cidrs.iter().enumerate().map(|(i, cidr)| (kind, i, *cidr)).collect::<Vec<_>>();
        let all = [numbered("public", &network.public), numbered("private", &network.private)].concat();
        let mut ids = each(all, async |(kind, i, cidr)| self.subnet_up(run, &name(kind, i), &zones[i], cidr).await).await?;
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
            Some(was) if was != cidr => {
                let what = format!(
                    "the subnet {} has {was}, and AWS can't change it to {cidr}. \
                     Set {was}, or delete the app with --down before you deploy it again",
                    run.named(name)
                );
                Err(Error::document("subnet-cidr-changed", "x-net", what))
            }
            _ => self.keep(run, "subnet", name, found.subnet_id().unwrap_or_default(), found.tags()).await,
        }
    }

    async fn create_subnet(&self, run: &Run, name: &str, zone: &str, cidr: &str) -> Result<String> {
        let vpc = self.vpc_id()?;
        // A new VPC is not visible at once.
        let created = while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
            let call = self.ec2.create_subnet().vpc_id(&vpc).availability_zone(zone).cidr_block(cidr);
            let call = call.tag_specifications(tag::specification(run, ResourceType::Subnet, name));
            call.send().await.tried(format!("create the subnet {} ({cidr}) in the VPC {vpc}", run.named(name)))
        })
        .await?;
        given(created.subnet().and_then(Subnet::subnet_id), "the ID of the new subnet")
    }

    pub async fn subnets_down(&self, run: &Run) -> Result<()> {
        each(self.found.subnets.by_name.values().filter_map(Subnet::subnet_id), async |id| {
            let delete = self.delete_when_unused(run, "the subnet's network interfaces to be deleted", Part::Subnet(id), async || {
                self.ec2.delete_subnet().subnet_id(id).send().await.tried(format!("delete the subnet {id}")).map(drop)
            });
            run.delete("subnet", id, delete).await
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(id: &str, zone: &str) -> Subnet {
        Subnet::builder().subnet_id(id).availability_zone(zone).build()
    }

    #[test]
    fn subnets_keep_their_zones_and_new_ones_get_unused_zones() {
        let place = |found: &[(&str, &str)], count| {
            let by_name = found.iter().map(|(name, zone)| ((*name).to_owned(), subnet(name, zone))).collect();
            Found { by_name, zones: ["a", "b", "c"].map(str::to_owned).to_vec() }.place(count).map_err(|error| error.to_string())
        };
        assert_eq!(place(&[], 2).unwrap(), ["a", "b"]);
        assert_eq!(place(&[("public-1", "b"), ("public-2", "a")], 3).unwrap(), ["b", "a", "c"]);
        assert_eq!(place(&[("private-2", "a")], 2).unwrap(), ["b", "a"], "the private subnet alone tells the zone, too");
        assert_eq!(place(&[("public-1", "d")], 2).unwrap(), ["d", "a"], "a zone that new subnets would not use");
        let refused = place(&[], 4).unwrap_err();
        assert!(refused.contains("x-net.azs: must be at most 3") && refused.contains("found 4"), "{refused}");
    }

    #[test]
    fn existing_subnets_must_suit_a_load_balancer() {
        let all = [subnet("public-a", "a"), subnet("public-b", "b"), subnet("other-a", "a"), subnet("private-c", "c")];
        let small = Subnet::builder().subnet_id("small").availability_zone("b").cidr_block("10.0.0.0/28").build();
        let all = [all.as_slice(), &[small]].concat();
        let zones = |public: &[&str], private: &[&str]| {
            let owned = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
            zones_of(&all, &owned(public), &owned(private)).map_err(|error| error.to_string())
        };
        assert_eq!(zones(&["public-b", "public-a"], &["other-a"]).unwrap(), ["a", "b"]);
        for (public, private, says) in [
            (&["public-a", "other-a"][..], &[][..], "one in each zone, because a load balancer needs that; found 2 in a"),
            (&["public-a", "public-b", "other-a"], &[], "one in each zone, because a load balancer needs that; found 3 in a, b"),
            (&["public-a", "small"], &[], "must be /27 or larger, because a load balancer needs that; found small with 10.0.0.0/28"),
            (&["public-a", "public-b"], &["private-c"], "the zones of the public subnets (a, b)"),
        ] {
            let refused = zones(public, private).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
