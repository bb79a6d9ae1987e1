//! Registries that want a password, and the registries of ECR.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::tool::{command, finish, spawn};
use tests::{Clients, Output, Registry, Relay, account, run};

/// `u:p~>?~>?~>?` in base64. With these characters, the two alphabets of base64 differ.
const LOGIN: &str = "dTpwfj4/fj4/fj4/";

/// A configuration of Docker that is deleted after the test.
struct Config(PathBuf);

impl Config {
    fn new(name: &str, config: &Value) -> Self {
        let folder = std::env::temp_dir().join(format!("ecs-pipe-docker-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        Self(folder)
    }

    /// Runs img-push with this configuration. Programs in its folder are found.
    fn run(&self, relay: &Relay, args: &[&str], doc: &Value) -> Output {
        let path = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap());
        let mut command = command("img-push", args);
        finish(spawn(command.env("DOCKER_CONFIG", &self.0).env("PATH", path), &relay.endpoint), &doc.to_string())
    }

    fn docker(&self, args: &[&str]) {
        let done = Command::new("docker").arg("--config").arg(&self.0).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A base image, a copy and a description need the password, from the file of Docker or from a
/// credential helper. Without it they are refused.
#[test]
fn a_registry_that_wants_a_password_gets_that_of_docker() {
    let (relay, registry) = (Relay::new(), Registry::with_login(LOGIN));
    let file = Config::new("file", &json!({"auths": {&registry.host: {"auth": LOGIN}}}));
    let nothing = Config::new("nothing", &json!({}));
    let helper = Config::new("helper", &json!({"credHelpers": {&registry.host: "ecs-pipe-test"}}));
    let program = helper.0.join("docker-credential-ecs-pipe-test");
    let answer = r#"{"ServerURL": "x", "Username": "u", "Secret": "p~>?~>?~>?"}"#;
    fs::write(&program, format!("#!/bin/sh\n[ \"$1 $(cat)\" = 'get {}' ] && echo '{answer}'\n", registry.host)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    let clients = Clients::at(&relay.endpoint);
    clients.wait(async { clients.ecr.create_repository().repository_name("private/base").send().await }).unwrap();
    let name = format!("{}/private/base:1", registry.host);
    file.docker(&["tag", "busybox", &name]);
    file.docker(&["push", &name]);
    file.docker(&["rmi", &name]);

    let described = |config: &Config| {
        let done = config.run(&relay, &[], &json!({"name": "guarded", "services": {"api": {"image": &name}}})).ok();
        done.doc()["img"]["api"]["architecture"].clone()
    };
    assert_eq!([&nothing, &file, &helper].map(described), [json!(null), json!("amd64"), json!("amd64")]);

    for (config, path) in [(&file, "file"), (&helper, "helper")] {
        let dockerfile = format!("FROM {name}\nRUN echo {path} > /by\n");
        let built = json!({"name": "guarded", "services": {"web": {"build": {"context": "./worker", "dockerfile_inline": dockerfile}}}});
        let copied = json!({"name": "guarded", "services": {"copy": {"image": &name, "x-note": path}}});
        if path == "file" {
            let refused = nothing.run(&relay, &[], &built);
            assert_eq!(refused.code, 1, "{}", refused.stderr);
            assert!(refused.stderr.contains("error[build-failed]"), "{}", refused.stderr);
            let refused = nothing.run(&relay, &["--mirror"], &copied);
            assert_eq!(refused.code, 1, "{}", refused.stderr);
            assert!(refused.stderr.contains("error[pull-failed]"), "{}", refused.stderr);
        }
        let _ = config.run(&relay, &[], &built).ok();
        let _ = config.run(&relay, &["--mirror", "--tag-images", path], &copied).ok();
        file.docker(&["rmi", "-f", &name]);
    }
    a_moved_tag_is_seen(&file, &relay, &name);
    a_moved_tag_is_copied_again(&file, &nothing, &relay, &name);
    let _ = run(&relay.endpoint, "img-push", &["--down", "--app", "guarded"], "").ok();
    clients.wait(async { clients.ecr.delete_repository().repository_name("private/base").force(true).send().await }).unwrap();
    assert_eq!(account::resources(&relay.endpoint, "guarded"), Vec::<String>::new());
}

/// The tag means another image in the registry, and still the old one in the Docker Engine.
fn a_moved_tag_is_seen(file: &Config, relay: &Relay, name: &str) {
    let doc = json!({"name": "guarded", "services": {"api": {"image": name, "ports": ["80"]}}});
    let digest = || file.run(relay, &[], &doc).ok().doc()["img"]["api"]["digest"].clone();
    file.docker(&["pull", name]);
    let before = digest();
    assert!(before.as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{before}");
    let other = other_image();
    file.docker(&["tag", &other, name]);
    file.docker(&["push", name]);
    file.docker(&["tag", "busybox", name]);
    assert_ne!(digest(), before);
    file.docker(&["rmi", "-f", name, &other]);
}

/// The tag is moved in the registry. The copy follows, and stays what it is while the registry
/// refuses to answer.
fn a_moved_tag_is_copied_again(file: &Config, nothing: &Config, relay: &Relay, name: &str) {
    let doc = json!({"name": "guarded", "services": {"moved": {"image": name, "ports": ["80"]}}});
    let mirror = |config: &Config| {
        let _ = relay.calls();
        let done = config.run(relay, &["--mirror"], &doc).ok();
        (done.doc()["img"]["moved"]["uri"].clone(), done.stderr, relay.mutations())
    };
    file.docker(&["tag", "busybox", name]);
    file.docker(&["push", name]);
    let (first, said, _) = mirror(file);
    assert!(!said.contains("another image"), "{said}");
    assert_eq!((mirror(file).0, mirror(file).2), (first.clone(), Vec::new()));
    let other = other_image();
    file.docker(&["tag", &other, name]);
    file.docker(&["push", name]);
    file.docker(&["tag", "busybox", name]);
    let plan = file.run(relay, &["--mirror", "--plan"], &doc);
    assert_eq!((plan.code, plan.acts('+').len()), (3, 1), "{}", plan.stderr);
    // The times of pushes have whole seconds, and the newest copy counts.
    std::thread::sleep(Duration::from_secs(1));
    let (second, said, _) = mirror(file);
    assert!(said.contains(&format!("{name} of services.moved means another image than before (sha256:")), "{said}");
    assert_ne!(first, second);
    for config in [file, nothing] {
        let (uri, said, changes) = mirror(config);
        assert_eq!((&uri, changes), (&second, Vec::new()), "{said}");
        assert!(!said.contains("another image"), "{said}");
    }
    file.docker(&["rmi", "-f", name, &other]);
}

/// Returns the ID of an image that no registry has.
fn other_image() -> String {
    let made = Command::new("sh").args(["-c", "tar c -C / etc/hostname | docker import -"]).output().unwrap();
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// A token of ECR is valid in one region. The registry of the other one does not exist here, so the
/// pull fails after the call.
#[test]
fn an_image_of_ecr_is_pulled_with_a_token_of_its_region() {
    let relay = Relay::new();
    let tokens = |image: &str| {
        let done =
            run(&relay.endpoint, "img-push", &["--mirror"], &json!({"name": "tokens", "services": {"web": {"image": image}}}).to_string());
        assert!(done.stderr.contains("error[pull-failed]"), "{}", done.stderr);
        relay.calls().iter().filter(|call| call.action == "ecr:GetAuthorizationToken").count()
    };
    let found = ["eu-west-1", "us-east-1"].map(|region| tokens(&format!("123456789012.dkr.ecr.{region}.amazonaws.com/base:1")));
    assert_eq!(found, [2, 1], "one for the push, and one for another region");
    let _ = run(&relay.endpoint, "img-push", &["--down", "--app", "tokens"], "").ok();
}
