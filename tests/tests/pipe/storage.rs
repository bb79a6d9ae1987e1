//! What a container finds in its files: configs, mounted files, secrets and volumes, with real
//! containers.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::app::fetch;
use tests::tool::{TOOLS, down, root};
use tests::{Pipe, Relay, account, run};

/// A value that no shell, JSON or YAML may change.
const PASSWORD: &str = "pa$5 $HOME `id` \"q\" 'x' \\n %s\n\nä€\n";

/// A folder of the project that is deleted after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = root().join("examples/shop").join(format!("target-{name}"));
        std::fs::create_dir_all(path.join("init")).unwrap();
        std::fs::write(path.join("site.conf"), "listen 1;\n").unwrap();
        std::fs::write(path.join("init/1.sh"), "echo first > /tmp/init").unwrap();
        std::fs::write(path.join("password"), PASSWORD).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).unwrap();
    }

    fn below(&self, file: &str) -> String {
        format!("./{}/{file}", self.0.file_name().unwrap().to_str().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An app whose page shows the files of its container: mode, owner and bytes.
fn app(name: &str, folder: &Folder) -> Value {
    let script = "mkdir -p /w; echo start >> /data/starts; for f in /docker-entrypoint-initdb.d/*.sh; do . $$f; done; \
        for f in /etc/site.conf /etc/app/config /run/secrets/password /tmp/init; do \
        echo $$f $(stat -c '%a %u:%g' $$f) $(od -An -v -tx1 $$f | tr -d ' \\n') >> /w/index.html; done; \
        echo starts $(wc -l < /data/starts) >> /w/index.html; exec httpd -f -p 8080 -h /w";
    json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"},
        "configs": {"config": {"content": "key=$$5\n"}},
        "secrets": {"password": {"file": folder.below("password")}},
        "services": {"web": {
            "image": "busybox", "command": ["sh", "-c", script], "ports": ["8080"], "deploy": {"replicas": 1},
            "configs": [{"source": "config", "target": "/etc/app/config", "mode": "0440", "uid": "33", "gid": "7"}],
            "secrets": [{"source": "password", "mode": "0400", "uid": "33"}],
            "volumes": [format!("{}:/etc/site.conf:ro", folder.below("site.conf")),
                format!("{}:/docker-entrypoint-initdb.d:ro", folder.below("init")), "data:/data"]}}})
}

fn hex(text: &str) -> String {
    text.bytes().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

fn shows(app: &str, line: &str) {
    let page = fetch(app, "/");
    assert!(page.contains(line), "{line} is not in:\n{page}");
}

fn up(relay: &Relay, doc: &str) -> tests::Output {
    Pipe::up(&relay.endpoint).only(|tool| !matches!(tool, "scale-set" | "alarms-set")).run_while_ok(doc).ok()
}

#[test]
fn files_secrets_and_volumes_of_a_container() {
    let (relay, name) = (Relay::new(), "storage");
    let folder = Folder::new(name);
    let doc = app(name, &folder).to_string();
    let plan = Pipe::plan(&relay.endpoint).run(&doc);
    assert_eq!((plan.code, relay.mutations()), (3, Vec::<String>::new()), "{}", plan.stderr);

    let first = up(&relay, &doc);
    shows(name, &format!("/etc/site.conf 644 0:0 {}\n", hex("listen 1;\n")));
    shows(name, &format!("/etc/app/config 440 33:7 {}\n", hex("key=$5\n")));
    shows(name, &format!("/run/secrets/password 400 33:0 {}\n", hex(PASSWORD)));
    shows(name, &hex("first\n"));
    shows(name, "starts 1\n");
    assert!(!first.stdout.contains("pa$5") && !first.stderr.contains("pa$5"), "the value of a secret is nowhere");
    let file_system = first.doc()["cluster"]["file_system_id"].as_str().unwrap().to_owned();

    let _ = relay.calls();
    let second = up(&relay, &doc);
    assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
    assert_eq!(first.doc(), second.doc());

    folder.write("site.conf", "listen 2;\n");
    let changed = up(&relay, &doc);
    assert_ne!(changed.doc()["img"]["web"]["uri"], first.doc()["img"]["web"]["uri"], "a changed byte is another image");
    shows(name, &format!("/etc/site.conf 644 0:0 {}\n", hex("listen 2;\n")));
    shows(name, "starts 2\n");
    folder.write("site.conf", "listen 1;\n");
    assert_eq!(up(&relay, &doc).doc()["img"]["web"]["uri"], first.doc()["img"]["web"]["uri"], "and the same bytes are the same image");

    let _ = relay.calls();
    folder.write("password", "another\n");
    let live = up(&relay, &doc);
    let mut mutations = relay.mutations();
    mutations.sort();
    assert_eq!(mutations, ["ecs:RegisterTaskDefinition", "ecs:UpdateService", "ssm:PutParameter"], "a new value is a new deployment");
    shows(name, &format!("/run/secrets/password 400 33:0 {}\n", hex("another\n")));

    let gone = Pipe::down(&relay.endpoint).run(&live.stdout).ok();
    assert!(gone.stderr.contains(&format!("the file system {file_system} with the data of the volumes is kept")), "{}", gone.stderr);
    let left = account::resources(&relay.endpoint, name);
    assert_eq!(left, [format!("file system {file_system}"), "access point /data".to_owned()], "only the data is left");
    let again = up(&relay, &doc);
    assert_eq!(again.doc()["cluster"]["file_system_id"], file_system.as_str());
    shows(name, "starts 5\n");

    let mut doc = again.stdout;
    for tool in TOOLS.iter().rev() {
        doc = run(&relay.endpoint, tool, down(tool), &doc).ok().stdout;
    }
    assert_eq!(account::resources(&relay.endpoint, name), Vec::<String>::new(), "nothing is left");
}

/// `--down` needs only the name of the app, and a volume between two containers of a task is the
/// task's.
#[test]
fn a_scratch_volume_needs_no_file_system() {
    let (relay, name) = (Relay::new(), "scratch");
    let doc = json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "volumes": {"static": {}}, "services": {
        "web": {"image": "busybox", "command": ["httpd", "-f", "-p", "8080", "-h", "/srv"], "ports": ["8080"], "deploy": {"replicas": 1},
            "volumes": ["static:/srv:ro"]},
        "filler": {"image": "busybox", "command": ["sh", "-c", "echo filled > /out/index.html; sleep 1000"], "network_mode": "service:web",
            "volumes": ["static:/out"]}}});
    let first = up(&relay, &doc.to_string());
    assert_eq!(first.doc()["cluster"]["file_system_id"], Value::Null);
    let mut page = String::new();
    for _ in 0..20 {
        page = fetch(name, "/");
        if page.contains("filled") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    assert!(page.contains("filled"), "{page}");
    for tool in TOOLS.iter().rev() {
        let _ = run(&relay.endpoint, tool, &["--down", "--app", name], "").ok();
    }
    assert_eq!(account::resources(&relay.endpoint, name), Vec::<String>::new());
}
