//! The route tables: the public one routes to the internet gateway, the private ones to a NAT gateway.

use std::collections::BTreeMap;
use std::time::Instant;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ResourceType, Route, RouteTable};
use futures_util::join;
use shared::error::{given, if_found};
use shared::name::fit;
use shared::step::each;
use shared::wait::{LOST, until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{NetUp, tag};

pub type Found = BTreeMap<String, RouteTable>;

/// The destination of the default route: everything outside the VPC.
const ANYWHERE: &str = "0.0.0.0/0";
const PUBLIC: &str = "public";

fn private(i: usize) -> String {
    format!("private-{}", i + 1)
}

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let call = ec2.describe_route_tables().set_filters(Some(tag::ours(run)));
    let all = shared::pages!(call, format!("list the route tables of {}", run.app))?;
    run.by_name("route table", all, RouteTable::tags, tag::pair, RouteTable::route_table_id)
}

/// The target of a default route.
#[derive(Clone, Copy)]
enum Target<'a> {
    Internet(&'a str),
    Nat(&'a str),
}

impl Target<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Internet(id) | Self::Nat(id) => id,
        }
    }
}

fn default_route(table: &RouteTable) -> Option<&Route> {
    table.routes().iter().find(|route| route.destination_cidr_block() == Some(ANYWHERE))
}

/// Returns the id of a route's target, of whatever kind it is.
fn target_of(route: &Route) -> Option<&str> {
    let gateway = route.nat_gateway_id().or(route.gateway_id()).or(route.transit_gateway_id()).or(route.local_gateway_id());
    gateway.or(route.vpc_peering_connection_id()).or(route.instance_id()).or(route.network_interface_id())
}

/// Returns the NAT gateway of the `i`-th zone: its own, or else the only one.
fn nat_of(i: usize, nats: &[Option<String>]) -> Option<&str> {
    nats.get(i).or(nats.first()).and_then(Option::as_deref)
}

/// Returns whether a private subnet of a zone beyond the first `zones` uses this NAT gateway.
pub fn is_used_beyond(tables: &Found, nat: &str, zones: usize) -> bool {
    let is_within = |name: &str| name == PUBLIC || (0..zones).any(|i| private(i) == name);
    let beyond = tables.iter().filter(|(name, _)| !is_within(name));
    beyond.flat_map(|(_, table)| table.routes()).any(|route| route.nat_gateway_id() == Some(nat))
}

