//! The rules: which requests a service gets. The service without path and host has none; it is the listener's default.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html#listener-rules>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{Rule, RulePriorityPair};
use shared::error::{given, if_found, made};
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use super::rule_order::{Matched, WantedRule, matched, number, rules, texts};
use super::traffic_shift::Place;
use super::{action, listener, tag};
use crate::model::{RULE_PRIORITIES, Wanted};
use crate::{Found, SvcDeploy};

/// The number that a rule should have, by its ARN, with its name.
type Numbers = BTreeMap<String, (String, i32)>;

impl SvcDeploy {
    /// A rule is known by its conditions. Rules are changed in place, new ones come first and deletions last, so that no request is lost meanwhile.
    pub async fn rules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let mut rules = rules(wanted);
        rules.retain(|rule| self.can_forward(wanted, &rule.service));
        let (found, stale) = (own(self.serving(wanted).iter().flat_map(|found| &found.rules)), own(self.redirecting(wanted)));
        if !self.are_settled(wanted, &rules, &found) || !stale.is_empty() {
            // A rule that somebody created by hand is left alone, even when it has the same conditions.
            let arns = found.iter().chain(&stale).filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect();
            let ours = tag::ours(&self.elb, run, arns).await?;
            let is_ours = |rule: &&Rule| rule.rule_arn().is_some_and(|arn| ours.contains_key(arn));
            let (mine, theirs): (Vec<&Rule>, Vec<&Rule>) = found.into_iter().partition(is_ours);
            let free = free_numbers(wanted, &mine, &theirs, rules.len() + mine.len())?;
            let matched = matched(&rules, mine, &ours, |wanted, rule| self.forwards(wanted, rule));
            self.settle_rules(run, wanted, &matched, &free).await?;
            self.switch_listeners(run, wanted).await?;
            each(stale.into_iter().filter(is_ours), async |rule| self.delete_rule(run, rule).await).await?;
        } else {
            self.switch_listeners(run, wanted).await?;
        }
        self.delete_listeners(run, wanted).await
    }

    /// Returns whether our own load balancer has exactly these rules.
    fn are_settled(&self, wanted: &Wanted, rules: &[WantedRule], found: &[&Rule]) -> bool {
        let mut by_number = found.to_vec();
        by_number.sort_by_key(|rule| number(rule));
        let is_settled = |(i, (wanted, rule)): (i32, (&WantedRule, &&Rule))| {
            wanted.has_conditions_of(rule) && self.forwards(wanted, rule) && number(rule) == i
        };
        wanted.alb.is_none() && found.len() == rules.len() && (1..).zip(rules.iter().zip(&by_number)).all(is_settled)
    }

    async fn settle_rules(&self, run: &Run, wanted: &Wanted, matched: &Matched<'_>, free: &[i32]) -> Result<()> {
        let missing = matched.pairs.iter().any(|(_, rule)| rule.is_none());
        let mut has: Numbers = BTreeMap::new();
        let all = matched.with_left();
        for (_, rule) in &all {
            has.extend(rule.and_then(|rule| Some((rule.rule_arn()?.to_owned(), (String::new(), number(rule))))));
        }
        // New rules need numbers between those of others, while those that are left over still have theirs.
        let mut numbered: Vec<(&WantedRule, i32)> = Vec::new();
        if missing {
            let first =
                all.iter().zip(free).filter_map(|((wanted, rule), free)| Some((arn(*rule)?, (name(*wanted, *rule), *free)))).collect();
            self.settle_priorities(run, &mut has, first).await?;
            let new = all.iter().zip(free).filter(|((_, rule), _)| rule.is_none());
            numbered.extend(new.filter_map(|((wanted, _), free)| Some(((*wanted)?, *free))));
        }
        let made = each(numbered, async |(rule, number)| {
            let arn = run.create("rule", &rule.name(), self.create_rule(run, wanted, rule, number)).await?;
            Ok(arn.map(|arn| (rule, arn, number)))
        })
        .await?;
        each(&matched.pairs, async |(rule, found)| match found {
            Some(found) => self.settle_rule(run, wanted, rule, found).await,
            None => Ok(()),
        })
        .await?;
        each(&matched.left, async |rule| self.delete_rule(run, rule).await).await?;
        let made: Vec<(&WantedRule, String, i32)> = made.into_iter().flatten().collect();
        has.extend(made.iter().map(|(_, arn, number)| (arn.clone(), (String::new(), *number))));
        let arn_of = |rule: &WantedRule, found: Option<&Rule>| {
            arn(found).or_else(|| made.iter().find(|(made, ..)| *made == rule).map(|(_, arn, _)| arn.clone()))
        };
        let last = matched.pairs.iter().zip(free).filter_map(|((rule, found), free)| Some((arn_of(rule, *found)?, (rule.name(), *free))));
        self.settle_priorities(run, &mut has, last.collect()).await
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

    async fn create_rule(&self, run: &Run, wanted: &Wanted, rule: &WantedRule, number: i32) -> Result<String> {
        let listener = made(self.svc.borrow().listener_arns.first().and_then(Option::as_deref), "the ARN of the listener")?;
        let call = self.elb.create_rule().listener_arn(listener).priority(number).set_conditions(Some(rule.conditions()));
        let action = self.forwarding(wanted, &rule.service, None);
        let call = call.actions(action.clone()).set_tags(Some(tag::new(run, &rule.service)));
        let made = call.send().await.tried(format!("create the rule {}", rule.name()))?;
        let arn = given(made.rules().first().and_then(Rule::rule_arn), "the ARN of the new rule")?;
        self.moving(&action, &rule.service, &rule.name(), Place::Rule(arn.clone()));
        Ok(arn)
    }

    async fn settle_rule(&self, run: &Run, wanted: &Wanted, rule: &WantedRule, found: &Rule) -> Result<()> {
        let arn = given(found.rule_arn(), "the ARN of the rule")?;
        let action = self.forwarding(wanted, &rule.service, found.actions().first());
        self.moving(&action, &rule.service, &rule.name(), Place::Rule(arn.clone()));
        let is_same = rule.has_conditions_of(found);
        let shown = |conditions: &[_]| texts(conditions).join(" ");
        let diff = Diff::new().field("Conditions", shown(found.conditions()), shown(&rule.conditions()));
        let diff = if is_same { Diff::new() } else { diff };
        let diff = diff.field("Actions", action::text(found.actions()), action::text(std::slice::from_ref(&action)));
        run.change("rule", &rule.name(), &diff, async {
            let call = self.elb.modify_rule().rule_arn(&arn).set_conditions((!is_same).then(|| rule.conditions())).actions(action);
            call.send().await.tried(format!("update the rule {}", rule.name())).map(drop)
        })
        .await
    }

    /// Changes all in one call, so that two rules can swap their priorities.
    async fn settle_priorities(&self, run: &Run, has: &mut Numbers, wanted: Numbers) -> Result<()> {
        let number = |arn: &String| has.get(arn).map(|(_, number)| *number);
        let moved: Vec<(&String, &(String, i32))> = wanted.iter().filter(|(arn, (_, to))| number(arn) != Some(*to)).collect();
        let diff =
            moved.iter().fold(Diff::new(), |diff, (arn, (name, to))| diff.field(&format!("Priority of {name}"), number(arn), Some(*to)));
        run.change("rule priorities", &run.app, &diff, async {
            let pairs = moved.iter().map(|(arn, (_, to))| RulePriorityPair::builder().rule_arn(*arn).priority(*to).build());
            let call = self.elb.set_rule_priorities().set_rule_priorities(Some(pairs.collect()));
            call.send().await.tried(format!("set the priorities of the rules of {}", run.app)).map(drop)
        })
        .await?;
        has.extend(wanted);
        Ok(())
    }

    /// Deletes those on adopted load balancers, which these target groups name, except on one that has its rules from the document. Those on our own
    /// are deleted with it.
    pub async fn rules_down(&self, run: &Run, found: &Found, settled: Option<&String>) -> Result<()> {
        let own = found.balancer.as_ref().filter(|found| found.ours).and_then(|found| found.balancer.load_balancer_arn());
        let groups = found.target_groups.values().flat_map(|found| found.group.load_balancer_arns());
        let adopted: BTreeSet<&String> = groups.filter(|arn| own != Some(arn.as_str()) && settled != Some(*arn)).collect();
        for arn in adopted {
            // For a while a target group still names a deleted load balancer.
            let Some(listeners) = if_found(listener::find(&self.elb, arn).await)? else { continue };
            let rules: Vec<Rule> = listeners.into_iter().flat_map(|found| found.rules).collect();
            let ours = tag::ours(&self.elb, run, rules.iter().filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect()).await?;
            let ours = rules.iter().filter(|rule| rule.rule_arn().is_some_and(|arn| ours.contains_key(arn)));
            each(ours, async |rule| self.delete_rule(run, rule).await).await?;
        }
        Ok(())
    }

    async fn delete_rule(&self, run: &Run, rule: &Rule) -> Result<()> {
        let arn = given(rule.rule_arn(), "the ARN of the rule")?;
        let what = texts(rule.conditions()).join(" ");
        let delete = async { self.elb.delete_rule().rule_arn(&arn).send().await.tried(format!("delete the rule {arn}")).map(drop) };
        run.delete("rule", &what, delete).await
    }
}

