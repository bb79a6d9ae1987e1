//! Both floors together: what Compose says, in the requests that ECS gets. Only for tests.

use serde_json::{Value, json};
use shared::Document;
use shared::doc::{Caller, ServiceRecord};
use shared::flags::{DeleteData, Prune};

use crate::aws::kept::Kept;
use crate::aws::{container_definition, execution_policy, service_request, task_definition_request};
use crate::compose;
use crate::model::{Service, Wanted};
use crate::settings::{ByHand, Flags, One, SvcFlags};

fn caller() -> Caller {
    Caller { account: "123456789012".to_owned(), region: "eu-central-1".to_owned(), partition: "aws".to_owned() }
}

/// Reads an app with these services, on EC2 or Fargate.
fn wanted(launch_type: &str, more: &Value) -> Result<Wanted, String> {
    let provider = if launch_type == "ec2" { "instances-of-shop" } else { "FARGATE" };
    let mut doc = json!({
        "name": "shop",
        "net": {"vpc_id": "vpc-1", "private_subnet_ids": ["subnet-1", "subnet-2"], "public_subnet_ids": ["subnet-3", "subnet-4"],
                "lb_security_group_id": "sg-1", "task_security_group_id": "sg-2"},
        "cluster": {"arn": "arn:aws:ecs:eu-central-1:123456789012:cluster/shop", "name": "shop", "launch_type": launch_type,
                    "architecture": if launch_type == "ec2" { json!("arm64") } else { json!(null) },
                    "capacity_provider_strategy": [{"capacity_provider": provider, "weight": 1, "base": 0}]}});
    json_patch::merge(&mut doc, more);
    let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
    let flags = Flags {
        svc: SvcFlags::default(),
        selection: shared::doc::Selection::default(),
        publish: shared::doc::public::Publish::default(),
        one: One::default(),
        data: DeleteData::default(),
        prune: Prune::default(),
        redeploy: false,
        by_hand: ByHand::default(),
    };
    let mut found = compose::read(&doc, &flags).map_err(|error| error.to_string());
    doc.change_findings(|error| {
        found = Err(error.to_string());
        error
    });
    found
}

