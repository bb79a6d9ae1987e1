//! img-push: builds with secrets, copies of images from other registries, and digests.
//!
//! Kills, faults and changes by hand are in `pipe::kills`, `pipe::faults` and
//! `pipe::drift::img_push`.

mod context;
mod engine;
mod orphans;
mod registries;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::{Relay, account, run};

/// Returns what a command in the image prints.
fn in_image(uri: &str, command: &[&str]) -> String {
    // Docker pulls from the host to which img-push pushes, which is the local AWS.
    let local = uri.replacen(uri.split('/').next().unwrap(), &std::env::var("ECS_PIPE_REGISTRY").unwrap(), 1);
    let done = Command::new("docker").args(["run", "--rm", &local]).args(command).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A step of the build reads the secret. The image, the document and the messages do not contain
/// it.
#[test]
fn a_build_uses_a_secret_and_the_image_does_not_contain_it() {
    let (relay, app) = (Relay::new(), "secretive");
    let secret = std::env::temp_dir().join(format!("ecs-pipe-secret-{}", std::process::id()));
    std::fs::write(&secret, "hunter2\n").unwrap();
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=token test $(wc -c < /run/secrets/token) = 8 && echo seen > /seen\n";
    let doc = json!({"name": app, "secrets": {"token": {"file": secret}},
        "services": {"web": {"build": {"context": "./worker", "dockerfile_inline": dockerfile, "secrets": [{"source": "token"}]}}}});
    let done = run(&relay.endpoint, "img-push", &["-vv"], &doc.to_string()).ok();
    assert!(!done.stdout.contains("hunter2") && !done.stderr.contains("hunter2"));
    let uri = done.doc()["img"]["web"]["uri"].as_str().unwrap().to_owned();
    assert_eq!(in_image(&uri, &["sh", "-c", "cat /seen; ls /run/secrets 2>/dev/null; true"]), "seen\n");

    let mut changed = doc.clone();
    changed["services"]["web"]["build"]["dockerfile_inline"] = json!(dockerfile.replace("= 8", "= 9"));
    let failed = run(&relay.endpoint, "img-push", &[], &changed.to_string());
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(failed.stderr.contains("could not build the image of services.web"), "{}", failed.stderr);
    std::fs::remove_file(&secret).unwrap();
    let _ = run(&relay.endpoint, "img-push", &["--down"], &done.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A new volume of EFS is empty, unlike one of Docker. Only img-push sees what the image has there.
#[test]
fn files_of_an_image_below_a_volume_are_found() {
    let (relay, app) = (Relay::new(), "seeding");
    // `/declared` is a volume of the image, `/link` leads elsewhere, and `/empty` has no files.
    let dockerfile = "FROM busybox\nRUN mkdir -p /static/css /declared /empty/sub && echo 1 > /static/css/a && echo 1 > /declared/a && ln -s /static /link\nVOLUME /declared\n";
    let volumes = ["static:/static", "declared:/declared", "link:/link", "empty:/empty", "new:/no-such", "/static/css"];
    let doc = json!({"name": app, "services": {
        "web": {"build": {"context": "./worker", "dockerfile_inline": dockerfile}, "volumes": volumes},
        "plain": {"image": "busybox", "volumes": ["bin:/bin", "home:/home"]}}});
    let plan = run(&relay.endpoint, "img-push", &["--plan"], &doc.to_string());
    assert_eq!((plan.code, &plan.doc()["img"]["plain"]["seeded"]), (3, &json!(null)), "a plan creates no container");
    let up = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok();
    assert_eq!(up.doc()["img"]["web"]["seeded"], json!(["/static", "/declared", "/link"]));
    assert_eq!(up.doc()["img"]["plain"]["seeded"], json!(["/bin"]));
    let image = format!("ancestor={app}/web:{}", up.doc()["img"]["web"]["tag"].as_str().unwrap());
    let containers = Command::new("docker").args(["ps", "-aq", "--filter", &image]).output().unwrap();
    assert!(containers.status.success() && containers.stdout.is_empty(), "the containers are deleted");
    let _ = relay.calls();
    let again = run(&relay.endpoint, "img-push", &[], &up.stdout).ok();
    assert_eq!((relay.mutations(), again.doc()), (Vec::new(), up.doc()));
    let _ = run(&relay.endpoint, "img-push", &["--down"], &up.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// `--mirror` copies an image from another registry into ECR, once.
#[test]
fn an_image_of_another_registry_is_mirrored() {
    let (relay, app) = (Relay::new(), "mirrored");
    let doc = json!({"name": app, "services": {"web": {"image": "busybox"}}}).to_string();
    let plain = run(&relay.endpoint, "img-push", &[], &doc).ok();
    let entry = plain.doc()["img"]["web"].clone();
    assert_eq!((&entry["uri"], &entry["tag"]), (&json!("busybox"), &json!("latest")), "without --mirror, images are used as they are");
    assert_eq!((&entry["repository_arn"], &entry["architecture"]), (&json!(null), &json!("amd64")), "{entry}");
    let _ = relay.calls();
    let first = run(&relay.endpoint, "img-push", &["--mirror"], &doc).ok();
    let uri = first.doc()["img"]["web"]["uri"].as_str().unwrap().to_owned();
    assert!(uri.contains("/mirrored/web@sha256:"), "{uri}");
    assert_eq!(in_image(&uri, &["echo", "here"]), "here\n");
    let _ = relay.calls();
    let second = run(&relay.endpoint, "img-push", &["--mirror"], &doc).ok();
    assert_eq!((relay.mutations(), second.doc()), (Vec::new(), first.doc()));
    let _ = run(&relay.endpoint, "img-push", &["--down"], &first.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A registry that knows each image under one digest, which can change. Without one it fails.
fn registry(digest: Arc<Mutex<String>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                request.push(byte[0]);
            }
            let digest = digest.lock().unwrap().clone();
            let status = if digest.is_empty() { "503 Service Unavailable" } else { "200 OK" };
            let _ =
                write!(stream, "HTTP/1.1 {status}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

/// The digest of a job's image is that of its registry in each run, and that of the document when the registry does not answer.
#[test]
fn the_image_of_a_job_has_the_digest_of_its_registry() {
    let relay = Relay::new();
    let digests = [1, 2].map(|n| format!("sha256:{n:064}"));
    let now = Arc::new(Mutex::new(digests[0].clone()));
    let image = format!("127.0.0.1:{}/migrate:latest", registry(Arc::clone(&now)));
    let doc = json!({"name": "digest", "services": {"migrate": {"image": image, "x-svc": {"job": true}}}}).to_string();
    let digest = |doc: &Value| doc["img"]["migrate"]["digest"].as_str().map(str::to_owned);
    let first = run(&relay.endpoint, "img-push", &[], &doc).ok();
    assert_eq!(digest(&first.doc()).as_ref(), Some(&digests[0]), "{}", first.stderr);
    now.lock().unwrap().clone_from(&digests[1]);
    let second = run(&relay.endpoint, "img-push", &[], &first.stdout).ok();
    assert_eq!(digest(&second.doc()).as_ref(), Some(&digests[1]), "{}", second.stderr);
    now.lock().unwrap().clear();
    let third = run(&relay.endpoint, "img-push", &[], &second.stdout).ok();
    assert_eq!(third.doc(), second.doc(), "{}", third.stderr);
}
