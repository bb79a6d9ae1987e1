//! Changes of the network.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, Filter, InternetGateway, IpPermission, IpRange, NatGateway, NatGatewayState, RouteTable, Tag, VpcEndpoint,
};

use super::{Deployed, Done, PIPE, allow_all_inline, allow_all_managed, trust_anybody};

const LB_GROUP: &str = "/net/lb_security_group_id";
const LOG_GROUP: &str = "/ecs-pipe-flow-logs/drift";
const ROLE: &str = "drift-flow-logs-us-east-1";

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    PIPE.with(|app| app.reverts("net-up", says, change));
}

#[test]
fn ingress_rule_deleted() {
    reverts("security group drift-lb (ingress tcp 80 from 0.0.0.0/0: none -> allowed)", async |app| {
        let call = app.clients.ec2.revoke_security_group_ingress().group_id(app.id(LB_GROUP)).ip_protocol("tcp");
        Ok(call.from_port(80).to_port(80).cidr_ip("0.0.0.0/0").send().await.map(drop)?)
    });
}

#[test]
fn ingress_rule_added() {
    reverts("security group drift-lb (ingress tcp 22 from 203.0.113.0/24: allowed -> none)", async |app| {
        let call = app.clients.ec2.authorize_security_group_ingress().group_id(app.id(LB_GROUP)).ip_protocol("tcp");
        Ok(call.from_port(22).to_port(22).cidr_ip("203.0.113.0/24").send().await.map(drop)?)
    });
}

#[test]
fn egress_rule_deleted() {
    reverts("security group drift-lb (egress all traffic to 0.0.0.0/0: none -> allowed)", async |app| {
        let anywhere = IpRange::builder().cidr_ip("0.0.0.0/0").build();
        let all = IpPermission::builder().ip_protocol("-1").ip_ranges(anywhere).build();
        Ok(app.clients.ec2.revoke_security_group_egress().group_id(app.id(LB_GROUP)).ip_permissions(all).send().await.map(drop)?)
    });
}

#[test]
fn vpc_tag_changed() {
    reverts("(tags.team: theirs -> shop)", async |app| {
        let theirs = Tag::builder().key("team").value("theirs").build();
        Ok(app.clients.ec2.create_tags().resources(app.id("/net/vpc_id")).tags(theirs).send().await.map(drop)?)
    });
}

#[test]
fn subnet_tag_deleted() {
    reverts("(tags.team: none -> shop)", async |app| {
        let call = app.clients.ec2.delete_tags().resources(app.id("/net/private_subnet_ids/0"));
        Ok(call.tags(Tag::builder().key("team").build()).send().await.map(drop)?)
    });
}

#[test]
fn public_route_deleted() {
    reverts("route table drift-public (0.0.0.0/0: none -> igw-", async |app| {
        let call = app.clients.ec2.delete_route().route_table_id(app.id("/net/public_route_table_id"));
        Ok(call.destination_cidr_block("0.0.0.0/0").send().await.map(drop)?)
    });
}

#[test]
fn subnet_associated_with_another_route_table() {
    reverts("route table drift-private-2 (subnetId: none -> subnet-", async |app| {
        let (subnet, other) = (app.id("/net/private_subnet_ids/1"), app.id("/net/private_route_table_ids/0"));
        let said = app.clients.ec2.describe_route_tables().send().await?;
        let all = said.route_tables().iter().flat_map(RouteTable::associations);
        let its = all.filter(|one| one.subnet_id() == Some(&subnet)).find_map(|one| one.route_table_association_id()).unwrap();
        Ok(app.clients.ec2.replace_route_table_association().association_id(its).route_table_id(&other).send().await.map(drop)?)
    });
}

/// Twice, because AWS returns the first response again to a call with the same client token.
#[test]
fn route_table_deleted_twice() {
    for _ in 0..2 {
        reverts("+ route table drift-private-2", async |app| {
            let table = app.id("/net/private_route_table_ids/1");
            let said = app.clients.ec2.describe_route_tables().route_table_ids(&table).send().await?;
            for its in said.route_tables().iter().flat_map(RouteTable::associations).filter_map(|one| one.route_table_association_id()) {
                app.clients.ec2.disassociate_route_table().association_id(its).send().await?;
            }
            Ok(app.clients.ec2.delete_route_table().route_table_id(&table).send().await.map(drop)?)
        });
    }
}

#[test]
fn vpc_dns_hostnames_disabled() {
    reverts("VPC drift (enableDnsHostnames: false -> true)", async |app| {
        let off = AttributeBooleanValue::builder().value(false).build();
        Ok(app.clients.ec2.modify_vpc_attribute().vpc_id(app.id("/net/vpc_id")).enable_dns_hostnames(off).send().await.map(drop)?)
    });
}

#[test]
fn flow_log_retention_deleted() {
    reverts("log group /ecs-pipe-flow-logs/drift (retentionInDays: none -> 7)", async |app| {
        Ok(app.clients.logs.delete_retention_policy().log_group_name(LOG_GROUP).send().await.map(drop)?)
    });
}

