//! The rules of a security group, and how found rules differ from wanted ones.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};
use shared::Diff;

/// One rule: a protocol and a range of ports from one source, or to one destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    protocol: String,
    from: i32,
    to: i32,
    peer: Peer,
}

/// The source of incoming traffic, or the destination of outgoing traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    V4(String),
    V6(String),
    Group(String),
    PrefixList(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

/// AWS's name for all protocols.
const ALL: &str = "-1";

impl Rule {
    pub fn tcp(from: i32, to: i32, peer: Peer) -> Self {
        Self { protocol: "tcp".to_owned(), from, to, peer }
    }

    pub fn all_traffic(peer: Peer) -> Self {
        Self { protocol: ALL.to_owned(), from: -1, to: -1, peer }
    }

    /// Returns the rule as people write it: `tcp 80 from 0.0.0.0/0`.
    fn text(&self, direction: Direction) -> String {
        let what = match (self.protocol.as_str(), self.from, self.to) {
            (ALL, ..) => "all traffic".to_owned(),
            (protocol, -1, -1) => protocol.to_owned(),
            (protocol, from, to) if from == to => format!("{protocol} {from}"),
            (protocol, from, to) => format!("{protocol} {from}-{to}"),
        };
        let (Peer::V4(peer) | Peer::V6(peer) | Peer::Group(peer) | Peer::PrefixList(peer)) = &self.peer;
        match direction {
            Direction::Ingress => format!("{what} from {peer}"),
            Direction::Egress => format!("{what} to {peer}"),
        }
    }
}

/// Returns rules as a list, for messages.
pub fn texts(rules: &BTreeSet<Rule>, direction: Direction) -> String {
    rules.iter().map(|rule| rule.text(direction)).collect::<Vec<_>>().join(", ")
}

/// What has to change so that a group has the wanted rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub revoke: BTreeSet<Rule>,
    pub authorize: BTreeSet<Rule>,
}

impl Change {
    /// Compares for a group that should have exactly the wanted rules.
    pub fn to_exactly(found: &BTreeSet<Rule>, wanted: &BTreeSet<Rule>) -> Self {
        Self { revoke: found.difference(wanted).cloned().collect(), authorize: wanted.difference(found).cloned().collect() }
    }

    /// Compares for a group that should have at least the wanted rules.
    pub fn to_at_least(found: &BTreeSet<Rule>, wanted: &BTreeSet<Rule>) -> Self {
        Self { revoke: BTreeSet::new(), ..Self::to_exactly(found, wanted) }
    }

    pub fn diff(&self, direction: Direction) -> Diff {
        let name = |rule: &Rule| match direction {
            Direction::Ingress => format!("ingress {}", rule.text(direction)),
            Direction::Egress => format!("egress {}", rule.text(direction)),
        };
        let diff = self.revoke.iter().fold(Diff::new(), |diff, rule| diff.field(&name(rule), Some("allowed"), None::<&str>));
        self.authorize.iter().fold(diff, |diff, rule| diff.field(&name(rule), None::<&str>, Some("allowed")))
    }
}

/// Returns the rules of a group one by one. AWS groups them by ports, which can't be compared.
pub fn rules(permissions: &[IpPermission]) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for permission in permissions {
        let (from, to) = (permission.from_port().unwrap_or(-1), permission.to_port().unwrap_or(-1));
        let mut add = |peer| {
            rules.insert(Rule { protocol: permission.ip_protocol().unwrap_or(ALL).to_owned(), from, to, peer });
        };
        permission.ip_ranges().iter().filter_map(|range| range.cidr_ip()).for_each(|cidr| add(Peer::V4(cidr.to_owned())));
        permission.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6()).for_each(|cidr| add(Peer::V6(cidr.to_owned())));
        permission.user_id_group_pairs().iter().filter_map(|pair| pair.group_id()).for_each(|id| add(Peer::Group(id.to_owned())));
        permission.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id()).for_each(|id| add(Peer::PrefixList(id.to_owned())));
    }
    rules
}

