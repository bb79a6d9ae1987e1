//! The volumes of a task: EFS, memory, and (when asked for) the disk of the instance.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Volume.html>

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::Result;
use shared::doc::{At, Document};

use crate::container::Target;
use crate::size::mebibytes;

/// What a container mounts, and what its task therefore has.
#[derive(Default)]
pub struct Mounts {
    pub mount_points: Vec<Value>,
    /// Of the task, by name; containers may share one.
    pub volumes: Vec<Value>,
    /// In memory.
    pub tmpfs: Vec<Value>,
}

/// `x-efs` of a top-level volume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Efs {
    file_system_id: String,
    access_point_id: Option<String>,
    #[serde(default)]
    root_directory: Option<String>,
    /// Whether the task role decides what may be done.
    #[serde(default)]
    iam: bool,
}

/// Both forms: `data:/data:ro`, or `{type, source, target, read_only}`.
pub fn read(doc: &Document, at: &At<'_>, target: Target) -> Result<Mounts> {
    let mut all = Mounts::default();
    for place in at.list()? {
        let mount = Mount::read(&place)?;
        for (kind, key) in [("volume", "nocopy"), ("bind", "propagation"), ("bind", "selinux")] {
            if let Some(unheard) = place.key(kind).and_then(|at| at.key(key)) {
                doc.warn(format!("{} has no effect: ECS can't say it", unheard.path()));
            }
        }
        match mount.kind {
            Kind::Tmpfs if target.fargate => return Err(place.wrong("is not possible on Fargate: take it out, or run the app elsewhere")),
            Kind::Tmpfs => {
                let size = place.key("tmpfs").and_then(|at| at.key("size")).map(|at| size(&at, &at.scalar()?)).transpose()?;
                all.tmpfs.push(in_memory(doc, &place, &mount.target, size, &[]));
            }
            kind => {
                let volume =
                    if kind == Kind::Bind { bind(&place, &mount.source, target)? } else { named(doc, &place, &mount.source, target)? };
                all.mount_points.push(json!({"sourceVolume": volume["name"], "containerPath": mount.target, "readOnly": mount.read_only}));
                if !all.volumes.contains(&volume) {
                    all.volumes.push(volume);
                }
            }
        }
    }
    Ok(all)
}

/// The service's own `tmpfs`: `/run`, or `/run:size=64m,noexec`.
pub fn tmpfs(doc: &Document, at: &At<'_>) -> Result<Vec<Value>> {
    let places = if at.value().is_string() { vec![at.clone()] } else { at.list()? };
    let mount = |place: &At<'_>| {
        let (path, options) = place.text()?.split_once(':').unwrap_or((place.text()?, ""));
        let (sizes, others): (Vec<&str>, Vec<&str>) =
            options.split(',').filter(|option| !option.is_empty()).partition(|option| option.starts_with("size="));
        let size = sizes.first().map(|text| size(place, &text["size=".len()..])).transpose()?;
        Ok(in_memory(doc, place, path, size, &others))
    };
    places.iter().map(mount).collect()
}

/// Docker gives what has no size half of the memory; ECS wants a size, and this is Docker's own for shared memory.
const TMPFS: i32 = 64;

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tmpfs.html>
fn in_memory(doc: &Document, at: &At<'_>, path: &str, size: Option<i32>, options: &[&str]) -> Value {
    if size.is_none() {
        doc.warn(format!("{}: ECS wants a size for {path}; it gets {TMPFS} MiB", at.path()));
    }
    let mut mount = json!({"containerPath": path, "size": size.unwrap_or(TMPFS)});
    if !options.is_empty() {
        mount["mountOptions"] = json!(options);
    }
    mount
}

