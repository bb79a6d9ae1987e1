//! Repositories of services that left the document, and `--prune`.

use aws_sdk_ecs::types::ContainerDefinition;
use serde_json::json;
use tests::{Clients, Relay, account, run};

/// Tasks of a removed service run until svc-deploy deletes it, which is later in the pipe. Until
/// then `--prune` keeps their images.
#[test]
fn a_repository_is_deleted_when_no_task_definition_uses_it() {
    let (relay, app) = (Relay::new(), "orphaned");
    let build = |dockerfile: &str| json!({"build": {"context": "./worker", "dockerfile_inline": dockerfile}});
    let services = json!({"web": build("FROM busybox\n"), "old": build("FROM busybox\nENV OLD=1\n")});
    let doc = json!({"name": app, "services": services});
    let up = run(&relay.endpoint, "img-push", &[], &doc.to_string()).ok().doc();
    let clients = Clients::at(&relay.endpoint);
    let image = ContainerDefinition::builder().name("old").image(up["img"]["old"]["uri"].as_str().unwrap()).memory(64).build();
    let call = clients.ecs.register_task_definition().family("orphaned-old").container_definitions(image);
    let revision = clients.wait(call.send()).unwrap().task_definition().unwrap().task_definition_arn().unwrap().to_owned();

    let mut fewer = up.clone();
    fewer["services"].as_object_mut().unwrap().remove("old");
    let prune = |args: &[&str]| {
        let _ = relay.calls();
        let done = run(&relay.endpoint, "img-push", &[args, &["--prune"]].concat(), &fewer.to_string());
        (done.code, done.acts('-'), relay.mutations().len(), done.stderr)
    };
    let (code, deleted, changes, said) = prune(&[]);
    assert_eq!((code, deleted, changes), (0, Vec::new(), 0), "{said}");
    assert!(said.contains("the repository orphaned/old is kept, because a task definition of the app uses it"), "{said}");

    let _ = clients.wait(clients.ecs.deregister_task_definition().task_definition(&revision).send()).unwrap();
    let _ = clients.wait(clients.ecs.delete_task_definitions().task_definitions(&revision).send()).unwrap();
    let old = vec!["repository orphaned/old".to_owned()];
    let (code, planned, changes, said) = prune(&["--plan"]);
    assert_eq!((code, &planned, changes), (3, &old, 0), "{said}");
    let (code, deleted, changes, said) = prune(&[]);
    assert_eq!((code, &deleted, changes), (0, &old, 1), "{said}");
    let (code, deleted, changes, said) = prune(&[]);
    assert_eq!((code, deleted, changes), (0, Vec::new(), 0), "{said}");
    let _ = run(&relay.endpoint, "img-push", &["--down", "--app", app], "").ok();
    assert_eq!(account::resources(&relay.endpoint, app), Vec::<String>::new());
}
