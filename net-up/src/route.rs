//! The route tables: public ones lead to the internet gateway, private ones to a NAT gateway.

use std::collections::BTreeMap;
use std::time::Instant;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ResourceType, Route, RouteTable};
use shared::error::{given, if_found};
use shared::name::fit;
use shared::step::each;
use shared::wait::{LOST, until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub type Found = BTreeMap<String, RouteTable>;

/// Everywhere that is not the VPC.
const ANYWHERE: &str = "0.0.0.0/0";
const PUBLIC: &str = "public";

fn private(i: usize) -> String {
    format!("private-{}", i + 1)
}

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let items =
        ec2.describe_route_tables().set_filters(Some(tag::ours(run))).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    run.by_name("route table", items.tried("look for the route tables")?, RouteTable::tags, tag::pair, RouteTable::route_table_id)
}

/// Where a default route leads.
#[derive(Clone, Copy)]
enum Way<'a> {
    Internet(&'a str),
    Nat(&'a str),
}

impl Way<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Internet(id) | Self::Nat(id) => id,
        }
    }
}

impl NetUp {
    /// One table for all public subnets, and one for each private subnet, so that each can have the NAT gateway of its own zone.
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

    /// Two runs at the same moment give the same token, and so make one table.
    async fn create_table(&self, run: &Run, name: &str) -> Result<String> {
        let mut token = fit(&[&run.app, name, &self.vpc_id()?], 64);
        loop {
            let id = self.ask_for_table(run, name, &token).await?;
            // AWS may give the same answer when somebody has deleted the table since; a VPC of this run is too young for that.
            if self.found.vpc.is_new() || self.table_appears(run, &id).await? {
                return Ok(id);
            }
            token = fit(&[&run.app, name, &id], 64);
        }
    }

