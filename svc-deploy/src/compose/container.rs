//! A Compose service as a container.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>

use std::collections::BTreeMap;

use shared::doc::{At, Document, Img, port};
use shared::{Error, Result};

use super::forms::{map, pairs, seconds, strings, values, words};
use super::key::{DROPPED_ON_AWSVPC, IMPOSSIBLE, NOT_ON_AWSVPC, NOT_ON_FARGATE, OF_COMPOSE, SILENT, WITHOUT_EFFECT, is_default};
use super::volume::{Disk, InImage};
use super::{capability, health_check, limit, logging, machine, secret, size, update, volume};
use crate::model::{Container, NetworkMode, Port, Protocol, Ulimit, Volume};

/// Where the container runs, which decides what it can have.
#[derive(Clone, Copy)]
pub struct Target {
    pub disk: Disk,
    pub network_mode: NetworkMode,
    /// Whether it is deployed, and so needs its image.
    pub selected: bool,
    /// Whether secrets are files, or else variables.
    pub secret_files: bool,
}

/// A container with what its service needs to know of it.
pub struct Read {
    pub container: Container,
    /// The volumes of its task.
    pub volumes: Vec<Volume>,
}

pub fn read(doc: &Document, name: &str, at: &At<'_>, img: Option<&Img>, target: Target) -> Result<Read> {
    let fargate = target.disk.fargate;
    let memory = doc.keep(size::memory(at, fargate)).unwrap_or_default();
    let capabilities = doc.keep(capability::read(at, fargate)).unwrap_or_default();
    let mut container = Container {
        name: name.to_owned(),
        image: doc.keep(image(doc, name, at, img, target.selected)).flatten(),
        essential: true,
        cpu: doc.keep(size::cpu(at)).unwrap_or_default(),
        memory: memory.limit,
        memory_reservation: memory.reservation,
        ports: doc.keep(mapped(doc, at)).unwrap_or_default(),
        ..Container::default()
    };
    let image = img.and_then(|img| img.get(name));
    let (files, seeded) = (image.map(|image| image.files.as_slice()), image.map(|image| image.seeded.as_slice()).unwrap_or_default());
    let in_image = InImage { files, seeded, needed: target.selected };
    let storage = doc.keep(volume::read(doc, name, at, in_image, target.disk)).unwrap_or_default();
    container.mounts = storage.mounts;
    container.copied = storage.copied;
    container.linux.tmpfs = storage.tmpfs;
    container.linux.capabilities_added = capabilities.added;
    container.linux.capabilities_dropped = capabilities.dropped;
    let mut keys = Keys { doc, target, container, in_image };
    for (key, value) in at.entries()?.into_iter().filter(|(_, value)| !value.value().is_null()) {
        let is_possible = keys.is_possible(key, &value);
        doc.keep(is_possible.and_then(|is_possible| if is_possible { keys.read(key, &value) } else { Ok(()) }));
    }
    Ok(Read { container: keys.container, volumes: storage.volumes })
}

