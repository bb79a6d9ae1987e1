//! Which services the load balancer serves, and on which ports: net-up opens these ports, and svc-deploy creates the listeners.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::Value;

use super::at::At;
use super::compose::{Selection, owner};
use super::document::Document;
use super::job::is_job;
use super::known_image::{Known, known_of};
use super::port::{self, Address, Port, Protocol};
use crate::error::{Error, Result};

/// The flag that chooses the public services.
#[derive(Debug, Clone, Default, Args)]
pub struct Publish {
    /// Make only these services public, for example --publish web,api
    #[arg(long = "publish", id = "publish", value_name = "SERVICE", value_delimiter = ',', conflicts_with = "down")]
    pub only: Vec<String>,
}

/// What of an app is public.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Publishing {
    /// In the document's order.
    pub public: Vec<Public>,
    pub private: Vec<Private>,
}

/// A service behind the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    pub service: String,
    /// The container's port.
    pub port: u16,
    /// Whether it is one of several, and `x-svc.port` does not say which.
    pub is_guess: bool,
    /// The port of a listener of its own. Without one it is on port 80 or 443: by its paths and hosts, or for all other requests.
    pub listener: Option<u16>,
}

/// A service that publishes ports in Compose, but is not public here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    pub service: String,
    pub port: u16,
    pub why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Known(Known),
    /// No port of it speaks HTTP.
    NoHttp,
    /// The document has lost its `x-svc`, which may have said `publish: false`.
    Lost,
}

/// The ports of the load balancer's own two listeners.
pub const HTTP: u16 = 80;
pub const HTTPS: u16 = 443;

/// Ports whose protocol is known and is not HTTP/1.1. A load balancer would find their tasks unhealthy.
/// <https://www.iana.org/assignments/service-names-port-numbers>
const NOT_HTTP: &[u16] = &[
    21, 22, 23, 25, 53, 110, 143, 389, 445, 465, 587, 636, 993, 995, 1025, 1433, 1521, 1883, 2181, 2379, 2380, 3306, 3389, 4222, 4317,
    5005, 5044, 5432, 5671, 5672, 5900, 6379, 6432, 7000, 7233, 7687, 8883, 9042, 9092, 9093, 9200, 9229, 9300, 11211, 26257, 27017, 33060,
    50051, 61616,
];

impl Publishing {
    /// Decides for every service of the document.
    ///
    /// # Errors
    /// Says which port is wrong, and which two services would have the same port of the load balancer.
    pub fn read(doc: &Document, flag: &Publish) -> Result<Self> {
        let services = doc.services(&Selection::default())?;
        if let Some(missing) = flag.only.iter().find(|name| !services.iter().any(|(service, _)| service == name)) {
            return Err(Error::usage("publish-no-such-service", format!("the document has no service {missing:?}. Check --publish")));
        }
        let (mut all, mut main, mut rest) = (Self::default(), None, Vec::new());
        for (name, at) in &services {
            // Nothing calls a job.
            if is_job(doc, name) {
                continue;
            }
            let one = match doc.keep(decide(name, at, flag)) {
                Some(Decision::Public(one)) => one,
                Some(Decision::Private(why)) => {
                    all.private.push(why);
                    continue;
                }
                Some(Decision::Nothing) | None => continue,
            };
            if takes_every_path(at) {
                main = main.or(Some(all.public.len()));
            } else if setting(at, "path").or_else(|| setting(at, "host")).is_none() {
                rest.push((all.public.len(), one.published));
            }
            all.public.push(one.public);
        }
        // An existing load balancer has only its own listeners.
        if doc.root().key("x-svc").and_then(|at| at.key("alb")).is_none() {
            all.share(main, rest)?;
        }
        if doc.from_compose_json() && flag.only.is_empty() {
            all.keep_private();
        }
        Ok(all)
    }

    /// Keeps the services private that would have a listener of their own, because the document has lost what its author set for them.
    fn keep_private(&mut self) {
        let (own, rest) = std::mem::take(&mut self.public).into_iter().partition(|public| public.listener.is_some());
        self.public = rest;
        let own: Vec<Public> = own;
        self.private.extend(own.into_iter().map(|one| Private { service: one.service, port: one.port, why: Why::Lost }));
    }

