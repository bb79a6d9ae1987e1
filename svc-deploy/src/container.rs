//! A Compose service as an ECS container definition.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>,
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::doc::{At, Document, Img};
use shared::{Error, Result};

use crate::compose::NetworkMode;
use crate::{deploy, port, secret, size, volume};

/// Where the container is to run, which decides what it may ask for.
#[derive(Clone, Copy)]
pub struct Target {
    pub fargate: bool,
    pub network_mode: NetworkMode,
    /// Whether it may write on the instance's disk.
    pub host_volumes: bool,
    /// Whether it is deployed, and so needs its image.
    pub selected: bool,
}

pub struct Container {
    pub definition: Value,
    /// Container ports that `ports` names.
    pub ports: Vec<i32>,
    /// ARNs or names of its secrets.
    pub secrets: Vec<String>,
    /// Volumes of its task.
    pub volumes: Vec<Value>,
    /// CPU units.
    pub cpu: i32,
    /// MiB.
    pub memory: i32,
}

/// Read elsewhere, or of no meaning in ECS without changing what the service does.
const SILENT: &[&str] = &[
    "attach",
    "build",
    "container_name",
    "depends_on",
    "develop",
    "image",
    "network_mode",
    "networks",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "restart",
    "scale",
];

/// Compose keys that ECS can't give, each of which would change behaviour if it were left out.
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

pub fn read(doc: &Document, name: &str, at: &At<'_>, img: Option<&Img>, target: Target) -> Result<Container> {
    let reserved = size::reserved(at)?;
    let (cpu, memory) = (size::cpu(at)?, size::memory(at, reserved)?);
    let mut mapped = port::published(at)?;
    let ports = mapped.iter().filter(|(_, protocol)| protocol == "tcp").map(|(port, _)| *port).collect();
    let mut out = Map::new();
    out.insert("name".into(), json!(name));
    out.insert("image".into(), image(name, at, img, target.selected)?);
    out.insert("essential".into(), json!(true));
    out.insert("cpu".into(), json!(cpu));
    out.insert("memory".into(), json!(memory));
    mapped.extend(port::exposed(at)?);
    let mut seen = BTreeMap::new();
    for (port, protocol) in std::mem::take(&mut mapped) {
        match seen.insert(port, protocol.clone()) {
            None => mapped.push((port, protocol)),
            Some(other) if other == protocol => {}
            Some(_) => return Err(at.wrong(format!("opens port {port} for two protocols, and ECS maps a port for one alone"))),
        }
    }
    if !mapped.is_empty() {
        out.insert(
            "portMappings".into(),
            mapped.iter().map(|(port, protocol)| port::mapping(*port, protocol, target.network_mode)).collect(),
        );
    }
    if let Some(reserved) = reserved {
        out.insert("memoryReservation".into(), json!(reserved));
    }
    let mut keys = Keys { doc, target, out, linux: Map::new(), secrets: Vec::new(), volumes: Vec::new() };
    for (key, value) in at.entries()?.into_iter().filter(|(_, value)| !value.value().is_null()) {
        keys.read(key, &value)?;
    }
    let Keys { mut out, linux, secrets, volumes, .. } = keys;
    if !linux.is_empty() {
        out.insert("linuxParameters".into(), linux.into());
    }
    Ok(Container { definition: out.into(), ports, secrets, volumes, cpu, memory })
}

/// The definition as it grows, key by key.
struct Keys<'a> {
    doc: &'a Document,
    target: Target,
    out: Map<String, Value>,
    linux: Map<String, Value>,
    secrets: Vec<String>,
    volumes: Vec<Value>,
}

