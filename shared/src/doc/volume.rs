//! Where the data of a volume is: on the app's file system, on one that `x-efs` names, on the instance, or in the task.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;
use super::compose::{Selection, owner};
use super::document::Document;
use super::known_image::known_of;
use super::mount::{Mount, mounts};
use crate::error::Result;

/// Where the data of a volume is.
#[derive(Debug, Clone)]
pub enum Place<'a> {
    /// On the app's own file system of EFS, which outlives the app.
    FileSystem,
    /// On the file system that `x-efs` names.
    Adopted(At<'a>),
    /// On the disk of the instance (`x-svc.host_volumes`).
    Host,
    /// In the task: empty when it starts, and gone when it ends.
    Task,
}

/// Returns where the data of a volume is that this service mounts.
///
/// # Errors
/// Says which entry of `volumes` is not valid.
pub fn place<'a>(doc: &'a Document, service: &str, volume: &str) -> Result<Place<'a>> {
    let setting = doc.root().key("volumes").and_then(|all| all.key(volume)).and_then(|top| top.key("x-efs"));
    match setting {
        Some(setting) => match setting.value() {
            Value::Bool(true) => Ok(Place::FileSystem),
            Value::Bool(false) => Ok(Place::Task),
            _ => Ok(Place::Adopted(setting)),
        },
        None if on_host(doc, service) => Ok(Place::Host),
        None if is_scratch(doc, volume)? => Ok(Place::Task),
        None => Ok(Place::FileSystem),
    }
}

/// Returns the volumes that need the app's own file system, sorted.
///
/// # Errors
/// As [`place`].
pub fn on_file_system(doc: &Document) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (service, at) in doc.services(&Selection::default())? {
        for mount in mounts(&at)? {
            if let Some(volume) = mount.volume()
                && matches!(place(doc, service, volume)?, Place::FileSystem)
            {
                names.insert(volume.to_owned());
            }
        }
    }
    Ok(names)
}

/// Returns the service whose task a container belongs to: its own, or X of `network_mode: service:X`.
fn task_of<'a>(name: &'a str, at: &At<'a>) -> &'a str {
    owner(at).unwrap_or(name)
}

/// Returns whether `x-svc.host_volumes` of the service, or of the one whose task it belongs to, allows the disk of the instance.
fn on_host(doc: &Document, service: &str) -> bool {
    let services = doc.root().key("services");
    let of = |name: &str| services.as_ref().and_then(|all| all.key(name));
    let Some(at) = of(service) else { return false };
    let setting = of(task_of(service, &at)).and_then(|at| at.key("x-svc")).and_then(|svc| svc.key("host_volumes"));
    setting.is_some_and(|setting| setting.value() == &Value::Bool(true))
}

/// Returns whether a volume only passes files from one container of a task to another: several containers of one task mount it and no other
/// task does, one of them only reads it, and none keeps a database there. It then needs no file system.
fn is_scratch(doc: &Document, volume: &str) -> Result<bool> {
    let (mut tasks, mut containers, mut reader, mut database) = (BTreeSet::new(), 0, false, false);
    for (service, at) in doc.services(&Selection::default())? {
        let image = known_of(&at);
        let used: Vec<Mount<'_>> = mounts(&at)?.into_iter().filter(|mount| mount.volume() == Some(volume)).collect();
        if used.is_empty() {
            continue;
        }
        tasks.insert(task_of(service, &at).to_owned());
        containers += 1;
        reader |= used.iter().all(|mount| mount.read_only);
        database |= image.is_some_and(|image| used.iter().any(|mount| image.data.contains(&mount.target.as_str())));
    }
    Ok(tasks.len() == 1 && containers > 1 && reader && !database)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(volumes: &Value, services: &Value) -> Vec<String> {
        let doc = Document::parse(json!({"volumes": volumes, "services": services}).to_string().as_bytes()).unwrap();
        let mut all = Vec::new();
        for (service, at) in doc.services(&Selection::default()).unwrap() {
            for mount in mounts(&at).unwrap() {
                let place = match place(&doc, service, mount.volume().unwrap()).unwrap() {
                    Place::FileSystem => "efs",
                    Place::Adopted(_) => "adopted",
                    Place::Host => "host",
                    Place::Task => "task",
                };
                all.push(format!("{service} {place}"));
            }
        }
        all
    }

    #[test]
    fn a_named_volume_is_on_the_file_system_of_the_app() {
        let services =
            json!({"db": {"image": "postgres", "volumes": ["data:/var/lib/postgresql/data"]}, "web": {"volumes": ["data:/x:ro"]}});
        assert_eq!(places(&json!({"data": null}), &services), ["db efs", "web efs"]);
        assert_eq!(places(&json!({"data": {"x-efs": "fs-1"}}), &services), ["db adopted", "web adopted"]);
        assert_eq!(places(&json!({"data": {"x-efs": false}}), &services), ["db task", "web task"]);
    }

    #[test]
    fn the_disk_of_the_instance_is_that_of_the_whole_task() {
        let services = json!({"db": {"x-svc": {"host_volumes": true}, "volumes": ["data:/data"]},
            "log": {"network_mode": "service:db", "volumes": ["data:/data"]}, "web": {"volumes": ["data:/data"]}});
        assert_eq!(places(&json!({}), &services), ["db host", "log host", "web efs"]);
    }

    #[test]
    fn a_volume_between_the_containers_of_one_task_is_the_tasks() {
        let pair = |web: &str, filler: &str, image: &str| {
            places(
                &json!({"static": {}}),
                &json!({"web": {"image": image, "volumes": [web]}, "filler": {"network_mode": "service:web", "volumes": [filler]}}),
            )
        };
        assert_eq!(pair("static:/srv:ro", "static:/out", "nginx"), ["web task", "filler task"]);
        assert_eq!(pair("static:/srv", "static:/out", "nginx"), ["web efs", "filler efs"], "both may keep data there");
        assert_eq!(pair("static:/data", "static:/out:ro", "redis"), ["web efs", "filler efs"], "a database and its backup");
        let alone = json!({"web": {"volumes": ["static:/srv:ro"]}});
        assert_eq!(places(&json!({}), &alone), ["web efs"]);
        let forced = json!({"web": {"volumes": ["static:/srv:ro"]}, "filler": {"network_mode": "service:web", "volumes": ["static:/out"]}});
        assert_eq!(places(&json!({"static": {"x-efs": true}}), &forced), ["web efs", "filler efs"]);
    }

    #[test]
    fn only_what_outlives_the_task_is_on_the_file_system() {
        let doc = json!({"volumes": {"temp": {"x-efs": false}}, "services": {"web": {"volumes": ["data:/data:ro", "temp:/temp"]}, "db": {"volumes": ["data:/data"]}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        assert_eq!(on_file_system(&doc).unwrap(), BTreeSet::from(["data".to_owned()]));
    }
}
