//! The volumes of a task: EFS, memory, the task itself, and (when allowed) the disk of the instance.

use serde::Deserialize;
use serde_json::Value;
use shared::doc::mount::{MountSource, mounts};
use shared::doc::volume::{Place, place};
use shared::doc::{At, Document, Selection, file};
use shared::{Error, Result};

use super::size::mebibytes;
use super::{limit, managed};
use crate::model::{AccessPoint, Efs, Mount, TaskRole, Tmpfs, Volume, VolumeSource};

/// What a container mounts, and which volumes its task therefore has.
#[derive(Default)]
pub struct Storage {
    pub mounts: Vec<Mount>,
    pub volumes: Vec<Volume>,
    pub tmpfs: Vec<Tmpfs>,
    /// The targets of binds whose content is in the image.
    pub copied: Vec<String>,
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

/// What is known of the image of a container.
#[derive(Clone, Copy)]
pub struct InImage<'a> {
    /// Where it has configs and files of the project; `None` when the document has no image for the service.
    pub files: Option<&'a [String]>,
    /// Where volumes are mounted over files of the image.
    pub seeded: &'a [String],
    /// Whether the container is deployed, so that all must be there.
    pub needed: bool,
}

/// Reads what a container mounts.
pub fn read(doc: &Document, name: &str, service: &At<'_>, image: InImage<'_>, disk: Disk) -> Result<Storage> {
    let mut all = Storage::default();
    let mounts = mounts(service)?;
    for mount in &mounts {
        let place = &mount.place;
        for (kind, key) in [("volume", "nocopy"), ("bind", "propagation"), ("bind", "selinux")] {
            if let Some(unused) = place.key(kind).and_then(|at| at.key(key)) {
                doc.warn_at("volume-option", &unused, "this has no effect: ECS has no such option");
            }
        }
        if image.files.is_some_and(|files| files.contains(&mount.target)) {
            all.copied.push(mount.target.clone());
            continue;
        }
        let volume = match &mount.source {
            MountSource::Tmpfs => {
                let size = place.key("tmpfs").and_then(|at| at.key("size")).map(|at| size(&at, &at.scalar()?)).transpose()?;
                all.tmpfs.push(in_memory(doc, place, &mount.target, size, &[]));
                continue;
            }
            MountSource::File(_) | MountSource::Folder(_) => {
                check_in_image(place, &mount.target, image)?;
                all.copied.push(mount.target.clone());
                continue;
            }
            // The image has its own files there, and a volume would hide them.
            MountSource::Anonymous if is_below_a_copy(mount, &mounts, image) => continue,
            MountSource::Anonymous => anonymous(name, &mount.target),
            MountSource::Named(volume) | MountSource::Data(volume) => named(doc, place, name, volume, disk)?,
            MountSource::HostRefused { path, instead } => match host(doc, place, path, instead, disk)? {
                Some(volume) => volume,
                None => continue,
            },
        };
        if let VolumeSource::AccessPoint(_) = &volume.source {
            managed::warn(doc, name, service, mount);
            warn_of_hidden_files(doc, mount, &volume.name, image);
        }
        all.mounts.push(Mount { volume: volume.name.clone(), path: mount.target.clone(), read_only: mount.read_only });
        if !all.volumes.contains(&volume) {
            all.volumes.push(volume);
        }
    }
    Ok(all)
}

/// Checks that the image has the configs of a service.
pub fn check_configs(doc: &Document, list: &At<'_>, image: InImage<'_>) -> Result<()> {
    for config in file::entries(doc, list, "configs", "config")? {
        check_in_image(&config.place, &file::config_target(&config.place)?, image)?;
    }
    Ok(())
}

/// What is copied into the image is there only when img-push has run since it was added to the document.
fn check_in_image(place: &At<'_>, target: &str, image: InImage<'_>) -> Result<()> {
    match image.files {
        Some(files) if files.iter().any(|file| file == target) => Ok(()),
        _ if !image.needed => Ok(()),
        Some(_) => Err(place.wrong("file-not-in-image", format!("the image does not have {target}. Run img-push for this service"))),
        None => Err(Error::Missing { section: "img", maker: "img-push" }),
    }
}

