//! What somebody changes or deletes behind the tools' back is found by a plan and mended by a run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::account::{holdings, nameless};
use tests::tool::allowed;
use tests::{Hand, Output, Pipe, Relay, run};

const APP: &str = "drift";

fn app() -> Value {
    json!({"name": APP, "x-tags": {"team": "shop"}, "x-net": {"endpoints": ["s3", "logs"], "flow_logs": 7},
        "x-alarms": {"notify": ["a@example.com"]}, "services": {
            "web": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}}},
            "api": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"path": ["/api/*"]},
                    "x-scale": {"schedule": [{"name": "morning", "schedule": "cron(0 8 ? * MON-FRI *)", "min": 4}]}}}})
}

/// An app that is up, and how often somebody's hand was found in it.
struct Stand {
    relay: Relay,
    hand: Hand,
    live: String,
    wanted: Vec<String>,
    app: &'static str,
    mended: usize,
}

impl Stand {
    fn up() -> Self {
        let relay = Relay::before("ECS_PIPE_MOTO");
        let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) }.run_while_ok(&app().to_string()).ok();
        let (hand, wanted) = (Hand::at(&relay.endpoint), holdings(&relay.endpoint, APP));
        Self { hand, wanted, live: up.stdout, app: APP, mended: 0, relay }
    }

    fn down(self) {
        let _ = Pipe::down(&self.relay.endpoint).run_while_ok(&self.live).ok();
        assert_eq!(holdings(&self.relay.endpoint, APP), Vec::<String>::new());
        eprintln!("{} changes found and mended", self.mended);
    }

    fn doc(&self, path: &str) -> String {
        let live: Value = serde_json::from_str(&self.live).unwrap();
        live.pointer(path).and_then(Value::as_str).unwrap_or_else(|| unreachable!("{path} is not in {live:#}")).to_owned()
    }

    fn tool(&self, tool: &str, args: &[&str]) -> Output {
        run(&self.relay.endpoint, tool, &[args, &["--no-wait"]].concat(), &self.live)
    }

    /// After the change `tool --plan` says this, and after a run nothing is left to do.
    fn mends(&mut self, tool: &str, says: &str, change: impl AsyncFnOnce(&Hand) -> Result<(), Box<dyn std::error::Error>>) {
        self.hand.wait(change(&self.hand)).unwrap_or_else(|error| unreachable!("{tool}: {says}: {error:?}"));
        let _ = self.relay.calls();
        let plan = self.tool(tool, &["--plan"]);
        assert_eq!(plan.code, 3, "{tool} should see: {says}\n{}", plan.stderr);
        assert!(plan.stderr.contains(says), "{tool} should say {says:?}, not\n{}", plan.stderr);
        let mended = self.tool(tool, &[]).ok();
        let left = self.tool(tool, &["--plan"]);
        assert_eq!((left.code, left.stderr.as_str()), (0, ""), "{tool}: {says}");
        let called: BTreeSet<String> = self.relay.calls().into_iter().map(|call| call.action).collect();
        let allowed = allowed(tool);
        let forbidden: Vec<&String> = called.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{tool} calls what its policy does not allow: {forbidden:?}");
        assert_eq!(holdings(&self.relay.endpoint, self.app), self.wanted, "{tool}: {says}");
        // A thing that was made again may have another id, which the stages behind have to hear of.
        self.live = mended.stdout;
        self.mended += 1;
    }

    /// As [`Stand::mends`], for a thing that the stages behind refer to.
    fn mends_with_the_rest(&mut self, tool: &str, says: &str, change: impl AsyncFnOnce(&Hand) -> Result<(), Box<dyn std::error::Error>>) {
        self.mends(tool, says, change);
        let before = nameless(&self.live);
        let all = Pipe { args: vec!["--no-wait"], ..Pipe::up(&self.relay.endpoint) }.run_while_ok(&self.live).ok();
        assert_eq!(nameless(&all.stdout), before, "{tool}: {says}");
        self.live = all.stdout;
    }
}

#[test]
fn what_somebody_changes_is_found_and_mended() {
    let mut stand = Stand::up();
    network(&mut stand);
    cluster(&mut stand);
    services(&mut stand);
    balancing(&mut stand);
    scaling(&mut stand);
    alarms(&mut stand);
    stand.down();
}