fn size(at: &At<'_>, text: &str) -> Result<i32> {
    mebibytes(text).filter(|size| *size > 0).ok_or_else(|| at.wrong(format!("{text:?} is no size: bytes, or a number with b, k, m or g")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bind,
    Named,
    Tmpfs,
}

struct Mount {
    kind: Kind,
    source: String,
    target: String,
    read_only: bool,
}

impl Mount {
    fn read(at: &At<'_>) -> Result<Self> {
        if at.value().is_object() {
            let kind = match at.key("type").map_or(Ok("volume"), |at| at.text())? {
                "bind" => Kind::Bind,
                "volume" => Kind::Named,
                "tmpfs" => Kind::Tmpfs,
                _ => return Err(at.wrong("expected a volume of type bind, volume or tmpfs")),
            };
            let target = at.key("target").ok_or_else(|| at.wrong("a volume without target"))?.text()?.to_owned();
            if let Some(sub) = at.key("volume").and_then(|at| at.key("subpath")) {
                return Err(
                    sub.wrong("ECS mounts whole volumes: take this out, or give the volume an access point or a root_directory of EFS")
                );
            }
            let source = at.key("source").map_or(Ok(""), |at| at.text())?.to_owned();
            return Ok(Self { kind, source, target, read_only: at.key("read_only").map_or(Ok(false), |at| at.truth())? });
        }
        let parts: Vec<&str> = at.text()?.split(':').collect();
        let (source, target, mode) = match parts.as_slice() {
            [target] => ("", *target, ""),
            [source, target] => (*source, *target, ""),
            [source, target, mode] => (*source, *target, *mode),
            _ => return Err(at.expected("a volume as source:target or source:target:ro")),
        };
        let kind = if source.starts_with(['/', '.', '~']) { Kind::Bind } else { Kind::Named };
        Ok(Self { kind, source: source.to_owned(), target: target.to_owned(), read_only: mode.split(',').any(|mode| mode == "ro") })
    }
}

/// What a task writes there stays on one instance, so it has to be asked for.
fn check_host(at: &At<'_>, target: Target) -> Result<()> {
    if target.fargate {
        return Err(at.wrong(
            "a Fargate task has no disk of yours: use EFS (x-efs at the volume), or put the data into the image, S3 or a database",
        ));
    }
    if !target.host_volumes {
        return Err(at.wrong("would stay on one instance, where the next task may not start: use EFS (x-efs at the volume), or say that this is meant with x-svc.host_volumes: true"));
    }
    Ok(())
}

fn bind(at: &At<'_>, source: &str, target: Target) -> Result<Value> {
    check_host(at, target)?;
    if !source.starts_with('/') {
        return Err(at.wrong(format!("{source:?} is no path of the instance: it must begin with /")));
    }
    Ok(json!({"name": format!("bind-{}", &shared::name::fingerprint(source)[..8]), "host": {"sourcePath": source}}))
}

fn named(doc: &Document, at: &At<'_>, name: &str, target: Target) -> Result<Value> {
    let top = doc.root().key("volumes").and_then(|all| all.key(name));
    if let Some(efs) = top.as_ref().and_then(|top| top.key("x-efs")) {
        let efs: Efs = if efs.value().is_string() {
            Efs { file_system_id: efs.text()?.to_owned(), access_point_id: None, root_directory: None, iam: false }
        } else {
            efs.typed()?
        };
        check_name(at, name)?;
        return Ok(json!({"name": name, "efsVolumeConfiguration": efs_configuration(&efs)}));
    }
    check_host(at, target)?;
    for key in ["driver", "driver_opts"] {
        if let Some(place) = top.as_ref().and_then(|top| top.key(key)).filter(|place| place.value() != "local") {
            return Err(place.wrong("a volume is on EFS (x-efs) or on the disk of the instance: take this out"));
        }
    }
    if let Some(place) = top.as_ref().and_then(|top| top.key("external")).filter(|place| place.value() != false) {
        return Err(place.wrong("a new instance has no volume yet: use EFS (x-efs), or take this out"));
    }
    let name = top.as_ref().and_then(|top| top.key("name")).map_or(Ok(name.to_owned()), |at| at.text().map(str::to_owned))?;
    if name.is_empty() {
        return Err(at.wrong("a volume without a name would be a new one for every task: name it, or leave it out"));
    }
    check_name(top.as_ref().unwrap_or(at), &name)?;
    Ok(json!({"name": name, "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local"}}))
}

fn check_name(at: &At<'_>, name: &str) -> Result<()> {
    if name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Ok(());
    }
    Err(at.wrong(format!("{name:?} can't name a volume of ECS: letters, digits, hyphens and underscores, 255 at most")))
}

/// Always encrypted on the way; EFS demands it with an access point.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EFSVolumeConfiguration.html>
fn efs_configuration(efs: &Efs) -> Value {
    let mut configuration = Map::new();
    configuration.insert("fileSystemId".into(), json!(efs.file_system_id));
    configuration.insert("transitEncryption".into(), json!("ENABLED"));
    if let Some(root) = &efs.root_directory {
        configuration.insert("rootDirectory".into(), json!(root));
    }
    let mut authorization = Map::new();
    if let Some(point) = &efs.access_point_id {
        authorization.insert("accessPointId".into(), json!(point));
    }
    if efs.iam {
        authorization.insert("iam".into(), json!("ENABLED"));
    }
    if !authorization.is_empty() {
        configuration.insert("authorizationConfig".into(), authorization.into());
    }
    configuration.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::NetworkMode;

    fn volumes(fargate: bool, host_volumes: bool, list: &str) -> Result<Vec<Value>, String> {
        let text = format!(
            r#"{{"volumes": {{"data": {{"x-efs": "fs-1"}}, "more": {{"x-efs": {{"file_system_id": "fs-2", "access_point_id": "fsap-1", "iam": true}}}}, "local": {{}}}}, "list": {list}}}"#
        );
        let doc = Document::parse(text.as_bytes()).unwrap();
        let target = Target { fargate, host_volumes, network_mode: NetworkMode::Awsvpc, selected: true };
        read(&doc, &doc.root().key("list").unwrap(), target).map(|all| all.volumes).map_err(|error| error.to_string())
    }

    #[test]
    fn efs_is_everywhere() {
        let both = volumes(true, false, r#"["data:/data:ro", {"type": "volume", "source": "more", "target": "/more"}]"#).unwrap();
        assert_eq!(both[0], json!({"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "transitEncryption": "ENABLED"}}));
        assert_eq!(both[1]["efsVolumeConfiguration"]["authorizationConfig"], json!({"accessPointId": "fsap-1", "iam": "ENABLED"}));
    }

    #[test]
    fn the_disk_of_an_instance_has_to_be_asked_for() {
        for list in [r#"["local:/data"]"#, r#"["/var/log:/logs"]"#] {
            assert!(volumes(true, true, list).unwrap_err().contains("list[0]"), "{list}");
            assert!(volumes(false, false, list).unwrap_err().contains("x-svc.host_volumes"), "{list}");
            assert_eq!(volumes(false, true, list).unwrap().len(), 1);
        }
        assert!(volumes(false, true, r#"["./here:/data"]"#).unwrap_err().contains("must begin with /"));
    }
}
