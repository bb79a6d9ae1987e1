//! The security groups: the internet reaches the load balancer, and only the load balancer and the app's own tasks reach tasks and instances.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, ResourceType, SecurityGroup};
use futures_util::{join, try_join};
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_not_yet};
use shared::{Error, Result, Run, Tried};

use crate::blocker::Part;
use crate::rule::{Change, Direction, Peer, Rule, permissions, rules, texts};
use crate::settings::Wanted;
use crate::{NetUp, tag};

pub struct Found {
    ours: BTreeMap<String, SecurityGroup>,
    /// The default groups of all VPCs; the VPC's id, which a later step finds, tells which one is the app's.
    defaults: Vec<SecurityGroup>,
}

const LB: &str = "lb";
const TASK: &str = "task";
const ENDPOINTS: &str = "endpoints";
const FILE_SYSTEM: &str = "file-system";

/// The port of NFS, which EFS speaks.
const NFS: i32 = 2049;

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let (ours, defaults) = try_join!(list(ec2, tag::ours(run)), list(ec2, vec![tag::filter("group-name", "default")]))?;
    Ok(Found { ours: run.by_name("security group", ours, SecurityGroup::tags, tag::pair, SecurityGroup::group_id)?, defaults })
}

async fn list(ec2: &Client, filters: Vec<Filter>) -> Result<Vec<SecurityGroup>> {
    shared::pages!(ec2.describe_security_groups().set_filters(Some(filters)), "list the security groups")
}

/// Returns the incoming rules of a group. The load balancer has these ports. The others refer to these two groups, as far as their ids are known.
fn ingress(group: &str, ports: &BTreeSet<u16>, lb: Option<&str>, task: Option<&str>) -> BTreeSet<Rule> {
    // Instances choose the host ports of containers, and each endpoint's service has its own port. So all ports are open, to one source.
    let any_port = |id: &str| Rule::tcp(0, 65535, Peer::Group(id.to_owned()));
    match group {
        // 443 also without a certificate: the load balancer opens a port with a listener, the group only allows it.
        LB => ports
            .iter()
            .map(|port| i32::from(*port))
            .flat_map(|port| {
                [Peer::V4("0.0.0.0/0".to_owned()), Peer::V6("::/0".to_owned())].map(|everywhere| Rule::tcp(port, port, everywhere))
            })
            .collect(),
        // Tasks call each other by name. Which of them do so is not known here, and a group with one task gains nothing by the rule.
        TASK => lb.into_iter().chain(task).map(any_port).collect(),
        FILE_SYSTEM => task.map(|id| Rule::tcp(NFS, NFS, Peer::Group(id.to_owned()))).into_iter().collect(),
        _ => task.map(any_port).into_iter().collect(),
    }
}

