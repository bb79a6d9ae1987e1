//! The layer with the configs and the files of the project that a service mounts. ECS can't mount a single file, and a folder mounted over another
//! hides what is in it. So the content becomes part of the image, which works for every image, also for one without a shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::doc::mount::{Mount, MountSource, mounts};
use shared::doc::{At, Document, file};
use shared::{Result, name};

use crate::dockerignore::Ignore;
use crate::private::{is_private, private};
use crate::record::is_document;
use crate::tree::{Kind, walk};

/// What is added to an image.
#[derive(Clone, Default)]
pub struct Layer {
    /// By path in the image, without the slash at its beginning; folders come before what is in them.
    entries: BTreeMap<String, Entry>,
    /// The targets, as the service names them.
    pub targets: Vec<String>,
    /// The names of files and folders that are not copied, because they seldom belong into an image.
    pub left_out: BTreeSet<String>,
    /// Hash and bytes of the archive.
    digest: String,
    size: u64,
}

#[derive(Clone)]
struct Entry {
    content: Content,
    mode: u32,
    uid: u32,
    gid: u32,
}

#[derive(Clone)]
enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
    Folder,
    Link(PathBuf),
}

/// A config may be a password, so only its size is shown.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({} entries, {} bytes)", self.entries.len(), self.size)
    }
}

impl Layer {
    /// Reads the configs of a service, and the files and folders of the project that it mounts. `None` when it has none.
    ///
    /// # Errors
    /// Says which config or mount is wrong, and which file is missing or not readable.
    pub fn read(doc: &Document, service: &At<'_>) -> Result<Option<Self>> {
        let mut layer = Self::default();
        let secrets = secret_files(doc);
        let all = mounts(service)?;
        let mut binds: Vec<&Mount<'_>> = all.iter().filter(|mount| is_content(mount)).collect();
        // A mount below another one comes after it.
        binds.sort_by_key(|mount| mount.target.len());
        for mount in binds {
            if let MountSource::File(path) = &mount.source
                && is_private(path)
            {
                doc.warn_at(
                    "env-file-copied",
                    &mount.place,
                    format!("{} is copied into the image, where all who may pull the image can read it. For passwords use `secrets`, for variables `env_file`", path.display()),
                );
            }
            if layer.add_mount(mount, &all, &secrets)? {
                doc.warn_at(
                    "secret-not-copied",
                    &mount.place,
                    "the folder has the file of a secret, which is not copied into the image. Read it in /run/secrets",
                );
            }
        }
        if let Some(list) = service.key("configs") {
            for config in file::entries(doc, &list, "configs", "config")? {
                layer.add_config(&config)?;
            }
        }
        if layer.entries.is_empty() {
            return Ok(None);
        }
        layer.targets = file::in_image(service)?;
        layer.measure(service)?;
        Ok(Some(layer))
    }

    /// Returns a short text that stays the same as long as paths, modes, owners and contents do.
    pub fn hash(&self) -> &str {
        &self.digest
    }

