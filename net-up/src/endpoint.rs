//! VPC endpoints: traffic to these services stays inside AWS.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, ResourceType, ServiceDetail, ServiceType, VpcEndpoint, VpcEndpointType};
use futures_util::try_join;
use shared::error::given;
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub struct Found {
    pub ours: BTreeMap<String, VpcEndpoint>,
    /// Where AWS offers what is asked for, by service.
    offers: BTreeMap<String, Offer>,
}

/// An endpoint service of AWS's in this region.
struct Offer {
    name: String,
    /// For route tables and free, not for subnets.
    gateway: bool,
    /// Whether the service's own name can lead to the endpoint.
    private_name: bool,
    /// Not every service is in every zone.
    zones: Vec<String>,
}

impl Found {
    /// Whether an endpoint that is asked for stands in subnets, behind a security group.
    pub fn have_interfaces(&self) -> bool {
        self.offers.values().any(|offer| !offer.gateway)
    }

    /// Every endpoint that is asked for is in one of the network's zones at least.
    pub fn check_zones(&self, zones: &[String]) -> Result<()> {
        for (service, offer) in self.offers.iter().filter(|(_, offer)| !offer.gateway) {
            if !zones.iter().any(|zone| offer.zones.contains(zone)) {
                let (zones, its) = (zones.join(", "), offer.zones.join(", "));
                let what = format!("{service:?} has an endpoint only in {its}, but the network is in {zones}");
                return Err(Error::document("x-net.endpoints", what));
            }
        }
        Ok(())
    }
}

pub async fn find(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let (ours, offers) = try_join!(made(ec2, run), offers(ec2, run, wanted))?;
    Ok(Found { ours, offers })
}

async fn made(ec2: &Client, run: &Run) -> Result<BTreeMap<String, VpcEndpoint>> {
    let items =
        ec2.describe_vpc_endpoints().set_filters(Some(tag::ours(run))).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut items = items.tried("look for the VPC endpoints")?;
    items.retain(is_alive);
    run.by_name("VPC endpoint", items, VpcEndpoint::tags, tag::pair, VpcEndpoint::vpc_endpoint_id)
}

