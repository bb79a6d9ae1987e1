//! The VPC endpoints, through which traffic to AWS's services stays in AWS's network.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, ResourceType, ServiceDetail, ServiceType, VpcEndpoint, VpcEndpointType};
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{NetUp, batch, tag};

pub struct Found {
    ours: BTreeMap<String, VpcEndpoint>,
    /// What AWS offers for the services in the settings, by service.
    offers: BTreeMap<String, Offer>,
}

/// An endpoint service of AWS in this region.
struct Offer {
    name: String,
    /// A gateway endpoint is free and belongs to route tables; an interface endpoint is in subnets.
    gateway: bool,
    /// Whether the service's own DNS name can resolve to the endpoint.
    private_name: bool,
    /// The zones in which AWS has the service.
    zones: Vec<String>,
}

impl Offer {
    /// Returns those of the subnets that are in the offer's zones. Tasks in other zones reach the endpoint there.
    fn subnets(&self, zones: &[String], ids: &[Option<String>]) -> Vec<String> {
        zones.iter().zip(ids).filter(|(zone, _)| self.zones.contains(zone)).filter_map(|(_, id)| id.clone()).collect()
    }
}

impl Found {
    /// Returns whether one of the endpoints is an interface endpoint, which needs a security group.
    pub fn have_interfaces(&self) -> bool {
        self.offers.values().any(|offer| !offer.gateway)
    }

    /// Checks that AWS has every interface endpoint in at least one of the network's zones.
    pub fn check_zones(&self, zones: &[String]) -> Result<()> {
        for (service, offer) in self.offers.iter().filter(|(_, offer)| !offer.gateway) {
            if !zones.iter().any(|zone| offer.zones.contains(zone)) {
                let (zones, its) = (zones.join(", "), offer.zones.join(", "));
                let what = format!(
                    "AWS has the VPC endpoint for {service:?} only in {its}, but the network is in {zones}. \
                     Remove it from the list, or set more zones (x-net.azs)"
                );
                return Err(Error::document("endpoint-zones", "x-net.endpoints", what));
            }
        }
        Ok(())
    }
}

pub async fn find(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let (ours, offers) = try_join!(find_ours(ec2, run), find_offers(ec2, run, wanted))?;
    Ok(Found { ours, offers })
}

async fn find_ours(ec2: &Client, run: &Run) -> Result<BTreeMap<String, VpcEndpoint>> {
    let call = ec2.describe_vpc_endpoints().set_filters(Some(tag::ours(run)));
    let mut all = shared::pages!(call, format!("list the VPC endpoints of {}", run.app))?;
    all.retain(is_alive);
    run.by_name("VPC endpoint", all, VpcEndpoint::tags, tag::pair, VpcEndpoint::vpc_endpoint_id)
}

