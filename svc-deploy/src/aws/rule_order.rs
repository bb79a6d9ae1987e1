//! Which rules the services need: how many, and in which order.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html>

use std::cmp::Reverse;
use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition};

use crate::model::{RULE_VALUES, RULE_WILDCARDS, Wanted, wildcards};

/// A rule that should exist.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedRule {
    pub service: String,
    hosts: Vec<String>,
    paths: Vec<String>,
}

impl WantedRule {
    /// Returns the rule's name in messages, as in `web:/shop/*`.
    pub fn name(&self) -> String {
        format!("{}:{}{}", self.service, self.hosts.join(" "), self.paths.join(" "))
    }

    pub fn has_conditions_of(&self, rule: &Rule) -> bool {
        texts(rule.conditions()) == texts(&self.conditions())
    }

    pub fn conditions(&self) -> Vec<RuleCondition> {
        let hosts = HostHeaderConditionConfig::builder().set_values(Some(self.hosts.clone())).build();
        let paths = PathPatternConditionConfig::builder().set_values(Some(self.paths.clone())).build();
        let host = (!self.hosts.is_empty()).then(|| RuleCondition::builder().field("host-header").host_header_config(hosts).build());
        let path = (!self.paths.is_empty()).then(|| RuleCondition::builder().field("path-pattern").path_pattern_config(paths).build());
        host.into_iter().chain(path).collect()
    }
}

/// The requests of one host and one path. `None` means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim<'a> {
    host: Option<&'a str>,
    path: Option<&'a str>,
    service: &'a str,
}

impl Claim<'_> {
    /// Sorts the more exact claim first: the host decides before the path, as in every web server.
    fn order(&self) -> impl Ord + use<'_> {
        (exactness(self.host), exactness(self.path), *self)
    }

    /// Returns whether a request can match both. It may say so of two that no request matches.
    fn overlaps(&self, other: &Self) -> bool {
        overlap(self.host, other.host) && overlap(self.path, other.path)
    }
}

/// Sorts exact texts before patterns, patterns with more characters before those with fewer, and what matches everything last.
fn exactness(pattern: Option<&str>) -> impl Ord + use<> {
    let Some(pattern) = pattern else { return (2, Reverse(0), 0) };
    let wildcards = wildcards(pattern);
    (u8::from(wildcards > 0), Reverse(pattern.len() - wildcards), pattern.matches('*').count())
}

fn overlap(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let ends = |pattern: &'_ str| {
        let first = pattern.find(['*', '?']).unwrap_or(pattern.len());
        let last = pattern.rfind(['*', '?']).map_or(0, |last| last + 1);
        (pattern[..first].to_owned(), pattern[last..].to_owned())
    };
    let ((start, end), (other_start, other_end)) = (ends(one), ends(other));
    let starts_fit = start.starts_with(&other_start) || other_start.starts_with(&start);
    starts_fit && (end.ends_with(&other_end) || other_end.ends_with(&end))
}

/// Returns the rules in the order in which the load balancer must read them, because it takes the first one that matches.
pub fn rules(wanted: &Wanted) -> Vec<WantedRule> {
    let mut groups: Vec<Vec<Claim<'_>>> = Vec::new();
    for claim in claims(wanted) {
        // A claim joins earlier ones of its service, unless a rule between them would then lose requests to it.
        let mut joined = None;
        for (i, group) in groups.iter().enumerate().rev() {
            if group[0].service == claim.service {
                joined = Some(i);
            }
            if joined.is_some() || group.iter().any(|other| other.overlaps(&claim)) {
                break;
            }
        }
        match joined {
            Some(i) => groups[i].push(claim),
            None => groups.push(vec![claim]),
        }
    }
    groups.iter().flat_map(|group| of_group(group)).collect()
}

fn claims(wanted: &Wanted) -> Vec<Claim<'_>> {
    let mut all = Vec::new();
    for (service, published) in wanted.published().filter(|(_, published)| !published.paths.is_empty() || !published.hosts.is_empty()) {
        for host in or_all(&published.hosts) {
            all.extend(or_all(&published.paths).into_iter().map(|path| Claim { host, path, service: &service.name }));
        }
    }
    all.sort_by(|one, other| one.order().cmp(&other.order()));
    all
}

fn or_all(texts: &[String]) -> Vec<Option<&str>> {
    if texts.is_empty() { vec![None] } else { texts.iter().map(|text| Some(text.as_str())).collect() }
}