fn arn(rule: Option<&Rule>) -> Option<String> {
    rule.and_then(Rule::rule_arn).map(str::to_owned)
}

fn name(wanted: Option<&WantedRule>, rule: Option<&Rule>) -> String {
    wanted.map_or_else(|| texts(rule.map(Rule::conditions).unwrap_or_default()).join(" "), WantedRule::name)
}

/// Returns so many numbers that our rules may have, from the lowest. On an adopted load balancer they begin where `x-svc.priority` says, where our
/// rules are now, or above all others, so that no request of its own rules is lost.
fn free_numbers(wanted: &Wanted, mine: &[&Rule], theirs: &[&Rule], count: usize) -> Result<Vec<i32>> {
    let taken: BTreeSet<i32> = theirs.iter().map(|rule| number(rule)).collect();
    let first = match (&wanted.alb, wanted.priority) {
        (None, _) => 1,
        (Some(_), Some(first)) => first,
        (Some(_), None) => mine.iter().map(|rule| number(rule)).min().unwrap_or_else(|| taken.last().map_or(1, |last| last + 1)),
    };
    let free: Vec<i32> = (first..=RULE_PRIORITIES).filter(|number| !taken.contains(number)).take(count).collect();
    if free.len() == count {
        return Ok(free);
    }
    Err(Error::document(
        "no-free-priority",
        "x-svc.priority",
        format!(
            "the listener has no {count} free priorities from {first} to {RULE_PRIORITIES} for the rules of the app. Set x-svc.priority to the first one that they may have"
        ),
    ))
}

