//! The build context: what is in the image is what Docker itself would put there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::json;
use tests::{Relay, account, run};

use super::in_image;

/// A build context that is deleted after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ecs-pipe-context-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.0.join(name).parent().unwrap()).unwrap();
        write_at(&self.0.join(name), text, OLD);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The time of files, in seconds since 1970. It is the same in each run of the tests, because
/// BuildKit copies a file of an earlier run when only its time differs.
const OLD: u64 = 1_234_567_890;

fn write_at(path: &Path, text: &str, time: u64) {
    fs::write(path, text).unwrap();
    set_time(path, SystemTime::UNIX_EPOCH + Duration::from_secs(time));
}

fn set_time(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// How many random contexts are compared with what Docker builds.
const CONTEXTS: u64 = 6;

const NAMES: &[&str] = &["a", "b", "ab", "a.b", ".c", "d-e", "b.md", "x1"];

/// Exceptions have no wildcards, because the builder without BuildKit does not look for them in
/// excluded folders.
const PATTERNS: &[&str] = &[
    "*",
    "**/b",
    "a*",
    "?b",
    "*/a",
    "**/*.md",
    "a/**",
    "**a",
    "[a-b]",
    "d-e/",
    "{a,b}",
    "/a.b",
    "**/b/**",
    "a**b",
    "./ab/../b",
    "# no",
    "a/*/b",
    "!a/b",
    "!b",
    "!a/b/ab",
    "!d-e/a",
    "!.c",
];

fn random_tree(rng: &mut Rng, folder: &Path, depth: usize) {
    fs::create_dir_all(folder).unwrap();
    for name in NAMES {
        match rng.u8(0..6) {
            0 | 1 if depth > 0 => random_tree(rng, &folder.join(name), depth - 1),
            2 => std::os::unix::fs::symlink("a", folder.join(name)).unwrap(),
            3 | 4 => write_at(&folder.join(name), name, OLD + depth as u64),
            _ => {}
        }
    }
}

/// Lists the files of an image below `/c` with mode, size and time, and folders and links by name.
fn listed(image: &str) -> Vec<String> {
    let made = Command::new("docker").args(["create", image, "none"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let id = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let mut export = Command::new("docker").args(["export", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let listing = Command::new("tar").args(["-tv", "--full-time", "--utc"]).stdin(export.stdout.take().unwrap()).output().unwrap();
    let _ = export.wait();
    let _ = Command::new("docker").args(["rm", &id]).output();
    let lines = String::from_utf8(listing.stdout).unwrap();
    let lines = lines.lines().filter_map(|line| {
        let name = line.find(" c/")?;
        Some(if line.starts_with('-') { line.to_owned() } else { format!("{}{}", &line[..1], &line[name..]) })
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// The trees have files, folders and links, and a random `.dockerignore`.
#[test]
fn a_random_context_is_the_one_that_docker_builds() {
    let (relay, app, folder) = (Relay::new(), "random-trees", Folder::new("random"));
    let mut doc = json!({"name": app, "services": {}});
    for seed in 0..CONTEXTS {
        let (mut rng, name) = (Rng::with_seed(seed), format!("t{seed}"));
        random_tree(&mut rng, &folder.0.join(&name), 3);
        let count = rng.usize(1..6);
        let patterns: Vec<&str> = (0..count).map(|_| PATTERNS[rng.usize(..PATTERNS.len())]).collect();
        folder.write(&format!("{name}/.dockerignore"), &format!("{}\n!always\n", patterns.join("\n")));
        folder.write(&format!("{name}/always"), &format!("files of {OLD}"));
        folder.write(&format!("{name}/Dockerfile"), "FROM busybox\nCOPY . /c/\n");
        doc["services"][&name] = json!({"build": folder.0.join(&name)});
    }
    let done = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok();
    for seed in 0..CONTEXTS {
        let name = format!("t{seed}");
        let theirs = format!("ecs-pipe-reference-{name}");
        let built = Command::new("docker")
            .args(["build", "-q", "--no-cache", "-t", &theirs])
            .arg(folder.0.join(&name))
            .env("DOCKER_BUILDKIT", "0")
            .output();
        let built = built.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let ours = format!("{app}/{name}:{}", done.doc()["img"][&name]["tag"].as_str().unwrap());
        let ignore = fs::read_to_string(folder.0.join(&name).join(".dockerignore")).unwrap();
        assert_eq!(listed(&ours), listed(&theirs), "{name}: {ignore}");
        let _ = Command::new("docker").args(["rmi", "-f", &theirs]).output();
    }
    let _ = run(&relay.endpoint, "img-push", &["--down"], &done.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}

/// A web server makes an entity tag of the time, and `COPY . .` copies only what is in the folder.
#[test]
fn files_keep_their_times_and_the_dockerfile_stays_outside() {
    let (relay, app, folder) = (Relay::new(), "timed", Folder::new("timed"));
    folder.write("page.html", "page");
    let doc = |time_of: &str| json!({"name": app, "services": {"web": {"build": {"context": folder.0, "dockerfile_inline": "FROM busybox\nCOPY . /c/\n"}, "x-note": time_of}}});
    let first = run(&relay.endpoint, "img-push", &[], &doc("first").to_string()).ok();
    let uri = first.doc()["img"]["web"]["uri"].as_str().unwrap().to_owned();
    assert_eq!(in_image(&uri, &["sh", "-c", "ls -A /c; stat -c %Y /c/page.html"]), "page.html\n1234567890\n");
    set_time(&folder.0.join("page.html"), SystemTime::now());
    let second = run(&relay.endpoint, "img-push", &[], &doc("second").to_string()).ok();
    assert_eq!(first.doc()["img"], second.doc()["img"], "a time alone does not make a new image");
    let _ = run(&relay.endpoint, "img-push", &["--down"], &first.stdout).ok();
}

/// The live document is written into the folder that is built, as a reader of the README may do.
#[test]
fn a_build_of_the_whole_folder_converges() {
    let (relay, app, folder) = (Relay::new(), "converging", Folder::new("converging"));
    folder.write("Dockerfile", "FROM busybox\nCOPY . /c/\n");
    folder.write(".git/HEAD", "one");
    let doc = json!({"name": app, "services": {"web": {"build": folder.0}}}).to_string();
    // As the shell does before the tools start.
    folder.write("live.json", "");
    let first = run(&relay.endpoint, "img-push", &[], &doc).ok();
    assert!(first.stderr.contains("warning[records-in-context]: services.web.build: the image has .git, live.json"), "{}", first.stderr);
    folder.write("live.json", &first.stdout);
    folder.write(".git/HEAD", "two");
    let _ = relay.calls();
    let second = run(&relay.endpoint, "img-push", &[], &doc).ok();
    assert_eq!((relay.mutations(), second.doc()), (Vec::new(), first.doc()));

    folder.write("Dockerfile", "FROM busybox\nCOPY . /c/\nCOPY .git /c/.git\n");
    let tag = || run(&relay.endpoint, "img-push", &[], &doc).ok().doc()["img"]["web"]["tag"].clone();
    let third = tag();
    folder.write(".git/HEAD", "three");
    assert_ne!(tag(), third, "what the Dockerfile copies by name is part of the tag");
    let _ = run(&relay.endpoint, "img-push", &["--down"], &first.stdout).ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
