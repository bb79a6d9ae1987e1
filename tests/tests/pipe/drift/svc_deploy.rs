//! Changes of the services, their roles and their load balancer.

use aws_sdk_ecs::types::{DeploymentConfiguration, ServiceConnectConfiguration};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, LoadBalancerAttribute, Rule, Tag, TargetGroupAttribute,
};
use serde_json::json;

use super::{APP, Deployed, Done, PIPE, allow_all_inline, allow_all_managed, trust_anybody};

const BALANCER: &str = "/svc/load_balancer_arn";
const LISTENER: &str = "/svc/listener_arns/0";
const TARGET_GROUP: &str = "/svc/services/web/target_group_arn";
const EXECUTION_ROLE: &str = "drift-web-execution-us-east-1";
const TASK_ROLE: &str = "drift-web-task-us-east-1";

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    PIPE.with(|app| app.reverts("svc-deploy", says, change));
}

#[test]
fn log_group_retention_changed() {
    reverts("log group /ecs-pipe/drift/web (retentionInDays: 1 -> 30)", async |app| {
        Ok(app.clients.logs.put_retention_policy().log_group_name("/ecs-pipe/drift/web").retention_in_days(1).send().await.map(drop)?)
    });
}

#[test]
fn log_group_deleted() {
    reverts("+ log group /ecs-pipe/drift/api", async |app| {
        Ok(app.clients.logs.delete_log_group().log_group_name("/ecs-pipe/drift/api").send().await.map(drop)?)
    });
}

