//! Bad documents: the error has the path of the wrong value, and is found before the first call.

use serde_json::{Value, json};

use super::{live, nothing, refused, run};

#[test]
fn a_bad_value_is_refused_with_its_path() {
    let relay = nothing();
    let web = |more: Value| {
        let mut service = json!({"image": "nginx", "ports": ["80"]});
        service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        live(&json!({"web": service}))
    };
    let two = |a: Value, b: Value| {
        live(&json!({"a": {"image": "x", "ports": ["80"], "x-svc": a}, "b": {"image": "x", "ports": ["80"], "x-svc": b}}))
    };
    let cases: Vec<(&str, String, i32, &str)> = vec![
        ("net-up", "not json".into(), 65, "stdin"),
        ("net-up", "[]".into(), 65, "stdin"),
        ("net-up", String::new(), 65, "stdin"),
        ("net-up", json!({"name": 5}).to_string(), 65, "name"),
        ("net-up", json!({"name": "my_shop"}).to_string(), 65, "my-shop"),
        ("net-up", json!({"name": "a-name-that-is-much-too-long-for-aws"}).to_string(), 65, "name"),
        ("net-up", json!({"name": "bad", "x-net": {"nat": "many"}}).to_string(), 65, "x-net.nat"),
        ("net-up", json!({"name": "bad", "x-net": {"azs": "two"}}).to_string(), 65, "x-net.azs"),
        (
            "net-up",
            json!({"name": "bad", "x-net": {"public_cidrs": ["10.0.0.0/20", "10.0.8.0/21"]}}).to_string(),
            65,
            "x-net.public_cidrs[1]",
        ),
        (
            "cluster-up",
            {
                let mut doc = live(&json!({}));
                doc["x-cluster"] = json!({"launch_type": "lambda"});
                doc.to_string()
            },
            65,
            "x-cluster.launch_type",
        ),
        (
            "cluster-up",
            {
                let mut doc = live(&json!({}));
                doc["x-cluster"] = json!({"min": 5, "max": 2});
                doc.to_string()
            },
            65,
            "x-cluster.min",
        ),
        (
            "cluster-up",
            {
                let mut doc = live(&json!({}));
                doc["aws"]["region"] = json!("eu-west-1");
                doc.to_string()
            },
            65,
            "aws.region",
        ),
        ("img-push", json!({"name": "bad", "services": {"web": {"build": "./nowhere"}}}).to_string(), 65, "services.web.build"),
        ("svc-deploy", web(json!({"ports": [0]})).to_string(), 65, "services.web.ports[0]"),
        ("svc-deploy", web(json!({"ports": [{"target": 70000}]})).to_string(), 65, "services.web.ports[0].target"),
        ("svc-deploy", web(json!({"privileged": true})).to_string(), 65, "services.web.privileged"),
        ("svc-deploy", web(json!({"devices": ["/dev/kvm"]})).to_string(), 65, "services.web.devices"),
        ("svc-deploy", web(json!({"environment": {"A": {}}})).to_string(), 65, "services.web.environment.A"),
        (
            "svc-deploy",
            web(json!({"volumes": [{"type": "bind", "source": "/etc/hosts", "target": "/y"}]})).to_string(),
            65,
            "services.web.volumes[0]",
        ),
        ("svc-deploy", live(&json!({"web": {"ports": ["80"]}})).to_string(), 65, "services.web"),
        ("svc-deploy", live(&json!({"web": {"build": "./web"}})).to_string(), 65, "img-push"),
        ("svc-deploy", two(json!({"path": ["/a"]}), json!({"path": ["/a"]})).to_string(), 65, "services.b.x-svc.path"),
        ("svc-deploy", two(json!({}), json!({})).to_string(), 65, "services.b.ports"),
        ("svc-deploy", live(&json!({})).to_string(), 65, "services: the document has no services"),
        ("svc-deploy", web(json!({"ports": ["192.0.2.1:80:80"]})).to_string(), 65, "services.web.ports[0]"),
        ("svc-deploy", web(json!({"deploy": {"mode": "global"}})).to_string(), 65, "services.web.deploy.mode"),
        ("svc-deploy", web(json!({"depends_on": ["db"]})).to_string(), 65, "services.web.depends_on[0]"),
        (
            "svc-deploy",
            web(json!({"x-svc": {"health": {"interval": 5, "timeout": 5}}})).to_string(),
            65,
            "services.web.x-svc.health.timeout",
        ),
        ("svc-deploy", web(json!({"ports": ["80/udp"]})).to_string(), 65, "services.web.ports[0]"),
        ("svc-deploy", two(json!({"path": ["/*", "/a"]}), json!({})).to_string(), 65, "would both have port 80"),
        ("img-push", json!({"name": "bad--app", "services": {"web": {"build": "./web"}}}).to_string(), 65, "at name: must have"),
        ("svc-deploy", live(&json!({"a b": {"image": "x"}})).to_string(), 65, "services.a b"),
        (
            "svc-deploy",
            {
                let mut doc = web(json!({}));
                doc["x-svc"] = json!({"alb": "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/x/1", "internal": true, "access_logs": "logs"});
                doc.to_string()
            },
            65,
            "x-svc.alb: svc-deploy does not change the settings of an existing load balancer. Remove internal, access_logs, or remove alb",
        ),
        (
            "svc-deploy",
            {
                let mut doc = web(json!({}));
                doc["x-svc"] = json!({"ssl_policy": "TLS13"});
                doc.to_string()
            },
            65,
            "x-svc.ssl_policy: must be the name of a security policy",
        ),
    ];
    for (tool, doc, code, path) in cases {
        refused(&relay, (tool, &[]), &doc, (code, path));
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}

/// Values that AWS would refuse only after other resources have been created.
#[test]
fn a_value_that_aws_refuses_late_is_refused_with_its_path() {
    let relay = nothing();
    let svc = json!({"services": {"web": {"arn": "arn:aws:ecs:us-east-1:000000000000:service/bad/web"}}});
    for (tool, service, alarms, path) in [
        ("svc-deploy", json!({"x-svc": {"host": ["localhost"]}}), json!({}), "services.web.x-svc.host[0]"),
        (
            "svc-deploy",
            json!({"x-svc": {"host": ["*.*.a.de", "b.de", "c.de", "d.de", "e.de"], "path": "/*/*/*/*/*"}}),
            json!({}),
            "services.web.x-svc.host: a host and a path must have at most 6 wildcards",
        ),
        (
            "svc-deploy",
            json!({"x-svc": {"patch": {"target_group": {"ProtocolVersion": "GRPC"}}}}),
            json!({}),
            "services.web.x-svc.patch.target_group: HTTP/2 and gRPC need a load balancer with a certificate",
        ),
        (
            "svc-deploy",
            json!({"x-svc": {"patch": {"container": {"dependsOn": [{"containerName": "web", "condition": "HEALTHY"}]}}}}),
            json!({}),
            "services.web.x-svc.patch: a container waits until web is healthy",
        ),
        (
            "svc-deploy",
            json!({"x-svc": {"patch": {"containers": {"log": {}}}}}),
            json!({}),
            "services.web.x-svc.patch.containers.log: must be a container of this task: web",
        ),
        ("svc-deploy", json!({"shm_size": "1g"}), json!({}), "services.web.shm_size: is not possible on Fargate"),
        ("svc-deploy", json!({"expose": ["80/sctp"]}), json!({}), "services.web.expose[0]"),
        ("svc-deploy", json!({"x-svc": {"path": "/users/{id}"}}), json!({}), "services.web.x-svc.path: must be a path"),
        ("svc-deploy", json!({"x-svc": {"host": "bücher.de"}}), json!({}), "services.web.x-svc.host: must be a host name"),
        ("svc-deploy", json!({"x-svc": {"health": {"codes": "2xx"}}}), json!({}), "services.web.x-svc.health.codes: must be codes"),
        ("svc-deploy", json!({"x-svc": {"task_role": {"policies": ["Admin"]}}}), json!({}), "services.web.x-svc.task_role.policies"),
        ("svc-deploy", json!({"environment": ["=x"]}), json!({}), "services.web.environment: the name of a variable"),
        ("svc-deploy", json!({"ulimits": {"as": 5}}), json!({}), "services.web.ulimits.as: must be one of core"),
        (
            "svc-deploy",
            json!({"deploy": {"labels": (0..41).map(|n| format!("key{n}=x")).collect::<Vec<_>>()}}),
            json!({}),
            "services.web.deploy.labels: with the 0 tags",
        ),
        ("svc-deploy", json!({"mem_limit": "64m", "mem_reservation": "128m"}), json!({}), "services.web.mem_limit"),
        (
            "scale-set",
            json!({"x-scale": {"schedule": [{"name": "a", "schedule": "rate(1 day)", "max": 1}]}}),
            json!({}),
            "services.web.x-scale.schedule[0]",
        ),
        ("alarms-set", json!({}), json!({"notify": ["arn:aws:sns:eu-west-1:000000000000:ops"]}), "x-alarms.notify[0]"),
        (
            "alarms-set",
            json!({}),
            json!({"notify": (1..7).map(|n| format!("arn:aws:sns:us-east-1:000000000000:t{n}")).collect::<Vec<_>>()}),
            "x-alarms.notify",
        ),
    ] {
        let mut web = json!({"image": "nginx", "ports": ["80"]});
        web.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
        let mut doc = live(&json!({"web": web}));
        (doc["svc"], doc["x-alarms"]) = (svc.clone(), alarms);
        refused(&relay, (tool, &[]), &doc.to_string(), (65, path));
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}

/// A stage after a failed stage gets no document. It exits with 65, names the missing section, and
/// changes nothing.
#[test]
fn a_document_without_a_needed_section_is_refused() {
    let relay = nothing();
    for (tool, section, maker) in [
        ("cluster-up", "net", "net-up"),
        ("svc-deploy", "net", "net-up"),
        ("scale-set", "cluster", "cluster-up"),
        ("alarms-set", "cluster", "cluster-up"),
    ] {
        let said = run(&relay.endpoint, tool, &[], "");
        assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains(&format!("no section \"{section}\", which {maker} writes")), "{tool}: {}", said.stderr);
        let said = run(&relay.endpoint, tool, &["--app", "bad"], "");
        assert_eq!(said.code, 65, "{tool}: {}", said.stderr);
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}