    /// Adds a mount. Returns whether the file of a secret was left out.
    fn add_mount(&mut self, mount: &Mount<'_>, all: &[Mount<'_>], secrets: &[PathBuf]) -> Result<bool> {
        match &mount.source {
            MountSource::File(path) => {
                let mode = std::fs::metadata(path).map_or(0o644, |found| found.permissions().mode());
                self.add(&mount.target, Entry::of_root(Content::File(path.clone()), mode));
                Ok(false)
            }
            MountSource::Folder(root) => self.add_folder(mount, root, all, secrets),
            _ => Ok(false),
        }
    }

    /// Adds what is in a folder, without what its `.dockerignore` excludes, what another mount hides, what is private, documents of this project, and the
    /// files of secrets, which must not be in an image. Returns whether there was such a file.
    fn add_folder(&mut self, mount: &Mount<'_>, root: &Path, all: &[Mount<'_>], secrets: &[PathBuf]) -> Result<bool> {
        let mut left_out = false;
        let unreadable = |path: &Path, error: &dyn fmt::Display| {
            let what = format!("could not read {}: {error}. Make it readable, or exclude it in .dockerignore", path.display());
            mount.place.wrong("mounted-file-unreadable", what)
        };
        let text = match std::fs::read_to_string(root.join(".dockerignore")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|error| unreadable(&root.join(".dockerignore"), &error))?,
        };
        let ignore = Ignore::parse(&text).map_err(|error| unreadable(&root.join(".dockerignore"), &error))?;
        let hidden = |name: &str| {
            all.iter().any(|other| other.target != mount.target && is_below(&format!("{}/{name}", mount.target), &other.target))
        };
        let found = walk(root, &ignore, &hidden).map_err(|found| unreadable(&root.join(&found.file), &found.error))?;
        self.add(&mount.target, Entry::of_root(Content::Folder, std::fs::metadata(root).map_or(0o755, |found| found.permissions().mode())));
        for one in found {
            if let Some(private) = private(&one.name, &ignore) {
                self.left_out.insert(private.to_owned());
                continue;
            }
            if one.path.canonicalize().is_ok_and(|path| secrets.contains(&path)) {
                left_out = true;
                continue;
            }
            let content = match &one.kind {
                // A container has no use for them, and each commit or deployment would make a new image.
                _ if is_document(&one) => continue,
                Kind::Folder => Content::Folder,
                Kind::Link(to) => Content::Link(to.clone()),
                Kind::File => Content::File(one.path.clone()),
                Kind::Pipe => continue,
            };
            self.add(&format!("{}/{}", mount.target, one.name), Entry::of_root(content, one.mode));
        }
        Ok(left_out)
    }

    fn add_config(&mut self, config: &file::FileEntry<'_>) -> Result<()> {
        let bytes = match (config.top.key("content"), file::content(&config.top)?) {
            (_, Some(bytes)) => bytes,
            (Some(text), None) => text.text()?.as_bytes().to_vec(),
            (None, None) => {
                return Err(config.top.wrong(
                    "config-without-content",
                    "the config has none of file, content and environment. Add one of them; ECS keeps no external configs",
                ));
            }
        };
        let path = file::config_target(&config.place)?;
        self.add(&path, Entry { content: Content::Bytes(bytes), mode: config.mode, uid: config.uid, gid: config.gid });
        Ok(())
    }

    fn add(&mut self, path: &str, entry: Entry) {
        self.entries.insert(path.trim_start_matches('/').to_owned(), entry);
    }

    /// Reads everything once, for the hash and the size.
    fn measure(&mut self, service: &At<'_>) -> Result<()> {
        let mut sink = Sink { hash: Sha256::new(), size: 0 };
        self.write(&mut sink).map_err(|error| {
            let what = format!("could not read the mounted file {error}. Make it readable, or exclude it in .dockerignore");
            service.wrong("mounted-file-gone", what)
        })?;
        (self.digest, self.size) = (name::digest(sink.hash), sink.size);
        Ok(())
    }

    /// Returns the length of the archive in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the archive of the layer, which `ADD` unpacks with its modes and owners. It is the same for the same content.
    ///
    /// # Errors
    /// Fails when a file is not readable any more.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.mode & 0o7777);
            header.set_uid(u64::from(entry.uid));
            header.set_gid(u64::from(entry.gid));
            header.set_mtime(FIRST_TIME);
            header.set_size(0);
            match &entry.content {
                Content::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Content::Link(to) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, to)?;
                }
                Content::Bytes(bytes) => append(&mut tar, &mut header, path, bytes)?,
                Content::File(file) => {
                    let bytes = std::fs::read(file).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
                    append(&mut tar, &mut header, path, &bytes)?;
                }
            }
        }
        tar.finish()
    }
}

/// Returns the configs and content mounts of a service as the document has them: services with the same build and the same text share an image.
pub fn written(doc: &Document, service: &At<'_>) -> Value {
    // What is wrong with a mount is reported when the layer is read.
    let mounts = mounts(service).unwrap_or_default();
    let mounts: Vec<Value> =
        mounts.iter().filter(|mount| is_content(mount)).map(|mount| json!([mount.place.value(), &mount.target])).collect();
    let Some(configs) = service.key("configs") else { return json!([mounts]) };
    json!([mounts, configs.value(), doc.root().key("configs").map(|all| all.value().clone())])
}

/// The name of the archive in the build context.
pub const ARCHIVE: &str = "layer.tar";

/// The earliest time of a file, in seconds since 1970.
const FIRST_TIME: u64 = 1_000_000_000;

/// Web servers make an entity tag of size and time. So the time follows from the content, and a changed file is one for browsers, too.
fn append<W: Write>(tar: &mut tar::Builder<W>, header: &mut tar::Header, path: &str, bytes: &[u8]) -> io::Result<()> {
    let digest = Sha256::digest(bytes);
    let spread = digest.iter().take(4).fold(0, |sum, byte| sum * 256 + u64::from(*byte));
    header.set_mtime(FIRST_TIME + spread % 500_000_000);
    header.set_size(bytes.len() as u64);
    tar.append_data(header, path, bytes)
}

impl Entry {
    fn of_root(content: Content, mode: u32) -> Self {
        Self { content, mode, uid: 0, gid: 0 }
    }
}

/// Returns the files that the secrets of the app name.
fn secret_files(doc: &Document) -> Vec<PathBuf> {
    let secrets = doc.root().key("secrets").and_then(|all| all.entries().ok()).unwrap_or_default();
    let file = |secret: &At<'_>| Path::new(secret.key("file")?.value().as_str()?).canonicalize().ok();
    secrets.iter().filter_map(|(_, secret)| file(secret)).collect()
}

