//! What carries no tag of the app is never changed or deleted, also when its name is one of ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Hand, Output, Pipe, Relay, run};

const APP: &str = "foreign";

fn app(name: &str) -> Value {
    json!({"name": name, "x-net": {"flow_logs": 7}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
        "web": {"image": "nginx:1.27", "ports": ["80"]}}})
}

type Done = Result<(), Box<dyn std::error::Error>>;

/// A tool, the document that it reads, and what AWS holds before it runs.
struct Meeting<'a> {
    relay: &'a Relay,
    hand: &'a Hand,
    tool: &'a str,
    doc: String,
    met: usize,
}

impl Meeting<'_> {
    /// Somebody makes a thing of our name. The tool refuses to work with it and says so, and neither a run nor `--down` touches it.
    fn meets(&mut self, kind: &str, make: impl AsyncFnOnce(&Hand) -> Done, unmake: impl AsyncFnOnce(&Hand) -> Done) {
        let (tool, endpoint) = (self.tool, self.relay.endpoint.as_str());
        self.hand.wait(make(self.hand)).unwrap_or_else(|error| unreachable!("{kind}: {error:?}"));
        let there = holdings(endpoint, APP);
        let plan = run(endpoint, tool, &["--plan"], &self.doc);
        assert_eq!(plan.code, 1, "{tool} --plan, {kind}: {}", plan.stderr);
        let up = run(endpoint, tool, &["--no-wait"], &self.doc);
        assert_eq!(up.code, 1, "{tool}, {kind}: {}", up.stderr);
        for part in [&format!("there is a {kind} "), "It was not touched"] {
            assert!(up.stderr.contains(part), "{tool}, {kind}: {}", up.stderr);
        }
        let _ = run(endpoint, tool, &["--down"], &self.doc).ok();
        assert_eq!(holdings(endpoint, APP), there, "{tool} --down, {kind}");
        self.hand.wait(unmake(self.hand)).unwrap_or_else(|error| unreachable!("{kind}: {error:?}"));
        self.met += 1;
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (relay, mut met) = (Relay::before("ECS_PIPE_MOTO"), 0);
    let hand = Hand::at(&relay.endpoint);
    let mut doc = app(APP).to_string();
    for (tool, meet) in [
        ("net-up", network as fn(&mut Meeting<'_>)),
        ("cluster-up", cluster),
        ("img-push", images),
        ("svc-deploy", services),
        ("scale-set", scaling),
        ("alarms-set", alarms),
    ] {
        let mut meeting = Meeting { relay: &relay, hand: &hand, tool, doc: doc.clone(), met: 0 };
        meet(&mut meeting);
        met += meeting.met;
        doc = run(&relay.endpoint, tool, &["--no-wait"], &doc).ok().stdout;
    }
    let _ = Pipe::down(&relay.endpoint).run_while_ok(&doc).ok();
    assert_eq!(holdings(&relay.endpoint, APP), Vec::<String>::new());
    eprintln!("{met} things of somebody else left alone");
}

fn network(meeting: &mut Meeting<'_>) {
    let group = "/ecs-pipe-flow-logs/foreign";
    meeting.meets(
        "log group",
        async |hand| Ok(hand.logs.create_log_group().log_group_name(group).send().await.map(drop)?),
        async |hand| Ok(hand.logs.delete_log_group().log_group_name(group).send().await.map(drop)?),
    );
    meets_role(meeting, "foreign-flow-logs-us-east-1");
}

fn meets_role(meeting: &mut Meeting<'_>, role: &str) {
    meeting.meets(
        "role",
        async |hand| {
            let nobody = json!({"Version": "2012-10-17", "Statement": []}).to_string();
            Ok(hand.iam.create_role().role_name(role).assume_role_policy_document(nobody).send().await.map(drop)?)
        },
        async |hand| Ok(hand.iam.delete_role().role_name(role).send().await.map(drop)?),
    );
}

fn cluster(meeting: &mut Meeting<'_>) {
    let subnet = serde_json::from_str::<Value>(&meeting.doc).unwrap()["net"]["private_subnet_ids"][0].as_str().unwrap().to_owned();
    let role = "foreign-instance-us-east-1";
    meets_role(meeting, role);
    meeting.meets(
        "instance profile",
        async |hand| Ok(hand.iam.create_instance_profile().instance_profile_name(role).send().await.map(drop)?),
        async |hand| Ok(hand.iam.delete_instance_profile().instance_profile_name(role).send().await.map(drop)?),
    );
    let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id("ami-12345678").instance_type("t3.micro".into()).build();
    meeting.meets(
        "launch template",
        async |hand| {
            let call = hand.ec2.create_launch_template().launch_template_name(APP).launch_template_data(data.clone());
            Ok(call.send().await.map(drop)?)
        },
        async |hand| Ok(hand.ec2.delete_launch_template().launch_template_name(APP).send().await.map(drop)?),
    );
    meeting.meets(
        "Auto Scaling group",
        async |hand| {
            hand.ec2.create_launch_template().launch_template_name("theirs").launch_template_data(data.clone()).send().await?;
            let theirs = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder().launch_template_name("theirs").build();
            let call = hand.groups.create_auto_scaling_group().auto_scaling_group_name(APP).min_size(0).max_size(1);
            Ok(call.launch_template(theirs).vpc_zone_identifier(&subnet).send().await.map(drop)?)
        },
        async |hand| {
            hand.groups.delete_auto_scaling_group().auto_scaling_group_name(APP).force_delete(true).send().await?;
            Ok(hand.ec2.delete_launch_template().launch_template_name("theirs").send().await.map(drop)?)
        },
    );
    meeting.meets(
        "capacity provider",
        async |hand| {
            let arn = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:1:autoScalingGroupName/theirs";
            let group = aws_sdk_ecs::types::AutoScalingGroupProvider::builder().auto_scaling_group_arn(arn).build()?;
            let call = hand.ecs.create_capacity_provider().name("instances-of-foreign").auto_scaling_group_provider(group);
            Ok(call.send().await.map(drop)?)
        },
        async |hand| Ok(hand.ecs.delete_capacity_provider().capacity_provider("instances-of-foreign").send().await.map(drop)?),
    );
    meeting.meets(
        "cluster",
        async |hand| Ok(hand.ecs.create_cluster().cluster_name(APP).send().await.map(drop)?),
        async |hand| Ok(hand.ecs.delete_cluster().cluster(APP).send().await.map(drop)?),
    );
}

fn images(meeting: &mut Meeting<'_>) {
    let without = meeting.doc.clone();
    let mut doc: Value = serde_json::from_str(&without).unwrap();
    doc["services"]["web"] = json!({"build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}});
    meeting.doc = doc.to_string();
    meeting.meets(
        "repository",
        async |hand| Ok(hand.ecr.create_repository().repository_name("foreign/web").send().await.map(drop)?),
        async |hand| Ok(hand.ecr.delete_repository().repository_name("foreign/web").send().await.map(drop)?),
    );
    meeting.doc = without;
}

fn services(meeting: &mut Meeting<'_>) {
    let live: Value = serde_json::from_str(&meeting.doc).unwrap();
    let id = |path: &str| live.pointer(path).and_then(Value::as_str).unwrap().to_owned();
    let (vpc, subnets) = (id("/net/vpc_id"), [id("/net/public_subnet_ids/0"), id("/net/public_subnet_ids/1")]);
    meets_role(meeting, "foreign-execution-us-east-1");
    meets_role(meeting, "foreign-web-task-us-east-1");
    meeting.meets(
        "log group",
        async |hand| Ok(hand.logs.create_log_group().log_group_name("/ecs-pipe/foreign/web").send().await.map(drop)?),
        async |hand| Ok(hand.logs.delete_log_group().log_group_name("/ecs-pipe/foreign/web").send().await.map(drop)?),
    );
    meeting.meets(
        "load balancer",
        async |hand| {
            let call = hand.elb.create_load_balancer().name(APP).set_subnets(Some(subnets.to_vec()));
            Ok(call.send().await.map(drop)?)
        },
        async |hand| {
            let said = hand.elb.describe_load_balancers().names(APP).send().await?;
            let arn = said.load_balancers()[0].load_balancer_arn().unwrap();
            Ok(hand.elb.delete_load_balancer().load_balancer_arn(arn).send().await.map(drop)?)
        },
    );
    // The app `foreign` with a service `web-api` and the app `foreign-web` with a service `api` give a family the same name.
    meeting.meets(
        "task definition",
        async |hand| {
            let container = aws_sdk_ecs::types::ContainerDefinition::builder().name("web").image("nginx").memory(128).build();
            Ok(hand.ecs.register_task_definition().family("foreign-web").container_definitions(container).send().await.map(drop)?)
        },
        async |hand| {
            let listed = hand.ecs.list_task_definitions().family_prefix("foreign-web").send().await?;
            for arn in listed.task_definition_arns() {
                hand.ecs.deregister_task_definition().task_definition(arn).send().await?;
            }
            Ok(())
        },
    );
    // Its name is known only when it was made once.
    let once = run(&meeting.relay.endpoint, "svc-deploy", &["--no-wait"], &meeting.doc).ok();
    let group = once.doc()["svc"]["services"]["web"]["target_group_arn"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
    meets_listener(meeting, &once);
    let _ = run(&meeting.relay.endpoint, "svc-deploy", &["--down"], &once.stdout).ok();
    meeting.meets(
        "target group",
        async |hand| {
            let call = hand.elb.create_target_group().name(&group).port(80).vpc_id(&vpc);
            Ok(call.protocol(aws_sdk_elasticloadbalancingv2::types::ProtocolEnum::Http).send().await.map(drop)?)
        },
        async |hand| {
            let said = hand.elb.describe_target_groups().names(&group).send().await?;
            let arn = said.target_groups()[0].target_group_arn().unwrap();
            Ok(hand.elb.delete_target_group().target_group_arn(arn).send().await.map(drop)?)
        },
    );
    meeting.meets(
        "service",
        async |hand| {
            let container = aws_sdk_ecs::types::ContainerDefinition::builder().name("web").image("nginx").memory(128).build();
            let made = hand.ecs.register_task_definition().family("theirs").container_definitions(container).send().await?;
            let revision = made.task_definition().and_then(|one| one.task_definition_arn()).unwrap();
            let call = hand.ecs.create_service().cluster(APP).service_name("web").task_definition(revision).desired_count(0);
            Ok(call.send().await.map(drop)?)
        },
        async |hand| Ok(hand.ecs.delete_service().cluster(APP).service("web").force(true).send().await.map(drop)?),
    );
}

/// On our own load balancer, which takes it along when it goes.
fn meets_listener(meeting: &mut Meeting<'_>, live: &Output) {
    use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, FixedResponseActionConfig, ProtocolEnum};
    let svc = &live.doc()["svc"];
    let (balancer, listener) = (svc["load_balancer_arn"].as_str().unwrap(), svc["listener_arns"][0].as_str().unwrap());
    meeting.hand.wait(async {
        let hello = FixedResponseActionConfig::builder().status_code("200").build();
        let hello = Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(hello).build();
        meeting.hand.elb.delete_listener().listener_arn(listener).send().await.unwrap();
        let call = meeting.hand.elb.create_listener().load_balancer_arn(balancer).port(80).protocol(ProtocolEnum::Http);
        call.default_actions(hello).send().await.unwrap();
    });
    let up = run(&meeting.relay.endpoint, "svc-deploy", &["--no-wait"], &meeting.doc);
    assert!(up.code == 1 && up.stderr.contains("there is a listener foreign:80"), "{}", up.stderr);
    meeting.met += 1;
}

fn scaling(meeting: &mut Meeting<'_>) {
    use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
    let (ecs, count) = (ServiceNamespace::Ecs, ScalableDimension::EcsServiceDesiredCount);
    meeting.meets(
        "scalable target",
        async |hand| {
            let call = hand.application.register_scalable_target().service_namespace(ecs.clone()).scalable_dimension(count.clone());
            Ok(call.resource_id("service/foreign/web").min_capacity(1).max_capacity(1).send().await.map(drop)?)
        },
        async |hand| {
            let call = hand.application.deregister_scalable_target().service_namespace(ecs.clone()).scalable_dimension(count.clone());
            Ok(call.resource_id("service/foreign/web").send().await.map(drop)?)
        },
    );
}

fn alarms(meeting: &mut Meeting<'_>) {
    use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
    meeting.meets(
        "alarm",
        async |hand| {
            let call = hand.cloudwatch.put_metric_alarm().alarm_name("foreign/web/cpu").namespace("AWS/ECS").metric_name("CPUUtilization");
            let call = call.statistic(Statistic::Average).period(60).evaluation_periods(3).threshold(99.0);
            Ok(call.comparison_operator(ComparisonOperator::GreaterThanThreshold).send().await.map(drop)?)
        },
        async |hand| Ok(hand.cloudwatch.delete_alarms().alarm_names("foreign/web/cpu").send().await.map(drop)?),
    );
    meeting.meets(
        "topic",
        async |hand| Ok(hand.sns.create_topic().name("foreign-alarms").send().await.map(drop)?),
        async |hand| {
            let arn = "arn:aws:sns:us-east-1:000000000000:foreign-alarms";
            Ok(hand.sns.delete_topic().topic_arn(arn).send().await.map(drop)?)
        },
    );
}

/// What the user names is used, and never changed or deleted: a network and roles.
#[test]
fn what_is_adopted_is_left_as_it_is() {
    let (relay, host, app) = (Relay::before("ECS_PIPE_MOTO"), "adopted", "adopting");
    let made = run(&relay.endpoint, "net-up", &["--app", host], "").ok().doc();
    let hand = Hand::at(&relay.endpoint);
    let role = "arn:aws:iam::000000000000:role/adopted";
    let nobody = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    hand.wait(hand.iam.create_role().role_name("adopted").assume_role_policy_document(nobody).send()).unwrap();
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
    let kept = hand.wait(hand.iam.get_role().role_name("adopted").send());
    assert!(kept.is_ok_and(|said| said.role().is_some_and(|role| role.tags().is_empty())));
    let _ = hand.wait(hand.iam.delete_role().role_name("adopted").send()).unwrap();
    // The load balancer takes one subnet a zone, and reaches only zones in which it has one.
    let (public, private) = (&net["public_subnet_ids"], &net["private_subnet_ids"]);
    for (key, ids, says) in [
        ("public_subnets", json!([public[0], public[1], private[0]]), "takes one in each"),
        ("public_subnets", json!([public[0]]), "needs two zones"),
    ] {
        let mut wrong = doc.clone();
        wrong["x-net"][key] = ids;
        let said = run(&relay.endpoint, "net-up", &[], &wrong.to_string());
        assert_eq!(said.code, 65, "{}", said.stderr);
        assert!(said.stderr.contains(&format!("x-net.{key}")) && said.stderr.contains(says), "{}", said.stderr);
    }
    let _ = run(&relay.endpoint, "net-up", &["--down", "--app", host], "").ok();
}
