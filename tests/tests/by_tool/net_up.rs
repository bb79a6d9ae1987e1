//! net-up: VPC endpoints.

use serde_json::json;
use shared::doc::Net;
use tests::{Clients, Relay, account, run};

#[test]
fn endpoints_of_any_service_are_created() {
    let (relay, app) = (Relay::before("ECS_PIPE_MOTO"), "endpoints");
    let doc = |services: &[&str]| json!({"name": app, "x-net": {"nat": "none", "endpoints": services}}).to_string();
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
