//! The volumes of a task: EFS, memory, and (when allowed) the disk of the instance.

use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::doc::{At, Document};

use super::size::mebibytes;
use crate::model::{Efs, Mount, Tmpfs, Volume, VolumeSource};

/// What a container mounts, and which volumes its task therefore has.
#[derive(Default)]
pub struct Storage {
    pub mounts: Vec<Mount>,
    pub volumes: Vec<Volume>,
    pub tmpfs: Vec<Tmpfs>,
}

/// `x-efs` of a top-level volume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EfsSetting {
    file_system_id: String,
    access_point_id: Option<String>,
    #[serde(default)]
    root_directory: Option<String>,
    #[serde(default)]
    iam: bool,
}

/// Where a container runs, as far as its volumes depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    pub fargate: bool,
    /// Whether volumes on the disk of the instance are allowed.
    pub host_volumes: bool,
}

/// Reads both forms: `data:/data:ro`, or `{type, source, target, read_only}`.
pub fn read(doc: &Document, at: &At<'_>, disk: Disk) -> Result<Storage> {
    let mut all = Storage::default();
    for place in at.list()? {
        let mount = Entry::read(&place)?;
        for (kind, key) in [("volume", "nocopy"), ("bind", "propagation"), ("bind", "selinux")] {
            if let Some(unused) = place.key(kind).and_then(|at| at.key(key)) {
                doc.warn_at("volume-option", &unused, "this has no effect: ECS has no such option");
            }
        }
        let volume = match mount.kind {
            Kind::Tmpfs => {
                let size = place.key("tmpfs").and_then(|at| at.key("size")).map(|at| size(&at, &at.scalar()?)).transpose()?;
                all.tmpfs.push(in_memory(doc, &place, &mount.target, size, &[]));
                continue;
            }
            Kind::Bind => bind(&place, &mount.source, disk)?,
            Kind::Named if mount.source.is_empty() => anonymous(at, &mount.target),
            Kind::Named => named(doc, &place, &mount.source, disk)?,
        };
        all.mounts.push(Mount { volume: volume.name.clone(), path: mount.target, read_only: mount.read_only });
        if !all.volumes.contains(&volume) {
            all.volumes.push(volume);
        }
    }
    Ok(all)
}