/// Returns all but the default rule, which belongs to the listener.
fn own<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<&'a Rule> {
    rules.filter(|rule| rule.is_default() != Some(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;

    #[test]
    fn our_rules_take_the_numbers_that_others_leave() {
        let rule = |number: i32| Rule::builder().priority(number.to_string()).build();
        let theirs = [rule(1), rule(3), rule(40)];
        let mut wanted = samples::wanted(Vec::new());
        let free = |wanted: &Wanted, mine: &[&Rule], theirs: &[Rule]| free_numbers(wanted, mine, &theirs.iter().collect::<Vec<_>>(), 3);
        assert_eq!(free(&wanted, &[], &theirs).unwrap(), [2, 4, 5], "on our own load balancer");
        wanted.alb = Some("arn".to_owned());
        assert_eq!(free(&wanted, &[], &theirs).unwrap(), [41, 42, 43], "behind those of others");
        assert_eq!(free(&wanted, &[], &[]).unwrap(), [1, 2, 3]);
        assert_eq!(free(&wanted, &[&rule(38)], &theirs).unwrap(), [38, 39, 41], "where they are");
        wanted.priority = Some(2);
        assert_eq!(free(&wanted, &[&rule(38)], &theirs).unwrap(), [2, 4, 5]);
        wanted.priority = None;
        assert_eq!(free(&wanted, &[], &[rule(50_000)]).unwrap_err().code(), "no-free-priority");
    }
}
