//! Faults between a tool and AWS: errors with each service's own code, cut connections, resources
//! that are not visible yet (eventual consistency), and a killed tool.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::call::Call;

/// The faults to inject. The default is none.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The same seed gives the same faults for the same calls in the same order.
    pub seed: u64,
    /// Every call is denied.
    pub denied: bool,
    /// The shares of calls that are throttled, that fail with 500 or 503, and whose connection is
    /// cut (half of them after AWS has acted).
    pub throttled: f64,
    pub broken: f64,
    pub cut: f64,
    /// Added to every call.
    pub delay: Duration,
    /// For how long a new resource is not visible to other calls.
    pub hidden: Duration,
    /// For how long a new role can't be used.
    pub unusable: Duration,
    /// For how long NAT gateways, load balancers and capacity providers are pending.
    pub pending: Duration,
    /// Kills the tool at its `n`-th changing call. The first is 1.
    pub kill: Option<(usize, Moment)>,
    /// Every call of this action has a response that can't be read, though AWS has acted.
    pub nonsense: Option<(String, Nonsense)>,
}

/// A response that is not AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    Words,
    Empty,
    /// As from a proxy.
    Page,
    /// The first half of AWS's response.
    Half,
    /// JSON in which no value has its type. Other responses are halved.
    OtherTypes,
}

impl Nonsense {
    pub const ALL: [Self; 5] = [Self::Words, Self::Empty, Self::Page, Self::Half, Self::OtherTypes];

    /// Returns the body that the tool receives instead of this one.
    #[must_use]
    pub fn body(self, answer: &Bytes) -> Bytes {
        match self {
            Self::Words => Bytes::from_static(b"There is nothing here."),
            Self::Empty => Bytes::new(),
            Self::Page => Bytes::from_static(b"<html><head><title>Proxy</title></head><body><h1>It works!</h1></body></html>"),
            Self::Half => answer.slice(..answer.len() / 2),
            Self::OtherTypes => match serde_json::from_slice(answer) {
                Ok(value) => other_types(&value).to_string().into(),
                Err(_) => Self::Half.body(answer),
            },
        }
    }
}

fn other_types(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), other_types(value))).collect(),
        Value::String(text) => json!({"text": text}),
        other => Value::String(other.to_string()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before AWS receives the call.
    Before,
    /// After AWS has acted, and before the tool receives the response.
    After,
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Passes,
    Refused { status: u16, code: &'static str, message: &'static str },
    Cut(Moment),
    Killed(Moment),
    Unreadable(Nonsense),
}

/// The faults, with the calls and the new resources so far.
#[derive(Debug, Default)]
pub struct Fates {
    faults: Faults,
    rng: Rng,
    changing: usize,
    /// When each resource was created, by EC2 id or role name.
    made: BTreeMap<String, Instant>,
    /// When the newest resource of each kind was created.
    newest: BTreeMap<&'static str, Instant>,
}

impl Fates {
    #[must_use]
    pub fn of(faults: Faults) -> Self {
        Self { rng: Rng::with_seed(faults.seed), faults, ..Self::default() }
    }

    #[must_use]
    pub fn delay(&self) -> Duration {
        self.faults.delay
    }

    /// Returns the number of changing calls so far.
    #[must_use]
    pub fn changing(&self) -> usize {
        self.changing
    }

