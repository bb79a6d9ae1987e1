//! The resources of an app in an account. The tests ask AWS what is left, not the tools.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use regex::Regex;
use shared::owner::TAG_APP;

use crate::Clients;

/// Returns everything that has the app's tag or its name, as `kind id`.
///
/// # Panics
/// If the local AWS does not respond.
#[must_use]
pub fn resources(endpoint: &str, app: &str) -> Vec<String> {
    let clients =
        CLIENTS.with_borrow_mut(|all| Rc::clone(all.entry(endpoint.to_owned()).or_insert_with(|| Rc::new(Clients::at(endpoint)))));
    clients.wait(async {
        let mut all = network(&clients, app).await;
        all.extend(compute(&clients, app).await);
        all.extend(balancing(&clients, app).await);
        all.extend(watching(&clients, app).await);
        all.extend(keeping(&clients, app).await);
        all
    })
}

thread_local! {
    /// The clients of an endpoint. A test asks many times, and new clients read all root certificates.
    static CLIENTS: RefCell<HashMap<String, Rc<Clients>>> = RefCell::default();
}

/// What replaces the ids that AWS chooses. Compiled once, because that takes milliseconds.
static IDS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        (r"\b(vpc|subnet|igw|nat|eipalloc|rtb|sg|lt|vpce|fl|fs|fsmt|fsap)-[0-9a-f]{8,}\b", "$1-*"),
        (r"\bns-[0-9a-z]{16,}\b", "ns-*"),
        (r"((?:loadbalancer/app|targetgroup|listener/app|listener-rule/app)/[\w-]+)(?:/\w+)+", "$1/*"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "*"),
        (r"http://[\w.-]+", "*"),
        (r"(task-definition/[\w-]+):\d+", "$1:*"),
    ];
    patterns.into_iter().map(|(pattern, instead)| (Regex::new(pattern).unwrap_or_else(|error| unreachable!("{error}")), instead)).collect()
});

/// Returns a text without the ids that AWS chooses.
#[must_use]
pub fn nameless(text: &str) -> String {
    IDS.iter().fold(text.to_owned(), |text, (pattern, instead)| pattern.replace_all(&text, *instead).into_owned())
}

/// Returns the resources of an app by kind and name, without ids, so that two accounts can be
/// compared. A family of task definitions is one of them, however many revisions it has.
#[must_use]
pub fn holdings(endpoint: &str, app: &str) -> Vec<String> {
    let mut all: Vec<String> = resources(endpoint, app).iter().map(|line| nameless(line)).collect();
    all.sort();
    all.dedup_by(|one, other| one == other && one.starts_with("task definition "));
    all
}

fn listed<T, E: std::fmt::Debug>(kind: &str, answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|error| unreachable!("could not list {kind}: {error:?}"))
}

/// Lists the network, by tag, without what is deleted but still visible. The emulators need long for
/// lists of all apps, so they get a filter, which not all of their calls know.
async fn network(clients: &Clients, app: &str) -> Vec<String> {
    use aws_sdk_ec2::types::{Filter, NatGatewayState, Tag};
    let ec2 = &clients.ec2;
    let ours = || Filter::builder().name(format!("tag:{TAG_APP}")).values(app).build();
    let of_app = |tags: &[Tag]| tags.iter().any(|tag| tag.key() == Some(TAG_APP) && tag.value() == Some(app));
    let mut all = Vec::new();
    let mut add = |kind: &str, id: Option<&str>| all.push(format!("{kind} {}", id.unwrap_or_default()));
    let vpcs = listed("VPCs", ec2.describe_vpcs().filters(ours()).send().await);
    vpcs.vpcs().iter().filter(|one| of_app(one.tags())).for_each(|one| add("vpc", one.vpc_id()));
    let subnets = listed("subnets", ec2.describe_subnets().filters(ours()).send().await);
    subnets.subnets().iter().filter(|one| of_app(one.tags())).for_each(|one| add("subnet", one.subnet_id()));
    let gateways = listed("internet gateways", ec2.describe_internet_gateways().filters(ours()).send().await);
    gateways.internet_gateways().iter().filter(|one| of_app(one.tags())).for_each(|one| add("internet gateway", one.internet_gateway_id()));
    let nats = listed("NAT gateways", ec2.describe_nat_gateways().filter(ours()).send().await);
    let alive = nats.nat_gateways().iter().filter(|one| one.state() != Some(&NatGatewayState::Deleted));
    alive.filter(|one| of_app(one.tags())).for_each(|one| add("NAT gateway", one.nat_gateway_id()));
    let addresses = listed("addresses", ec2.describe_addresses().filters(ours()).send().await);
    addresses.addresses().iter().filter(|one| of_app(one.tags())).for_each(|one| add("elastic IP", one.allocation_id()));
    let flows = listed("flow logs", ec2.describe_flow_logs().filter(ours()).send().await);
    flows.flow_logs().iter().filter(|one| of_app(one.tags())).for_each(|one| add("flow log", one.flow_log_id()));
    let tables = listed("route tables", ec2.describe_route_tables().filters(ours()).send().await);
    tables.route_tables().iter().filter(|one| of_app(one.tags())).for_each(|one| add("route table", one.route_table_id()));
    let groups = listed("security groups", ec2.describe_security_groups().send().await);
    let named = |name: Option<&str>| name.is_some_and(|name| name.strip_prefix(app).is_some_and(|rest| rest.starts_with('-')));
    groups
        .security_groups()
        .iter()
        .filter(|one| of_app(one.tags()) || named(one.group_name()))
        .for_each(|one| add("security group", one.group_id()));
    let endpoints = listed("VPC endpoints", ec2.describe_vpc_endpoints().filters(ours()).send().await);
    let alive =
        endpoints.vpc_endpoints().iter().filter(|one| one.state().is_none_or(|state| !state.as_str().eq_ignore_ascii_case("deleted")));
    alive.filter(|one| of_app(one.tags())).for_each(|one| add("VPC endpoint", one.vpc_endpoint_id()));
    let templates = listed("launch templates", ec2.describe_launch_templates().send().await);
    templates
        .launch_templates()
        .iter()
        .filter(|one| one.launch_template_name() == Some(app))
        .for_each(|one| add("launch template", one.launch_template_id()));
    all
}

