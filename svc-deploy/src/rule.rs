//! The rules: which requests go to which service. The service without path and host has none, it is the listener's default.

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types::{HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition, RulePriorityPair};
use shared::error::{given, if_found};
use shared::step::each;
use shared::{Diff, Result, Run, Tried};

use crate::forward::{self, Place};
use crate::wish::Wanted;
use crate::{SvcDeploy, load_balancer, tag};

/// A rule takes five values in all its conditions.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
pub const VALUES: usize = 5;

/// One rule that there is to be. `service` names it.
#[derive(Debug)]
struct Wish {
    service: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    priority: i32,
}

impl Wish {
    /// As the messages call it: `web:/shop/*`.
    fn name(&self) -> String {
        format!("{}:{}{}", self.service, self.hosts.join(" "), self.paths.join(" "))
    }

    /// Whether the rule asks for the same.
    fn is(&self, rule: &Rule) -> bool {
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

/// The most exact rule first: with a host before without, long paths before short ones.
fn wishes(wanted: &Wanted) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for (service, published) in wanted.published().filter(|(_, published)| !published.paths.is_empty() || !published.hosts.is_empty()) {
        // Read so that there is room for one path at least.
        let room = (VALUES - published.hosts.len().min(VALUES)).max(1);
        let some =
            if published.paths.is_empty() { vec![Vec::new()] } else { published.paths.chunks(room).map(<[String]>::to_vec).collect() };
        wishes.extend(some.into_iter().map(|paths| Wish {
            service: service.name.clone(),
            hosts: published.hosts.clone(),
            paths,
            priority: 0,
        }));
    }
    let longest = |wish: &Wish| wish.paths.iter().map(String::len).max().unwrap_or(0);
    wishes.sort_by(|a, b| {
        (a.hosts.is_empty(), longest(b), &a.service, &a.paths).cmp(&(b.hosts.is_empty(), longest(a), &b.service, &b.paths))
    });
    for (wish, priority) in wishes.iter_mut().zip(1..) {
        wish.priority = priority;
    }
    wishes
}

impl SvcDeploy {
    /// A rule is known by what it asks for; where it leads can be changed.
    pub async fn rules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let mut wishes = wishes(wanted);
        // One that was never deployed and is not now has nothing to lead to.
        wishes.retain(|wish| wanted.selected().any(|service| service.name == wish.service) || self.target_group(&wish.service).is_some());
        let (there, stale) = (own(self.serving(wanted).iter().flat_map(|found| &found.rules)), own(self.redirecting(wanted)));
        let as_wanted = |wish: &Wish, rule: &Rule| self.is_led(wish, rule) && has_priority(rule, wish.priority);
        let (_, open) = matched(wishes.iter().collect(), &mut there.clone(), as_wanted);
        let settled = open.is_empty();
        if settled && stale.is_empty() && there.len() == wishes.len() {
            return Ok(());
        }
        // A rule made by hand is none of our business, even when it asks for the same.
        let arns = there.iter().chain(&stale).filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect();
        let ours = tag::ours(&self.elb, run, arns).await?;
        let is_ours = |rule: &&Rule| rule.rule_arn().is_some_and(|arn| ours.contains(arn));
        let (mut left, theirs): (Vec<&Rule>, Vec<&Rule>) = there.into_iter().partition(is_ours);
        if !settled {
            give_way(&mut wishes, &theirs);
        }
        let (kept, open) = matched(wishes.iter().collect(), &mut left, |wish, rule| self.is_led(wish, rule));
        let (moving, missing) = matched(open, &mut left, |_, _| true);
        left.extend(stale.into_iter().filter(is_ours));
        // Old ones first: their priorities may be needed.
        each(left, async |rule| self.delete_rule(run, rule).await).await?;
        self.settle_priorities(run, &[kept, moving.clone()].concat()).await?;
        each(moving, async |(wish, rule)| self.settle_rule(run, wanted, wish, rule).await).await?;
        each(missing, async |wish| run.create("rule", &wish.name(), self.create_rule(run, wish)).await.map(drop)).await.map(drop)
    }

    /// The rules of the listener that only redirects, which must not serve by them any more; a listener that is not wanted took its rules along.
    fn redirecting(&self, wanted: &Wanted) -> impl Iterator<Item = &Rule> {
        let listeners = self.found.balancer.iter().filter(|_| wanted.certificate.is_some()).flat_map(|found| &found.listeners);
        listeners.filter(|found| found.listener.port() == Some(80)).flat_map(|found| &found.rules)
    }

    /// Those on adopted load balancers, which the app's target groups name; those on our own go with it.
    pub async fn rules_down(&self, run: &Run) -> Result<()> {
        let own = self.found.balancer.as_ref().filter(|found| found.ours).and_then(|found| found.balancer.load_balancer_arn());
        let groups = self.found.target_groups.values().flat_map(|found| found.group.load_balancer_arns());
        let adopted: BTreeSet<&String> = groups.filter(|arn| own != Some(arn.as_str())).collect();
        for arn in adopted {
            // A target group names a load balancer that is deleted for a while.
            let Some(listeners) = if_found(load_balancer::listeners(&self.elb, arn).await)? else { continue };
            let rules: Vec<Rule> = listeners.into_iter().flat_map(|found| found.rules).collect();
            let ours = tag::ours(&self.elb, run, rules.iter().filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect()).await?;
            let ours = rules.iter().filter(|rule| rule.rule_arn().is_some_and(|arn| ours.contains(arn)));
            each(ours, async |rule| self.delete_rule(run, rule).await).await?;
        }
        Ok(())
    }