    /// Returns the ports that the load balancer listens on, or will when it has a certificate.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.public.iter().filter_map(|public| public.listener).chain([HTTP, HTTPS]).collect()
    }

    /// Returns how a service is public, if it is.
    #[must_use]
    pub fn of(&self, service: &str) -> Option<&Public> {
        self.public.iter().find(|public| public.service == service)
    }

    /// Gives a listener to each service without paths and hosts but one, which gets all requests that no other takes: the one at `main`, or else the
    /// one that Compose publishes where browsers look first. `rest` has the places of these services and the ports that Compose publishes.
    fn share(&mut self, main: Option<usize>, rest: Vec<(usize, u16)>) -> Result<()> {
        let order = |port: u16| (port != HTTPS, port != HTTP, port);
        let first = rest.iter().min_by_key(|(_, port)| order(*port)).map(|(place, _)| *place);
        let Some(main) = main.or(first) else { return Ok(()) };
        let main_service = self.public[main].service.as_str();
        let mut taken = vec![(HTTP, main_service), (HTTPS, main_service)];
        let mut own = Vec::new();
        for (place, port) in rest.into_iter().filter(|(place, _)| *place != main) {
            let service = self.public[place].service.as_str();
            if let Some((_, other)) = taken.iter().find(|(used, _)| *used == port) {
                return Err(Error::document(
                    "two-services-one-port",
                    format!("services.{service}.ports"),
                    format!(
                        "this service and services.{other} would both have port {port} of the load balancer. Publish one of them on another port, give it a path or a host (x-svc.path, x-svc.host), or keep it private (x-svc.publish: false)"
                    ),
                ));
            }
            taken.push((port, service));
            own.push((place, port));
        }
        for (place, port) in own {
            self.public[place].listener = Some(port);
        }
        Ok(())
    }
}

enum Decision {
    Public(Candidate),
    Private(Private),
    Nothing,
}

struct Candidate {
    public: Public,
    /// The port that Compose publishes.
    published: u16,
}

fn setting<'a>(at: &At<'a>, key: &str) -> Option<At<'a>> {
    at.key("x-svc").and_then(|at| at.key(key))
}

/// Whether the author says that the service gets all requests.
fn takes_every_path(at: &At<'_>) -> bool {
    let is_all = |path: &Value| path == "/*";
    let all = |at: At<'_>| is_all(at.value()) || at.value().as_array().is_some_and(|paths| paths.iter().any(is_all));
    setting(at, "path").is_some_and(all) && setting(at, "host").is_none()
}

fn decide(name: &str, at: &At<'_>, flag: &Publish) -> Result<Decision> {
    let is_sidecar = owner(at).is_some();
    let is_named = flag.only.iter().any(|only| only == name);
    let publish = setting(at, "publish").map(|at| at.truth()).transpose()?;
    if is_sidecar || (!flag.only.is_empty() && !is_named) || (flag.only.is_empty() && publish == Some(false)) {
        return Ok(Decision::Nothing);
    }
    // Whoever sets how the load balancer serves it means to publish the service.
    let shape = || setting(at, "patch").and_then(|at| at.key("target_group"));
    let is_set = ["port", "path", "host", "health"].iter().any(|key| setting(at, key).is_some()) || shape().is_some();
    let is_meant = is_named || publish == Some(true) || is_set;
    let all = port::published(at)?;
    // A port that only the machine itself reaches is public when the author names it, or has no other one.
    let named = setting(at, "port").map(|at| at.whole(1..=65535)).transpose()?;
    let is_only = all.iter().all(|port| port.address == Address::Loopback);
    let opens = |port: &Port<'_>| port.address != Address::Loopback || is_meant && (is_only || named == Some(port.number.into()));
    let mut ports: Vec<&Port<'_>> = all.iter().filter(|port| opens(port)).collect();
    ports.iter().try_for_each(|port| check_open(port, &all))?;
    ports.retain(|port| port.protocol == Protocol::Tcp);
    let Some(&first) = ports.first() else { return Ok(Decision::Nothing) };
    let private = |why| Ok(Decision::Private(Private { service: name.to_owned(), port: first.number, why }));
    let known = known_of(at);
    let is_page = |port: &&Port<'_>| named.is_none() && known.is_some_and(|known| known.pages.contains(&port.number));
    let all_pages = ports.iter().all(is_page);
    if let Some(known) = known.filter(|known| !is_meant && (known.is_private() || all_pages)) {
        return private(Why::Known(known));
    }
    ports.retain(|port| all_pages || !is_page(port));
    let Some(port) = chosen(at, &ports)?.or_else(|| likeliest(&ports, &all)).or_else(|| is_meant.then_some(first)) else {
        return private(Why::NoHttp);
    };
    let distinct: BTreeSet<u16> = ports.iter().map(|port| port.number).collect();
    let is_guess = setting(at, "port").is_none() && distinct.len() > 1;
    let public = Public { service: name.to_owned(), port: port.number, is_guess, listener: None };
    Ok(Decision::Public(Candidate { public, published: port.published.unwrap_or(port.number) }))
}

