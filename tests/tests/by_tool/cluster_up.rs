//! cluster-up: the instances and their capacity provider, in moto with the agents of
//! `scripts/local_agents.py`. Changes by hand are in `pipe::drift::cluster_up`, unmanaged resources
//! in `pipe::unmanaged`, and bad settings in `offline`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Clients, Faults, Moment, Output, Relay, account, run};

/// An app with a network and no service.
struct App {
    relay: Relay,
    clients: Clients,
    name: &'static str,
    /// The document of net-up.
    net: String,
}

impl App {
    fn new(name: &'static str, x_cluster: &Value) -> Self {
        let relay = Relay::before("ECS_PIPE_MOTO");
        let clients = Clients::at(&relay.endpoint);
        let doc = json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": x_cluster}).to_string();
        let net = run(&relay.endpoint, "net-up", &[], &doc).ok().stdout;
        Self { relay, clients, name, net }
    }

    /// Runs cluster-up with other settings.
    fn up_with(&self, x_cluster: &Value, args: &[&str]) -> Output {
        let mut doc: Value = serde_json::from_str(&self.net).unwrap();
        doc["x-cluster"] = x_cluster.clone();
        run(&self.relay.endpoint, "cluster-up", args, &doc.to_string())
    }

    fn up(&self, args: &[&str]) -> Output {
        run(&self.relay.endpoint, "cluster-up", args, &self.net)
    }

    /// Returns the capacity provider of each registered instance, by the instance's id.
    fn registered(&self) -> BTreeMap<String, Option<String>> {
        let Clients { ecs, .. } = &self.clients;
        let arns = self.clients.wait(ecs.list_container_instances().cluster(self.name).send()).unwrap().container_instance_arns.unwrap();
        let said =
            self.clients.wait(ecs.describe_container_instances().cluster(self.name).set_container_instances(Some(arns)).send()).unwrap();
        let pair = |one: &aws_sdk_ecs::types::ContainerInstance| {
            (one.ec2_instance_id().unwrap().to_owned(), one.capacity_provider_name().map(str::to_owned))
        };
        said.container_instances().iter().map(pair).collect()
    }

    /// Waits until all instances of the app are registered and belong to this provider.
    fn belong_to(&self, provider: &str) {
        let _ = self.up(&["--wait"]).ok();
        let found: Vec<Option<String>> = self.registered().into_values().collect();
        assert_eq!(found, [Some(provider.to_owned()), Some(provider.to_owned())]);
    }

    /// A second run has nothing to change.
    fn is_settled(&self) {
        let _ = self.relay.calls();
        let _ = self.up(&[]).ok();
        assert_eq!(self.relay.mutations(), Vec::<String>::new());
    }

    fn down(self) {
        let _ = run(&self.relay.endpoint, "cluster-up", &["--down"], &self.net).ok();
        let _ = run(&self.relay.endpoint, "net-up", &["--down"], &self.net).ok();
        assert_eq!(account::resources(&self.relay.endpoint, self.name), Vec::<String>::new());
    }
}

/// Agents start within this time in the local AWS.
fn agents_start() {
    std::thread::sleep(Duration::from_millis(1500));
}

/// An instance belongs to the provider only if it starts after the association.
#[test]
fn instances_of_a_killed_run_belong_to_the_capacity_provider() {
    let app = App::new("agents", &json!({}));
    // The first cluster of an account also creates ECS's service-linked role.
    let _ = app.up(&[]).ok();
    let _ = run(&app.relay.endpoint, "cluster-up", &["--down"], &app.net).ok();
    let _ = app.relay.calls();
    let _ = app.up(&[]).ok();
    let order = app.relay.mutations();
    let place = |action: &str| order.iter().position(|call| call == action).unwrap();
    let (group, associated) = (place("autoscaling:CreateAutoScalingGroup"), place("ecs:PutClusterCapacityProviders"));
    let started = place("autoscaling:UpdateAutoScalingGroup");
    assert!(group < associated && associated < started, "{order:?}");
    app.belong_to("instances-of-agents");
    for n in [associated + 1, started + 1] {
        let _ = run(&app.relay.endpoint, "cluster-up", &["--down"], &app.net).ok();
        app.relay.fail(Faults { kill: Some((n, Moment::Before)), ..Faults::default() });
        assert_eq!(app.up(&[]).code, 137);
        app.relay.fail(Faults::default());
        agents_start();
        app.belong_to("instances-of-agents");
    }
    app.is_settled();
    app.down();
}

