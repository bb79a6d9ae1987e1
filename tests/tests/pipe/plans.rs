//! The plans of an app with every kind of resource, in moto: its creation, its deletion, and
//! changes of one field each.

use std::process::Command;

use aws_sdk_ec2::types::{LaunchTemplateVersion, RequestLaunchTemplateData};
use aws_sdk_ecr::types::Tag;
use serde_json::{Value, json};
use tests::account::holdings;
use tests::{Clients, Output, Pipe, Relay, run};

use super::masked;

const APP: &str = "planned";

/// Returns an app that uses every kind of resource.
fn app() -> Value {
    let morning = json!({"name": "morning", "schedule": "cron(0 8 ? * MON-FRI *)", "timezone": "Europe/Vienna", "min": 4});
    json!({
        "name": APP,
        "x-tags": {"team": "shop"},
        "x-net": {"nat": "per-az", "endpoints": ["s3", "ecr"], "flow_logs": 14},
        "x-cluster": {"launch_type": "ec2", "spot": 50, "volume_gib": 40, "target_capacity": 90, "insights": "enabled"},
        "x-img": {"mirror": false, "keep": 30},
        "x-svc": {"retention": 7, "certificate": format!("arn:aws:iam::000000000000:server-certificate/{APP}")},
        "x-scale": {"cpu": 70},
        "x-alarms": {"notify": ["a@example.com"], "latency_p99": 2},
        "services": {
            "web": {"image": "nginx:1.27", "ports": ["80"], "environment": {"GREETING": "hello"},
                    "x-svc": {"host": ["www.example.com"], "patch": {"service": {"enableExecuteCommand": true}}}, "x-scale": {"cpu": 70, "requests": 1000}},
            "api": {"image": "nginx:1.27", "ports": ["80"],
                    "x-svc": {"path": ["/api/*"], "task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}},
                    "x-scale": {"memory": 80, "schedule": [morning]}},
            "worker": {"build": {"context": "./worker", "dockerfile_inline": "FROM busybox"}}}})
}

/// Plans all stages with this document.
fn plan(relay: &Relay, doc: &Value) -> Output {
    Pipe::plan(&relay.endpoint).run(&doc.to_string())
}

#[test]
fn a_plan_lists_every_resource_and_every_field_that_changes() {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let clients = Clients::at(&relay.endpoint);
    clients.create_service_linked_role();
    let certificate =
        clients.iam.upload_server_certificate().server_certificate_name(APP).certificate_body("certificate").private_key("key");
    clients.wait(certificate.send()).unwrap();
    let _ = relay.calls();
    let creation = plan(&relay, &app());
    assert_eq!((creation.code, relay.mutations()), (3, Vec::new()), "{}", creation.stderr);
    masked::settings().bind(|| insta::assert_snapshot!("creation", creation.stderr));

    push(&clients, &creation);
    let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) };
    let live = up.run_while_ok(&app().to_string()).ok().doc();
    let unchanged = plan(&relay, &live);
    // No registry answers here, which is said in each run.
    let lines: Vec<&str> = unchanged.stderr.lines().filter(|line| !line.contains("warning[image-by-tag]")).collect();
    assert_eq!((unchanged.code, lines), (0, Vec::new()));

    let _ = relay.calls();
    let deletion = Pipe { args: vec!["--down", "--plan"], ..Pipe::down(&relay.endpoint) }.run(&live.to_string());
    assert_eq!((deletion.code, relay.mutations()), (3, Vec::new()), "{}", deletion.stderr);
    masked::settings().bind(|| insta::assert_snapshot!("deletion", deletion.stderr));

    one_field(&relay, &live);
    one_line_of_user_data(&relay, &clients, &live);

    let _ = Pipe::down(&relay.endpoint).run_while_ok(&live.to_string()).ok();
    clients.wait(clients.iam.delete_server_certificate().server_certificate_name(APP).send()).unwrap();
    assert_eq!(holdings(&relay.endpoint, APP), Vec::<String>::new());
}

/// Creates the planned image, as `docker push` does, and its repository: moto has no registry.
fn push(clients: &Clients, plan: &Output) {
    let images = plan.acts('+').into_iter().filter_map(|act| act.strip_prefix("image ").map(str::to_owned)).collect::<Vec<_>>();
    let [image] = images.as_slice() else { unreachable!("one service is built: {images:?}") };
    let (repository, tag) = image.split_once(':').unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": format!("sha256:{:064}", 1)}, "layers": []});
    let tags = [("ecs-pipe:app", APP), ("ecs-pipe:stage", "img-push"), ("ecs-pipe:name", "worker")];
    let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build().unwrap()).to_vec();
    clients.wait(async {
        clients.ecr.create_repository().repository_name(repository).set_tags(Some(tags)).send().await.unwrap();
        let call = clients.ecr.put_image().repository_name(repository).image_tag(tag).image_manifest(manifest.to_string());
        call.send().await.unwrap();
    });
}