/// Returns the rules for claims of one service, whose order does not matter.
fn of_group(group: &[Claim<'_>]) -> Vec<WantedRule> {
    let mut paths_of: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
    for claim in group {
        match paths_of.iter_mut().find(|(host, _)| *host == claim.host) {
            Some((_, paths)) => paths.extend(claim.path),
            None => paths_of.push((claim.host, claim.path.into_iter().collect())),
        }
    }
    // Hosts with the same paths share rules.
    let mut shared: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (host, paths) in paths_of {
        match shared.iter_mut().find(|(hosts, others)| *others == paths && hosts.is_empty() == host.is_none()) {
            Some((hosts, _)) => hosts.extend(host),
            None => shared.push((host.into_iter().collect(), paths)),
        }
    }
    shared.iter().flat_map(|(hosts, paths)| split(group[0].service, hosts, paths)).collect()
}

/// Returns rules that together match each of these hosts with each of these paths.
fn split(service: &str, hosts: &[&str], paths: &[&str]) -> Vec<WantedRule> {
    // Each rule needs room for one path at least.
    let longest = paths.iter().map(|path| wildcards(path)).max().unwrap_or(0);
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut rules = Vec::new();
    for hosts in chunks(hosts, RULE_VALUES - usize::from(!paths.is_empty()), RULE_WILDCARDS.saturating_sub(longest)) {
        let taken: usize = hosts.iter().map(|host| wildcards(host)).sum();
        let paths = chunks(paths, RULE_VALUES - hosts.len(), RULE_WILDCARDS.saturating_sub(taken));
        rules.extend(paths.iter().map(|paths| WantedRule { service: service.to_owned(), hosts: owned(&hosts), paths: owned(paths) }));
    }
    rules
}

/// Returns the texts in lists, one at least, with at most so many values and wildcards each.
fn chunks<'a>(texts: &[&'a str], most: usize, most_wildcards: usize) -> Vec<Vec<&'a str>> {
    let mut lists: Vec<Vec<&str>> = Vec::new();
    for text in texts {
        let fits = |list: &&mut Vec<&str>| {
            list.len() < most && list.iter().chain([text]).map(|text| wildcards(text)).sum::<usize>() <= most_wildcards
        };
        match lists.last_mut().filter(fits) {
            Some(list) => list.push(text),
            None => lists.push(vec![text]),
        }
    }
    if lists.is_empty() { vec![Vec::new()] } else { lists }
}

/// A wanted rule, and what is found for it.
type Pair<'a> = (&'a WantedRule, Option<&'a Rule>);

/// The rules of a run: what is found for each wanted rule, and what is left over.
pub struct Matched<'a> {
    pub pairs: Vec<Pair<'a>>,
    /// The lowest number first.
    pub left: Vec<&'a Rule>,
}

/// Finds for each wanted rule a found one: with the same conditions, or else one of the same service (as `services` has it, by ARN) whose place in
/// the order is the same, so that its conditions can be changed in place.
pub fn matched<'a>(
    rules: &'a [WantedRule],
    mut left: Vec<&'a Rule>,
    services: &BTreeMap<String, String>,
    forwards: impl Fn(&WantedRule, &Rule) -> bool,
) -> Matched<'a> {
    left.sort_by_key(|rule| number(rule));
    let mut pairs: Vec<Pair<'_>> = rules.iter().map(|rule| (rule, None)).collect();
    let mut pass = |fits: &dyn Fn(&[Pair<'_>], usize, &Rule) -> bool| {
        for i in 0..pairs.len() {
            if pairs[i].1.is_none() {
                let place = left.iter().position(|rule| fits(&pairs, i, rule));
                pairs[i].1 = place.map(|place| left.remove(place));
            }
        }
    };
    pass(&|pairs, i, rule| pairs[i].0.has_conditions_of(rule) && forwards(pairs[i].0, rule));
    pass(&|pairs, i, rule| pairs[i].0.has_conditions_of(rule));
    pass(&|pairs, i, rule| {
        let mut others = pairs.iter().enumerate().filter_map(|(j, (_, other))| Some((j, (*other)?)));
        rule.rule_arn().and_then(|arn| services.get(arn)) == Some(&pairs[i].0.service)
            && others.all(|(j, other)| (j < i) == (number(other) < number(rule)))
    });
    Matched { pairs, left }
}

