//! What a person with the printed policies of one app must not be able to do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::run;
use tests::tool::TOOLS;

use super::account::{Account, Keys};
use super::evaluator::allows;
use super::resources::arn;

/// An action on a resource, with condition keys beside the tags of the resource.
struct Attack {
    action: &'static str,
    /// The part of the resource's ARN behind the account. Resources whose names begin with `shop` are ours by their names.
    on: &'static str,
    keys: &'static [(&'static str, &'static str)],
}

const fn attack(action: &'static str, on: &'static str) -> Attack {
    Attack { action, on, keys: &[] }
}

const fn with(action: &'static str, on: &'static str, keys: &'static [(&'static str, &'static str)]) -> Attack {
    Attack { action, on, keys }
}

const ADMINISTRATOR: &[(&str, &str)] = &[("iam:PolicyARN", "arn:aws:iam::aws:policy/AdministratorAccess")];
const AS_OURS: &[(&str, &str)] = &[("aws:RequestTag/ecs-pipe:app", "shop")];
const TO_TASKS: &[(&str, &str)] = &[("iam:PassedToService", "ecs-tasks.amazonaws.com")];
const TO_EC2: &[(&str, &str)] = &[("iam:PassedToService", "ec2.amazonaws.com")];
const TO_LAMBDA: &[(&str, &str)] = &[("iam:PassedToService", "lambda.amazonaws.com")];

/// Attacks on roles.
const ROLES: &[Attack] = &[
    with("iam:AttachRolePolicy", "role/ecs-pipe/shop/shop-web-task-us-east-1", ADMINISTRATOR),
    with("iam:AttachRolePolicy", "role/shop-instance-us-east-1", ADMINISTRATOR),
    with("iam:AttachRolePolicy", "role/shop-flow-logs-us-east-1", ADMINISTRATOR),
    with("iam:AttachRolePolicy", "role/admin", ADMINISTRATOR),
    with("iam:PassRole", "role/admin", TO_TASKS),
    with("iam:PassRole", "role/admin", TO_EC2),
    with("iam:PassRole", "role/ecs-pipe/other/other-web-task-us-east-1", TO_TASKS),
    with("iam:PassRole", "role/ecs-pipe/shop/shop-web-task-us-east-1", TO_EC2),
    with("iam:PassRole", "role/ecs-pipe/shop/shop-web-task-us-east-1", TO_LAMBDA),
    with("iam:PassRole", "role/shop-instance-us-east-1", TO_LAMBDA),
    with("iam:PassRole", "role/shop-flow-logs-us-east-1", TO_EC2),
    attack("iam:PutRolePolicy", "role/admin"),
    attack("iam:PutRolePolicy", "role/ecs-pipe/other/other-web-task-us-east-1"),
    attack("iam:PutRolePolicy", "role/shop-flow-logs-of-others"),
    attack("iam:PutRolePolicy", "role/shop-instance-us-east-1"),
    attack("iam:UpdateAssumeRolePolicy", "role/admin"),
    attack("iam:UpdateAssumeRolePolicy", "role/shop-instance-of-others"),
    attack("iam:DeleteRole", "role/ecs-pipe/other/other-web-task-us-east-1"),
    attack("iam:DeleteRole", "role/shop-flow-logs-of-others"),
    attack("iam:DetachRolePolicy", "role/shop-instance-of-others"),
    with("iam:TagRole", "role/admin", AS_OURS),
    with("iam:TagRole", "role/other-instance-us-east-1", AS_OURS),
    attack("iam:CreateRole", "role/admin"),
    attack("iam:DeleteRolePermissionsBoundary", "role/admin"),
    attack("iam:AddRoleToInstanceProfile", "instance-profile/other-instance-us-east-1"),
    with(
        "iam:CreateServiceLinkedRole",
        "role/aws-service-role/organizations.amazonaws.com/AWSServiceRoleForOrganizations",
        &[("iam:AWSServiceName", "organizations.amazonaws.com")],
    ),
];