/// Docker copies what an image has at the path of a new volume into the volume. EFS does not.
fn warn_of_hidden_files(doc: &Document, mount: &shared::doc::mount::Mount<'_>, volume: &str, image: InImage<'_>) {
    if image.seeded.contains(&mount.target) {
        let what = format!(
            "the image has files at {}, but the volume {volume} on EFS is empty at first and hides them. Copy them into the volume when the container starts, or mount it at an empty folder",
            mount.target
        );
        doc.warn_at("volume-hides-files", &mount.place, what);
    }
}

fn is_below_a_copy(mount: &shared::doc::mount::Mount<'_>, all: &[shared::doc::mount::Mount<'_>], image: InImage<'_>) -> bool {
    let copied = |other: &shared::doc::mount::Mount<'_>| {
        matches!(other.source, MountSource::Folder(_)) || image.files.is_some_and(|files| files.contains(&other.target))
    };
    let is_below = |folder: &str| mount.target.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    all.iter().any(|other| copied(other) && is_below(&other.target))
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

/// A Fargate task has no instance.
fn check_host(at: &At<'_>, disk: Disk) -> Result<()> {
    if disk.fargate {
        return Err(at.wrong(
            "volume-on-fargate",
            "a Fargate task can't keep data on the disk of an instance. Remove x-svc.host_volumes, so that the volume is on EFS",
        ));
    }
    Ok(())
}

/// Files of the machine that only tell its time zone.
const TIME_ZONE: &[&str] = &["/etc/localtime", "/etc/timezone"];

/// Returns a folder of the instance, where those are allowed.
fn host(doc: &Document, at: &At<'_>, path: &str, instead: &str, disk: Disk) -> Result<Option<Volume>> {
    if TIME_ZONE.contains(&path) {
        doc.warn("time-zone-mount", format!("{} has no effect: instances and tasks are in UTC. Set the variable TZ", at.path()));
        return Ok(None);
    }
    if disk.fargate || !disk.host_volumes || !path.starts_with('/') {
        return Err(at.wrong("bind-outside", format!("{path} is not part of the project. {instead}")));
    }
    let name = format!("bind-{}", &shared::name::fingerprint(path)[..8]);
    Ok(Some(Volume { name, source: VolumeSource::Host(path.to_owned()) }))
}

/// Returns a volume of the task, which is empty at the start and is deleted with the task, as Compose's anonymous volumes are with their container.
fn anonymous(service: &str, target: &str) -> Volume {
    let of_container = shared::name::fingerprint(&format!("services.{service}.volumes {target}"));
    Volume { name: format!("task-{}", &of_container[..8]), source: VolumeSource::Task }
}

fn named(doc: &Document, at: &At<'_>, service: &str, name: &str, disk: Disk) -> Result<Volume> {
    let top = doc.root().key("volumes").and_then(|all| all.key(name));
    let of_top = |key: &str| top.as_ref().and_then(|top| top.key(key));
    let place = place(doc, service, name)?;
    if let Place::Host | Place::FileSystem = &place {
        for key in ["driver", "driver_opts"] {
            let is_plain = |at: &At<'_>| at.value() == "local" || at.value().as_object().is_some_and(serde_json::Map::is_empty);
            if let Some(place) = of_top(key).filter(|at| !is_plain(at)) {
                return Err(place.wrong("volume-driver", "a volume is on EFS or on the disk of the instance. Remove this"));
            }
        }
    }
    let source = match place {
        Place::Adopted(setting) => VolumeSource::Efs(efs(&setting)?),
        Place::Task => {
            if of_top("x-efs").is_none() {
                doc.warn(
                    "volume-in-task",
                    format!("volumes.{name}: only the containers of one task mount it, and one of them only reads it. So it is on the disk of the task, and empty when a task starts. To keep its data, set x-efs: true"),
                );
            }
            VolumeSource::Task
        }
        Place::FileSystem => {
            if of_top("external").is_some_and(|external| external.value() != &Value::Bool(false)) {
                doc.warn(
                    "volume-external",
                    format!("volumes.{name} is external, but ECS does not have it. It is a new, empty volume on EFS. Copy the data, or set x-efs"),
                );
            }
            limit::check_folder(name, at)?;
            VolumeSource::AccessPoint(AccessPoint { volume: name.to_owned(), owner: owner(doc, name)? })
        }
        Place::Host => {
            check_host(at, disk)?;
            let name = of_top("name").map_or(Ok(name.to_owned()), |at| at.text().map(str::to_owned))?;
            check_name(top.as_ref().unwrap_or(at), &name)?;
            return Ok(Volume { name, source: VolumeSource::Docker });
        }
    };
    check_name(at, name)?;
    Ok(Volume { name: name.to_owned(), source })
}