fn is_content(mount: &Mount<'_>) -> bool {
    matches!(mount.source, MountSource::File(_) | MountSource::Folder(_))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Sink {
    hash: Sha256,
    size: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A folder of the project that is deleted after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::current_dir().unwrap().join(format!("target-layer-{test}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("src/node_modules")).unwrap();
            std::fs::write(path.join("nginx.conf"), "events {}\n").unwrap();
            std::fs::write(path.join("src/app.js"), "1").unwrap();
            std::fs::write(path.join("src/token"), "hunter2").unwrap();
            std::fs::write(path.join("src/.dockerignore"), "token\n").unwrap();
            std::fs::write(path.join("src/node_modules/a.js"), "2").unwrap();
            std::fs::set_permissions(path.join("src/app.js"), std::fs::Permissions::from_mode(0o750)).unwrap();
            std::os::unix::fs::symlink("app.js", path.join("src/link.js")).unwrap();
            Self(path)
        }

        fn bind(&self, below: &str, target: &str) -> String {
            format!("{}:{target}", self.0.join(below).display())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn layer(configs: &Value, service: &Value) -> Result<Option<Layer>, String> {
        let doc = json!({"name": "shop", "configs": configs, "services": {"web": service}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        Layer::read(&doc, &web).map_err(|error| error.to_string())
    }

    /// Whatever `.dockerignore` says, or does not say.
    #[test]
    fn the_file_of_a_secret_is_not_in_the_image() {
        let folder = Folder::new("secret");
        std::fs::remove_file(folder.0.join("src/.dockerignore")).unwrap();
        let doc = json!({"name": "shop", "secrets": {"token": {"file": folder.0.join("src/../src/token")}},
            "services": {"web": {"volumes": [folder.bind("src", "/app")]}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let all = listed(&Layer::read(&doc, &web).unwrap().unwrap());
        assert!(all.iter().any(|line| line.contains("app/app.js")), "{all:?}");
        assert!(!all.iter().any(|line| line.contains("token") || line.contains("hunter2")), "{all:?}");
    }

    /// A file of variables often has passwords, and the history of a repository may have had some.
    #[test]
    fn private_files_are_in_the_image_only_if_dockerignore_names_them() {
        let folder = Folder::new("private");
        std::fs::create_dir_all(folder.0.join("src/.git")).unwrap();
        for file in [".env", ".env.local", ".env.example", ".git/config", "node_modules/.env", ".envoy.yaml"] {
            std::fs::write(folder.0.join("src").join(file), "hunter2").unwrap();
        }
        let of = |ignore: &str| {
            std::fs::write(folder.0.join("src/.dockerignore"), ignore).unwrap();
            layer(&json!({}), &json!({"volumes": [folder.bind("src", "/app")]})).unwrap().unwrap()
        };
        let has = |layer: &Layer, file: &str| layer.entries.contains_key(&format!("app/{file}"));
        let plain = of("");
        assert_eq!(plain.left_out.iter().map(String::as_str).collect::<Vec<_>>(), [".env", ".env.local", ".git"]);
        assert!(has(&plain, "app.js") && has(&plain, ".env.example") && has(&plain, ".envoy.yaml"));
        assert!(![".env", ".env.local", ".git", ".git/config", "node_modules/.env"].iter().any(|file| has(&plain, file)));
        let included = of("*\n!node_modules\n!.env\n");
        assert!(has(&included, ".env") && has(&included, "node_modules/a.js"));
        assert!(!has(&included, "node_modules/.env") && !has(&included, ".env.local"));
    }

    #[test]
    fn a_file_of_variables_that_the_document_names_is_copied_with_a_warning() {
        let folder = Folder::new("env-file");
        std::fs::write(folder.0.join(".env"), "A=b").unwrap();
        let doc = json!({"name": "shop", "services": {"web": {"volumes": [folder.bind(".env", "/app/.env")]}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        assert_eq!(Layer::read(&doc, &web).unwrap().unwrap().targets, ["/app/.env"]);
        let warnings: Vec<_> = doc.warnings();
        assert!(warnings.iter().any(|(code, _)| *code == "env-file-copied"), "{warnings:?}");
    }

    /// The archive in words: path, mode, owner, and content or link.
    fn listed(layer: &Layer) -> Vec<String> {
        let mut bytes = Vec::new();
        layer.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut list = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            let link = header.link_name().unwrap().map(|to| format!("-> {}", to.display())).unwrap_or_default();
            let path = entry.path().unwrap().display().to_string();
            let header = entry.header();
            list.push(format!("{path} {:o} {}:{} {text}{link}", header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap()));
        }
        list
    }

    #[test]
    fn configs_have_their_mode_and_owner() {
        let configs = json!({"site": {"content": "a=$b\n"}, "path": {"environment": "PATH"}});
        let service =
            json!({"configs": ["site", {"source": "site", "target": "/etc/site.conf", "mode": "0440", "uid": "103", "gid": "7"}]});
        let layer = layer(&configs, &service).unwrap().unwrap();
        assert_eq!(listed(&layer), ["etc/site.conf 440 103:7 a=$b\n", "site 444 0:0 a=$b\n"]);
        assert_eq!(layer.targets, ["/etc/site.conf", "/site"]);
    }

    #[test]
    fn binds_keep_their_modes_and_follow_dockerignore() {
        let folder = Folder::new("binds");
        let service =
            json!({"volumes": [folder.bind("src", "/code"), folder.bind("nginx.conf", "/etc/nginx/nginx.conf:ro"), "/code/node_modules"]});
        let layer = layer(&json!({}), &service).unwrap().unwrap();
        let list: Vec<String> = listed(&layer).into_iter().filter(|line| !line.starts_with("code/ ")).collect();
        let expected = [
            "code/.dockerignore 644 0:0 token\n",
            "code/app.js 750 0:0 1",
            "code/link.js 777 0:0 -> app.js",
            "etc/nginx/nginx.conf 644 0:0 events {}\n",
        ];
        assert_eq!(list, expected, "an anonymous volume hides what the folder has at its place");
    }

    #[test]
    fn the_hash_follows_each_byte_mode_and_owner() {
        let folder = Folder::new("hash");
        let hash = |content: &str, more: Value| {
            let mut config = json!({"source": "site", "target": "/a"});
            json_merge(&mut config, more);
            let service = json!({"volumes": [folder.bind("nginx.conf", "/etc/nginx.conf")], "configs": [config]});
            layer(&json!({"site": {"content": content}}), &service).unwrap().unwrap().hash().to_owned()
        };
        let first = hash("1", json!({}));
        assert_eq!(first, hash("1", json!({})));
        for other in
            [hash("2", json!({})), hash("1", json!({"mode": "0400"})), hash("1", json!({"uid": 5})), hash("1", json!({"target": "/b"}))]
        {
            assert_ne!(first, other);
        }
        std::fs::write(folder.0.join("nginx.conf"), "events { }\n").unwrap();
        assert_ne!(first, hash("1", json!({})));
    }

    fn json_merge(to: &mut Value, more: Value) {
        let Value::Object(more) = more else { return };
        more.into_iter().for_each(|(key, value)| to[key] = value);
    }

    /// BuildKit needs the size before the content.
    #[test]
    fn the_size_is_that_of_the_archive() {
        let layer = layer(&json!({"site": {"content": "x".repeat(1000)}}), &json!({"configs": ["site"]})).unwrap().unwrap();
        let mut archive = Vec::new();
        layer.write(&mut archive).unwrap();
        assert_eq!(layer.size(), archive.len() as u64);
    }

    #[test]
    fn git_and_documents_are_not_in_the_image() {
        let folder = Folder::new("records");
        std::fs::create_dir_all(folder.0.join("src/.git")).unwrap();
        std::fs::write(folder.0.join("src/.git/HEAD"), "ref").unwrap();
        std::fs::write(folder.0.join("src/live.json"), r#"{"name": "shop", "aws": {"account": "1", "region": "a"}}"#).unwrap();
        let layer = layer(&json!({}), &json!({"volumes": [folder.bind("src", "/code")]})).unwrap().unwrap();
        let all = listed(&layer);
        assert!(all.iter().any(|line| line.contains("code/app.js")), "{all:?}");
        assert!(!all.iter().any(|line| line.contains(".git/") || line.contains("live.json")), "{all:?}");
    }

    #[test]
    fn what_is_missing_is_reported_with_its_place() {
        for (configs, service, said) in [
            (json!({"a": {"file": "./no-such-file"}}), json!({"configs": ["a"]}), "configs.a.file: could not read the file ./no-such-file"),
            (
                json!({"a": {"environment": "NO_SUCH_VARIABLE"}}),
                json!({"configs": ["a"]}),
                "configs.a.environment: the environment variable",
            ),
            (
                json!({"a": {"external": true}}),
                json!({"configs": ["a"]}),
                "configs.a: the config has none of file, content and environment",
            ),
            (json!({}), json!({"configs": ["a"]}), "services.web.configs[0]: there is no config \"a\""),
            (json!({}), json!({"volumes": ["./no/a.conf:/a.conf"]}), "services.web.volumes[0]: there is no file ./no/a.conf"),
        ] {
            let found = layer(&configs, &service).err().unwrap_or_default();
            assert!(found.contains(said), "{service}: {found}");
        }
        assert!(layer(&json!({}), &json!({"volumes": ["data:/data", "/anonymous"]})).unwrap().is_none());
    }
}
