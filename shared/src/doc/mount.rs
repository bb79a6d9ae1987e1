//! What a service mounts: `volumes` in the short and the long form, and what each entry becomes on ECS.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#volumes>

use std::path::{Component, Path, PathBuf};

use super::at::At;
use super::known_image::known;
use crate::error::Result;

/// One entry of `volumes`.
#[derive(Debug, Clone)]
pub struct Mount<'a> {
    pub place: At<'a>,
    /// An absolute path in the container, without a slash at its end.
    pub target: String,
    pub read_only: bool,
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of the top level, by name.
    Named(String),
    /// A new volume for each container.
    Anonymous,
    /// A file of the project, whose content becomes part of the image.
    File(PathBuf),
    /// A folder of the project with something in it; its content becomes part of the image.
    Folder(PathBuf),
    /// A folder that only holds what the container writes: a volume of this name.
    Data(String),
    /// A file system in memory.
    Tmpfs,
    /// A path of the machine that no instance or Fargate task has, with what ECS has instead.
    HostRefused { path: String, instead: &'static str },
}

impl Mount<'_> {
    /// Returns the name of the volume that keeps the data, if it is one.
    #[must_use]
    pub fn volume(&self) -> Option<&str> {
        match &self.source {
            MountSource::Named(name) | MountSource::Data(name) => Some(name),
            _ => None,
        }
    }
}

/// Files that keep an empty folder in a repository.
const PLACEHOLDERS: &[&str] = &[".gitkeep", ".gitignore", ".keep", ".dockerignore", ".DS_Store"];

/// Reads the mounts of a service. The paths are relative to the folder in which the tool runs.
///
/// # Errors
/// Says which entry is not valid, and which file is missing.
pub fn mounts<'a>(service: &At<'a>) -> Result<Vec<Mount<'a>>> {
    let image = service.key("image").and_then(|image| image.value().as_str()).unwrap_or_default();
    let data = known(image).map(|known| known.data).unwrap_or_default();
    let Some(list) = service.key("volumes") else { return Ok(Vec::new()) };
    list.list()?.into_iter().map(|place| Entry::read(&place)?.mount(place, data)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bind,
    Volume,
    Tmpfs,
}

/// An entry as it is written.
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
        let kind = if source.starts_with(['/', '.', '~']) { Kind::Bind } else { Kind::Volume };
        Ok(Self { kind, source: source.to_owned(), target: target.to_owned(), read_only: mode.split(',').any(|mode| mode == "ro") })
    }

    fn read_long(at: &At<'_>) -> Result<Self> {
        let place = at.key("type");
        let kind = match place.as_ref().map_or(Ok("volume"), At::text)? {
            "bind" => Kind::Bind,
            "volume" => Kind::Volume,
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

    fn mount<'a>(self, place: At<'a>, data: &[&str]) -> Result<Mount<'a>> {
        let target = target(&place, &self.target)?;
        let source = match self.kind {
            Kind::Tmpfs => MountSource::Tmpfs,
            Kind::Volume if self.source.is_empty() => MountSource::Anonymous,
            Kind::Volume => MountSource::Named(self.source),
            Kind::Bind => bind(&place, &self.source, &target, data.contains(&target.as_str()))?,
        };
        Ok(Mount { place, target, read_only: self.read_only, source })
    }
}

/// Returns an absolute path in a container, as short as possible.
///
/// # Errors
/// Fails for a relative path, and for one with `..`.
pub fn target(place: &At<'_>, path: &str) -> Result<String> {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty() && *step != ".").collect();
    if !path.starts_with('/') || steps.is_empty() || steps.contains(&"..") || path.contains('\0') {
        return Err(place.wrong("mount-target", format!("the target must be an absolute path in the container, and not /; found {path:?}")));
    }
    Ok(format!("/{}", steps.join("/")))
}

fn bind(place: &At<'_>, source: &str, target: &str, keeps_data: bool) -> Result<MountSource> {
    let Some(path) = in_project(source) else {
        return Ok(outside(source));
    };
    if keeps_data {
        return Ok(MountSource::Data(data_name(&path)));
    }
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(MountSource::File(path)),
        Ok(found) if found.is_dir() => Ok(if is_empty(&path) { MountSource::Data(data_name(&path)) } else { MountSource::Folder(path) }),
        Ok(_) => Ok(MountSource::HostRefused { path: source.to_owned(), instead: instead(source) }),
        Err(_) if is_file_name(&path) && is_file_name(Path::new(target)) => Err(place.wrong(
            "bind-source-missing",
            format!("there is no file {}. Create the file, or run this tool in the folder to which the path is relative", path.display()),
        )),
        // Docker creates a folder there.
        Err(_) => Ok(MountSource::Data(data_name(&path))),
    }
}

