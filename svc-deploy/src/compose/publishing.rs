//! How a service is behind the load balancer: its port, its paths and hosts, and its target group.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::doc::known_image::{Kind, known_of};
use shared::doc::public::{Private, Public, Publishing, Why};
use shared::doc::{At, Document};
use shared::{Error, Result};

use super::limit;
use crate::model::{Codes, NetworkMode, Published, RULE_WILDCARDS, Service, TargetGroupShape, wildcards};
use crate::settings::{Health, ServiceSettings};

/// Seconds for which a stopping task may answer the requests that it has. AWS's five minutes make every deployment as slow.
/// <https://docs.aws.amazon.com/AmazonECS/latest/bestpracticesguide/load-balancer-connection-draining.html>
const DRAIN: &str = "30";

/// Returns how a service is published.
pub fn read(doc: &Document, at: &At<'_>, settings: &ServiceSettings, public: &Public, network_mode: NetworkMode) -> Result<Published> {
    let x_svc = at.key("x-svc");
    let setting = |key: &str| x_svc.as_ref().and_then(|at| at.key(key));
    let port = i32::from(public.port);
    if public.is_guess {
        let path = at.path();
        doc.warn(
            "first-port-only",
            format!("{path}.ports: only port {port} is behind the load balancer. Set x-svc.port to choose another"),
        );
    }
    warn_of_database(doc, at);
    let mut paths = settings.path.clone().unwrap_or_default();
    check_paths(&paths, setting("path"))?;
    hint_below(doc, &paths, setting("path").as_ref());
    // Every path is the same as none.
    if paths.iter().any(|path| path == "/*") {
        paths.clear();
    }
    let hosts = settings.host.as_deref().unwrap_or_default();
    check_hosts(hosts, setting("host"))?;
    check_wildcards(hosts, &paths, setting("host").or(setting("path")))?;
    // The load balancer ignores the case.
    let hosts = hosts.iter().map(|host| host.to_lowercase()).collect();
    let target_group = target_group(at, settings, port, network_mode)?;
    Ok(Published { port, listener: public.listener.map(i32::from), paths, hosts, target_group, grace: settings.grace })
}

/// Warns of a database that the author publishes all the same.
fn warn_of_database(doc: &Document, at: &At<'_>) {
    if let Some(database) = known_of(at).filter(|known| known.kind == Kind::Database) {
        doc.warn(
            "database-published",
            format!(
                "{}: {} does not speak HTTP, but its port is open behind the load balancer. Set x-svc.publish: false to keep it private",
                at.path(),
                database.name
            ),
        );
    }
}

/// Says which services Compose publishes, but not the load balancer, and which addresses several services open.
pub fn explain(doc: &Document, publishing: &Publishing, internal: bool) {
    for Private { service, port, why } in &publishing.private {
        let why = match why {
            Why::Known(known) => format!("{} is {}", known.name, known.kind.text()),
            Why::NoHttp => format!("port {port} does not speak HTTP"),
            Why::Lost => {
                doc.warn(
                    "private-because-json",
                    format!("services.{service}: another service is public, and the JSON of Compose does not say whether this one is, too, so the load balancer does not serve it. Pipe the YAML of `docker compose config`, or name all public services with --publish"),
                );
                continue;
            }
        };
        doc.warn(
            "not-published",
            format!(
                "services.{service}: {why}, so the load balancer does not serve it. Set x-svc.publish: true to publish it all the same"
            ),
        );
    }
    if publishing.public.iter().all(|public| public.listener.is_none()) {
        return;
    }
    let address = |public: &Public| match public.listener {
        Some(port) => format!("services.{} on port {port}", public.service),
        None => format!("services.{}", public.service),
    };
    let all: Vec<String> = publishing.public.iter().map(address).collect();
    let whom = if internal { "the network of the load balancer" } else { "the internet" };
    doc.warn(
        "several-addresses",
        format!(
            "these services are open to {whom}: {}. Keep one private with x-svc.publish: false, or give them paths or hosts (x-svc.path, x-svc.host) on one address",
            all.join(", ")
        ),
    );
}