/// Reads the service's own `tmpfs`: `/run`, or `/run:size=64m,noexec`.
pub fn tmpfs(doc: &Document, at: &At<'_>) -> Result<Vec<Tmpfs>> {
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

/// MiB. Docker gives what has no size half of the memory; ECS needs a size, and this is Docker's default for shared memory.
const TMPFS: i32 = 64;

fn in_memory(doc: &Document, at: &At<'_>, path: &str, size: Option<i32>, options: &[&str]) -> Tmpfs {
    if size.is_none() {
        doc.warn_at("tmpfs-without-size", at, format!("ECS needs a size for a file system in memory; it is set to {TMPFS} MiB"));
    }
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Tmpfs { path: path.to_owned(), size: size.unwrap_or(TMPFS), options }
}

fn size(at: &At<'_>, text: &str) -> Result<i32> {
    let size = mebibytes(text).filter(|size| *size > 0);
    size.ok_or_else(|| at.wrong("tmpfs-size", format!("the size must be a number of bytes, or a number with b, k, m or g; found {text:?}")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bind,
    Named,
    Tmpfs,
}

/// One entry of `volumes`.
struct Entry {
    kind: Kind,
    source: String,
    target: String,
    read_only: bool,
}

impl Entry {
    fn read(at: &At<'_>) -> Result<Self> {
        if at.value().is_object() {
            return Self::read_long(at);
        }
        let parts: Vec<&str> = at.text()?.split(':').collect();
        let (source, target, mode) = match parts.as_slice() {
            [target] => ("", *target, ""),
            [source, target] => (*source, *target, ""),
            [source, target, mode] => (*source, *target, *mode),
            _ => return Err(at.expected("volume-form", "of the form source:target or source:target:ro")),
        };
        let kind = if source.starts_with(['/', '.', '~']) { Kind::Bind } else { Kind::Named };
        Ok(Self { kind, source: source.to_owned(), target: target.to_owned(), read_only: mode.split(',').any(|mode| mode == "ro") })
    }

    fn read_long(at: &At<'_>) -> Result<Self> {
        let place = at.key("type");
        let kind = match place.as_ref().map_or(Ok("volume"), At::text)? {
            "bind" => Kind::Bind,
            "volume" => Kind::Named,
            "tmpfs" => Kind::Tmpfs,
            _ => return Err(place.as_ref().unwrap_or(at).expected("volume-type", "one of bind, volume and tmpfs")),
        };
        let target =
            at.key("target").ok_or_else(|| at.wrong("volume-without-target", "the volume has no target. Add a path in the container"))?;
        if let Some(sub) = at.key("volume").and_then(|at| at.key("subpath")) {
            return Err(sub.wrong(
                "volume-subpath",
                "ECS mounts only whole volumes. Remove this, or give the volume an access point or a root_directory of EFS",
            ));
        }
        let source = at.key("source").map_or(Ok(""), |at| at.text())?.to_owned();
        let read_only = at.key("read_only").map_or(Ok(false), |at| at.truth())?;
        Ok(Self { kind, source, target: target.text()?.to_owned(), read_only })
    }
}

/// What a task writes on an instance stays on that instance, so it needs the author's consent.
fn check_host(at: &At<'_>, disk: Disk) -> Result<()> {
    if disk.fargate {
        return Err(at.wrong(
            "volume-on-fargate",
            "a Fargate task can't keep data on a disk. Use EFS (set x-efs on the top-level volume), or keep the data in the image, in S3 or in a database",
        ));
    }
    if !disk.host_volumes {
        return Err(at.wrong(
            "volume-on-instance",
            "the data would stay on one instance, and the next task may start on another. Use EFS (set x-efs on the top-level volume), or accept this with x-svc.host_volumes: true",
        ));
    }
    Ok(())
}

fn bind(at: &At<'_>, source: &str, disk: Disk) -> Result<Volume> {
    check_host(at, disk)?;
    if !source.starts_with('/') {
        return Err(at.wrong(
            "bind-relative",
            format!(
                "the source must be an absolute path on the instance; found {source:?}. Set such a path, or copy the files into the image"
            ),
        ));
    }
    let name = format!("bind-{}", &shared::name::fingerprint(source)[..8]);
    Ok(Volume { name, source: VolumeSource::Host(source.to_owned()) })
}

/// Returns a volume of the task, which is empty at the start and is deleted with the task, as Compose's anonymous volumes are with their container.
fn anonymous(list: &At<'_>, target: &str) -> Volume {
    let of_container = shared::name::fingerprint(&format!("{} {target}", list.path()));
    Volume { name: format!("task-{}", &of_container[..8]), source: VolumeSource::Task }
}

fn named(doc: &Document, at: &At<'_>, name: &str, disk: Disk) -> Result<Volume> {
    let top = doc.root().key("volumes").and_then(|all| all.key(name));
    let of_top = |key: &str| top.as_ref().and_then(|top| top.key(key));
    if let Some(place) = of_top("x-efs") {
        check_name(at, name)?;
        return Ok(Volume { name: name.to_owned(), source: VolumeSource::Efs(efs(&place)?) });
    }
    check_host(at, disk)?;
    for key in ["driver", "driver_opts"] {
        if let Some(place) = of_top(key).filter(|place| place.value() != "local") {
            return Err(place.wrong("volume-driver", "a volume is on EFS (x-efs) or on the disk of the instance. Remove this"));
        }
    }
    if let Some(place) = of_top("external").filter(|place| place.value() != &Value::Bool(false)) {
        return Err(place.wrong("volume-external", "a new instance does not have this volume. Use EFS (x-efs), or remove this"));
    }
    let name = of_top("name").map_or(Ok(name.to_owned()), |at| at.text().map(str::to_owned))?;
    check_name(top.as_ref().unwrap_or(at), &name)?;
    Ok(Volume { name, source: VolumeSource::Docker })
}

fn efs(at: &At<'_>) -> Result<Efs> {
    if at.value().is_string() {
        return Ok(Efs { file_system_id: at.text()?.to_owned(), access_point_id: None, root_directory: None, iam: false });
    }
    let EfsSetting { file_system_id, access_point_id, root_directory, iam } = at.typed()?;
    Ok(Efs { file_system_id, access_point_id, root_directory, iam })
}

fn check_name(at: &At<'_>, name: &str) -> Result<()> {
    if name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Ok(());
    }
    let what = format!("the name of a volume must be at most 255 letters, digits, hyphens and underscores; found {name:?}");
    Err(at.wrong("volume-name", what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(fargate: bool, host_volumes: bool, list: &str) -> Result<Vec<Volume>, String> {
        let text = format!(
            r#"{{"volumes": {{"data": {{"x-efs": "fs-1"}}, "more": {{"x-efs": {{"file_system_id": "fs-2", "access_point_id": "fsap-1", "iam": true}}}}, "local": {{}}}}, "list": {list}}}"#
        );
        let doc = Document::parse(text.as_bytes()).unwrap();
        let list = doc.root().key("list").unwrap();
        read(&doc, &list, Disk { fargate, host_volumes }).map(|all| all.volumes).map_err(|error| error.to_string())
    }

    #[test]
    fn efs_is_possible_everywhere() {
        let both = volumes(true, false, r#"["data:/data:ro", {"type": "volume", "source": "more", "target": "/more"}]"#).unwrap();
        let plain = Efs { file_system_id: "fs-1".to_owned(), access_point_id: None, root_directory: None, iam: false };
        assert_eq!(both[0], Volume { name: "data".to_owned(), source: VolumeSource::Efs(plain) });
        let VolumeSource::Efs(efs) = &both[1].source else { unreachable!("{both:?}") };
        assert_eq!((efs.access_point_id.as_deref(), efs.iam), (Some("fsap-1"), true));
    }

    #[test]
    fn a_volume_without_a_name_is_of_the_task() {
        for list in [r#"["/cache"]"#, r#"[{"type": "volume", "target": "/cache"}]"#] {
            let found = volumes(true, false, list).unwrap();
            assert_eq!((found[0].source.clone(), found[0].name.starts_with("task-")), (VolumeSource::Task, true), "{list}");
        }
    }

    #[test]
    fn the_disk_of_an_instance_needs_consent() {
        for list in [r#"["local:/data"]"#, r#"["/var/log:/logs"]"#] {
            assert!(volumes(true, true, list).unwrap_err().contains("list[0]"), "{list}");
            assert!(volumes(false, false, list).unwrap_err().contains("x-svc.host_volumes"), "{list}");
            assert_eq!(volumes(false, true, list).unwrap().len(), 1);
        }
        assert!(volumes(false, true, r#"["./here:/data"]"#).unwrap_err().contains("must be an absolute path"));
    }
}
