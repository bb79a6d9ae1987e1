//! The files below a folder, as Docker sends them: without what `.dockerignore` excludes, in an order that is always the same.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::dockerignore::{Ignore, Matches};

/// A file, a folder or a link.
#[derive(Debug, Clone)]
pub struct Found {
    /// Relative to the folder.
    pub name: String,
    pub path: PathBuf,
    pub kind: Kind,
    /// Permissions, and the bits for set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// In bytes.
    pub size: u64,
    /// In nanoseconds since 1970.
    pub modified: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link(PathBuf),
    Pipe,
}

/// An error with the file in which it occurred.
#[derive(Debug)]
pub struct Unreadable {
    pub file: String,
    pub error: io::Error,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not read {}: {}", self.file, self.error)
    }
}

/// Returns what is below a folder. A folder comes before what is in it. Sockets and devices are left out, and so is everything at and below a
/// path that `is_hidden` names.
///
/// # Errors
/// Names the file or folder that is not readable. An excluded folder may be unreadable.
pub fn walk(root: &Path, ignore: &Ignore, is_hidden: &dyn Fn(&str) -> bool) -> Result<Vec<Found>, Unreadable> {
    let mut found = Vec::new();
    Walk { ignore, is_hidden }.folder(root, "", &Matches::default(), &mut found)?;
    Ok(found)
}

struct Walk<'a> {
    ignore: &'a Ignore,
    is_hidden: &'a dyn Fn(&str) -> bool,
}

impl Walk<'_> {
    fn folder(&self, folder: &Path, name: &str, above: &Matches, found: &mut Vec<Found>) -> Result<(), Unreadable> {
        let unreadable = |error| Unreadable { file: if name.is_empty() { ".".to_owned() } else { name.to_owned() }, error };
        let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = if name.is_empty() { file } else { format!("{name}/{file}") };
            let (ignored, matches) = self.ignore.check(&name, above);
            if (self.is_hidden)(&name) {
                continue;
            }
            let unreadable = |error| Unreadable { file: name.clone(), error };
            let is_folder = entry.file_type().map_err(unreadable)?.is_dir();
            if ignored && (!is_folder || self.ignore.skips_all_below(&name)) {
                continue;
            }
            let Some(one) = read(&entry.path(), &name).map_err(unreadable)? else { continue };
            found.push(one);
            if is_folder {
                let before = found.len();
                match self.folder(&entry.path(), &name, &matches, found) {
                    Err(Unreadable { error, .. }) if ignored && error.kind() == io::ErrorKind::PermissionDenied => {}
                    other => other?,
                }
                // An excluded folder is there only for what is in it.
                if ignored && found.len() == before {
                    found.pop();
                }
            }
        }
        Ok(())
    }
}

fn read(path: &Path, name: &str) -> io::Result<Option<Found>> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_file() => Kind::File,
        kind if kind.is_symlink() => Kind::Link(fs::read_link(path)?),
        kind if kind.is_fifo() => Kind::Pipe,
        _ => return Ok(None),
    };
    Ok(Some(Found {
        name: name.to_owned(),
        path: path.to_owned(),
        kind,
        mode: metadata.mode() & 0o7777,
        size: metadata.len(),
        modified: modified(&metadata),
    }))
}

fn modified(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    /// A folder that is deleted after the test.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn folder(test: &str, files: &[&str]) -> Folder {
        let root = std::env::temp_dir().join(format!("img-push-tree-{test}-{}", std::process::id()));
        for file in files {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), file).unwrap();
        }
        Folder(root)
    }

    fn names(folder: &Folder, text: &str) -> Vec<String> {
        let found = walk(&folder.0, &Ignore::parse(text).unwrap(), &|_| false).unwrap();
        found.into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn a_folder_comes_before_what_is_in_it_and_an_empty_one_only_when_it_is_not_excluded() {
        let folder = folder("order", &["a/b", "a-b", "a.b", "src/x/keep", "src/y/other"]);
        fs::create_dir(folder.0.join("empty")).unwrap();
        assert_eq!(names(&folder, "src\n!src/x/keep"), ["a", "a/b", "a-b", "a.b", "empty", "src", "src/x", "src/x/keep"]);
        assert_eq!(names(&folder, "*\n!**/keep"), ["src", "src/x", "src/x/keep"]);
        assert_eq!(names(&folder, "**/b\n"), ["a", "a-b", "a.b", "empty", "src", "src/x", "src/x/keep", "src/y", "src/y/other"]);
    }

    #[test]
    fn sockets_are_left_out_and_links_are_not_followed() {
        let folder = folder("socket", &["run/app.pid"]);
        let _socket = UnixListener::bind(folder.0.join("run/app.sock")).unwrap();
        std::os::unix::fs::symlink("run", folder.0.join("to")).unwrap();
        assert_eq!(names(&folder, ""), ["run", "run/app.pid", "to"]);
        let found = walk(&folder.0, &Ignore::default(), &|_| false).unwrap();
        assert_eq!(found[2].kind, Kind::Link(PathBuf::from("run")));
    }

    /// Root reads every folder, so another user runs the part that must not.
    #[test]
    fn an_excluded_folder_may_be_unreadable() {
        let test = "tree::tests::an_excluded_folder_may_be_unreadable";
        let given = std::env::var_os("IMG_PUSH_TREE").map(PathBuf::from);
        if let Some(root) = given {
            let walked = |text: &str| walk(&root, &Ignore::parse(text).unwrap(), &|_| false);
            for text in ["secret", "secret\n!other", "secret\n!**/keep"] {
                assert_eq!(walked(text).unwrap().len(), 1, "{text:?}");
            }
            assert_eq!(walked("").unwrap_err().file, "secret");
            return;
        }
        let folder = folder("unreadable", &["secret/file", "app"]);
        fs::set_permissions(folder.0.join("secret"), fs::Permissions::from_mode(0o0)).unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        if fs::read_dir(folder.0.join("secret")).is_ok() {
            use std::os::unix::process::CommandExt;
            // The user nobody may not enter the folder of the build, but the program is open already.
            again = Command::new("/proc/self/exe");
            again.uid(65534).gid(65534);
        }
        let done = again.args(["--exact", test]).env("IMG_PUSH_TREE", &folder.0).output().unwrap();
        fs::set_permissions(folder.0.join("secret"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
}
