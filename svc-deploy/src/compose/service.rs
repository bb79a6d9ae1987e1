//! A Compose service with its sidecars as an ECS service.

use serde_json::Value;
use shared::doc::public::Publishing;
use shared::doc::{At, Cluster, Document, Img, LaunchType, Selection, check_tags, owner, platform};
use shared::{Error, Result};

use super::container::Target;
use super::forms::pairs;
use super::volume::Disk;
use super::{connect, container, dependency, job, limit, machine, network, publishing, size, tasks, update, volume};
use crate::model::{Container, Patch, Service, TaskRole, Volume};
use crate::settings::{PatchSetting, SecretsSetting, ServiceFlags, ServiceSettings, Strategy, TaskRoleSetting};

/// The document's services with their places; sidecars (`network_mode: service:X`) are containers of X's task.
pub fn read(doc: &Document, selection: &Selection, publishing: &Publishing, img: Option<&Img>, cluster: &Cluster) -> Result<Vec<Service>> {
    doc.services(selection)?;
    if let Some(include) = doc.root().key("include") {
        return Err(include
            .wrong("include-not-resolved", "the included files are missing. Pipe the output of `docker compose config`, which has them"));
    }
    let all = doc.services(&Selection::default())?;
    let mut services = Vec::new();
    for (name, at) in all.iter().filter(|(_, at)| owner(at).is_none()) {
        let sidecars: Vec<&(&str, At<'_>)> = all.iter().filter(|(_, at)| owner(at) == Some(name)).collect();
        services.extend(Source { doc, name, at, sidecars, publishing, img, cluster }.read(selection.takes(name)));
    }
    for (name, at) in &all {
        if let Some(owner) = owner(at).filter(|owner| !all.iter().any(|(other, at)| other == owner && self::owner(at).is_none())) {
            doc.keep::<()>(Err(Error::document(
                "sidecar-without-service",
                format!("services.{name}.network_mode"),
                format!("there is no service {owner:?} for this sidecar. Add it, or change network_mode"),
            )));
        }
    }
    doc.keep(publishing::check_claims(&services));
    doc.keep(connect::link(doc, &mut services));
    network::explain(doc, &all);
    dependency::in_order(services)
}

/// What a service is read from.
struct Source<'a> {
    doc: &'a Document,
    name: &'a str,
    at: &'a At<'a>,
    sidecars: Vec<&'a (&'a str, At<'a>)>,
    publishing: &'a Publishing,
    img: Option<&'a Img>,
    cluster: &'a Cluster,
}