    async fn ask_for_table(&self, run: &Run, name: &str, token: &str) -> Result<String> {
        let vpc = self.vpc_id()?;
        // A VPC made a moment ago is not known everywhere yet.
        let made = while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
            let tags = tag::specification(run, ResourceType::RouteTable, name);
            self.ec2
                .create_route_table()
                .vpc_id(&vpc)
                .client_token(token)
                .tag_specifications(tags)
                .send()
                .await
                .tried(format!("create the route table {}", run.named(name)))
        })
        .await?;
        given(made.route_table().and_then(RouteTable::route_table_id), "the new route table's id")
    }

    async fn table_appears(&self, run: &Run, id: &str) -> Result<bool> {
        let began = Instant::now();
        until(run, &format!("the route table {id} to be visible"), async || {
            let said = self.ec2.describe_route_tables().route_table_ids(id).send().await.tried(format!("look at the route table {id}"));
            let there = if_found(said)?.is_some_and(|said| !said.route_tables().is_empty());
            Ok((there || began.elapsed() > LOST).then_some(there))
        })
        .await
    }

    pub async fn public_routes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().is_none() {
            return Ok(());
        }
        let net = self.net.borrow().clone();
        let way = net.internet_gateway_id.as_deref().map(Way::Internet);
        let (routed, associated) = futures_util::join!(
            self.route_up(run, PUBLIC, net.public_route_table_id.as_deref(), way),
            each(&net.public_subnet_ids, async |subnet| self
                .associate(run, PUBLIC, net.public_route_table_id.as_deref(), subnet.as_deref())
                .await),
        );
        routed.and(associated.map(drop))
    }

    pub async fn private_routes_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        let net = self.net.borrow().clone();
        each(0..network.private.len(), async |i| {
            let (name, table) = (private(i), net.private_route_table_ids[i].as_deref());
            let (associated, routed) =
                futures_util::join!(self.associate(run, &name, table, net.private_subnet_ids[i].as_deref()), async {
                    if network.nats() == 0 {
                        return self.route_down(run, &name).await;
                    }
                    let nat = net.nat_gateway_ids.get(i).or(net.nat_gateway_ids.first()).and_then(Option::as_deref);
                    self.route_up(run, &name, table, nat.map(Way::Nat)).await
                });
            associated.and(routed)
        })
        .await
        .map(drop)
    }

    /// `table` and `way` are unknown only in a plan of something new, which says enough by itself.
    async fn route_up(&self, run: &Run, name: &str, table: Option<&str>, way: Option<Way<'_>>) -> Result<()> {
        let (Some(table), Some(way)) = (table, way) else { return Ok(()) };
        let routes = self.found.tables.get(name).map(RouteTable::routes).unwrap_or_default();
        let route = routes.iter().find(|route| route.destination_cidr_block() == Some(ANYWHERE));
        let leads = route.and_then(|route| route.nat_gateway_id().or(route.gateway_id()));
        let diff = Diff::new().field(ANYWHERE, leads, Some(way.id()));
        run.change("route table", &run.named(name), &diff, self.put_route(run, table, way, route.is_some())).await
    }

    /// Without a NAT gateway there is no way out; a route that somebody else has put there is theirs.
    async fn route_down(&self, run: &Run, name: &str) -> Result<()> {
        let Some(table) = self.found.tables.get(name) else { return Ok(()) };
        let to_nat = |route: &&Route| route.destination_cidr_block() == Some(ANYWHERE) && route.nat_gateway_id().is_some();
        if !table.routes().iter().any(|route| to_nat(&route)) {
            return Ok(());
        }
        let id = given(table.route_table_id(), "the route table's id")?;
        run.delete("route", &format!("{} {ANYWHERE}", run.named(name)), async {
            let call = self.ec2.delete_route().route_table_id(&id).destination_cidr_block(ANYWHERE);
            call.send().await.tried(format!("delete the route to {ANYWHERE} of {id}")).map(drop)
        })
        .await
    }

    /// Whether a private route table of a zone beyond the first `zones` leads to this NAT gateway.
    pub fn leads_beyond(&self, nat: Option<&str>, zones: usize) -> bool {
        let asked = |name: &str| (0..zones).any(|i| private(i) == name);
        let beyond = self.found.tables.iter().filter(|(name, _)| name.as_str() != PUBLIC && !asked(name));
        nat.is_some() && beyond.flat_map(|(_, table)| table.routes()).any(|route| route.nat_gateway_id() == nat)
    }

    async fn put_route(&self, run: &Run, table: &str, way: Way<'_>, replace: bool) -> Result<()> {
        let (gateway, nat) = match way {
            Way::Internet(id) => (Some(id.to_owned()), None),
            Way::Nat(id) => (None, Some(id.to_owned())),
        };
        let doing = format!("lead {ANYWHERE} of {table} to {}", way.id());
        let mut put = async || {
            if replace {
                let call = self.ec2.replace_route().route_table_id(table).destination_cidr_block(ANYWHERE);
                call.set_gateway_id(gateway.clone()).set_nat_gateway_id(nat.clone()).send().await.tried(&doing).map(drop)
            } else {
                let call = self.ec2.create_route().route_table_id(table).destination_cidr_block(ANYWHERE);
                call.set_gateway_id(gateway.clone()).set_nat_gateway_id(nat.clone()).send().await.tried(&doing).map(drop)
            }
        };
        // A gateway made a moment ago is not known everywhere yet (InvalidGatewayID.NotFound); a NAT gateway (InvalidNatGatewayID.NotFound) has
        // also been seen to take until it has started.
        match way {
            Way::Internet(_) => while_not_yet(run, "the gateway to be visible", Error::is_gone, put).await,
            Way::Nat(_) => while_held(run, "the NAT gateway to be visible", Error::is_gone, &mut put).await,
        }
    }

    async fn associate(&self, run: &Run, name: &str, table: Option<&str>, subnet: Option<&str>) -> Result<()> {
        let (Some(table), Some(subnet)) = (table, subnet) else { return Ok(()) };
        let associations = self.found.tables.get(name).map(RouteTable::associations).unwrap_or_default();
        if associations.iter().any(|association| association.subnet_id() == Some(subnet)) {
            return Ok(());
        }
        let diff = Diff::new().field("subnet", None, Some(subnet));
        // Table and subnet, made a moment ago, are not known everywhere yet.
        let associate = while_not_yet(run, "the subnet to be visible", Error::is_gone, async || {
            let call = self.ec2.associate_route_table().route_table_id(table).subnet_id(subnet);
            match call.send().await.tried(format!("give {subnet} the route table {table}")) {
                // Somebody has given it another one.
                Err(error) if error.is_code("Resource.AlreadyAssociated") => self.associate_instead(table, subnet).await,
                other => other.map(drop),
            }
        });
        run.change("route table", &run.named(name), &diff, associate).await
    }

    async fn associate_instead(&self, table: &str, subnet: &str) -> Result<()> {
        let call = self.ec2.describe_route_tables().filters(tag::filter("association.subnet-id", subnet));
        let said = call.send().await.tried(format!("look for the route table of {subnet}"))?;
        let other = said.route_tables().iter().flat_map(RouteTable::associations).find(|one| one.subnet_id() == Some(subnet));
        let id = given(other.and_then(|one| one.route_table_association_id()), "the id of its route table's association")?;
        let call = self.ec2.replace_route_table_association().association_id(id).route_table_id(table);
        call.send().await.tried(format!("give {subnet} the route table {table} instead of another one")).map(drop)
    }

    /// Frees the subnets of their table; the routes themselves go with it.
    pub async fn routes_down(&self, run: &Run, public: bool) -> Result<()> {
        let tables = self.found.tables.iter().filter(|(name, _)| (name.as_str() == PUBLIC) == public);
        let associations = tables.flat_map(|(_, table)| table.associations()).filter(|association| association.main() != Some(true));
        each(associations.filter_map(|association| association.route_table_association_id()), async |id| {
            let free = async {
                self.ec2
                    .disassociate_route_table()
                    .association_id(id)
                    .send()
                    .await
                    .tried(format!("take the route table association {id} away"))
                    .map(drop)
            };
            run.delete("route table association", id, free).await
        })
        .await
        .map(drop)
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
}
