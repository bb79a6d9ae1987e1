//! Docker Engines that differ from the usual one.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::{fs, thread};

use serde_json::json;
use tests::tool::{command, finish, spawn};
use tests::{Relay, run};

use super::in_image;

/// A socket in front of the Docker Engine that answers pushes itself, as an engine does that loses
/// the tag: without an error, and without an image in the registry.
struct Forgetful {
    socket: PathBuf,
    pushes: Receiver<String>,
}

impl Forgetful {
    fn new() -> Self {
        let socket = std::env::temp_dir().join(format!("ecs-pipe-engine-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, pushes) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, |push| drop(sender.send(push))));
            }
        });
        Self { socket, pushes }
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

/// Serves one connection. The client opens one for each request.
fn serve(mut stream: UnixStream, pushed: impl Fn(String)) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    if request.starts_with("POST ") && request.contains("/push?") {
        pushed(request);
        let said = r#"{"status": "latest: digest: sha256:0000 size: 1"}"#;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
        return stream.write_all(format!("{head}{}\r\n\r\n{said}", said.len()).as_bytes());
    }
    let mut engine = UnixStream::connect("/var/run/docker.sock")?;
    engine.write_all(request.as_bytes())?;
    engine.write_all(reader.buffer())?;
    let (mut client, mut to_engine) = (stream.try_clone()?, engine.try_clone()?);
    thread::spawn(move || io::copy(&mut client, &mut to_engine));
    let mut piece = [0; 8 * 1024];
    loop {
        match engine.read(&mut piece)? {
            0 => return stream.shutdown(std::net::Shutdown::Both),
            length => stream.write_all(&piece[..length])?,
        }
    }
}

/// The message of the engine does not count: ECR must have the tag.
#[test]
fn a_push_without_its_tag_is_an_error() {
    let (relay, app, engine) = (Relay::new(), "forgotten", Forgetful::new());
    let doc =
        json!({"name": app, "services": {"web": {"build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}}}}).to_string();
    let mut tool = command("img-push", &["--timeout", "3s"]);
    tool.env("DOCKER_HOST", format!("unix://{}", engine.socket.display()));
    let done = finish(spawn(&mut tool, &relay.endpoint), &doc);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{}", done.stderr);
    assert!(done.stderr.contains("error[push-without-tag]: could not find the image forgotten/web:"), "{}", done.stderr);
    let push = engine.pushes.try_recv().unwrap();
    assert!(push.contains("&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D"), "{push}");
    let _ = run(&relay.endpoint, "img-push", &["--down", "--app", app], "").ok();
}

/// Docker keeps the address of an engine in a context. One that needs SSH or TLS is named.
#[test]
fn the_context_of_docker_is_followed_or_named() {
    let relay = Relay::new();
    let folder = std::env::temp_dir().join(format!("ecs-pipe-contexts-{}", std::process::id()));
    // SHA-256 of `remote`.
    let meta = folder.join("contexts/meta/b71199ebd070b36beab7317920c2c2f1d777df8d05e5527d8458fda57cb17a7a");
    fs::create_dir_all(&meta).unwrap();
    fs::write(folder.join("config.json"), r#"{"currentContext": "remote"}"#).unwrap();
    let doc = json!({"name": "elsewhere", "services": {"web": {"build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}}}});
    let with = |host: &str| {
        fs::write(meta.join("meta.json"), json!({"Name": "remote", "Endpoints": {"docker": {"Host": host}}}).to_string()).unwrap();
        let mut tool = command("img-push", &[]);
        tool.env("DOCKER_CONFIG", &folder).env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
        finish(spawn(&mut tool, &relay.endpoint), &doc.to_string())
    };
    for (host, code) in [("ssh://build", "docker-host-unsupported"), ("unix:///nowhere.sock", "no-docker-engine")] {
        let done = with(host);
        assert_eq!(done.code, 69, "{}", done.stderr);
        let said = format!("error[{code}]: could not ");
        assert!(done.stderr.contains(&said) && done.stderr.contains(&format!("{host} (the Docker context \"remote\")")), "{}", done.stderr);
    }
    let done = with("unix:///var/run/docker.sock").ok();
    let _ = run(&relay.endpoint, "img-push", &["--down"], &done.stdout).ok();
    let _ = fs::remove_dir_all(&folder);
}

/// The image store of containerd, in the Docker Engine that `scripts/containerd-engine` starts. It
/// takes no build context as an archive, and has images for several platforms.
#[test]
fn images_of_the_containerd_store_are_built_copied_and_pushed() {
    let Ok(host) = std::env::var("ECS_PIPE_CONTAINERD_ENGINE") else { return };
    let (relay, app) = (Relay::new(), "containerd");
    let doc = json!({"name": app, "configs": {"site": {"content": "here\n"}}, "services": {
        "web": {"build": {"context": "./worker", "dockerfile_inline": "FROM busybox\nCOPY beat /beat\n"}},
        "site": {"image": "busybox", "configs": ["site"]}, "copy": {"image": "busybox"}}});
    let push = || {
        let mut tool = command("img-push", &["--mirror"]);
        finish(spawn(tool.env("DOCKER_HOST", &host), &relay.endpoint), &doc.to_string()).ok()
    };
    let first = push();
    for (service, file) in [("web", "/beat"), ("site", "/site"), ("copy", "/bin/sh")] {
        let uri = first.doc()["img"][service]["uri"].as_str().unwrap().to_owned();
        assert_eq!(in_image(&uri, &["ls", file]), format!("{file}\n"));
    }
    let _ = relay.calls();
    assert_eq!((push().doc(), relay.mutations()), (first.doc(), Vec::new()));
    let _ = run(&relay.endpoint, "img-push", &["--down"], &first.stdout).ok();
}