/// Each key of Compose with what it becomes in the container definition; everything else stays as it is.
#[test]
fn what_compose_says_in_the_words_of_ecs() {
    let anonymous = shared::name::fingerprint("services.web.volumes /cache");
    for (key, value, becomes) in [
        ("command", json!("a 'b c'"), json!({"command": ["a", "b c"]})),
        ("entrypoint", json!(["a", "b"]), json!({"entryPoint": ["a", "b"]})),
        ("working_dir", json!("/srv"), json!({"workingDirectory": "/srv"})),
        ("user", json!("1000:1000"), json!({"user": "1000:1000"})),
        ("read_only", json!(true), json!({"readonlyRootFilesystem": true})),
        ("tty", json!(true), json!({"pseudoTerminal": true})),
        ("stdin_open", json!(true), json!({"interactive": true})),
        ("privileged", json!(true), json!({"privileged": true})),
        ("hostname", json!("web"), json!({"hostname": "web"})),
        ("stop_grace_period", json!("1m30s"), json!({"stopTimeout": 90})),
        ("environment", json!(["B=2", "A=1", "C"]), json!({"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]})),
        ("environment", json!({"A": 1, "B": null}), json!({"environment": [{"name": "A", "value": "1"}]})),
        ("ports", json!(["80:8080", "8080"]), json!({"portMappings": [{"containerPort": 8080, "hostPort": 0, "protocol": "tcp"}]})),
        ("expose", json!(["9090/udp"]), json!({"portMappings": [{"containerPort": 9090, "hostPort": 0, "protocol": "udp"}]})),
        ("ulimits", json!({"nofile": {"soft": 1, "hard": 2}}), json!({"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]})),
        ("ulimits", json!({"nproc": 5}), json!({"ulimits": [{"name": "nproc", "softLimit": 5, "hardLimit": 5}]})),
        ("sysctls", json!({"net.core.somaxconn": 1024}), json!({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1024"}]})),
        ("extra_hosts", json!(["db=10.0.0.1"]), json!({"extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.1"}]})),
        ("dns", json!("10.0.0.2"), json!({"dnsServers": ["10.0.0.2"]})),
        ("dns_search", json!(["shop.internal"]), json!({"dnsSearchDomains": ["shop.internal"]})),
        ("labels", json!(["a=b"]), json!({"dockerLabels": {"a": "b"}})),
        ("init", json!(true), json!({"linuxParameters": {"initProcessEnabled": true}})),
        ("shm_size", json!("64m"), json!({"linuxParameters": {"sharedMemorySize": 64}})),
        ("cap_add", json!(["NET_ADMIN"]), json!({"linuxParameters": {"capabilities": {"add": ["NET_ADMIN"]}}})),
        (
            "devices",
            json!(["/dev/kvm"]),
            json!({"linuxParameters": {"devices": [
            {"hostPath": "/dev/kvm", "containerPath": "/dev/kvm", "permissions": ["read", "write", "mknod"]}]}}),
        ),
        ("gpus", json!([{"driver": "nvidia", "count": 2}]), json!({"resourceRequirements": [{"type": "GPU", "value": "2"}]})),
        ("security_opt", json!(["no-new-privileges:true"]), json!({"dockerSecurityOptions": ["no-new-privileges"]})),
        (
            "deploy",
            json!({"resources": {"reservations": {"devices": [{"capabilities": ["gpu"], "count": 1}]}}}),
            json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]}),
        ),
        (
            "volumes",
            json!(["/cache"]),
            json!({"mountPoints": [{"sourceVolume": "task-TASK", "containerPath": "/cache", "readOnly": false}]}),
        ),
        ("cap_drop", json!(["ALL"]), json!({"linuxParameters": {"capabilities": {"drop": ["ALL"]}}})),
        ("tmpfs", json!("/run:size=64m"), json!({"linuxParameters": {"tmpfs": [{"containerPath": "/run", "size": 64}]}})),
        ("cpus", json!(0.5), json!({"cpu": 512})),
        ("mem_limit", json!("1g"), json!({"memory": 1024, "memoryReservation": null})),
        ("mem_reservation", json!("128m"), json!({"memoryReservation": 128})),
        (
            "deploy",
            json!({"resources": {"limits": {"cpus": "2", "memory": "1073741824"}, "reservations": {"memory": "64m"}}}),
            json!({"cpu": 2048, "memory": 1024, "memoryReservation": 64}),
        ),
        (
            "healthcheck",
            json!({"test": "true", "interval": "10s", "retries": 2}),
            json!({"healthCheck": {"command": ["CMD-SHELL", "true"], "timeout": 30, "interval": 10, "retries": 2}}),
        ),
        ("healthcheck", json!({"test": ["CMD", "true"], "disable": true}), json!({})),
        ("healthcheck", json!({"test": ["NONE"]}), json!({})),
        (
            "healthcheck",
            json!({"test": ["CMD", "true"], "interval": "1s", "start_period": "10m0s", "retries": 30}),
            json!({"healthCheck": {"command": ["CMD", "true"], "timeout": 30, "interval": 5, "startPeriod": 300, "retries": 10}}),
        ),
        ("logging", json!({"driver": "json-file"}), json!({})),
        (
            "logging",
            json!({"driver": "awslogs", "options": {"awslogs-multiline-pattern": "^\\[", "mode": "blocking", "awslogs-group": "other"}}),
            json!({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs-pipe/shop/web", "awslogs-region": "eu-central-1",
                "awslogs-stream-prefix": "web", "mode": "blocking", "max-buffer-size": "25m", "awslogs-multiline-pattern": "^\\["}}}),
        ),
        (
            "logging",
            json!({"driver": "splunk", "options": {"a": "b"}}),
            json!({"logConfiguration": {"logDriver": "splunk", "options": {"a": "b"}}}),
        ),
    ] {
        let mut expected = json!({"name": "web", "image": "nginx", "essential": true, "cpu": 256, "memoryReservation": 512});
        json_patch::merge(&mut expected, &becomes);
        let expected: Value =
            serde_json::from_str(&expected.to_string().replace("task-TASK", &format!("task-{}", &anonymous[..8]))).unwrap();
        let web = json!({"image": "nginx", "x-svc": {"publish": false}, key: value.clone()});
        let app = wanted("ec2", &json!({"services": {"web": web}})).unwrap();
        let mut definition = container_definition::definitions("shop", &caller(), &app.services[0], &Kept::default()).remove(0);
        if expected.get("logConfiguration").is_none() {
            definition.as_object_mut().unwrap().remove("logConfiguration");
        }
        assert_eq!(definition, expected, "{key}: {value}");
    }
}

/// Every tcp port has the service's name: those of the document, of `x-svc.expose`, of the image, and of the well-known image.
#[test]
fn services_have_names_on_their_ports_and_know_whom_they_may_call() {
    let image =
        |uri: &str, ports: Value| json!({"uri": uri, "repository_arn": null, "tag": "", "architecture": "arm64", "exposed_ports": ports});
    let more = json!({
        "cluster": {"namespace": "shop", "namespace_arn": "arn:aws:servicediscovery:eu-central-1:123456789012:namespace/ns-1"},
        "img": {"queue": image("acme/queue", json!(["7000/tcp", "7001/udp"])), "stale": image("acme/other", json!(["1/tcp"]))},
        "services": {
            "web": {"image": "nginx", "ports": ["80"], "depends_on": ["api"]},
            "api": {"image": "acme/api", "expose": ["8080"], "ports": [{"target": 9000, "app_protocol": "grpc", "host_ip": "127.0.0.1"}]},
            "db": {"image": "postgres:16"},
            "cache": {"image": "redis", "environment": {"NOTIFY": "http://api:8080"}},
            "queue": {"image": "acme/queue"},
            "stale": {"image": "acme/stale", "x-svc": {"expose": [5000]}},
            "out": {"image": "acme/out", "expose": ["1"], "x-svc": {"connect": false}}}});
    let app = wanted("ec2", &more).unwrap();
    let of = |name: &str| app.services.iter().find(|service| service.name == name).and_then(|service| service.connect.as_ref());
    for (name, endpoints, peers) in [
        ("web", vec!["web-80"], vec!["api", "cache", "db", "queue", "stale"]),
        ("api", vec!["api-9000-grpc", "api-8080"], vec!["cache", "db", "queue", "stale"]),
        ("db", vec!["db-5432"], vec![]),
        ("cache", vec!["cache-6379"], vec!["api"]),
        ("queue", vec!["queue-7000"], vec!["api", "cache", "db", "stale", "web"]),
        ("stale", vec!["stale-5000"], vec!["api", "cache", "db", "queue", "web"]),
    ] {
        let connect = of(name).unwrap();
        let found: Vec<&str> = connect.endpoints.iter().map(|endpoint| endpoint.discovery_name.as_str()).collect();
        assert_eq!((found, connect.peers.iter().map(String::as_str).collect()), (endpoints, peers), "{name}");
    }
    assert_eq!(of("out"), None);
    let api = app.services.iter().find(|service| service.name == "api").unwrap();
    let ports = container_definition::definitions("shop", &caller(), api, &Kept::default())[0]["portMappings"].clone();
    let grpc = json!({"name": "grpc-9000", "containerPort": 9000, "hostPort": 0, "protocol": "tcp", "appProtocol": "grpc"});
    assert_eq!(ports, json!([grpc, {"name": "tcp-8080", "containerPort": 8080, "hostPort": 0, "protocol": "tcp"}]));
    let sent = service_request::service_connect(api.connect.as_ref().unwrap(), "arn");
    let grpc = json!({"portName": "grpc-9000", "discoveryName": "api-9000-grpc", "clientAliases": [{"dnsName": "api", "port": 9000}],
        "timeout": {"idleTimeoutSeconds": 0, "perRequestTimeoutSeconds": 0}});
    assert_eq!((&sent["enabled"], &sent["namespace"], &sent["services"][0]), (&json!(true), &json!("arn"), &grpc));
}

/// Beside a job with names, a container sleeps, whatever the entry point of its image is.
#[test]
fn a_job_with_names_has_a_container_that_stays() {
    let more = json!({
        "cluster": {"namespace": "shop", "namespace_arn": "arn"},
        "img": {"migrate": {"uri": "acme/migrate", "tag": "latest", "repository_arn": null, "digest": "sha256:1"},
                "web": {"uri": "acme/web", "tag": "latest", "repository_arn": null, "digest": format!("sha256:{:064}", 2)}},
        "services": {"migrate": {"image": "acme/migrate", "x-svc": {"job": true}}, "web": {"image": "acme/web"}}});
    let app = wanted("ec2", &more).unwrap();
    let of = |name: &str| {
        let service = app.services.iter().find(|service| service.name == name).unwrap();
        container_definition::definitions("shop", &caller(), service, &Kept::default())
    };
    let (job, web) = (of("migrate"), of("web"));
    assert_eq!(job[0]["dockerLabels"], json!({"ecs-pipe.image": "sha256:1"}), "a moved tag is another content");
    assert_eq!(web[0]["image"], format!("acme/web@sha256:{:064}", 2), "a deployment runs one image");
    assert_eq!(web[0]["dockerLabels"], json!({"ecs-pipe.image": "acme/web"}));
    assert_eq!((job.len(), &job[1]["entryPoint"], job[1]["command"].as_array().unwrap().len()), (2, &json!(["/bin/sh", "-c"]), 1));
}

/// An app that uses everything that the launch type has.
fn everything(launch_type: &str) -> Wanted {
    let web = json!({
        "image": "nginx:1.27",
        "ports": ["8080:80"],
        "expose": ["9090"],
        "command": ["nginx", "-g", "daemon off;"],
        "environment": {"GREETING": "hello", "EMPTY": ""},
        "secrets": ["token", {"source": "parameter", "target": "SETTING"}],
        "volumes": ["data:/data:ro"],
        "healthcheck": {"test": ["CMD", "true"], "interval": "10s"},
        "labels": {"team": "shop"},
        "deploy": {"replicas": 3, "labels": {"cost": "shop"}, "update_config": {"order": "stop-first", "failure_action": "pause"},
                   "resources": {"limits": {"cpus": "0.5", "memory": "1g"}, "reservations": {"memory": "256m"}}},
        "x-svc": {"path": ["/shop/*"], "host": ["www.example.com"], "health": {"path": "/up", "interval": 10}, "grace": 90, "breaker": 5,
                  "task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]},
                  "patch": {"task": {"ephemeralStorage": {"sizeInGiB": 30}}, "container": {"startTimeout": 60},
                            "service": {"enableExecuteCommand": true}, "target_group": {"Attributes": {"stickiness.enabled": "true"}}}}});
    let http2 = json!({
        "image": "grpc/api:1",
        "ports": ["50051"],
        "depends_on": {"web": {"condition": "service_healthy"}},
        "x-svc": {"path": "/api/*", "patch": {"target_group": {"ProtocolVersion": "HTTP2"}}}});
    let sidecar = json!({"image": "fluent-bit:3", "network_mode": "service:worker", "logging": {"driver": "splunk"}});
    let worker = json!({"image": "busybox", "command": "sleep 1000", "depends_on": ["log"]});
    let data = json!({"x-efs": {"file_system_id": "fs-1", "access_point_id": "fsap-1", "iam": true}});
    let secrets = json!({"token": {"external": true, "name": "shop/token"}, "parameter": {"external": true, "name": "/shop/setting"}});
    let services = json!({"web": web, "api": http2, "worker": worker, "log": sidecar});
    wanted(launch_type, &json!({"x-svc": {"certificate": "arn:aws:acm:eu-central-1:123456789012:certificate/1"}, "services": services, "volumes": {"data": data}, "secrets": secrets})).unwrap()
}

/// The requests for one service, as ECS gets them.
fn requests(app: &Wanted, service: &Service) -> Value {
    let roles = task_definition_request::Roles {
        execution: Some("arn:aws:iam::123456789012:role/shop-execution".to_owned()),
        kept: Kept { file_system: Some("fs-1".to_owned()), files_image: "busybox".to_owned(), ..Kept::default() },
        task: Some(format!("arn:aws:iam::123456789012:role/shop-{}-task", service.name)),
    };
    let record = ServiceRecord {
        task_definition_arn: Some(format!("arn:aws:ecs:eu-central-1:123456789012:task-definition/shop-{}:1", service.name)),
        target_group_arn: Some(format!("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-{}/1", service.name)),
        ..ServiceRecord::default()
    };
    let update = service_request::Update { strategy: false, new_deployment: false, disconnect: false, resolution: None };
    json!({
        "RegisterTaskDefinition": task_definition_request::request("shop", &caller(), service, &roles),
        "CreateTargetGroup": service.published.as_ref().map(|published| &published.target_group),
        "CreateService": service_request::create("shop", app, service, &record, service.labels.clone()).unwrap(),
        "UpdateService": service_request::update("shop", app, service, &record, update).unwrap(),
    })
}

#[test]
fn requests_on_ec2_and_fargate() {
    for launch_type in ["ec2", "fargate"] {
        let app = everything(launch_type);
        assert_eq!(app.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["web", "api", "worker"]);
        for service in &app.services {
            // Numbers of any precision are no numbers to insta's own JSON.
            insta::assert_snapshot!(format!("{launch_type}_{}", service.name), format!("{:#}", requests(&app, service)));
        }
        let policy = |service: &Service| {
            let request = task_definition_request::request("shop", &caller(), service, &task_definition_request::Roles::default());
            (service.name.clone(), execution_policy::execution_policy("shop", &caller(), &request, &[]))
        };
        let policies: std::collections::BTreeMap<_, _> = app.services.iter().map(policy).collect();
        insta::assert_json_snapshot!(format!("{launch_type}_execution_policies"), policies);
    }
}