    /// Decides what happens to a call, before it is forwarded.
    pub fn decide(&mut self, call: &Call, request: &str) -> Fate {
        if call.mutates() {
            self.changing += 1;
            if let Some((_, moment)) = self.faults.kill.filter(|(n, _)| *n == self.changing) {
                return Fate::Killed(moment);
            }
        }
        if self.faults.denied {
            return Fate::Refused { status: 403, code: "AccessDenied", message: "nothing is allowed here" };
        }
        if let Some(fate) = self.not_yet(call, request) {
            return fate;
        }
        if let Some((_, kind)) = self.faults.nonsense.as_ref().filter(|(action, _)| *action == call.action) {
            return Fate::Unreadable(*kind);
        }
        let chance = self.rng.f64();
        let Faults { throttled, broken, cut, .. } = self.faults;
        if chance < throttled {
            throttle(call.service())
        } else if chance < throttled + broken {
            let (status, code) = if self.rng.bool() { (500, "InternalFailure") } else { (503, "ServiceUnavailable") };
            Fate::Refused { status, code, message: "a fault made for this test" }
        } else if chance < throttled + broken + cut {
            Fate::Cut(if self.rng.bool() { Moment::Before } else { Moment::After })
        } else {
            Fate::Passes
        }
    }

    /// Returns AWS's error for a resource that is not visible yet.
    fn not_yet(&self, call: &Call, request: &str) -> Option<Fate> {
        let refused = |status, code, message| Some(Fate::Refused { status, code, message });
        let young = |since: &Instant, for_how_long| since.elapsed() < for_how_long;
        if self.newest.get("role").is_some_and(|since| young(since, self.faults.unusable)) {
            match call.action.as_str() {
                "ecs:CreateService" => {
                    return refused(
                        400,
                        "InvalidParameterException",
                        "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
                    );
                }
                "autoscaling:CreateAutoScalingGroup" => {
                    return refused(
                        400,
                        "ValidationError",
                        "You must use a valid fully-formed launch template. Invalid IAM Instance Profile name",
                    );
                }
                "ec2:CreateFlowLogs" => {
                    return refused(400, "InvalidParameter", "Access Denied for LogDestination: unable to assume given IAM role");
                }
                _ => {}
            }
        }
        let hidden = self.made.iter().filter(|(_, since)| young(since, self.faults.hidden));
        // A filter by an unknown id is no error: it finds nothing.
        let asked: String = request.split('&').filter(|pair| !pair.starts_with("Filter.")).collect::<Vec<_>>().join("&");
        let (id, _) = hidden.into_iter().find(|(id, _)| mentions(&asked, id))?;
        // A call that creates the name again does not read it, and neither does a list.
        if call.action.starts_with("iam:") && !call.action.starts_with("iam:Create") {
            return refused(404, "NoSuchEntity", "The role with this name cannot be found.");
        }
        if call.service() != "ec2" || call.action.contains(":CreateTags") {
            return None;
        }
        refused(400, not_found(id), "The ID does not exist")
    }

    /// Records what a successful call created.
    pub fn note(&mut self, call: &Call, request: &str, answer: &str) {
        let kind = match call.action.as_str() {
            "ec2:CreateNatGateway" => "nat",
            "elasticloadbalancing:CreateLoadBalancer" => "balancer",
            "ecs:CreateCapacityProvider" => "provider",
            "iam:CreateRole" | "iam:CreateInstanceProfile" => "role",
            _ => "other",
        };
        self.newest.insert(kind, Instant::now());
        let creates = call.action.contains(":Create") || call.action.contains(":Allocate");
        match call.service() {
            "ec2" if creates => {
                let new = ids(answer).into_iter().filter(|id| !mentions(request, id)).collect::<Vec<_>>();
                self.made.extend(new.into_iter().map(|id| (id, Instant::now())));
            }
            "iam" if creates => self.made.extend(form(request, "RoleName").map(|name| (name, Instant::now()))),
            _ => {}
        }
    }