/// Returns what the target group should be; the patch has the last word.
/// Ranges and defaults: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html>
fn target_group(at: &At<'_>, settings: &ServiceSettings, port: i32, network_mode: NetworkMode) -> Result<TargetGroupShape> {
    let health = Health::from(settings.health.clone().unwrap_or_default());
    let place = at.key("x-svc").and_then(|at| at.key("health"));
    let place = |key: &str| place.as_ref().and_then(|at| at.key(key));
    let interval = health.interval;
    // Elastic Load Balancing needs an answer before the next check.
    let timeout = health.timeout.unwrap_or(5.min(interval - 1));
    if let Some(late) = place("timeout").filter(|_| timeout >= interval) {
        return Err(late.wrong("health-timeout", format!("must be less than the interval of {interval} seconds; found {timeout}")));
    }
    if let Some(path) = place("path").filter(|_| !health.path.starts_with('/') || health.path.len() > 1024) {
        return Err(path.expected("health-path", "a path of at most 1024 characters that begins with /"));
    }
    if let Some(codes) = place("codes").filter(|_| !limit::is_codes(&health.codes)) {
        return Err(codes.expected("health-codes", "codes between 200 and 499, for example 200, 200,204 or 200-399"));
    }
    let shape = TargetGroupShape {
        port,
        protocol: "HTTP".to_owned(),
        protocol_version: "HTTP1".to_owned(),
        // Tasks with a network interface of their own have an address, others that of their instance.
        target_type: if network_mode == NetworkMode::Awsvpc { "ip" } else { "instance" }.to_owned(),
        health_check_protocol: None,
        health_check_port: None,
        health_check_path: health.path,
        health_check_interval_seconds: interval,
        health_check_timeout_seconds: timeout,
        healthy_threshold_count: health.healthy,
        unhealthy_threshold_count: health.unhealthy,
        matcher: Codes { http_code: Some(health.codes), grpc_code: None },
        // <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html>
        attributes: BTreeMap::from([("deregistration_delay.timeout_seconds".to_owned(), DRAIN.to_owned())]),
    };
    let patch = settings.patch.as_ref().and_then(|patch| patch.target_group.as_ref());
    patch.map_or(Ok(shape.clone()), |patch| patched(&shape, patch, at))
}

/// Returns the shape with the patch of the service at this place.
fn patched(shape: &TargetGroupShape, patch: &Map<String, Value>, at: &At<'_>) -> Result<TargetGroupShape> {
    let mut shape = serde_json::to_value(shape).map_err(|error| Error::Internal(error.to_string()))?;
    // gRPC has codes of its own, and ELB accepts no others; these are its default for HTTP's success.
    if patch.get("ProtocolVersion").is_some_and(|version| version == "GRPC") {
        shape["Matcher"] = json!({"GrpcCode": "0-99"});
    }
    json_patch::merge(&mut shape, &Value::Object(patch.clone()));
    serde_json::from_value(shape).map_err(|error| {
        let place = format!("{}.x-svc.patch.target_group", at.path());
        Error::document("target-group-patch", place, format!("{error}. Use the fields of CreateTargetGroup, and Attributes"))
    })
}

fn check_paths(paths: &[String], at: Option<At<'_>>) -> Result<()> {
    match item(at, paths.iter().position(|path| !limit::is_rule_path(path))) {
        Some(item) => {
            let kind = r#"a path of at most 128 characters that begins with / and has only letters, digits and _-.$/~"'@:+&*?"#;
            Err(item.expected("rule-path", kind))
        }
        None => Ok(()),
    }
}

