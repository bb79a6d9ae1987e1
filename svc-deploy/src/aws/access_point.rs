//! The access points: each shows the folder of one volume on the app's file system. Like the data, they outlive the app.
//! <https://docs.aws.amazon.com/efs/latest/ug/efs-access-points.html>

use std::collections::BTreeMap;

use aws_sdk_efs::Client;
use aws_sdk_efs::types::{AccessPointDescription, CreationInfo, LifeCycleState, MountTargetDescription, RootDirectory};
use serde_json::{Value, json};
use shared::doc::Caller;
use shared::error::given;
use shared::step::each;
use shared::wait::{until, while_held};
use shared::{Error, Result, Run, Tried};

use super::arn::arn;
use crate::SvcDeploy;
use crate::model::{AccessPoint, Service, Wanted};

shared::tagging!(aws_sdk_efs::types::Tag);

/// By volume.
pub type Found = BTreeMap<String, AccessPointDescription>;

/// The name of a task role's inline policy.
pub const POLICY: &str = "use-volumes";
/// Everybody may write, because the user in a container is not known; only the tasks of the app reach the folder.
const OPEN: &str = "0777";
const OWNED: &str = "0755";

/// Finds the access points of the app, when a service has a volume on the file system, or with `--down`.
pub async fn find(efs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    if wanted.is_some_and(|wanted| wanted.access_points().is_empty()) {
        return Ok(Found::new());
    }
    let all: Vec<AccessPointDescription> = shared::pages!(efs.describe_access_points(), "list the EFS access points")?;
    let file_system = wanted.and_then(|wanted| wanted.cluster.file_system_id.as_deref());
    let is_usable = |point: &AccessPointDescription| {
        !matches!(point.life_cycle_state(), Some(LifeCycleState::Deleting | LifeCycleState::Deleted))
            && (file_system.is_none() || point.file_system_id() == file_system)
    };
    let all = all.into_iter().filter(is_usable).collect();
    run.by_name("access point", all, AccessPointDescription::tags, pair, AccessPointDescription::access_point_id)
}

impl SvcDeploy {
    pub async fn access_points_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let points = wanted.access_points();
        if points.is_empty() {
            return Ok(());
        }
        self.kept.borrow_mut().file_system.clone_from(&wanted.cluster.file_system_id);
        each(points.values(), async |point| {
            let id = self.access_point_up(run, wanted, point).await?;
            self.kept.borrow_mut().access_points.insert(point.volume.clone(), id);
            Ok(())
        })
        .await?;
        self.mount_targets_ready(run, wanted).await
    }

    async fn access_point_up(&self, run: &Run, wanted: &Wanted, point: &AccessPoint) -> Result<Option<String>> {
        let Some(found) = self.found.access_points.get(&point.volume) else {
            return run.create("access point", &point.volume, self.create_access_point(run, wanted, point)).await;
        };
        let id = given(found.access_point_id(), "the ID of the access point")?;
        run.found("access point", &id);
        run.settle_tags(
            "access point",
            &id,
            run.tags(&point.volume),
            found.tags().iter().map(pair),
            async |missing| self.efs.tag_resource().resource_id(&id).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.efs.untag_resource().resource_id(&id).set_tag_keys(Some(left)).send().await,
        )
        .await?;
        Ok(Some(id))
    }

    async fn create_access_point(&self, run: &Run, wanted: &Wanted, point: &AccessPoint) -> Result<String> {
        let Some(file_system) = &wanted.cluster.file_system_id else {
            return Err(Error::document(
                "no-file-system",
                "cluster.file_system_id",
                format!("is missing, but the volume {} needs it. Run cluster-up again with this document", point.volume),
            ));
        };
        let (user, group) = point.owner.unwrap_or_default();
        let mode = if point.owner.is_some() { OWNED } else { OPEN };
        let info = CreationInfo::builder().owner_uid(i64::from(user)).owner_gid(i64::from(group)).permissions(mode).build();
        let info = info.map_err(|error| Error::Internal(error.to_string()))?;
        let root = RootDirectory::builder().path(format!("/{}", point.volume)).creation_info(info).build();
        // The same for every attempt and run, so that a volume has one access point.
        let token = shared::name::fingerprint(&format!("{} {file_system} {}", run.app, point.volume));
        // A new file system is not available at once.
        let not_yet = |error: &Error| error.is_code("IncorrectFileSystemLifeCycleState");
        while_held(run, "the file system to be available", not_yet, async || {
            let call = self.efs.create_access_point().client_token(&token).file_system_id(file_system).root_directory(root.clone());
            let said = call.set_tags(Some(aws_tags(run.tags(&point.volume)))).send().await;
            let said = said.tried(format!("create the access point of the volume {}", point.volume))?;
            given(said.access_point_id(), "the ID of the new access point")
        })
        .await
    }

    /// A task that starts before its zone has a mount target fails.
    async fn mount_targets_ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(id) = wanted.cluster.file_system_id.as_deref().filter(|_| !run.is_planning()) else { return Ok(()) };
        until(run, &format!("the mount targets of the file system {id} to be available"), async || {
            let call = self.efs.describe_mount_targets().file_system_id(id);
            let all: Vec<MountTargetDescription> = shared::pages!(call, format!("list the mount targets of the file system {id}"))?;
            if all.is_empty() {
                return Err(Error::document(
                    "no-mount-targets",
                    "cluster.file_system_id",
                    format!("the file system {id} has no mount targets. Run cluster-up again with this document"),
                ));
            }
            Ok(all.iter().all(|target| target.life_cycle_state() == &LifeCycleState::Available).then_some(()))
        })
        .await
    }

    /// Keeps the access points, unless `--delete-data` is given.
    pub async fn access_points_down(&self, run: &Run, found: &Found) -> Result<()> {
        if !self.delete_data {
            let names: Vec<&str> = found.keys().map(String::as_str).collect();
            if !names.is_empty() {
                run.note(&format!("the data of these volumes is kept: {}. cluster-up --down --delete-data deletes it", names.join(", ")));
            }
            return Ok(());
        }
        each(found, async |(name, point)| {
            let id = given(point.access_point_id(), "the ID of the access point")?;
            let delete = async {
                let call = self.efs.delete_access_point().access_point_id(&id);
                call.send().await.tried(format!("delete the access point {id} of the volume {name}")).map(drop)
            };
            run.delete("access point", name, delete).await
        })
        .await
        .map(drop)
    }
}