#[test]
fn execution_role_policy_changed() {
    reverts("role drift-web-execution-us-east-1 (start-tasks.Statement[0].Sid: none -> Log, ", async |app| {
        let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let call = app.clients.iam.put_role_policy().role_name(EXECUTION_ROLE).policy_name("start-tasks").policy_document(all.to_string());
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn execution_role_policy_deleted() {
    reverts("role drift-web-execution-us-east-1 (start-tasks: none -> Log)", async |app| {
        Ok(app.clients.iam.delete_role_policy().role_name(EXECUTION_ROLE).policy_name("start-tasks").send().await.map(drop)?)
    });
}

#[test]
fn execution_role_inline_policy_added() {
    reverts("role drift-web-execution-us-east-1 (inline policies: theirs -> none)", async |app| {
        allow_all_inline(&app.clients, EXECUTION_ROLE).await
    });
}

#[test]
fn task_role_inline_policy_added() {
    reverts("role drift-web-task-us-east-1 (inline policies: theirs -> none)", async |app| allow_all_inline(&app.clients, TASK_ROLE).await);
}

#[test]
fn execution_role_managed_policy_attached() {
    reverts("role drift-web-execution-us-east-1 (attached policies: arn:aws:iam::aws:policy/AdministratorAccess -> none)", async |app| {
        allow_all_managed(&app.clients, EXECUTION_ROLE).await
    });
}

#[test]
fn task_role_managed_policy_attached() {
    reverts("role drift-web-task-us-east-1 (attached policies: arn:aws:iam::aws:policy/AdministratorAccess -> none)", async |app| {
        allow_all_managed(&app.clients, TASK_ROLE).await
    });
}

#[test]
fn role_boundary_deleted() {
    reverts("role drift-web-task-us-east-1 (permissions boundary: none -> arn:aws:iam::aws:policy/PowerUserAccess)", async |app| {
        Ok(app.clients.iam.delete_role_permissions_boundary().role_name(TASK_ROLE).send().await.map(drop)?)
    });
}

#[test]
fn task_role_trust_changed() {
    reverts("role drift-web-task-us-east-1 (trust.Statement[0].Principal.Service: none -> ecs-tasks.amazonaws.com, ", async |app| {
        trust_anybody(&app.clients, TASK_ROLE).await
    });
}

#[test]
fn execution_role_tag_deleted() {
    reverts("role drift-web-execution-us-east-1 (tags.team: none -> shop)", async |app| {
        Ok(app.clients.iam.untag_role().role_name(EXECUTION_ROLE).tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn minimum_healthy_percent_changed() {
    reverts("service web (deploymentConfiguration.minimumHealthyPercent: 0 -> 100", async |app| {
        let none = DeploymentConfiguration::builder().minimum_healthy_percent(0).maximum_percent(200).build();
        Ok(app.clients.ecs.update_service().cluster(APP).service("web").deployment_configuration(none).send().await.map(drop)?)
    });
}

#[test]
fn service_tag_deleted() {
    reverts("(tags.team: none -> shop)", async |app| {
        Ok(app.clients.ecs.untag_resource().resource_arn(app.id("/svc/services/web/arn")).tag_keys("team").send().await.map(drop)?)
    });
}

#[test]
fn load_balancer_attribute_changed() {
    reverts("load balancer drift (routing.http.drop_invalid_header_fields.enabled: false -> true)", async |app| {
        let off = LoadBalancerAttribute::builder().key("routing.http.drop_invalid_header_fields.enabled").value("false").build();
        let call = app.clients.elb.modify_load_balancer_attributes().load_balancer_arn(app.id(BALANCER)).attributes(off);
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn load_balancer_tag_changed() {
    tag_is_reverted(BALANCER);
}

#[test]
fn listener_tag_changed() {
    tag_is_reverted(LISTENER);
}

#[test]
fn target_group_tag_changed() {
    tag_is_reverted(TARGET_GROUP);
}

fn tag_is_reverted(resource: &str) {
    reverts("(tags.team: theirs -> shop)", async |app| {
        let theirs = Tag::builder().key("team").value("theirs").build();
        Ok(app.clients.elb.add_tags().resource_arns(app.id(resource)).tags(theirs).send().await.map(drop)?)
    });
}

#[test]
fn deregistration_delay_changed() {
    reverts("(deregistration_delay.timeout_seconds: 300 -> 30)", async |app| {
        let slow = TargetGroupAttribute::builder().key("deregistration_delay.timeout_seconds").value("300").build();
        let call = app.clients.elb.modify_target_group_attributes().target_group_arn(app.id(TARGET_GROUP)).attributes(slow);
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn health_check_path_changed() {
    reverts("(HealthCheckPath: /theirs -> /)", async |app| {
        let call = app.clients.elb.modify_target_group().target_group_arn(app.id(TARGET_GROUP)).health_check_path("/theirs");
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn listener_default_action_changed() {
    reverts("listener drift:80 (DefaultActions: fixed-response 410 -> forward drift-web-", async |app| {
        Ok(app.clients.elb.modify_listener().listener_arn(app.id(LISTENER)).default_actions(gone()).send().await.map(drop)?)
    });
}

#[test]
fn rule_action_changed() {
    reverts("rule api:/api/* (Actions: fixed-response 410 -> forward drift-api-", async |app| {
        Ok(app.clients.elb.modify_rule().rule_arn(rule(app).await?).actions(gone()).send().await.map(drop)?)
    });
}

#[test]
fn rule_deleted() {
    reverts("+ rule api:/api/*", async |app| Ok(app.clients.elb.delete_rule().rule_arn(rule(app).await?).send().await.map(drop)?));
}

#[test]
fn listener_deleted() {
    PIPE.with(|app| {
        app.reverts_with_all_stages("svc-deploy", "+ listener drift:80", async |app| {
            Ok(app.clients.elb.delete_listener().listener_arn(app.id(LISTENER)).send().await.map(drop)?)
        });
    });
}

#[test]
fn load_balancer_security_group_changed() {
    reverts("load balancer drift (SecurityGroups: sg-", async |app| {
        let call = app.clients.elb.set_security_groups().load_balancer_arn(app.id(BALANCER));
        Ok(call.security_groups(app.id("/net/task_security_group_id")).send().await.map(drop)?)
    });
}

#[test]
fn load_balancer_subnet_changed() {
    reverts("load balancer drift (Subnets: subnet-", async |app| {
        let call = app.clients.elb.set_subnets().load_balancer_arn(app.id(BALANCER)).subnets(app.id("/net/public_subnet_ids/0"));
        Ok(call.subnets(app.id("/net/private_subnet_ids/1")).send().await.map(drop)?)
    });
}

#[test]
fn service_connect_disabled() {
    reverts("service web (serviceConnectConfiguration.enabled: none -> true, ", async |app| {
        let off = ServiceConnectConfiguration::builder().enabled(false).build();
        Ok(app.clients.ecs.update_service().cluster(APP).service("web").service_connect_configuration(off).send().await.map(drop)?)
    });
}

#[test]
fn service_deleted() {
    reverts("+ service web", async |app| {
        Ok(app.clients.ecs.delete_service().cluster(APP).service("web").force(true).send().await.map(drop)?)
    });
}

/// Returns an action that responds with 410.
fn gone() -> Action {
    let gone = FixedResponseActionConfig::builder().status_code("410").build();
    Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(gone).build()
}

/// Returns the ARN of the first rule that is not the default rule.
async fn rule(app: &Deployed) -> Result<String, Box<dyn std::error::Error>> {
    let said = app.clients.elb.describe_rules().listener_arn(app.id(LISTENER)).send().await?;
    let rule = said.rules().iter().find(|rule| rule.is_default() != Some(true)).and_then(Rule::rule_arn).unwrap();
    Ok(rule.to_owned())
}
