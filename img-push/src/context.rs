//! The build context: the folder that is sent to the Docker Engine, without what `.dockerignore` excludes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shared::doc::At;
use shared::{Error, Result};

use crate::dockerfile::{Taken, takes};
use crate::dockerignore::Ignore;
use crate::file_sync::{Files, Sent};
use crate::record::record_of;
use crate::tree::{Found, Kind, Unreadable, walk};

#[derive(Debug, Default, Clone)]
pub struct Context {
    pub root: PathBuf,
    dockerfile: String,
    ignore: Ignore,
}

impl Context {
    /// Reads the Dockerfile and `.dockerignore` of a folder. `at` is the place in the document that messages name.
    ///
    /// # Errors
    /// Fails for a folder that is not local or does not exist, and for files that are not readable.
    pub fn read(at: &At<'_>, folder: &str, dockerfile: Option<&str>, inline: Option<&str>) -> Result<Self> {
        if folder.contains("://") || folder.starts_with("git@") {
            let what = format!("the build context must be a local folder; found {folder:?}. Download it, and set the path of the copy");
            return Err(at.wrong("build-context-remote", what));
        }
        let root = PathBuf::from(folder);
        if !root.is_dir() {
            let what = format!(
                "the build context must be an existing folder; found {folder:?}. Correct the path, or run img-push in the folder to which it is relative"
            );
            return Err(at.wrong("build-context-missing", what));
        }
        let path = root.join(dockerfile.unwrap_or("Dockerfile"));
        let text = match inline {
            Some(text) => text.to_owned(),
            None => std::fs::read_to_string(&path).map_err(|error| {
                let what = format!("could not read the Dockerfile {}: {error}. Create it, or correct `dockerfile`", path.display());
                at.wrong("dockerfile-unreadable", what)
            })?,
        };
        let ignore = ignore_file(&root, &path).map_err(|error| {
            let what = format!("could not read the .dockerignore of {}: {error}. Make it a readable text file", root.display());
            at.wrong("dockerignore-unreadable", what)
        })?;
        let ignore = Ignore::parse(&ignore).map_err(|error| {
            let what = format!("could not read the .dockerignore of {}: {error}. Correct this pattern", root.display());
            at.wrong("dockerignore-pattern", what)
        })?;
        Ok(Self { root, dockerfile: text, ignore })
    }

    /// Hashes everything that reaches the Docker Engine: the Dockerfile, and paths, modes and contents of the files, but not their times and
    /// owners. Records are left out, unless the Dockerfile names them. Returns those that the Dockerfile takes with their folders.
    ///
    /// # Errors
    /// Fails when a file is not readable.
    pub fn hash(&self, hash: &mut Sha256) -> Result<BTreeSet<String>> {
        let mut left_out = BTreeSet::new();
        hash.update(format!("{} {}", self.dockerfile.len(), self.dockerfile));
        for found in self.files().map_err(|error| self.unreadable(&error))? {
            match record_of(&found).map(|record| (record, takes(&self.dockerfile, record))) {
                Some((record, Taken::WithFolder)) => drop(left_out.insert(record.to_owned())),
                Some((_, Taken::No)) => {}
                None | Some((_, Taken::ByName)) => {
                    hash_one(&found, hash).map_err(|error| self.unreadable(&Unreadable { file: found.name.clone(), error }))?;
                }
            }
        }
        Ok(left_out)
    }

    /// Returns what BuildKit reads.
    ///
    /// # Errors
    /// Fails when a folder is not readable.
    pub fn to_send(&self) -> Result<Files> {
        let context = self.files().map_err(|error| self.unreadable(&error))?;
        Ok(Files { context: context.iter().map(Sent::of).collect(), dockerfile: self.dockerfile.clone() })
    }

    fn files(&self) -> Result<Vec<Found>, Unreadable> {
        walk(&self.root, &self.ignore, &|_| false)
    }

    fn unreadable(&self, found: &Unreadable) -> Error {
        Error::failed(
            "build-context-unreadable",
            format!(
                "{found} in the build context {}. Make this file readable, or exclude it in .dockerignore, and run the same command again",
                self.root.display()
            ),
        )
    }
}

/// Size of the pieces in which files are read, in bytes.
const PIECE: usize = 256 * 1024;

fn hash_one(found: &Found, hash: &mut Sha256) -> io::Result<()> {
    // Which of these bits a checkout of Git has is up to the umask.
    let mode = found.mode & !0o022;
    hash.update(format!("\n{} {} {mode:o} ", found.name.len(), found.name));
    match &found.kind {
        Kind::Folder => hash.update("folder"),
        Kind::Pipe => hash.update("pipe"),
        Kind::Link(to) => hash.update(format!("link {}", to.to_string_lossy())),
        Kind::File => {
            let (mut file, mut piece, mut size) = (File::open(&found.path)?, vec![0; PIECE], 0);
            loop {
                match file.read(&mut piece)? {
                    0 => break,
                    length => {
                        hash.update(&piece[..length]);
                        size += length;
                    }
                }
            }
            hash.update(format!("file {size}"));
        }
    }
    Ok(())
}

/// Reads `<Dockerfile>.dockerignore`, or else `.dockerignore`. Without either the text is empty.
/// <https://docs.docker.com/build/concepts/context/#filename-and-location>
fn ignore_file(root: &Path, dockerfile: &Path) -> io::Result<String> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), root.join(".dockerignore")] {
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Ok(String::new())
}