#[test]
fn flow_log_role_trust_changed() {
    reverts("role drift-flow-logs-us-east-1 (trust.Statement[0].Principal.Service: none -> vpc-flow-logs.amazonaws.com, ", async |app| {
        trust_anybody(&app.clients, ROLE).await
    });
}

#[test]
fn flow_log_role_inline_policy_added() {
    reverts("role drift-flow-logs-us-east-1 (inline policies: theirs -> none)", async |app| allow_all_inline(&app.clients, ROLE).await);
}

#[test]
fn flow_log_role_managed_policy_attached() {
    reverts("(attached policies: arn:aws:iam::aws:policy/AdministratorAccess -> none)", async |app| {
        allow_all_managed(&app.clients, ROLE).await
    });
}

#[test]
fn flow_log_role_policy_deleted() {
    reverts("role drift-flow-logs-us-east-1 (write-flow-logs: none -> 2 statements)", async |app| {
        Ok(app.clients.iam.delete_role_policy().role_name(ROLE).policy_name("write-flow-logs").send().await.map(drop)?)
    });
}

#[test]
fn nat_gateway_deleted() {
    reverts("+ NAT gateway drift-nat-1", async |app| {
        let said = app.clients.ec2.describe_nat_gateways().send().await?;
        let is_first = |tag: &Tag| tag.key() == Some("Name") && tag.value() == Some("drift-nat-1");
        // A deleted NAT gateway, of an earlier deployment, is still visible.
        let mut alive = said.nat_gateways().iter().filter(|nat| nat.state() != Some(&NatGatewayState::Deleted));
        let first = alive.find(|nat| nat.tags().iter().any(is_first)).and_then(NatGateway::nat_gateway_id).unwrap();
        Ok(app.clients.ec2.delete_nat_gateway().nat_gateway_id(first).send().await.map(drop)?)
    });
}

#[test]
fn internet_gateway_detached() {
    reverts("internet gateway drift (vpcId: none -> vpc-", async |app| {
        let vpc = app.id("/net/vpc_id");
        let said = app.clients.ec2.describe_internet_gateways().send().await?;
        let is_attached = |one: &&InternetGateway| one.attachments().iter().any(|attachment| attachment.vpc_id() == Some(&vpc));
        let gateway = said.internet_gateways().iter().find(is_attached).and_then(InternetGateway::internet_gateway_id).unwrap();
        Ok(app.clients.ec2.detach_internet_gateway().internet_gateway_id(gateway).vpc_id(&vpc).send().await.map(drop)?)
    });
}

#[test]
fn default_security_group_rule_added() {
    reverts("(ingress tcp 22 from 203.0.113.0/24: allowed -> none)", async |app| {
        let vpc = Filter::builder().name("vpc-id").values(app.id("/net/vpc_id")).build();
        let name = Filter::builder().name("group-name").values("default").build();
        let said = app.clients.ec2.describe_security_groups().filters(vpc).filters(name).send().await?;
        let call = app.clients.ec2.authorize_security_group_ingress().group_id(said.security_groups()[0].group_id().unwrap());
        Ok(call.ip_protocol("tcp").from_port(22).to_port(22).cidr_ip("203.0.113.0/24").send().await.map(drop)?)
    });
}

#[test]
fn flow_log_deleted() {
    reverts("+ flow log drift", async |app| {
        let vpc = Filter::builder().name("resource-id").values(app.id("/net/vpc_id")).build();
        let said = app.clients.ec2.describe_flow_logs().filter(vpc).send().await?;
        Ok(app.clients.ec2.delete_flow_logs().flow_log_ids(said.flow_logs()[0].flow_log_id().unwrap()).send().await.map(drop)?)
    });
}

#[test]
fn endpoint_deleted() {
    reverts("+ VPC endpoint drift-logs", async |app| {
        Ok(app.clients.ec2.delete_vpc_endpoints().vpc_endpoint_ids(endpoint(app, "logs").await?).send().await.map(drop)?)
    });
}

#[test]
fn endpoint_route_table_removed() {
    reverts("VPC endpoint drift-s3 (routeTableIds: none -> rtb-", async |app| {
        let call = app.clients.ec2.modify_vpc_endpoint().vpc_endpoint_id(endpoint(app, "s3").await?);
        Ok(call.remove_route_table_ids(app.id("/net/private_route_table_ids/0")).send().await.map(drop)?)
    });
}

/// Returns the ID of the endpoint of a service.
async fn endpoint(app: &Deployed, service: &str) -> Result<String, Box<dyn std::error::Error>> {
    let vpc = app.id("/net/vpc_id");
    let said = app.clients.ec2.describe_vpc_endpoints().send().await?;
    let mut its = said.vpc_endpoints().iter().filter(|one| one.vpc_id() == Some(&vpc));
    let found = its.find(|one| one.service_name().is_some_and(|name| name.ends_with(&format!(".{service}"))));
    Ok(found.and_then(VpcEndpoint::vpc_endpoint_id).unwrap().to_owned())
}
