//! Bad documents and broken pipes: refused with the path of what is wrong, before any call.

use serde_json::{Value, json};
use tests::{Relay, run};

/// A document with all sections, as if the stages before had run.
fn live(services: &Value) -> Value {
    json!({
        "name": "bad",
        "aws": {"account": "000000000000", "region": "us-east-1", "partition": "aws"},
        "net": {"vpc_id": "vpc-1", "cidr": "10.0.0.0/16", "zones": ["us-east-1a", "us-east-1b"], "public_subnet_ids": ["subnet-1", "subnet-2"],
                "private_subnet_ids": ["subnet-3", "subnet-4"], "lb_security_group_id": "sg-1", "task_security_group_id": "sg-2"},
        "cluster": {"arn": "arn:aws:ecs:us-east-1:000000000000:cluster/bad", "name": "bad", "launch_type": "fargate"},
        "services": services,
    })
}

fn refused(relay: &Relay, (tool, args): (&str, &[&str]), doc: &str, (code, says): (i32, &str)) {
    let said = run(&relay.endpoint, tool, args, doc);
    assert_eq!(said.code, code, "{tool} {args:?} < {doc}\n{}", said.stderr);
    assert!(said.stderr.contains(says), "{tool} {args:?} < {doc}: {says} is not in\n{}", said.stderr);
    assert_eq!(said.stdout, "", "{tool} {args:?} < {doc}");
}

#[test]
fn bad_documents_are_refused_with_their_path_and_without_a_call() {
    let relay = Relay::new();
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
            web(json!({"volumes": [{"type": "bind", "source": "/x", "target": "/y"}]})).to_string(),
            65,
            "services.web.volumes[0]",
        ),
        ("svc-deploy", live(&json!({"web": {"ports": ["80"]}})).to_string(), 65, "services.web"),
        ("svc-deploy", live(&json!({"web": {"build": "./web"}})).to_string(), 65, "img-push"),
        ("svc-deploy", two(json!({"path": ["/a"]}), json!({"path": ["/a"]})).to_string(), 65, "services.b.x-svc.path"),
        ("svc-deploy", two(json!({}), json!({})).to_string(), 65, "services.b.x-svc.path"),
        ("svc-deploy", live(&json!({})).to_string(), 65, "services: there are none"),
        ("svc-deploy", web(json!({"ports": ["127.0.0.1:80:80"]})).to_string(), 65, "services.web.ports[0]"),
        ("svc-deploy", web(json!({"deploy": {"mode": "global"}})).to_string(), 65, "services.web.deploy.mode"),
        ("svc-deploy", web(json!({"depends_on": ["db"]})).to_string(), 65, "services.web.depends_on[0]"),
        (
            "svc-deploy",
            web(json!({"x-svc": {"health": {"interval": 5, "timeout": 5}}})).to_string(),
            65,
            "services.web.x-svc.health.timeout",
        ),
        ("svc-deploy", web(json!({"ports": ["80/udp"]})).to_string(), 65, "services.web.ports[0]"),
        ("svc-deploy", two(json!({"path": ["/*", "/a"]}), json!({})).to_string(), 65, "both take every path"),
        ("img-push", json!({"name": "bad", "services": {"we__b": {"build": "./web"}}}).to_string(), 65, "services.we__b"),
        ("svc-deploy", live(&json!({"a b": {"image": "x"}})).to_string(), 65, "services.a b"),
    ];
    for (tool, doc, code, path) in cases {
        refused(&relay, (tool, &[]), &doc, (code, path));
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}

/// What AWS refuses only after other things have been made.
#[test]
fn what_aws_would_refuse_is_refused_before() {
    let relay = Relay::new();
    let svc = json!({"services": {"web": {"arn": "arn:aws:ecs:us-east-1:000000000000:service/bad/web"}}});
    for (tool, service, alarms, path) in [
        ("svc-deploy", json!({"x-svc": {"host": ["localhost"]}}), json!({}), "services.web.x-svc.host[0]"),
        (
            "svc-deploy",
            json!({"x-svc": {"host": ["a.de", "b.de", "c.de", "d.de", "e.de"], "path": "/a"}}),
            json!({}),
            "services.web.x-svc.host",
        ),
        ("svc-deploy", json!({"expose": ["80/udp"]}), json!({}), "services.web: opens port 80 for two protocols"),
        ("svc-deploy", json!({"expose": ["80/sctp"]}), json!({}), "services.web.expose[0]"),
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

#[test]
fn wrong_flags_are_wrong_usage() {
    let relay = Relay::new();
    let mut deployed = live(&json!({"web": {"image": "x"}}));
    deployed["svc"] = json!({"services": {"web": {"arn": "arn:aws:ecs:us-east-1:000000000000:service/bad/web"}}});
    let (new, deployed) = (r#"{"name": "bad"}"#, deployed.to_string());
    let cases: [(&str, &[&str], &str, &str); 14] = [
        ("net-up", &["--nat", "many"], new, "--nat"),
        ("net-up", &["--tag", "novalue"], new, "--tag"),
        ("net-up", &["--app", "My App"], new, "--app"),
        ("net-up", &["--cidr", "10.0.0.0"], new, "--cidr"),
        ("net-up", &["--timeout", "soon"], new, "--timeout"),
        ("net-up", &["--public-subnets", "subnet-1,subnet-2"], new, "--public-subnets: names subnets of an existing VPC"),
        ("net-up", &["--vpc", "vpc-1", "--cidr", "10.0.0.0/16"], new, "--cidr: can't be asked for with `vpc`"),
        ("cluster-up", &["--max", "1"], &deployed, "--max: 2 instances at least, but 1 at most"),
        ("img-push", &["--tag-images", ".bad"], &deployed, "--tag-images: \".bad\" can't tag an image"),
        ("svc-deploy", &["--service", "web", "--breaker", "maybe"], &deployed, "--breaker"),
        ("scale-set", &["--min", "20", "--max", "3"], &deployed, "--min (for services.web): 20 at least, but 3 at most"),
        ("scale-set", &["--max", "1"], &deployed, "--max (for services.web): 2 at least, but 1 at most"),
        ("scale-set", &["--cpu", "170"], &deployed, "--cpu (for services.web): 170 is not from 1 to 100"),
        ("scale-set", &["--instances-min", "2"], &deployed, "--instances-min: is about instances"),
    ];
    for (tool, args, doc, says) in cases {
        refused(&relay, (tool, args), doc, (2, says));
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}

/// The stages after one that failed exit 65, name the section that is missing, and touch nothing.
#[test]
fn the_stages_after_a_failed_one_stop() {
    let relay = Relay::new();
    for (tool, section, maker) in [
        ("cluster-up", "net", "net-up"),
        ("svc-deploy", "net", "net-up"),
        ("scale-set", "cluster", "cluster-up"),
        ("alarms-set", "cluster", "cluster-up"),
    ] {
        let said = run(&relay.endpoint, tool, &[], "");
        assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains(&format!("no section \"{section}\": {maker}")), "{tool}: {}", said.stderr);
        let said = run(&relay.endpoint, tool, &["--app", "bad"], "");
        assert_eq!(said.code, 65, "{tool}: {}", said.stderr);
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}
