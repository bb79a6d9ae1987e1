//! The build context: the folder that is sent to the Docker Engine, without what `.dockerignore` excludes.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest, Sha256};
use shared::doc::At;
use shared::{Error, Result};
use tokio::sync::mpsc;
use walkdir::{DirEntry, WalkDir};

use crate::dockerignore::Ignore;

/// The name under which the Dockerfile is sent. No file of the context has this name, so the Dockerfile may be inline, outside the context
/// or excluded.
pub const DOCKERFILE: &str = ".ecs-pipe.Dockerfile";

/// Size of the pieces in bytes. Few of them are in memory at a time, so that a large context needs little of it.
const PIECE: usize = 256 * 1024;

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

    /// Hashes everything that reaches the Docker Engine: paths, modes and contents, but not times and owners.
    ///
    /// # Errors
    /// Fails when a file is not readable.
    pub fn hash(&self, hash: &mut Sha256) -> Result<()> {
        let mut tar = Archive::new(HashWriter(hash));
        tar.add_all(self).and_then(|()| tar.finish()).map_err(|error| self.unreadable(&error))
    }

    /// Returns the error about a file that is not readable.
    pub fn unreadable(&self, error: &io::Error) -> Error {
        let known = error.get_ref().and_then(|inner| inner.downcast_ref::<InFile>());
        let (file, error) = known.map_or(("a file", error), |InFile { file, error }| (file, error));
        Error::failed(
            "build-context-unreadable",
            format!(
                "could not read {file} in the build context {}: {error}. Make this file readable, or exclude it in .dockerignore, and run the same command again",
                self.root.display()
            ),
        )
    }

    /// Returns the context as the Docker Engine takes it: a tar archive, which is made while it is sent.
    pub fn pieces(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let this = self.clone();
        written(move |out| {
            let mut tar = Archive::new(out);
            tar.add_all(&this).and_then(|()| tar.finish())
        })
    }

    /// Returns everything in the context, in an order that is always the same.
    fn entries(&self) -> impl Iterator<Item = io::Result<(String, DirEntry)>> {
        let walk = WalkDir::new(&self.root).min_depth(1).sort_by_file_name().into_iter();
        let keep = walk.filter_entry(|entry| !(entry.file_type().is_dir() && self.ignore.skips_all_below(&self.name(entry.path()))));
        keep.filter_map(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let file = self.name(error.path().unwrap_or(&self.root));
                    let error = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                    return Some(Err(in_file(file, error)));
                }
            };
            let name = self.name(entry.path());
            (!self.ignore.ignores(&name)).then_some(Ok((name, entry)))
        })
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// Returns what `write` writes, while it is written.
pub fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // A build that ends early drops the receiver. That also ends the archive with an error, which nobody needs.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::poll_fn(move |task| receiver.poll_recv(task))
}

/// An error with the file of the context in which it occurred.
#[derive(Debug)]
struct InFile {
    file: String,
    error: io::Error,
}

impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not read {}: {}", self.file, self.error)
    }
}

impl std::error::Error for InFile {}

fn in_file(file: String, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), InFile { file, error })
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

/// A tar archive that is the same for the same files.
struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        let mut tar = tar::Builder::new(out);
        tar.mode(tar::HeaderMode::Deterministic);
        tar.follow_symlinks(false);
        // Where a file has holes depends on the file system, not on the content.
        tar.sparse(false);
        Self(tar)
    }

    fn add_all(&mut self, context: &Context) -> io::Result<()> {
        for entry in context.entries() {
            let (name, entry) = entry?;
            self.0.append_path_with_name(entry.path(), &name).map_err(|error| in_file(name, error))?;
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(context.dockerfile.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, DOCKERFILE, context.dockerfile.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()?;
        self.0.get_mut().flush()
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use sha2::{Digest, Sha256};

    use super::{Context, Ignore};

    #[test]
    fn an_unreadable_file_is_named() {
        let root = std::env::temp_dir().join(format!("img-push-unreadable-{}", std::process::id()));
        std::fs::create_dir_all(root.join("run")).unwrap();
        // A socket is not readable for anybody, not even for root.
        let _socket = UnixListener::bind(root.join("run/app.sock")).unwrap();
        let context = Context { root: root.clone(), dockerfile: String::new(), ignore: Ignore::default() };
        let said = context.hash(&mut Sha256::new()).unwrap_err().to_string();
        std::fs::remove_dir_all(&root).unwrap();
        assert!(said.starts_with(&format!("could not read run/app.sock in the build context {}: ", root.display())), "{said}");
        assert!(said.contains("Make this file readable, or exclude it in .dockerignore"), "{said}");
    }
}
