//! A Compose service as a container.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>

use std::collections::BTreeMap;

use shared::doc::{At, Document, Img};
use shared::{Error, Result};

use super::forms::{map, pairs, seconds, strings, values, words};
use super::volume::Disk;
use super::{port, secret, size, update, volume};
use crate::model::{Container, HealthCheck, LogDriver, NetworkMode, Port, Protocol, Size, Ulimit, Volume};

/// Where the container runs, which decides what it can have.
#[derive(Clone, Copy)]
pub struct Target {
    pub disk: Disk,
    pub network_mode: NetworkMode,
    /// Whether it is deployed, and so needs its image.
    pub selected: bool,
}

/// A container with what its service needs to know of it.
pub struct Read {
    pub container: Container,
    /// The tcp ports that `ports` names.
    pub published: Vec<i32>,
    /// The volumes of its task.
    pub volumes: Vec<Volume>,
}

/// Keys that are read elsewhere, or have no meaning in ECS and do not change what the service does.
const SILENT: &[&str] = &[
    "attach",
    "build",
    "container_name",
    "cpus",
    "depends_on",
    "develop",
    "expose",
    "image",
    "mem_limit",
    "mem_reservation",
    "network_mode",
    "networks",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "restart",
    "scale",
];

/// Compose keys that ECS does not have, each of which would change behaviour if it were ignored.
const IMPOSSIBLE: &[&str] = &[
    "blkio_config",
    "cgroup",
    "cgroup_parent",
    "configs",
    "cpu_count",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpuset",
    "credential_spec",
    "device_cgroup_rules",
    "devices",
    "external_links",
    "gpus",
    "group_add",
    "ipc",
    "isolation",
    "links",
    "mac_address",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "post_start",
    "pre_stop",
    "provider",
    "runtime",
    "security_opt",
    "storage_opt",
    "userns_mode",
    "uts",
    "volumes_from",
];

/// Keys that only a container on an instance can have, or only one without a network interface of its own.
const NOT_ON_FARGATE: &[&str] = &["privileged", "shm_size", "tmpfs"];
const NOT_ON_AWSVPC: &[&str] = &["dns", "dns_search", "extra_hosts", "hostname"];

pub fn read(doc: &Document, name: &str, at: &At<'_>, img: Option<&Img>, target: Target) -> Result<Read> {
    let memory_reservation = size::reserved(at)?;
    let published = port::published(at)?;
    let container = Container {
        name: name.to_owned(),
        image: image(name, at, img, target.selected)?,
        essential: true,
        size: Size { cpu: size::cpu(at)?, memory: size::memory(at, memory_reservation)? },
        memory_reservation,
        ports: mapped(at, &published)?,
        ..Container::default()
    };
    let mut keys = Keys { doc, target, container, volumes: Vec::new() };
    for (key, value) in at.entries()?.into_iter().filter(|(_, value)| !value.value().is_null()) {
        keys.check(key, &value)?;
        keys.read(key, &value)?;
    }
    let published = published.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.number).collect();
    Ok(Read { container: keys.container, published, volumes: keys.volumes })
}

/// Returns every port once, published or exposed.
fn mapped(at: &At<'_>, published: &[Port]) -> Result<Vec<Port>> {
    let mut mapped: Vec<Port> = Vec::new();
    for port in published.iter().copied().chain(port::exposed(at)?) {
        match mapped.iter().find(|other| other.number == port.number) {
            None => mapped.push(port),
            Some(other) if other.protocol == port.protocol => {}
            Some(_) => {
                return Err(at.wrong(
                    "port-twice",
                    format!("port {} is used for two protocols, but ECS maps a port for one only. Remove one of the two", port.number),
                ));
            }
        }
    }
    Ok(mapped)
}

/// The container as it grows, key by key.
struct Keys<'a> {
    doc: &'a Document,
    target: Target,
    container: Container,
    volumes: Vec<Volume>,
}

