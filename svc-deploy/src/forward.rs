//! Where requests go: which target group a rule or listener leads to, and how it goes over to another without losing a request.

use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, TargetGroupTuple, TargetHealthDescription, TargetHealthStateEnum,
};
use futures_util::future::{Either, select};
use futures_util::try_join;
use shared::error::given;
use shared::step::each;
use shared::wait::steadily;
use shared::{Diff, Result, Run, Tried};

use crate::SvcDeploy;
use crate::compose::Service;
use crate::wish::Wanted;

/// Between two looks at targets: ECS takes old ones away as new ones get well, so this is for how long requests may find too few.
const PAUSE: Duration = Duration::from_secs(1);

/// A rule or listener that leads to `old` until the targets of `new` are well.
pub struct Move {
    pub place: Place,
    /// What the rule or listener is called.
    pub name: String,
    pub service: String,
    pub old: String,
    /// Not known yet in a plan of a new one.
    pub new: Option<String>,
}

/// What a plan calls a target group that is not made yet.
pub const NEW: &str = "a new target group";

pub enum Place {
    Rule(String),
    Listener(String),
}

/// Leads to this target group. In a plan of a new one its ARN is not known yet.
pub fn to(target_group: Option<String>) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).set_target_group_arn(target_group).build()
}

/// Leads to `old`, with `new` at its side: without a weight it gets no request, but ECS and the health checks take it for a part of the load balancer.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html#forward-actions>
pub fn beside(old: &str, new: Option<&str>) -> Action {
    let group = |arn: &str, weight| TargetGroupTuple::builder().target_group_arn(arn).weight(weight).build();
    let config = ForwardActionConfig::builder().target_groups(group(old, 100)).target_groups(group(new.unwrap_or(NEW), 0)).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}

/// The target group that gets the requests.
pub fn target(action: &Action) -> Option<&str> {
    let weighted = action.forward_config().map(ForwardActionConfig::target_groups).unwrap_or_default();
    let heaviest = weighted.iter().max_by_key(|group| group.weight().unwrap_or(1)).and_then(TargetGroupTuple::target_group_arn);
    action.target_group_arn().or(heaviest)
}

/// An action in words, to compare it: AWS gives more fields back than it was sent.
pub fn text(action: &Action) -> String {
    let waiting = action.forward_config().map(ForwardActionConfig::target_groups).unwrap_or_default();
    let waiting = waiting.iter().filter_map(TargetGroupTuple::target_group_arn).filter(|arn| target(action) != Some(arn)).map(short);
    let redirect = action.redirect_config().map(|to| format!("{} {}", to.protocol().unwrap_or_default(), to.port().unwrap_or_default()));
    let fixed = action.fixed_response_config().and_then(|fixed| fixed.status_code()).map(str::to_owned);
    let leads = target(action).map(|arn| short(arn).to_owned()).or(redirect).or(fixed).unwrap_or_else(|| NEW.to_owned());
    let words: Vec<&str> = [action.r#type().map_or("", ActionTypeEnum::as_str), &leads].into_iter().chain(waiting).collect();
    words.join(" ")
}

/// `shop-web-1a2b3c` of `…:targetgroup/shop-web-1a2b3c/73e2d6bc24d8a067`.
pub fn short(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

impl SvcDeploy {
    /// The action that leads from where requests go `now` to the service's target group: at once when they go nowhere yet, by way of both groups
    /// when they go to another one. `place` is where that has to be finished. A service that this run does not deploy stays where it is.
    pub fn lead(&self, wanted: &Wanted, service: &str, name: &str, now: Option<&Action>, place: Place) -> Action {
        let new = self.target_group(service);
        match now.and_then(|action| Some((action, target(action)?))) {
            Some((now, _)) if !wanted.selected().any(|selected| selected.name == service) => now.clone(),
            Some((_, old)) if new.as_deref() != Some(old) => {
                let action = beside(old, new.as_deref());
                let moving = Move { place, name: name.to_owned(), service: service.to_owned(), old: old.to_owned(), new };
                self.moves.borrow_mut().push(moving);
                action
            }
            _ => to(new),
        }
    }

    pub fn target_group(&self, service: &str) -> Option<String> {
        self.svc.borrow().services.get(service).and_then(|record| record.target_group_arn.clone())
    }

    /// Lets requests go over when the targets of the new group are well: right behind the service's own update, because from then on ECS takes the
    /// old targets away. Waits also with `--no-wait`: nothing would finish it otherwise.
    pub async fn finish_moves(&self, run: &Run, service: &Service) -> Result<()> {
        let moves: Vec<Move> = self.moves.borrow_mut().extract_if(.., |moving| moving.service == service.name).collect();
        each(&moves, async |moving| {
            let diff = Diff::new().field("target group", short(&moving.old), moving.new.as_deref().map_or(NEW, short));
            run.change("forwarding", &moving.name, &diff, async {
                let new = given(moving.new.as_deref(), "the new target group's ARN")?;
                self.well(run, service, moving, &new).await?;
                self.finish(moving, new).await
            })
            .await
        })
        .await
        .map(drop)
    }

    /// Waits until as many targets of the new group are well as of the old one, or as the service is to have; a deployment that fails ends it.
    async fn well(&self, run: &Run, service: &Service, moving: &Move, new: &str) -> Result<()> {
        let desired = self.found.services.get(&moving.service).map_or(1, aws_sdk_ecs::types::Service::desired_count).max(1);
        let desired = usize::try_from(desired).unwrap_or(1);
        let what = format!("the new targets of services.{}", moving.service);
        let well = steadily(run, &what, PAUSE, async || {
            let (old, new) = try_join!(self.healthy(&moving.old), self.healthy(new))?;
            Ok((new >= old.min(desired)).then_some(()))
        });
        match select(Box::pin(well), Box::pin(self.deployments_ready(run, [service]))).await {
            Either::Left((well, _)) => well,
            Either::Right((Ok(()), well)) => well.await,
            Either::Right((failed, _)) => failed,
        }
    }

    async fn healthy(&self, target_group: &str) -> Result<usize> {
        let said = self.elb.describe_target_health().target_group_arn(target_group).send().await;
        let said = said.tried(format!("look at the targets of {}", short(target_group)))?;
        let is_well =
            |one: &&TargetHealthDescription| one.target_health().and_then(|health| health.state()) == Some(&TargetHealthStateEnum::Healthy);
        Ok(said.target_health_descriptions().iter().filter(is_well).count())
    }

    async fn finish(&self, moving: &Move, new: String) -> Result<()> {
        let (doing, action) = (format!("lead {} to {}", moving.name, short(&new)), to(Some(new)));
        match &moving.place {
            Place::Rule(arn) => self.elb.modify_rule().rule_arn(arn).actions(action).send().await.tried(doing).map(drop),
            Place::Listener(arn) => {
                self.elb.modify_listener().listener_arn(arn).default_actions(action).send().await.tried(doing).map(drop)
            }
        }
    }
}