impl NetUp {
    pub async fn groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let names = [LB, TASK, ENDPOINTS, FILE_SYSTEM].into_iter().filter(|name| match *name {
            ENDPOINTS => wanted.network().is_some() && self.found.endpoints.have_interfaces(),
            FILE_SYSTEM => self.has_volumes || self.found.groups.ours.contains_key(FILE_SYSTEM),
            _ => true,
        });
        each(names, async |name| {
            let id = self.group_up(run, name).await?;
            let mut net = self.net.borrow_mut();
            match name {
                LB => net.lb_security_group_id = id,
                TASK => net.task_security_group_id = id,
                FILE_SYSTEM => net.file_system_security_group_id = id,
                _ => *self.endpoint_group.borrow_mut() = id,
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    async fn group_up(&self, run: &Run, name: &str) -> Result<Option<String>> {
        match self.found.groups.ours.get(name).and_then(|group| Some((group.group_id()?, group.tags()))) {
            Some((id, tags)) => self.keep(run, "security group", name, id, tags).await,
            None => run.create("security group", &run.named(name), self.create_group(run, name)).await,
        }
    }

    async fn create_group(&self, run: &Run, name: &str) -> Result<String> {
        let vpc = self.vpc_id()?;
        let description = match name {
            LB => "Lets the internet reach the load balancer",
            TASK => "Lets the load balancer reach tasks and instances",
            FILE_SYSTEM => "Lets tasks and instances reach the file system of the volumes",
            _ => "Lets tasks and instances reach the VPC endpoints",
        };
        // A new VPC is not visible at once.
        let created = while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
            let call = self.ec2.create_security_group().group_name(run.named(name)).description(description).vpc_id(&vpc);
            let call = call.tag_specifications(tag::specification(run, ResourceType::SecurityGroup, name));
            call.send().await.tried(format!("create the security group {} in the VPC {vpc}", run.named(name)))
        })
        .await?;
        given(created.group_id(), "the ID of the new security group")
    }

    /// A step of its own, because the groups refer to each other, and AWS creates the default group with the VPC.
    pub async fn group_rules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (lb, task) = (self.net.borrow().lb_security_group_id.clone(), self.net.borrow().task_security_group_id.clone());
        let endpoints = self.endpoint_group.borrow().clone();
        let file_system = self.net.borrow().file_system_security_group_id.clone();
        let (lb, task) = (lb.as_deref(), task.as_deref());
        let groups = [(LB, lb), (TASK, task), (ENDPOINTS, endpoints.as_deref()), (FILE_SYSTEM, file_system.as_deref())];
        let (ours, default) = join!(
            each(groups, async |(name, id)| {
                // In the plan of a new group there is no id.
                let Some(id) = id else { return Ok(()) };
                self.settle_ingress(run, name, id, &ingress(name, &wanted.ports, lb, task)).await?;
                self.settle_egress(run, name, id).await
            }),
            self.settle_default_group(run, wanted),
        );
        ours.map(drop).and(default)
    }

    /// Gives the group exactly these rules: revokes those that were added by hand, and restores those that were removed.
    async fn settle_ingress(&self, run: &Run, name: &str, id: &str, wanted: &BTreeSet<Rule>) -> Result<()> {
        let found = self.found.groups.ours.get(name).map(|group| rules(group.ip_permissions())).unwrap_or_default();
        let change = Change::to_exactly(&found, wanted);
        run.change("security group", &run.named(name), &change.diff(Direction::Ingress), async {
            // First what allows too much.
            self.revoke_ingress(id, &change.revoke).await?;
            self.authorize_ingress(run, id, &change.authorize).await
        })
        .await
    }

    /// Allows outgoing traffic to everywhere, as AWS does in a new group. Other outgoing rules are kept.
    async fn settle_egress(&self, run: &Run, name: &str, id: &str) -> Result<()> {
        let Some(found) = self.found.groups.ours.get(name) else { return Ok(()) };
        let everywhere = BTreeSet::from([Rule::all_traffic(Peer::V4("0.0.0.0/0".to_owned()))]);
        let change = Change::to_at_least(&rules(found.ip_permissions_egress()), &everywhere);
        run.change("security group", &run.named(name), &change.diff(Direction::Egress), async {
            let call = self.ec2.authorize_security_group_egress().group_id(id).set_ip_permissions(Some(permissions(&change.authorize)));
            let doing = format!("authorize {} in the security group {id}", texts(&change.authorize, Direction::Egress));
            call.send().await.tried(doing).map(drop)
        })
        .await
    }

