//! Resources that ecs-pipe did not create, which have no tag of the app, are neither changed nor
//! deleted, even if they have the name that a tool needs.

use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Clients, Output, Pipe, Relay, run};

const APP: &str = "unmanaged";

fn app(name: &str) -> Value {
    json!({"name": name, "x-net": {"flow_logs": 7}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
        "web": {"image": "nginx:1.27", "ports": ["80"]}, "worker": {"image": "nginx:1.27", "expose": ["80"]}}})
}

type Done = Result<(), Box<dyn std::error::Error>>;

/// What `--down` keeps without a warning.
const WITHOUT_WARNING: &[(&str, &str)] =
    &[("cluster-up", "launch template"), ("svc-deploy", "role"), ("svc-deploy", "service"), ("svc-deploy", "target group")];

/// A tool with its document, and the number of unmanaged resources that it refused to use.
struct Unmanaged<'a> {
    relay: &'a Relay,
    clients: &'a Clients,
    tool: &'a str,
    doc: String,
    refused: usize,
}

impl Unmanaged<'_> {
    /// Creates an unmanaged resource with the name that the tool needs. A plan and a run must
    /// refuse to use it, and neither a run nor `--down` may change it. `--down` must warn about it.
    fn is_refused(&mut self, kind: &str, create: impl AsyncFnOnce(&Clients) -> Done, delete: impl AsyncFnOnce(&Clients) -> Done) {
        let (tool, endpoint) = (self.tool, self.relay.endpoint.as_str());
        self.clients.wait(create(self.clients)).unwrap_or_else(|error| unreachable!("{kind}: {error:?}"));
        let there = holdings(endpoint, APP);
        let plan = run(endpoint, tool, &["--plan"], &self.doc);
        assert_eq!(plan.code, 1, "{tool} --plan, {kind}: {}", plan.stderr);
        let up = run(endpoint, tool, &["--no-wait"], &self.doc);
        assert_eq!(up.code, 1, "{tool}, {kind}: {}", up.stderr);
        let reason = format!(" {kind} of this name exists, and its tags do not say that {tool} created it for the app {APP}. ");
        for part in ["error[unmanaged-name]: could not use the name ", &reason, "It was not changed"] {
            assert!(up.stderr.contains(part), "{tool}, {kind}: {}", up.stderr);
        }
        let down = run(endpoint, tool, &["--down"], &self.doc).ok();
        let kept = format!("warning[unmanaged-kept]: the {kind} ");
        assert!(down.stderr.contains(&kept) || WITHOUT_WARNING.contains(&(tool, kind)), "{tool} --down, {kind}: {}", down.stderr);
        assert_eq!(holdings(endpoint, APP), there, "{tool} --down, {kind}");
        self.clients.wait(delete(self.clients)).unwrap_or_else(|error| unreachable!("{kind}: {error:?}"));
        self.refused += 1;
    }
}

