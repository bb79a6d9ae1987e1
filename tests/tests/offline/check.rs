//! `--check`: everything that is wrong at once, without a call.

use tests::script;
use tests::tool::TOOLS;

use super::{nothing, run};

/// One mistake or more for each tool, in YAML.
const WRONG: &str = "
name: shop
x-net: {azs: 9, nat: many}
x-cluster: {launch_type: lambda, min: -1}
x-img: {keep: 0, untagged_days: 0}
x-alarms: {cpu: 400, notify: [nobody, nowhere]}
services:
  web:
    image: nginx
    ports: ['80']
    x-scale: {cpu: 0, max: -1}
  api:
    image: nginx
    x-scale: {min: -1}
";

#[test]
fn every_tool_reports_all_of_its_findings() {
    let relay = nothing();
    for (tool, places) in [
        ("net-up", &["x-net.azs", "x-net.nat"][..]),
        ("cluster-up", &["x-cluster.launch_type", "x-cluster.min"]),
        ("img-push", &["x-img.keep", "x-img.untagged_days"]),
        ("scale-set", &["services.web.x-scale.cpu", "services.web.x-scale.max", "services.api.x-scale.min"]),
        ("alarms-set", &["x-alarms.cpu"]),
    ] {
        for args in [&["--check"][..], &["--check", "--log-format", "json"]] {
            let said = run(&relay.endpoint, tool, args, WRONG);
            assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}: {}", said.stderr);
            for place in places {
                assert!(said.stderr.contains(&format!("the document is wrong at {place}: ")), "{tool}, {place}: {}", said.stderr);
            }
        }
    }
    let emails = WRONG.replace("cpu: 400, ", "");
    let said = run(&relay.endpoint, "alarms-set", &["--check"], &emails);
    assert!(said.stderr.contains("x-alarms.notify[0]") && said.stderr.contains("x-alarms.notify[1]"), "{}", said.stderr);
    assert_eq!(relay.calls().len(), 0);
}

/// The keys of a service are independent of each other, and so are the services.
#[test]
fn svc_deploy_reports_each_key_of_each_service() {
    let services = "
name: shop
x-cluster: {launch_type: fargate}
services:
  web:
    image: nginx
    ports: ['80', '81']
    privileged: true
    mem_limit: 1
    env_file: .env
    healthcheck: {test: 'true', interval: soon}
    x-svc: {port: 82}
  api:
    image: nginx api
    user: [root]
    cap_add: [NET_ADMIN]
    x-svc: {grace: -1}
  log: {image: busybox, network_mode: 'service:nowhere'}
";
    let said = run("http://127.0.0.1:1", "svc-deploy", &["--check"], services);
    assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{}", said.stderr);
    for place in [
        "services.web.privileged",
        "services.web.mem_limit",
        "services.web.env_file",
        "services.web.healthcheck.interval",
        "services.web.x-svc.port",
        "services.api.image",
        "services.api.user",
        "services.api.cap_add",
        "services.api.x-svc.grace",
        "services.log.network_mode",
    ] {
        assert_eq!(said.stderr.matches(&format!("wrong at {place}: ")).count(), 1, "{place}: {}", said.stderr);
    }
}