impl Keys<'_> {
    fn read(&mut self, key: &str, value: &At<'_>) -> Result<()> {
        self.check(key, value)?;
        let Self { doc, target, out, linux, .. } = self;
        match key {
            "command" | "entrypoint" => insert(out, if key == "command" { "command" } else { "entryPoint" }, words(value)?),
            "working_dir" => insert(out, "workingDirectory", json!(value.text()?)),
            "user" => insert(out, "user", json!(value.scalar()?)),
            "read_only" => insert(out, "readonlyRootFilesystem", json!(value.truth()?)),
            "tty" => insert(out, "pseudoTerminal", json!(value.truth()?)),
            "stdin_open" => insert(out, "interactive", json!(value.truth()?)),
            "privileged" => insert(out, "privileged", json!(value.truth()?)),
            "hostname" => insert(out, "hostname", json!(value.text()?)),
            // Two minutes is the longest that Fargate waits.
            "stop_grace_period" => insert(out, "stopTimeout", json!(seconds(value, 2..=if target.fargate { 120 } else { 86400 })?)),
            "environment" => insert(out, "environment", environment(doc, value)?),
            "labels" => insert(out, "dockerLabels", json!(pairs(value)?.into_iter().collect::<BTreeMap<_, _>>())),
            "extra_hosts" => insert(out, "extraHosts", extra_hosts(value)?),
            "dns" => insert(out, "dnsServers", strings(value)?),
            "dns_search" => insert(out, "dnsSearchDomains", strings(value)?),
            "ulimits" => insert(out, "ulimits", ulimits(value)?),
            "sysctls" => insert(
                out,
                "systemControls",
                pairs(value)?.into_iter().map(|(name, value)| json!({"namespace": name, "value": value})).collect(),
            ),
            "healthcheck" => out.extend(health_check(doc, value)?.map(|check| ("healthCheck".to_owned(), check))),
            "logging" => out.extend(logging(doc, value)?.map(|logging| ("logConfiguration".to_owned(), logging))),
            "secrets" => {
                let secrets = secret::read(doc, value)?;
                self.secrets = secrets.iter().map(|(_, arn)| arn.clone()).collect();
                insert(out, "secrets", secrets.into_iter().map(|(name, arn)| json!({"name": name, "valueFrom": arn})).collect());
            }
            "init" => insert(linux, "initProcessEnabled", json!(value.truth()?)),
            "shm_size" => insert(linux, "sharedMemorySize", json!(size::mib(value)?)),
            "cap_add" | "cap_drop" => insert(
                linux.entry("capabilities").or_insert_with(|| json!({})).as_object_mut().unwrap_or(&mut Map::new()),
                &key[4..],
                capabilities(value, key == "cap_add" && target.fargate)?,
            ),
            "tmpfs" => in_memory(linux, volume::tmpfs(doc, value)?),
            "volumes" => {
                let mounts = volume::read(doc, value, *target)?;
                if !mounts.mount_points.is_empty() {
                    insert(out, "mountPoints", mounts.mount_points.into());
                }
                in_memory(linux, mounts.tmpfs);
                self.volumes = mounts.volumes;
            }
            "deploy" => deploy::check(doc, value)?,
            "env_file" => {
                return Err(
                    value.wrong("files are not read here: `docker compose config --format json` puts their variables into environment")
                );
            }
            "mem_limit" | "cpus" | "mem_reservation" | "expose" => {}
            key if SILENT.contains(&key) || key.starts_with("x-") => {}
            key if IMPOSSIBLE.contains(&key) => {
                return Err(
                    value.wrong("ECS can't give this, and leaving it out would change what the service does: take it out of the document")
                );
            }
            _ => doc.warn(format!("{} is not known here and has no effect", value.path())),
        }
        Ok(())
    }

    /// Refuses what the container can't have where it is to run.
    fn check(&self, key: &str, value: &At<'_>) -> Result<()> {
        let on_fargate = NOT_ON_FARGATE.contains(&key) && self.target.fargate;
        if on_fargate || (NOT_ON_AWSVPC.contains(&key) && self.target.network_mode == NetworkMode::Awsvpc) {
            let place = if self.target.fargate { "Fargate" } else { "the network mode awsvpc" };
            return Err(value.wrong(format!("is not possible on {place}: take it out, or run the app elsewhere")));
        }
        Ok(())
    }
}

/// `tmpfs` and the volumes of that type end in one list.
fn in_memory(linux: &mut Map<String, Value>, mounts: Vec<Value>) {
    match linux.get_mut("tmpfs").and_then(Value::as_array_mut) {
        Some(list) => list.extend(mounts),
        None if mounts.is_empty() => {}
        None => drop(linux.insert("tmpfs".to_owned(), mounts.into())),
    }
}

fn insert(out: &mut Map<String, Value>, key: &str, value: Value) {
    out.insert(key.to_owned(), value);
}

fn image(name: &str, at: &At<'_>, img: Option<&Img>, needed: bool) -> Result<Value> {
    // Built, or copied into ECR.
    match img.and_then(|img| img.get(name)) {
        Some(image) => return Ok(json!(image.uri)),
        None if at.key("build").is_none() => {}
        None if needed && img.is_some() => return Err(at.wrong(format!("is built, but img.{name} is missing: run img-push for it"))),
        None if needed => return Err(Error::Missing { section: "img", maker: "img-push" }),
        None => return Ok(Value::Null),
    }
    let image = at.key("image").ok_or_else(|| at.wrong("the service has neither image nor build"))?;
    match image.text()? {
        text if text.is_empty() || text.contains(char::is_whitespace) => Err(image.expected("the name of an image")),
        text => Ok(json!(text)),
    }
}

