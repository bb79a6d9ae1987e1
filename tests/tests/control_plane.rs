//! The life of an app in the second emulator: stricter than the first, without containers.

use serde_json::json;
use tests::{Pipe, Relay, account};

#[test]
fn the_control_plane_in_moto() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    for launch_type in ["ec2", "fargate"] {
        let app = format!("moto-{launch_type}");
        let doc = json!({"name": app, "x-cluster": {"launch_type": launch_type}, "x-alarms": {"notify": ["a@example.com"]}, "services": {
            "web": {"image": "nginx:1.27", "ports": ["80"]},
            "api": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"path": ["/api/*"]}, "deploy": {"resources": {"limits": {"cpus": "0.5", "memory": "1g"}}}}}});
        let doc = doc.to_string();
        // moto's tasks never run, so there is nothing to wait for.
        let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
        let first = up.run(&doc).ok();
        let _ = relay.calls();
        let second = up.run(&doc).ok();
        assert_eq!(relay.mutations(), Vec::<String>::new(), "the second run changes nothing");
        assert_eq!(first.doc(), second.doc());
        assert!(first.doc()["svc"]["url"].as_str().unwrap().starts_with("http://"));
        let down = Pipe::down(&relay.endpoint).run(&second.stdout);
        assert_eq!(down.code, 0, "{}", down.stderr);
        assert_eq!(account::resources(&relay.endpoint, &app), Vec::<String>::new(), "nothing is left");
    }
}
