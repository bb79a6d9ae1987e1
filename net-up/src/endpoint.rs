//! VPC endpoints: traffic to these services stays inside AWS.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ResourceType, VpcEndpoint, VpcEndpointType};
use shared::error::given;
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::{Endpoint, Wanted};
use crate::{NetUp, tag};

pub type Found = BTreeMap<String, VpcEndpoint>;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let items =
        ec2.describe_vpc_endpoints().set_filters(Some(tag::ours(run))).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut items = items.tried("look for the VPC endpoints")?;
    items.retain(is_alive);
    run.by_name("VPC endpoint", items, VpcEndpoint::tags, tag::pair, VpcEndpoint::vpc_endpoint_id)
}

pub fn is_alive(endpoint: &VpcEndpoint) -> bool {
    !is(endpoint, "deleted") && !is(endpoint, "deleting")
}

/// AWS spells the states in either case.
fn is(endpoint: &VpcEndpoint, state: &str) -> bool {
    endpoint.state().is_some_and(|now| now.as_str().eq_ignore_ascii_case(state))
}

/// The services behind a wish, as they stand in `com.amazonaws.<region>.<service>`.
fn services(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::S3 => &["s3"],
        Endpoint::Ecr => &["ecr.api", "ecr.dkr"],
        Endpoint::Ecs => &["ecs", "ecs-agent", "ecs-telemetry"],
        Endpoint::Logs => &["logs"],
    }
}

impl NetUp {
    /// Endpoints that are no longer asked for stay until the app goes: others may have begun to rely on them. A plan does not list them.
    pub async fn endpoints_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(network) = wanted.network() else { return Ok(()) };
        let services = network.endpoints.iter().flat_map(|endpoint| services(*endpoint));
        let ids = each(services, async |service| match self.found.endpoints.get(*service) {
            Some(found) => self.settle_endpoint(run, service, found).await,
            None => run.create("VPC endpoint", &run.named(service), self.create_endpoint(run, service)).await,
        })
        .await?;
        self.net.borrow_mut().vpc_endpoint_ids = ids;
        Ok(())
    }

    /// In every route table or subnet of the network, of which there may be more than there were, and behind its security group. What somebody
    /// added stays.
    async fn settle_endpoint(&self, run: &Run, service: &str, found: &VpcEndpoint) -> Result<Option<String>> {
        let id = given(found.vpc_endpoint_id(), "the VPC endpoint's id")?;
        let net = self.net.borrow().clone();
        let missing = |wanted: &[Option<String>], found: &[String]| -> Vec<String> {
            wanted.iter().flatten().filter(|id| !found.contains(id)).cloned().collect()
        };
        let (mut tables, mut subnets, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        if service == "s3" {
            tables = missing(&net.private_route_table_ids, found.route_table_ids());
        } else {
            subnets = missing(&net.private_subnet_ids, found.subnet_ids());
            let has: Vec<String> = found.groups().iter().filter_map(|group| group.group_id().map(str::to_owned)).collect();
            groups = missing(std::slice::from_ref(&*self.endpoint_group.borrow()), &has);
        }
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

    async fn create_endpoint(&self, run: &Run, service: &str) -> Result<String> {
        let (vpc, net) = (self.vpc_id()?, self.net.borrow().clone());
        let (group, token) = (self.endpoint_group.borrow().clone(), tag::token(run, service));
        let known = |ids: &[Option<String>]| Some(ids.iter().flatten().cloned().collect::<Vec<_>>());
        // The parts of the network, made a moment ago, are not known everywhere yet.
        let made = while_not_yet(run, "the network to be visible", Error::is_gone, async || {
            let call =
                self.ec2.create_vpc_endpoint().vpc_id(&vpc).service_name(format!("com.amazonaws.{}.{service}", run.session.region()));
            let call = call.client_token(&token).tag_specifications(tag::dated(run, ResourceType::VpcEndpoint, service));
            let call = if service == "s3" {
                call.vpc_endpoint_type(VpcEndpointType::Gateway).set_route_table_ids(known(&net.private_route_table_ids))
            } else {
                let call = call.vpc_endpoint_type(VpcEndpointType::Interface).private_dns_enabled(true);
                call.set_subnet_ids(known(&net.private_subnet_ids)).set_security_group_ids(group.clone().map(|id| vec![id]))
            };
            call.send().await.tried(format!("create the VPC endpoint for {service} in {vpc}"))
        })
        .await?;
        let id = given(made.vpc_endpoint().and_then(VpcEndpoint::vpc_endpoint_id), "the new VPC endpoint's id")?;
        self.claim(run, ResourceType::VpcEndpoint, service, id).await
    }

    /// Waits until they are gone: interface endpoints hold subnets and security groups.
    pub async fn endpoints_down(&self, run: &Run) -> Result<()> {
        each(self.found.endpoints.values().filter_map(VpcEndpoint::vpc_endpoint_id), async |id| {
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