/// Returns the port that `x-svc.port` names.
fn chosen<'p>(at: &At<'_>, ports: &[&'p Port<'p>]) -> Result<Option<&'p Port<'p>>> {
    let Some(place) = setting(at, "port") else { return Ok(None) };
    let number = place.whole(1..=65535)?;
    match ports.iter().find(|port| i32::from(port.number) == number) {
        Some(port) => Ok(Some(*port)),
        None => Err(place.wrong("port-not-published", format!("must be one of the ports in `ports`; found {number}"))),
    }
}

/// Returns the port that speaks HTTP: the one that says so, or else the first that is not known for something else. A port for tcp and udp is less
/// likely, because HTTP/1.1 has no use for udp.
fn likeliest<'p>(ports: &[&'p Port<'p>], all: &[Port<'_>]) -> Option<&'p Port<'p>> {
    let says_http = |port: &&&Port<'_>| port.app_protocol.as_deref() == Some("http");
    let may_be_http = |port: &&&Port<'_>| port.app_protocol.is_none() && !NOT_HTTP.contains(&port.number);
    let has_twin = |port: &Port<'_>| all.iter().any(|other| other.number == port.number && other.protocol == Protocol::Udp);
    let alone = |port: &&&Port<'_>| may_be_http(port) && !has_twin(port);
    ports.iter().find(says_http).or_else(|| ports.iter().find(alone)).or_else(|| ports.iter().find(may_be_http)).copied()
}