/// Returns the statement that lets the tasks of a service use its volumes, or `None` when it has none on the app's file system. Root in a container
/// is root on its volumes, as in Docker: images of databases set the owner of their folder.
/// <https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html>
pub fn policy(caller: &Caller, service: &Service, kept: &super::kept::Kept) -> Option<Value> {
    let points: Vec<String> = service
        .access_points()
        .map(|point| arn(caller, "elasticfilesystem", &format!("access-point/{}", kept.access_point(&point.volume))))
        .collect();
    if points.is_empty() {
        return None;
    }
    let mut actions = vec!["elasticfilesystem:ClientMount", "elasticfilesystem:ClientRootAccess"];
    if service.writes_to_file_system() {
        actions.push("elasticfilesystem:ClientWrite");
    }
    let resource = arn(caller, "elasticfilesystem", &format!("file-system/{}", kept.file_system()));
    Some(json!({"Version": "2012-10-17", "Statement": [{"Sid": "Volumes", "Effect": "Allow", "Action": actions, "Resource": resource,
        "Condition": {"StringEquals": {"elasticfilesystem:AccessPointArn": points}}}]}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::kept::Kept;
    use crate::aws::samples;
    use crate::model::{Mount, Volume, VolumeSource};

    #[test]
    fn a_task_role_may_use_only_its_own_volumes() {
        let kept = Kept {
            file_system: Some("fs-1".to_owned()),
            access_points: [("data".to_owned(), Some("fsap-1".to_owned())), ("other".to_owned(), Some("fsap-2".to_owned()))].into(),
            ..Kept::default()
        };
        let mut service = samples::service("db");
        assert_eq!(policy(&samples::caller(), &service, &kept), None);
        let source = VolumeSource::AccessPoint(AccessPoint { volume: "data".to_owned(), owner: None });
        service.volumes = vec![Volume { name: "data".to_owned(), source }];
        service.containers[0].mounts = vec![Mount { volume: "data".to_owned(), path: "/data".to_owned(), read_only: true }];
        let statement = |service: &Service| policy(&samples::caller(), service, &kept).unwrap()["Statement"][0].clone();
        let read = statement(&service);
        assert_eq!(read["Action"], json!(["elasticfilesystem:ClientMount", "elasticfilesystem:ClientRootAccess"]));
        assert_eq!(read["Resource"], "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-1");
        let points = &read["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"];
        assert_eq!(points, &json!(["arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-1"]));
        service.containers[0].mounts[0].read_only = false;
        assert_eq!(statement(&service)["Action"][2], "elasticfilesystem:ClientWrite");
    }
}