/// As from stages that ran at the same time.
#[test]
fn several_documents_become_one() {
    let model = r#"{"name":"shop","services":{"web":{"image":"nginx"}}"#;
    let (net, img) = (format!(r#"{model},"net":{{"vpc_id":"vpc-1"}}}}"#), format!(r#"{model},"img":{{}}}}"#));
    for tool in TOOLS {
        let said = run("http://127.0.0.1:1", tool, &["--check"], &format!("{net}\n{img}\n")).ok();
        assert_eq!(said.stdout, format!("{model},\"net\":{{\"vpc_id\":\"vpc-1\"}},\"img\":{{}}}}\n"), "{tool}");
        let said = run("http://127.0.0.1:1", tool, &["--check"], &format!("{net}{}", net.replace("vpc-1", "vpc-2")));
        assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains("error[documents-differ]: the document is wrong at net.vpc_id: "), "{tool}: {}", said.stderr);
    }
}

/// A pipe of checks passes the document on as it came, so `$$` is still `$$` for the next tool.
#[test]
fn a_document_without_findings_is_passed_on_unchanged() {
    let text = "name: shop\nservices:\n  web: {image: nginx, ports: ['80'], environment: {PASSWORD: pa$$5}} # as it came\n";
    for tool in tests::tool::TOOLS {
        let said = run("http://127.0.0.1:1", tool, &["--check"], text).ok();
        assert_eq!(said.stdout, text, "{tool}");
        let said = run("http://127.0.0.1:1", tool, &["--check"], "name: shop\nx-tags: {a: $HOME}\nservices: {web: {image: nginx}}\n");
        assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{tool}");
        assert!(said.stderr.contains("x-tags.a: the variable \"HOME\" has no value yet"), "{tool}: {}", said.stderr);
    }
    let said = run("http://127.0.0.1:1", "svc-deploy", &["--check"], text).ok();
    assert!(said.stderr.contains("warning[plain-http]: the load balancer is open to the internet"), "{}", said.stderr);
    let said = run("http://127.0.0.1:1", "net-up", &["--check", "--app", "shop"], "").ok();
    assert_eq!(said.stdout, "{\"name\":\"shop\"}\n");
}

/// The script checks with all tools, and prints what all of them say once.
#[test]
fn deploy_checks_all_settings_before_the_first_call() {
    let relay = nothing();
    let said = script(&relay.endpoint, "deploy", &[], &format!("{WRONG}x-tags: {{a: $HOME}}\n"));
    assert_eq!((said.code, said.stdout.as_str()), (65, ""), "{}", said.stderr);
    for place in ["x-net.azs", "x-net.nat", "x-cluster.min", "x-img.keep", "services.api.x-scale.min", "x-alarms.cpu", "x-tags.a"] {
        assert_eq!(said.stderr.matches(&format!("wrong at {place}: ")).count(), 1, "{place}: {}", said.stderr);
    }
    assert_eq!(relay.calls().len(), 0);
}

/// As `docker compose up` does it. What `docker compose config` prints has only services that are enabled.
#[test]
fn a_profile_that_is_not_enabled_leaves_its_services_out() {
    let file = "
name: shop
services:
  web: {image: nginx, ports: ['80']}
  debug: {image: nginx, profiles: [dev, test], command: 'echo ${NOT_SET}'}
";
    let warning = "warning[profile-not-enabled]: services.debug is left out, because none of its profiles (dev, test) is enabled";
    for tool in ["net-up", "cluster-up", "img-push", "svc-deploy", "scale-set", "alarms-set"] {
        let said = run("http://127.0.0.1:1", tool, &["--check"], file);
        assert!(said.code == 0 && said.stderr.contains(warning), "{tool}: {}", said.stderr);
        let said = run("http://127.0.0.1:1", tool, &["--check", "--compose-profile", "x,test"], file);
        assert!(said.code == 65 && said.stderr.contains("services.debug.command"), "{tool}: {}", said.stderr);
    }
}

/// EventBridge Scheduler runs a task without names.
#[test]
fn a_scheduled_job_that_names_a_service_is_warned_of() {
    let file = "
name: shop
services:
  api: {image: acme/api, expose: ['8080']}
  report: {image: acme/report, environment: {API: 'http://api:8080', SELF: 'http://report:1'}, x-svc: {schedule: rate(1 day)}}
  clean: {image: acme/clean, command: [rm, old], x-svc: {schedule: rate(1 day)}}
";
    let said = run("http://127.0.0.1:1", "svc-deploy", &["--check"], file).ok();
    let named: Vec<&str> = said.stderr.lines().filter(|line| line.contains("[names-of-scheduled-job]")).collect();
    assert_eq!(named.len(), 1, "{}", said.stderr);
    assert!(
        named[0].contains("services.report.environment.API calls api:8080, but a scheduled job can't reach other services by name"),
        "{}",
        named[0]
    );
}