/// Attacks on networks, instances and what belongs to them.
const NETWORKS: &[Attack] = &[
    attack("ec2:DeleteVpc", "vpc/vpc-1"),
    attack("ec2:DeleteSubnet", "subnet/subnet-1"),
    attack("ec2:DeleteSecurityGroup", "security-group/sg-1"),
    attack("ec2:DeleteRouteTable", "route-table/rtb-1"),
    attack("ec2:DeleteNatGateway", "natgateway/nat-1"),
    attack("ec2:DeleteInternetGateway", "internet-gateway/igw-1"),
    attack("ec2:DetachInternetGateway", "internet-gateway/igw-1"),
    attack("ec2:DeleteVpcEndpoints", "vpc-endpoint/vpce-1"),
    attack("ec2:DeleteFlowLogs", "vpc-flow-log/fl-1"),
    attack("ec2:ReleaseAddress", "elastic-ip/eipalloc-1"),
    attack("ec2:CreateRoute", "route-table/rtb-1"),
    attack("ec2:ReplaceRoute", "route-table/rtb-1"),
    attack("ec2:DeleteRoute", "route-table/rtb-1"),
    attack("ec2:ReplaceRouteTableAssociation", "route-table/rtb-1"),
    attack("ec2:ModifyVpcAttribute", "vpc/vpc-1"),
    attack("ec2:CreateSubnet", "vpc/vpc-1"),
    attack("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1"),
    attack("ec2:AuthorizeSecurityGroupEgress", "security-group/sg-1"),
    attack("ec2:RevokeSecurityGroupIngress", "security-group/sg-1"),
    with("ec2:CreateTags", "vpc/vpc-1", AS_OURS),
    with("ec2:CreateTags", "security-group/sg-1", AS_OURS),
    with("ec2:CreateTags", "instance/i-1", AS_OURS),
    with("ec2:CreateTags", "launch-template/lt-1", AS_OURS),
    attack("ec2:CreateVpc", "vpc/*"),
    attack("ec2:CreateSecurityGroup", "security-group/*"),
    attack("ec2:RunInstances", "instance/*"),
    attack("ec2:RunInstances", "launch-template/lt-1"),
    attack("ec2:DeleteLaunchTemplate", "launch-template/lt-1"),
    attack("ec2:CreateLaunchTemplateVersion", "launch-template/lt-1"),
    attack("ec2:ModifyLaunchTemplate", "launch-template/lt-1"),
    attack("autoscaling:UpdateAutoScalingGroup", "autoScalingGroup:1:autoScalingGroupName/other"),
    attack("autoscaling:DeleteAutoScalingGroup", "autoScalingGroup:1:autoScalingGroupName/other"),
    attack("autoscaling:DeleteAutoScalingGroup", "autoScalingGroup:1:autoScalingGroupName/shop"),
    with("autoscaling:CreateOrUpdateTags", "autoScalingGroup:1:autoScalingGroupName/other", AS_OURS),
];

/// Attacks on services, their traffic and their scaling.
const SERVICES: &[Attack] = &[
    attack("elasticloadbalancing:DeregisterTargets", "targetgroup/other-web/1"),
    attack("elasticloadbalancing:DeleteTargetGroup", "targetgroup/other-web/1"),
    attack("elasticloadbalancing:ModifyTargetGroup", "targetgroup/shop-2-web/1"),
    attack("elasticloadbalancing:DeleteTargetGroup", "targetgroup/shop-2-web/1"),
    attack("elasticloadbalancing:DeleteLoadBalancer", "loadbalancer/app/other/1"),
    attack("elasticloadbalancing:DeleteLoadBalancer", "loadbalancer/app/shop/1"),
    attack("elasticloadbalancing:SetSecurityGroups", "loadbalancer/app/shop/1"),
    attack("elasticloadbalancing:ModifyListener", "listener/app/other/1/1"),
    attack("elasticloadbalancing:DeleteListener", "listener/app/other/1/1"),
    attack("elasticloadbalancing:ModifyRule", "listener-rule/app/other/1/1/1"),
    attack("elasticloadbalancing:DeleteRule", "listener-rule/app/other/1/1/1"),
    with("elasticloadbalancing:CreateRule", "listener/app/other/1/1", AS_OURS),
    with("elasticloadbalancing:AddTags", "targetgroup/shop-2-web/1", AS_OURS),
    with("elasticloadbalancing:AddTags", "loadbalancer/app/other/1", AS_OURS),
    attack("ecs:UpdateService", "service/other/web"),
    attack("ecs:DeleteService", "service/other/web"),
    attack("ecs:StopTask", "task/other/1"),
    attack("ecs:DeleteCluster", "cluster/other"),
    attack("ecs:PutClusterCapacityProviders", "cluster/other"),
    attack("ecs:DeleteCapacityProvider", "capacity-provider/instances-of-other"),
    attack("ecs:RunTask", "task-definition/other-web:1"),
    attack("ecs:RegisterTaskDefinition", "task-definition/other-web:*"),
    attack("ecs:DeleteTaskDefinitions", "task-definition/other-web:1"),
    attack("ecs:DeleteTaskDefinitions", "task-definition/shop-2-web:1"),
    with("ecs:RunTask", "task-definition/shop-web:1", &[("ecs:cluster", "arn:aws:ecs:us-east-1:000000000000:cluster/other")]),
    with("ecs:TagResource", "service/other/web", AS_OURS),
    with("ecs:TagResource", "task-definition/shop-2-web:1", AS_OURS),
    attack("application-autoscaling:DeregisterScalableTarget", "scalable-target/1"),
    attack("application-autoscaling:RegisterScalableTarget", "scalable-target/1"),
    attack("application-autoscaling:PutScalingPolicy", "scalable-target/1"),
    attack("application-autoscaling:DeleteScalingPolicy", "scalable-target/1"),
    attack("application-autoscaling:PutScheduledAction", "scalable-target/1"),
    attack("scheduler:UpdateSchedule", "schedule/other/nightly"),
    attack("scheduler:DeleteSchedule", "schedule/default/nightly"),
    attack("scheduler:DeleteScheduleGroup", "schedule-group/other"),
    attack("servicediscovery:DeleteNamespace", "namespace/ns-1"),
];

