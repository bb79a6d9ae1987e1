//! ECS Service Connect: by which names and ports a service is called, and which services it may call.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect.html>

use std::collections::BTreeSet;

use shared::doc::known_image::known;
use shared::doc::port::published;
use shared::doc::{At, Cluster, Document, Img};
use shared::{Error, Result};

use super::calls::{Call, calls};
use crate::model::{AppProtocol, Connect, Container, Endpoint, NetworkMode, Port, Protocol, Service};
use crate::settings::ServiceSettings;

/// Returns whether the service is in the namespace of the app.
pub fn connects(doc: &Document, at: &At<'_>, settings: &ServiceSettings, cluster: &Cluster, network_mode: NetworkMode) -> bool {
    let wanted = cluster.namespace.is_some() && settings.connect;
    if wanted && network_mode == NetworkMode::Host {
        doc.warn_at(
            "names-on-host-network",
            at,
            "the service and the others can't reach each other by name, because ECS Service Connect does not support the host network. Remove network_mode, or set x-svc.connect: false",
        );
    }
    wanted && network_mode != NetworkMode::Host
}

/// Maps the ports that the images open without a word in the document, and returns the endpoints: all tcp ports of the task. `places` are those of
/// its containers.
pub fn read(
    doc: &Document,
    name: &str,
    settings: &ServiceSettings,
    img: Option<&Img>,
    containers: &mut [Container],
    places: &[&At<'_>],
) -> Result<Connect> {
    let mut taken: BTreeSet<i32> = containers.iter().flat_map(|container| &container.ports).map(|port| port.number).collect();
    for (i, (container, at)) in containers.iter_mut().zip(places).enumerate() {
        let listed = settings.expose.as_deref().filter(|_| i == 0);
        let opened = opened(at, container, listed, img)?;
        // Of an image that nobody knows, what the document says counts.
        container.ports_unknown = opened.is_none() && container.ports.is_empty();
        for number in opened.unwrap_or_default() {
            if taken.insert(number) {
                container.ports.push(Port { number, protocol: Protocol::Tcp });
            }
        }
    }
    let mut endpoints = Vec::new();
    for (container, at) in containers.iter().zip(places) {
        for port in &container.ports {
            if port.protocol == Protocol::Tcp {
                endpoints.push(Endpoint::of(name, port.number, app_protocol(at, port.number)?));
            } else {
                doc.warn_at(
                    "udp-without-name",
                    at,
                    format!("the udp port {} has no name, because ECS Service Connect carries only tcp", port.number),
                );
            }
        }
        warn_of_names(doc, name, at)?;
    }
    Ok(Connect { endpoints, peers: BTreeSet::new() })
}

/// Returns the tcp ports that the image opens, as far as they are known: those of `x-svc.expose`, of the image's own configuration, or of the
/// well-known image.
fn opened(at: &At<'_>, container: &Container, listed: Option<&[String]>, img: Option<&Img>) -> Result<Option<Vec<i32>>> {
    if let Some(listed) = listed {
        let place = at.key("x-svc").and_then(|at| at.key("expose")).unwrap_or_else(|| at.clone());
        let read = |text: &String| match text.parse() {
            Ok(number @ 1..=65535) => Ok(number),
            _ => Err(place.wrong("expose-port", format!("must be a port between 1 and 65535, or a list of them; found {text:?}"))),
        };
        return listed.iter().map(read).collect::<Result<_>>().map(Some);
    }
    let named = at.key("image").and_then(|image| image.value().as_str()).or(container.image.as_deref());
    // The same in every run, whoever answers.
    if let Some(known) = named.and_then(known).filter(|_| at.key("build").is_none()) {
        return Ok(Some(known.ports.iter().copied().map(i32::from).collect()));
    }
    // An entry without an architecture knows only the name of the image.
    let image = img.and_then(|img| img.get(&container.name)).filter(|image| image.architecture.is_some() && image.uri == container.image);
    if let Some(image) = image {
        let tcp = image.exposed_ports.iter().filter_map(|port| match port.split_once('/') {
            None | Some((_, "tcp")) => port.split('/').next()?.parse().ok(),
            Some(_) => None,
        });
        return Ok(Some(tcp.collect()));
    }
    // Without the section, no image was ever read.
    Ok(if img.is_none() { Some(Vec::new()) } else { None })
}

/// Returns the `app_protocol` of a port in `ports`, as far as ECS has it. Everything else is carried as tcp, as Compose does.
fn app_protocol(at: &At<'_>, number: i32) -> Result<Option<AppProtocol>> {
    let ports = published(at)?;
    let protocol = ports.iter().filter(|port| i32::from(port.number) == number).find_map(|port| port.app_protocol.as_deref());
    Ok(match protocol.map(str::to_lowercase).as_deref() {
        Some("http") => Some(AppProtocol::Http),
        Some("http2" | "h2c") => Some(AppProtocol::Http2),
        Some("grpc") => Some(AppProtocol::Grpc),
        _ => None,
    })
}

/// ECS gives a port one name, so further ones are lost.
fn warn_of_names(doc: &Document, name: &str, at: &At<'_>) -> Result<()> {
    let networks = at.key("networks").filter(|networks| networks.value().is_object());
    let mut aliases = Vec::new();
    for (_, network) in networks.map_or_else(|| Ok(Vec::new()), |networks| networks.entries())? {
        for alias in network.key("aliases").map_or_else(|| Ok(Vec::new()), |aliases| aliases.list())? {
            aliases.push((alias.text()?.to_owned(), name.to_owned(), alias));
        }
    }
    for link in at.key("links").map_or_else(|| Ok(Vec::new()), |links| links.list())? {
        if let Some((service, alias)) = link.text()?.split_once(':') {
            aliases.push((alias.to_owned(), service.to_owned(), link));
        }
    }
    for (alias, service, place) in aliases.into_iter().filter(|(alias, service, _)| alias != service) {
        let what =
            format!("the name {alias} does not exist on ECS, which gives a port one name. Call the service by its own name, {service}");
        doc.warn_at("second-name", &place, what);
    }
    Ok(())
}

/// Notes which services each one may call, and warns of values that call a service which can't be reached. Runs when all services are read.
pub fn link(doc: &Document, services: &mut [Service]) -> Result<()> {
    check_names(services)?;
    let all: Vec<Vec<Call>> = services.iter().map(|service| service.containers.iter().flat_map(calls).collect()).collect();
    for (service, calls) in services.iter().zip(&all).filter(|(service, _)| service.selected) {
        for call in calls {
            if service.job.as_ref().is_some_and(|job| job.schedule.is_some()) {
                warn_of_schedule(doc, services, service, call);
            } else if let Some(reason) = unreachable(doc, services, service, call) {
                doc.warn("name-unreachable", format!("{} calls {}, but {reason}", call.path, call.text()));
            }
        }
    }
    let peers: Vec<BTreeSet<String>> = services.iter().zip(&all).map(|(service, calls)| peers(services, service, calls)).collect();
    for (service, peers) in services.iter_mut().zip(peers) {
        if let Some(connect) = &mut service.connect {
            connect.peers = peers;
        }
    }
    Ok(())
}

/// EventBridge Scheduler runs a task outside of any ECS service, where there are no names.
fn warn_of_schedule(doc: &Document, services: &[Service], from: &Service, call: &Call) {
    let is_other = |service: &&Service| service.name.eq_ignore_ascii_case(&call.host) && service.name != from.name;
    let Some(to) = services.iter().find(is_other) else { return };
    doc.warn(
        "names-of-scheduled-job",
        format!(
            "{} calls {}, but a scheduled job can't reach other services by name. Publish services.{} and call its address behind the load balancer, or replace the schedule by x-svc.job: true and run `svc-deploy --run {}` on a schedule of your own",
            call.path,
            call.text(),
            to.name,
            from.name
        ),
    );
}

/// Compose tells `web` and `Web` apart, but host names do not.
fn check_names(services: &[Service]) -> Result<()> {
    let mut seen: Vec<(&str, &Endpoint)> = Vec::new();
    for service in services {
        for endpoint in service.connect.iter().flat_map(|connect| &connect.endpoints) {
            let twin = seen.iter().find(|(_, other)| other.dns_name == endpoint.dns_name && other.port == endpoint.port);
            if let Some((other, _)) = twin {
                let (path, port) = (format!("services.{}", service.name), endpoint.port);
                let what = format!("services.{other} has the same host name and port, {}:{port}. Rename one of the two", endpoint.dns_name);
                return Err(Error::document("name-twice", path, what));
            }
            seen.push((&service.name, endpoint));
        }
    }
    Ok(())
}

/// Returns why a call can't arrive, or `None` when it can, or does not name a service of the app.
fn unreachable(doc: &Document, services: &[Service], from: &Service, call: &Call) -> Option<String> {
    let is_it = |name: &str| name.eq_ignore_ascii_case(&call.host);
    if let Some(owner) = services.iter().find(|service| service.containers.iter().skip(1).any(|container| is_it(&container.name))) {
        return Some(if owner.name == from.name {
            format!("{} is a container of the same task. Use localhost instead of its name", call.host)
        } else {
            format!("{0} is a container in the task of services.{1}. Call it as {1}", call.host, owner.name)
        });
    }
    let to = services.iter().find(|service| is_it(&service.name)).filter(|to| to.name != from.name)?;
    let left_out = |service: &Service| {
        let off = |place: &At<'_>| place.key("x-svc").and_then(|at| at.key("connect")).is_some_and(|at| at.value() == false);
        let place = doc.root().key("services").and_then(|all| all.key(&service.name));
        match service.network_mode {
            NetworkMode::Host => format!("services.{} is on the host network, which has no names", service.name),
            _ if place.as_ref().is_some_and(off) => format!("services.{} has x-svc.connect: false. Remove it", service.name),
            _ => "the cluster has no namespace for names. Run cluster-up of this version, and not on Bottlerocket".to_owned(),
        }
    };
    if from.connect.is_none() {
        return Some(left_out(from));
    }
    let Some(connect) = &to.connect else { return Some(left_out(to)) };
    let ports: Vec<String> = connect.endpoints.iter().map(|endpoint| endpoint.port.to_string()).collect();
    if to.has_unknown_ports() {
        return Some(format!("the ports of services.{0} are not known. Add its port to services.{0}.expose", to.name));
    } else if ports.is_empty() {
        return Some(format!("services.{0} has no port. Add its port to services.{0}.expose", to.name));
    }
    let port = call.port.filter(|port| !connect.endpoints.iter().any(|endpoint| endpoint.port == *port))?;
    Some(format!("services.{0} has only the ports {1}. Add {port} to services.{0}.expose", to.name, ports.join(", ")))
}

/// Returns the services whose new endpoints this one must see. A database calls nobody without a word in its settings, and what waits for this
/// service calls it, and not the other way round.
fn peers(services: &[Service], from: &Service, calls: &[Call]) -> BTreeSet<String> {
    let own = from.containers.first();
    let image = own.and_then(|container| container.image.as_deref()).and_then(known);
    let is_server = image.is_some_and(|known| known.calls_nobody());
    let may_call = |to: &&Service| {
        let named = calls.iter().any(|call| call.host.eq_ignore_ascii_case(&to.name));
        named || !is_server && !waits_for(services, to, &from.name)
    };
    let is_called = |to: &Service| to.connect.as_ref().is_some_and(|one| !one.endpoints.is_empty() || to.has_unknown_ports());
    let others = services.iter().filter(|to| to.name != from.name && is_called(to));
    others.filter(may_call).map(|to| to.name.clone()).collect()
}

/// Returns whether a service is deployed after another one, directly or through others.
fn waits_for(services: &[Service], service: &Service, name: &str) -> bool {
    let (mut seen, mut left) = (BTreeSet::new(), vec![service]);
    while let Some(next) = left.pop() {
        for other in next.first().filter(|other| seen.insert(other.as_str())) {
            left.extend(services.iter().find(|service| service.name == *other));
        }
    }
    seen.contains(name)
}