impl NetUp {
    /// Creates one table for all public subnets, and one for each private subnet, which uses the NAT gateway of its zone.
    pub async fn tables_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        let names = std::iter::once(PUBLIC.to_owned()).chain((0..network.private.len()).map(private));
        let mut ids =
            each(names, async |name| match self.found.tables.get(&name).and_then(|table| Some((table.route_table_id()?, table.tags()))) {
                Some((id, tags)) => self.keep(run, "route table", &name, id, tags).await,
                None => run.create("route table", &run.named(&name), self.create_table(run, &name)).await,
            })
            .await?;
        let mut net = self.net.borrow_mut();
        net.private_route_table_ids = ids.split_off(1);
        net.public_route_table_id = ids.remove(0);
        Ok(())
    }

    /// Two runs at the same moment use the same token, and so create one table.
    async fn create_table(&self, run: &Run, name: &str) -> Result<String> {
        let mut token = fit(&[&run.app, name, &self.vpc_id()?], 64);
        loop {
            let id = self.create_table_with(run, name, &token).await?;
            // AWS may return a table that is deleted since. In a VPC of this run there is none.
            if self.found.vpc.is_new() || self.table_appears(run, &id).await? {
                return Ok(id);
            }
            token = fit(&[&run.app, name, &id], 64);
        }
    }

    async fn create_table_with(&self, run: &Run, name: &str, token: &str) -> Result<String> {
        let vpc = self.vpc_id()?;
        // A new VPC is not visible at once.
        let created = while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
            let call = self.ec2.create_route_table().vpc_id(&vpc).client_token(token);
            let call = call.tag_specifications(tag::specification(run, ResourceType::RouteTable, name));
            call.send().await.tried(format!("create the route table {}", run.named(name)))
        })
        .await?;
        given(created.route_table().and_then(RouteTable::route_table_id), "the ID of the new route table")
    }

    async fn table_appears(&self, run: &Run, id: &str) -> Result<bool> {
        let began = Instant::now();
        until(run, &format!("the route table {id} to be visible"), async || {
            let said = self.ec2.describe_route_tables().route_table_ids(id).send().await.tried(format!("read the route table {id}"));
            let exists = if_found(said)?.is_some_and(|said| !said.route_tables().is_empty());
            Ok((exists || began.elapsed() > LOST).then_some(exists))
        })
        .await
    }

    pub async fn tables_down(&self, run: &Run) -> Result<()> {
        each(self.found.tables.values().filter_map(RouteTable::route_table_id), async |id| {
            let delete = async {
                self.ec2.delete_route_table().route_table_id(id).send().await.tried(format!("delete the route table {id}")).map(drop)
            };
            run.delete("route table", id, delete).await
        })
        .await
        .map(drop)
    }

    pub async fn public_routes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().is_none() {
            return Ok(());
        }
        let net = self.net.borrow().clone();
        let (table, target) = (net.public_route_table_id.as_deref(), net.internet_gateway_id.as_deref().map(Target::Internet));
        let (routed, associated) = join!(
            self.route_up(run, PUBLIC, table, target),
            each(&net.public_subnet_ids, async |subnet| self.associate(run, PUBLIC, table, subnet.as_deref()).await),
        );
        routed.and(associated.map(drop))
    }

    pub async fn private_routes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        let net = self.net.borrow().clone();
        each(0..network.private.len(), async |i| {
            let (name, table) = (private(i), net.private_route_table_ids[i].as_deref());
            let route = async {
                match network.nats() {
                    0 => self.route_down(run, &name).await,
                    _ => self.route_up(run, &name, table, nat_of(i, &net.nat_gateway_ids).map(Target::Nat)).await,
                }
            };
            let (associated, routed) = join!(self.associate(run, &name, table, net.private_subnet_ids[i].as_deref()), route);
            associated.and(routed)
        })
        .await
        .map(drop)
    }

    /// `table` and `target` are unknown only in the plan of a new one, which lists the table itself.
    async fn route_up(&self, run: &Run, name: &str, table: Option<&str>, target: Option<Target<'_>>) -> Result<()> {
        let (Some(table), Some(target)) = (table, target) else { return Ok(()) };
        let route = self.found.tables.get(name).and_then(default_route);
        let diff = Diff::new().field(ANYWHERE, route.and_then(target_of), Some(target.id()));
        run.change("route table", &run.named(name), &diff, self.set_route(run, table, target, route.is_some())).await
    }

    async fn set_route(&self, run: &Run, table: &str, target: Target<'_>, replace: bool) -> Result<()> {
        let (gateway, nat) = match target {
            Target::Internet(id) => (Some(id.to_owned()), None),
            Target::Nat(id) => (None, Some(id.to_owned())),
        };
        let doing = |verb: &str| format!("{verb} the route {ANYWHERE} to {} in the route table {table}", target.id());
        let mut set = async || {
            if replace {
                let call = self.ec2.replace_route().route_table_id(table).destination_cidr_block(ANYWHERE);
                call.set_gateway_id(gateway.clone()).set_nat_gateway_id(nat.clone()).send().await.tried(doing("replace")).map(drop)
            } else {
                let call = self.ec2.create_route().route_table_id(table).destination_cidr_block(ANYWHERE);
                call.set_gateway_id(gateway.clone()).set_nat_gateway_id(nat.clone()).send().await.tried(doing("create")).map(drop)
            }
        };
        // A new internet gateway is not visible at once (InvalidGatewayID.NotFound). Some NAT gateways (InvalidNatGatewayID.NotFound)
        // were not visible before they were available, which takes minutes.
        match target {
            Target::Internet(_) => while_not_yet(run, "the internet gateway to be visible", Error::is_gone, set).await,
            Target::Nat(_) => while_held(run, "the NAT gateway to be visible", Error::is_gone, &mut set).await,
        }
    }

    /// Deletes the route to a NAT gateway. A default route to another target was added by hand and is kept.
    async fn route_down(&self, run: &Run, name: &str) -> Result<()> {
        let Some(table) = self.found.tables.get(name) else { return Ok(()) };
        if default_route(table).and_then(Route::nat_gateway_id).is_none() {
            return Ok(());
        }
        let id = given(table.route_table_id(), "the ID of the route table")?;
        run.delete("route", &format!("{} {ANYWHERE}", run.named(name)), async {
            let call = self.ec2.delete_route().route_table_id(&id).destination_cidr_block(ANYWHERE);
            call.send().await.tried(format!("delete the route {ANYWHERE} in the route table {id}")).map(drop)
        })
        .await
    }

    async fn associate(&self, run: &Run, name: &str, table: Option<&str>, subnet: Option<&str>) -> Result<()> {
        let (Some(table), Some(subnet)) = (table, subnet) else { return Ok(()) };
        let associations = self.found.tables.get(name).map(RouteTable::associations).unwrap_or_default();
        if associations.iter().any(|association| association.subnet_id() == Some(subnet)) {
            return Ok(());
        }
        let diff = Diff::new().field("subnetId", None::<&str>, Some(subnet));
        // A new table and a new subnet are not visible at once.
        let associate = while_not_yet(run, "the subnet to be visible", Error::is_gone, async || {
            let call = self.ec2.associate_route_table().route_table_id(table).subnet_id(subnet);
            match call.send().await.tried(format!("associate the subnet {subnet} with the route table {table}")) {
                // It is associated with another table.
                Err(error) if error.is_code("Resource.AlreadyAssociated") => self.associate_instead(table, subnet).await,
                other => other.map(drop),
            }
        });
        run.change("route table", &run.named(name), &diff, associate).await
    }

    async fn associate_instead(&self, table: &str, subnet: &str) -> Result<()> {
        let call = self.ec2.describe_route_tables().filters(tag::filter("association.subnet-id", subnet));
        let said = call.send().await.tried(format!("read the route table of the subnet {subnet}"))?;
        let other = said.route_tables().iter().flat_map(RouteTable::associations).find(|one| one.subnet_id() == Some(subnet));
        let id = given(other.and_then(|one| one.route_table_association_id()), "the ID of the subnet's route table association")?;
        let call = self.ec2.replace_route_table_association().association_id(id).route_table_id(table);
        call.send().await.tried(format!("replace the route table of the subnet {subnet} with {table}")).map(drop)
    }

    /// Removes the tables' associations with subnets. AWS deletes the routes with their table.
    pub async fn routes_down(&self, run: &Run, public: bool) -> Result<()> {
        let tables = self.found.tables.iter().filter(|(name, _)| (name.as_str() == PUBLIC) == public);
        let associations = tables.flat_map(|(_, table)| table.associations()).filter(|association| association.main() != Some(true));
        each(associations.filter_map(|association| association.route_table_association_id()), async |id| {
            let disassociate = async {
                let call = self.ec2.disassociate_route_table().association_id(id);
                call.send().await.tried(format!("delete the route table association {id}")).map(drop)
            };
            run.delete("route table association", id, disassociate).await
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::builders::RouteBuilder;

    use super::*;

    fn table(routes: impl IntoIterator<Item = RouteBuilder>) -> RouteTable {
        RouteTable::builder().set_routes(Some(routes.into_iter().map(RouteBuilder::build).collect())).build()
    }

    fn to(destination: &str) -> RouteBuilder {
        Route::builder().destination_cidr_block(destination)
    }

    #[test]
    fn the_default_route_is_found_with_its_target() {
        let local = || to("10.0.0.0/16").gateway_id("local");
        for (default, target) in [
            (to(ANYWHERE).gateway_id("igw-1"), Some("igw-1")),
            (to(ANYWHERE).nat_gateway_id("nat-1"), Some("nat-1")),
            (to(ANYWHERE).transit_gateway_id("tgw-1"), Some("tgw-1")),
            (to(ANYWHERE).instance_id("i-1").network_interface_id("eni-1"), Some("i-1")),
            (to("0.0.0.0/1").gateway_id("igw-1"), None),
        ] {
            assert_eq!(default_route(&table([local(), default])).and_then(target_of), target);
        }
    }

    #[test]
    fn a_zone_uses_its_own_nat_gateway_or_the_only_one() {
        let ids = |ids: &[&str]| ids.iter().map(|id| Some((*id).to_owned())).collect::<Vec<_>>();
        assert_eq!(nat_of(1, &ids(&["nat-1", "nat-2"])), Some("nat-2"));
        assert_eq!(nat_of(1, &ids(&["nat-1"])), Some("nat-1"));
        assert_eq!(nat_of(0, &[None]), None, "a plan does not know the ID of a new one");
        assert_eq!(nat_of(0, &[]), None);
    }

    #[test]
    fn a_nat_gateway_is_kept_for_zones_that_are_no_longer_set() {
        let nat = |id: &str| table([to(ANYWHERE).nat_gateway_id(id)]);
        let tables = BTreeMap::from([
            (private(0), nat("nat-1")),
            (private(1), nat("nat-2")),
            (private(2), nat("nat-2")),
            (PUBLIC.to_owned(), nat("nat-3")),
        ]);
        for (id, zones, expected) in [("nat-1", 2, false), ("nat-2", 2, true), ("nat-2", 3, false), ("nat-3", 1, false)] {
            assert_eq!(is_used_beyond(&tables, id, zones), expected, "{id} with {zones} zones");
        }
    }
}