/// The plan after each change names one field, and the resources that contain it.
fn one_field(relay: &Relay, live: &Value) {
    let changes = [
        (
            "/services/web/environment/GREETING",
            json!("good day"),
            "svc-deploy: ~ task definition planned-web (containers.web.environment.GREETING: hello -> good day)\n\
             svc-deploy: ~ service web (taskDefinition: planned-web:… -> the new revision)\n\
             svc-deploy: 0 to create, 2 to change, 0 to delete\n",
        ),
        (
            "/services/web/x-scale/cpu",
            json!(60),
            "scale-set: ~ scaling policy service/planned/web ecs-pipe-cpu (TargetTrackingScalingPolicyConfiguration.TargetValue: 70 -> 60)\n\
             scale-set: 0 to create, 1 to change, 0 to delete\n",
        ),
        (
            "/x-scale/cpu",
            json!(60),
            "scale-set: ~ scaling policy planned ecs-pipe-cpu (TargetTrackingConfiguration.TargetValue: 70 -> 60)\n\
             scale-set: 0 to create, 1 to change, 0 to delete\n",
        ),
        (
            "/x-img/keep",
            json!(10),
            "img-push: ~ repository planned/worker (lifecyclePolicy.rules.2.selection.countNumber: 30 -> 10)\n\
             img-push: 0 to create, 1 to change, 0 to delete\n",
        ),
    ];
    for (pointer, value, says) in changes {
        let mut doc = live.clone();
        *doc.pointer_mut(pointer).unwrap() = value;
        let said = plan(relay, &doc);
        // No registry answers here, which is said in each run.
        let lines = said.stderr.split_inclusive('\n').filter(|line| !line.contains("warning[image-by-tag]"));
        assert_eq!((said.code, masked::ids(&lines.collect::<String>()).as_str()), (3, says), "{pointer}");
    }
}

/// Another default version of the launch template, with another line in the user data and the
/// description of the version that cluster-up created. A run restores the line.
fn one_line_of_user_data(relay: &Relay, clients: &Clients, live: &Value) {
    clients.wait(async {
        let said = clients.ec2.describe_launch_template_versions().launch_template_name(APP).versions("$Default").send().await.unwrap();
        let found = &said.launch_template_versions()[0];
        let description = found.version_description().unwrap();
        let script = decoded(found.launch_template_data().and_then(|data| data.user_data()).unwrap());
        let script = script.replace("ECS_AWSVPC_BLOCK_IMDS=true", "ECS_AWSVPC_BLOCK_IMDS=false");
        let data = RequestLaunchTemplateData::builder().user_data(base64(&script)).build();
        let call = clients.ec2.create_launch_template_version().launch_template_name(APP).source_version("$Default");
        let made = call.version_description(description).launch_template_data(data).send().await.unwrap();
        let number = made.launch_template_version().and_then(LaunchTemplateVersion::version_number).unwrap();
        let call = clients.ec2.modify_launch_template().launch_template_name(APP).default_version(number.to_string());
        call.send().await.unwrap();
    });
    let changed = plan(relay, live);
    let says = "cluster-up: ~ launch template planned (userData[4]: ECS_AWSVPC_BLOCK_IMDS=false -> ECS_AWSVPC_BLOCK_IMDS=true)\n\
                cluster-up: 2 of 2 instances run an old version of the launch template planned. To replace them, run: cluster-up --roll\n\
                cluster-up: 0 to create, 1 to change, 0 to delete\n";
    assert_eq!((changed.code, changed.stderr.as_str()), (3, says));
    let _ = run(&relay.endpoint, "cluster-up", &[], &live.to_string()).ok();
    let restored = plan(relay, live);
    assert_eq!((restored.code, masked::changes(&restored)), (0, String::new()));
}

fn base64(text: &str) -> String {
    let done = Command::new("sh").args(["-c", "printf %s \"$0\" | base64 -w 0", text]).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

fn decoded(text: &str) -> String {
    let done = Command::new("sh").args(["-c", "printf %s \"$0\" | base64 -d", text]).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}