#[test]
fn an_unmanaged_resource_is_refused_and_kept() {
    let (relay, mut refused) = (Relay::before("ECS_PIPE_MOTO"), 0);
    let clients = Clients::at(&relay.endpoint);
    let mut doc = app(APP).to_string();
    for (tool, resources) in [
        ("net-up", network as fn(&mut Unmanaged<'_>)),
        ("cluster-up", cluster),
        ("img-push", images),
        ("svc-deploy", services),
        ("scale-set", scaling),
        ("alarms-set", alarms),
    ] {
        let mut unmanaged = Unmanaged { relay: &relay, clients: &clients, tool, doc: doc.clone(), refused: 0 };
        resources(&mut unmanaged);
        refused += unmanaged.refused;
        doc = run(&relay.endpoint, tool, &["--no-wait"], &doc).ok().stdout;
    }
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&doc).ok();
    assert_eq!(holdings(&relay.endpoint, APP), Vec::<String>::new());
    eprintln!("{refused} unmanaged resources refused and kept");
}

fn network(unmanaged: &mut Unmanaged<'_>) {
    let group = "/ecs-pipe-flow-logs/unmanaged";
    unmanaged.is_refused(
        "log group",
        async |clients| Ok(clients.logs.create_log_group().log_group_name(group).send().await.map(drop)?),
        async |clients| Ok(clients.logs.delete_log_group().log_group_name(group).send().await.map(drop)?),
    );
    role_is_refused(unmanaged, "unmanaged-flow-logs-us-east-1");
}

fn role_is_refused(unmanaged: &mut Unmanaged<'_>, role: &str) {
    unmanaged.is_refused(
        "role",
        async |clients| {
            let nobody = json!({"Version": "2012-10-17", "Statement": []}).to_string();
            Ok(clients.iam.create_role().role_name(role).assume_role_policy_document(nobody).send().await.map(drop)?)
        },
        async |clients| Ok(clients.iam.delete_role().role_name(role).send().await.map(drop)?),
    );
}

/// Returns the ID of the namespace with this name.
async fn namespace(clients: &Clients, name: &str) -> Result<String, Box<dyn std::error::Error>> {
    let said = clients.cloud_map.list_namespaces().send().await?;
    let found = said.namespaces().iter().find(|one| one.name() == Some(name)).and_then(|one| one.id());
    Ok(found.ok_or("there is no namespace")?.to_owned())
}

fn cluster(unmanaged: &mut Unmanaged<'_>) {
    let subnet = serde_json::from_str::<Value>(&unmanaged.doc).unwrap()["net"]["private_subnet_ids"][0].as_str().unwrap().to_owned();
    let role = "unmanaged-instance-us-east-1";
    role_is_refused(unmanaged, role);
    unmanaged.is_refused(
        "namespace",
        async |clients| Ok(clients.cloud_map.create_http_namespace().name(APP).send().await.map(drop)?),
        async |clients| Ok(clients.cloud_map.delete_namespace().id(namespace(clients, APP).await?).send().await.map(drop)?),
    );
    unmanaged.is_refused(
        "instance profile",
        async |clients| Ok(clients.iam.create_instance_profile().instance_profile_name(role).send().await.map(drop)?),
        async |clients| Ok(clients.iam.delete_instance_profile().instance_profile_name(role).send().await.map(drop)?),
    );
    let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id("ami-12345678").instance_type("t3.micro".into()).build();
    unmanaged.is_refused(
        "launch template",
        async |clients| {
            let call = clients.ec2.create_launch_template().launch_template_name(APP).launch_template_data(data.clone());
            Ok(call.send().await.map(drop)?)
        },
        async |clients| Ok(clients.ec2.delete_launch_template().launch_template_name(APP).send().await.map(drop)?),
    );
    unmanaged.is_refused(
        "Auto Scaling group",
        async |clients| {
            clients.ec2.create_launch_template().launch_template_name("theirs").launch_template_data(data.clone()).send().await?;
            let theirs = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder().launch_template_name("theirs").build();
            let call = clients.groups.create_auto_scaling_group().auto_scaling_group_name(APP).min_size(0).max_size(1);
            Ok(call.launch_template(theirs).vpc_zone_identifier(&subnet).send().await.map(drop)?)
        },
        async |clients| {
            clients.groups.delete_auto_scaling_group().auto_scaling_group_name(APP).force_delete(true).send().await?;
            Ok(clients.ec2.delete_launch_template().launch_template_name("theirs").send().await.map(drop)?)
        },
    );
    unmanaged.is_refused(
        "capacity provider",
        async |clients| {
            let arn = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:1:autoScalingGroupName/theirs";
            let group = aws_sdk_ecs::types::AutoScalingGroupProvider::builder().auto_scaling_group_arn(arn).build()?;
            let call = clients.ecs.create_capacity_provider().name("instances-of-unmanaged").auto_scaling_group_provider(group);
            Ok(call.send().await.map(drop)?)
        },
        async |clients| Ok(clients.ecs.delete_capacity_provider().capacity_provider("instances-of-unmanaged").send().await.map(drop)?),
    );
    unmanaged.is_refused(
        "cluster",
        async |clients| Ok(clients.ecs.create_cluster().cluster_name(APP).send().await.map(drop)?),
        async |clients| Ok(clients.ecs.delete_cluster().cluster(APP).send().await.map(drop)?),
    );
}

fn images(unmanaged: &mut Unmanaged<'_>) {
    let without = unmanaged.doc.clone();
    let mut doc: Value = serde_json::from_str(&without).unwrap();
    doc["services"]["web"] = json!({"build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}});
    unmanaged.doc = doc.to_string();
    unmanaged.is_refused(
        "repository",
        async |clients| Ok(clients.ecr.create_repository().repository_name("unmanaged/web").send().await.map(drop)?),
        async |clients| Ok(clients.ecr.delete_repository().repository_name("unmanaged/web").send().await.map(drop)?),
    );
    unmanaged.doc = without;
}

fn services(unmanaged: &mut Unmanaged<'_>) {
    let live: Value = serde_json::from_str(&unmanaged.doc).unwrap();
    let id = |path: &str| live.pointer(path).and_then(Value::as_str).unwrap().to_owned();
    let (vpc, subnets) = (id("/net/vpc_id"), [id("/net/public_subnet_ids/0"), id("/net/public_subnet_ids/1")]);
    role_is_refused(unmanaged, "unmanaged-web-execution-us-east-1");
    role_is_refused(unmanaged, "unmanaged-web-task-us-east-1");
    unmanaged.is_refused(
        "log group",
        async |clients| Ok(clients.logs.create_log_group().log_group_name("/ecs-pipe/unmanaged/web").send().await.map(drop)?),
        async |clients| Ok(clients.logs.delete_log_group().log_group_name("/ecs-pipe/unmanaged/web").send().await.map(drop)?),
    );
    unmanaged.is_refused(
        "load balancer",
        async |clients| {
            let call = clients.elb.create_load_balancer().name(APP).set_subnets(Some(subnets.to_vec()));
            Ok(call.send().await.map(drop)?)
        },
        async |clients| {
            let said = clients.elb.describe_load_balancers().names(APP).send().await?;
            let arn = said.load_balancers()[0].load_balancer_arn().unwrap();
            Ok(clients.elb.delete_load_balancer().load_balancer_arn(arn).send().await.map(drop)?)
        },
    );
    // The app `unmanaged` with a service `web-api` and the app `unmanaged-web` with a service `api`
    // have a family with the same name.
    unmanaged.is_refused(
        "task definition",
        async |clients| {
            let container = aws_sdk_ecs::types::ContainerDefinition::builder().name("web").image("nginx").memory(128).build();
            Ok(clients.ecs.register_task_definition().family("unmanaged-web").container_definitions(container).send().await.map(drop)?)
        },
        async |clients| {
            let listed = clients.ecs.list_task_definitions().family_prefix("unmanaged-web").send().await?;
            for arn in listed.task_definition_arns() {
                clients.ecs.deregister_task_definition().task_definition(arn).send().await?;
            }
            Ok(())
        },
    );
    // The name of the target group is known only after a first run.
    let once = run(&unmanaged.relay.endpoint, "svc-deploy", &["--no-wait"], &unmanaged.doc).ok();
    let group = once.doc()["svc"]["services"]["web"]["target_group_arn"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
    listener_is_refused(unmanaged, &once);
    let _ = run(&unmanaged.relay.endpoint, "svc-deploy", &["--down"], &once.stdout).ok();
    unmanaged.is_refused(
        "target group",
        async |clients| {
            let call = clients.elb.create_target_group().name(&group).port(80).vpc_id(&vpc);
            Ok(call.protocol(aws_sdk_elasticloadbalancingv2::types::ProtocolEnum::Http).send().await.map(drop)?)
        },
        async |clients| {
            let said = clients.elb.describe_target_groups().names(&group).send().await?;
            let arn = said.target_groups()[0].target_group_arn().unwrap();
            Ok(clients.elb.delete_target_group().target_group_arn(arn).send().await.map(drop)?)
        },
    );
    unmanaged.is_refused(
        "service",
        async |clients| {
            let container = aws_sdk_ecs::types::ContainerDefinition::builder().name("web").image("nginx").memory(128).build();
            let made = clients.ecs.register_task_definition().family("theirs").container_definitions(container).send().await?;
            let revision = made.task_definition().and_then(|one| one.task_definition_arn()).unwrap();
            let call = clients.ecs.create_service().cluster(APP).service_name("web").task_definition(revision).desired_count(0);
            Ok(call.send().await.map(drop)?)
        },
        async |clients| Ok(clients.ecs.delete_service().cluster(APP).service("web").force(true).send().await.map(drop)?),
    );
}

/// On the load balancer of the app: a listener is deleted with its load balancer.
fn listener_is_refused(unmanaged: &mut Unmanaged<'_>, live: &Output) {
    use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, FixedResponseActionConfig, ProtocolEnum};
    let svc = &live.doc()["svc"];
    let (balancer, listener) = (svc["load_balancer_arn"].as_str().unwrap(), svc["listener_arns"][0].as_str().unwrap());
    unmanaged.clients.wait(async {
        let hello = FixedResponseActionConfig::builder().status_code("200").build();
        let hello = Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(hello).build();
        unmanaged.clients.elb.delete_listener().listener_arn(listener).send().await.unwrap();
        let call = unmanaged.clients.elb.create_listener().load_balancer_arn(balancer).port(80).protocol(ProtocolEnum::Http);
        call.default_actions(hello).send().await.unwrap();
    });
    let up = run(&unmanaged.relay.endpoint, "svc-deploy", &["--no-wait"], &unmanaged.doc);
    assert!(up.code == 1 && up.stderr.contains("could not use the name unmanaged:80: a listener of this name exists"), "{}", up.stderr);
    unmanaged.refused += 1;
}

fn scaling(unmanaged: &mut Unmanaged<'_>) {
    use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
    let (ecs, count) = (ServiceNamespace::Ecs, ScalableDimension::EcsServiceDesiredCount);
    unmanaged.is_refused(
        "scalable target",
        async |clients| {
            let call = clients.application.register_scalable_target().service_namespace(ecs.clone()).scalable_dimension(count.clone());
            Ok(call.resource_id("service/unmanaged/web").min_capacity(1).max_capacity(1).send().await.map(drop)?)
        },
        async |clients| {
            let call = clients.application.deregister_scalable_target().service_namespace(ecs.clone()).scalable_dimension(count.clone());
            Ok(call.resource_id("service/unmanaged/web").send().await.map(drop)?)
        },
    );
}

fn alarms(unmanaged: &mut Unmanaged<'_>) {
    use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
    unmanaged.is_refused(
        "alarm",
        async |clients| {
            let call =
                clients.cloudwatch.put_metric_alarm().alarm_name("unmanaged/web/cpu").namespace("AWS/ECS").metric_name("CPUUtilization");
            let call = call.statistic(Statistic::Average).period(60).evaluation_periods(3).threshold(99.0);
            Ok(call.comparison_operator(ComparisonOperator::GreaterThanThreshold).send().await.map(drop)?)
        },
        async |clients| Ok(clients.cloudwatch.delete_alarms().alarm_names("unmanaged/web/cpu").send().await.map(drop)?),
    );
    let dashboard = "unmanaged-us-east-1";
    unmanaged.is_refused(
        "dashboard",
        async |clients| Ok(clients.cloudwatch.put_dashboard().dashboard_name(dashboard).dashboard_body("{}").send().await.map(drop)?),
        async |clients| Ok(clients.cloudwatch.delete_dashboards().dashboard_names(dashboard).send().await.map(drop)?),
    );
    unmanaged.is_refused(
        "topic",
        async |clients| Ok(clients.sns.create_topic().name("unmanaged-alarms").send().await.map(drop)?),
        async |clients| {
            let arn = "arn:aws:sns:us-east-1:000000000000:unmanaged-alarms";
            Ok(clients.sns.delete_topic().topic_arn(arn).send().await.map(drop)?)
        },
    );
}

/// A network and roles that the document names are used, and neither changed nor deleted.
#[test]
fn an_unmanaged_network_and_role_are_used_and_kept() {
    let (relay, host, app) = (Relay::before("ECS_PIPE_MOTO"), "adopted", "adopting");
    let made = run(&relay.endpoint, "net-up", &["--app", host], "").ok().doc();
    let clients = Clients::at(&relay.endpoint);
    let role = "arn:aws:iam::000000000000:role/adopted";
    let nobody = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    clients.wait(clients.iam.create_role().role_name("adopted").assume_role_policy_document(nobody).send()).unwrap();
    let there = holdings(&relay.endpoint, host);
    let mut doc = self::app(app);
    let net = &made["net"];
    doc["x-net"] = json!({"vpc": net["vpc_id"], "public_subnets": net["public_subnet_ids"], "private_subnets": net["private_subnet_ids"]});
    doc["x-svc"] = json!({"execution_role": role});
    doc["services"]["web"]["x-svc"] = json!({"task_role": role});
    let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
    let live = up.run_while_ok(&doc.to_string()).ok();
    assert_eq!(live.doc()["net"]["vpc_id"], net["vpc_id"]);
    assert_eq!(live.doc()["svc"]["execution_role_arn"], role);
    assert!(holdings(&relay.endpoint, app).iter().all(|line| !line.starts_with("vpc ") && !line.starts_with("subnet ")));
    let _ = relay.calls();
    let _ = up.run_while_ok(&doc.to_string()).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&live.stdout).ok();
    assert_eq!(holdings(&relay.endpoint, app), Vec::<String>::new());
    assert_eq!(holdings(&relay.endpoint, host), there);
    let kept = clients.wait(clients.iam.get_role().role_name("adopted").send());
    assert!(kept.is_ok_and(|said| said.role().is_some_and(|role| role.tags().is_empty())));
    let _ = clients.wait(clients.iam.delete_role().role_name("adopted").send()).unwrap();
    // A load balancer has one subnet a zone, and reaches only zones in which it has one.
    let (public, private) = (&net["public_subnet_ids"], &net["private_subnet_ids"]);
    for (ids, says) in [
        (
            json!([public[0], public[1], private[0]]),
            "one in each zone, because a load balancer needs that; found 3 in us-east-1a, us-east-1b",
        ),
        (json!([public[0], private[0]]), "one in each zone, because a load balancer needs that; found 2 in us-east-1a"),
        (json!([public[0]]), "must name 2 or more subnets of "),
    ] {
        let mut wrong = doc.clone();
        wrong["x-net"]["public_subnets"] = ids;
        let said = run(&relay.endpoint, "net-up", &[], &wrong.to_string());
        assert_eq!(said.code, 65, "{}", said.stderr);
        assert!(said.stderr.contains("x-net.public_subnets: must name ") && said.stderr.contains(says), "{}", said.stderr);
    }
    let _ = run(&relay.endpoint, "net-up", &["--down", "--app", host], "").ok();
}
