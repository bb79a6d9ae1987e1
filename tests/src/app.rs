//! The applications that the tests deploy, and their responses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::tool::{finish, root};

/// Returns what the real `docker compose config` prints for the example, under another name: tests
/// that run at the same time must not share an app.
///
/// # Panics
/// If Docker Compose, which `scripts/local-aws` installs, can't be run.
#[must_use]
pub fn shop(app: &str) -> String {
    config(Command::new(docker_compose()).args(["--project-name", app, "config"]).current_dir(root().join("examples/shop")), "")
}

/// Returns an app with one service, from an image that needs no build.
#[must_use]
pub fn one(app: &str, launch_type: &str) -> Value {
    json!({"name": app, "x-net": {"nat": "single"}, "x-cluster": {"launch_type": launch_type}, "services": {"web": serving(8080, app)}})
}

/// Returns a service that responds with `hello from <who>` on this port, at every path.
#[must_use]
pub fn serving(port: u16, who: &str) -> Value {
    // Without a dollar sign, which a Compose model writes in another way than a document that a tool has written.
    let hello = "env | sed -n 's/^WHO=/hello from /p'";
    let script = format!("mkdir -p /w/api; {hello} | tee /w/index.html > /w/api/index.html; exec httpd -f -p {port} -h /w");
    json!({"image": "busybox", "command": ["sh", "-c", script], "environment": {"WHO": who}, "ports": [port.to_string()]})
}

/// Returns what the real Docker Compose prints for a file: `docker compose config` with these
/// arguments.
///
/// # Panics
/// If Docker Compose, which `scripts/local-aws` installs, can't be run, or refuses the file.
#[must_use]
pub fn compose(file: &str, args: &[&str]) -> String {
    config(Command::new(docker_compose()).args(["--file", "-", "config"]).args(args), file)
}

/// The same with an enabled profile.
///
/// # Panics
/// As [`compose`].
#[must_use]
pub fn compose_with_profile(file: &str, profile: &str, args: &[&str]) -> String {
    config(Command::new(docker_compose()).args(["--profile", profile, "--file", "-", "config"]).args(args), file)
}

fn docker_compose() -> PathBuf {
    // The command may run in another folder.
    root().canonicalize().unwrap_or_default().join(".local/venv/bin/docker-compose")
}

fn config(command: &mut Command, file: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| unreachable!("could not run Docker Compose: {error}. Run scripts/local-aws start"));
    finish(child, file).ok().stdout
}

/// Returns the response of a load balancer, which the local AWS serves itself.
///
/// # Panics
/// If the local AWS does not respond.
#[must_use]
pub fn fetch(balancer: &str, path: &str) -> String {
    get(&format!("/_alb/{balancer}{path}"), None)
}

/// Returns the response of a load balancer on one of its ports.
///
/// # Panics
/// As [`fetch`].
#[must_use]
pub fn fetch_at(balancer: &str, port: u16, path: &str) -> String {
    get(path, Some(&format!("{balancer}.alb.localhost:{port}")))
}

/// Returns the response of a load balancer to a request for this host.
///
/// # Panics
/// As [`fetch`].
#[must_use]
pub fn fetch_as(balancer: &str, host: &str, path: &str) -> String {
    get(&format!("/_alb/{balancer}{path}"), Some(host))
}

fn get(path: &str, host: Option<&str>) -> String {
    let address = std::env::var("AWS_ENDPOINT_URL").unwrap_or_else(|error| unreachable!("{error}")).replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap_or_else(|error| unreachable!("{error}"));
    let mut answer = String::new();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", host.unwrap_or(&address))
        .and_then(|()| stream.read_to_string(&mut answer))
        .unwrap_or_else(|error| unreachable!("{error}"));
    answer
}
