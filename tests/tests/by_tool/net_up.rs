//! net-up: VPC endpoints, and what blocks the deletion of the network.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification, VpcEndpointType};
use serde_json::json;
use shared::doc::Net;
use tests::{Clients, Relay, account, run};

#[test]
fn endpoints_of_any_service_are_created() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "endpoints");
    let doc = |services: &[&str]| {
        json!({"name": app, "x-net": {"nat": "none", "endpoints": services}, "x-cluster": {"session_manager": false}}).to_string()
    };
    let refused = run(&relay.endpoint, "net-up", &[], &doc(&["s3", "fax"]));
    assert_eq!((refused.code, refused.stdout.as_str()), (65, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("x-net.endpoints: AWS has no VPC endpoint for \"fax\" in us-east-1"), "{}", refused.stderr);
    let refused = run(&relay.endpoint, "net-up", &["--endpoints", "fax"], &doc(&["s3"]));
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("--endpoints: AWS has no VPC endpoint"), "{}", refused.stderr);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the error is found before the first change");

    let doc = doc(&["s3", "dynamodb", "ecr", "ecs", "logs", "secretsmanager"]);
    let plan = run(&relay.endpoint, "net-up", &["--plan"], &doc);
    let up = run(&relay.endpoint, "net-up", &[], &doc).ok();
    assert!(!up.stderr.contains("warning"), "{}", up.stderr);
    assert_eq!(plan.acts('+'), up.acts('+'));
    let clients = Clients::at(&relay.endpoint);
    let net: Net = serde_json::from_value(up.doc()["net"].clone()).unwrap();
    let ids = net.vpc_endpoint_ids.into_iter().flatten().collect();
    let said = clients.wait(clients.ec2.describe_vpc_endpoints().set_vpc_endpoint_ids(Some(ids)).send()).unwrap();
    let mut made: Vec<_> = said
        .vpc_endpoints()
        .iter()
        .map(|one| {
            let short = one.service_name().unwrap().trim_start_matches("com.amazonaws.us-east-1.");
            format!("{short}: {} tables, {} subnets, {} groups", one.route_table_ids().len(), one.subnet_ids().len(), one.groups().len())
        })
        .collect();
    made.sort();
    let interface = ["ecr.api", "ecr.dkr", "ecs", "ecs-agent", "ecs-telemetry", "logs", "secretsmanager"];
    let mut expected = interface.map(|service| format!("{service}: 0 tables, 2 subnets, 1 groups")).to_vec();
    expected.extend(["dynamodb", "s3"].map(|service| format!("{service}: 2 tables, 0 subnets, 0 groups")));
    expected.sort();
    assert_eq!(made, expected);

    let _ = relay.calls();
    let again = run(&relay.endpoint, "net-up", &[], &up.stdout).ok();
    assert_eq!(relay.mutations(), Vec::<String>::new());
    let _ = run(&relay.endpoint, "net-up", &["--down"], &again.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// AWS deletes no group, subnet or VPC that somebody else uses. Waiting for that ends in a deadline.
#[test]
fn what_blocks_the_deletion_is_named_and_what_guardduty_made_is_deleted_with_force() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "blocked");
    let doc = json!({"name": app, "x-net": {"nat": "none"}}).to_string();
    let live = run(&relay.endpoint, "net-up", &[], &doc).ok();
    let net: Net = serde_json::from_value(live.doc()["net"].clone()).unwrap();
    let (vpc, subnet, group) = (net.vpc_id.unwrap(), net.private_subnet_ids[0].clone().unwrap(), net.task_security_group_id.unwrap());
    let Clients { ec2, .. } = &Clients::at(&relay.endpoint);
    let clients = Clients::at(&relay.endpoint);
    let tags = |kind| {
        let tag = Tag::builder().key("GuardDutyManaged").value("true").build();
        TagSpecification::builder().resource_type(kind).tags(tag).build()
    };
    let call = ec2.create_network_interface().subnet_id(&subnet).groups(&group).description("theirs");
    let eni = clients.wait(call.send()).unwrap().network_interface.and_then(|made| made.network_interface_id).unwrap();
    let call = ec2.create_security_group().group_name("GuardDutyManagedSecurityGroup").description("Managed by GuardDuty").vpc_id(&vpc);
    let made = clients.wait(call.tag_specifications(tags(ResourceType::SecurityGroup)).send()).unwrap();
    let guard_duty = made.group_id.unwrap();
    let call = ec2.create_vpc_endpoint().vpc_id(&vpc).service_name("com.amazonaws.us-east-1.guardduty-data");
    let call = call.vpc_endpoint_type(VpcEndpointType::Interface).tag_specifications(tags(ResourceType::VpcEndpoint));
    let _ = clients.wait(call.subnet_ids(&subnet).send()).unwrap();

    let began = Instant::now();
    let refused = run(&relay.endpoint, "net-up", &["--down"], &live.stdout);
    assert!(refused.code == 1 && refused.stderr.contains("error[network-in-use]"), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("{eni} (\"theirs\", created by ")), "{}", refused.stderr);
    assert!(refused.stderr.contains("With --force, net-up deletes what GuardDuty created"), "{}", refused.stderr);
    assert!(began.elapsed() < Duration::from_mins(1));

    let _ = clients.wait(ec2.delete_network_interface().network_interface_id(eni).send()).unwrap();
    let refused = run(&relay.endpoint, "net-up", &["--down"], &live.stdout);
    assert!(refused.code == 1 && refused.stderr.contains(&format!("{guard_duty} (\"GuardDutyManaged")), "{}", refused.stderr);
    let gone = run(&relay.endpoint, "net-up", &["--down", "--force"], &live.stdout).ok();
    assert!(gone.acts('-').contains(&format!("security group {guard_duty}")), "{}", gone.stderr);
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

#[test]
fn the_endpoint_of_s3_is_created_by_default() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "free");
    let doc = json!({"name": app, "x-net": {"nat": "none"}}).to_string();
    let up = run(&relay.endpoint, "net-up", &[], &doc).ok();
    assert!(up.acts('+').contains(&"VPC endpoint free-s3".to_owned()), "{}", up.stderr);
    let _ = run(&relay.endpoint, "net-up", &["--down"], &up.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