/// A path of the machine. One that does not exist is what Docker would create there: an empty folder.
fn outside(source: &str) -> MountSource {
    let path = Path::new(source);
    let is_machine = MACHINE.iter().any(|root| path.starts_with(root))
        || path.extension().is_some_and(|ending| ending == "sock")
        || source.starts_with('~');
    if is_machine || path.exists() {
        MountSource::HostRefused { path: source.to_owned(), instead: instead(source) }
    } else {
        MountSource::Data(data_name(path))
    }
}

/// Returns the path of something in the project: what is written relative to it, or below the folder in which the tool runs. Compose prints all
/// paths as absolute ones.
fn in_project(source: &str) -> Option<PathBuf> {
    let path = Path::new(source);
    if source.starts_with('~') {
        return None;
    }
    if path.is_relative() {
        return Some(path.to_owned());
    }
    let here = std::env::current_dir().ok()?;
    let below = path.strip_prefix(&here).or_else(|_| path.strip_prefix(here.canonicalize().unwrap_or(here.clone()))).ok()?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    Some(below.to_owned())
}

/// Returns whether Docker would show an empty folder.
fn is_empty(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().all(|entry| entry.file_name().to_str().is_some_and(|name| PLACEHOLDERS.contains(&name)))
}

/// Returns whether this is named like a file: with an ending, which folders seldom have (`conf.d`).
fn is_file_name(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending != "d")
}

/// Returns the name of the volume for a folder: `./data/db` is `bind-data-db`.
fn data_name(path: &Path) -> String {
    let steps = path.components().filter_map(|step| match step {
        Component::Normal(step) => Some(step.to_string_lossy().into_owned()),
        Component::ParentDir => Some("up".to_owned()),
        _ => None,
    });
    let parts: Vec<String> = std::iter::once("bind".to_owned()).chain(steps).collect();
    crate::name::fit(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 60)
}

/// Folders of the machine's kernel, its processes and its devices.
const MACHINE: &[&str] = &["/proc", "/sys", "/dev", "/run", "/var/run"];