impl Keys<'_> {
    fn read(&mut self, key: &str, value: &At<'_>) -> Result<()> {
        let Self { doc, target, container: out, .. } = self;
        match key {
            "command" => out.command = Some(words(value)?),
            "entrypoint" => out.entry_point = Some(words(value)?),
            "working_dir" => out.working_directory = Some(value.text()?.to_owned()),
            "user" => out.user = Some(value.scalar()?),
            "read_only" => out.read_only = Some(value.truth()?),
            "tty" => out.pseudo_terminal = Some(value.truth()?),
            "stdin_open" => out.interactive = Some(value.truth()?),
            "privileged" => out.privileged = Some(value.truth()?),
            "hostname" => out.hostname = Some(value.text()?.to_owned()),
            // Fargate waits at most two minutes.
            "stop_grace_period" => out.stop_timeout = Some(seconds(value, 2..=if target.disk.fargate { 120 } else { 86400 })?),
            "environment" => out.environment = environment(doc, value)?,
            "labels" => out.labels = map(value)?,
            "extra_hosts" => out.extra_hosts = extra_hosts(value)?,
            "dns" => out.dns_servers = strings(value)?,
            "dns_search" => out.dns_search_domains = strings(value)?,
            "ulimits" => out.ulimits = ulimits(value)?,
            "sysctls" => out.system_controls = pairs(value)?,
            "healthcheck" => out.health_check = health_check(doc, value)?,
            "logging" => out.log = logging(doc, value)?,
            "secrets" => out.secrets = secret::read(doc, value)?,
            "init" => out.linux.init = Some(value.truth()?),
            "shm_size" => out.linux.shared_memory = Some(size::mib(value)?),
            "cap_add" => out.linux.capabilities_added = added_capabilities(value, target.disk.fargate)?,
            "cap_drop" => out.linux.capabilities_dropped = strings(value)?,
            "tmpfs" => out.linux.tmpfs.extend(volume::tmpfs(doc, value)?),
            "volumes" => {
                let storage = volume::read(doc, value, target.disk)?;
                out.mounts = storage.mounts;
                out.linux.tmpfs.extend(storage.tmpfs);
                self.volumes = storage.volumes;
            }
            "deploy" => update::check(doc, value)?,
            "env_file" => {
                return Err(value.wrong(
                    "env-file",
                    "files with variables are not read here. Use the output of `docker compose config --format json`, which has their variables in environment",
                ));
            }
            key if SILENT.contains(&key) || key.starts_with("x-") => {}
            key if IMPOSSIBLE.contains(&key) => {
                return Err(value.wrong(
                    "not-in-ecs",
                    "ECS does not have this, and without it the service would behave differently. Remove it from the document",
                ));
            }
            _ => doc.warn("unknown-key", format!("{} is unknown here and has no effect", value.path())),
        }
        Ok(())
    }

    /// Refuses what the container can't have where it runs.
    fn check(&self, key: &str, value: &At<'_>) -> Result<()> {
        let place = if NOT_ON_FARGATE.contains(&key) && self.target.disk.fargate {
            "Fargate"
        } else if NOT_ON_AWSVPC.contains(&key) && self.target.network_mode == NetworkMode::Awsvpc {
            if self.target.disk.fargate { "Fargate" } else { "the network mode awsvpc" }
        } else {
            return Ok(());
        };
        Err(value.wrong("not-possible-there", format!("is not possible on {place}. Remove it, or change where the app runs")))
    }
}

fn image(name: &str, at: &At<'_>, img: Option<&Img>, needed: bool) -> Result<Option<String>> {
    // Built, or copied into ECR.
    match img.and_then(|img| img.get(name)) {
        Some(image) => return Ok(image.uri.clone()),
        None if at.key("build").is_none() => {}
        None if needed && img.is_some() => {
            return Err(at.wrong("image-not-pushed", format!("the service is built, but img.{name} is missing. Run img-push for it")));
        }
        None if needed => return Err(Error::Missing { section: "img", maker: "img-push" }),
        None => return Ok(None),
    }
    let missing = || at.wrong("no-image", "the service has neither image nor build. Add one of them");
    let image = at.key("image").ok_or_else(missing)?;
    match image.text()? {
        text if text.is_empty() || text.contains(char::is_whitespace) => Err(image.expected("image-name", "the name of an image")),
        text => Ok(Some(text.to_owned())),
    }
}

/// A variable without a value is one of the shell that ran Compose, and is not set when the shell does not have it.
fn environment(doc: &Document, at: &At<'_>) -> Result<BTreeMap<String, String>> {
    let mut sorted = BTreeMap::new();
    for (name, value) in values(at)? {
        match value {
            Some(value) => drop(sorted.insert(name, value)),
            None => doc.warn("variable-without-value", format!("{}.{name} has no value and is not set", at.path())),
        }
    }
    Ok(sorted)
}

fn extra_hosts(at: &At<'_>) -> Result<Vec<(String, String)>> {
    if !at.value().is_array() {
        return pairs(at);
    }
    let host = |item: &At<'_>| {
        let split = item.text()?.split_once(['=', ':']).map(|(host, address)| (host.to_owned(), address.to_owned()));
        split.ok_or_else(|| item.expected("extra-host", "of the form host=address"))
    };
    at.list()?.iter().map(host).collect()
}

