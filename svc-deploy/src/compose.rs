//! The Compose model, read into what ECS needs: which services, which tasks, which are published.

use serde_json::{Value, json};
use shared::doc::{ARM64, At, Cluster, Document, Img, LaunchType, Selection, check_tags, platform};
use shared::{Error, Result};

use crate::container::{self, Target};
use crate::deploy::{Breaker, breaker, healthy_percent};
use crate::target_group::{self, Codes, Shape};
use crate::wish::{Health, OwnRole, ServiceWish};
use crate::{dependency, port, rule, size};

/// An ECS service and its one task definition.
#[derive(Debug)]
pub struct Service {
    pub name: String,
    /// Whether this run deploys it. The load balancer and the execution role serve all services, so all are read.
    pub selected: bool,
    /// The containers of its task, as ECS takes them, but for the log configuration; its own first, then the sidecars'.
    pub containers: Vec<Value>,
    pub network_mode: NetworkMode,
    /// CPU units and MiB of the task; only Fargate needs them.
    pub size: Option<(i32, i32)>,
    /// In Docker's words.
    pub platform: Option<&'static str>,
    pub published: Option<Published>,
    /// Tasks at creation; later the count is `scale-set`'s.
    pub desired: i32,
    /// Services that must be healthy before this one is deployed.
    pub after: Vec<String>,
    pub breaker: Breaker,
    pub healthy_percent: (i32, i32),
    pub task_role: TaskRole,
    /// ARNs or names of what the execution role must read.
    pub secrets: Vec<String>,
    /// What its containers mount, as ECS takes it.
    pub volumes: Vec<Value>,
    pub labels: Vec<(String, String)>,
    pub patch: Patch,
}

/// What the service's code may do in AWS.
#[derive(Debug, PartialEq, Eq)]
pub enum TaskRole {
    /// A role of our own with these policies, by ARN.
    Made(Vec<String>),
    /// Somebody else's, by ARN: never changed or deleted.
    Adopted(String),
}

/// RFC 7396 merge patches, in AWS's own JSON.
#[derive(Debug, Default, Clone)]
pub struct Patch {
    pub task: Option<Value>,
    pub container: Option<Value>,
    pub service: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    Awsvpc,
    Bridge,
    Host,
}

impl NetworkMode {
    pub fn value(self) -> &'static str {
        match self {
            Self::Awsvpc => "awsvpc",
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

/// How a service stands behind the load balancer.
#[derive(Debug, Clone)]
pub struct Published {
    pub port: i32,
    /// Empty for the service that takes what no other takes.
    pub paths: Vec<String>,
    pub hosts: Vec<String>,
    pub target_group: Shape,
    /// Seconds in which a starting task may still be unhealthy.
    pub grace: i32,
    pub path: String,
}

/// Reads all services; sidecars (`network_mode: service:X`) become containers of X's task.
pub fn services(doc: &Document, selection: &Selection, img: Option<&Img>, cluster: &Cluster) -> Result<Vec<Service>> {
    doc.services(selection)?;
    let all = doc.services(&Selection::default())?;
    let hosts_of = |name: &str| all.iter().filter(move |(_, at)| owner(at) == Some(name)).collect::<Vec<_>>();
    let mut services = Vec::new();
    for (name, at) in all.iter().filter(|(_, at)| owner(at).is_none()) {
        let sidecars = hosts_of(name);
        services.push(service(doc, name, at, &sidecars, img, cluster, selection.takes(name))?);
    }
    for (name, at) in &all {
        if let Some(owner) = owner(at).filter(|owner| !services.iter().any(|service| service.name == *owner)) {
            return Err(Error::document(
                format!("services.{name}.network_mode"),
                format!("there is no service {owner:?} for this sidecar"),
            ));
        }
    }
    check_paths(&services)?;
    dependency::in_order(services)
}

/// The service whose task a sidecar belongs to.
fn owner<'a>(at: &At<'a>) -> Option<&'a str> {
    at.key("network_mode").and_then(|mode| mode.value().as_str()).and_then(|mode| mode.strip_prefix("service:"))
}