#[test]
fn instances_that_registered_without_the_capacity_provider_are_replaced() {
    let app = App::new("strangers", &json!({}));
    let _ = app.up(&["--wait"]).ok();
    let Clients { ecs, groups, .. } = &app.clients;
    let call = ecs.put_cluster_capacity_providers().cluster("strangers").set_capacity_providers(Some(Vec::new()));
    let _ = app.clients.wait(call.set_default_capacity_provider_strategy(Some(Vec::new())).send()).unwrap();
    let ours: Vec<String> = app.registered().into_keys().collect();
    let terminate = groups.terminate_instance_in_auto_scaling_group().instance_id(&ours[0]).should_decrement_desired_capacity(false);
    let _ = app.clients.wait(terminate.send()).unwrap();
    agents_start();
    let stranger = app.registered().into_iter().find(|(_, provider)| provider.is_none()).expect("a new instance without a provider").0;

    let line = format!("instance {stranger} (capacityProviderName: none -> instances-of-strangers)");
    let plan = app.up(&["--plan"]);
    assert!(plan.code == 3 && plan.stderr.contains(&line), "{}", plan.stderr);
    let again = app.up(&[]).ok();
    assert!(again.stderr.contains(&line) && again.stderr.contains("They are replaced"), "{}", again.stderr);
    app.belong_to("instances-of-strangers");
    assert!(app.registered().contains_key(&ours[1]) && !app.registered().contains_key(&stranger), "only the stranger is replaced");
    app.is_settled();
    app.down();
}

