//! The rules: which requests a service gets. The service without path and host has none; it is the listener's default.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html#listener-rules>

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types::{HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition, RulePriorityPair};
use shared::error::{given, if_found, made};
use shared::step::each;
use shared::{Diff, Result, Run, Tried};

use super::traffic_shift::Place;
use super::{action, listener, tag};
use crate::SvcDeploy;
use crate::model::{RULE_VALUES, Wanted};

/// A rule that should exist.
#[derive(Debug, Clone, PartialEq)]
struct WantedRule {
    service: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    priority: i32,
}

impl WantedRule {
    /// Returns the rule's name in messages, as in `web:/shop/*`.
    fn name(&self) -> String {
        format!("{}:{}{}", self.service, self.hosts.join(" "), self.paths.join(" "))
    }

    fn has_conditions_of(&self, rule: &Rule) -> bool {
        conditions(rule.conditions()) == conditions(&self.conditions())
    }

    fn conditions(&self) -> Vec<RuleCondition> {
        let hosts = HostHeaderConditionConfig::builder().set_values(Some(self.hosts.clone())).build();
        let paths = PathPatternConditionConfig::builder().set_values(Some(self.paths.clone())).build();
        let host = (!self.hosts.is_empty()).then(|| RuleCondition::builder().field("host-header").host_header_config(hosts).build());
        let path = (!self.paths.is_empty()).then(|| RuleCondition::builder().field("path-pattern").path_pattern_config(paths).build());
        host.into_iter().chain(path).collect()
    }
}

/// Returns the rules, the most exact first: those with a host before those without, long paths before short ones.
fn rules(wanted: &Wanted) -> Vec<WantedRule> {
    let mut rules = Vec::new();
    for (service, published) in wanted.published().filter(|(_, published)| !published.paths.is_empty() || !published.hosts.is_empty()) {
        // The check of the hosts leaves room for one path at least.
        let room = RULE_VALUES.saturating_sub(published.hosts.len()).max(1);
        let parts = if published.paths.is_empty() { vec![&[][..]] } else { published.paths.chunks(room).collect() };
        rules.extend(parts.into_iter().map(|paths| WantedRule {
            service: service.name.clone(),
            hosts: published.hosts.clone(),
            paths: paths.to_vec(),
            priority: 0,
        }));
    }
    let longest = |rule: &WantedRule| rule.paths.iter().map(String::len).max().unwrap_or(0);
    rules.sort_by(|a, b| {
        (a.hosts.is_empty(), longest(b), &a.service, &a.paths).cmp(&(b.hosts.is_empty(), longest(a), &b.service, &b.paths))
    });
    for (rule, priority) in rules.iter_mut().zip(1..) {
        rule.priority = priority;
    }
    rules
}