    /// Whether the rule leads to the wish's service and nowhere else.
    fn is_led(&self, wish: &Wish, rule: &Rule) -> bool {
        let target = self.target_group(&wish.service);
        target.is_some() && rule.actions().iter().map(forward::text).eq([forward::text(&forward::to(target))])
    }

    async fn settle_rule(&self, run: &Run, wanted: &Wanted, wish: &Wish, rule: &Rule) -> Result<()> {
        let arn = given(rule.rule_arn(), "the rule's ARN")?;
        let action = self.lead(wanted, &wish.service, &wish.name(), rule.actions().first(), Place::Rule(arn.clone()));
        let diff =
            Diff::new().field("action", rule.actions().iter().map(forward::text).collect::<Vec<_>>().join(", "), forward::text(&action));
        run.change("rule", &wish.name(), &diff, async {
            self.elb.modify_rule().rule_arn(&arn).actions(action).send().await.tried(format!("change the rule {}", wish.name())).map(drop)
        })
        .await
    }

    async fn create_rule(&self, run: &Run, wish: &Wish) -> Result<String> {
        let listener = given(self.svc.borrow().listener_arns.first().and_then(Option::as_deref), "the listener's ARN")?;
        let call = self.elb.create_rule().listener_arn(listener).priority(wish.priority).set_conditions(Some(wish.conditions()));
        let call = call.actions(forward::to(self.target_group(&wish.service))).set_tags(Some(tag::tags(run, &wish.service)));
        let made = call.send().await.tried(format!("create the rule for services.{}", wish.service))?;
        given(made.rules().first().and_then(Rule::rule_arn), "the new rule's ARN")
    }

    /// All at once, so that two can change places.
    async fn settle_priorities(&self, run: &Run, kept: &[(&Wish, &Rule)]) -> Result<()> {
        let moved = |(wish, rule): &&(&Wish, &Rule)| !has_priority(rule, wish.priority);
        let diff = kept.iter().filter(moved).fold(Diff::new(), |diff, (wish, rule)| {
            diff.field(&wish.service, rule.priority().map(str::to_owned), Some(wish.priority.to_string()))
        });
        run.change("rule priorities", &run.app, &diff, async {
            let pairs = kept.iter().filter(moved).map(|(wish, rule)| {
                RulePriorityPair::builder().set_rule_arn(rule.rule_arn().map(str::to_owned)).priority(wish.priority).build()
            });
            self.elb
                .set_rule_priorities()
                .set_rule_priorities(Some(pairs.collect()))
                .send()
                .await
                .tried("change the priorities of the rules")
                .map(drop)
        })
        .await
    }

    async fn delete_rule(&self, run: &Run, rule: &Rule) -> Result<()> {
        let arn = given(rule.rule_arn(), "the rule's ARN")?;
        let what = conditions(rule.conditions()).join(" ");
        let delete = async { self.elb.delete_rule().rule_arn(&arn).send().await.tried(format!("delete the rule {arn}")).map(drop) };
        run.delete("rule", &what, delete).await
    }
}

/// Others may have rules there as well, on an adopted load balancer above all: ours take the priorities between theirs.
fn give_way(wishes: &mut [Wish], theirs: &[&Rule]) {
    let taken: Vec<i32> = theirs.iter().filter_map(|rule| rule.priority()?.parse().ok()).collect();
    let free = (1..).filter(|priority| !taken.contains(priority));
    for (wish, priority) in wishes.iter_mut().zip(free) {
        wish.priority = priority;
    }
}

/// All but the default rule, which is the listener's.
fn own<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<&'a Rule> {
    rules.filter(|rule| rule.is_default() != Some(true)).collect()
}

/// Finds for each wish the rule that asks for the same and also `fits`, and takes it out of `rules`; gives these pairs, and the wishes without one.
fn matched<'a>(
    wishes: Vec<&'a Wish>,
    rules: &mut Vec<&'a Rule>,
    fits: impl Fn(&Wish, &Rule) -> bool,
) -> (Vec<(&'a Wish, &'a Rule)>, Vec<&'a Wish>) {
    let (mut pairs, mut open) = (Vec::new(), Vec::new());
    for wish in wishes {
        match rules.iter().position(|rule| wish.is(rule) && fits(wish, rule)) {
            Some(place) => pairs.push((wish, rules.remove(place))),
            None => open.push(wish),
        }
    }
    (pairs, open)
}

fn has_priority(rule: &Rule, priority: i32) -> bool {
    rule.priority() == Some(priority.to_string().as_str())
}

/// What a rule asks for, in words and order.
fn conditions(conditions: &[RuleCondition]) -> Vec<String> {
    let values = |condition: &RuleCondition| {
        let of_host = condition.host_header_config().map(HostHeaderConditionConfig::values).unwrap_or_default();
        let of_path = condition.path_pattern_config().map(PathPatternConditionConfig::values).unwrap_or_default();
        // Old rules give their values in another place.
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
