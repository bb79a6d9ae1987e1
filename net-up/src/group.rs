//! The security groups: the internet reaches the load balancer, and only the load balancer reaches tasks and instances.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, UserIdGroupPair};
use shared::error::{given, if_found};
use shared::step::each;
use shared::wait::{until, while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{NetUp, tag};

pub struct Found {
    ours: BTreeMap<String, SecurityGroup>,
    /// The default group of every VPC; which one is ours is known when the VPC is.
    defaults: Vec<SecurityGroup>,
}

const LB: &str = "lb";
const TASK: &str = "task";
const ENDPOINTS: &str = "endpoints";

/// One rule: who may come in on which ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    protocol: String,
    from: i32,
    to: i32,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    V4(String),
    V6(String),
    Group(String),
    PrefixList(String),
}

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    let (ours, defaults) =
        futures_util::try_join!(described(ec2, tag::ours(run)), described(ec2, vec![tag::filter("group-name", "default")]))?;
    Ok(Found { ours: run.by_name("security group", ours, SecurityGroup::tags, tag::pair, SecurityGroup::group_id)?, defaults })
}

async fn described(ec2: &Client, filters: Vec<aws_sdk_ec2::types::Filter>) -> Result<Vec<SecurityGroup>> {
    let items =
        ec2.describe_security_groups().set_filters(Some(filters)).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    items.tried("look for the security groups")
}

fn tcp(from: i32, to: i32, source: Source) -> Rule {
    Rule { protocol: "tcp".to_owned(), from, to, source }
}

