//! Hostile and random documents: no tool panics or changes anything, and each error has a path.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use serde_json::{Map, Value, json};
use tests::tool::TOOLS;
use tests::{Faults, Relay};

use super::{nothing, run};
use crate::full;

/// Returns an AWS that denies every call, which ends each run with a valid document.
fn denied() -> &'static Relay {
    static RELAY: OnceLock<Relay> = OnceLock::new();
    RELAY.get_or_init(|| {
        let relay = nothing();
        relay.fail(Faults { denied: true, ..Faults::default() });
        relay
    })
}

/// Returns a document with every section and every kind of setting.
fn whole() -> Value {
    json!({
        "name": "hostile",
        "aws": {"account": "000000000000", "region": "us-east-1", "partition": "aws"},
        "x-tags": {"team": "a"},
        "x-net": {"cidr": "10.0.0.0/16", "azs": 2, "nat": "single", "endpoints": ["s3", "ecr"], "flow_logs": 14},
        "x-cluster": {"launch_type": "ec2", "instance_types": ["t3.medium"], "min": 1, "max": 3, "spot": 10, "ami": "al2023"},
        "x-img": {"keep": 5, "immutable": true},
        "x-svc": {"internal": false, "retention": 30},
        "x-scale": {"cpu": 75},
        "x-alarms": {"notify": ["ops@example.com"], "cpu": 85},
        "net": {"vpc_id": "vpc-1", "cidr": "10.0.0.0/16", "zones": ["us-east-1a", "us-east-1b"], "public_subnet_ids": ["subnet-1", "subnet-2"],
                "private_subnet_ids": ["subnet-3", "subnet-4"], "lb_security_group_id": "sg-1", "task_security_group_id": "sg-2"},
        "cluster": {"arn": "arn:aws:ecs:us-east-1:000000000000:cluster/hostile", "name": "hostile", "launch_type": "ec2", "architecture": "x86_64",
                    "capacity_provider_strategy": [{"capacity_provider": "instances-of-hostile", "weight": 1, "base": 0}], "min": 1, "max": 3,
                    "auto_scaling_group": "hostile"},
        "img": {"web": {"uri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/hostile/web@sha256:0", "tag": "1"}},
        "svc": {"url": null, "services": {"web": {"name": "web", "published": true}}},
        "volumes": {"data": {"x-efs": "fs-1"}},
        "secrets": {"key": {"external": true, "name": "arn:aws:secretsmanager:us-east-1:000000000000:secret:key-AbCdEf"}},
        "services": {
            "web": {"image": "nginx", "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}], "environment": {"A": "b"}, "command": ["a", "b"],
                    "deploy": {"replicas": 2, "resources": {"limits": {"cpus": 0.5, "memory": "536870912"}}}, "volumes": ["data:/data"],
                    "secrets": [{"source": "key", "target": "KEY"}], "healthcheck": {"test": ["CMD", "true"], "interval": "10s"},
                    "ulimits": {"nofile": {"soft": 10, "hard": 20}}, "depends_on": {"api": {"condition": "service_started"}},
                    "x-svc": {"path": ["/*"], "health": {"path": "/"}, "patch": {"task": {}, "service": {}}},
                    "x-scale": {"min": 2, "max": 4, "schedule": [{"name": "m", "schedule": "rate(1 hour)", "min": 3}]}},
            "api": {"image": "nginx", "ports": ["81:80"], "x-svc": {"path": ["/api/*"]}},
        },
    })
}

/// Runs every tool with the document. A tool may refuse it, but must not panic.
fn check(text: &str) -> Result<(), TestCaseError> {
    for tool in TOOLS {
        let said = run(&denied().endpoint, tool, &[], text);
        prop_assert!([0, 1, 2, 65, 69, 77].contains(&said.code), "{tool} ended with {}: {}", said.code, said.stderr);
        prop_assert!(!said.stderr.contains("panicked"), "{tool}: {}", said.stderr);
        let has_place = said.stderr.contains("the document is wrong at ") || said.stderr.contains("the document has no section");
        prop_assert!(said.code != 65 || has_place, "{tool}: the error has no path: {}", said.stderr);
        prop_assert_eq!(denied().mutations(), Vec::<String>::new(), "{} changed something", tool);
    }
    Ok(())
}

