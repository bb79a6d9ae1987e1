//! Refuses to replace a volume that has data. What a bind becomes depends on the folder in which the tool runs and on what is there, so a deployment
//! from another machine may mount another volume, or a copy of the project's files, where the running tasks have their data.

use serde_json::Value;
use shared::{Document, Error, Result};

use super::access_point;
use super::task_definition;
use super::task_definition_request::family;
use crate::model::{Container, Service, Volume, VolumeSource, Wanted};

/// Compares the volumes of each service with those of its newest revision, before anything is changed. A mount that is no longer in the document is
/// no error: its author removed it, and the plan shows it.
///
/// # Errors
/// Names the service, the path and both volumes, unless `change_volumes` allows the change.
pub fn check(doc: &Document, app: &str, wanted: &Wanted, revisions: &task_definition::Found, points: &access_point::Found) -> Result<()> {
    if wanted.change_volumes {
        return Ok(());
    }
    let revision = |service: &Service| revisions.get(&family(app, &service.name)).filter(|found| found.is_ours());
    let services = wanted.selected().filter_map(|service| Some((service, &revision(service)?.definition)));
    let all = services.flat_map(|(service, found)| replaced(wanted, service, found, points));
    doc.all(all.map(Err::<(), _>)).map(drop)
}

/// Returns an error for each volume with data that another one would replace.
fn replaced(wanted: &Wanted, service: &Service, found: &Value, points: &access_point::Found) -> Vec<Error> {
    let mut errors = Vec::new();
    for container in &service.containers {
        let before = items(found, "containerDefinitions").find(|one| one["name"] == container.name.as_str());
        for mount in before.into_iter().flat_map(|one| items(one, "mountPoints")) {
            let volume = items(found, "volumes").find(|volume| volume["name"] == mount["sourceVolume"] && keeps_data(volume));
            let (Some(volume), Some(path)) = (volume, mount["containerPath"].as_str()) else { continue };
            let now =
                service.volumes.iter().find(|one| container.mounts.iter().any(|mount| mount.path == path && mount.volume == one.name));
            let Some(text) = text(wanted, container, path, now) else { continue };
            if !now.is_some_and(|now| is_same(wanted, volume, now, points)) {
                errors.push(error(container, path, volume, &text));
            }
        }
    }
    errors
}

/// Says what is at a path now, or `None` when nothing is.
fn text(wanted: &Wanted, container: &Container, path: &str, now: Option<&Volume>) -> Option<String> {
    match now.map(|volume| (&volume.name, &volume.source)) {
        Some((name, VolumeSource::AccessPoint(_))) => {
            Some(format!("the volume {name} on {}", wanted.cluster.file_system_id.as_deref().unwrap_or("a new file system")))
        }
        Some((name, VolumeSource::Efs(efs))) => Some(format!("the volume {name} on {}", efs.file_system_id)),
        Some((_, VolumeSource::Host(path))) => Some(format!("the folder {path} of the instance")),
        Some((name, VolumeSource::Docker)) => Some(format!("the volume {name} on the disk of the instance")),
        Some((_, VolumeSource::Task)) => Some("a volume of the task, which is empty at its start".to_owned()),
        None if container.copied.iter().any(|copied| copied == path) => Some("a copy of the project's files in the image".to_owned()),
        None if container.linux.tmpfs.iter().any(|tmpfs| tmpfs.path == path) => Some("a file system in memory".to_owned()),
        None => None,
    }
}

fn error(container: &Container, path: &str, before: &Value, now: &str) -> Error {
    let file_system = before["efsVolumeConfiguration"]["fileSystemId"].as_str().unwrap_or("the disk of the instance");
    let before = before["name"].as_str().unwrap_or_default();
    Error::document(
        "volume-replaced",
        format!("services.{}.volumes", container.name),
        format!(
            "the deployed revision mounts the volume {before} on {file_system} at {path}, but the document now has {now} there, without that data. To keep the data, add {before} to the top-level `volumes` and mount {before}:{path}. To replace the volume, run this command once with --change-volumes"
        ),
    )
}

/// Returns whether a volume of a revision outlives the task.
fn keeps_data(volume: &Value) -> bool {
    volume["efsVolumeConfiguration"].is_object() || volume["dockerVolumeConfiguration"]["scope"] == "shared"
}

