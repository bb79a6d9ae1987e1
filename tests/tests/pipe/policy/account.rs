//! What an account has, as IAM sees it, and what a call asks of IAM.

use std::collections::BTreeMap;

use tests::Call;

use super::evaluator::Request;
use super::parameters::{Parameters, Tags};
use super::resources::{arn, find, made, mentioned, named, new, part, tagging};

/// The types of resources and the condition keys of each action.
const AUTHORIZATION: &str = include_str!("authorization.txt");

pub type Keys = Vec<(String, String)>;

/// One type of resource of an action.
struct Checked {
    /// How the resource's part of an ARN begins. `-` for the request itself.
    kind: &'static str,
    required: bool,
    keys: Vec<&'static str>,
}

/// The resources of an account that calls have created.
pub struct Account {
    actions: BTreeMap<&'static str, Vec<Checked>>,
    tags: BTreeMap<String, Tags>,
    /// Other names of resources, for example that of a role without its path.
    known: BTreeMap<String, String>,
    boundaries: BTreeMap<String, String>,
    /// The tags of a namespace whose ID is not known yet.
    namespace: Tags,
}

impl Account {
    pub fn new() -> Self {
        let lines = AUTHORIZATION.lines().filter(|line| !line.starts_with('#'));
        let actions = lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).map(|(action, checked)| (action, checks(checked)));
        let (tags, known, boundaries) = Default::default();
        Self { actions: actions.collect(), tags, known, boundaries, namespace: Tags::new() }
    }

    fn checked(&self, action: &str) -> &[Checked] {
        self.actions.get(action).unwrap_or_else(|| unreachable!("{action} is not in authorization.txt"))
    }

    /// Returns a request for one resource, with those of these keys that AWS supports for it.
    pub fn request(&self, action: &str, resource: &str, keys: &[(String, String)]) -> Request {
        let of_resource = self.checked(action).iter().filter(|one| one.kind == "-" || is_of(resource, one.kind));
        let supported: Vec<&str> = of_resource.flat_map(|one| one.keys.iter().copied()).collect();
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in keys.iter().filter(|(key, _)| supported.contains(&key.split('/').next().unwrap_or_default())) {
            all.entry(key.clone()).or_default().push(value.clone());
        }
        Request { action: action.to_owned(), resource: resource.to_owned(), keys: all }
    }

    /// Returns all that a call asks of IAM.
    pub fn requests(&self, call: &Call) -> Vec<Request> {
        let parameters = Parameters::of(call);
        let (service, operation) = call.action.split_once(':').unwrap_or_default();
        let (named, mut keys) = (named(&call.action, &parameters, &self.known), request_keys(&parameters));
        let mut all = Vec::new();
        for checked in self.checked(&call.action).iter().filter(|one| one.kind != "-") {
            let mut on: Vec<String> = named.iter().filter(|arn| is_of(arn, checked.kind)).cloned().collect();
            if on.is_empty() && checked.required {
                on.push(new(service, checked.kind, &parameters));
            }
            all.extend(on.iter().map(|arn| self.request(&call.action, arn, &[keys.clone(), self.resource_keys(arn)].concat())));
        }
        if all.is_empty() {
            all.push(self.request(&call.action, "*", &keys));
        }
        if let Some(tagging) = tagging(&call.action).filter(|_| !parameters.tags.is_empty()) {
            let made = made(&call.action, &parameters).unwrap_or_else(|| all[0].resource.clone());
            keys.push((format!("{service}:CreateAction"), operation.to_owned()));
            all.push(self.request(tagging, &made, &[keys, self.resource_keys(&made)].concat()));
        }
        all.extend(self.dependent(&call.action, &parameters, &named));
        all
    }

    /// Returns what AWS checks for what it does with the caller's permissions, and for roles that the call passes on.
    fn dependent(&self, action: &str, parameters: &Parameters, named: &[String]) -> Vec<Request> {
        let pass = |role: &str, service: &str| {
            self.request("iam:PassRole", role, &[("iam:PassedToService".to_owned(), format!("{service}.amazonaws.com"))])
        };
        let passed = |names: &[&str], service: &str| parameters.all(names).map(|role| pass(role, service)).collect::<Vec<_>>();
        match action {
            "ecs:RegisterTaskDefinition" => passed(&["taskrolearn", "executionrolearn"], "ecs-tasks"),
            "scheduler:CreateSchedule" | "scheduler:UpdateSchedule" => passed(&["target.rolearn"], "scheduler"),
            "ec2:CreateFlowLogs" => passed(&["deliverlogspermissionarn"], "vpc-flow-logs"),
            "iam:AddRoleToInstanceProfile" => named.iter().filter(|arn| is_of(arn, "role")).map(|role| pass(role, "ec2")).collect(),
            "autoscaling:CreateAutoScalingGroup" => self.launch(parameters),
            // The network interfaces of a mount target.
            "elasticfilesystem:CreateMountTarget" => {
                let on = mentioned("ec2", &parameters.text).into_iter().chain([arn("ec2", "network-interface/*")]);
                on.map(|arn| self.request("ec2:CreateNetworkInterface", &arn, &self.resource_keys(&arn))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// An Auto Scaling group starts instances of its launch template with the permissions of the caller.
    fn launch(&self, parameters: &Parameters) -> Vec<Request> {
        let mixed = "mixedinstancespolicy.launchtemplate.launchtemplatespecification.launchtemplatename";
        let name = parameters.one("launchtemplate.launchtemplatename").or_else(|| parameters.one(mixed));
        let template = name.and_then(|name| self.known.get(name)).unwrap_or_else(|| unreachable!("no launch template"));
        let mut keys = request_keys(parameters);
        keys.extend([("ec2:LaunchTemplate".to_owned(), template.clone()), ("ec2:CreateAction".to_owned(), "RunInstances".to_owned())]);
        let mut on = vec![template.clone(), arn("ec2", "image/ami-1")];
        on.extend(["instance/*", "network-interface/*", "volume/*"].map(|part| arn("ec2", part)));
        on.extend(mentioned("ec2", &parameters.text));
        let is_group = |(arn, tags): &(&String, &Tags)| {
            is_of(arn, "security-group") && tags.get("ecs-pipe:name").is_some_and(|name| name == "instances")
        };
        on.extend(self.tags.iter().filter(is_group).map(|(arn, _)| arn.clone()));
        let run = on.iter().map(|arn| self.request("ec2:RunInstances", arn, &[keys.clone(), self.resource_keys(arn)].concat()));
        run.chain([self.request("ec2:CreateTags", &arn("ec2", "instance/*"), &keys)]).collect()
    }

    fn resource_keys(&self, arn: &str) -> Keys {
        let tags = self.tags.get(arn).into_iter().flatten().map(|(key, value)| (format!("aws:ResourceTag/{key}"), value.clone()));
        tags.chain(self.boundaries.get(arn).map(|boundary| ("iam:PermissionsBoundary".to_owned(), boundary.clone()))).collect()
    }

    /// Notes what a call has created and tagged.
    pub fn note(&mut self, call: &Call) {
        if !(200..300).contains(&call.status) {
            return;
        }
        let parameters = Parameters::of(call);
        let service = call.action.split(':').next().unwrap_or_default();
        let returned = mentioned(service, &call.answer);
        self.note_names(&call.action, &parameters, &returned, &call.answer);
        let named = named(&call.action, &parameters, &self.known);
        match call.action.as_str() {
            "iam:DeleteRolePermissionsBoundary" => named.iter().for_each(|arn| drop(self.boundaries.remove(arn))),
            "iam:CreateRole" | "iam:PutRolePermissionsBoundary" => {
                let boundary = parameters.one("permissionsboundary").map(str::to_owned);
                self.boundaries.extend(named.iter().cloned().zip(boundary));
            }
            "servicediscovery:CreateHttpNamespace" => self.namespace.clone_from(&parameters.tags),
            "servicediscovery:GetOperation" => {
                let made = find("ns-[a-z0-9]+", &call.answer).into_iter().map(|id| arn("servicediscovery", &format!("namespace/{id}")));
                self.tags.extend(made.map(|arn| (arn, self.namespace.clone())));
            }
            _ => {}
        }
        let made: Vec<String> = returned.into_iter().filter(|arn| tagging(&call.action).is_some() && !named.contains(arn)).collect();
        for arn in if made.is_empty() { named } else { made } {
            self.tags.entry(arn).or_default().extend(parameters.tags.clone());
        }
    }

    fn note_names(&mut self, action: &str, parameters: &Parameters, returned: &[String], answer: &str) {
        let (first, one) = (returned.first().cloned(), |name: &str| parameters.one(name).map(str::to_owned));
        let id = |pattern: &str| find(pattern, answer).into_iter().next();
        let names = mentioned("ec2", &parameters.text);
        let known = match action {
            "iam:CreateRole" => one("rolename").map(|name| format!("role/{name}")).zip(first),
            "ec2:CreateLaunchTemplate" => one("launchtemplatename").zip(first),
            "ec2:AssociateRouteTable" => id("rtbassoc-[0-9a-f]+").zip(names.into_iter().find(|arn| is_of(arn, "route-table"))),
            "elasticfilesystem:CreateMountTarget" => id("fsmt-[0-9a-f]+")
                .zip(find("fs-[0-9a-f]+", &parameters.text).first().map(|id| arn("elasticfilesystem", &format!("file-system/{id}")))),
            "application-autoscaling:RegisterScalableTarget" => one("resourceid").zip(first),
            _ => None,
        };
        self.known.extend(known);
    }
}

fn checks(line: &'static str) -> Vec<Checked> {
    let one = |text: &'static str| {
        let (kind, keys) = text.split_once('=').unwrap_or((text, ""));
        let (name, required) = kind.strip_suffix('*').map_or((kind, false), |kind| (kind, true));
        Checked { kind: name, required, keys: keys.split(',').filter(|key| !key.is_empty()).collect() }
    };
    line.split(' ').filter(|text| !text.is_empty()).map(one).collect()
}

/// Returns whether an ARN is of a resource of this type. A topic's ARN ends in its name.
fn is_of(arn: &str, kind: &str) -> bool {
    match part(arn).strip_prefix(kind) {
        Some(rest) => rest.starts_with(['/', ':']),
        None => kind == "topic" && !part(arn).contains(['/', ':']),
    }
}

fn request_keys(parameters: &Parameters) -> Keys {
    let named =
        [("policyarn", "iam:PolicyARN"), ("permissionsboundary", "iam:PermissionsBoundary"), ("awsservicename", "iam:AWSServiceName")];
    let named = named.iter().filter_map(|(name, key)| Some(((*key).to_owned(), parameters.one(name)?.to_owned())));
    let tags = parameters.tags.iter().map(|(key, value)| (format!("aws:RequestTag/{key}"), value.clone()));
    let cluster = parameters.one("cluster").map(|cluster| {
        let arn = if cluster.starts_with("arn:") { cluster.to_owned() } else { arn("ecs", &format!("cluster/{cluster}")) };
        ("ecs:cluster".to_owned(), arn)
    });
    named.chain(tags).chain(cluster).collect()
}