async fn find_offers(ec2: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<BTreeMap<String, Offer>> {
    let Some(network) = wanted.and_then(Wanted::network).filter(|network| !network.endpoints.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    // In China the names of some services begin with `cn.`, so both forms are read.
    let region = run.session.region();
    let names = |service: &String| ["", "cn."].map(|china| format!("{china}com.amazonaws.{region}.{service}"));
    let filter = Filter::builder().name("service-name").set_values(Some(network.endpoints.iter().flat_map(names).collect())).build();
    // AWS returns all of them in one page, because no page size is set.
    let said = ec2.describe_vpc_endpoint_services().filters(filter).send().await.tried("read the endpoint services of x-net.endpoints")?;
    let offer = |service: &String| {
        let of_service = |detail: &&ServiceDetail| detail.service_name().is_some_and(|name| names(service).iter().any(|one| one == name));
        // S3 has both kinds.
        let mut details: Vec<_> = said.service_details().iter().filter(of_service).collect();
        details.sort_by_key(|detail| !is_gateway(detail));
        let detail = details.first().ok_or_else(|| {
            let what = format!(
                "AWS has no VPC endpoint for {service:?} in {region}. \
                 Remove it from the list, or find its name with `aws ec2 describe-vpc-endpoint-services`"
            );
            Error::document("unknown-endpoint", "x-net.endpoints", what)
        })?;
        let offer = Offer {
            name: given(detail.service_name(), "the name of the endpoint service")?,
            gateway: is_gateway(detail),
            private_name: detail.private_dns_name().is_some(),
            zones: detail.availability_zones().to_vec(),
        };
        Ok((service.clone(), offer))
    };
    network.endpoints.iter().map(offer).collect()
}

fn is_gateway(detail: &ServiceDetail) -> bool {
    detail.service_type().iter().any(|kind| kind.service_type() == Some(&ServiceType::Gateway))
}

pub fn is_alive(endpoint: &VpcEndpoint) -> bool {
    !is_in(endpoint, "deleted") && !is_in(endpoint, "deleting")
}

/// AWS writes the names of states with and without a capital letter.
fn is_in(endpoint: &VpcEndpoint, state: &str) -> bool {
    endpoint.state().is_some_and(|now| now.as_str().eq_ignore_ascii_case(state))
}

/// The route tables, subnets and security groups of an endpoint.
#[derive(Default)]
struct Place {
    tables: Vec<String>,
    subnets: Vec<String>,
    groups: Vec<String>,
}

impl Place {
    /// Returns the part that an endpoint lacks.
    fn missing(self, found: &VpcEndpoint) -> Self {
        let groups: Vec<&str> = found.groups().iter().filter_map(|group| group.group_id()).collect();
        Self {
            tables: self.tables.into_iter().filter(|id| !found.route_table_ids().contains(id)).collect(),
            subnets: self.subnets.into_iter().filter(|id| !found.subnet_ids().contains(id)).collect(),
            groups: self.groups.into_iter().filter(|id| !groups.contains(&id.as_str())).collect(),
        }
    }

    /// Shows all of it as missing.
    fn diff(&self) -> Diff {
        let none = [""; 0];
        let diff = Diff::new().set("routeTableIds", none, &self.tables).set("subnetIds", none, &self.subnets);
        diff.set("securityGroupIds", none, &self.groups)
    }
}

impl NetUp {
    /// Creates the endpoints. Those that were removed from the settings are kept until `net-up --down`, because others may use them.
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

    /// Returns the place of an endpoint, as far as it is known: a plan does not know the IDs of new resources.
    fn place_endpoint(&self, offer: &Offer) -> Place {
        let net = self.net.borrow();
        if offer.gateway {
            return Place { tables: net.private_route_table_ids.iter().flatten().cloned().collect(), ..Place::default() };
        }
        let subnets = offer.subnets(&net.zones, &net.private_subnet_ids);
        Place { tables: Vec::new(), subnets, groups: self.endpoint_group.borrow().iter().cloned().collect() }
    }

    async fn create_endpoint(&self, run: &Run, service: &str, offer: &Offer, place: Place) -> Result<String> {
        let (vpc, token) = (self.vpc_id()?, tag::token(run, service));
        // New parts of the network are not visible at once.
        let created = while_not_yet(run, "the network to be visible", Error::is_gone, async || {
            let call = self.ec2.create_vpc_endpoint().vpc_id(&vpc).service_name(&offer.name);
            let call = call.client_token(&token).tag_specifications(tag::dated(run, ResourceType::VpcEndpoint, service));
            let call = if offer.gateway {
                call.vpc_endpoint_type(VpcEndpointType::Gateway).set_route_table_ids(Some(place.tables.clone()))
            } else {
                let call = call.vpc_endpoint_type(VpcEndpointType::Interface).private_dns_enabled(offer.private_name);
                call.set_subnet_ids(Some(place.subnets.clone())).set_security_group_ids(Some(place.groups.clone()))
            };
            call.send().await.tried(format!("create the VPC endpoint for {service} in the VPC {vpc}"))
        })
        .await?;
        let id = given(created.vpc_endpoint().and_then(VpcEndpoint::vpc_endpoint_id), "the ID of the new VPC endpoint")?;
        let exists = async |id: &str| {
            // AWS lists a deleted one for a while.
            let is_ours = |one: &VpcEndpoint| is_alive(one) && run.is_ours(one.tags().iter().map(tag::pair));
            Ok(self.read_endpoint(id).await?.iter().any(is_ours))
        };
        self.claim(run, service, id, exists, async |id| self.delete_endpoint(id).await).await
    }

    /// Adds the parts of the network that the endpoint lacks. Those that were added by hand are kept.
    async fn settle_endpoint(&self, run: &Run, service: &str, place: Place, found: &VpcEndpoint) -> Result<Option<String>> {
        let id = given(found.vpc_endpoint_id(), "the ID of the VPC endpoint")?;
        let missing = place.missing(found);
        run.change("VPC endpoint", &run.named(service), &missing.diff(), async {
            let some = |ids: &[String]| (!ids.is_empty()).then(|| ids.to_vec());
            let call = self.ec2.modify_vpc_endpoint().vpc_endpoint_id(&id).set_add_route_table_ids(some(&missing.tables));
            let call = call.set_add_subnet_ids(some(&missing.subnets)).set_add_security_group_ids(some(&missing.groups));
            call.send().await.tried(format!("modify the VPC endpoint {id}")).map(drop)
        })
        .await?;
        self.keep(run, "VPC endpoint", service, &id, found.tags()).await
    }

    /// Waits until they are deleted: until then interface endpoints hold subnets and security groups.
    pub async fn endpoints_down(&self, run: &Run) -> Result<()> {
        let ours = self.found.endpoints.ours.values().filter_map(VpcEndpoint::vpc_endpoint_id);
        each(ours, async |id| self.endpoint_down(run, id).await).await.map(drop)
    }

    pub async fn endpoint_down(&self, run: &Run, id: &str) -> Result<()> {
        let delete = async {
            self.delete_endpoint(id).await?;
            until(run, &format!("the VPC endpoint {id} to be deleted"), async || {
                let is_deleted = self.read_endpoint(id).await?.iter().all(|endpoint| is_in(endpoint, "deleted"));
                Ok(is_deleted.then_some(()))
            })
            .await
        };
        run.delete("VPC endpoint", id, delete).await
    }

    async fn delete_endpoint(&self, id: &str) -> Result<()> {
        let doing = format!("delete the VPC endpoint {id}");
        let said = self.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id).send().await.tried(&doing)?;
        batch::check_deleted(said.unsuccessful(), &doing)
    }

    /// Returns the endpoint, or nothing when it does not exist.
    async fn read_endpoint(&self, id: &str) -> Result<Vec<VpcEndpoint>> {
        let said = self.ec2.describe_vpc_endpoints().vpc_endpoint_ids(id).send().await.tried(format!("read the VPC endpoint {id}"));
        Ok(if_found(said)?.and_then(|said| said.vpc_endpoints).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::SecurityGroupIdentifier;

    use super::*;

    fn offer(zones: &[&str]) -> Offer {
        Offer { name: String::new(), gateway: false, private_name: true, zones: zones.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn an_endpoint_is_in_those_zones_that_have_the_service() {
        let (zones, ids) = (["a", "b"].map(str::to_owned), [Some("subnet-a".to_owned()), Some("subnet-b".to_owned())]);
        assert_eq!(offer(&["a", "b", "c"]).subnets(&zones, &ids), ["subnet-a", "subnet-b"]);
        assert_eq!(offer(&["b", "c"]).subnets(&zones, &ids), ["subnet-b"]);
        assert!(offer(&["b"]).subnets(&zones, &[None, None]).is_empty(), "a plan does not know the IDs of new subnets");
    }

    #[test]
    fn an_endpoint_outside_the_zones_of_the_network_is_refused() {
        let found = |zones| Found { ours: BTreeMap::new(), offers: BTreeMap::from([("logs".to_owned(), offer(zones))]) };
        let zones = ["a", "b"].map(str::to_owned);
        assert!(found(&["b", "c"]).check_zones(&zones).is_ok());
        let refused = found(&["c"]).check_zones(&zones).unwrap_err().to_string();
        assert!(refused.contains("\"logs\" only in c, but the network is in a, b. "), "{refused}");
    }

    #[test]
    fn only_what_an_endpoint_lacks_is_added() {
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = VpcEndpoint::builder().subnet_ids("subnet-a").subnet_ids("subnet-x");
        let found = found.groups(SecurityGroupIdentifier::builder().group_id("sg-1").build()).build();
        let missing = |subnets: &[&str], groups: &[&str]| {
            Place { tables: Vec::new(), subnets: ids(subnets), groups: ids(groups) }.missing(&found).diff().to_string()
        };
        assert_eq!(missing(&["subnet-a"], &["sg-1"]), "");
        assert_eq!(missing(&["subnet-a", "subnet-b"], &["sg-2"]), "subnetIds: none -> subnet-b, securityGroupIds: none -> sg-2");
    }
}