fn network(stand: &mut Stand) {
    use aws_sdk_ec2::types::{AttributeBooleanValue, RouteTable, Tag};
    let (vpc, subnet, group) = (stand.doc("/net/vpc_id"), stand.doc("/net/private_subnet_ids/0"), stand.doc("/net/lb_security_group_id"));
    let table = stand.doc("/net/public_route_table_id");
    stand.mends("net-up", "security group drift-lb (ingress: none -> 80 from 0.0.0.0/0)", async |hand| {
        let call = hand.ec2.revoke_security_group_ingress().group_id(&group).ip_protocol("tcp").from_port(80).to_port(80);
        Ok(call.cidr_ip("0.0.0.0/0").send().await.map(drop)?)
    });
    stand.mends("net-up", "security group drift-lb (ingress: 22 from 203.0.113.0/24 -> none)", async |hand| {
        let call = hand.ec2.authorize_security_group_ingress().group_id(&group).ip_protocol("tcp").from_port(22).to_port(22);
        Ok(call.cidr_ip("203.0.113.0/24").send().await.map(drop)?)
    });
    stand.mends("net-up", "security group drift-lb (egress: none -> all to 0.0.0.0/0)", async |hand| {
        let anywhere = aws_sdk_ec2::types::IpRange::builder().cidr_ip("0.0.0.0/0").build();
        let all = aws_sdk_ec2::types::IpPermission::builder().ip_protocol("-1").ip_ranges(anywhere).build();
        Ok(hand.ec2.revoke_security_group_egress().group_id(&group).ip_permissions(all).send().await.map(drop)?)
    });
    stand.mends("net-up", "(tag team: theirs -> shop)", async |hand| {
        Ok(hand.ec2.create_tags().resources(&vpc).tags(Tag::builder().key("team").value("theirs").build()).send().await.map(drop)?)
    });
    stand.mends("net-up", "(tag team: none -> shop)", async |hand| {
        Ok(hand.ec2.delete_tags().resources(&subnet).tags(Tag::builder().key("team").build()).send().await.map(drop)?)
    });
    stand.mends("net-up", "route table drift-public (0.0.0.0/0: none -> igw-", async |hand| {
        Ok(hand.ec2.delete_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0").send().await.map(drop)?)
    });
    let (private, other) = (stand.doc("/net/private_subnet_ids/1"), stand.doc("/net/private_route_table_ids/0"));
    stand.mends("net-up", "route table drift-private-2 (subnet: none -> subnet-", async |hand| {
        let said = hand.ec2.describe_route_tables().send().await?;
        let all = said.route_tables().iter().flat_map(RouteTable::associations);
        let its = all.filter(|one| one.subnet_id() == Some(&private)).find_map(|one| one.route_table_association_id()).unwrap();
        Ok(hand.ec2.replace_route_table_association().association_id(its).route_table_id(&other).send().await.map(drop)?)
    });
    // Twice: AWS gives the answer of the first time again to the same token.
    for _ in 0..2 {
        let table = stand.doc("/net/private_route_table_ids/1");
        stand.mends("net-up", "+ route table drift-private-2", async |hand| {
            let said = hand.ec2.describe_route_tables().route_table_ids(&table).send().await?;
            for its in said.route_tables().iter().flat_map(RouteTable::associations).filter_map(|one| one.route_table_association_id()) {
                hand.ec2.disassociate_route_table().association_id(its).send().await?;
            }
            Ok(hand.ec2.delete_route_table().route_table_id(&table).send().await.map(drop)?)
        });
    }
    stand.mends("net-up", "VPC drift (enableDnsHostnames: false -> true)", async |hand| {
        let off = AttributeBooleanValue::builder().value(false).build();
        Ok(hand.ec2.modify_vpc_attribute().vpc_id(&vpc).enable_dns_hostnames(off).send().await.map(drop)?)
    });
    stand.mends("net-up", "log group /ecs-pipe-flow-logs/drift (retentionInDays: none -> 7)", async |hand| {
        Ok(hand.logs.delete_retention_policy().log_group_name("/ecs-pipe-flow-logs/drift").send().await.map(drop)?)
    });
    stand.mends("net-up", "role drift-flow-logs-us-east-1 (trust: ", async |hand| trust_anybody(hand, "drift-flow-logs-us-east-1").await);
    let flow = "drift-flow-logs-us-east-1";
    stand.mends("net-up", "(inline policies: [\"theirs\"] -> [])", async |hand| give_all(hand, flow).await);
    stand.mends("net-up", "(policies: [\"arn:aws:iam::aws:policy/AdministratorAccess\"] -> [])", async |hand| attach_all(hand, flow).await);
    stand.mends("net-up", "role drift-flow-logs-us-east-1 (write-flow-logs: none -> ", async |hand| {
        let call = hand.iam.delete_role_policy().role_name("drift-flow-logs-us-east-1").policy_name("write-flow-logs");
        Ok(call.send().await.map(drop)?)
    });
    stand.mends("net-up", "+ NAT gateway drift-nat-1", async |hand| {
        let said = hand.ec2.describe_nat_gateways().send().await?;
        let is_first = |tag: &Tag| tag.key() == Some("Name") && tag.value() == Some("drift-nat-1");
        let first = said.nat_gateways().iter().find(|nat| nat.tags().iter().any(is_first));
        Ok(hand.ec2.delete_nat_gateway().nat_gateway_id(first.and_then(|nat| nat.nat_gateway_id()).unwrap()).send().await.map(drop)?)
    });
}

/// Lets everybody in the account take a role.
async fn trust_anybody(hand: &Hand, role: &str) -> Result<(), Box<dyn std::error::Error>> {
    let anybody = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]});
    Ok(hand.iam.update_assume_role_policy().role_name(role).policy_document(anybody.to_string()).send().await.map(drop)?)
}