/// A variable without a value is one of the shell that ran Compose, and is not set when the shell has none.
fn environment(doc: &Document, at: &At<'_>) -> Result<Value> {
    let mut sorted = BTreeMap::new();
    for (name, value) in values(at)? {
        match value {
            Some(value) => drop(sorted.insert(name, value)),
            None => doc.warn(format!("{}.{name} has no value, so it is not set", at.path())),
        }
    }
    Ok(sorted.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect())
}

/// `{"A": "b"}` or `["A=b"]`; a name without a value has an empty one.
pub fn pairs(at: &At<'_>) -> Result<Vec<(String, String)>> {
    Ok(values(at)?.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

pub fn values(at: &At<'_>) -> Result<Vec<(String, Option<String>)>> {
    if at.value().is_array() {
        let pair =
            |text: &str| text.split_once('=').map_or((text.to_owned(), None), |(key, value)| (key.to_owned(), Some(value.to_owned())));
        return at.list()?.iter().map(|item| item.text().map(pair)).collect();
    }
    let value = |at: At<'_>| if at.value().is_null() { Ok(None) } else { at.scalar().map(Some) };
    at.entries()?.into_iter().map(|(key, at)| Ok((key.to_owned(), value(at)?))).collect()
}

/// A list, or a string that is split as a shell would.
fn words(at: &At<'_>) -> Result<Value> {
    if at.value().is_array() {
        return strings(at);
    }
    let words = shlex::split(at.text()?).ok_or_else(|| at.expected("a command with closed quotes"))?;
    Ok(json!(words))
}

fn strings(at: &At<'_>) -> Result<Value> {
    if at.value().is_string() {
        return Ok(json!([at.text()?]));
    }
    at.list()?.iter().map(|at| at.scalar().map(Value::from)).collect()
}

fn extra_hosts(at: &At<'_>) -> Result<Value> {
    let hosts = if at.value().is_array() {
        let hosts: Result<Vec<(String, String)>> = at
            .list()?
            .iter()
            .map(|item| {
                item.text()?
                    .split_once(['=', ':'])
                    .map(|(host, ip)| (host.to_owned(), ip.to_owned()))
                    .ok_or_else(|| item.expected("host=address"))
            })
            .collect();
        hosts?
    } else {
        pairs(at)?
    };
    Ok(hosts.into_iter().map(|(host, address)| json!({"hostname": host, "ipAddress": address})).collect())
}

fn ulimits(at: &At<'_>) -> Result<Value> {
    let limit = |name: &str, at: &At<'_>| {
        let of = |key: &str| at.key(key).map_or_else(|| at.whole(-1..=i32::MAX), |at| at.whole(-1..=i32::MAX));
        Ok(json!({"name": name, "softLimit": of("soft")?, "hardLimit": of("hard")?}))
    };
    at.entries()?.iter().map(|(name, at)| limit(name, at)).collect()
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KernelCapabilities.html>
fn capabilities(at: &At<'_>, fargate: bool) -> Result<Value> {
    let names = strings(at)?;
    match names.as_array().into_iter().flatten().find(|name| fargate && *name != "SYS_PTRACE") {
        Some(name) => Err(at.wrong(format!("Fargate adds no capability but SYS_PTRACE, and this is {name}"))),
        None => Ok(names),
    }
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>
fn health_check(doc: &Document, at: &At<'_>) -> Result<Option<Value>> {
    if at.key("disable").map_or(Ok(false), |at| at.truth())? {
        return Ok(None);
    }
    let Some(test) = at.key("test") else { return Ok(None) };
    let command = if test.value().is_string() { json!(["CMD-SHELL", test.text()?]) } else { strings(&test)? };
    if command.get(0).and_then(Value::as_str) == Some("NONE") {
        return Ok(None);
    }
    // Docker's own time; ECS's is 5 seconds.
    let mut check = json!({"command": command, "timeout": 30});
    for (key, name, range) in [("interval", "interval", 5..=300), ("timeout", "timeout", 2..=60), ("start_period", "startPeriod", 0..=300)]
    {
        if let Some(time) = at.key(key) {
            check[name] = json!(seconds(&time, range)?);
        }
    }
    if let Some(unheard) = at.key("start_interval") {
        doc.warn(format!("{} has no effect: ECS checks at one interval", unheard.path()));
    }
    if let Some(retries) = at.key("retries") {
        check["retries"] = json!(retries.whole(1..=10)?);
    }
    Ok(Some(check))
}

/// Another driver is passed on; `awslogs`, the default, is set up later, when the log group has its name.
fn logging(doc: &Document, at: &At<'_>) -> Result<Option<Value>> {
    let driver = at.key("driver").map_or(Ok("awslogs"), |at| at.text())?;
    // Compose's default drivers write to the machine, which a task does not have.
    if matches!(driver, "awslogs" | "json-file" | "local" | "journald" | "none") {
        if driver != "awslogs" || at.key("options").is_some() {
            doc.warn(format!("{}: the driver {driver} has no effect, nor its options: the log goes to CloudWatch Logs", at.path()));
        }
        return Ok(None);
    }
    let options: Map<String, Value> =
        at.key("options").map_or(Ok(Vec::new()), |at| pairs(&at))?.into_iter().map(|(key, value)| (key, json!(value))).collect();
    Ok(Some(json!({"logDriver": driver, "options": options})))
}

fn seconds(at: &At<'_>, range: std::ops::RangeInclusive<u64>) -> Result<u64> {
    let time = humantime::parse_duration(&at.scalar()?).map_err(|error| at.wrong(format!("not a duration: {error}")))?;
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    if range.contains(&seconds) {
        Ok(seconds)
    } else {
        Err(at.expected(&format!("{} to {} seconds, which is what ECS takes", range.start(), range.end())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(target: Target, service: &Value) -> Result<Value, String> {
        let doc = Document::parse(json!({"name": "shop", "services": {"web": service}}).to_string().as_bytes()).unwrap();
        let at = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        read(&doc, "web", &at, None, target).map(|read| read.definition).map_err(|error| error.to_string())
    }

    const BRIDGE: Target = Target { fargate: false, network_mode: NetworkMode::Bridge, host_volumes: false, selected: true };
    const FARGATE: Target = Target { fargate: true, network_mode: NetworkMode::Awsvpc, host_volumes: false, selected: true };

    /// Each key of Compose and what is to become of it; the rest is as always.
    #[test]
    fn what_compose_says_in_the_words_of_ecs() {
        for (key, value, becomes) in [
            ("command", json!("a 'b c'"), json!({"command": ["a", "b c"]})),
            ("entrypoint", json!(["a", "b"]), json!({"entryPoint": ["a", "b"]})),
            ("working_dir", json!("/srv"), json!({"workingDirectory": "/srv"})),
            ("user", json!("1000:1000"), json!({"user": "1000:1000"})),
            ("read_only", json!(true), json!({"readonlyRootFilesystem": true})),
            ("tty", json!(true), json!({"pseudoTerminal": true})),
            ("stdin_open", json!(true), json!({"interactive": true})),
            ("stop_grace_period", json!("1m30s"), json!({"stopTimeout": 90})),
            ("environment", json!(["B=2", "A=1", "C"]), json!({"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]})),
            ("environment", json!({"A": 1, "B": null}), json!({"environment": [{"name": "A", "value": "1"}]})),
            (
                "ports",
                json!(["80:8080", "8080", "9090/udp"]),
                json!({"portMappings": [
                {"containerPort": 8080, "hostPort": 0, "protocol": "tcp"}, {"containerPort": 9090, "hostPort": 0, "protocol": "udp"}]}),
            ),
            (
                "ulimits",
                json!({"nofile": {"soft": 1, "hard": 2}}),
                json!({"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]}),
            ),
            (
                "sysctls",
                json!({"net.core.somaxconn": 1024}),
                json!({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1024"}]}),
            ),
            ("extra_hosts", json!(["db=10.0.0.1"]), json!({"extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.1"}]})),
            ("dns", json!("10.0.0.2"), json!({"dnsServers": ["10.0.0.2"]})),
            ("labels", json!(["a=b"]), json!({"dockerLabels": {"a": "b"}})),
            ("init", json!(true), json!({"linuxParameters": {"initProcessEnabled": true}})),
            ("shm_size", json!("64m"), json!({"linuxParameters": {"sharedMemorySize": 64}})),
            ("cap_drop", json!(["ALL"]), json!({"linuxParameters": {"capabilities": {"drop": ["ALL"]}}})),
            ("tmpfs", json!("/run:size=64m"), json!({"linuxParameters": {"tmpfs": [{"containerPath": "/run", "size": 64}]}})),
            ("cpus", json!(0.5), json!({"cpu": 512})),
            ("mem_limit", json!("1g"), json!({"memory": 1024})),
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
            ("logging", json!({"driver": "json-file"}), json!({})),
            (
                "logging",
                json!({"driver": "splunk", "options": {"a": "b"}}),
                json!({"logConfiguration": {"logDriver": "splunk", "options": {"a": "b"}}}),
            ),
        ] {
            let mut expected = json!({"name": "web", "image": "nginx", "essential": true, "cpu": 256, "memory": 512});
            json_patch::merge(&mut expected, &becomes);
            assert_eq!(container(BRIDGE, &json!({"image": "nginx", key: value.clone()})), Ok(expected), "{key}: {value}");
        }
    }

    #[test]
    fn what_ecs_can_not_give_is_refused() {
        for (target, key, value) in [
            (BRIDGE, "devices", json!(["/dev/kvm"])),
            (BRIDGE, "env_file", json!(".env")),
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
}