/// Returns whether both volumes have the same data. An access point that was deleted by hand and is created again shows the same folder, so the name
/// of the volume is enough.
fn is_same(wanted: &Wanted, found: &Value, now: &Volume, points: &access_point::Found) -> bool {
    let efs = &found["efsVolumeConfiguration"];
    let (file_system, point) = (efs["fileSystemId"].as_str(), efs["authorizationConfig"]["accessPointId"].as_str());
    match &now.source {
        VolumeSource::AccessPoint(own) => {
            let id = points.get(&own.volume).and_then(|point| point.access_point_id());
            file_system.is_some()
                && file_system == wanted.cluster.file_system_id.as_deref()
                && point.is_some()
                && (found["name"] == now.name.as_str() || point == id)
        }
        VolumeSource::Efs(efs) => {
            let root = |root: Option<&str>| root.unwrap_or("/").to_owned();
            file_system == Some(efs.file_system_id.as_str())
                && point == efs.access_point_id.as_deref()
                && root(found["efsVolumeConfiguration"]["rootDirectory"].as_str()) == root(efs.root_directory.as_deref())
        }
        VolumeSource::Docker => found["dockerVolumeConfiguration"].is_object() && found["name"] == now.name.as_str(),
        VolumeSource::Host(_) | VolumeSource::Task => false,
    }
}

fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    value[list].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::samples;
    use crate::model::{AccessPoint, Efs, Mount, Tmpfs};

    /// A revision that mounts `bind-data` at /data.
    fn revision(configuration: &Value) -> Value {
        json!({"containerDefinitions": [{"name": "web", "mountPoints": [{"sourceVolume": "bind-data", "containerPath": "/data"}]}],
            "volumes": [{"name": "bind-data", "efsVolumeConfiguration": configuration}]})
    }

    fn own() -> Value {
        revision(
            &json!({"fileSystemId": "fs-1", "rootDirectory": "/", "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"}}),
        )
    }

    fn service(name: &str, source: VolumeSource) -> Service {
        let mut service = samples::service("web");
        service.containers[0].mounts = vec![Mount { volume: name.to_owned(), path: "/data".to_owned(), read_only: false }];
        service.volumes = vec![Volume { name: name.to_owned(), source }];
        service
    }

    fn point(volume: &str) -> VolumeSource {
        VolumeSource::AccessPoint(AccessPoint { volume: volume.to_owned(), owner: None })
    }

    fn found(revision: &Value, service: &Service) -> Vec<String> {
        let mut wanted = samples::wanted(Vec::new());
        wanted.cluster.file_system_id = Some("fs-1".to_owned());
        replaced(&wanted, service, revision, &access_point::Found::new()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_volume_is_no_change() {
        assert!(found(&own(), &service("bind-data", point("bind-data"))).is_empty());
        let mut again = own();
        again["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"] = json!("fsap-deleted");
        assert!(found(&again, &service("bind-data", point("bind-data"))).is_empty());
        let efs = Efs { file_system_id: "fs-2".to_owned(), access_point_id: None, root_directory: None, iam: false };
        let adopted = revision(&json!({"fileSystemId": "fs-2", "rootDirectory": "/"}));
        assert!(found(&adopted, &service("other-name", VolumeSource::Efs(efs))).is_empty());
    }

    #[test]
    fn what_replaces_data_is_refused() {
        let mut copied = samples::service("web");
        copied.containers[0].copied = vec!["/data".to_owned()];
        let mut memory = samples::service("web");
        memory.containers[0].linux.tmpfs = vec![Tmpfs { path: "/data".to_owned(), size: 64, options: Vec::new() }];
        for (service, now) in [
            (service("bind-srv-data", point("bind-srv-data")), "the volume bind-srv-data on fs-1"),
            (service("task-1", VolumeSource::Task), "a volume of the task"),
            (service("bind-data", VolumeSource::Docker), "the volume bind-data on the disk of the instance"),
            (copied, "a copy of the project's files in the image"),
            (memory, "a file system in memory"),
        ] {
            let errors = found(&own(), &service);
            let said = format!(
                "services.web.volumes: the deployed revision mounts the volume bind-data on fs-1 at /data, but the document now has {now}"
            );
            assert!(errors.len() == 1 && errors[0].contains(&said), "{now}: {errors:?}");
        }
        let elsewhere = revision(&json!({"fileSystemId": "fs-9", "authorizationConfig": {"accessPointId": "fsap-1"}}));
        assert_eq!(found(&elsewhere, &service("bind-data", point("bind-data"))).len(), 1, "another file system has other data");
    }

    #[test]
    fn a_mount_that_was_removed_and_one_without_data_are_no_change() {
        assert!(found(&own(), &samples::service("web")).is_empty());
        let mut scratch = own();
        scratch["volumes"] = json!([{"name": "bind-data", "host": {}}]);
        assert!(found(&scratch, &service("data", point("data"))).is_empty());
    }
}