/// A path without a wildcard is exact, other than the location of a web server. A file has no paths below it.
fn hint_below(doc: &Document, paths: &[String], at: Option<&At<'_>>) {
    let covered = |below: &str| paths.iter().filter_map(|path| path.strip_suffix('*')).any(|start| below.starts_with(start));
    let is_file = |path: &str| path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    for path in paths.iter().filter(|path| !path.contains(['*', '?']) && !is_file(path)) {
        let below = format!("{}/", path.trim_end_matches('/'));
        if let Some(at) = at.filter(|_| !covered(&below)) {
            let text = format!("{path} does not include the paths below it. Add {below}* to forward these, too");
            doc.warn("path-without-below", format!("{}: {text}", at.path()));
        }
    }
}

fn check_hosts(hosts: &[String], at: Option<At<'_>>) -> Result<()> {
    match item(at, hosts.iter().position(|host| !limit::is_rule_host(host))) {
        Some(item) => {
            let kind = "a host name of at most 128 letters, digits and -_.*?, with a dot and only letters after the last one";
            Err(item.expected("rule-host", kind))
        }
        None => Ok(()),
    }
}

/// Hosts and paths are split over several rules, but one host and one path must fit into a rule.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
fn check_wildcards(hosts: &[String], paths: &[String], at: Option<At<'_>>) -> Result<()> {
    let most = |patterns: &[String]| patterns.iter().map(|pattern| wildcards(pattern)).max().unwrap_or(0);
    match (at, most(hosts) + most(paths)) {
        (Some(at), found) if found > RULE_WILDCARDS => Err(at.wrong(
            "rule-wildcards",
            format!("a host and a path must have at most {RULE_WILDCARDS} wildcards (* and ?) together; found {found}. Use fewer of them"),
        )),
        _ => Ok(()),
    }
}

