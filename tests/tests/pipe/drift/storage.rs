//! Changes of the file system of the volumes: its policy, its mount targets and its access points.

use serde_json::{Value, json};
use tests::{Output, Pipe, Relay, run};

use super::{Deployed, Done, Shared};

const APP: &str = "hand-volumes";

static VOLUMES: Shared = Shared::new(up, down);

/// Deploys a service with a volume in moto, without a wait, because moto runs no tasks.
fn up() -> Deployed {
    let doc = json!({"name": APP, "x-tags": {"team": "shop"}, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"},
        "services": {"db": {"image": "acme/db:1", "expose": ["5432"], "volumes": ["data:/data"]}}});
    let relay = Relay::before("ECS_PIPE_MOTO");
    let pipe = Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "img-push" | "scale-set" | "alarms-set"));
    let up = Pipe { args: vec!["--no-wait"], ..pipe }.run_while_ok(&doc.to_string()).ok();
    Deployed::new(relay, APP, up.stdout)
}

/// Deletes the app with its data.
fn down(app: &Deployed) -> Output {
    let args = ["--down", "--delete-data"];
    let down = |tool: &str, args: &[&str], doc: &str| run(&app.relay.endpoint, tool, args, doc);
    let left = down("svc-deploy", &args, &app.live).ok();
    let left = down("cluster-up", &args, &left.stdout).ok();
    down("net-up", &["--down"], &left.stdout)
}

fn reverts(tool: &str, says: &str, change: impl AsyncFnOnce(&Deployed) -> Done) {
    VOLUMES.with(|app| app.reverts(tool, says, change));
}

fn file_system(app: &Deployed) -> String {
    app.id("/cluster/file_system_id")
}

/// Returns the ID of a mount target.
async fn mount_target(app: &Deployed) -> Result<String, Box<dyn std::error::Error>> {
    let said = app.clients.efs.describe_mount_targets().file_system_id(file_system(app)).send().await?;
    Ok(said.mount_targets().iter().min_by_key(|one| one.availability_zone_name()).ok_or("no mount target")?.mount_target_id().to_owned())
}

#[test]
fn file_system_policy_deleted() {
    reverts("cluster-up", "file system policy hand-volumes", async |app| {
        Ok(app.clients.efs.delete_file_system_policy().file_system_id(file_system(app)).send().await.map(drop)?)
    });
}

#[test]
fn file_system_policy_changed() {
    reverts("cluster-up", "file system policy hand-volumes (policy.Statement.OnlyByIam.Principal.AWS: * -> arn:aws:iam::", async |app| {
        let said = app.clients.efs.describe_file_system_policy().file_system_id(file_system(app)).send().await?;
        let mut policy: Value = serde_json::from_str(said.policy().ok_or("no policy")?)?;
        policy["Statement"][0]["Principal"]["AWS"] = json!("*");
        let call = app.clients.efs.put_file_system_policy().file_system_id(file_system(app)).policy(policy.to_string());
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn file_system_tag_deleted() {
    reverts("cluster-up", "tags.team: none -> shop", async |app| {
        let call = app.clients.efs.untag_resource().resource_id(file_system(app)).tag_keys("team");
        Ok(call.send().await.map(drop)?)
    });
}

#[test]
fn mount_target_deleted() {
    reverts("cluster-up", "mount target us-east-1a", async |app| {
        Ok(app.clients.efs.delete_mount_target().mount_target_id(mount_target(app).await?).send().await.map(drop)?)
    });
}

#[test]
fn mount_target_group_changed() {
    reverts("cluster-up", "(securityGroups: sg-", async |app| {
        let call = app.clients.efs.modify_mount_target_security_groups().mount_target_id(mount_target(app).await?);
        Ok(call.security_groups(app.id("/net/task_security_group_id")).send().await.map(drop)?)
    });
}

#[test]
fn access_point_tag_deleted() {
    reverts("svc-deploy", "tags.team: none -> shop", async |app| {
        let said = app.clients.efs.describe_access_points().file_system_id(file_system(app)).send().await?;
        let id = said.access_points()[0].access_point_id().ok_or("no ID")?;
        Ok(app.clients.efs.untag_resource().resource_id(id).tag_keys("team").send().await.map(drop)?)
    });
}

/// The new access point shows the same folder, so this is not the change of a volume that
/// svc-deploy refuses.
#[test]
fn access_point_deleted() {
    VOLUMES.with(|app| {
        // The tasks of the old revision may use the old access point until the new one is complete.
        let permissions = "role hand-volumes-db-task-us-east-1 (use-volumes";
        app.reverts_but("svc-deploy", "access point data", Some(permissions), async |app| {
            let said = app.clients.efs.describe_access_points().file_system_id(file_system(app)).send().await?;
            let id = said.access_points()[0].access_point_id().ok_or("no ID")?;
            Ok(app.clients.efs.delete_access_point().access_point_id(id).send().await.map(drop)?)
        });
        // No run waits in moto, so the next test gets another app.
        let _ = (VOLUMES.down)(app).ok();
        *app = (VOLUMES.up)();
    });
}

/// Another volume, or none that keeps data, where the deployed task has its data: nothing is
/// changed, unless the command says that it may.
#[test]
fn volume_replaced_in_the_document() {
    VOLUMES.with(|app| {
        let _ = app.relay.calls();
        for mount in ["other:/data", "/data"] {
            let mut doc: Value = serde_json::from_str(&app.live).unwrap();
            doc["services"]["db"]["volumes"] = json!([mount]);
            for args in [&["--no-wait"][..], &["--plan"]] {
                let refused = run(&app.relay.endpoint, "svc-deploy", args, &doc.to_string());
                assert_eq!((refused.code, refused.stdout.as_str()), (65, ""), "{mount} {args:?}: {}", refused.stderr);
                let said = "error[volume-replaced]: the document is wrong at services.db.volumes: the deployed revision mounts the volume data on fs-";
                assert!(refused.stderr.contains(said), "{mount} {args:?}: {}", refused.stderr);
            }
            let allowed = run(&app.relay.endpoint, "svc-deploy", &["--plan", "--change-volumes"], &doc.to_string());
            assert_eq!(allowed.code, 3, "{mount}: {}", allowed.stderr);
        }
        assert_eq!(app.relay.mutations(), Vec::<String>::new());
        let mut doc: Value = serde_json::from_str(&app.live).unwrap();
        doc["services"]["db"]["volumes"] = json!([]);
        let removed = run(&app.relay.endpoint, "svc-deploy", &["--plan"], &doc.to_string());
        assert_eq!(removed.code, 3, "a mount that its author removed is a change: {}", removed.stderr);
        assert!(removed.stderr.contains("containers.db.mountPoints"), "{}", removed.stderr);
    });
}

/// The last test, also by name: libtest starts tests in the order of their names.
#[test]
fn the_volumes_are_deleted_after_all_changes() {
    VOLUMES.is_deleted();
}