/// Returns every port once, published or exposed. ECS maps a port for one protocol only.
fn mapped(doc: &Document, at: &At<'_>) -> Result<Vec<Port>> {
    let mut mapped: Vec<Port> = Vec::new();
    for port in port::published(at)?.into_iter().chain(port::exposed(at)?) {
        let number = i32::from(port.number);
        match mapped.iter_mut().find(|other| other.number == number) {
            None => mapped.push(Port { number, protocol: port.protocol }),
            Some(other) if other.protocol == port.protocol => {}
            Some(other) => {
                other.protocol = Protocol::Tcp;
                doc.warn_at(
                    "port-for-udp-too",
                    at,
                    format!("port {number} is mapped for tcp only, because ECS maps a port for one protocol"),
                );
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
    in_image: InImage<'a>,
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
            "extra_hosts" => out.extra_hosts = extra_hosts(doc, value)?,
            "dns" => out.dns_servers = strings(value)?,
            "dns_search" => out.dns_search_domains = strings(value)?,
            "ulimits" => out.ulimits = ulimits(value)?,
            "sysctls" => out.system_controls = pairs(value)?,
            "healthcheck" => out.health_check = health_check::read(doc, value)?,
            "logging" => logging::read(doc, value, out)?,
            "configs" => volume::check_configs(doc, value, self.in_image)?,
            "secrets" => {
                let reading = secret::Reading { files: target.secret_files, values: target.selected };
                let secrets = secret::read(doc, value, reading)?;
                (out.secrets, out.secret_files, out.parameters) = (secrets.variables, secrets.files, secrets.parameters);
            }
            "init" => out.linux.init = Some(value.truth()?),
            "shm_size" => out.linux.shared_memory = Some(size::mib(value)?),
            "tmpfs" => out.linux.tmpfs.extend(volume::tmpfs(doc, value)?),
            "devices" => out.linux.devices = machine::devices(value)?,
            "gpus" => out.gpus = Some(machine::gpus(value)?),
            "security_opt" => out.security_options = machine::security_options(value)?,
            "deploy" => out.gpus = update::check(doc, value, target.disk.fargate)?.or(out.gpus),
            key if SILENT.contains(&key) || key.starts_with("x-") => {}
            key => self.without(key, value)?,
        }
        Ok(())
    }

    /// Refuses what is missed, and warns of what is not.
    fn without(&self, key: &str, value: &At<'_>) -> Result<()> {
        let of = |keys: &[(&str, &'static str)]| keys.iter().find(|(known, _)| *known == key).map(|(_, text)| *text);
        if IMPOSSIBLE.contains(&key) {
            return Err(value.wrong(
                "not-in-ecs",
                "ECS does not have this, and without it the service would behave differently. Remove it from the document",
            ));
        }
        if let Some(lost) = of(OF_COMPOSE) {
            let what = format!("this is not resolved, so {lost}. Pipe the output of `docker compose config`, which resolves it");
            return Err(value.wrong("not-resolved", what));
        }
        match of(WITHOUT_EFFECT) {
            Some(why) => self.doc.warn_at("key-without-effect", value, format!("this has no effect: {why}")),
            None => self.doc.warn_at("unknown-key", value, "this key is unknown and has no effect"),
        }
        Ok(())
    }

    /// Refuses what the container can't have where it runs. Returns whether it can have it.
    fn is_possible(&self, key: &str, value: &At<'_>) -> Result<bool> {
        let (fargate, awsvpc) = (self.target.disk.fargate, self.target.network_mode == NetworkMode::Awsvpc);
        let place = if fargate { "Fargate" } else { "the network mode awsvpc" };
        if awsvpc && DROPPED_ON_AWSVPC.contains(&key) {
            self.doc.warn_at("key-dropped", value, format!("this has no effect on {place}"));
            return Ok(false);
        }
        let is_refused = (fargate && NOT_ON_FARGATE.contains(&key)) || (awsvpc && NOT_ON_AWSVPC.contains(&key));
        if !is_refused {
            return Ok(true);
        }
        if is_default(key, value)? {
            return Ok(false);
        }
        let instead = if fargate { "run the app on EC2 (x-cluster.launch_type: ec2)" } else { "use another network mode" };
        Err(value.wrong("not-possible-there", format!("is not possible on {place}. Remove it, or {instead}")))
    }
}

fn image(doc: &Document, name: &str, at: &At<'_>, img: Option<&Img>, needed: bool) -> Result<Option<String>> {
    let is_built = at.key("build").is_some() || doc.builder(at).is_some();
    // Built, or copied into ECR. The entries of other images only say what is known of them, and the document may name others by now.
    match img.and_then(|img| img.get(name)).filter(|image| image.repository_arn.is_some() || is_built) {
        Some(image) => return Ok(image.uri.clone()),
        None if !is_built => {}
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
        limit::check_variable(&name, at)?;
        match value {
            Some(value) => drop(sorted.insert(name, value)),
            None => doc.warn_at("variable-without-value", &at.below(&name), "variables without a value are not set"),
        }
    }
    Ok(sorted)
}

/// Docker's name for the address of the machine that runs Compose.
const HOST: &str = "host-gateway";

fn extra_hosts(doc: &Document, at: &At<'_>) -> Result<Vec<(String, String)>> {
    let mut hosts = if at.value().is_array() {
        let host = |item: &At<'_>| {
            let split = item.text()?.split_once(['=', ':']).map(|(host, address)| (host.to_owned(), address.to_owned()));
            split.ok_or_else(|| item.expected("extra-host", "of the form host=address"))
        };
        at.list()?.iter().map(host).collect::<Result<Vec<_>>>()?
    } else {
        pairs(at)?
    };
    for (host, _) in hosts.extract_if(.., |(_, address)| address == HOST) {
        doc.warn_at("host-gateway", at, format!("{host} has no address, because on AWS there is no machine that runs Compose"));
    }
    Ok(hosts)
}

fn ulimits(at: &At<'_>) -> Result<Vec<Ulimit>> {
    let one = |name: &str, at: &At<'_>| {
        limit::check_ulimit(name, at)?;
        let of = |key: &str| at.key(key).map_or_else(|| at.whole(-1..=i32::MAX), |at| at.whole(-1..=i32::MAX));
        Ok(Ulimit { name: name.to_owned(), soft: of("soft")?, hard: of("hard")? })
    };
    at.entries()?.iter().map(|(name, at)| one(name, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(target: Target, service: &Value) -> Result<Container, String> {
        read_with_warnings(target, service).0
    }

    /// Reads a service as a container, with the codes of the warnings.
    fn read_with_warnings(target: Target, service: &Value) -> (Result<Container, String>, Vec<&'static str>) {
        let doc = Document::parse(json!({"name": "shop", "services": {"web": service}}).to_string().as_bytes()).unwrap();
        let at = doc.root().key("services").and_then(|all| all.key("web")).unwrap();
        let mut found = read(&doc, "web", &at, None, target).map(|read| read.container).map_err(|error| error.to_string());
        doc.change_findings(|error| {
            found = Err(error.to_string());
            error
        });
        (found, doc.warnings().into_iter().map(|(code, _)| code).collect())
    }

    const BRIDGE: Target = Target {
        disk: Disk { fargate: false, host_volumes: false },
        network_mode: NetworkMode::Bridge,
        selected: true,
        secret_files: true,
    };
    const FARGATE: Target =
        Target { disk: Disk { fargate: true, host_volumes: false }, network_mode: NetworkMode::Awsvpc, selected: true, secret_files: true };

    #[test]
    fn what_ecs_does_not_have_is_refused() {
        for (target, key, value) in [
            (BRIDGE, "group_add", json!(["docker"])),
            (BRIDGE, "external_links", json!(["redis"])),
            (BRIDGE, "env_file", json!(".env")),
            (BRIDGE, "extends", json!({"service": "base"})),
            (BRIDGE, "extra_hosts", json!(["db"])),
            (FARGATE, "extra_hosts", json!(["db=10.0.0.1"])),
            (FARGATE, "privileged", json!(true)),
            (FARGATE, "shm_size", json!("256m")),
            (FARGATE, "devices", json!(["/dev/kvm"])),
            (FARGATE, "gpus", json!(1)),
            (FARGATE, "security_opt", json!(["no-new-privileges:true"])),
            (FARGATE, "stop_grace_period", json!("3m")),
            (FARGATE, "cap_add", json!(["NET_ADMIN"])),
        ] {
            let refused = container(target, &json!({"image": "nginx", key: value})).unwrap_err();
            assert!(refused.contains(&format!("services.web.{key}")), "{key}: {refused}");
        }
        for (key, value) in [
            ("sysctls", json!({"net.core.somaxconn": 1})),
            ("privileged", json!(false)),
            ("shm_size", json!("67108864")),
            ("security_opt", json!([])),
            ("tmpfs", json!("/run:size=1m")),
        ] {
            assert!(container(FARGATE, &json!({"image": "nginx", key: value})).is_ok(), "{key}");
        }
    }

    /// Each key that is dropped, with the code of its warning.
    #[test]
    fn what_a_service_runs_without_is_a_warning() {
        for (target, key, value, code) in [
            (FARGATE, "hostname", json!("web"), "key-dropped"),
            (FARGATE, "dns_search", json!(["a.b"]), "key-dropped"),
            (BRIDGE, "stop_signal", json!("SIGQUIT"), "key-without-effect"),
            (BRIDGE, "pids_limit", json!(100), "key-without-effect"),
            (BRIDGE, "memswap_limit", json!("1g"), "key-without-effect"),
            (BRIDGE, "frobnicate", json!(1), "unknown-key"),
            (BRIDGE, "extra_hosts", json!(["host.docker.internal:host-gateway"]), "host-gateway"),
            (BRIDGE, "ports", json!(["8443", "8443/udp"]), "port-for-udp-too"),
        ] {
            let (found, warnings) = read_with_warnings(target, &json!({"image": "nginx", key: value}));
            assert_eq!(warnings, [code], "{key}: {found:?}");
        }
        for (key, value) in [("develop", json!({"watch": []})), ("pull_policy", json!("always")), ("profiles", json!(["a"]))] {
            assert_eq!(read_with_warnings(BRIDGE, &json!({"image": "nginx", key: value})).1, [""; 0], "{key}");
        }
    }

    /// The name means nothing to ECS, and may be somebody's image in a registry.
    #[test]
    fn an_image_that_another_service_builds_is_not_pulled_by_its_name() {
        let doc = json!({"name": "shop", "services": {"web": {"build": ".", "image": "backend"}, "job": {"image": "backend"},
            "api": {"build": "api"}, "beat": {"image": "shop-api"}, "db": {"image": "postgres"}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let services = doc.root().key("services").unwrap();
        let image = |name: &str, img: &Img| image(&doc, name, &services.key(name).unwrap(), Some(img), true).map_err(|error| error.code());
        for name in ["job", "beat"] {
            assert_eq!(image(name, &Img::new()), Err("image-not-pushed"), "{name}");
            let pushed = shared::doc::Image { uri: Some("ecr/backend@sha256:1".to_owned()), ..shared::doc::Image::default() };
            assert_eq!(image(name, &Img::from([(name.to_owned(), pushed)])), Ok(Some("ecr/backend@sha256:1".to_owned())));
        }
        assert_eq!(image("db", &Img::new()), Ok(Some("postgres".to_owned())));
    }

    #[test]
    fn a_port_is_mapped_once() {
        let ports = |service: Value| container(BRIDGE, &service).map(|read| read.ports);
        let tcp = |number| Port { number, protocol: Protocol::Tcp };
        assert_eq!(ports(json!({"image": "nginx", "ports": ["80:8080", "8080"], "expose": [8080, 9090]})), Ok(vec![tcp(8080), tcp(9090)]));
        assert_eq!(ports(json!({"image": "nginx", "ports": ["8080/udp", "8080"]})), Ok(vec![tcp(8080)]));
    }
}