impl<'a> Matched<'a> {
    /// Returns the wanted rules in their order, with those that are left over where they are now: a new rule needs a number before old ones are deleted.
    pub fn with_left(&self) -> Vec<(Option<&'a WantedRule>, Option<&'a Rule>)> {
        let mut all: Vec<_> = self.pairs.iter().map(|(wanted, rule)| (Some(*wanted), *rule)).collect();
        for rule in &self.left {
            let is_behind = |other: &(_, Option<&Rule>)| other.1.is_some_and(|other| number(other) > number(rule));
            let place = all.iter().position(is_behind).unwrap_or(all.len());
            all.insert(place, (None, Some(*rule)));
        }
        all
    }
}

/// Returns the priority; the default rule comes last.
pub fn number(rule: &Rule) -> i32 {
    rule.priority().and_then(|priority| priority.parse().ok()).unwrap_or(i32::MAX)
}

/// Returns the conditions as sorted texts.
pub fn texts(conditions: &[RuleCondition]) -> Vec<String> {
    let values = |condition: &RuleCondition| {
        let of_host = condition.host_header_config().map(HostHeaderConditionConfig::values).unwrap_or_default();
        let of_path = condition.path_pattern_config().map(PathPatternConditionConfig::values).unwrap_or_default();
        // Old rules have their values in another field.
        let mut values = [of_host, of_path].concat();
        if values.is_empty() {
            values = condition.values().to_vec();
        }
        values.sort();
        values
    };
    let mut texts: Vec<String> =
        conditions.iter().map(|condition| format!("{}={}", condition.field().unwrap_or_default(), values(condition).join(","))).collect();
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples::{published, service, wanted};
    use crate::model::Service;

    /// Service and conditions of each rule.
    fn shown(services: Vec<Service>) -> Vec<String> {
        let text = |rule: &WantedRule| format!("{} {}", rule.service, texts(&rule.conditions()).join(" "));
        rules(&wanted(services)).iter().map(text).collect()
    }

    fn found(rule: &WantedRule, priority: &str) -> Rule {
        Rule::builder().set_conditions(Some(rule.conditions())).priority(priority).rule_arn(format!("arn{priority}")).build()
    }

    #[test]
    fn the_most_exact_rule_is_first() {
        let services = vec![
            published("web", &[], &[]),
            service("worker"),
            published("api", &[], &["/api/*"]),
            published("images", &[], &["/api/images/*"]),
            published("one", &[], &["/api/one"]),
            published("customers", &["*.example.com"], &[]),
            published("shop", &["shop.example.com"], &[]),
            published("shops", &["*.shop.example.com"], &[]),
            published("admin", &["shop.example.com"], &["/admin/*"]),
            published("a", &["*.example.com"], &["/login"]),
        ];
        assert_eq!(
            shown(services),
            [
                "admin host-header=shop.example.com path-pattern=/admin/*",
                "shop host-header=shop.example.com",
                "shops host-header=*.shop.example.com",
                "a host-header=*.example.com path-pattern=/login",
                "customers host-header=*.example.com",
                "one path-pattern=/api/one",
                "images path-pattern=/api/images/*",
                "api path-pattern=/api/*",
            ]
        );
    }

    /// Whatever the services are called, and although one service has both kinds.
    #[test]
    fn claims_of_one_service_are_as_far_apart_as_they_must_be() {
        assert_eq!(
            shown(vec![published("a", &["*.x.com", "www.y.com"], &[]), published("z", &["*.y.com", "www.x.com"], &[])]),
            ["z host-header=www.x.com", "a host-header=*.x.com,www.y.com", "z host-header=*.y.com"]
        );
        assert_eq!(
            shown(vec![published("a", &[], &["/a/*", "/very/long/path"]), published("b", &[], &["/a/longer/*", "/b"])]),
            ["a path-pattern=/very/long/path", "b path-pattern=/a/longer/*,/b", "a path-pattern=/a/*"]
        );
        let apart = vec![published("a", &[], &["/api", "/api/*"]), published("b", &[], &["/shop", "/shop/*"])];
        assert_eq!(shown(apart), ["b path-pattern=/shop,/shop/*", "a path-pattern=/api,/api/*"], "one rule each");
    }

    #[test]
    fn a_rule_has_at_most_five_values_and_six_wildcards() {
        let paths = ["/a", "/b", "/c", "/d", "/e", "/f"];
        assert_eq!(shown(vec![published("web", &[], &paths)]), ["web path-pattern=/a,/b,/c,/d,/e", "web path-pattern=/f"]);
        assert_eq!(
            shown(vec![published("web", &["a.example.com", "b.example.com"], &paths[..4])]),
            [
                "web host-header=a.example.com,b.example.com path-pattern=/a,/b,/c",
                "web host-header=a.example.com,b.example.com path-pattern=/d",
            ]
        );
        assert_eq!(
            shown(vec![published("web", &["a.b", "b.b", "c.b", "d.b", "e.b", "f.b"], &[])]),
            ["web host-header=a.b,b.b,c.b,d.b,e.b", "web host-header=f.b"]
        );
        assert_eq!(
            shown(vec![published("web", &["a.b", "b.b", "c.b", "d.b", "e.b"], &["/x"])]),
            ["web host-header=a.b,b.b,c.b,d.b path-pattern=/x", "web host-header=e.b path-pattern=/x"]
        );
        assert_eq!(
            shown(vec![published("web", &[], &["/a/*/*/*", "/b/*/*/*", "/c/*/*/*"])]),
            ["web path-pattern=/a/*/*/*,/b/*/*/*", "web path-pattern=/c/*/*/*"]
        );
        assert_eq!(
            shown(vec![published("web", &["*.a.b", "*.b.b"], &["/?/*/*/*/*"])]),
            ["web host-header=*.a.b path-pattern=/?/*/*/*/*", "web host-header=*.b.b path-pattern=/?/*/*/*/*"]
        );
    }

    #[test]
    fn a_rule_is_known_by_its_conditions_in_any_order_and_form() {
        let rule = &rules(&wanted(vec![published("web", &[], &["/a", "/b"])]))[0];
        let condition = RuleCondition::builder().field("path-pattern");
        let config = PathPatternConditionConfig::builder().values("/b").values("/a").build();
        for (condition, same) in [
            (condition.clone().path_pattern_config(config).build(), true),
            (condition.clone().values("/a").values("/b").build(), true),
            (condition.values("/a").build(), false),
        ] {
            assert_eq!(rule.has_conditions_of(&Rule::builder().conditions(condition).build()), same);
        }
    }

    fn matches(before: Vec<Service>, after: Vec<Service>) -> (Vec<Option<String>>, Vec<String>) {
        let (old, new) = (rules(&wanted(before)), rules(&wanted(after)));
        let found: Vec<Rule> = old.iter().zip(1..).map(|(rule, number)| found(rule, &number.to_string())).collect();
        let arn = |rule: &Rule| rule.rule_arn().unwrap().to_owned();
        let services = found.iter().zip(&old).map(|(rule, wanted)| (arn(rule), wanted.service.clone())).collect();
        let matched = matched(&new, found.iter().collect(), &services, |_, _| true);
        (matched.pairs.iter().map(|(_, rule)| rule.map(arn)).collect(), matched.left.iter().map(|rule| arn(rule)).collect())
    }

    #[test]
    fn conditions_are_changed_in_place_where_the_order_allows_it() {
        let (a, b) = (published("a", &[], &["/a/*"]), published("b", &[], &["/b"]));
        let arn = |number| Some(format!("arn{number}"));
        let after = vec![published("a", &[], &["/c/*"]), published("b", &[], &["/b"])];
        assert_eq!(matches(vec![a, b], after), (vec![arn(1), arn(2)], vec![]));
        // The new rule of a comes before that of b, behind which its old one is.
        let before = vec![published("a", &[], &["/zz*"]), published("b", &[], &["/cc*"])];
        let after = vec![published("a", &[], &["/ccd"]), published("b", &[], &["/cc*"])];
        assert_eq!(matches(before, after), (vec![None, arn(1)], vec!["arn2".to_owned()]));
    }

    #[test]
    fn what_is_left_over_keeps_its_place_until_it_is_deleted() {
        let new = rules(&wanted(vec![published("a", &[], &["/new/long"]), published("a2", &[], &["/a"])]));
        let (old, kept) = (Rule::builder().priority("1").build(), found(&new[1], "2"));
        let matched = matched(&new, vec![&kept, &old], &BTreeMap::new(), |_, _| true);
        let order: Vec<(Option<&str>, Option<i32>)> =
            matched.with_left().iter().map(|(wanted, rule)| (wanted.map(|one| one.service.as_str()), rule.map(number))).collect();
        assert_eq!(order, [(Some("a"), None), (None, Some(1)), (Some("a2"), Some(2))]);
    }
}