/// Returns the place of an item of a setting that is one text or a list of them.
fn item(at: Option<At<'_>>, index: Option<usize>) -> Option<At<'_>> {
    let (at, index) = at.zip(index)?;
    if at.value().is_array() { at.list().ok()?.into_iter().nth(index) } else { Some(at) }
}

/// No two services may claim the same requests, and only one may get all others.
pub fn check_claims(services: &[Service]) -> Result<()> {
    let mut claims: Vec<(String, &str)> = Vec::new();
    for service in services {
        // A listener of its own has a port of its own.
        let Some(published) = service.published.as_ref().filter(|published| published.listener.is_none()) else { continue };
        let any = [String::new()];
        let hosts = if published.hosts.is_empty() { &any[..] } else { &published.hosts };
        let paths = if published.paths.is_empty() { &any[..] } else { &published.paths };
        for claim in hosts.iter().flat_map(|host| paths.iter().map(move |path| format!("{host}{path}"))) {
            if let Some((_, other)) = claims.iter().find(|(taken, _)| *taken == claim) {
                let what = if claim.is_empty() { "every path".to_owned() } else { claim };
                return Err(Error::document(
                    "two-services-one-path",
                    format!("services.{}.x-svc.path", service.name),
                    format!("this service and services.{other} both claim {what}. Give each its own path or host"),
                ));
            }
            claims.push((claim, &service.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shared::doc::public::Publish;

    use super::*;
    use crate::settings::ServiceFlags;

    fn published(x_svc: &Value) -> Result<Option<Published>, String> {
        let doc = json!({"services": {"web": {"image": "nginx", "ports": ["80", "9090"], "x-svc": x_svc}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let at = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let settings = shared::settings::read(&doc, &at, "x-svc", &ServiceFlags::default()).map_err(|error| error.to_string())?;
        let publishing = Publishing::read(&doc, &Publish::default()).map_err(|error| error.to_string())?;
        let read = |public| read(&doc, &at, &settings, public, NetworkMode::Bridge);
        publishing.of("web").map(read).transpose().map_err(|error| error.to_string())
    }

    fn wrong(x_svc: &Value) -> String {
        published(x_svc).err().unwrap_or_default()
    }

    #[test]
    fn paths_and_hosts_are_checked() {
        let web = published(&json!({"path": "/api/*", "host": ["WWW.example.com"], "port": 9090})).unwrap().unwrap();
        assert_eq!((web.port, web.paths, web.hosts), (9090, vec!["/api/*".to_owned()], vec!["www.example.com".to_owned()]));
        assert!(published(&json!({"path": ["/api/*", "/*"]})).unwrap().unwrap().paths.is_empty());
        assert!(published(&json!({"publish": false})).unwrap().is_none());
        for (x_svc, said) in [
            (json!({"path": "api"}), "services.web.x-svc.path: must be a path"),
            (json!({"path": ["/api", "api"]}), "services.web.x-svc.path[1]: must be a path"),
            (json!({"path": 1}), "services.web.x-svc.path: must be a string or a list of strings; found 1"),
            (json!({"host": ["a.b", "localhost"]}), "services.web.x-svc.host[1]: must be a host name"),
            (json!({"host": "localhost"}), "services.web.x-svc.host: must be a host name"),
            (json!({"path": ["/a", "/*/*/*/?/*/*/*"]}), "services.web.x-svc.path: a host and a path must have at most 6 wildcards"),
            (json!({"host": "*.*.a.b", "path": ["/*/*/*/*/*"]}), "services.web.x-svc.host: a host and a path must have at most 6"),
        ] {
            assert!(wrong(&x_svc).contains(said), "{x_svc}: {}", wrong(&x_svc));
        }
    }

    #[test]
    fn an_exact_path_gets_a_hint_unless_the_paths_below_are_forwarded() {
        for (path, hints) in [
            (json!("/orders"), 1),
            (json!(["/orders", "/orders/*"]), 0),
            (json!(["/orders", "/or*"]), 0),
            (json!(["/orders", "/items/*", "/items/"]), 1),
            (json!("/"), 1),
            (json!(["/api/*", "/robots.txt"]), 0),
        ] {
            let doc = json!({"services": {"web": {"x-svc": {"path": path}}}});
            let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
            let at = doc.root().key("services").and_then(|all| all.key("web")?.key("x-svc")?.key("path"));
            let paths: Vec<String> = match &path {
                Value::String(one) => vec![one.clone()],
                list => serde_json::from_value(list.clone()).unwrap(),
            };
            hint_below(&doc, &paths, at.as_ref());
            assert_eq!(doc.warnings().len(), hints, "{path}");
        }
    }

    #[test]
    fn the_target_group_follows_health_and_patch() {
        let shape = |x_svc: Value| published(&x_svc).unwrap().unwrap().target_group;
        let plain = shape(json!({}));
        assert_eq!(
            (plain.target_type.as_str(), plain.health_check_path.as_str(), plain.health_check_timeout_seconds),
            ("instance", "/", 5)
        );
        assert_eq!(shape(json!({"health": {"interval": 5}})).health_check_timeout_seconds, 4);
        let grpc = shape(json!({"patch": {"target_group": {"ProtocolVersion": "GRPC", "Attributes": {"stickiness.enabled": "true"}}}}));
        assert_eq!((grpc.matcher.http_code, grpc.matcher.grpc_code.as_deref()), (None, Some("0-99")));
        assert_eq!(grpc.attributes["stickiness.enabled"], "true");
        let http2 = shape(json!({"patch": {"target_group": {"ProtocolVersion": "HTTP2"}}}));
        assert_eq!((http2.protocol_version.as_str(), http2.matcher.http_code.as_deref()), ("HTTP2", Some("200-399")));
        for (x_svc, said) in [
            (json!({"health": {"interval": 10, "timeout": 10}}), "must be less than the interval of 10 seconds; found 10"),
            (json!({"health": {"path": "up"}}), "x-svc.health.path: must be a path"),
            (json!({"health": {"healthy": 1}}), "x-svc.health.healthy: must be between 2 and 10; found 1"),
            (json!({"patch": {"target_group": {"Prot": "x"}}}), "unknown field `Prot`"),
        ] {
            assert!(wrong(&x_svc).contains(said), "{x_svc}: {}", wrong(&x_svc));
        }
    }
}