/// Attacks on data, images, secrets, logs and alarms.
const DATA: &[Attack] = &[
    attack("ssm:GetParameters", "parameter/ecs-pipe/other/key"),
    attack("ssm:GetParameters", "parameter/database/password"),
    attack("ssm:PutParameter", "parameter/ecs-pipe/other/key"),
    attack("ssm:DeleteParameter", "parameter/ecs-pipe/other/key"),
    attack("secretsmanager:GetSecretValue", "secret:other"),
    attack("ecr:DeleteRepository", "repository/other/web"),
    attack("ecr:PutImage", "repository/other/web"),
    attack("ecr:PutLifecyclePolicy", "repository/other/web"),
    attack("ecr:DeleteRepository", "repository/shop/of-others"),
    attack("logs:DeleteLogGroup", "log-group:/ecs-pipe/other/web"),
    attack("logs:DeleteLogGroup", "log-group:/ecs-pipe-flow-logs/other"),
    attack("logs:GetLogEvents", "log-group:/ecs-pipe/other/web:log-stream:1"),
    attack("logs:PutRetentionPolicy", "log-group:/aws/lambda/orders"),
    attack("elasticfilesystem:DeleteFileSystem", "file-system/fs-1"),
    attack("elasticfilesystem:DeleteMountTarget", "file-system/fs-1"),
    attack("elasticfilesystem:PutFileSystemPolicy", "file-system/fs-1"),
    attack("elasticfilesystem:CreateAccessPoint", "file-system/fs-1"),
    attack("elasticfilesystem:DeleteAccessPoint", "access-point/fsap-1"),
    with("elasticfilesystem:TagResource", "file-system/fs-1", AS_OURS),
    attack("cloudwatch:DeleteAlarms", "alarm:other/web-cpu"),
    attack("cloudwatch:PutMetricAlarm", "alarm:other/web-cpu"),
    attack("cloudwatch:SetAlarmState", "alarm:other/web-cpu"),
    attack("cloudwatch:DeleteDashboards", "dashboard/other-us-east-1"),
    attack("sns:DeleteTopic", "other-alarms"),
    attack("sns:Subscribe", "other-alarms"),
    attack("sns:Subscribe", "shop-2-alarms"),
    attack("kms:CreateGrant", "key/1"),
    attack("kms:DescribeKey", "key/1"),
    attack("kms:RetireGrant", "key/1"),
];

/// What AWS has no condition for, as the policies say.
const OPEN: &[(&str, &str)] = &[("ec2:RevokeSecurityGroupIngress", "without the tag of an app")];

/// Returns the attack's keys for a resource with the tag of another app, or without tags.
fn keys(attack: &Attack, tagged: bool) -> Keys {
    let own = attack.keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    own.chain(tagged.then(|| ("aws:ResourceTag/ecs-pipe:app".to_owned(), "other".to_owned()))).collect()
}

/// A load balancer that exists, for `x-svc.alb`.
const BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/shared/50dc6c495c0c9188";

/// An app may create its rules on the listeners of `x-svc.alb`, and change nothing else of it.
#[test]
fn an_existing_load_balancer_gets_rules_only() {
    let doc = json!({"name": "shop", "x-svc": {"alb": BALANCER}}).to_string();
    let policy = run("http://127.0.0.1:1", "svc-deploy", &["--policy"], &doc).ok().doc();
    let account = Account::new();
    let may = |action: &str, on: &str, keys: &[(&str, &str)]| {
        let keys: Keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        allows(&policy, &account.request(action, &arn("elasticloadbalancing", on), &keys))
    };
    let (listener, rule) = ("listener/app/shared/50dc6c495c0c9188/1", "listener-rule/app/shared/50dc6c495c0c9188/1/1");
    let created = ("elasticloadbalancing:CreateAction", "CreateRule");
    let ours = ("aws:ResourceTag/ecs-pipe:app", "shop");
    assert!(may("elasticloadbalancing:CreateRule", listener, AS_OURS));
    assert!(may("elasticloadbalancing:AddTags", rule, &[AS_OURS, &[created]].concat()));
    assert!(may("elasticloadbalancing:ModifyRule", rule, &[ours]) && may("elasticloadbalancing:DeleteRule", rule, &[ours]));
    assert!(!may("elasticloadbalancing:CreateRule", "listener/app/other/50dc6c495c0c9188/1", AS_OURS));
    assert!(!may("elasticloadbalancing:CreateListener", "loadbalancer/app/shared/50dc6c495c0c9188", AS_OURS));
    for (action, on) in [("ModifyRule", rule), ("DeleteRule", rule), ("ModifyListener", listener), ("DeleteListener", listener)] {
        assert!(!may(&format!("elasticloadbalancing:{action}"), on, &[]), "{action}");
    }
}