/// Returns rules as EC2 takes them.
pub fn permissions(rules: &BTreeSet<Rule>) -> Vec<IpPermission> {
    let permission = |rule: &Rule| {
        let new = IpPermission::builder().ip_protocol(&rule.protocol);
        // A rule for all traffic has no ports.
        let new = if rule.protocol == ALL { new } else { new.from_port(rule.from).to_port(rule.to) };
        match &rule.peer {
            Peer::V4(cidr) => new.ip_ranges(IpRange::builder().cidr_ip(cidr).build()),
            Peer::V6(cidr) => new.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).build()),
            Peer::Group(id) => new.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build()),
            Peer::PrefixList(id) => new.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).build()),
        }
        .build()
    };
    rules.iter().map(permission).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(cidr: &str) -> Peer {
        Peer::V4(cidr.to_owned())
    }

    fn http() -> Rule {
        Rule::tcp(80, 80, v4("0.0.0.0/0"))
    }

    fn ssh() -> Rule {
        Rule::tcp(22, 22, v4("203.0.113.0/24"))
    }

    #[test]
    fn extra_rules_are_revoked_and_missing_ones_authorized() {
        let (http, ssh) = (http(), ssh());
        let set = |rules: &[&Rule]| rules.iter().copied().cloned().collect::<BTreeSet<_>>();
        for (found, wanted, revoke, authorize) in [
            (set(&[&http]), set(&[&http]), set(&[]), set(&[])),
            (set(&[]), set(&[&http]), set(&[]), set(&[&http])),
            (set(&[&http, &ssh]), set(&[&http]), set(&[&ssh]), set(&[])),
            (set(&[&ssh]), set(&[&http]), set(&[&ssh]), set(&[&http])),
            (set(&[&http, &ssh]), set(&[]), set(&[&http, &ssh]), set(&[])),
        ] {
            let change = Change::to_exactly(&found, &wanted);
            assert_eq!(change, Change { revoke, authorize: authorize.clone() }, "{found:?} -> {wanted:?}");
            assert_eq!(Change::to_at_least(&found, &wanted), Change { authorize, ..Change::default() }, "{found:?} -> {wanted:?}");
        }
    }

    #[test]
    fn a_plan_shows_each_rule_that_changes() {
        let change = Change::to_exactly(&BTreeSet::from([ssh()]), &BTreeSet::from([http()]));
        assert_eq!(
            change.diff(Direction::Ingress).to_string(),
            "ingress tcp 22 from 203.0.113.0/24: allowed -> none, ingress tcp 80 from 0.0.0.0/0: none -> allowed"
        );
        assert!(Change::default().diff(Direction::Ingress).is_empty());
    }

    #[test]
    fn a_rule_is_written_as_people_write_it() {
        let icmp = Rule { protocol: "icmp".to_owned(), from: -1, to: -1, peer: Peer::V6("::/0".to_owned()) };
        for (rule, direction, text) in [
            (http(), Direction::Ingress, "tcp 80 from 0.0.0.0/0"),
            (Rule::tcp(0, 65535, Peer::Group("sg-1".to_owned())), Direction::Ingress, "tcp 0-65535 from sg-1"),
            (Rule::all_traffic(v4("0.0.0.0/0")), Direction::Egress, "all traffic to 0.0.0.0/0"),
            (icmp, Direction::Ingress, "icmp from ::/0"),
        ] {
            assert_eq!(rule.text(direction), text);
        }
    }

    #[test]
    fn rules_are_read_one_by_one_as_they_were_written() {
        let all = BTreeSet::from([
            http(),
            Rule::tcp(80, 80, Peer::V6("::/0".to_owned())),
            Rule::tcp(0, 65535, Peer::Group("sg-1".to_owned())),
            Rule::all_traffic(Peer::PrefixList("pl-1".to_owned())),
        ]);
        assert_eq!(rules(&permissions(&all)), all);
        let both = IpPermission::builder().ip_protocol("tcp").from_port(80).to_port(80);
        let both =
            both.ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build()).ipv6_ranges(Ipv6Range::builder().cidr_ipv6("::/0").build());
        assert_eq!(rules(&[both.build()]).len(), 2, "AWS groups the rules of one port");
    }
}
