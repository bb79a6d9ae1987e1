//! Each tool's `--policy`, compared with the calls that it makes.

mod account;
mod attacks;
mod evaluator;
mod parameters;
mod resources;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::app::serving;
use tests::tool::{TOOLS, actions, down, is_allowed};
use tests::{Call, Relay, run};

use self::account::Account;
use self::evaluator::allows;

/// Permissions without a call of the tool: AWS checks them when it acts in the caller's name or as
/// part of another call, Docker makes the calls at the registry, and most accounts already have the
/// service-linked roles.
const NOT_CALLED: &[&str] = &[
    "ec2:RunInstances",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
    "kms:CreateGrant",
    "kms:DescribeKey",
    "kms:RetireGrant",
    "route53:AssociateVPCWithHostedZone",
    "ssm:GetParameters",
];

/// Application Auto Scaling creates and deletes its alarms and updates the service in the caller's
/// name. Elastic Load Balancing reads the network, and EFS creates network interfaces.
const IN_THE_CALLERS_NAME: &[(&str, &[&str])] = &[
    (
        "cluster-up",
        &[
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaceAttribute",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:ModifyNetworkInterfaceAttribute",
        ],
    ),
    ("scale-set", &["cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm", "ecs:UpdateService"]),
    (
        "svc-deploy",
        &[
            "ec2:DescribeAccountAttributes",
            "ec2:DescribeAddresses",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "ec2:GetSecurityGroupsForVpc",
        ],
    ),
];