/// Returns the user and group that own a new volume: those of `user` of the first service that writes to it, when they are numbers. Docker gives a
/// new volume the owner of the image's folder, which is not known here.
fn owner(doc: &Document, volume: &str) -> Result<Option<(u32, u32)>> {
    for (_, at) in doc.services(&Selection::default())? {
        if !mounts(&at)?.iter().any(|mount| mount.volume() == Some(volume) && !mount.read_only) {
            continue;
        }
        let Some(user) = at.key("user").map(|user| user.scalar()).transpose()? else { continue };
        let (user, group) = user.split_once(':').unwrap_or((&user, &user));
        if let (Ok(user), Ok(group)) = (user.parse(), group.parse()) {
            return Ok(Some((user, group)));
        }
    }
    Ok(None)
}

/// An existing role is not changed, so whoever made it must allow it the volumes.
pub fn check_adopted_role(doc: &Document, name: &str, role: &TaskRole, volumes: &[Volume]) {
    let on_file_system = volumes.iter().any(|volume| matches!(volume.source, VolumeSource::AccessPoint(_)));
    if let (TaskRole::Adopted(role), true) = (role, on_file_system) {
        doc.warn(
            "task-role-without-volumes",
            format!("services.{name}: the role {role} must allow elasticfilesystem:ClientMount, ClientWrite and ClientRootAccess, or its tasks can't mount their volumes"),
        );
    }
}

