//! Sends the build context and the Dockerfile to BuildKit, which asks for each by its name and then for the content of the files that it lacks.
//! <https://github.com/tonistiigi/fsutil>

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bollard::fsutil::types::packet::PacketType;
use bollard::fsutil::types::{Packet, Stat};
use bollard::moby::filesync::v1::file_sync_server::FileSync;
use futures_util::{Stream, StreamExt, stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::layer::{ARCHIVE, Layer};
use crate::pieces::written;
use crate::tree::{Found, Kind};

/// The name of the folder in which the Dockerfile is for BuildKit, and of the Dockerfile in it. It is not in the context, so the Dockerfile may be inline, outside of
/// the context or excluded, and `COPY . /` does not copy what is not in the folder.
const DOCKERFILE_FOLDER: &str = "dockerfile";
pub const DOCKERFILE: &str = "Dockerfile";

/// The name of the context for BuildKit.
const CONTEXT: &str = "context";

/// Size of a piece of a file in bytes, as in BuildKit's own client.
const PIECE: usize = 32 * 1024;

/// How many packets are in memory at a time.
const PACKETS: usize = 64;

/// What BuildKit may read.
pub struct Files {
    pub context: Vec<Sent>,
    pub dockerfile: String,
}

/// Serves the files of one build.
pub struct FileServer(pub Arc<Files>);

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;
type Sender = mpsc::Sender<Result<Packet, Status>>;

/// One file as BuildKit knows it: what it says of itself, and where its content is.
#[derive(Clone)]
pub struct Sent {
    stat: Stat,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Text(Arc<[u8]>),
    File(PathBuf),
    Layer(Layer),
}

#[tonic::async_trait]
impl FileSync for FileServer {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let metadata = request.metadata();
        let folder = metadata.get("dir-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
        let sent = match folder {
            DOCKERFILE_FOLDER => vec![self.0.dockerfile()],
            // BuildKit asks for `.dockerignore` alone, but what it excludes is left out already.
            CONTEXT if metadata.contains_key("include-patterns") => Vec::new(),
            CONTEXT => self.0.context.clone(),
            other => return Err(Status::not_found(format!("there is no folder {other:?} to read"))),
        };
        let (sender, mut receiver) = mpsc::channel(PACKETS);
        let contents: Vec<Content> = sent.iter().map(|one| one.content.clone()).collect();
        tokio::spawn(list(sent, sender.clone()));
        tokio::spawn(answer(contents, request.into_inner(), sender));
        Ok(Response::new(Box::pin(stream::poll_fn(move |task| receiver.poll_recv(task)))))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("files are sent one by one"))
    }
}

impl Files {
    fn dockerfile(&self) -> Sent {
        let stat = Stat { path: DOCKERFILE.to_owned(), mode: 0o644, size: self.dockerfile.len().cast_signed() as i64, ..Stat::default() };
        Sent { stat, content: Content::Text(self.dockerfile.as_bytes().into()) }
    }
}

impl Sent {
    /// As Docker, sends the modification time, and no owner.
    pub fn of(found: &Found) -> Self {
        let link = match &found.kind {
            Kind::Link(to) => to.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let size = if found.kind == Kind::File { found.size } else { 0 };
        let stat = Stat {
            path: found.name.clone(),
            mode: mode(found),
            size: size.cast_signed(),
            mod_time: found.modified,
            linkname: link,
            ..Stat::default()
        };
        Self { stat, content: Content::File(found.path.clone()) }
    }

    /// Sends a layer as one archive.
    pub fn of_layer(layer: &Layer) -> Self {
        let stat = Stat { path: ARCHIVE.to_owned(), mode: 0o644, size: layer.size().cast_signed(), ..Stat::default() };
        Self { stat, content: Content::Layer(layer.clone()) }
    }
}

/// Returns the mode as Go writes it, with the kind in the high bits. <https://pkg.go.dev/io/fs#FileMode>
fn mode(found: &Found) -> u32 {
    let kind = match found.kind {
        Kind::File => 0,
        Kind::Folder => 1 << 31,
        Kind::Link(_) => 1 << 27,
        Kind::Pipe => 1 << 25,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    special.iter().filter(|(bit, _)| found.mode & bit != 0).fold(kind | found.mode & 0o777, |mode, (_, bit)| mode | bit)
}

fn packet(kind: PacketType, id: u32, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), id, data, stat: None }
}

/// Lists all files. The list ends with an entry without a file.
async fn list(sent: Vec<Sent>, sender: Sender) {
    let entries = sent.into_iter().map(|one| Some(one.stat)).chain([None]);
    for stat in entries {
        let entry = Packet { stat, ..packet(PacketType::PacketStat, 0, Vec::new()) };
        if sender.send(Ok(entry)).await.is_err() {
            return;
        }
    }
}

/// Sends the content of each file that BuildKit asks for by its place in the list, until it has all of them.
async fn answer(contents: Vec<Content>, mut asked: Streaming<Packet>, sender: Sender) {
    while let Ok(Some(one)) = asked.message().await {
        let done = match one.r#type() {
            PacketType::PacketReq => match contents.get(one.id as usize) {
                Some(content) => send(content, one.id, &sender).await,
                None => Err(Status::invalid_argument(format!("there is no file {}", one.id))),
            },
            PacketType::PacketFin => {
                let _ = sender.send(Ok(packet(PacketType::PacketFin, 0, Vec::new()))).await;
                return;
            }
            PacketType::PacketErr => return,
            _ => Ok(()),
        };
        if let Err(error) = done {
            let _ = sender.send(Err(error)).await;
            return;
        }
    }
}

/// Sends one file in pieces. An empty piece ends it.
async fn send(content: &Content, id: u32, sender: &Sender) -> Result<(), Status> {
    let piece = async |data: &[u8]| {
        let sent = sender.send(Ok(packet(PacketType::PacketData, id, data.to_vec()))).await;
        sent.map_err(|_| Status::cancelled("BuildKit has ended the build"))
    };
    match content {
        Content::Text(text) => {
            for part in text.chunks(PIECE) {
                piece(part).await?;
            }
        }
        Content::Layer(layer) => {
            let layer = layer.clone();
            let mut archive = std::pin::pin!(written(move |out| layer.write(out)));
            while let Some(part) = archive.next().await {
                piece(&part.map_err(|error| Status::unknown(format!("could not read the mounted file {error}")))?).await?;
            }
        }
        Content::File(path) => {
            let unreadable = |error: io::Error| unreadable(path, &error);
            let mut file = File::open(path).await.map_err(unreadable)?;
            let mut buffer = vec![0; PIECE];
            loop {
                match file.read(&mut buffer).await.map_err(unreadable)? {
                    0 => break,
                    length => piece(&buffer[..length]).await?,
                }
            }
        }
    }
    piece(&[]).await
}

fn unreadable(path: &Path, error: &io::Error) -> Status {
    Status::unknown(format!("could not read {}: {error}", path.display()))
}