/// Returns random values, among them values that break careless code.
fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!("$(reboot)'\"`;\u{0}\n")),
        Just(json!("-1")),
        Just(json!("99999999999999999999999999")),
        Just(json!("arn:aws:iam::aws:policy/../../x")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_-]{0,8}", inner), 0..4).prop_map(|pairs| Value::from(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Collects the places of a document as JSON pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| places(value, &format!("{at}/{}", key.replace('/', "~1")), all)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| places(value, &format!("{at}/{i}"), all)),
        _ => {}
    }
}

fn config() -> Config {
    let cases = if full() { 3000 } else { 60 };
    // Documents that failed once are tried first.
    let kept = FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/documents.txt"));
    Config { cases, failure_persistence: Some(Box::new(kept)), ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Random values at a few places of a valid document.
    #[test]
    fn random_values_cause_no_panic(spots in prop::collection::vec((any::<prop::sample::Index>(), junk()), 1..4)) {
        let mut doc = whole();
        for (spot, value) in spots {
            let mut all = Vec::new();
            places(&doc, "", &mut all);
            *doc.pointer_mut(&all[spot.index(all.len())]).unwrap() = value;
        }
        check(&doc.to_string())?;
    }

    /// A valid document that ends early, or with a changed byte.
    #[test]
    fn a_damaged_document_causes_no_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut text = whole().to_string().into_bytes();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        check(&String::from_utf8_lossy(&text))?;
    }
}

#[test]
fn a_hostile_value_is_refused_with_its_path() {
    let deep = format!(r#"{{"name": "deep", "x": {}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = "a".repeat(10 * 1024 * 1024);
    let with = |pointer: &str, value: Value| {
        let mut doc = whole();
        *doc.pointer_mut(pointer).unwrap() = value;
        doc.to_string()
    };
    let cases = [
        ("net-up", deep, "stdin"),
        ("net-up", with("/name", json!(long)), "name"),
        ("net-up", with("/name", json!("a; reboot")), "name"),
        ("net-up", with("/name", json!("$(reboot)")), "name"),
        ("net-up", with("/x-net/cidr", json!(long)), "x-net.cidr"),
        ("net-up", with("/x-net/azs", json!(1e300)), "x-net.azs"),
        ("net-up", r#"{"name": "one", "name": "two"}"#.to_owned(), "name"),
        ("cluster-up", with("/x-cluster/max", json!(99_999_999_999_999_i64)), "x-cluster.max"),
        ("cluster-up", with("/x-cluster/ami", json!("ami-$(reboot)")), "x-cluster.ami"),
        ("net-up", with("/x-tags/team", json!(long)), "x-tags.team"),
        ("svc-deploy", with("/services/web/environment/A", json!(long)), "services.web"),
        ("svc-deploy", with("/services/api/image", json!(long)), "services.api"),
        ("svc-deploy", with("/services/web/x-svc/path", json!([long])), "services.web.x-svc.path[0]"),
        ("svc-deploy", with("/services/web/deploy/replicas", json!("9".repeat(400))), "services.web.deploy.replicas"),
        ("svc-deploy", with("/services/web/deploy/resources/limits/memory", json!(1e300)), "services.web.deploy.resources.limits.memory"),
        ("scale-set", with("/services/web/x-scale/min", json!(-1)), "services.web.x-scale.min"),
        ("alarms-set", with("/x-alarms/cpu", json!("NaN")), "x-alarms.cpu"),
    ];
    for (tool, text, path) in cases {
        let said = run(&denied().endpoint, tool, &[], &text);
        assert_eq!(said.code, 65, "{tool} {path}: {}", said.stderr);
        assert!(said.stderr.contains(path), "{tool} does not say {path}: {}", &said.stderr[..said.stderr.len().min(500)]);
        assert!(said.stderr.len() < 1000, "{tool} {path}: the message is as long as the value");
        assert_eq!(said.stdout, "");
    }
    assert_eq!(denied().mutations(), Vec::<String>::new());
}
