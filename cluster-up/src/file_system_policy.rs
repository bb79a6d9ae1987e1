//! The policy of the file system. Without one EFS lets every client that reaches a mount target mount everything, without IAM and without TLS. It is
//! deleted with the file system.
//! <https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html>

use aws_sdk_efs::Client;
use serde_json::{Value, json};
use shared::doc::Caller;
use shared::error::{if_found, made};
use shared::wait::while_held;
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::Wanted;
use crate::{ClusterUp, file_system};

/// `None` when the file system has no policy.
pub type Found = Option<Value>;

/// Finds the policy of the app's file system.
pub async fn find(efs: &Client, file_system: &file_system::Found) -> Result<Found> {
    let Some(file_system) = file_system else { return Ok(None) };
    let id = file_system.file_system_id();
    let said = efs.describe_file_system_policy().file_system_id(id).send().await;
    let said = match said.tried(format!("read the policy of the file system {id}")) {
        Err(error) if error.is_code("PolicyNotFound") => None,
        other => if_found(other)?,
    };
    // A text that is no JSON is not this policy, so it is replaced.
    Ok(said.and_then(|said| said.policy).map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

impl ClusterUp {
    /// Lets only the account's own roles mount the file system, and only encrypted.
    pub async fn file_system_policy_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.storage.is_none() {
            return Ok(());
        }
        let id = self.cluster.borrow().file_system_id.clone();
        // The ID of a new file system is not known in a plan, which does not show the policy of a new one.
        let policy = policy(&run.caller()?, id.as_deref().unwrap_or_default());
        let Some(found) = &self.found.file_system_policy else {
            let create = async {
                let id = made(id.as_deref(), "the file system")?;
                self.put_policy(run, &id, &policy).await.map(|()| id)
            };
            return run.create("file system policy", &run.app, create).await.map(drop);
        };
        let id = made(id.as_deref(), "the file system")?;
        run.found("file system policy", &id);
        let diff = Diff::new().policy("policy", Some(found), &policy);
        run.change("file system policy", &run.app, &diff, self.put_policy(run, &id, &policy)).await
    }

    async fn put_policy(&self, run: &Run, id: &str, policy: &Value) -> Result<()> {
        // A new file system is not available at once.
        let not_yet = |error: &Error| error.is_code("IncorrectFileSystemLifeCycleState");
        while_held(run, "the file system to accept a policy", not_yet, async || {
            let call = self.efs.put_file_system_policy().file_system_id(id).policy(policy.to_string());
            call.send().await.tried(format!("set the policy of the file system {id}")).map(drop)
        })
        .await
    }
}

/// Returns the policy. The account as principal only admits its users and roles: their own policies must allow the mount, too. `Id` and `Resource`
/// are what EFS would add.
/// <https://docs.aws.amazon.com/efs/latest/ug/access-control-block-public-access.html>
fn policy(caller: &Caller, file_system: &str) -> Value {
    let Caller { account, region, partition } = caller;
    let resource = format!("arn:{partition}:elasticfilesystem:{region}:{account}:file-system/{file_system}");
    json!({"Version": "2012-10-17", "Id": "ecs-pipe", "Statement": [
        {"Sid": "OnlyByIam", "Effect": "Allow", "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
            "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientRootAccess", "elasticfilesystem:ClientWrite"],
            "Resource": resource, "Condition": {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}}},
        {"Sid": "OnlyEncrypted", "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "*",
            "Resource": resource, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An anonymous client is no principal of the account, so nothing allows it to mount.
    #[test]
    fn only_the_account_may_mount_and_only_encrypted() {
        let caller = Caller { account: "123456789012".to_owned(), region: "eu-west-1".to_owned(), partition: "aws".to_owned() };
        let policy = policy(&caller, "fs-1");
        let statements = policy["Statement"].as_array().unwrap();
        let allowed: Vec<&Value> = statements.iter().filter(|one| one["Effect"] == "Allow").map(|one| &one["Principal"]).collect();
        assert_eq!(allowed, [&json!({"AWS": "arn:aws:iam::123456789012:root"})]);
        assert_eq!(statements[1]["Condition"], json!({"Bool": {"aws:SecureTransport": "false"}}));
        assert!(statements.iter().all(|one| one["Resource"] == "arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-1"));
    }
}