    async fn authorize_ingress(&self, run: &Run, id: &str, rules: &BTreeSet<Rule>) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        // New groups are not visible at once.
        let authorized = while_not_yet(run, "the security group to be visible", Error::is_gone, async || {
            let call = self.ec2.authorize_security_group_ingress().group_id(id).set_ip_permissions(Some(permissions(rules)));
            call.send().await.tried(format!("authorize {} in the security group {id}", texts(rules, Direction::Ingress))).map(drop)
        });
        match authorized.await {
            // A run whose answer was lost has authorized them.
            Err(error) if error.is_code("InvalidPermission.Duplicate") => Ok(()),
            other => other,
        }
    }

    async fn revoke_ingress(&self, id: &str, rules: &BTreeSet<Rule>) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let call = self.ec2.revoke_security_group_ingress().group_id(id).set_ip_permissions(Some(permissions(rules)));
        let doing = format!("revoke {} in the security group {id}", texts(rules, Direction::Ingress));
        if_found(call.send().await.tried(doing)).map(drop)
    }

    async fn revoke_egress(&self, id: &str, rules: &BTreeSet<Rule>) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let call = self.ec2.revoke_security_group_egress().group_id(id).set_ip_permissions(Some(permissions(rules)));
        let doing = format!("revoke {} in the security group {id}", texts(rules, Direction::Egress));
        if_found(call.send().await.tried(doing)).map(drop)
    }

    /// Reads the default group of a new VPC; that of an existing one was found before.
    pub async fn default_group_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        // In the plan of a new VPC there is none.
        let Some(vpc) = self.net.borrow().vpc_id.clone().filter(|_| wanted.network().is_some()) else { return Ok(()) };
        let found = self.found.groups.defaults.iter().find(|group| group.vpc_id() == Some(&vpc)).cloned();
        let group = match found {
            Some(group) => group,
            // AWS creates it with the VPC, but it is not visible at once.
            None => {
                until(run, "the VPC's default security group to be visible", async || {
                    Ok(list(&self.ec2, vec![tag::filter("vpc-id", &vpc), tag::filter("group-name", "default")]).await?.pop())
                })
                .await?
            }
        };
        *self.default_group.borrow_mut() = Some(group);
        Ok(())
    }

    /// Removes all rules of the VPC's default group, which allows traffic between its members and to everywhere. The app does not use it.
    /// <https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-2>
    async fn settle_default_group(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(group) = self.default_group.borrow().clone().filter(|_| wanted.network().is_some()) else { return Ok(()) };
        let id = given(group.group_id(), "the ID of the VPC's default security group")?;
        let incoming = Change::to_exactly(&rules(group.ip_permissions()), &BTreeSet::new());
        let outgoing = Change::to_exactly(&rules(group.ip_permissions_egress()), &BTreeSet::new());
        let diff = incoming.diff(Direction::Ingress).and(outgoing.diff(Direction::Egress));
        let revoke = async {
            let (incoming, outgoing) = join!(self.revoke_ingress(&id, &incoming.revoke), self.revoke_egress(&id, &outgoing.revoke));
            incoming.and(outgoing)
        };
        // The default group of a new VPC is part of it.
        if self.found.vpc.is_new() {
            run.set("default security group", &id, &diff, revoke).await
        } else {
            run.change("default security group", &id, &diff, revoke).await
        }
    }

    /// Deletes the groups one by one: AWS deletes no group to which the rules of another one refer.
    pub async fn groups_down(&self, run: &Run) -> Result<()> {
        for name in [ENDPOINTS, FILE_SYSTEM, TASK, LB] {
            let Some(id) = self.found.groups.ours.get(name).and_then(SecurityGroup::group_id) else { continue };
            let delete =
                self.delete_when_unused(run, "the security group's network interfaces to be deleted", Part::Group(id), async || {
                    self.ec2.delete_security_group().group_id(id).send().await.tried(format!("delete the security group {id}")).map(drop)
                });
            run.delete("security group", id, delete).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_load_balancer_is_open_to_the_internet() {
        let said = |group: &str| texts(&ingress(group, &[80, 443].into(), Some("sg-lb"), Some("sg-task")), Direction::Ingress);
        assert_eq!(said(LB), "tcp 80 from 0.0.0.0/0, tcp 80 from ::/0, tcp 443 from 0.0.0.0/0, tcp 443 from ::/0");
        assert_eq!(said(TASK), "tcp 0-65535 from sg-lb, tcp 0-65535 from sg-task");
        assert_eq!(said(ENDPOINTS), "tcp 0-65535 from sg-task");
        assert_eq!(said(FILE_SYSTEM), "tcp 2049 from sg-task");
        let more = ingress(LB, &[80, 443, 8081].into(), None, None);
        assert!(texts(&more, Direction::Ingress).ends_with("tcp 8081 from 0.0.0.0/0, tcp 8081 from ::/0"));
        assert!(ingress(TASK, &BTreeSet::new(), None, None).is_empty(), "a plan does not know the ID of a new group");
    }
}