impl Source<'_> {
    /// Returns the service, or `None` when something is wrong that is kept as a finding.
    fn read(&self, selected: bool) -> Option<Service> {
        let Self { doc, name, at, cluster, .. } = self;
        let settings = doc.keep(shared::settings::read(doc, at, "x-svc", &ServiceFlags::default()));
        let settings: ServiceSettings = settings.unwrap_or_else(|| ServiceFlags::default().into());
        // With a second strategy this does not compile, so that it is not ignored.
        let Strategy::Rolling = settings.strategy;
        let fargate = cluster.launch_type == LaunchType::Fargate;
        let network_mode = doc.keep(network::mode(at, settings.network_mode, fargate, !self.sidecars.is_empty()))?;
        let secret_files = settings.secrets == SecretsSetting::Files;
        let target = Target { disk: Disk { fargate, host_volumes: settings.host_volumes }, network_mode, selected, secret_files };
        let (mut containers, volumes) = self.containers(target)?;
        doc.keep(check_patch(at, &containers));
        let job = doc.keep(job::read(doc, name, at, &settings)).flatten();
        let places: Vec<&At<'_>> = std::iter::once(*at).chain(self.sidecars.iter().map(|(_, at)| at)).collect();
        doc.keep(dependency::within_task(&mut containers, &places));
        let connects = connect::connects(doc, at, &settings, cluster, network_mode);
        let connect = connects.then(|| doc.keep(connect::read(doc, name, &settings, self.img, &mut containers, &places))).flatten();
        job::with_digests(job.as_ref(), self.img, &mut containers);
        let connect = job::without_ports(job.as_ref(), connect, &mut containers);
        if !fargate {
            doc.keep(size::check_instances(at, &containers, cluster));
        }
        let names: Vec<&str> = containers.iter().map(|one| one.name.as_str()).collect();
        let namespace = |key| doc.keep(machine::shared(&places, key, &names, fargate)).flatten();
        let (pid_mode, ipc_mode) = (namespace("pid"), namespace("ipc"));
        let deploy = at.key("deploy");
        let (desired, single) = doc.keep(tasks::read(at, &containers, &volumes)).unwrap_or_default();
        let published = self.publishing.of(name).map(|public| publishing::read(doc, at, &settings, public, network_mode));
        let breaker = doc.keep(update::breaker(deploy.as_ref(), settings.breaker));
        let percent = doc.keep(update::healthy_percent(deploy.as_ref(), desired, single));
        let task_role = doc.keep(task_role(settings.task_role.as_ref(), at));
        if let Some(role) = &task_role {
            volume::check_adopted_role(doc, name, role, &volumes);
        }
        let labels = deploy.and_then(|deploy| deploy.key("labels")).map(|at| labels(doc, &at));
        Some(Service {
            name: (*name).to_owned(),
            selected,
            network_mode,
            size: fargate.then(|| doc.keep(size::fargate(doc, at, &containers, connects))).flatten(),
            pid_mode,
            ipc_mode,
            platform: doc.keep(self.platform()).flatten(),
            published: published.and_then(|published| doc.keep(published)),
            desired,
            single,
            fast_metrics: tasks::fast_metrics(at),
            after: doc.keep(dependency::after(doc, &containers, &places, job.is_some())).unwrap_or_default(),
            before: doc.keep(dependency::before(doc, &containers, &places)).unwrap_or_default(),
            connect,
            job,
            labels: labels.and_then(|labels| doc.keep(labels)).unwrap_or_default(),
            patch: patch(settings.patch),
            breaker: breaker?,
            healthy_percent: percent?,
            task_role: task_role?,
            containers,
            volumes,
        })
    }

    /// Reads the service's own container and those of its sidecars, and the volumes of all.
    fn containers(&self, target: Target) -> Option<(Vec<Container>, Vec<Volume>)> {
        let Self { doc, name, at, img, .. } = self;
        let own = doc.keep(container::read(doc, name, at, *img, target))?;
        let (mut containers, mut volumes) = (vec![own.container], own.volumes);
        for (sidecar, at) in &self.sidecars {
            doc.keep(check_sidecar(doc, name, at));
            let more = doc.keep(container::read(doc, sidecar, at, *img, target))?;
            containers.push(more.container);
            for volume in more.volumes {
                if !volumes.contains(&volume) {
                    volumes.push(volume);
                }
            }
        }
        Some((containers, volumes))
    }

    /// Returns the platform of the task, which all its containers share.
    fn platform(&self) -> Result<Option<&'static str>> {
        let runs_on = platform(self.at, Some(self.cluster))?;
        for (_, sidecar) in self.sidecars.iter().filter(|(_, sidecar)| sidecar.key("platform").is_some()) {
            if platform(sidecar, Some(self.cluster))? != runs_on {
                let of = runs_on.unwrap_or("another");
                return Err(sidecar.wrong(
                    "platform-of-sidecar",
                    format!(
                        "the container is part of services.{}, whose platform is {of}. Remove platform here, or set the same",
                        self.name
                    ),
                ));
            }
        }
        Ok(runs_on)
    }
}

/// Refuses a patch of something that svc-deploy does not send.
fn check_patch<'a>(at: &At<'a>, containers: &[Container]) -> Result<()> {
    let patch = at.key("x-svc").and_then(|at| at.key("patch"));
    let entries = |at: Option<&At<'a>>| at.map_or_else(|| Ok(Vec::new()), At::entries);
    for (key, place) in entries(patch.as_ref())? {
        if !["task", "container", "containers", "service", "target_group"].contains(&key) {
            return Err(place.wrong("patch-unknown", "must be one of task, container, containers, service and target_group"));
        }
    }
    for (name, place) in entries(patch.and_then(|at| at.key("containers")).as_ref())? {
        if !containers.iter().any(|container| container.name == name) {
            let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
            return Err(place.wrong("patch-unknown-container", format!("must be a container of this task: {}", names.join(", "))));
        }
    }
    Ok(())
}

