//! Changes of parameters, of a schedule, and of the role with which it runs its job.

use aws_sdk_ssm::types::ParameterType;
use serde_json::json;
use tests::{Pipe, Relay};

use super::{Deployed, Done, Shared, allow_all_inline, trust_anybody};

const APP: &str = "hand-jobs";
const PARAMETER: &str = "/ecs-pipe/hand-jobs/password";
const ROLE: &str = "hand-jobs-scheduler-us-east-1";

static PIPE: Shared = Shared::new(up, |app| Pipe::down(&app.relay.endpoint).run_while_ok(&app.live));

fn up() -> Deployed {
    let file = std::env::temp_dir().join(format!("{APP}-{}", std::process::id()));
    std::fs::write(&file, "drift-password").unwrap();
    let doc = json!({"name": APP, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"},
        "secrets": {"password": {"file": file}}, "services": {
            "web": {"image": "nginx:1.27", "secrets": ["password"]},
            "report": {"image": "nginx:1.27", "x-svc": {"schedule": "rate(1 day)", "connect": false}}}});
    let relay = Relay::before("ECS_PIPE_MOTO");
    let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) }.run_while_ok(&doc.to_string()).ok();
    Deployed::new(relay, APP, up.stdout)
}

fn reverts(says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    PIPE.with(|app| app.reverts("svc-deploy", says, change));
}

#[test]
fn parameter_value_changed() {
    reverts("parameter /ecs-pipe/hand-jobs/password (value: changed)", async |app| {
        let call = app.clients.ssm.put_parameter().name(PARAMETER).value("theirs").r#type(ParameterType::SecureString).overwrite(true);
        Ok(call.send().await.map(drop)?)
    });
}

/// The new parameter has version 1 again, and tasks may have another value than it.
#[test]
fn parameter_deleted() {
    reverts("~ task definition hand-jobs-web (containers.web.dockerLabels.ecs-pipe.secrets: changed)", async |app| {
        Ok(app.clients.ssm.delete_parameter().name(PARAMETER).send().await.map(drop)?)
    });
}

#[test]
fn schedule_deleted() {
    reverts("+ schedule hand-jobs-report", async |app| {
        Ok(app.clients.scheduler.delete_schedule().group_name(APP).name("hand-jobs-report").send().await.map(drop)?)
    });
}

#[test]
fn schedule_group_deleted() {
    reverts("+ schedule group hand-jobs", async |app| {
        Ok(app.clients.scheduler.delete_schedule_group().name(APP).send().await.map(drop)?)
    });
}

#[test]
fn schedule_role_inline_policy_added() {
    reverts("role hand-jobs-scheduler-us-east-1 (inline policies: theirs -> none)", async |app| allow_all_inline(&app.clients, ROLE).await);
}

#[test]
fn schedule_role_trust_changed() {
    reverts("role hand-jobs-scheduler-us-east-1 (trust.Statement[0].", async |app| trust_anybody(&app.clients, ROLE).await);
}

/// The last test, also by name.
#[test]
fn the_app_of_jobs_is_deleted_after_all_changes() {
    PIPE.is_deleted();
}
