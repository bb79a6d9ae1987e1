//! The ARNs of the resources that a call names, creates, or returns.

use std::collections::BTreeMap;

use regex::Regex;

use super::parameters::Parameters;

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

/// How EC2's IDs of a type of resource begin.
const IDS: &[(&str, &str)] = &[
    ("eipalloc", "elastic-ip"),
    ("fl", "vpc-flow-log"),
    ("igw", "internet-gateway"),
    ("lt", "launch-template"),
    ("nat", "natgateway"),
    ("rtb", "route-table"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("vpc", "vpc"),
    ("vpce", "vpc-endpoint"),
];

/// Returns the ARN of a resource in the account of the tests.
pub fn arn(service: &str, part: &str) -> String {
    let region = if service == "iam" || part.starts_with("dashboard/") { "" } else { REGION };
    let account = if part.starts_with("image/") { "" } else { ACCOUNT };
    format!("arn:aws:{service}:{region}:{account}:{part}")
}

/// Returns the part of an ARN behind the account.
pub fn part(arn: &str) -> &str {
    arn.splitn(6, ':').nth(5).unwrap_or_default()
}

/// Returns all that is like this in a text.
pub fn find(pattern: &str, text: &str) -> Vec<String> {
    Regex::new(pattern).unwrap().find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

/// Returns the ARNs of a service in a text, and those of EC2's IDs.
pub fn mentioned(service: &str, text: &str) -> Vec<String> {
    let mut all = find(&format!(r#"arn:aws:{service}:[^"<&,?\s\\]*"#), text);
    // The ARN of a log group has two forms.
    for arn in &mut all {
        arn.truncate(arn.strip_suffix(":*").unwrap_or(arn).len());
    }
    if service == "ec2" {
        let kind = |id: &str| IDS.iter().find(|(prefix, _)| id.split('-').next() == Some(prefix)).map(|(_, kind)| *kind);
        all.extend(find(r"\b[a-z]+-[0-9a-f]{8,17}\b", text).iter().filter_map(|id| Some(arn("ec2", &format!("{}/{id}", kind(id)?)))));
    }
    all
}

/// Returns the ARNs of the resources that a call names. `known` are other names of resources.
pub fn named(action: &str, parameters: &Parameters, known: &BTreeMap<String, String>) -> Vec<String> {
    let (service, operation) = action.split_once(':').unwrap_or_default();
    // Policies name roles that the call does not touch.
    let mut all = if service == "iam" { Vec::new() } else { mentioned(service, &parameters.text) };
    all.extend(known.iter().filter(|(name, _)| parameters.has(name)).map(|(_, arn)| arn.clone()));
    all.extend(parts(service, operation, parameters, known).iter().map(|part| arn(service, part)));
    all.retain(|arn| arn.starts_with(&format!("arn:aws:{service}:")));
    all.sort();
    all.dedup();
    all
}

fn parts(service: &str, operation: &str, parameters: &Parameters, known: &BTreeMap<String, String>) -> Vec<String> {
    let within = |names: &[&str], part: &str| {
        parameters.all(names).filter(|name| !name.starts_with("arn:")).map(|name| part.replace("{}", name)).collect::<Vec<_>>()
    };
    match service {
        "ecs" => ecs_parts(operation, parameters, within),
        "iam" => {
            let path = parameters.one("path").unwrap_or("/");
            let role = parameters
                .one("rolename")
                .map(|name| known.get(&format!("role/{name}")).map_or_else(|| format!("role{path}{name}"), |arn| part(arn).to_owned()));
            role.into_iter().chain(within(&["instanceprofilename"], "instance-profile/{}")).collect()
        }
        "logs" if operation == "GetLogEvents" => within(&["loggroupname"], "log-group:{}:log-stream:1"),
        "logs" => within(&["loggroupname"], "log-group:{}"),
        "ecr" => within(&["repositoryname", "repositorynames"], "repository/{}"),
        "ssm" => within(&["name", "names", "resourceid"], "parameter{}"),
        "sns" => within(&["name"], "{}"),
        "cloudwatch" => {
            [within(&["alarmname", "alarmnames"], "alarm:{}"), within(&["dashboardname", "dashboardnames"], "dashboard/{}")].concat()
        }
        "autoscaling" => within(&["autoscalinggroupname", "tags.resourceid"], "autoScalingGroup:1:autoScalingGroupName/{}"),
        "servicediscovery" => within(&["id"], "namespace/{}"),
        "scheduler" => parameters.schedule().into_iter().collect(),
        "elasticfilesystem" => {
            let ids =
                |pattern: &str, kind: &str| find(pattern, &parameters.text).iter().map(|id| format!("{kind}/{id}")).collect::<Vec<_>>();
            let systems =
                find("fsmt-[0-9a-f]+", &parameters.text).into_iter().filter_map(|id| known.get(&id)).map(|arn| part(arn).to_owned());
            [ids("fs-[0-9a-f]+", "file-system"), ids("fsap-[0-9a-f]+", "access-point"), systems.collect()].concat()
        }
        _ => Vec::new(),
    }
}

fn ecs_parts(operation: &str, parameters: &Parameters, within: impl Fn(&[&str], &str) -> Vec<String>) -> Vec<String> {
    if operation.ends_with("CapacityProvider") || operation.ends_with("CapacityProviders") && operation.starts_with("Describe") {
        return within(&["name", "capacityprovider", "capacityproviders"], "capacity-provider/{}");
    }
    let cluster = parameters.one("cluster").and_then(|cluster| cluster.rsplit('/').next()).unwrap_or_default();
    let mut all = within(&["cluster", "clusters", "clustername"], "cluster/{}");
    all.extend(within(&["service", "services", "servicename"], &format!("service/{cluster}/{{}}")));
    all.extend(within(&["task", "tasks"], &format!("task/{cluster}/{{}}")));
    all.extend(within(&["taskdefinition", "taskdefinitions"], "task-definition/{}"));
    all.extend(within(&["family"], "task-definition/{}:1"));
    if operation == "ListTasks" {
        all.push(format!("container-instance/{cluster}/1"));
    }
    all
}

/// Returns a resource that does not exist yet.
pub fn new(service: &str, kind: &str, parameters: &Parameters) -> String {
    let name = parameters.one("name").unwrap_or("1");
    match kind {
        "loadbalancer/app" | "targetgroup" => arn(service, &format!("{kind}/{name}/1")),
        "role" => {
            let service = parameters.one("awsservicename").unwrap_or("1");
            arn("iam", &format!("role/aws-service-role/{service}/AWSServiceRole"))
        }
        _ => arn(service, &format!("{kind}/*")),
    }
}

/// Returns the action with which AWS lets a call set tags on what it creates.
pub fn tagging(action: &str) -> Option<&'static str> {
    let (service, operation) = action.split_once(':')?;
    let creates = ["Create", "Put", "Register", "Allocate", "Run"].iter().any(|verb| operation.starts_with(verb));
    match service {
        _ if !creates || operation == "CreateTags" || operation == "CreateOrUpdateTags" => None,
        "application-autoscaling" => Some("application-autoscaling:TagResource"),
        "autoscaling" => Some("autoscaling:CreateOrUpdateTags"),
        "cloudwatch" => Some("cloudwatch:TagResource"),
        "ec2" => Some("ec2:CreateTags"),
        "ecr" => Some("ecr:TagResource"),
        "ecs" => Some("ecs:TagResource"),
        "elasticfilesystem" => Some("elasticfilesystem:TagResource"),
        "elasticloadbalancing" => Some("elasticloadbalancing:AddTags"),
        "iam" if operation == "CreateInstanceProfile" => Some("iam:TagInstanceProfile"),
        "iam" => Some("iam:TagRole"),
        "logs" => Some("logs:TagResource"),
        "scheduler" => Some("scheduler:TagResource"),
        "servicediscovery" => Some("servicediscovery:TagResource"),
        "sns" => Some("sns:TagResource"),
        "ssm" => Some("ssm:AddTagsToResource"),
        _ => None,
    }
}

/// Returns what a call creates where that is not what it is authorized on.
pub fn made(action: &str, parameters: &Parameters) -> Option<String> {
    let below = |kind: &str, of: &str| {
        let parent = mentioned("elasticloadbalancing", &parameters.text).into_iter().find(|arn| part(arn).starts_with(of))?;
        Some(format!("{}/1", parent.replacen(&format!(":{of}"), &format!(":{kind}"), 1)))
    };
    match action {
        "elasticloadbalancing:CreateListener" => below("listener/app", "loadbalancer/app"),
        "elasticloadbalancing:CreateRule" => below("listener-rule/app", "listener/app"),
        "elasticfilesystem:CreateFileSystem" => Some(arn("elasticfilesystem", "file-system/*")),
        "elasticfilesystem:CreateAccessPoint" => Some(arn("elasticfilesystem", "access-point/*")),
        "ecs:RunTask" => Some(arn("ecs", &format!("task/{}/1", parameters.one("cluster")?.rsplit('/').next()?))),
        _ => None,
    }
}