/// Checks that a port of a public service can be behind the load balancer. One that the document opens on a single address would be open to everybody.
fn check_open(port: &Port<'_>, all: &[Port<'_>]) -> Result<()> {
    let has_twin = || all.iter().any(|other| other.number == port.number && other.protocol == Protocol::Tcp);
    if port.protocol == Protocol::Udp && !has_twin() {
        return Err(port.at.wrong(
            "port-not-tcp",
            "udp ports can't be behind the load balancer, which speaks HTTP over tcp. Use `expose`, or set x-svc.publish: false",
        ));
    }
    match &port.address {
        Address::One(host) => Err(port.at.wrong(
            "port-on-one-address",
            format!(
                "the port is published on {host} only, but behind the load balancer it is open to all its clients. Set x-svc.publish: false to keep the service private, or remove the address"
            ),
        )),
        Address::All | Address::Loopback => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(services: &Value, only: &[&str]) -> Result<Publishing, String> {
        let doc = Document::parse(json!({"name": "shop", "services": services}).to_string().as_bytes()).unwrap();
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let mut found = Publishing::read(&doc, &Publish { only }).map_err(|error| error.to_string());
        doc.change_findings(|error| {
            found = Err(error.to_string());
            error
        });
        found
    }

    /// Each public service as `service:port`, with the port of its own listener.
    fn public(services: &Value, only: &[&str]) -> Result<Vec<String>, String> {
        let shown = |one: &Public| match one.listener {
            Some(listener) => format!("{}:{} on {listener}", one.service, one.port),
            None => format!("{}:{}", one.service, one.port),
        };
        read(services, only).map(|all| all.public.iter().map(shown).collect())
    }

    fn web(ports: &Value, x_svc: &Value) -> Value {
        json!({"image": "nginx", "ports": ports, "x-svc": x_svc})
    }

    #[test]
    fn one_service_gets_all_requests_whatever_port_it_publishes() {
        for ports in [json!(["80"]), json!(["8080:80"]), json!(["80:80"])] {
            assert_eq!(public(&json!({"web": web(&ports, &json!({})), "db": {"image": "postgres"}}), &[]), Ok(vec!["web:80".to_owned()]));
        }
    }

    #[test]
    fn the_likeliest_port_is_public() {
        for (ports, port) in [
            (json!(["5005", "8080"]), "web:8080"),
            (json!(["8080", "9090"]), "web:8080"),
            (json!(["8080", {"target": 9090, "app_protocol": "http"}]), "web:9090"),
            (json!([{"target": 8080, "app_protocol": "mysql"}, "9090"]), "web:9090"),
            (json!(["50000", "50000/udp", "9600"]), "web:9600"),
            (json!(["8443/udp", "8443"]), "web:8443"),
            (json!(["127.0.0.1:9229:9229", "8081:80"]), "web:80"),
        ] {
            assert_eq!(public(&json!({"web": web(&ports, &json!({}))}), &[]), Ok(vec![port.to_owned()]), "{ports}");
        }
        assert_eq!(public(&json!({"web": web(&json!(["80", "9090"]), &json!({"port": 9090}))}), &[]), Ok(vec!["web:9090".to_owned()]));
        assert!(public(&json!({"web": web(&json!(["80"]), &json!({"port": 81}))}), &[]).unwrap_err().contains("must be one of the ports"));
    }

    #[test]
    fn what_does_not_speak_http_is_private_until_the_author_says_otherwise() {
        let services = json!({
            "db": {"image": "postgres:16", "ports": ["5432:5432"]},
            "built": {"build": ".", "ports": ["5432"]},
            "mail": {"image": "axllent/mailpit", "ports": ["1025", "8025:8025"]},
            "local": web(&json!(["127.0.0.1:80:80"]), &json!({})),
            "off": web(&json!(["80"]), &json!({"publish": false}))});
        let found = read(&services, &[]).unwrap();
        assert_eq!(found.public, []);
        let private: Vec<(&str, u16, bool)> =
            found.private.iter().map(|one| (one.service.as_str(), one.port, one.why == Why::NoHttp)).collect();
        assert_eq!(private, [("db", 5432, false), ("built", 5432, true), ("mail", 1025, false)]);
        let open = |service: Value, x_svc: Value| {
            let mut services = json!({"it": service});
            services["it"]["x-svc"] = x_svc;
            public(&services, &[])
        };
        assert_eq!(open(services["mail"].clone(), json!({"publish": true})), Ok(vec!["it:8025".to_owned()]));
        assert_eq!(open(services["mail"].clone(), json!({"path": "/mail/*"})), Ok(vec!["it:8025".to_owned()]));
        assert_eq!(open(services["local"].clone(), json!({"publish": true})), Ok(vec!["it:80".to_owned()]));
        assert_eq!(open(services["db"].clone(), json!({"port": 5432})), Ok(vec!["it:5432".to_owned()]));
    }

    /// An administration port on 127.0.0.1 beside the port of the app.
    #[test]
    fn a_port_of_the_machine_is_public_only_by_name() {
        let with = |x_svc: Value| public(&json!({"web": web(&json!(["127.0.0.1:9000:9000", "80:8080"]), &x_svc)}), &[]);
        assert_eq!(with(json!({"health": {"path": "/up"}})), Ok(vec!["web:8080".to_owned()]));
        assert_eq!(with(json!({"publish": true})), Ok(vec!["web:8080".to_owned()]));
        assert_eq!(with(json!({"port": 9000})), Ok(vec!["web:9000".to_owned()]));
    }

    #[test]
    fn several_services_have_the_ports_that_compose_publishes() {
        let services = json!({
            "api": web(&json!(["8000:8000"]), &json!({})),
            "admin": web(&json!(["9000:80"]), &json!({})),
            "docs": web(&json!(["8081:80"]), &json!({"path": "/docs/*"})),
            "free": web(&json!(["3000"]), &json!({}))});
        let all = ["api:8000 on 8000", "admin:80 on 9000", "docs:80", "free:3000"].map(str::to_owned).to_vec();
        assert_eq!(public(&services, &[]), Ok(all));
        assert_eq!(read(&services, &[]).unwrap().ports(), [80, 443, 8000, 9000].into());
        assert_eq!(public(&services, &["api", "admin"]), Ok(vec!["api:8000".to_owned(), "admin:80 on 9000".to_owned()]));
        assert_eq!(public(&services, &["admin"]), Ok(vec!["admin:80".to_owned()]));
        assert!(public(&services, &["cart"]).unwrap_err().contains("no service \"cart\""));
        let mut chosen = services.clone();
        chosen["api"]["x-svc"]["path"] = json!(["/*"]);
        assert_eq!(public(&chosen, &["api", "free"]), Ok(vec!["api:8000".to_owned(), "free:3000 on 3000".to_owned()]));
        let both = |ports: [Value; 2]| public(&json!({"a": web(&ports[0], &json!({})), "b": web(&ports[1], &json!({}))}), &[]);
        assert_eq!(both([json!(["8080:80"]), json!(["80:80"])]), Ok(vec!["a:80 on 8080".to_owned(), "b:80".to_owned()]));
        for (ports, said) in [
            ([json!(["80:80"]), json!(["443:443"])], "services.a.ports: this service and services.b would both have port 80"),
            ([json!(["80:80"]), json!(["80:80"])], "services.b.ports: this service and services.a would both have port 80"),
        ] {
            let found = both(ports).unwrap_err();
            assert!(found.contains(said), "{found}");
        }
    }

    /// The dashboard of Traefik has no password.
    #[test]
    fn the_page_of_a_proxy_is_public_only_by_name() {
        let with = |ports: &Value, x_svc: Value| public(&json!({"proxy": {"image": "traefik:v3", "ports": ports, "x-svc": x_svc}}), &[]);
        let (both, page) = (json!(["8080:8080", "80:80"]), json!(["8080:8080"]));
        assert_eq!(with(&both, json!({})), Ok(vec!["proxy:80".to_owned()]));
        assert_eq!(with(&both, json!({"port": 8080})), Ok(vec!["proxy:8080".to_owned()]));
        assert_eq!(with(&page, json!({})), Ok(Vec::new()));
        assert_eq!(with(&page, json!({"publish": true})), Ok(vec!["proxy:8080".to_owned()]));
    }

    /// Compose's JSON has no `x-svc: {publish: false}`, so only one service is public, as it would be alone.
    #[test]
    fn json_of_compose_makes_no_second_service_public() {
        let mut services = json!({"web": web(&json!(["8080:8080"]), &json!({})), "admin": web(&json!(["9000:9000"]), &json!({}))});
        for service in services.as_object_mut().unwrap().values_mut() {
            service["command"] = Value::Null;
            service["entrypoint"] = Value::Null;
        }
        let found = read(&services, &[]).unwrap();
        assert_eq!(found.public.iter().map(|one| one.service.as_str()).collect::<Vec<_>>(), ["web"]);
        assert_eq!(found.private.iter().map(|one| (one.service.as_str(), &one.why)).collect::<Vec<_>>(), [("admin", &Why::Lost)]);
        assert_eq!(found.ports(), [80, 443].into());
        assert_eq!(read(&services, &["web", "admin"]).unwrap().public.len(), 2, "the command line decides");
    }

    #[test]
    fn a_port_that_can_not_be_behind_the_load_balancer_is_an_error() {
        for (ports, said) in [
            (json!(["53/udp"]), "services.web.ports[0]: udp ports can't be behind the load balancer"),
            (json!(["80", "192.0.2.1:81:81"]), "services.web.ports[1]: the port is published on 192.0.2.1 only"),
        ] {
            let found = public(&json!({"web": web(&ports, &json!({}))}), &[]).unwrap_err();
            assert!(found.contains(said), "{found}");
            assert_eq!(public(&json!({"web": web(&ports, &json!({"publish": false}))}), &[]), Ok(Vec::new()));
        }
    }
}
