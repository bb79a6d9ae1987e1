//! How a rule or listener moves from one target group to another without losing a request.

use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{Action, Rule, TargetHealthDescription, TargetHealthStateEnum};
use futures_util::future::{Either, select};
use futures_util::try_join;
use shared::error::made;
use shared::step::each;
use shared::wait::steadily;
use shared::{Diff, Result, Run, Tried};

use super::action::{self, NEW_TARGET_GROUP};
use super::arn::target_group_name;
use crate::SvcDeploy;
use crate::model::{Service, Wanted};

/// Pause between two reads of the targets. ECS stops old tasks as new ones become healthy, and for at most this long requests find too few.
const PAUSE: Duration = Duration::from_secs(1);

/// A rule or listener that forwards to `old` until enough targets of `new` are healthy.
pub struct Move {
    pub place: Place,
    /// The name of the rule or listener.
    pub name: String,
    pub service: String,
    pub old: String,
    /// Unknown in a plan of a new one.
    pub new: Option<String>,
}

/// What forwards, by ARN.
pub enum Place {
    Rule(String),
    Listener(String),
}

impl SvcDeploy {
    /// Returns the action for a rule or listener of the service, whose action is `now`. Where it forwards to another group, or is new while the tasks
    /// are still in another group, it names both, and [`Self::finish_moves`] does the rest. For a service that this run does not deploy it returns
    /// `now`.
    pub fn forwarding(&self, wanted: &Wanted, service: &str, now: Option<&Action>) -> Action {
        let new = self.recorded(service).target_group_arn;
        match now.and_then(|action| Some((action, action::target(action)?))) {
            Some((now, _)) if !wanted.selected().any(|selected| selected.name == service) => now.clone(),
            Some((_, old)) if new.as_deref() != Some(old) => action::forward_beside(old, new.as_deref()),
            Some(_) => action::forward(new),
            None => match self.serving_group(service) {
                Some(old) if new.as_deref() != Some(old) => action::forward_beside(old, new.as_deref()),
                _ => action::forward(new),
            },
        }
    }

    /// Notes the move of a rule or listener whose action names two groups.
    pub fn moving(&self, action: &Action, service: &str, name: &str, place: Place) {
        let new = self.recorded(service).target_group_arn;
        match action::target(action) {
            Some(old) if action::is_beside(action) && new.as_deref() != Some(old) => {
                let moving = Move { place, name: name.to_owned(), service: service.to_owned(), old: old.to_owned(), new };
                self.moves.borrow_mut().push(moving);
            }
            _ => {}
        }
    }

    /// Returns the target group in which the tasks of the service are, if this load balancer forwards to it. No other one can.
    fn serving_group(&self, service: &str) -> Option<&str> {
        let group = self.found.services.get(service)?.service.load_balancers().first()?.target_group_arn()?;
        let listeners = self.found.balancer.iter().flat_map(|found| &found.listeners);
        let actions = listeners.flat_map(|found| found.listener.default_actions().iter().chain(found.rules.iter().flat_map(Rule::actions)));
        actions.into_iter().any(|action| action::target(action) == Some(group)).then_some(group)
    }

    /// Forwards to the new target group when enough of its targets are healthy. It comes right behind the update of the service, because ECS stops the
    /// old tasks from then on. It waits also with `--no-wait`, because nothing else would finish the move.
    pub async fn finish_moves(&self, run: &Run, service: &Service) -> Result<()> {
        let moves: Vec<Move> = self.moves.borrow_mut().extract_if(.., |moving| moving.service == service.name).collect();
        each(&moves, async |moving| {
            let new = moving.new.as_deref().map_or(NEW_TARGET_GROUP, target_group_name);
            let diff = Diff::new().field("TargetGroupArn", target_group_name(&moving.old), new);
            run.change("forwarding", &moving.name, &diff, async {
                let new = made(moving.new.as_deref(), "the ARN of the new target group")?;
                self.healthy_enough(run, service, moving, &new).await?;
                self.finish(moving, new).await
            })
            .await
        })
        .await
        .map(drop)
    }

    /// Waits until the new group has as many healthy targets as the old one, or as the service has tasks. A failed deployment ends the wait.
    async fn healthy_enough(&self, run: &Run, service: &Service, moving: &Move, new: &str) -> Result<()> {
        let desired = self.found.services.get(&moving.service).map_or(1, |found| found.service.desired_count()).max(1);
        let desired = usize::try_from(desired).unwrap_or(1);
        let what = format!("the new targets of services.{}", moving.service);
        let healthy = steadily(run, &what, PAUSE, async || {
            let (old, new) = try_join!(self.healthy(&moving.old), self.healthy(new))?;
            Ok((new >= old.min(desired)).then_some(()))
        });
        match select(Box::pin(healthy), Box::pin(self.deployments_ready(run, [service]))).await {
            Either::Left((healthy, _)) => healthy,
            Either::Right((Ok(()), healthy)) => healthy.await,
            Either::Right((failed, _)) => failed,
        }
    }

    /// Returns the number of a group's healthy targets.
    async fn healthy(&self, target_group: &str) -> Result<usize> {
        let said = self.elb.describe_target_health().target_group_arn(target_group).send().await;
        let said = said.tried(format!("read the health of the targets of {}", target_group_name(target_group)))?;
        let is_healthy =
            |one: &&TargetHealthDescription| one.target_health().and_then(|health| health.state()) == Some(&TargetHealthStateEnum::Healthy);
        Ok(said.target_health_descriptions().iter().filter(is_healthy).count())
    }

    async fn finish(&self, moving: &Move, new: String) -> Result<()> {
        let doing = format!("forward {} to {}", moving.name, target_group_name(&new));
        let action = action::forward(Some(new));
        match &moving.place {
            Place::Rule(arn) => self.elb.modify_rule().rule_arn(arn).actions(action).send().await.tried(doing).map(drop),
            Place::Listener(arn) => {
                self.elb.modify_listener().listener_arn(arn).default_actions(action).send().await.tried(doing).map(drop)
            }
        }
    }
}