fn efs(at: &At<'_>) -> Result<Efs> {
    if at.value().is_string() {
        return Ok(Efs { file_system_id: at.text()?.to_owned(), access_point_id: None, root_directory: None, iam: false });
    }
    let EfsSetting { file_system_id, access_point_id, root_directory, iam } = at.typed()?;
    // The access point has a folder of its own.
    if let (Some(_), Some(place)) = (&access_point_id, at.key("root_directory").filter(|at| at.value() != "/")) {
        return Err(
            place.wrong("efs-root-with-access-point", "ECS takes no other folder than that of the access point. Remove root_directory")
        );
    }
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
    use serde_json::json;

    fn volumes(fargate: bool, host_volumes: bool, list: &Value) -> Result<Vec<Volume>, String> {
        let doc = json!({"volumes": {"data": {"x-efs": "fs-1"}, "more": {"x-efs": {"file_system_id": "fs-2", "access_point_id": "fsap-1", "iam": true}},
            "local": {}, "nfs": {"driver_opts": {"type": "nfs"}}, "old": {"external": true}},
            "services": {"web": {"user": "1000", "volumes": list, "x-svc": {"host_volumes": host_volumes}}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let image = InImage { files: Some(&[]), seeded: &[], needed: true };
        read(&doc, "web", &web, image, Disk { fargate, host_volumes }).map(|all| all.volumes).map_err(|error| error.to_string())
    }

    #[test]
    fn efs_is_possible_everywhere() {
        let both = volumes(true, false, &json!(["data:/data:ro", {"type": "volume", "source": "more", "target": "/more"}])).unwrap();
        let plain = Efs { file_system_id: "fs-1".to_owned(), access_point_id: None, root_directory: None, iam: false };
        assert_eq!(both[0], Volume { name: "data".to_owned(), source: VolumeSource::Efs(plain) });
        let VolumeSource::Efs(efs) = &both[1].source else { unreachable!("{both:?}") };
        assert_eq!((efs.access_point_id.as_deref(), efs.iam), (Some("fsap-1"), true));
    }

    #[test]
    fn an_access_point_has_a_folder_of_its_own() {
        let root = |root: &str| {
            let doc = json!({"x-efs": {"file_system_id": "fs-1", "access_point_id": "fsap-1", "root_directory": root}});
            let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
            efs(&doc.root().key("x-efs").unwrap()).map(drop).map_err(|error| error.code())
        };
        assert_eq!((root("/"), root("/data")), (Ok(()), Err("efs-root-with-access-point")));
    }

    #[test]
    fn data_is_on_the_file_system_of_the_app() {
        for fargate in [false, true] {
            for (list, name) in
                [(json!(["local:/data"]), "local"), (json!(["old:/data"]), "old"), (json!(["./no-such:/data"]), "bind-no-such")]
            {
                let point = AccessPoint { volume: name.to_owned(), owner: Some((1000, 1000)) };
                let expected = Volume { name: name.to_owned(), source: VolumeSource::AccessPoint(point) };
                assert_eq!(volumes(fargate, false, &list), Ok(vec![expected]), "{list}");
            }
        }
        assert!(volumes(true, false, &json!(["nfs:/data"])).unwrap_err().contains("volumes.nfs.driver_opts: a volume is on EFS"));
    }

    #[test]
    fn a_volume_on_efs_over_files_of_the_image_is_a_warning() {
        let doc = json!({"volumes": {"static": {}, "task": {"x-efs": false}}, "services": {
            "web": {"volumes": ["static:/static", "task:/task", "data:/data"]}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let seeded = ["/static", "/task"].map(str::to_owned);
        let image = InImage { files: Some(&[]), seeded: &seeded, needed: true };
        read(&doc, "web", &web, image, Disk { fargate: true, host_volumes: false }).unwrap();
        let warnings: Vec<String> =
            doc.warnings().into_iter().filter(|(code, _)| *code == "volume-hides-files").map(|(_, text)| text).collect();
        assert!(warnings.len() == 1 && warnings[0].starts_with("services.web.volumes[0]: the image has files at /static"), "{warnings:?}");
    }

    /// Also when the folder of the bind is not on this machine.
    #[test]
    fn what_the_image_has_is_no_volume() {
        let doc = json!({"services": {"web": {"volumes": ["./no-such:/data", "./other:/other"]}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let files = ["/data".to_owned()];
        let image = InImage { files: Some(&files), seeded: &[], needed: true };
        let all = read(&doc, "web", &web, image, Disk { fargate: true, host_volumes: false }).unwrap();
        let mounts: Vec<&str> = all.mounts.iter().map(|mount| mount.path.as_str()).collect();
        assert_eq!((all.copied.as_slice(), mounts.as_slice()), (files.as_slice(), ["/other"].as_slice()));
    }

    #[test]
    fn an_anonymous_volume_is_the_tasks() {
        let two = volumes(true, false, &json!(["/cache", "/other"])).unwrap();
        assert!(two.len() == 2 && two.iter().all(|volume| volume.source == VolumeSource::Task), "{two:?}");
    }

    #[test]
    fn the_disk_of_an_instance_needs_consent() {
        assert_eq!(volumes(false, true, &json!(["local:/data"])).unwrap()[0].source, VolumeSource::Docker);
        assert_eq!(volumes(false, true, &json!(["/var/log:/logs"])).unwrap()[0].source, VolumeSource::Host("/var/log".to_owned()));
        assert!(volumes(true, true, &json!(["local:/data"])).unwrap_err().contains("a Fargate task can't keep data on the disk"));
        for (fargate, host_volumes) in [(true, true), (true, false), (false, false)] {
            let found = volumes(fargate, host_volumes, &json!(["/var/log:/logs"])).unwrap_err();
            assert!(found.contains("services.web.volumes[0]: /var/log is not part of the project"), "{found}");
        }
        assert_eq!(volumes(true, false, &json!(["/etc/localtime:/etc/localtime:ro"])), Ok(Vec::new()));
    }
}