#[test]
fn a_launch_that_fails_is_told_in_the_words_of_the_scaling_activity() {
    let app = App::new("quota", &json!({"instance_types": ["p4d.24xlarge"]}));
    let started = std::time::Instant::now();
    let said = app.up(&["--wait"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("error[instance-not-started]"), "{}", said.stderr);
    assert!(said.stderr.contains("You have requested more vCPU capacity than your current vCPU limit of 0 allows"), "{}", said.stderr);
    assert!(started.elapsed() < Duration::from_mins(1), "not as a deadline");

    // By default cluster-up does not wait, so svc-deploy meets it.
    let mut doc = app.up(&[]).ok().doc();
    doc["services"] = json!({"web": {"image": "nginx:1.27"}});
    let said = run(&app.relay.endpoint, "svc-deploy", &["--timeout", "1s"], &doc.to_string());
    assert_eq!(said.code, 75, "{}", said.stderr);
    assert!(said.stderr.contains("no instance is registered with the cluster quota"), "{}", said.stderr);
    let said = std::thread::scope(|scope| {
        let deploys = scope.spawn(|| run(&app.relay.endpoint, "svc-deploy", &["--timeout", "1m"], &doc.to_string()));
        let _ = app.relay.calls();
        while !app.relay.calls().iter().any(|call| call.action == "autoscaling:DescribeScalingActivities") {
            std::thread::sleep(Duration::from_millis(100));
        }
        // The group tries again.
        let again = app.clients.groups.set_desired_capacity().auto_scaling_group_name("quota").desired_capacity(2);
        let _ = app.clients.wait(again.send()).unwrap();
        deploys.join().unwrap()
    });
    assert_eq!(said.code, 1, "{}", said.stderr);
    // A launch that failed before may succeed now.
    assert!(
        said.stderr.contains("warning[instance-not-started]") && said.stderr.contains("error[instance-not-started]"),
        "{}",
        said.stderr
    );
    assert_eq!(said.stderr.matches("limit of 0").count(), 2, "{}", said.stderr);
    let _ = run(&app.relay.endpoint, "svc-deploy", &["--down"], &doc.to_string()).ok();
    app.down();
}

/// A capacity provider keeps the ARN of its group for life, and a group the id of its template.
#[test]
fn what_is_bound_to_a_deleted_group_or_template_is_bound_anew() {
    let app = App::new("bound", &json!({}));
    let _ = app.up(&["--wait"]).ok();
    let Clients { ecs, ec2, groups, .. } = &app.clients;

    let _ = app.clients.wait(ec2.delete_launch_template().launch_template_name("bound").send()).unwrap();
    let plan = app.up(&["--plan"]);
    assert!(plan.stderr.contains("-> the new launch template"), "{}", plan.stderr);
    let up = app.up(&[]).ok();
    let id = up.doc()["cluster"]["launch_template_id"].as_str().unwrap().to_owned();
    let group = || app.clients.wait(groups.describe_auto_scaling_groups().send()).unwrap().auto_scaling_groups.unwrap();
    let of_app = || group().into_iter().find(|one| one.auto_scaling_group_name() == Some("bound")).unwrap();
    assert_eq!(of_app().launch_template().and_then(|template| template.launch_template_id()), Some(id.as_str()));
    app.is_settled();

    // While a service uses the provider, ECS does not delete it.
    let family = ecs
        .register_task_definition()
        .family("bound-web")
        .container_definitions(aws_sdk_ecs::types::ContainerDefinition::builder().name("web").image("nginx").memory(64).build());
    let made = app.clients.wait(family.send()).unwrap();
    let revision = made.task_definition().and_then(|made| made.task_definition_arn()).unwrap();
    let strategy =
        |name: &str| aws_sdk_ecs::types::CapacityProviderStrategyItem::builder().capacity_provider(name).weight(1).build().unwrap();
    let create = ecs.create_service().cluster("bound").service_name("web").task_definition(revision).desired_count(0);
    let _ = app.clients.wait(create.capacity_provider_strategy(strategy("instances-of-bound")).send()).unwrap();
    let delete = groups.delete_auto_scaling_group().auto_scaling_group_name("bound").force_delete(true);
    let _ = app.clients.wait(delete.send()).unwrap();
    let up = app.up(&[]).ok();
    assert!(up.stderr.contains("svc-deploy moves the services to the new provider"), "{}", up.stderr);
    assert_eq!(up.doc()["cluster"]["capacity_provider_strategy"][0]["capacity_provider"], "instances-of-bound_2");
    app.belong_to("instances-of-bound_2");
    app.is_settled();

    let update = ecs.update_service().cluster("bound").service("web").capacity_provider_strategy(strategy("instances-of-bound_2"));
    let _ = app.clients.wait(update.send()).unwrap();
    let up = app.up(&[]).ok();
    assert_eq!(up.acts('-'), ["capacity provider instances-of-bound"]);
    app.belong_to("instances-of-bound_2");
    app.is_settled();
    let _ = app.clients.wait(ecs.delete_service().cluster("bound").service("web").force(true).send()).unwrap();
    app.down();
}

/// ECS protects the instances, so AWS would wait for them for an hour.
#[test]
fn roll_replaces_the_instances_of_an_old_launch_template() {
    let app = App::new("rolled", &json!({}));
    let _ = app.up(&["--wait"]).ok();
    let old: Vec<String> = app.registered().into_keys().collect();
    let larger = json!({"volume_gib": 40});
    let plan = app.up_with(&larger, &["--plan"]);
    assert!(plan.stderr.contains("2 of 2 instances run an old version of the launch template rolled"), "{}", plan.stderr);
    let _ = app.up_with(&larger, &[]).ok();
    let plan = app.up_with(&larger, &["--plan"]);
    assert!(plan.code == 0 && plan.stderr.contains("2 of 2 instances run an old version"), "{}", plan.stderr);
    let rolled = app.up_with(&larger, &["--roll"]).ok();
    assert!(rolled.stderr.contains("100% of the instances are replaced"), "{}", rolled.stderr);
    let new: Vec<String> = app.registered().into_keys().collect();
    assert!(new.len() == 2 && !new.iter().any(|id| old.contains(id)), "{old:?} {new:?}");
    let _ = app.relay.calls();
    let again = app.up_with(&larger, &["--roll"]).ok();
    assert_eq!((app.relay.mutations(), again.acts('~')), (Vec::new(), Vec::new()));

    let failed = app.up_with(&json!({"volume_gib": 40, "instance_types": ["p4d.24xlarge"]}), &["--roll"]);
    assert!(failed.code == 1 && failed.stderr.contains("error[instance-refresh-failed]"), "{}", failed.stderr);
    assert!(failed.stderr.contains("current vCPU limit of 0") && failed.stderr.contains("returns to version 2"), "{}", failed.stderr);
    let after: Vec<String> = app.registered().into_keys().collect();
    assert_eq!(after, new, "the instances of the old version run on");
    let _ = app.relay.calls();
    let _ = app.up_with(&larger, &[]).ok();
    assert_eq!(app.relay.mutations(), Vec::<String>::new(), "the default version is the old one again");
    app.down();
}

/// An existing network may have two private subnets in one zone. EFS refuses a second mount target
/// in a zone.
#[test]
fn two_private_subnets_in_one_zone_share_a_mount_target() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "two-in-a-zone");
    let doc = json!({"name": app, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"},
        "services": {"db": {"image": "acme/db:1", "expose": ["5432"], "volumes": ["data:/data"]}}});
    let net = run(&relay.endpoint, "net-up", &[], &doc.to_string()).ok();
    let (mut doc, clients) = (net.doc(), Clients::at(&relay.endpoint));
    let zone = doc["net"]["zones"][0].as_str().unwrap().to_owned();
    let call = clients.ec2.create_subnet().vpc_id(doc["net"]["vpc_id"].as_str().unwrap()).cidr_block("10.0.250.0/24");
    let made = clients.wait(call.availability_zone(&zone).send()).unwrap();
    let id = made.subnet().unwrap().subnet_id().unwrap().to_owned();
    doc["net"]["private_subnet_ids"].as_array_mut().unwrap().insert(0, json!(id));

    clients.create_service_linked_role();
    let plan = run(&relay.endpoint, "cluster-up", &["--plan"], &doc.to_string());
    let up = run(&relay.endpoint, "cluster-up", &[], &doc.to_string()).ok();
    assert_eq!(plan.acts('+'), up.acts('+'));
    let targets = up.acts('+').into_iter().filter(|act| act.starts_with("mount target")).count();
    assert_eq!(targets, 2, "{}", up.stderr);
    let _ = relay.calls();
    let again = run(&relay.endpoint, "cluster-up", &[], &up.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());

    let left = run(&relay.endpoint, "cluster-up", &["--down", "--delete-data"], &again.stdout).ok();
    let _ = clients.wait(clients.ec2.delete_subnet().subnet_id(&id).send()).unwrap();
    let mut left: Value = left.doc();
    left["net"]["private_subnet_ids"].as_array_mut().unwrap().remove(0);
    let _ = run(&relay.endpoint, "net-up", &["--down"], &left.to_string()).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