/// Says what ECS has instead of a path of the machine.
fn instead(source: &str) -> &'static str {
    if source.ends_with("docker.sock") || source.ends_with("podman.sock") {
        "Containers on ECS don't reach the container engine. Remove this; ECS's own API, logs and metrics do what it is mostly used for"
    } else if MACHINE.iter().any(|root| Path::new(source).starts_with(root)) {
        "Container Insights and CloudWatch have the metrics of instances and tasks. Remove this"
    } else if source.starts_with('~') || source.contains("/.aws") {
        "For access to AWS use a task role (x-svc.task_role), for other secrets `secrets`, and for files a folder in the project"
    } else {
        "Move the content into the project, so that it becomes part of the image, or use a named volume for data"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use serde_json::{Value, json};

    /// A folder that is deleted after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            // Below the folder in which the tests run, so that it is in the project.
            let path = std::env::current_dir().unwrap().join(format!("target-mount-{test}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("empty")).unwrap();
            std::fs::create_dir_all(path.join("kept")).unwrap();
            std::fs::create_dir_all(path.join("full")).unwrap();
            std::fs::write(path.join("kept/.gitkeep"), "").unwrap();
            std::fs::write(path.join("full/init.sql"), "select 1;").unwrap();
            Self(path)
        }

        fn absolute(&self, below: &str) -> String {
            self.0.join(below).to_str().unwrap().to_owned()
        }

        fn relative(&self, below: &str) -> String {
            format!("./{}/{below}", self.0.file_name().unwrap().to_str().unwrap())
        }

        fn path(&self, below: &str) -> PathBuf {
            PathBuf::from(self.0.file_name().unwrap()).join(below)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read(image: &str, entry: &Value) -> Result<(String, bool, MountSource), String> {
        let doc = Document::parse(json!({"services": {"web": {"image": image, "volumes": [entry]}}}).to_string().as_bytes()).unwrap();
        let service = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let mut read = mounts(&service).map_err(|error| error.to_string())?;
        let Mount { target, read_only, source, .. } = read.remove(0);
        Ok((target, read_only, source))
    }

    fn source(image: &str, entry: &Value) -> MountSource {
        read(image, entry).unwrap().2
    }

    #[test]
    fn both_forms_are_read() {
        let data = MountSource::Named("data".to_owned());
        for (entry, target, read_only, source) in [
            (json!("data:/data"), "/data", false, data.clone()),
            (json!("data:/data/:ro,z"), "/data", true, data.clone()),
            (json!("/data"), "/data", false, MountSource::Anonymous),
            (json!({"type": "volume", "target": "/data"}), "/data", false, MountSource::Anonymous),
            (json!({"type": "volume", "source": "data", "target": "/data", "read_only": true}), "/data", true, data),
            (json!({"type": "tmpfs", "target": "/run//x"}), "/run/x", false, MountSource::Tmpfs),
        ] {
            assert_eq!(read("nginx", &entry), Ok((target.to_owned(), read_only, source)), "{entry}");
        }
    }

    #[test]
    fn a_bind_is_told_by_what_is_there() {
        let folder = Folder::new("kinds");
        for (below, expected) in [
            ("full/init.sql", MountSource::File(folder.path("full/init.sql"))),
            ("full", MountSource::Folder(folder.path("full"))),
            ("empty", MountSource::Data(data_name(&folder.path("empty")))),
            ("kept", MountSource::Data(data_name(&folder.path("kept")))),
            ("missing", MountSource::Data(data_name(&folder.path("missing")))),
        ] {
            assert_eq!(source("nginx", &json!(format!("{}:/target", folder.absolute(below)))), expected, "{below}");
            let (MountSource::Data(_) | MountSource::File(_) | MountSource::Folder(_)) =
                source("nginx", &json!({"type": "bind", "source": folder.relative(below), "target": "/target"}))
            else {
                unreachable!("{below}")
            };
        }
        let full = format!("{}:/var/lib/postgresql/data", folder.absolute("full"));
        assert!(matches!(source("postgres:16", &json!(full)), MountSource::Data(_)), "the folder of a database holds data");
        assert!(matches!(source("nginx", &json!(full)), MountSource::Folder(_)));
    }

    #[test]
    fn a_missing_file_is_an_error_and_a_missing_folder_a_volume() {
        let missing = read("nginx", &json!("./no-such/nginx.conf:/etc/nginx/nginx.conf:ro")).unwrap_err();
        assert!(missing.contains("services.web.volumes[0]: there is no file ./no-such/nginx.conf"), "{missing}");
        assert_eq!(
            source("nginx", &json!("./no-such/conf.d:/etc/nginx/conf.d")),
            MountSource::Data(data_name(Path::new("./no-such/conf.d")))
        );
        assert_eq!(source("nginx", &json!("./no-such:/data")), MountSource::Data("bind-no-such".to_owned()));
    }

    #[test]
    fn paths_of_the_machine_say_what_ecs_has_instead() {
        for (path, said) in [
            ("/var/run/docker.sock", "ECS's own API"),
            ("/proc", "CloudWatch"),
            ("/sys/fs/cgroup", "CloudWatch"),
            ("~/.aws", "task role"),
            ("/etc/hosts", "Move the content into the project"),
        ] {
            let MountSource::HostRefused { path: found, instead } = source("nginx", &json!(format!("{path}:/x"))) else {
                unreachable!("{path}")
            };
            assert_eq!(found, path);
            assert!(instead.contains(said), "{path}: {instead}");
        }
    }

    /// As in Docker, which creates an empty folder.
    #[test]
    fn a_missing_path_of_the_machine_is_a_volume() {
        assert_eq!(source("nginx", &json!("/srv/no-such/data:/data")), MountSource::Data("bind-srv-no-such-data".to_owned()));
    }

    #[test]
    fn a_wrong_entry_is_reported_with_its_place() {
        for (entry, said) in [
            (json!("a:b:c:d"), "volumes[0]: must be of the form source:target"),
            (json!("data:data"), "volumes[0]: the target must be an absolute path"),
            (json!("data:/a/../b"), "volumes[0]: the target must be an absolute path"),
            (json!("data:/"), "volumes[0]: the target must be an absolute path"),
            (json!({"type": "npipe", "target": "/a"}), "volumes[0].type: must be one of bind, volume and tmpfs"),
            (json!({"type": "volume", "source": "a"}), "volumes[0]: the volume has no target"),
            (
                json!({"type": "volume", "source": "a", "target": "/a", "volume": {"subpath": "x"}}),
                "volumes[0].volume.subpath: ECS mounts only",
            ),
        ] {
            let found = read("nginx", &entry).err().unwrap_or_default();
            assert!(found.contains(said), "{entry}: {found}");
        }
    }
}
