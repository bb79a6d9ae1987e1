//! cluster-up: the mount targets of the volumes. Kills, faults and changes by hand are in
//! `pipe::kills`, `pipe::faults` and `pipe::drift`.

use serde_json::{Value, json};
use tests::{Clients, Relay, account, run};

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