impl SvcDeploy {
    /// A rule is known by its conditions; its action and priority can be changed.
    pub async fn rules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let mut rules = rules(wanted);
        rules.retain(|rule| self.can_forward(wanted, &rule.service));
        let (found, stale) = (own(self.serving(wanted).iter().flat_map(|found| &found.rules)), own(self.redirecting(wanted)));
        let as_wanted = |wanted: &WantedRule, rule: &Rule| self.forwards(wanted, rule) && has_priority(rule, wanted.priority);
        let (_, open) = matched(rules.iter().collect(), &mut found.clone(), as_wanted);
        let settled = open.is_empty();
        if settled && stale.is_empty() && found.len() == rules.len() {
            return Ok(());
        }
        // A rule that somebody created by hand is left alone, even when it has the same conditions.
        let arns = found.iter().chain(&stale).filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect();
        let ours = tag::ours(&self.elb, run, arns).await?;
        let is_ours = |rule: &&Rule| rule.rule_arn().is_some_and(|arn| ours.contains(arn));
        let (mut left, theirs): (Vec<&Rule>, Vec<&Rule>) = found.into_iter().partition(is_ours);
        if !settled {
            give_way(&mut rules, &theirs);
        }
        let (kept, open) = matched(rules.iter().collect(), &mut left, |wanted, rule| self.forwards(wanted, rule));
        let (moving, missing) = matched(open, &mut left, |_, _| true);
        left.extend(stale.into_iter().filter(is_ours));
        // First, because new rules may need the priorities of old ones.
        each(left, async |rule| self.delete_rule(run, rule).await).await?;
        self.settle_priorities(run, &[kept, moving.clone()].concat()).await?;
        each(moving, async |(rule, found)| self.settle_rule(run, wanted, rule, found).await).await?;
        each(missing, async |rule| run.create("rule", &rule.name(), self.create_rule(run, rule)).await.map(drop)).await.map(drop)
    }

    /// Returns the rules of port 80 when it only redirects. They would still forward requests without TLS.
    fn redirecting(&self, wanted: &Wanted) -> impl Iterator<Item = &Rule> {
        let listeners = self.found.balancer.iter().filter(|_| wanted.certificate.is_some()).flat_map(|found| &found.listeners);
        listeners.filter(|found| found.listener.port() == Some(80)).flat_map(|found| &found.rules)
    }

    /// Returns whether the found rule forwards to the service's target group, and to no other.
    fn forwards(&self, wanted: &WantedRule, rule: &Rule) -> bool {
        let target = self.recorded(&wanted.service).target_group_arn;
        target.is_some() && action::text(rule.actions()) == action::text(&[action::forward(target)])
    }

    async fn create_rule(&self, run: &Run, rule: &WantedRule) -> Result<String> {
        let listener = made(self.svc.borrow().listener_arns.first().and_then(Option::as_deref), "the ARN of the listener")?;
        let call = self.elb.create_rule().listener_arn(listener).priority(rule.priority).set_conditions(Some(rule.conditions()));
        let call = call.actions(action::forward(self.recorded(&rule.service).target_group_arn));
        let made = call.set_tags(Some(tag::new(run, &rule.service))).send().await.tried(format!("create the rule {}", rule.name()))?;
        given(made.rules().first().and_then(Rule::rule_arn), "the ARN of the new rule")
    }

    async fn settle_rule(&self, run: &Run, wanted: &Wanted, rule: &WantedRule, found: &Rule) -> Result<()> {
        let arn = given(found.rule_arn(), "the ARN of the rule")?;
        let action = self.forwarding(wanted, &rule.service, &rule.name(), found.actions().first(), Place::Rule(arn.clone()));
        let diff = Diff::new().field("Actions", action::text(found.actions()), action::text(std::slice::from_ref(&action)));
        run.change("rule", &rule.name(), &diff, async {
            let call = self.elb.modify_rule().rule_arn(&arn).actions(action);
            call.send().await.tried(format!("update the rule {}", rule.name())).map(drop)
        })
        .await
    }

    /// Changes all in one call, so that two rules can swap their priorities.
    async fn settle_priorities(&self, run: &Run, kept: &[(&WantedRule, &Rule)]) -> Result<()> {
        let moved: Vec<_> = kept.iter().filter(|(wanted, rule)| !has_priority(rule, wanted.priority)).collect();
        let diff = moved.iter().fold(Diff::new(), |diff, (wanted, rule)| {
            diff.field(&format!("Priority of {}", wanted.name()), rule.priority(), Some(wanted.priority.to_string()))
        });
        run.change("rule priorities", &run.app, &diff, async {
            let pair = |(wanted, rule): &&&(&WantedRule, &Rule)| {
                RulePriorityPair::builder().set_rule_arn(rule.rule_arn().map(str::to_owned)).priority(wanted.priority).build()
            };
            let call = self.elb.set_rule_priorities().set_rule_priorities(Some(moved.iter().map(|one| pair(&one)).collect()));
            call.send().await.tried(format!("set the priorities of the rules of {}", run.app)).map(drop)
        })
        .await
    }

    /// Deletes those on adopted load balancers, which the app's target groups name. Those on our own are deleted with it.
    pub async fn rules_down(&self, run: &Run) -> Result<()> {
        let own = self.found.balancer.as_ref().filter(|found| found.ours).and_then(|found| found.balancer.load_balancer_arn());
        let groups = self.found.target_groups.values().flat_map(|found| found.group.load_balancer_arns());
        let adopted: BTreeSet<&String> = groups.filter(|arn| own != Some(arn.as_str())).collect();
        for arn in adopted {
            // For a while a target group still names a deleted load balancer.
            let Some(listeners) = if_found(listener::find(&self.elb, arn).await)? else { continue };
            let rules: Vec<Rule> = listeners.into_iter().flat_map(|found| found.rules).collect();
            let ours = tag::ours(&self.elb, run, rules.iter().filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect()).await?;
            let ours = rules.iter().filter(|rule| rule.rule_arn().is_some_and(|arn| ours.contains(arn)));
            each(ours, async |rule| self.delete_rule(run, rule).await).await?;
        }
        Ok(())
    }

    async fn delete_rule(&self, run: &Run, rule: &Rule) -> Result<()> {
        let arn = given(rule.rule_arn(), "the ARN of the rule")?;
        let what = conditions(rule.conditions()).join(" ");
        let delete = async { self.elb.delete_rule().rule_arn(&arn).send().await.tried(format!("delete the rule {arn}")).map(drop) };
        run.delete("rule", &what, delete).await
    }
}

