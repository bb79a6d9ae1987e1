//! What a listener or rule does with a request: forward, redirect or answer.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Action.html>

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig, RedirectActionConfig, RedirectActionStatusCodeEnum,
    TargetGroupTuple,
};

use super::arn::target_group_name;

/// What a plan calls a target group that is not created yet.
pub const NEW_TARGET_GROUP: &str = "the new target group";

/// Returns the action that forwards to one target group. In a plan the ARN of a new one is unknown.
pub fn forward(target_group: Option<String>) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).set_target_group_arn(target_group).build()
}

/// Returns the action that forwards to `old` and names `new` with the weight 0. It gets no requests, but ECS and the health checks see it as a part
/// of the load balancer.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html#forward-actions>
pub fn forward_beside(old: &str, new: Option<&str>) -> Action {
    let group = |arn: &str, weight| TargetGroupTuple::builder().target_group_arn(arn).weight(weight).build();
    let new = new.unwrap_or(NEW_TARGET_GROUP);
    let config = ForwardActionConfig::builder().target_groups(group(old, 100)).target_groups(group(new, 0)).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}

/// Returns whether the action is one of [`forward_beside`].
pub fn is_beside(action: &Action) -> bool {
    groups(action).len() > 1
}

/// Returns the action that answers a request which no rule matches.
pub fn not_found() -> Action {
    let answer = FixedResponseActionConfig::builder().status_code("404").content_type("text/plain").message_body("Not found").build();
    Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(answer).build()
}

/// Returns the action that repeats a request through HTTPS.
pub fn redirect_to_https() -> Action {
    let redirect = RedirectActionConfig::builder().protocol("HTTPS").port("443").status_code(RedirectActionStatusCodeEnum::Http301).build();
    Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect).build()
}

/// Returns the ARN of the target group that gets the requests.
pub fn target(action: &Action) -> Option<&str> {
    let heaviest = groups(action).iter().max_by_key(|group| weight(group)).and_then(TargetGroupTuple::target_group_arn);
    action.target_group_arn().or(heaviest)
}

/// Returns actions as text, to show and compare them. AWS returns more fields than it was sent.
pub fn text(actions: &[Action]) -> String {
    actions.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn one(action: &Action) -> String {
    let redirect = action.redirect_config().map(|to| format!("{}:{}", to.protocol().unwrap_or_default(), to.port().unwrap_or_default()));
    let fixed = action.fixed_response_config().and_then(|fixed| fixed.status_code()).map(str::to_owned);
    let main = target(action).map(|arn| target_group_name(arn).to_owned()).or(redirect).or(fixed);
    let main = main.unwrap_or_else(|| NEW_TARGET_GROUP.to_owned());
    let kind = action.r#type().map_or("", ActionTypeEnum::as_str);
    let others = groups(action).iter().filter(|group| group.target_group_arn() != target(action));
    others.fold(format!("{kind} {main}"), |text, group| {
        format!("{text} and {} (weight {})", group.target_group_arn().map_or(NEW_TARGET_GROUP, target_group_name), weight(group))
    })
}

fn groups(action: &Action) -> &[TargetGroupTuple] {
    action.forward_config().map(ForwardActionConfig::target_groups).unwrap_or_default()
}

fn weight(group: &TargetGroupTuple) -> i32 {
    group.weight().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/shop-web-1a2b3c/73e2d6bc24d8a067";
    const NEW: &str = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/shop-web-4d5e6f/83e2d6bc24d8a067";

    #[test]
    fn actions_are_shown_with_names() {
        for (action, shown) in [
            (forward(Some(OLD.to_owned())), "forward shop-web-1a2b3c"),
            (forward(None), "forward the new target group"),
            (forward_beside(OLD, Some(NEW)), "forward shop-web-1a2b3c and shop-web-4d5e6f (weight 0)"),
            (forward_beside(OLD, None), "forward shop-web-1a2b3c and the new target group (weight 0)"),
            (not_found(), "fixed-response 404"),
            (redirect_to_https(), "redirect HTTPS:443"),
        ] {
            assert_eq!(text(&[action]), shown);
        }
        assert_eq!(text(&[not_found(), forward(None)]), "fixed-response 404, forward the new target group");
    }

    #[test]
    fn aws_answers_one_target_group_in_two_fields() {
        let group = TargetGroupTuple::builder().target_group_arn(OLD).weight(1).build();
        let config = ForwardActionConfig::builder().target_groups(group).build();
        let answer = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(OLD).forward_config(config).build();
        assert_eq!(text(&[answer]), text(&[forward(Some(OLD.to_owned()))]));
    }

    #[test]
    fn the_heaviest_target_group_gets_the_requests() {
        assert_eq!(target(&forward(Some(OLD.to_owned()))), Some(OLD));
        assert_eq!(target(&forward_beside(OLD, Some(NEW))), Some(OLD));
        assert_eq!(target(&not_found()), None);
    }
}