impl NetUp {
    pub async fn groups_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let endpoints = wanted.network().is_some() && self.found.endpoints.have_interfaces();
        let names = [LB, TASK, ENDPOINTS].into_iter().filter(|name| *name != ENDPOINTS || endpoints);
        let ids = each(names, async |name| self.group_up(run, name).await).await?;
        let mut net = self.net.borrow_mut();
        net.lb_security_group_id.clone_from(&ids[0]);
        net.task_security_group_id.clone_from(&ids[1]);
        *self.endpoint_group.borrow_mut() = ids.get(2).cloned().flatten();
        Ok(())
    }

    /// A step of its own: the groups refer to each other, and the default group comes with the VPC.
    pub async fn group_rules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (lb, task) = (self.net.borrow().lb_security_group_id.clone(), self.net.borrow().task_security_group_id.clone());
        let endpoints = self.endpoint_group.borrow().clone();
        // 443 as well as 80, before a certificate is asked for: a listener is what opens a port, the group only lets it.
        let everywhere = [Source::V4("0.0.0.0/0".to_owned()), Source::V6("::/0".to_owned())];
        let internet = [80, 443].iter().flat_map(|port| everywhere.iter().map(|source| tcp(*port, *port, source.clone()))).collect();
        let from = |id: &Option<String>, from, to| id.iter().map(|id| tcp(from, to, Source::Group(id.clone()))).collect::<BTreeSet<_>>();
        // Instances give containers ports of their own choice, and services behind endpoints have theirs, so every port: what counts is who comes.
        let rules = [(LB, &lb, internet), (TASK, &task, from(&lb, 0, 65535)), (ENDPOINTS, &endpoints, from(&task, 0, 65535))];
        let (ours, default) = futures_util::join!(
            each(rules, async |(name, id, rules)| self.settle(run, name, id.as_deref(), rules).await),
            self.settle_default(run, wanted),
        );
        ours.map(drop).and(default)
    }

    async fn group_up(&self, run: &Run, name: &str) -> Result<Option<String>> {
        match self.found.groups.ours.get(name).and_then(|group| Some((group.group_id()?, group.tags()))) {
            Some((id, tags)) => self.keep(run, "security group", name, id, tags).await,
            None => run.create("security group", &run.named(name), self.create_group(run, name)).await,
        }
    }

    async fn create_group(&self, run: &Run, name: &str) -> Result<String> {
        let vpc = self.vpc_id()?;
        let what = match name {
            LB => "Lets the internet reach the load balancer",
            TASK => "Lets the load balancer reach tasks and instances",
            _ => "Lets tasks and instances reach the VPC endpoints",
        };
        // A VPC made a moment ago is not known everywhere yet.
        let made = while_not_yet(run, "the VPC to be visible", Error::is_gone, async || {
            let tags = tag::specification(run, ResourceType::SecurityGroup, name);
            let call = self.ec2.create_security_group().group_name(run.named(name)).description(what).vpc_id(&vpc).tag_specifications(tags);
            call.send().await.tried(format!("create the security group {} in {vpc}", run.named(name)))
        })
        .await?;
        given(made.group_id(), "the new security group's id")
    }

    /// Exactly these rules: one that somebody added is taken away, one that is gone comes back.
    async fn settle(&self, run: &Run, name: &str, id: Option<&str>, wanted: BTreeSet<Rule>) -> Result<()> {
        // Without an id this is the plan of a new group.
        let Some(id) = id else { return Ok(()) };
        let found = self.found.groups.ours.get(name).map(|group| rules(group.ip_permissions())).unwrap_or_default();
        let missing: Vec<&Rule> = wanted.difference(&found).collect();
        let extra: Vec<&Rule> = found.difference(&wanted).collect();
        let diff = Diff::new().field("ingress", texts(&extra), texts(&missing));
        run.change("security group", &run.named(name), &diff, async {
            // What lets somebody in who must not goes first.
            if !extra.is_empty() {
                let call = self.ec2.revoke_security_group_ingress().group_id(id).set_ip_permissions(Some(permissions(&extra)));
                if_found(call.send().await.tried(format!("take the rules {} from {id}", texts(&extra))))?;
            }
            if missing.is_empty() { Ok(()) } else { self.authorize(run, id, &missing).await }
        })
        .await?;
        self.settle_way_out(run, name, id).await
    }

    /// Out to anywhere, as AWS makes a group; other ways out that somebody added stay.
    async fn settle_way_out(&self, run: &Run, name: &str, id: &str) -> Result<()> {
        let Some(found) = self.found.groups.ours.get(name) else { return Ok(()) };
        let anywhere = Rule { protocol: "-1".to_owned(), from: -1, to: -1, source: Source::V4("0.0.0.0/0".to_owned()) };
        let missing: Vec<&Rule> = Some(&anywhere).into_iter().filter(|rule| !rules(found.ip_permissions_egress()).contains(rule)).collect();
        run.change("security group", &run.named(name), &Diff::new().field("egress", "", texts(&missing).replace(" from ", " to ")), async {
            let call = self.ec2.authorize_security_group_egress().group_id(id).set_ip_permissions(Some(permissions(&missing)));
            call.send().await.tried(format!("give {id} its way out")).map(drop)
        })
        .await
    }

    async fn authorize(&self, run: &Run, id: &str, missing: &[&Rule]) -> Result<()> {
        // The groups, made a moment ago, are not known everywhere yet.
        let authorized = while_not_yet(run, "the security group to be visible", Error::is_gone, async || {
            let call = self.ec2.authorize_security_group_ingress().group_id(id).set_ip_permissions(Some(permissions(missing)));
            call.send().await.tried(format!("give {id} the rules {}", texts(missing))).map(drop)
        });
        match authorized.await {
            // Done already by a run whose answer was lost.
            Err(error) if error.is_code("InvalidPermission.Duplicate") => Ok(()),
            other => other,
        }
    }

    /// Looks for the default group of a VPC that is new; that of an old one was found with the rest.
    pub async fn default_group_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        // In a plan of a new VPC there is nothing to look at.
        let Some(vpc) = self.net.borrow().vpc_id.clone().filter(|_| wanted.network().is_some()) else { return Ok(()) };
        let found = self.found.groups.defaults.iter().find(|group| group.vpc_id() == Some(&vpc)).cloned();
        let group = match found {
            Some(group) => group,
            // It comes with the VPC, but is not known everywhere at once.
            None => {
                until(run, "the VPC's default security group to be visible", async || {
                    Ok(described(&self.ec2, vec![tag::filter("vpc-id", &vpc), tag::filter("group-name", "default")]).await?.pop())
                })
                .await?
            }
        };
        *self.default_group.borrow_mut() = Some(group);
        Ok(())
    }

    /// The VPC's default group lets its members talk to each other and out; nothing of ours is in it, so it lets nothing.
    /// <https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-2>
    async fn settle_default(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(group) = self.default_group.borrow().clone().filter(|_| wanted.network().is_some()) else { return Ok(()) };
        let (id, ingress, egress) = (
            given(group.group_id(), "the default security group's id")?,
            rules(group.ip_permissions()),
            rules(group.ip_permissions_egress()),
        );
        let diff = Diff::new().field("ingress", texts(&ingress), "").field("egress", texts(&egress).replace(" from ", " to "), "");
        run.change("default security group", &id, &diff, async {
            let incoming = async {
                if ingress.is_empty() {
                    return Ok(());
                }
                let call = self.ec2.revoke_security_group_ingress().group_id(&id).set_ip_permissions(Some(permissions(&ingress)));
                if_found(call.send().await.tried(format!("take the incoming rules of the default security group {id}"))).map(drop)
            };
            let outgoing = async {
                if egress.is_empty() {
                    return Ok(());
                }
                let call = self.ec2.revoke_security_group_egress().group_id(&id).set_ip_permissions(Some(permissions(&egress)));
                if_found(call.send().await.tried(format!("take the outgoing rules of the default security group {id}"))).map(drop)
            };
            let (incoming, outgoing) = futures_util::join!(incoming, outgoing);
            incoming.and(outgoing)
        })
        .await
    }

    /// Groups that refer to each other can't be deleted: the one that is referred to goes last.
    pub async fn groups_down(&self, run: &Run) -> Result<()> {
        for name in [ENDPOINTS, TASK, LB] {
            let Some(id) = self.found.groups.ours.get(name).and_then(SecurityGroup::group_id) else { continue };
            // The network interfaces of load balancers and tasks outlive them by a minute or two.
            let still_used = |error: &Error| error.is_code("DependencyViolation");
            let delete = while_held(run, "the security group's network interfaces to be gone", still_used, async || {
                self.ec2.delete_security_group().group_id(id).send().await.tried(format!("delete the security group {id}")).map(drop)
            });
            run.delete("security group", id, delete).await?;
        }
        Ok(())
    }
}