/// Lets a role do everything, by a policy of its own.
async fn give_all(hand: &Hand, role: &str) -> Result<(), Box<dyn std::error::Error>> {
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let call = hand.iam.put_role_policy().role_name(role).policy_name("theirs").policy_document(all.to_string());
    Ok(call.send().await.map(drop)?)
}

/// The same, by one of AWS's.
async fn attach_all(hand: &Hand, role: &str) -> Result<(), Box<dyn std::error::Error>> {
    let call = hand.iam.attach_role_policy().role_name(role).policy_arn("arn:aws:iam::aws:policy/AdministratorAccess");
    Ok(call.send().await.map(drop)?)
}

fn cluster(stand: &mut Stand) {
    use aws_sdk_ecs::types::{ClusterSetting, ClusterSettingName};
    let (arn, role) = (stand.doc("/cluster/arn"), "drift-instance-us-east-1");
    stand.mends("cluster-up", "(tag team: none -> shop)", async |hand| {
        Ok(hand.ecs.untag_resource().resource_arn(&arn).tag_keys("team").send().await.map(drop)?)
    });
    stand.mends("cluster-up", "cluster drift (containerInsights: disabled -> ", async |hand| {
        let off = ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value("disabled").build();
        Ok(hand.ecs.update_cluster().cluster(APP).settings(off).send().await.map(drop)?)
    });
    stand.mends("cluster-up", "cluster drift (capacityProviders: none -> instances-of-drift", async |hand| {
        let call = hand.ecs.put_cluster_capacity_providers().cluster(APP).set_capacity_providers(Some(Vec::new()));
        Ok(call.set_default_capacity_provider_strategy(Some(Vec::new())).send().await.map(drop)?)
    });
    stand.mends("cluster-up", "Auto Scaling group drift (new instances protected from scale-in: false -> true)", async |hand| {
        let call = hand.groups.update_auto_scaling_group().auto_scaling_group_name(APP).new_instances_protected_from_scale_in(false);
        Ok(call.send().await.map(drop)?)
    });
    stand.mends("cluster-up", "role drift-instance-us-east-1 (policies: none -> arn:aws:iam::aws:policy/", async |hand| {
        let agent = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role";
        Ok(hand.iam.detach_role_policy().role_name(role).policy_arn(agent).send().await.map(drop)?)
    });
    stand.mends("cluster-up", "role drift-instance-us-east-1 (trust: ", async |hand| trust_anybody(hand, role).await);
    stand.mends("cluster-up", "role drift-instance-us-east-1 (inline policies: theirs -> none)", async |hand| give_all(hand, role).await);
    stand.mends("cluster-up", "instance profile drift-instance-us-east-1 (role: none -> ", async |hand| {
        let call = hand.iam.remove_role_from_instance_profile().instance_profile_name(role).role_name(role);
        Ok(call.send().await.map(drop)?)
    });
    stand.mends("cluster-up", "launch template drift (version: ", async |hand| {
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id("ami-12345678").build();
        let call = hand.ec2.create_launch_template_version().launch_template_name(APP).launch_template_data(data);
        let made = call.send().await?;
        let number = made.launch_template_version().and_then(aws_sdk_ec2::types::LaunchTemplateVersion::version_number).unwrap();
        let call = hand.ec2.modify_launch_template().launch_template_name(APP).default_version(number.to_string());
        Ok(call.send().await.map(drop)?)
    });
}

