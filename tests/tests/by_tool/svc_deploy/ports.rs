//! The ports of images that no registry describes.

use serde_json::{Value, json};
use tests::run;

use super::small_app::{App, stays};

/// A registry that does not answer takes no port from a service: others call it.
#[test]
fn unknown_ports_are_kept() {
    let services = json!({"queue": stays(&json!([])), "web": stays(&json!([]))});
    let app = App::with("kept-ports", "AWS_ENDPOINT_URL", &services);
    let deploy = |img: &Value| {
        let mut doc: Value = serde_json::from_str(&app.doc(&services)).unwrap();
        doc["img"] = img.clone();
        run(&app.relay.endpoint, "svc-deploy", &[], &doc.to_string()).ok()
    };
    let image = |ports: Value, architecture: Value| json!({"uri": "busybox", "repository_arn": null, "tag": "latest", "exposed_ports": ports, "architecture": architecture});
    let known = image(json!([]), json!("amd64"));
    let first = deploy(&json!({"queue": image(json!(["7000/tcp"]), json!("amd64")), "web": known}));
    assert_eq!(first.doc()["svc"]["services"]["queue"]["endpoints"], json!(["queue:7000"]), "{}", first.stderr);
    let _ = app.relay.calls();
    let second = deploy(&json!({"queue": image(json!([]), Value::Null), "web": known}));
    assert_eq!((app.relay.mutations(), &second.doc()["svc"]), (Vec::new(), &first.doc()["svc"]), "{}", second.stderr);
    assert!(
        second.stderr.contains("warning[image-ports-kept]: services.queue keeps the ports of its running revision (7000)"),
        "{}",
        second.stderr
    );
    let third = deploy(&json!({"queue": known, "web": known}));
    assert_eq!(third.doc()["svc"]["services"]["queue"]["endpoints"], json!([]), "an image without ports has none");
    app.down();
}