/// AWS groups rules by ports; ours stand alone, so that they can be compared.
fn rules(permissions: &[IpPermission]) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for permission in permissions {
        let (from, to) = (permission.from_port().unwrap_or(-1), permission.to_port().unwrap_or(-1));
        let mut add = |source| {
            rules.insert(Rule { protocol: permission.ip_protocol().unwrap_or("-1").to_owned(), from, to, source });
        };
        permission.ip_ranges().iter().filter_map(|range| range.cidr_ip()).for_each(|cidr| add(Source::V4(cidr.to_owned())));
        permission.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6()).for_each(|cidr| add(Source::V6(cidr.to_owned())));
        permission.user_id_group_pairs().iter().filter_map(|pair| pair.group_id()).for_each(|id| add(Source::Group(id.to_owned())));
        permission.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id()).for_each(|id| add(Source::PrefixList(id.to_owned())));
    }
    rules
}

fn permissions<'a>(rules: impl IntoIterator<Item = &'a (impl std::borrow::Borrow<Rule> + 'a)>) -> Vec<IpPermission> {
    let permission = |rule: &Rule| {
        let new = IpPermission::builder().ip_protocol(&rule.protocol);
        // "All traffic" has no ports.
        let new = if rule.protocol == "-1" { new } else { new.from_port(rule.from).to_port(rule.to) };
        match &rule.source {
            Source::V4(cidr) => new.ip_ranges(IpRange::builder().cidr_ip(cidr).build()),
            Source::V6(cidr) => new.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).build()),
            Source::Group(id) => new.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build()),
            Source::PrefixList(id) => new.prefix_list_ids(aws_sdk_ec2::types::PrefixListId::builder().prefix_list_id(id).build()),
        }
        .build()
    };
    rules.into_iter().map(|rule| permission(rule.borrow())).collect()
}

fn texts<'a>(rules: impl IntoIterator<Item = &'a (impl std::borrow::Borrow<Rule> + 'a)>) -> String {
    let text = |rule: &Rule| {
        let ports = match (rule.from, rule.to) {
            (-1, -1) => "all".to_owned(),
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}-{to}"),
        };
        let (Source::V4(source) | Source::V6(source) | Source::Group(source) | Source::PrefixList(source)) = &rule.source;
        format!("{ports} from {source}")
    };
    rules.into_iter().map(|rule| text(rule.borrow())).collect::<Vec<_>>().join("; ")
}