/// A sidecar is a container of another service, so it has no settings of its own.
fn check_sidecar(doc: &Document, owner: &str, at: &At<'_>) -> Result<()> {
    for key in ["x-svc", "x-scale"] {
        if let Some(place) = at.key(key) {
            return Err(place.wrong("sidecar-settings", format!("this container is part of services.{owner}. Move the settings there")));
        }
    }
    let replicas = at.key("deploy").and_then(|deploy| deploy.key("replicas"));
    for place in [replicas, at.key("scale"), at.key("ports")].into_iter().flatten() {
        doc.warn(
            "sidecar-without-effect",
            format!("{} has no effect, because this container is part of services.{owner}. Set it there", place.path()),
        );
    }
    Ok(())
}

/// Returns an existing role by ARN, or one of its own with these policies.
fn task_role(setting: Option<&TaskRoleSetting>, at: &At<'_>) -> Result<TaskRole> {
    match setting {
        None => Ok(TaskRole::Own(std::collections::BTreeSet::new())),
        Some(TaskRoleSetting::Role(arn)) if arn.starts_with("arn:") => Ok(TaskRole::Adopted(arn.clone())),
        Some(TaskRoleSetting::Role(_)) => {
            let place = at.key("x-svc").and_then(|at| at.key("task_role")).unwrap_or_else(|| at.clone());
            Err(place.expected("task-role", r#"the ARN of an existing role, or an object {"policies": [ARNs]}"#))
        }
        Some(TaskRoleSetting::Own(role)) => {
            let place = at.key("x-svc").and_then(|at| at.key("task_role")).and_then(|at| at.key("policies"));
            limit::check_policies(role.policies.iter(), place.as_ref().unwrap_or(at))?;
            Ok(TaskRole::Own(role.policies.clone()))
        }
    }
}

fn labels(doc: &Document, at: &At<'_>) -> Result<Vec<(String, String)>> {
    let labels = pairs(at)?;
    check_tags(at.path(), &labels)?;
    let tags = doc.root().key("x-tags").and_then(|at| at.value().as_object().map(serde_json::Map::len));
    limit::check_labels(labels.len(), tags.unwrap_or(0), at)?;
    Ok(labels)
}

fn patch(setting: Option<PatchSetting>) -> Patch {
    let PatchSetting { task, container, containers, service, .. } = setting.unwrap_or_default();
    let containers = containers.unwrap_or_default().into_iter().map(|(name, patch)| (name, Value::Object(patch))).collect();
    Patch { task: task.map(Value::Object), container: container.map(Value::Object), containers, service: service.map(Value::Object) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Namespace;
    use crate::model::NetworkMode;
    use serde_json::json;
    use shared::doc::public::Publish;

    fn services(launch_type: LaunchType, all: &Value) -> Result<Vec<Service>, String> {
        let doc = Document::parse(json!({"name": "shop", "services": all}).to_string().as_bytes()).unwrap();
        let cluster = Cluster { launch_type, ..Cluster::default() };
        let publishing = Publishing::read(&doc, &Publish::default()).map_err(|error| error.to_string())?;
        let mut found = read(&doc, &Selection::default(), &publishing, None, &cluster).map_err(|error| error.to_string());
        doc.change_findings(|error| {
            found = Err(error.to_string());
            error
        });
        found
    }

    #[test]
    fn there_is_one_strategy() {
        let of = |strategy: &str| services(LaunchType::Ec2, &json!({"web": {"image": "nginx", "x-svc": {"strategy": strategy}}}));
        assert!(of("rolling").is_ok());
        let found = of("blue-green").unwrap_err();
        assert!(found.contains("x-svc.strategy: must be rolling; found \"blue-green\""), "{found}");
    }

    fn mode(launch_type: LaunchType, web: &Value) -> Result<NetworkMode, String> {
        services(launch_type, &json!({"web": web})).map(|all| all[0].network_mode)
    }

    #[test]
    fn the_network_mode_follows_from_place_and_settings() {
        let (ec2, fargate) = (LaunchType::Ec2, LaunchType::Fargate);
        let image = |more: Value| {
            let mut web = json!({"image": "nginx"});
            json_patch::merge(&mut web, &more);
            web
        };
        assert_eq!(mode(ec2, &image(json!({}))), Ok(NetworkMode::Bridge));
        assert_eq!(mode(fargate, &image(json!({}))), Ok(NetworkMode::Awsvpc));
        assert_eq!(mode(ec2, &image(json!({"network_mode": "host"}))), Ok(NetworkMode::Host));
        assert_eq!(mode(ec2, &image(json!({"x-svc": {"network_mode": "awsvpc"}}))), Ok(NetworkMode::Awsvpc));
        for (launch_type, web, said) in [
            (fargate, json!({"network_mode": "host"}), "network_mode: Fargate has no host network"),
            (fargate, json!({"x-svc": {"network_mode": "bridge"}}), "x-svc.network_mode: must be awsvpc on Fargate"),
            (ec2, json!({"x-svc": {"network_mode": "host"}}), "x-svc.network_mode: must be awsvpc or bridge; found"),
            (ec2, json!({"network_mode": "host", "x-svc": {"network_mode": "bridge"}}), "contradicts network_mode: host"),
            (ec2, json!({"network_mode": "none"}), "network_mode: must be one of bridge, host"),
        ] {
            let found = mode(launch_type, &image(web)).unwrap_err();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn sidecars_are_containers_of_the_task() {
        let all = services(
            LaunchType::Ec2,
            &json!({
                "web": {"image": "nginx", "depends_on": {"init": {"condition": "service_completed_successfully"}}},
                "init": {"image": "busybox", "network_mode": "service:web"},
                "log": {"image": "busybox", "network_mode": "service:web", "depends_on": ["web"]}}),
        )
        .unwrap();
        assert_eq!((all.len(), all[0].network_mode), (1, NetworkMode::Awsvpc));
        let containers: Vec<(&str, bool)> = all[0].containers.iter().map(|one| (one.name.as_str(), one.essential)).collect();
        assert_eq!(containers, [("web", true), ("init", false), ("log", true)], "a container that completes is not essential");
        let waits: Vec<&str> = all[0].containers.iter().flat_map(|one| &one.depends_on).map(|one| one.condition.value()).collect();
        assert_eq!(waits, ["SUCCESS", "START"]);
        let unchecked = json!({"web": {"image": "nginx", "depends_on": {"log": {"condition": "service_healthy"}}},
            "log": {"image": "busybox", "network_mode": "service:web"}});
        let said = services(LaunchType::Ec2, &unchecked).unwrap_err();
        assert!(said.contains("services.web.depends_on.log: services.log has no healthcheck"), "{said}");
        let lost = services(LaunchType::Ec2, &json!({"log": {"image": "busybox", "network_mode": "service:web"}})).unwrap_err();
        assert!(lost.contains("services.log.network_mode: there is no service \"web\""), "{lost}");
    }

    #[test]
    fn services_are_ordered_by_what_they_wait_for() {
        let waiting = |on: &str| json!({"image": "nginx", "depends_on": {on: {"condition": "service_healthy"}}});
        let names = |all: Value| services(LaunchType::Ec2, &all).map(|all| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>());
        assert_eq!(
            names(json!({"a": waiting("b"), "b": waiting("c"), "c": {"image": "nginx"}})),
            Ok(vec!["c".into(), "b".into(), "a".into()])
        );
        let cycle = names(json!({"c": waiting("a"), "a": waiting("b"), "b": waiting("a"), "d": waiting("c")})).unwrap_err();
        assert!(cycle.contains("wait for each other: a, b. Remove"), "{cycle}");
        assert!(names(json!({"a": waiting("d")})).unwrap_err().contains("there is no service \"d\""));
        let link = names(json!({"a": {"image": "nginx", "links": ["d:db"]}})).unwrap_err();
        assert!(link.contains("services.a.links[0]: there is no service \"d\""), "{link}");
    }

    #[test]
    fn two_services_do_not_claim_the_same_requests() {
        let web = |x_svc: Value| json!({"image": "nginx", "ports": ["80"], "x-svc": x_svc});
        let both = |a: Value, b: Value| services(LaunchType::Ec2, &json!({"a": web(a), "b": web(b)})).map(drop);
        assert_eq!(both(json!({"path": "/a"}), json!({})), Ok(()));
        assert_eq!(both(json!({"path": "/a", "host": "a.example"}), json!({"path": "/a", "host": "b.example"})), Ok(()));
        assert!(both(json!({}), json!({})).unwrap_err().contains("would both have port 80"));
        assert!(both(json!({"path": "/*"}), json!({"path": "/*"})).unwrap_err().contains("both claim every path"));
        assert!(both(json!({"path": "/a"}), json!({"path": ["/b", "/a"]})).unwrap_err().contains("both claim /a"));
    }

    /// Number of tasks, whether two may do harm, and the bounds of a deployment in percent.
    #[test]
    fn what_keeps_data_runs_once() {
        let of = |more: &Value| {
            let mut it = json!({"image": "nginx"});
            json_patch::merge(&mut it, more);
            let doc = json!({"name": "shop", "volumes": {"data": {"x-efs": "fs-1"}}, "services": {"it": it}});
            let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
            let all = read(&doc, &Selection::default(), &Publishing::default(), None, &Cluster::default()).unwrap();
            (all[0].desired, all[0].single, all[0].healthy_percent.minimum, all[0].healthy_percent.maximum)
        };
        for (service, expected) in [
            (json!({}), (2, false, 100, 200)),
            (json!({"image": "postgres:16"}), (1, true, 0, 100)),
            (json!({"image": "postgres:16", "deploy": {"replicas": 3}}), (3, false, 100, 200)),
            (json!({"image": "rabbitmq", "scale": 1}), (1, true, 0, 100)),
            (json!({"volumes": ["data:/data"]}), (1, true, 0, 100)),
            (json!({"volumes": ["data:/data:ro"]}), (2, false, 100, 200)),
            (json!({"volumes": ["/cache"]}), (2, false, 100, 200)),
            (json!({"volumes": ["data:/data"], "deploy": {"update_config": {"order": "start-first"}}}), (1, true, 100, 200)),
            (json!({"deploy": {"replicas": 1}}), (1, false, 100, 200)),
            (json!({"deploy": {"replicas": 0}}), (0, false, 100, 200)),
            (json!({"x-scale": {"min": 0, "max": 0}}), (0, false, 100, 200)),
            (json!({"x-scale": {"min": 4}}), (4, false, 100, 200)),
            (json!({"x-scale": {"min": 0}}), (2, false, 100, 200)),
        ] {
            assert_eq!(of(&service), expected, "{service}");
        }
    }

    #[test]
    fn containers_of_a_task_may_share_their_processes() {
        let modes = |launch_type, pid: &str, ipc: &str| {
            let web = json!({"image": "nginx", "pid": pid, "ipc": ipc});
            let log = json!({"image": "busybox", "network_mode": "service:web"});
            services(launch_type, &json!({"web": web, "log": log})).map(|all| (all[0].pid_mode, all[0].ipc_mode))
        };
        assert_eq!(modes(LaunchType::Ec2, "host", "service:log"), Ok((Some(Namespace::Host), Some(Namespace::Task))));
        assert_eq!(modes(LaunchType::Fargate, "service:log", "private"), Ok((Some(Namespace::Task), None)));
        assert!(modes(LaunchType::Fargate, "host", "private").unwrap_err().contains("services.web.pid: pidMode host is not possible"));
        assert!(modes(LaunchType::Fargate, "private", "service:log").unwrap_err().contains("services.web.ipc: ipcMode task is not"));
    }
}
