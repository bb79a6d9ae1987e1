//! The volumes of a task, in ECS's JSON.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Volume.html>

use serde_json::{Map, Value, json};

use super::kept::Kept;
use crate::model::{Efs, Volume, VolumeSource};

/// Returns a volume of `RegisterTaskDefinition`.
pub fn definition(volume: &Volume, kept: &Kept) -> Value {
    match &volume.source {
        VolumeSource::Efs(efs) => json!({"name": volume.name, "efsVolumeConfiguration": efs_configuration(efs)}),
        VolumeSource::AccessPoint(point) => json!({"name": volume.name, "efsVolumeConfiguration": {
            "fileSystemId": kept.file_system(),
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"accessPointId": kept.access_point(&point.volume), "iam": "ENABLED"}}}),
        VolumeSource::Task => json!({"name": volume.name}),
        VolumeSource::Host(path) => json!({"name": volume.name, "host": {"sourcePath": path}}),
        VolumeSource::Docker => {
            json!({"name": volume.name, "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local"}})
        }
    }
}

/// Always encrypted in transit; with an access point EFS requires it.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EFSVolumeConfiguration.html>
fn efs_configuration(efs: &Efs) -> Value {
    let mut configuration = json!({"fileSystemId": efs.file_system_id, "transitEncryption": "ENABLED"});
    if let Some(root) = &efs.root_directory {
        configuration["rootDirectory"] = json!(root);
    }
    let mut authorization = Map::new();
    authorization.extend(efs.access_point_id.iter().map(|point| ("accessPointId".to_owned(), json!(point))));
    authorization.extend(efs.iam.then(|| ("iam".to_owned(), json!("ENABLED"))));
    if !authorization.is_empty() {
        configuration["authorizationConfig"] = authorization.into();
    }
    configuration
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccessPoint;

    #[test]
    fn each_source_has_its_own_configuration() {
        let efs = |access_point_id: Option<&str>, root_directory: Option<&str>, iam| {
            VolumeSource::Efs(Efs {
                file_system_id: "fs-1".to_owned(),
                access_point_id: access_point_id.map(str::to_owned),
                root_directory: root_directory.map(str::to_owned),
                iam,
            })
        };
        for (source, expected) in [
            (efs(None, None, false), json!({"efsVolumeConfiguration": {"fileSystemId": "fs-1", "transitEncryption": "ENABLED"}})),
            (
                efs(Some("fsap-1"), Some("/data"), true),
                json!({"efsVolumeConfiguration": {"fileSystemId": "fs-1", "transitEncryption": "ENABLED", "rootDirectory": "/data",
                    "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"}}}),
            ),
            (
                VolumeSource::AccessPoint(AccessPoint { volume: "data".to_owned(), owner: None }),
                json!({"efsVolumeConfiguration": {"fileSystemId": "fs-1", "transitEncryption": "ENABLED",
                    "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"}}}),
            ),
            (VolumeSource::Task, json!({})),
            (VolumeSource::Host("/var/log".to_owned()), json!({"host": {"sourcePath": "/var/log"}})),
            (VolumeSource::Docker, json!({"dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local"}})),
        ] {
            let mut whole = json!({"name": "data"});
            json_patch::merge(&mut whole, &expected);
            let kept = Kept {
                file_system: Some("fs-1".to_owned()),
                access_points: [("data".to_owned(), Some("fsap-1".to_owned()))].into(),
                ..Kept::default()
            };
            assert_eq!(definition(&Volume { name: "data".to_owned(), source }, &kept), whole);
        }
    }
}