/// Returns three versions of an app, which together change everything that can change.
fn documents() -> [Value; 3] {
    let web = serving(8080, "policy");
    let mut first = json!({"name": "policy", "x-net": {"nat": "per-az", "endpoints": ["s3", "ecr"], "flow_logs": 14},
        "x-alarms": {"notify": ["a@example.com"], "notify_ok": true}, "x-scale": {"cpu": 60}, "x-tags": {"cost": "web"}, "secrets": {"key": {"environment": "HOME"}},
        "services": {"web": web, "api": web, "built": {"build": "./worker", "environment": {"EVERY": "2"}}}});
    first["services"]["api"]["x-svc"] = json!({"path": ["/api/*"], "task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}});
    let morning = json!({"name": "morning", "schedule": "cron(0 8 ? * MON-FRI *)", "timezone": "Europe/Vienna", "min": 4});
    first["services"]["api"]["x-scale"] = json!({"memory": 80, "schedule": [morning]});
    first["services"]["built"]["volumes"] = json!(["data:/data"]);
    first["services"]["built"]["secrets"] = json!(["key"]);
    let scheduled = |expression: &str| json!({"image": "busybox", "command": ["true"], "x-svc": {"schedule": expression}});
    first["services"]["report"] = scheduled("rate(1 day)");
    first["services"]["migrate"] = json!({"image": "busybox", "command": ["true"], "x-svc": {"job": true, "connect": false}});
    let mut second = first.clone();
    second["services"]["report"] = scheduled("rate(2 days)");
    second["x-net"] = json!({"nat": "single", "endpoints": ["s3", "ecr"], "flow_logs": 7});
    second["x-cluster"] = json!({"spot": 50, "volume_gib": 40, "target_capacity": 90, "insights": "enabled"});
    second["x-img"] = json!({"immutable": false, "scan": false, "keep": 5});
    let certificate = "arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555";
    let key = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
    second["x-svc"] = json!({"retention": 7, "certificate": certificate, "log_kms_key": key});
    second["x-scale"] = json!({"min": 1, "max": 4});
    second["x-alarms"] = json!({"cpu": 90, "notify": ["a@example.com"]});
    second["x-tags"] = json!({"team": "shop"});
    second["services"]["web"]["x-svc"] = json!({"health": {"interval": 20}});
    second["services"]["api"] = web;
    second["services"]["api"]["x-svc"] =
        json!({"path": ["/v2/*"], "health": {"path": "/api/"}, "patch": {"service": {"enableExecuteCommand": true}}});
    for tool in ["x-net", "x-cluster", "x-svc"] {
        second[tool]["permissions_boundary"] = json!("arn:aws:iam::aws:policy/PowerUserAccess");
    }
    let mut third = second.clone();
    third["x-cluster"].as_object_mut().unwrap().remove("permissions_boundary");
    third["x-net"] = json!({"nat": "none", "endpoints": ["s3", "ecr"]});
    third["x-alarms"] = json!({"cpu": 90});
    third["x-svc"] = json!({"retention": 7, "certificate": certificate});
    third["x-tags"] = json!({});
    for service in ["report", "built"] {
        third["services"].as_object_mut().unwrap().remove(service);
    }
    third["x-cluster"]["ami"] = json!("ami-0abcdef1234567890");
    for service in ["web", "api"] {
        third["services"][service]["ports"] = json!(["9090"]);
        third["services"][service]["command"] = serving(9090, "policy")["command"].clone();
    }
    [first, second, third]
}

fn policy(tool: &str, doc: &str) -> Value {
    run("http://127.0.0.1:1", tool, &["--policy", "--app", "policy"], doc).ok().doc()
}

/// The calls of all tools so far.
struct Checked {
    account: Account,
    denied: Vec<String>,
    /// The actions that the policies of each tool allow.
    allowed: BTreeMap<String, BTreeSet<String>>,
}

impl Checked {
    /// Asks the policy for each of the calls, with the tags that its resources have. Returns the actions.
    fn calls(&mut self, tool: &str, policy: &Value, calls: Vec<Call>) -> Vec<String> {
        self.allowed.entry(tool.to_owned()).or_default().extend(actions(policy));
        // Calls of the registry's own API have no action.
        for call in calls.iter().filter(|call| !call.action.ends_with(':')) {
            let denied = self.account.requests(call).into_iter().filter(|request| !allows(policy, request));
            self.denied.extend(denied.map(|request| format!("{tool}: {} for {}: {:?}", request.action, request.resource, request.keys)));
            self.account.note(call);
        }
        calls.into_iter().map(|call| call.action).collect()
    }
}

#[test]
fn a_policy_allows_what_the_tool_does_and_nothing_else() {
    let (relay, mut checked) = (Relay::new(), Checked { account: Account::new(), denied: Vec::new(), allowed: BTreeMap::new() });
    let mut called: Vec<BTreeSet<String>> = vec![BTreeSet::new(); TOOLS.len()];
    let mut live = String::new();
    for (doc, n) in documents().iter().zip(1..) {
        live = doc.to_string();
        for (tool, called) in TOOLS.iter().zip(&mut called) {
            let prunes = n == 3 && !matches!(*tool, "net-up" | "cluster-up");
            let policy = policy(tool, &live);
            live = run(&relay.endpoint, tool, if prunes { &["--prune"] } else { &[] }, &live).ok().stdout;
            called.extend(checked.calls(tool, &policy, relay.calls()));
        }
    }
    for (tool, called) in TOOLS.iter().zip(&mut called).rev() {
        let policy = policy(tool, &live);
        live = run(&relay.endpoint, tool, down(tool), &live).ok().stdout;
        called.extend(checked.calls(tool, &policy, relay.calls()));
    }
    assert!(checked.denied.is_empty(), "the policies deny:\n{}", checked.denied.join("\n"));
    for (tool, called) in TOOLS.iter().zip(called) {
        let allowed = &checked.allowed[*tool];
        // Calls of the registry's own API have no action.
        let called: BTreeSet<String> = called.into_iter().filter(|action| !action.ends_with(':')).collect();
        let forbidden: Vec<_> = called.iter().filter(|action| !is_allowed(allowed, action)).collect();
        assert!(forbidden.is_empty(), "{tool} calls what its policy does not allow: {forbidden:?}");
        let called_for = |action: &String| {
            let others = IN_THE_CALLERS_NAME.iter().filter(|(of, _)| of == tool).flat_map(|(_, actions)| actions.iter());
            NOT_CALLED.iter().chain(others).any(|other| *other == action.as_str())
        };
        // A pattern is not a single action.
        let single = allowed.iter().filter(|action| !action.contains('*') && !called.contains(*action));
        let rare: Vec<_> = single.filter(|action| !called_for(action) && !RARE.contains(&action.as_str())).collect();
        assert!(rare.is_empty(), "{tool} is allowed what it never calls: {rare:?}");
    }
}

/// Actions without a call in this test: after a failure, for a certificate, after a change by hand
/// (`pipe::drift`), or with a flag such as `--roll` (`by_tool`).
const RARE: &[&str] = &[
    "autoscaling:DescribeInstanceRefreshes",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:StartInstanceRefresh",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ecs:DescribeClusters",
    "ecs:DescribeContainerInstances",
    "ecs:DescribeServices",
    "ecs:ListServices",
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:ModifyVpcEndpoint",
    "ec2:ReplaceRouteTableAssociation",
    "ec2:RevokeSecurityGroupIngress",
    "ecs:DescribeTasks",
    "elasticfilesystem:ModifyMountTargetSecurityGroups",
    "ecs:ListTasks",
    "ecs:StopTask",
    "elasticloadbalancing:SetRulePriorities",
    "elasticloadbalancing:SetSecurityGroups",
    "elasticloadbalancing:SetSubnets",
    "iam:DeleteRolePermissionsBoundary",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:UpdateAssumeRolePolicy",
    "logs:GetLogEvents",
    "autoscaling:SetInstanceProtection",
    "sns:Unsubscribe",
];