async fn offers(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<BTreeMap<String, Offer>> {
    let Some(network) = wanted.and_then(Wanted::network).filter(|network| !network.endpoints.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    // In China some stand below `cn.`, so AWS is asked how they are called.
    let region = run.session.region();
    let names = |service: &String| ["", "cn."].map(|china| format!("{china}com.amazonaws.{region}.{service}"));
    let filter = Filter::builder().name("service-name").set_values(Some(network.endpoints.iter().flat_map(names).collect())).build();
    // All at once, as no size of pages is asked for.
    let said = ec2.describe_vpc_endpoint_services().filters(filter).send().await.tried("look which VPC endpoints AWS offers")?;
    let offer = |service: &String| {
        let of_service = |detail: &&ServiceDetail| detail.service_name().is_some_and(|name| names(service).iter().any(|one| one == name));
        // S3 has both kinds.
        let mut details: Vec<_> = said.service_details().iter().filter(of_service).collect();
        details.sort_by_key(|detail| !is_gateway(detail));
        let detail = details.first().ok_or_else(|| {
            Error::document("x-net.endpoints", format!("AWS has no VPC endpoint for {service:?} in {region}: take it out, or see `aws ec2 describe-vpc-endpoint-services` for the names"))
        })?;
        let offer = Offer {
            name: given(detail.service_name(), "the endpoint service's name")?,
            gateway: is_gateway(detail),
            private_name: detail.private_dns_name().is_some(),
            zones: detail.availability_zones().to_vec(),
        };
        Ok((service.clone(), offer))
    };
    network.endpoints.iter().map(offer).collect()
}

impl Offer {
    /// Those in its zones, as far as they are known. Tasks in other zones reach it across.
    fn subnets(&self, zones: &[String], ids: &[Option<String>]) -> Vec<String> {
        zones.iter().zip(ids).filter(|(zone, _)| self.zones.contains(zone)).filter_map(|(_, id)| id.clone()).collect()
    }
}

fn is_gateway(detail: &ServiceDetail) -> bool {
    detail.service_type().iter().any(|kind| kind.service_type() == Some(&ServiceType::Gateway))
}

pub fn is_alive(endpoint: &VpcEndpoint) -> bool {
    !is(endpoint, "deleted") && !is(endpoint, "deleting")
}

/// AWS spells the states in either case.
fn is(endpoint: &VpcEndpoint, state: &str) -> bool {
    endpoint.state().is_some_and(|now| now.as_str().eq_ignore_ascii_case(state))
}

/// What an endpoint stands in and behind.
#[derive(Default)]
struct Place {
    tables: Vec<String>,
    subnets: Vec<String>,
    groups: Vec<String>,
}

impl NetUp {
    /// Endpoints that are no longer asked for stay until the app goes: others may have begun to rely on them. A plan does not list them.
    pub async fn endpoints_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.network().is_none() {
            return Ok(());
        }
        let ids = each(&self.found.endpoints.offers, async |(service, offer)| {
            let place = self.place_endpoint(offer);
            match self.found.endpoints.ours.get(service) {
                Some(found) => self.settle_endpoint(run, service, place, found).await,
                None => run.create("VPC endpoint", &run.named(service), self.create_endpoint(run, service, offer, place)).await,
            }
        })
        .await?;
        self.net.borrow_mut().vpc_endpoint_ids = ids;
        Ok(())
    }

    /// As far as it is known: a plan knows no ids of what is new.
    fn place_endpoint(&self, offer: &Offer) -> Place {
        let net = self.net.borrow();
        if offer.gateway {
            return Place { tables: net.private_route_table_ids.iter().flatten().cloned().collect(), ..Place::default() };
        }
        let subnets = offer.subnets(&net.zones, &net.private_subnet_ids);
        Place { tables: Vec::new(), subnets, groups: self.endpoint_group.borrow().iter().cloned().collect() }
    }

    /// Everywhere in the network, of which there may be more than there was. What somebody added stays.
    async fn settle_endpoint(&self, run: &Run, service: &str, place: Place, found: &VpcEndpoint) -> Result<Option<String>> {
        let id = given(found.vpc_endpoint_id(), "the VPC endpoint's id")?;
        let has: Vec<String> = found.groups().iter().filter_map(|group| group.group_id().map(str::to_owned)).collect();
        let missing =
            |wanted: Vec<String>, found: &[String]| -> Vec<String> { wanted.into_iter().filter(|id| !found.contains(id)).collect() };
        let (tables, subnets) = (missing(place.tables, found.route_table_ids()), missing(place.subnets, found.subnet_ids()));
        let groups = missing(place.groups, &has);
        let diff = [("route tables", &tables), ("subnets", &subnets), ("security groups", &groups)]
            .into_iter()
            .fold(Diff::new(), |diff, (what, missing)| diff.field(what, "", missing.join(" ")));
        run.change("VPC endpoint", &run.named(service), &diff, async {
            let some = |ids: &[String]| (!ids.is_empty()).then(|| ids.to_vec());
            let call = self.ec2.modify_vpc_endpoint().vpc_endpoint_id(&id).set_add_route_table_ids(some(&tables));
            let call = call.set_add_subnet_ids(some(&subnets)).set_add_security_group_ids(some(&groups));
            call.send().await.tried(format!("change the VPC endpoint {id}")).map(drop)
        })
        .await?;
        self.keep(run, "VPC endpoint", service, &id, found.tags()).await
    }

    async fn create_endpoint(&self, run: &Run, service: &str, offer: &Offer, place: Place) -> Result<String> {
        let (vpc, token) = (self.vpc_id()?, tag::token(run, service));
        // The parts of the network, made a moment ago, are not known everywhere yet.
        let made = while_not_yet(run, "the network to be visible", Error::is_gone, async || {
            let call = self.ec2.create_vpc_endpoint().vpc_id(&vpc).service_name(&offer.name);
            let call = call.client_token(&token).tag_specifications(tag::dated(run, ResourceType::VpcEndpoint, service));
            let call = if offer.gateway {
                call.vpc_endpoint_type(VpcEndpointType::Gateway).set_route_table_ids(Some(place.tables.clone()))
            } else {
                let call = call.vpc_endpoint_type(VpcEndpointType::Interface).private_dns_enabled(offer.private_name);
                call.set_subnet_ids(Some(place.subnets.clone())).set_security_group_ids(Some(place.groups.clone()))
            };
            call.send().await.tried(format!("create the VPC endpoint for {service} in {vpc}"))
        })
        .await?;
        let id = given(made.vpc_endpoint().and_then(VpcEndpoint::vpc_endpoint_id), "the new VPC endpoint's id")?;
        self.claim(run, ResourceType::VpcEndpoint, service, id).await
    }

    /// Waits until they are gone: interface endpoints hold subnets and security groups.
    pub async fn endpoints_down(&self, run: &Run) -> Result<()> {
        each(self.found.endpoints.ours.values().filter_map(VpcEndpoint::vpc_endpoint_id), async |id| {
            let delete = async {
                let said =
                    self.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id).send().await.tried(format!("delete the VPC endpoint {id}"))?;
                // This call answers 200 and lists what it could not do.
                if let Some(failed) = said.unsuccessful().iter().find_map(|item| item.error()) {
                    return Err(Error::Failed(format!(
                        "could not delete the VPC endpoint {id}: {}: {}",
                        failed.code().unwrap_or("?"),
                        failed.message().unwrap_or("?")
                    )));
                }
                until(run, &format!("the VPC endpoint {id} to be deleted"), async || {
                    let left = shared::error::if_found(
                        self.ec2.describe_vpc_endpoints().vpc_endpoint_ids(id).send().await.tried(format!("look at the VPC endpoint {id}")),
                    )?;
                    let gone = left.is_none_or(|left| left.vpc_endpoints().iter().all(|endpoint| is(endpoint, "deleted")));
                    Ok(gone.then_some(()))
                })
                .await
            };
            run.delete("VPC endpoint", id, delete).await
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Found, Offer};

    #[test]
    fn an_endpoint_stands_in_its_zones() {
        let offer = |zones: &[&str]| Offer {
            name: String::new(),
            gateway: false,
            private_name: true,
            zones: zones.iter().map(ToString::to_string).collect(),
        };
        let (zones, ids) = (["a", "b"].map(str::to_owned), [Some("subnet-a".to_owned()), Some("subnet-b".to_owned())]);
        assert_eq!(offer(&["a", "b", "c"]).subnets(&zones, &ids), ["subnet-a", "subnet-b"]);
        assert_eq!(offer(&["b", "c"]).subnets(&zones, &ids), ["subnet-b"]);
        assert!(offer(&["b"]).subnets(&zones, &[None, None]).is_empty(), "a plan knows no ids");
        let elsewhere = Found { ours: BTreeMap::new(), offers: BTreeMap::from([("logs".to_owned(), offer(&["c"]))]) };
        let refused = elsewhere.check_zones(&zones).unwrap_err().to_string();
        assert!(refused.contains("\"logs\" has an endpoint only in c, but the network is in a, b"), "{refused}");
    }
}
