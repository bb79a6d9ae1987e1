//! The rules: which requests go to which service. The service without path and host has none, it is the listener's default.

use aws_sdk_elasticloadbalancingv2::types::{HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition, RulePriorityPair};
use shared::error::given;
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{SvcDeploy, listener, load_balancer};

/// A rule takes five values in all its conditions.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
const VALUES: usize = 5;

/// One rule that there is to be. `service` names it.
#[derive(Debug)]
struct Wish {
    service: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    priority: i32,
}

impl Wish {
    fn conditions(&self) -> Vec<RuleCondition> {
        let hosts = HostHeaderConditionConfig::builder().set_values(Some(self.hosts.clone())).build();
        let paths = PathPatternConditionConfig::builder().set_values(Some(self.paths.clone())).build();
        let host = (!self.hosts.is_empty()).then(|| RuleCondition::builder().field("host-header").host_header_config(hosts).build());
        let path = (!self.paths.is_empty()).then(|| RuleCondition::builder().field("path-pattern").path_pattern_config(paths).build());
        host.into_iter().chain(path).collect()
    }
}

/// The most exact rule first: with a host before without, long paths before short ones.
fn wishes(wanted: &Wanted) -> Result<Vec<Wish>> {
    let mut wishes = Vec::new();
    for (service, published) in wanted.published().filter(|(_, published)| !published.paths.is_empty() || !published.hosts.is_empty()) {
        let room = VALUES - published.hosts.len().min(VALUES);
        if room == 0 || (published.paths.is_empty() && published.hosts.len() > VALUES) {
            return Err(Error::document(
                format!("{}.x-svc.host", published.path),
                format!("a rule of the load balancer takes {VALUES} hosts and paths together"),
            ));
        }
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
    Ok(wishes)
}

impl SvcDeploy {
    /// A rule is known by what it asks for and where it leads; what leads elsewhere is not wanted any more.
    pub async fn rules_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.published().next().is_none() {
            return Ok(());
        }
        let wishes = wishes(wanted)?;
        let listeners = self.found.balancer.as_ref().map(|found| found.listeners.as_slice()).unwrap_or_default();
        let serving = listeners.iter().find(|(listener, _)| listener.port() == Some(listener::port(wanted)));
        let mut left: Vec<&Rule> = serving.iter().flat_map(|(_, rules)| rules).filter(|rule| rule.is_default() != Some(true)).collect();
        // A listener that only redirects must not serve by old rules; one that is not wanted any more took its rules along.
        let others = listeners.iter().filter(|(listener, _)| listener::port(wanted) == 443 && listener.port() == Some(80));
        let stale: Vec<&Rule> = others.flat_map(|(_, rules)| rules).filter(|rule| rule.is_default() != Some(true)).collect();
        let (mut kept, mut missing) = (Vec::new(), Vec::new());
        for wish in &wishes {
            let target = self.svc.borrow().services.get(&wish.service).and_then(|record| record.target_group_arn.clone());
            let same = |rule: &&Rule| {
                conditions(rule.conditions()) == conditions(&wish.conditions()) && target.is_some() && forwards_to(rule) == target
            };
            match left.iter().position(same) {
                Some(place) => kept.push((wish, left.remove(place))),
                None => missing.push((wish, target)),
            }
        }
        left.extend(stale);
        // Old ones first: their priorities may be needed.
        let arns = left.iter().filter_map(|rule| rule.rule_arn().map(str::to_owned)).collect();
        let ours = load_balancer::ours(&self.elb, run, arns).await?;
        // A rule made by hand is none of our business.
        left.retain(|rule| rule.rule_arn().is_some_and(|arn| ours.contains(arn)));
        each(left, async |rule| self.delete_rule(run, rule).await).await?;
        self.settle_priorities(run, &kept).await?;
        each(missing, async |(wish, target)| {
            let name = format!("{}:{}", wish.service, [wish.hosts.join(" "), wish.paths.join(" ")].concat());
            run.create("rule", &name, self.create_rule(run, wish, target)).await.map(drop)
        })
        .await
        .map(drop)
    }

    async fn create_rule(&self, run: &Run, wish: &Wish, target: Option<String>) -> Result<String> {
        let listener = given(self.svc.borrow().listener_arns.first().and_then(Option::as_deref), "the listener's ARN")?;
        let call = self.elb.create_rule().listener_arn(listener).priority(wish.priority).set_conditions(Some(wish.conditions()));
        let call = call.actions(listener::forward(target)).set_tags(Some(load_balancer::tags(run, &wish.service)));
        let made = call.send().await.tried(format!("create the rule for services.{}", wish.service))?;
        given(made.rules().first().and_then(Rule::rule_arn), "the new rule's ARN")
    }

    /// All at once, so that two can change places.
    async fn settle_priorities(&self, run: &Run, kept: &[(&Wish, &Rule)]) -> Result<()> {
        let moved = |(wish, rule): &&(&Wish, &Rule)| rule.priority() != Some(wish.priority.to_string().as_str());
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

fn forwards_to(rule: &Rule) -> Option<String> {
    let action = rule.actions().first()?;
    action.target_group_arn().or_else(|| action.forward_config()?.target_groups().first()?.target_group_arn()).map(str::to_owned)
}
