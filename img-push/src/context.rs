//! The build context: the folder that goes to the Docker Engine, less what `.dockerignore` leaves out.

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

/// The Dockerfile's name in the context. Sent under a name of our own, it may be inline, lie outside the context, or be ignored.
pub const DOCKERFILE: &str = ".ecs-pipe.Dockerfile";

/// Size of the pieces that go to the Docker Engine; few are under way at a time, so that a large context needs little memory.
const PIECE: usize = 256 * 1024;

#[derive(Debug, Default, Clone)]
pub struct Context {
    pub root: PathBuf,
    dockerfile: String,
    ignore: Ignore,
}

impl Context {
    /// `at` is the place in the document that messages name.
    pub fn read(at: &At<'_>, folder: &str, dockerfile: Option<&str>, inline: Option<&str>) -> Result<Self> {
        if folder.contains("://") || folder.starts_with("git@") {
            return Err(at.wrong(format!("{folder} is not a folder: img-push builds from the local file system")));
        }
        let root = PathBuf::from(folder);
        if !root.is_dir() {
            return Err(at.wrong(format!("the build context {folder} is no folder")));
        }
        let path = root.join(dockerfile.unwrap_or("Dockerfile"));
        let text = match inline {
            Some(text) => text.to_owned(),
            None => std::fs::read_to_string(&path)
                .map_err(|error| at.wrong(format!("could not read the Dockerfile {}: {error}", path.display())))?,
        };
        let ignore = ignore_file(&root, &path).map_err(|error| at.wrong(format!("could not read .dockerignore: {error}")))?;
        let ignore = Ignore::parse(&ignore).map_err(|error| at.wrong(format!(".dockerignore: {error}")))?;
        Ok(Self { root, dockerfile: text, ignore })
    }

    /// Feeds everything that reaches the Docker Engine: paths, modes and contents, but not times and owners.
    pub fn hash(&self, hash: &mut Sha256) -> Result<()> {
        let mut tar = Archive::new(HashWriter(hash));
        tar.add_all(self)
            .and_then(|()| tar.finish())
            .map_err(|error| Error::Failed(format!("could not read the build context {}: {error}", self.root.display())))
    }

    /// The context as the Docker Engine takes it: a tar archive, made while it is sent.
    pub fn pieces(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut tar = Archive::new(io::BufWriter::with_capacity(PIECE, Pieces(sender.clone())));
            if let Err(error) = tar.add_all(&this).and_then(|()| tar.finish()) {
                // The receiver may have gone away, which is why this failed.
                let _ = sender.blocking_send(Err(error));
            }
        });
        stream::poll_fn(move |task| receiver.poll_recv(task))
    }

    /// Everything in the context, in an order that is always the same.
    fn entries(&self) -> impl Iterator<Item = io::Result<(String, DirEntry)>> {
        let walk = WalkDir::new(&self.root).min_depth(1).sort_by_file_name().into_iter();
        let keep = walk.filter_entry(|entry| !(entry.file_type().is_dir() && self.ignore.skips_all_below(&self.name(entry.path()))));
        keep.filter_map(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = self.name(entry.path());
            (!self.ignore.ignores(&name)).then_some(Ok((name, entry)))
        })
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// `<Dockerfile>.dockerignore` goes before `.dockerignore`.
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
        // Where holes are is the file system's business and not the content's.
        tar.sparse(false);
        Self(tar)
    }

    fn add_all(&mut self, context: &Context) -> io::Result<()> {
        for entry in context.entries() {
            let (name, entry) = entry?;
            self.0.append_path_with_name(entry.path(), name)?;
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