/// Gives our rules the priorities that are free between those of others, as on an adopted load balancer.
fn give_way(rules: &mut [WantedRule], theirs: &[&Rule]) {
    let taken: Vec<i32> = theirs.iter().filter_map(|rule| rule.priority()?.parse().ok()).collect();
    let free = (1..).filter(|priority| !taken.contains(priority));
    for (rule, priority) in rules.iter_mut().zip(free) {
        rule.priority = priority;
    }
}

/// Returns all but the default rule, which belongs to the listener.
fn own<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<&'a Rule> {
    rules.filter(|rule| rule.is_default() != Some(true)).collect()
}

/// Finds for each wanted rule the found one with the same conditions that also `fits`, and removes it from `found`. Returns these pairs, and the
/// wanted rules without one.
fn matched<'a>(
    wanted: Vec<&'a WantedRule>,
    found: &mut Vec<&'a Rule>,
    fits: impl Fn(&WantedRule, &Rule) -> bool,
) -> (Vec<(&'a WantedRule, &'a Rule)>, Vec<&'a WantedRule>) {
    let (mut pairs, mut open) = (Vec::new(), Vec::new());
    for wanted in wanted {
        match found.iter().position(|rule| wanted.has_conditions_of(rule) && fits(wanted, rule)) {
            Some(place) => pairs.push((wanted, found.remove(place))),
            None => open.push(wanted),
        }
    }
    (pairs, open)
}

fn has_priority(rule: &Rule, priority: i32) -> bool {
    rule.priority() == Some(priority.to_string().as_str())
}

/// Returns the conditions as sorted texts.
fn conditions(conditions: &[RuleCondition]) -> Vec<String> {
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

    /// Priority, name and conditions of each rule.
    fn shown(services: Vec<Service>) -> Vec<String> {
        let text = |rule: &WantedRule| format!("{} {} {}", rule.priority, rule.service, conditions(&rule.conditions()).join(" "));
        rules(&wanted(services)).iter().map(text).collect()
    }

    fn found(rule: &WantedRule, priority: &str) -> Rule {
        Rule::builder().set_conditions(Some(rule.conditions())).priority(priority).build()
    }

    #[test]
    fn the_most_exact_rule_is_first() {
        let services = vec![
            published("web", &[], &[]),
            service("worker"),
            published("api", &[], &["/api/*"]),
            published("images", &[], &["/api/images/*"]),
            published("shop", &["shop.example.com"], &[]),
            published("admin", &["shop.example.com"], &["/admin/*"]),
        ];
        assert_eq!(
            shown(services),
            [
                "1 admin host-header=shop.example.com path-pattern=/admin/*",
                "2 shop host-header=shop.example.com",
                "3 images path-pattern=/api/images/*",
                "4 api path-pattern=/api/*",
            ]
        );
    }

    #[test]
    fn a_rule_has_at_most_five_values() {
        let paths = ["/a", "/b", "/c", "/d", "/e", "/f"];
        assert_eq!(shown(vec![published("web", &[], &paths)]), ["1 web path-pattern=/a,/b,/c,/d,/e", "2 web path-pattern=/f"]);
        assert_eq!(
            shown(vec![published("web", &["a.example.com", "b.example.com"], &paths[..4])]),
            [
                "1 web host-header=a.example.com,b.example.com path-pattern=/a,/b,/c",
                "2 web host-header=a.example.com,b.example.com path-pattern=/d",
            ]
        );
    }

    #[test]
    fn our_rules_take_the_priorities_that_others_leave() {
        let mut rules = rules(&wanted(vec![published("a", &[], &["/aaa"]), published("b", &[], &["/bb"]), published("c", &[], &["/c"])]));
        let theirs = [found(&rules[0], "1"), found(&rules[0], "3"), found(&rules[0], "default")];
        give_way(&mut rules, &theirs.iter().collect::<Vec<_>>());
        assert_eq!(rules.iter().map(|rule| rule.priority).collect::<Vec<_>>(), [2, 4, 5]);
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

    #[test]
    fn each_found_rule_is_matched_once() {
        let rules = rules(&wanted(vec![published("a", &[], &["/a"]), published("b", &[], &["/b"])]));
        let (first, second) = (found(&rules[0], "1"), found(&rules[0], "2"));
        let mut left = vec![&first, &second];
        let (pairs, open) = matched(rules.iter().collect(), &mut left, |wanted, rule| has_priority(rule, wanted.priority));
        assert_eq!((pairs.len(), open.len(), left.len()), (1, 1, 1));
        assert_eq!(open[0].service, "b");
        assert_eq!(left[0].priority(), Some("2"));
    }
}