/// Lists clusters, services, task definitions, instances, roles and repositories.
async fn compute(clients: &Clients, app: &str) -> Vec<String> {
    let (ecs, iam) = (&clients.ecs, &clients.iam);
    let (groups, ecr) = (&clients.groups, &clients.ecr);
    let mut all = Vec::new();
    let mut add = |kind: &str, id: &str| all.push(format!("{kind} {id}"));
    let clusters = listed("clusters", ecs.describe_clusters().clusters(app).send().await);
    // A deleted cluster is still visible for a while, and has no services.
    for cluster in clusters.clusters().iter().filter(|one| one.status() != Some("INACTIVE")) {
        add("cluster", cluster.cluster_name().unwrap_or_default());
        let arns = listed("services", ecs.list_services().cluster(app).send().await).service_arns().to_vec();
        if !arns.is_empty() {
            let services = listed("services", ecs.describe_services().cluster(app).set_services(Some(arns)).send().await);
            let there = services.services().iter().filter(|one| one.status() != Some("INACTIVE"));
            there.for_each(|one| add("service", one.service_name().unwrap_or_default()));
        }
    }
    let cloud_map = &clients.cloud_map;
    let namespaces = listed("namespaces", cloud_map.list_namespaces().send().await);
    namespaces.namespaces().iter().filter(|one| one.name() == Some(app)).for_each(|one| add("namespace", one.name().unwrap_or_default()));
    let provider = format!("instances-of-{app}");
    let providers = listed("capacity providers", ecs.describe_capacity_providers().capacity_providers(&provider).send().await);
    let active = providers.capacity_providers().iter().filter(|one| one.status().is_some_and(|status| status.as_str() == "ACTIVE"));
    active.for_each(|one| add("capacity provider", one.name().unwrap_or_default()));
    let pages = ecs.list_task_definitions().family_prefix(app).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let of_app = |arn: &&String| arn.rsplit('/').next().is_some_and(|name| name.starts_with(&format!("{app}-")));
    listed("task definitions", pages).iter().filter(of_app).for_each(|arn| add("task definition", arn));
    let found = listed("Auto Scaling groups", groups.describe_auto_scaling_groups().auto_scaling_group_names(app).send().await);
    found.auto_scaling_groups().iter().for_each(|one| add("Auto Scaling group", one.auto_scaling_group_name().unwrap_or_default()));
    let roles = listed("roles", iam.list_roles().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await);
    roles.iter().filter(|one| one.role_name().starts_with(&format!("{app}-"))).for_each(|one| add("role", one.role_name()));
    let profiles =
        listed("instance profiles", iam.list_instance_profiles().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await);
    profiles
        .iter()
        .filter(|one| one.instance_profile_name().starts_with(&format!("{app}-")))
        .for_each(|one| add("instance profile", one.instance_profile_name()));
    let repositories =
        listed("repositories", ecr.describe_repositories().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await);
    let of_app = |name: &&str| name.starts_with(&format!("{app}/"));
    repositories.iter().filter_map(|one| one.repository_name()).filter(of_app).for_each(|name| add("repository", name));
    all
}

/// Lists load balancers with their listeners, and target groups.
async fn balancing(clients: &Clients, app: &str) -> Vec<String> {
    let elb = &clients.elb;
    let mut all = Vec::new();
    let balancers = listed("load balancers", elb.describe_load_balancers().send().await);
    for one in balancers.load_balancers().iter().filter(|one| one.load_balancer_name() == Some(app)) {
        all.push(format!("load balancer {app}"));
        let listeners =
            listed("listeners", elb.describe_listeners().load_balancer_arn(one.load_balancer_arn().unwrap_or_default()).send().await);
        all.extend(listeners.listeners().iter().map(|one| format!("listener {}", one.port().unwrap_or_default())));
    }
    let groups = listed("target groups", elb.describe_target_groups().send().await);
    let names = groups.target_groups().iter().filter_map(|one| one.target_group_name());
    all.extend(names.filter(|name| name.starts_with(&format!("{app}-"))).map(|name| format!("target group {name}")));
    all
}