fn services(stand: &mut Stand) {
    let (execution, task) = ("drift-execution-us-east-1", "drift-web-task-us-east-1");
    stand.mends("svc-deploy", "log group /ecs-pipe/drift/web (retentionInDays: 1 -> 30)", async |hand| {
        Ok(hand.logs.put_retention_policy().log_group_name("/ecs-pipe/drift/web").retention_in_days(1).send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "+ log group /ecs-pipe/drift/api", async |hand| {
        Ok(hand.logs.delete_log_group().log_group_name("/ecs-pipe/drift/api").send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "role drift-execution-us-east-1 (start-tasks: ", async |hand| {
        let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let call = hand.iam.put_role_policy().role_name(execution).policy_name("start-tasks").policy_document(all.to_string());
        Ok(call.send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "role drift-execution-us-east-1 (start-tasks: none -> ", async |hand| {
        Ok(hand.iam.delete_role_policy().role_name(execution).policy_name("start-tasks").send().await.map(drop)?)
    });
    for role in [execution, task] {
        stand.mends("svc-deploy", &format!("role {role} (inline policies: [\"theirs\"] -> [])"), async |hand| give_all(hand, role).await);
    }
    stand.mends("svc-deploy", "role drift-execution-us-east-1 (policies: ", async |hand| attach_all(hand, execution).await);
    stand.mends("svc-deploy", "role drift-web-task-us-east-1 (policies: ", async |hand| attach_all(hand, task).await);
    stand.mends("svc-deploy", "role drift-web-task-us-east-1 (trust: ", async |hand| trust_anybody(hand, task).await);
    stand.mends("svc-deploy", "role drift-execution-us-east-1 (tag team: none -> shop)", async |hand| {
        Ok(hand.iam.untag_role().role_name(execution).tag_keys("team").send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "service web (minimumHealthyPercent: 0 -> 100", async |hand| {
        let none = aws_sdk_ecs::types::DeploymentConfiguration::builder().minimum_healthy_percent(0).maximum_percent(200).build();
        Ok(hand.ecs.update_service().cluster(APP).service("web").deployment_configuration(none).send().await.map(drop)?)
    });
    let arn = stand.doc("/svc/services/web/arn");
    stand.mends("svc-deploy", "(tag team: none -> shop)", async |hand| {
        Ok(hand.ecs.untag_resource().resource_arn(&arn).tag_keys("team").send().await.map(drop)?)
    });
}

fn balancing(stand: &mut Stand) {
    use aws_sdk_elasticloadbalancingv2::types::{
        Action, ActionTypeEnum, FixedResponseActionConfig, LoadBalancerAttribute, Tag, TargetGroupAttribute,
    };
    let (balancer, listener) = (stand.doc("/svc/load_balancer_arn"), stand.doc("/svc/listener_arns/0"));
    let group = stand.doc("/svc/services/web/target_group_arn");
    let gone = || {
        let gone = FixedResponseActionConfig::builder().status_code("410").build();
        Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(gone).build()
    };
    stand.mends("svc-deploy", "load balancer drift (routing.http.drop_invalid_header_fields.enabled: false -> true)", async |hand| {
        let off = LoadBalancerAttribute::builder().key("routing.http.drop_invalid_header_fields.enabled").value("false").build();
        let call = hand.elb.modify_load_balancer_attributes().load_balancer_arn(&balancer).attributes(off);
        Ok(call.send().await.map(drop)?)
    });
    for arn in [&balancer, &listener, &group] {
        stand.mends("svc-deploy", "(tag team: theirs -> shop)", async |hand| {
            let theirs = Tag::builder().key("team").value("theirs").build();
            Ok(hand.elb.add_tags().resource_arns(arn).tags(theirs).send().await.map(drop)?)
        });
    }
    stand.mends("svc-deploy", "(deregistration_delay.timeout_seconds: 300 -> 30)", async |hand| {
        let slow = TargetGroupAttribute::builder().key("deregistration_delay.timeout_seconds").value("300").build();
        Ok(hand.elb.modify_target_group_attributes().target_group_arn(&group).attributes(slow).send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "(HealthCheckPath: /theirs -> /)", async |hand| {
        Ok(hand.elb.modify_target_group().target_group_arn(&group).health_check_path("/theirs").send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "listener drift:80 (defaultAction: fixed-response 410 -> forward drift-web-", async |hand| {
        Ok(hand.elb.modify_listener().listener_arn(&listener).default_actions(gone()).send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "rule api:/api/* (action: fixed-response 410 -> forward drift-api-", async |hand| {
        let rules = hand.elb.describe_rules().listener_arn(&listener).send().await?;
        let rule = rules.rules().iter().find(|rule| rule.is_default() != Some(true)).and_then(|rule| rule.rule_arn()).unwrap();
        Ok(hand.elb.modify_rule().rule_arn(rule).actions(gone()).send().await.map(drop)?)
    });
    stand.mends("svc-deploy", "+ rule api:/api/*", async |hand| {
        let rules = hand.elb.describe_rules().listener_arn(&listener).send().await?;
        let rule = rules.rules().iter().find(|rule| rule.is_default() != Some(true)).and_then(|rule| rule.rule_arn()).unwrap();
        Ok(hand.elb.delete_rule().rule_arn(rule).send().await.map(drop)?)
    });
    stand.mends_with_the_rest("svc-deploy", "+ listener drift:80", async |hand| {
        Ok(hand.elb.delete_listener().listener_arn(&listener).send().await.map(drop)?)
    });
}

fn scaling(stand: &mut Stand) {
    use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
    let (ecs, count) = (ServiceNamespace::Ecs, ScalableDimension::EcsServiceDesiredCount);
    stand.mends("scale-set", "scalable target service/drift/web (max: 3 -> 10)", async |hand| {
        let call = hand.application.register_scalable_target().service_namespace(ecs.clone()).scalable_dimension(count.clone());
        Ok(call.resource_id("service/drift/web").min_capacity(2).max_capacity(3).send().await.map(drop)?)
    });
    stand.mends("scale-set", "+ scaling policy service/drift/web ecs-pipe-cpu", async |hand| {
        let call = hand.application.delete_scaling_policy().service_namespace(ecs.clone()).scalable_dimension(count.clone());
        Ok(call.resource_id("service/drift/web").policy_name("ecs-pipe-cpu").send().await.map(drop)?)
    });
    stand.mends("scale-set", "+ scheduled action service/drift/api ecs-pipe-morning", async |hand| {
        let call = hand.application.delete_scheduled_action().service_namespace(ecs.clone()).scalable_dimension(count.clone());
        Ok(call.resource_id("service/drift/api").scheduled_action_name("ecs-pipe-morning").send().await.map(drop)?)
    });
    stand.mends("scale-set", "(tag team: none -> shop)", async |hand| {
        let said =
            hand.application.describe_scalable_targets().service_namespace(ecs.clone()).resource_ids("service/drift/web").send().await?;
        let arn = said.scalable_targets()[0].scalable_target_arn().unwrap().to_owned();
        Ok(hand.application.untag_resource().resource_arn(arn).tag_keys("team").send().await.map(drop)?)
    });
    stand.mends("scale-set", "Auto Scaling group drift (max: 9 -> ", async |hand| {
        Ok(hand.groups.update_auto_scaling_group().auto_scaling_group_name(APP).max_size(9).send().await.map(drop)?)
    });
}

fn alarms(stand: &mut Stand) {
    stand.mends("alarms-set", "+ alarm drift/web/cpu", async |hand| {
        Ok(hand.cloudwatch.delete_alarms().alarm_names("drift/web/cpu").send().await.map(drop)?)
    });
    stand.mends("alarms-set", "alarm drift/web/cpu (actions enabled: false -> true)", async |hand| {
        Ok(hand.cloudwatch.disable_alarm_actions().alarm_names("drift/web/cpu").send().await.map(drop)?)
    });
    stand.mends("alarms-set", "alarm drift/api/memory (watches: ", async |hand| {
        use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
        let call = hand.cloudwatch.put_metric_alarm().alarm_name("drift/api/memory").namespace("AWS/ECS").metric_name("MemoryUtilization");
        let call = call.statistic(Statistic::Average).period(60).evaluation_periods(3).threshold(99.0);
        Ok(call.comparison_operator(ComparisonOperator::GreaterThanThreshold).send().await.map(drop)?)
    });
    stand.mends("alarms-set", "alarm drift/web/cpu (tag team: none -> shop)", async |hand| {
        let arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift/web/cpu";
        Ok(hand.cloudwatch.untag_resource().resource_arn(arn).tag_keys("team").send().await.map(drop)?)
    });
    let topic = stand.doc("/alarms/topic_arn");
    stand.mends("alarms-set", "topic drift-alarms (tag team: none -> shop)", async |hand| {
        Ok(hand.sns.untag_resource().resource_arn(&topic).tag_keys("team").send().await.map(drop)?)
    });
}

/// The repository is looked at where images are really pushed.
#[test]
fn a_changed_repository_is_found_and_mended() {
    use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability};
    let relay = Relay::new();
    let (hand, name) = (Hand::at(&relay.endpoint), "drift-images/web");
    let doc = json!({"name": "drift-images", "x-tags": {"team": "shop"}, "services": {"web": {
        "build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}}}});
    let live = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok().stdout;
    let wanted = holdings(&relay.endpoint, "drift-images");
    let mut stand = Stand { hand, wanted, live, mended: 0, app: "drift-images", relay };
    stand.mends("img-push", "repository drift-images/web (lifecycle policy: none -> ", async |hand| {
        Ok(hand.ecr.delete_lifecycle_policy().repository_name(name).send().await.map(drop)?)
    });
    stand.mends("img-push", "repository drift-images/web (imageTagMutability: MUTABLE -> IMMUTABLE)", async |hand| {
        let call = hand.ecr.put_image_tag_mutability().repository_name(name).image_tag_mutability(ImageTagMutability::Mutable);
        Ok(call.send().await.map(drop)?)
    });
    stand.mends("img-push", "repository drift-images/web (scanOnPush: false -> true)", async |hand| {
        let off = ImageScanningConfiguration::builder().scan_on_push(false).build();
        Ok(hand.ecr.put_image_scanning_configuration().repository_name(name).image_scanning_configuration(off).send().await.map(drop)?)
    });
    stand.mends("img-push", "repository drift-images/web (tag team: none -> shop)", async |hand| {
        let arn = "arn:aws:ecr:us-east-1:000000000000:repository/drift-images/web";
        Ok(hand.ecr.untag_resource().resource_arn(arn).tag_keys("team").send().await.map(drop)?)
    });
    stand.mends("img-push", "image drift-images/web:", async |hand| {
        let tag = only_tag(hand, name).await?;
        let image = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag(tag).build();
        Ok(hand.ecr.batch_delete_image().repository_name(name).image_ids(image).send().await.map(drop)?)
    });
    let _ = run(&stand.relay.endpoint, "img-push", &["--down"], &stand.live).ok();
    assert_eq!(holdings(&stand.relay.endpoint, "drift-images"), Vec::<String>::new());
}

/// The tag of the one image that is there.
async fn only_tag(hand: &Hand, repository: &str) -> Result<String, Box<dyn std::error::Error>> {
    let said = hand.ecr.list_images().repository_name(repository).send().await?;
    Ok(said.image_ids().iter().find_map(|image| image.image_tag()).unwrap_or_default().to_owned())
}
