//! What `GuardDuty` creates in a VPC when its runtime monitoring is on: an endpoint and a security group, which block the deletion of the VPC.
//! <https://docs.aws.amazon.com/guardduty/latest/ug/runtime-monitoring-agent-resource-clean-up.html>

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{SecurityGroup, VpcEndpoint};
use futures_util::try_join;
use shared::step::each;
use shared::{Result, Run, Tried};

use crate::blocker::Part;
use crate::{NetUp, tag};

#[derive(Default)]
pub struct Found {
    endpoints: Vec<VpcEndpoint>,
    groups: Vec<SecurityGroup>,
}

impl Found {
    /// Returns whether `GuardDuty` has created something in this VPC.
    pub fn is_in(&self, vpc: Option<&str>) -> bool {
        vpc.is_some() && (self.endpoints.iter().any(|one| one.vpc_id() == vpc) || self.groups.iter().any(|one| one.vpc_id() == vpc))
    }
}

/// Finds what `GuardDuty` has created in all VPCs.
///
/// # Errors
/// Returns what EC2 refused.
pub async fn find(ec2: &Client) -> Result<Found> {
    let filter = || tag::filter("tag:GuardDutyManaged", "true");
    let endpoints = async { shared::pages!(ec2.describe_vpc_endpoints().filters(filter()), "list the VPC endpoints of GuardDuty") };
    let groups = async { shared::pages!(ec2.describe_security_groups().filters(filter()), "list the security groups of GuardDuty") };
    let (mut endpoints, groups) = try_join!(endpoints, groups)?;
    endpoints.retain(crate::endpoint::is_alive);
    Ok(Found { endpoints, groups })
}

impl NetUp {
    pub async fn guard_duty_endpoints_down(&self, run: &Run) -> Result<()> {
        let vpc = self.found.vpc.id().filter(|_| self.force);
        let ours = self.found.guard_duty.endpoints.iter().filter(|one| vpc.is_some() && one.vpc_id() == vpc);
        each(ours.filter_map(VpcEndpoint::vpc_endpoint_id), async |id| self.endpoint_down(run, id).await).await.map(drop)
    }

    pub async fn guard_duty_groups_down(&self, run: &Run) -> Result<()> {
        let vpc = self.found.vpc.id().filter(|_| self.force);
        let ours = self.found.guard_duty.groups.iter().filter(|one| vpc.is_some() && one.vpc_id() == vpc);
        each(ours.filter_map(SecurityGroup::group_id), async |id| {
            let delete = self.delete_when_unused(run, "GuardDuty's network interfaces to be deleted", Part::Group(id), async || {
                self.ec2.delete_security_group().group_id(id).send().await.tried(format!("delete the security group {id}")).map(drop)
            });
            run.delete("security group", id, delete).await
        })
        .await
        .map(drop)
    }
}