/// The largest managed policy, without white space.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LARGEST: usize = 6144;

#[test]
fn each_policy_fits_into_a_managed_policy() {
    let name = "a-name-of-20-letters";
    let key = format!("arn:aws:kms:eu-central-1:123456789012:key/{name}");
    let boundary = "arn:aws:iam::123456789012:policy/teams/the-limit-of-a-team";
    let doc = json!({"name": name, "x-net": {"vpc": "vpc-0123456789abcdef0", "permissions_boundary": boundary},
        "x-cluster": {"permissions_boundary": boundary}, "x-img": {"kms_key": key}, "x-svc": {"permissions_boundary": boundary, "alb": BALANCER},
        "services": {"web": {"x-svc": {"task_role": {"policies": [format!("arn:aws:iam::123456789012:policy/{name}")]}}}}});
    for (tool, doc) in TOOLS.iter().flat_map(|tool| [(tool, doc.to_string()), (tool, String::new())]) {
        let policy = run("http://127.0.0.1:1", tool, &["--policy"], &doc).ok().stdout;
        let size = policy.chars().filter(|c| !c.is_whitespace()).count();
        assert!(size <= LARGEST, "{tool}: {size} {doc}");
    }
}

#[test]
fn attacks_are_denied() {
    let policies: Vec<Value> =
        TOOLS.iter().map(|tool| run("http://127.0.0.1:1", tool, &["--policy", "--app", "shop"], "").ok().doc()).collect();
    let account = Account::new();
    let mut allowed = BTreeSet::new();
    for attack in [ROLES, NETWORKS, SERVICES, DATA].into_iter().flatten() {
        let resource = arn(attack.action.split(':').next().unwrap_or_default(), attack.on);
        for (tagged, tags) in [(false, "without the tag of an app"), (true, "of another app")] {
            let request = account.request(attack.action, &resource, &keys(attack, tagged));
            if policies.iter().any(|policy| allows(policy, &request)) && !OPEN.contains(&(attack.action, tags)) {
                allowed.insert(format!("{} {} {tags} {:?}", attack.action, attack.on, attack.keys));
            }
        }
    }
    assert!(allowed.is_empty(), "the policies allow: {allowed:#?}");
}

/// Without an app, the policies are for all apps. What no app has is still safe.
#[test]
fn policies_for_all_apps_leave_the_rest_alone() {
    let policies: Vec<Value> = TOOLS.iter().map(|tool| run("http://127.0.0.1:1", tool, &["--policy"], "").ok().doc()).collect();
    let account = Account::new();
    for (action, on) in [
        ("iam:PutRolePolicy", "role/admin"),
        ("iam:PassRole", "role/admin"),
        ("iam:AttachRolePolicy", "role/ecs-pipe/other/other-web-task-us-east-1"),
        ("ec2:DeleteVpc", "vpc/vpc-1"),
        ("ec2:CreateTags", "vpc/vpc-1"),
        ("ecs:DeleteService", "service/default/web"),
        ("ecr:DeleteRepository", "repository/team/web"),
        ("elasticloadbalancing:DeleteLoadBalancer", "loadbalancer/app/web/1"),
        ("autoscaling:DeleteAutoScalingGroup", "autoScalingGroup:1:autoScalingGroupName/web"),
        ("cloudwatch:DeleteAlarms", "alarm:team/web"),
        ("sns:DeleteTopic", "team-alarms"),
        ("ssm:GetParameters", "parameter/database/password"),
        ("logs:DeleteLogGroup", "log-group:/aws/lambda/orders"),
        ("application-autoscaling:DeregisterScalableTarget", "scalable-target/1"),
    ] {
        let request = account.request(action, &arn(action.split(':').next().unwrap_or_default(), on), &[]);
        assert!(!policies.iter().any(|policy| allows(policy, &request)), "{action} {on}");
    }
}
