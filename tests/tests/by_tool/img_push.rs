//! img-push: builds with secrets, and copies of images from other registries.
//!
//! Kills, faults and changes by hand are in `pipe::kills`, `pipe::faults` and
//! `pipe::drift::img_push`.

use std::process::Command;

use serde_json::json;
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