    /// Returns the response that the tool receives: without what is hidden, and with pending
    /// states.
    #[must_use]
    pub fn shown(&self, call: &Call, answer: Bytes) -> Bytes {
        if call.mutates() {
            return answer;
        }
        let Ok(text) = std::str::from_utf8(&answer) else { return answer };
        let mut text = text.to_owned();
        if call.service() == "ec2" {
            let hidden = self.made.iter().filter(|(_, since)| since.elapsed() < self.faults.hidden);
            hidden.for_each(|(id, _)| text = without_items(&text, id));
        }
        let pending = |kind| self.newest.get(kind).is_some_and(|since| since.elapsed() < self.faults.pending);
        for (kind, ready, not_ready) in [
            ("nat", "<state>available</state>", "<state>pending</state>"),
            ("balancer", "<Code>active</Code>", "<Code>provisioning</Code>"),
        ] {
            if pending(kind) && matches!(call.action.as_str(), "ec2:DescribeNatGateways" | "elasticloadbalancing:DescribeLoadBalancers") {
                text = text.replace(ready, not_ready);
            }
        }
        if pending("provider") && call.action == "ecs:DescribeCapacityProviders" {
            text = text.replace("\"ACTIVE\"", "\"PROVISIONING\"");
        }
        text.into()
    }
}

/// Returns the service's own throttling error.
fn throttle(service: &str) -> Fate {
    let (status, code) = match service {
        "ec2" => (503, "RequestLimitExceeded"),
        "cloudwatch" | "iam" | "autoscaling" | "sns" | "sts" => (400, "Throttling"),
        _ => (400, "ThrottlingException"),
    };
    Fate::Refused { status, code, message: "Rate exceeded" }
}

/// Returns whether the text contains the id as a whole word.
fn mentions(text: &str, id: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices(id).any(|(at, _)| !text[at + id.len()..].starts_with(word) && !text[..at].ends_with(word))
}

/// Returns EC2's error code for an unknown id.
fn not_found(id: &str) -> &'static str {
    match id.split('-').next().unwrap_or_default() {
        "vpc" => "InvalidVpcID.NotFound",
        "subnet" => "InvalidSubnetID.NotFound",
        "igw" => "InvalidInternetGatewayID.NotFound",
        "nat" => "InvalidNatGatewayID.NotFound",
        "eipalloc" => "InvalidAllocationID.NotFound",
        "rtb" => "InvalidRouteTableID.NotFound",
        "sg" => "InvalidGroup.NotFound",
        "lt" => "InvalidLaunchTemplateId.NotFound",
        "vpce" => "InvalidVpcEndpointId.NotFound",
        "fl" => "InvalidFlowLogId.NotFound",
        _ => "InvalidParameter.NotFound",
    }
}

/// Returns the EC2 ids in a text.
fn ids(text: &str) -> Vec<String> {
    let kinds = ["vpc", "subnet", "igw", "nat", "eipalloc", "rtb", "sg", "lt", "vpce", "fl"];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_id = |word: &&str| word.split_once('-').is_some_and(|(kind, rest)| kinds.contains(&kind) && rest.len() >= 8);
    words.filter(is_id).map(str::to_owned).collect()
}

/// Returns a field of a form.
fn form(request: &str, key: &str) -> Option<String> {
    request.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// Returns a list without the outermost items that mention the id.
fn without_items(text: &str, id: &str) -> String {
    let (mut out, mut depth, mut start, mut rest) = (String::new(), 0, 0, 0);
    let mut at = 0;
    while let Some(next) = text[at..].find("item>") {
        let end = at + next + "item>".len();
        let tag = if text[..end].ends_with("</item>") { "</item>" } else { "<item>" };
        if tag == "<item>" {
            if depth == 0 {
                start = end - tag.len();
            }
            depth += 1;
        } else {
            depth -= 1;
            if depth == 0 && mentions(&text[start..end], id) {
                out.push_str(&text[rest..start]);
                rest = end;
            }
        }
        at = end;
    }
    out + &text[rest..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_resources_are_removed_from_lists() {
        let list = "<vpcSet><item><vpcId>vpc-12345678</vpcId><tagSet><item><key>a</key></item></tagSet></item><item><vpcId>vpc-87654321</vpcId></item></vpcSet>";
        assert_eq!(without_items(list, "vpc-12345678"), "<vpcSet><item><vpcId>vpc-87654321</vpcId></item></vpcSet>");
        assert_eq!(without_items(list, "vpc-1234567"), list, "only whole ids count");
    }
}