/// Lists log groups, alarms, topics, schedule groups and scalable targets.
async fn watching(clients: &Clients, app: &str) -> Vec<String> {
    use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
    use aws_sdk_cloudwatch::types::AlarmType;
    let (logs, cloudwatch) = (&clients.logs, &clients.cloudwatch);
    let (sns, scaling) = (&clients.sns, &clients.application);
    let groups = listed("log groups", logs.describe_log_groups().log_group_name_prefix(format!("/ecs-pipe/{app}/")).send().await);
    let mut all: Vec<String> =
        groups.log_groups().iter().map(|one| format!("log group {}", one.log_group_name().unwrap_or_default())).collect();
    let flows = listed("log groups", logs.describe_log_groups().log_group_name_prefix(format!("/ecs-pipe-flow-logs/{app}")).send().await);
    all.extend(flows.log_groups().iter().map(|one| format!("log group {}", one.log_group_name().unwrap_or_default())));
    let alarms = listed("alarms", cloudwatch.describe_alarms().alarm_name_prefix(format!("{app}/")).send().await);
    all.extend(alarms.metric_alarms().iter().map(|one| format!("alarm {}", one.alarm_name().unwrap_or_default())));
    // Without types, the answer has no composite alarms.
    let composite = cloudwatch.describe_alarms().alarm_name_prefix(format!("{app}/")).alarm_types(AlarmType::CompositeAlarm);
    let composite = listed("composite alarms", composite.send().await);
    all.extend(composite.composite_alarms().iter().map(|one| format!("composite alarm {}", one.alarm_name().unwrap_or_default())));
    let dashboard = format!("{app}-{}", cloudwatch.config().region().map(AsRef::as_ref).unwrap_or_default());
    let said = cloudwatch.get_dashboard().dashboard_name(&dashboard).send().await;
    if !said.as_ref().err().and_then(ProvideErrorMetadata::code).is_some_and(|code| code.contains("NotFound")) {
        listed("dashboards", said);
        all.push(format!("dashboard {dashboard}"));
    }
    let topics = listed("topics", sns.list_topics().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await);
    all.extend(
        topics
            .iter()
            .filter_map(|one| one.topic_arn())
            .filter(|arn| arn.ends_with(&format!(":{app}-alarms")))
            .map(|arn| format!("topic {arn}")),
    );
    let scheduler = &clients.scheduler;
    let groups = listed("schedule groups", scheduler.list_schedule_groups().name_prefix(app).send().await);
    all.extend(groups.schedule_groups().iter().filter(|one| one.name() == Some(app)).map(|_| format!("schedule group {app}")));
    let timed = listed("schedules", scheduler.list_schedules().name_prefix(format!("{app}-")).send().await);
    let of_app = timed.schedules().iter().filter(|one| one.group_name() == Some(app));
    all.extend(of_app.map(|one| format!("schedule {}", one.name().unwrap_or_default())));
    let targets = listed(
        "scalable targets",
        scaling.describe_scalable_targets().service_namespace(aws_sdk_applicationautoscaling::types::ServiceNamespace::Ecs).send().await,
    );
    let of_app = targets.scalable_targets().iter().filter(|one| one.resource_id().starts_with(&format!("service/{app}/")));
    all.extend(of_app.map(|one| format!("scalable target {}", one.resource_id())));
    all
}

/// Lists file systems with their mount targets and access points, and parameters.
async fn keeping(clients: &Clients, app: &str) -> Vec<String> {
    let (efs, ssm) = (&clients.efs, &clients.ssm);
    let ours = |tags: &[aws_sdk_efs::types::Tag]| tags.iter().any(|tag| tag.key() == TAG_APP && tag.value() == app);
    let mut all = Vec::new();
    for one in listed("file systems", efs.describe_file_systems().send().await).file_systems().iter().filter(|one| ours(one.tags())) {
        all.push(format!("file system {}", one.file_system_id()));
        let targets = listed("mount targets", efs.describe_mount_targets().file_system_id(one.file_system_id()).send().await);
        all.extend(targets.mount_targets().iter().map(|target| format!("mount target {}", target.mount_target_id())));
    }
    let points = listed("access points", efs.describe_access_points().send().await);
    let points = points.access_points().iter().filter(|one| ours(one.tags())).filter_map(|one| one.root_directory()?.path());
    all.extend(points.map(|path| format!("access point {path}")));
    let path = format!("/ecs-pipe/{app}/");
    let parameters = listed("parameters", ssm.describe_parameters().into_paginator().send().collect::<Result<Vec<_>, _>>().await);
    let names = parameters
        .iter()
        .flat_map(aws_sdk_ssm::operation::describe_parameters::DescribeParametersOutput::parameters)
        .filter_map(|one| one.name());
    all.extend(names.filter(|name| name.starts_with(&path)).map(|name| format!("parameter {name}")));
    all
}