fn ulimits(at: &At<'_>) -> Result<Vec<Ulimit>> {
    let limit = |name: &str, at: &At<'_>| {
        let of = |key: &str| at.key(key).map_or_else(|| at.whole(-1..=i32::MAX), |at| at.whole(-1..=i32::MAX));
        Ok(Ulimit { name: name.to_owned(), soft: of("soft")?, hard: of("hard")? })
    };
    at.entries()?.iter().map(|(name, at)| limit(name, at)).collect()
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KernelCapabilities.html>
fn added_capabilities(at: &At<'_>, fargate: bool) -> Result<Vec<String>> {
    let names = strings(at)?;
    match names.iter().find(|name| fargate && *name != "SYS_PTRACE") {
        Some(name) => Err(at.wrong("capability-on-fargate", format!("must be only SYS_PTRACE on Fargate; found {name}"))),
        None => Ok(names),
    }
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>
fn health_check(doc: &Document, at: &At<'_>) -> Result<Option<HealthCheck>> {
    if at.key("disable").map_or(Ok(false), |at| at.truth())? {
        return Ok(None);
    }
    let Some(test) = at.key("test") else { return Ok(None) };
    let command = if test.value().is_string() { vec!["CMD-SHELL".to_owned(), test.text()?.to_owned()] } else { strings(&test)? };
    if command.first().is_some_and(|word| word == "NONE") {
        return Ok(None);
    }
    if let Some(unused) = at.key("start_interval") {
        doc.warn("health-start-interval", format!("{} has no effect: ECS checks at one interval", unused.path()));
    }
    let time = |key: &str, range| at.key(key).map(|at| seconds(&at, range)).transpose();
    Ok(Some(HealthCheck {
        command,
        // Docker's default; ECS's is 5 seconds.
        timeout: time("timeout", 2..=60)?.unwrap_or(30),
        interval: time("interval", 5..=300)?,
        start_period: time("start_period", 0..=300)?,
        retries: at.key("retries").map(|at| at.whole(1..=10)).transpose()?,
    }))
}

/// Another driver is passed on. `awslogs`, the default, is set where the log group has its name.
fn logging(doc: &Document, at: &At<'_>) -> Result<Option<LogDriver>> {
    let driver = at.key("driver").map_or(Ok("awslogs"), |at| at.text())?;
    // Compose's default drivers write to the machine, and a task has none of its own.
    if matches!(driver, "awslogs" | "json-file" | "local" | "journald" | "none") {
        if driver != "awslogs" || at.key("options").is_some() {
            doc.warn(
                "log-driver",
                format!("{}: the driver {driver} and its options have no effect; the log is in CloudWatch Logs", at.path()),
            );
        }
        return Ok(None);
    }
    let options = at.key("options").map_or(Ok(BTreeMap::new()), |at| map(&at))?;
    Ok(Some(LogDriver { driver: driver.to_owned(), options }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(target: Target, service: &Value) -> Result<Container, String> {
        let doc = Document::parse(json!({"name": "shop", "services": {"web": service}}).to_string().as_bytes()).unwrap();
        let at = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        read(&doc, "web", &at, None, target).map(|read| read.container).map_err(|error| error.to_string())
    }

    const BRIDGE: Target = Target { disk: Disk { fargate: false, host_volumes: false }, network_mode: NetworkMode::Bridge, selected: true };
    const FARGATE: Target = Target { disk: Disk { fargate: true, host_volumes: false }, network_mode: NetworkMode::Awsvpc, selected: true };

    #[test]
    fn what_ecs_does_not_have_is_refused() {
        for (target, key, value) in [
            (BRIDGE, "devices", json!(["/dev/kvm"])),
            (BRIDGE, "env_file", json!(".env")),
            (BRIDGE, "extra_hosts", json!(["db"])),
            (FARGATE, "privileged", json!(true)),
            (FARGATE, "tmpfs", json!("/run")),
            (FARGATE, "hostname", json!("web")),
            (FARGATE, "stop_grace_period", json!("3m")),
            (FARGATE, "cap_add", json!(["NET_ADMIN"])),
        ] {
            let refused = container(target, &json!({"image": "nginx", key: value})).unwrap_err();
            assert!(refused.contains(&format!("services.web.{key}")), "{key}: {refused}");
        }
        assert!(container(FARGATE, &json!({"image": "nginx", "sysctls": {"net.core.somaxconn": 1}})).is_ok());
    }

    #[test]
    fn a_port_is_mapped_once() {
        let ports = |service: Value| container(BRIDGE, &service).map(|read| read.ports.iter().map(|port| port.number).collect::<Vec<_>>());
        assert_eq!(ports(json!({"image": "nginx", "ports": ["80:8080", "8080"], "expose": [8080, 9090]})), Ok(vec![8080, 9090]));
        assert!(ports(json!({"image": "nginx", "ports": ["8080", "8080/udp"]})).unwrap_err().contains("two protocols"));
    }
}