fn service(
    doc: &Document,
    name: &str,
    at: &At<'_>,
    sidecars: &[&(&str, At<'_>)],
    img: Option<&Img>,
    cluster: &Cluster,
    selected: bool,
) -> Result<Service> {
    let fargate = cluster.launch_type == LaunchType::Fargate;
    let x_svc = at.key("x-svc");
    let wish = |key: &str| x_svc.as_ref().and_then(|at| at.key(key));
    doc.warn_of_unknown::<ServiceWish>(at, "x-svc")?;
    if let Some(x_svc) = &x_svc {
        doc.warn_of_unknown::<Health>(x_svc, "health")?;
        if x_svc.key("task_role").is_some_and(|role| role.value().is_object()) {
            doc.warn_of_unknown::<OwnRole>(x_svc, "task_role")?;
        }
    }
    if let Some(place) = wish("strategy").filter(|place| place.value().as_str() != Some("rolling")) {
        return Err(place.wrong("svc-deploy can't do this yet: take it out"));
    }
    for (key, place) in wish("patch").map_or_else(|| Ok(Vec::new()), |at| at.entries())? {
        if !["task", "container", "service", "target_group"].contains(&key) {
            return Err(place.wrong("svc-deploy patches task, container, service and target_group"));
        }
    }
    let network_mode = network_mode(at, wish("network_mode").as_ref(), fargate, !sidecars.is_empty())?;
    let host_volumes = wish("host_volumes").map_or(Ok(false), |at| at.truth())?;
    let target = Target { fargate, network_mode, host_volumes, selected };
    let patch = |key: &str| wish("patch").and_then(|at| at.key(key)).map(|at| at.value().clone());
    let patch = Patch { task: patch("task"), container: patch("container"), service: patch("service") };
    let mut read = container::read(doc, name, at, img, target)?;
    let mut containers = vec![read.definition];
    for (sidecar, at) in sidecars {
        check_sidecar(doc, name, at)?;
        let more = container::read(doc, sidecar, at, img, target)?;
        containers.push(more.definition);
        read.secrets.extend(more.secrets);
        for volume in more.volumes {
            if !read.volumes.contains(&volume) {
                read.volumes.push(volume);
            }
        }
        (read.cpu, read.memory) = (read.cpu + more.cpu, read.memory + more.memory);
    }
    dependency::within_task(&mut containers, at, sidecars)?;
    check_size(at, &containers)?;
    let size = if fargate { Some(size::fargate(doc, at, read.cpu, read.memory)?) } else { None };
    let runs_on = platform(at, Some(cluster))?;
    for (_, sidecar) in sidecars.iter().filter(|(_, sidecar)| sidecar.key("platform").is_some()) {
        if platform(sidecar, Some(cluster))? != runs_on {
            return Err(sidecar.wrong(format!("runs in the task of services.{name}, whose platform is {}", runs_on.unwrap_or("another"))));
        }
    }
    let deploy = at.key("deploy");
    let replicas = deploy.as_ref().and_then(|deploy| deploy.key("replicas")).or_else(|| at.key("scale"));
    // Two tasks, one a zone, so that one zone may fail.
    let desired = replicas.map_or(Ok(2), |at| at.whole(0..=1000))?;
    Ok(Service {
        name: name.to_owned(),
        selected,
        network_mode,
        size,
        platform: runs_on,
        published: published(doc, at, x_svc.as_ref(), &read.ports, network_mode)?,
        desired,
        after: dependency::after(doc, name, at, sidecars)?,
        breaker: breaker(deploy.as_ref(), wish("breaker").as_ref())?,
        healthy_percent: healthy_percent(deploy.as_ref(), desired)?,
        task_role: wish("task_role").map_or(Ok(TaskRole::Made(Vec::new())), |at| task_role(&at))?,
        secrets: read.secrets,
        volumes: read.volumes,
        labels: deploy.and_then(|deploy| deploy.key("labels")).map_or(Ok(Vec::new()), |at| labels(&at))?,
        containers,
        patch,
    })
}

/// A sidecar is a container of somebody else's service, so it has no wishes of its own.
fn check_sidecar(doc: &Document, owner: &str, at: &At<'_>) -> Result<()> {
    for key in ["x-svc", "x-scale"] {
        if let Some(place) = at.key(key) {
            return Err(place.wrong(format!("this container is part of services.{owner}: say it there")));
        }
    }
    let replicas = at.key("deploy").and_then(|deploy| deploy.key("replicas"));
    for place in [replicas, at.key("scale"), at.key("ports")].into_iter().flatten() {
        doc.warn(format!("{} has no effect: this container is part of services.{owner}, whose tasks and ports count", place.path()));
    }
    Ok(())
}

/// ECS takes no larger task definition.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>
const LARGEST: usize = 64 * 1024;

fn check_size(at: &At<'_>, containers: &[Value]) -> Result<()> {
    match containers.iter().map(|container| container.to_string().len()).sum::<usize>() {
        size if size > LARGEST => Err(at.wrong(format!("makes a task definition of {size} bytes, and ECS takes {LARGEST}"))),
        _ => Ok(()),
    }
}

fn network_mode(at: &At<'_>, wish: Option<&At<'_>>, fargate: bool, shared: bool) -> Result<NetworkMode> {
    let asked = at.key("network_mode");
    if let Some(place) = asked.as_ref().filter(|mode| !["bridge", "default", "host"].iter().any(|known| mode.value() == known)) {
        return Err(place.expected("bridge, host (on EC2) or service:NAME"));
    }
    let host = asked.filter(|mode| mode.value() == "host");
    if let Some(place) = host.as_ref().filter(|_| fargate) {
        return Err(place.wrong("Fargate has no host network: take this out"));
    }
    match wish.map(At::text).transpose()? {
        None if fargate => Ok(NetworkMode::Awsvpc),
        None if host.is_some() => Ok(NetworkMode::Host),
        // Otherwise the containers of a task reach each other only on a network interface of their own.
        None if shared => Ok(NetworkMode::Awsvpc),
        None => Ok(NetworkMode::Bridge),
        Some(_) if host.is_some() => {
            Err(Error::document(wish.map(At::path).unwrap_or_default(), "contradicts network_mode: host: take one of them out"))
        }
        Some("awsvpc") => Ok(NetworkMode::Awsvpc),
        Some("bridge") if !fargate => Ok(NetworkMode::Bridge),
        Some(_) => Err(Error::document(
            wish.map(At::path).unwrap_or_default(),
            if fargate { "on Fargate only awsvpc is possible" } else { "expected awsvpc or bridge" },
        )),
    }
}

fn published(doc: &Document, at: &At<'_>, x_svc: Option<&At<'_>>, ports: &[i32], network_mode: NetworkMode) -> Result<Option<Published>> {
    let wish = |key: &str| x_svc.and_then(|at| at.key(key));
    if let Some(false) = wish("publish").map(|at| at.truth()).transpose()? {
        return Ok(None);
    }
    port::check_open(at)?;
    let Some(first) = ports.first() else { return Ok(None) };
    let port = match wish("port") {
        None => *first,
        Some(chosen) => match chosen.whole(1..=65535)? {
            port if ports.contains(&port) => port,
            port => return Err(chosen.wrong(format!("the service has no port {port} in `ports`"))),
        },
    };
    if ports.len() > 1 && wish("port").is_none() {
        doc.warn(format!(
            "{}: only the first, {port}, is behind the load balancer (x-svc.port chooses another)",
            at.path().to_owned() + ".ports"
        ));
    }
    let image = at.key("image").and_then(|image| image.value().as_str()).unwrap_or_default();
    let last = image.rsplit('/').next().and_then(|last| last.split([':', '@']).next());
    let known = ["postgres", "mysql", "mariadb", "mongo", "redis", "memcached", "valkey"].iter().find(|name| last == Some(*name));
    if let Some(known) = known {
        doc.warn(format!(
            "{}: {known} does not speak HTTP and would stand open behind the load balancer; x-svc.publish: false keeps it private",
            at.path()
        ));
    }
    let target_group =
        target_group(port, network_mode, wish("health").as_ref(), wish("patch").and_then(|at| at.key("target_group")).as_ref())?;
    let mut paths = wish("path").map_or(Ok(Vec::new()), |at| {
        check_each(&at, "a path of at most 128 characters that begins with /", |path| path.starts_with('/') && path.len() <= 128)
    })?;
    // Every path is no path at all.
    if paths.iter().any(|path| path == "/*") {
        paths.clear();
    }
    let hosts = wish("host").map_or(Ok(Vec::new()), |at| hosts(&at, !paths.is_empty()))?;
    // ECS itself would wait no time at all; a minute is what a slow starter needs.
    let grace = wish("grace").map_or(Ok(60), |at| at.whole(0..=i32::MAX))?;
    Ok(Some(Published { port, paths, hosts, target_group, grace, path: at.path().to_owned() }))
}

/// What the target group is to be; `patch` has the last word.
/// Ranges and defaults: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html>
fn target_group(port: i32, network_mode: NetworkMode, health: Option<&At<'_>>, patch: Option<&At<'_>>) -> Result<Shape> {
    let of_health = |key: &str| health.and_then(|at| at.key(key));
    let whole = |key: &str, default, range| of_health(key).map_or(Ok(default), |at| at.whole(range));
    let interval = whole("interval", 15, 5..=300)?;
    // Elastic Load Balancing wants the answer before the next question.
    let timeout = whole("timeout", 5.min(interval - 1), 2..=120)?;
    if let Some(late) = of_health("timeout").filter(|_| timeout >= interval) {
        return Err(late.wrong(format!("must be less than the interval, which is {interval} seconds")));
    }
    let shape = Shape {
        port,
        protocol: "HTTP".to_owned(),
        protocol_version: "HTTP1".to_owned(),
        // Tasks with a network interface of their own are addressed by it, others by their instance.
        target_type: if network_mode == NetworkMode::Awsvpc { "ip" } else { "instance" }.to_owned(),
        health_check_protocol: None,
        health_check_port: None,
        health_check_path: of_health("path").map_or(Ok("/".to_owned()), |at| check_path(&at))?,
        health_check_interval_seconds: interval,
        health_check_timeout_seconds: timeout,
        healthy_threshold_count: whole("healthy", 2, 2..=10)?,
        unhealthy_threshold_count: whole("unhealthy", 3, 2..=10)?,
        matcher: Codes { http_code: Some(of_health("codes").map_or(Ok("200-399".to_owned()), |at| at.scalar())?), grpc_code: None },
        attributes: target_group::attributes(),
    };
    patch.map_or(Ok(shape.clone()), |patch| shape.patched(patch))
}

fn check_path(at: &At<'_>) -> Result<String> {
    match at.text()? {
        path if path.starts_with('/') && path.len() <= 1024 => Ok(path.to_owned()),
        _ => Err(at.expected("a path of at most 1024 characters that begins with /")),
    }
}

/// In lower case, as the load balancer does not tell the cases apart; `with_paths` need a place in the rule as well.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html#host-conditions>
fn hosts(at: &At<'_>, with_paths: bool) -> Result<Vec<String>> {
    let fits = |host: &str| {
        let letters = |last: &str| !last.is_empty() && last.chars().all(|c| c.is_ascii_alphabetic());
        host.len() <= 128 && host.rsplit_once('.').is_some_and(|(_, last)| letters(last))
    };
    let hosts = check_each(at, "a host name of at most 128 characters, with a dot and only letters behind the last one", fits)?;
    let most = if with_paths { rule::VALUES - 1 } else { rule::VALUES };
    if hosts.len() > most {
        return Err(at.wrong(format!(
            "names {} hosts, and a rule of the load balancer takes {} and paths together",
            hosts.len(),
            rule::VALUES
        )));
    }
    Ok(hosts.iter().map(|host| host.to_lowercase()).collect())
}

fn check_each(at: &At<'_>, kind: &str, fits: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let items = if at.value().is_string() { vec![at.clone()] } else { at.list()? };
    items.iter().map(|item| item.text().and_then(|text| if fits(text) { Ok(text.to_owned()) } else { Err(item.expected(kind)) })).collect()
}

/// An ARN, or the policies of a role of our own.
fn task_role(at: &At<'_>) -> Result<TaskRole> {
    match at.value() {
        Value::String(arn) if arn.starts_with("arn:") => Ok(TaskRole::Adopted(arn.clone())),
        Value::Object(_) => at.key("policies").map_or(Ok(Vec::new()), |at| texts(&at)).map(TaskRole::Made),
        _ => Err(at.expected("the ARN of a role, or an object with policies")),
    }
}

fn labels(at: &At<'_>) -> Result<Vec<(String, String)>> {
    let labels = container::pairs(at)?;
    check_tags(at.path(), &labels)?;
    Ok(labels)
}

fn texts(at: &At<'_>) -> Result<Vec<String>> {
    at.list()?.iter().map(|at| at.text().map(str::to_owned)).collect()
}

/// No two services may claim the same requests, and only one may take the rest.
fn check_paths(services: &[Service]) -> Result<()> {
    let mut claims: Vec<(String, &str)> = Vec::new();
    for service in services {
        let Some(published) = &service.published else { continue };
        let any = [String::new()];
        let hosts = if published.hosts.is_empty() { &any[..] } else { &published.hosts };
        let paths = if published.paths.is_empty() { &any[..] } else { &published.paths };
        for claim in hosts.iter().flat_map(|host| paths.iter().map(move |path| format!("{host}{path}"))) {
            if let Some((_, other)) = claims.iter().find(|(taken, _)| *taken == claim) {
                let what = if claim.is_empty() { "both take every path".to_owned() } else { format!("both claim {claim}") };
                return Err(Error::document(
                    format!("{}.x-svc.path", published.path),
                    format!("{what}: this one and services.{other}. Give each its own path or host"),
                ));
            }
            claims.push((claim, &service.name));
        }
    }
    Ok(())
}

impl Service {
    /// What the container's own `x-svc.patch.container` says, applied last.
    pub fn patched_containers(&self) -> Vec<Value> {
        let mut containers = self.containers.clone();
        if let (Some(patch), Some(own)) = (&self.patch.container, containers.first_mut()) {
            json_patch::merge(own, patch);
        }
        containers
    }

    pub fn runtime_platform(&self) -> Option<Value> {
        let architecture = if self.platform? == ARM64 { "ARM64" } else { "X86_64" };
        Some(json!({"cpuArchitecture": architecture, "operatingSystemFamily": "LINUX"}))
    }
}
