//! The settings of scaling: `x-scale` at the top level (the instances) and of each service (its tasks), and their flags.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use shared::doc::{At, Cluster, LaunchType, Selection, ServiceRecord, Svc, replicas};
use shared::flags::Prune;
use shared::settings::{blame, first_given, read};
use shared::{Document, Error, Result};

use crate::bounds::Bounds;
use crate::schedule::{self, Entry};

/// The command line.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    instances: InstanceFlags,
    // Not serialized: a wrong value of the top level must not be blamed on a task's flag of the same name.
    #[command(flatten)]
    #[serde(skip)]
    tasks: TaskFlags,
    #[command(flatten)]
    #[serde(skip)]
    selection: Selection,
    #[command(flatten)]
    #[serde(skip)]
    prune: Prune,
}

impl Flags {
    pub fn takes(&self, service: &str) -> bool {
        self.selection.takes(service)
    }
}

shared::settings! {
    /// `x-scale` at the top level: the instances
    pub struct InstanceSettings, InstanceFlags {
        /// Minimum number of instances
        ///
        /// Example: --instances-min 2
        min: i32 [0..=5000],
            arg(long = "instances-min", id = "instances-min", value_name = "COUNT"),
            schemars(extend("x-flag" = "--instances-min", "x-default" = "min of x-cluster"));
        /// Maximum number of instances
        ///
        /// Example: --instances-max 8
        max: i32 [1..=5000],
            arg(long = "instances-max", id = "instances-max", value_name = "COUNT"),
            schemars(extend("x-flag" = "--instances-max", "x-default" = "max of x-cluster"));
        /// Target for the average CPU of the instances, in percent
        ///
        /// A target tracking policy beside the managed scaling of the capacity provider. Example: --instances-cpu 60
        cpu: f64 [1..=100],
            arg(long = "instances-cpu", id = "instances-cpu", value_name = "PERCENT"),
            schemars(extend("x-flag" = "--instances-cpu", "x-default" = "off"));
    }
}

shared::settings! {
    /// `x-scale` of a service: its tasks
    pub struct TaskSettings, TaskFlags {
        /// Minimum number of tasks of a service
        ///
        /// AWS starts tasks at once when fewer are running. Example: --min 4
        min: i32 [0..=5000], arg(long, value_name = "COUNT"), schemars(extend("x-default" = "deploy.replicas, or 2, or 1 for a service that keeps data"));
        /// Maximum number of tasks of a service
        ///
        /// AWS stops tasks at once when more are running. With deploy.replicas: 1, and for a service that keeps data, it is 1 when not set. Example: --max 20
        max: i32 [0..=5000], arg(long, value_name = "COUNT"), schemars(extend("x-default" = "10, or min if that is larger"));
        /// Target for the average CPU of the tasks, in percent
        ///
        /// In percent of the CPU that the service reserves. Example: --cpu 60
        cpu: f64 [1..=100] = 70.0, arg(long, value_name = "PERCENT");
        /// Whether to scale on metrics of 20 seconds instead of 60
        ///
        /// svc-deploy configures the resolution of the service's metrics, so this is a setting of the document alone. CloudWatch charges for them.
        fast: bool = false, arg(skip), schemars(extend("x-flag" = false));
        /// Target for the average memory of the tasks, in percent
        ///
        /// In percent of the memory that the service reserves. Example: --memory 80
        memory: f64 [1..=100], arg(long, value_name = "PERCENT"), schemars(extend("x-default" = "off"));
        /// Target for requests per minute and task, for published services
        ///
        /// Example: --requests 1000
        requests: f64 [1..=1_000_000_000], arg(long, value_name = "COUNT"), schemars(extend("x-default" = "off"));
        /// Other bounds from certain times on
        schedule: Vec<Entry> = Vec::new(), arg(skip);
    }
}

/// The settings, checked.
pub struct Wanted {
    pub tasks: Vec<Tasks>,
    /// All services of the document, also those that are not selected.
    pub services: BTreeSet<String>,
    /// Whether what other services have is deleted.
    pub prune: bool,
    /// `None` without an Auto Scaling group, as on Fargate.
    pub instances: Option<Instances>,
}

/// How the tasks of one service scale.
#[derive(Debug)]
pub struct Tasks {
    pub service: String,
    /// The service as Application Auto Scaling names it: `service/<cluster>/<service>`.
    pub resource_id: String,
    pub bounds: Bounds,
    pub targets: Vec<Target>,
    pub schedule: Vec<Entry>,
}

/// A metric that is kept at a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub metric: Metric,
    pub value: f64,
    /// Whether the metric is one of 20 seconds.
    pub fast: bool,
    /// The load balancer and target group whose requests are counted.
    pub label: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Cpu,
    Memory,
    Requests,
}

impl Metric {
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Requests];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Requests => "requests",
        }
    }
}

/// How the instances scale.
#[derive(Debug, PartialEq)]
pub struct Instances {
    pub group: String,
    pub bounds: Bounds,
    pub cpu: Option<f64>,
}

impl Wanted {
    /// Reads the settings of the selected services and of the instances.
    ///
    /// # Errors
    /// Says what is wrong in the document, with its path, or in which flag.
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let (cluster, svc): (Cluster, Svc) = (doc.need("cluster", "cluster-up")?, doc.need("svc", "svc-deploy")?);
        // Jobs are not scaled, but may be selected for the whole pipe.
        flags.selection.check(|name| svc.services.contains_key(name) || svc.jobs.contains_key(name))?;
        let services = doc.services(&Selection::default())?;
        let selected = svc.services.iter().filter(|(name, _)| flags.takes(name));
        let tasks = selected.map(|(name, record)| {
            let at = services.iter().find(|(service, _)| service == name).map(|(_, at)| at);
            let place = format!("services.{name}.x-scale");
            let settings = task_settings(doc, at, &place, &flags.tasks);
            let tasks = settings.and_then(|settings| tasks(doc, settings, (&cluster, &svc), (name, record), at, (&place, &flags.tasks)));
            tasks.map_err(|error| blame(error, &format!("{place}."), "--", &flags.tasks))
        });
        let tasks = doc.all(tasks);
        let instances = instances(doc, &flags.instances, &cluster);
        let instances = instances.map_err(|error| blame(error, "x-scale.", "--instances-", &flags.instances));
        doc.both(tasks, instances).map(|(tasks, instances)| Self {
            tasks,
            services: svc.services.keys().cloned().collect(),
            prune: flags.prune.prune,
            instances,
        })
    }
}

/// `at` is the service in the document; one that was deployed from flags alone is not there.
fn task_settings(doc: &Document, at: Option<&At<'_>>, place: &str, flags: &TaskFlags) -> Result<TaskSettings> {
    match at {
        Some(at) => read(doc, at, "x-scale", flags),
        None => read(doc, &doc.root(), place, flags),
    }
}

fn tasks(
    doc: &Document,
    settings: TaskSettings,
    (cluster, svc): (&Cluster, &Svc),
    (name, record): (&str, &ServiceRecord),
    at: Option<&At<'_>>,
    (place, flags): (&str, &TaskFlags),
) -> Result<Tasks> {
    let bounds = task_bounds(&settings, at, record.single)?;
    bounds.check(place, only_max(flags.min, flags.max) || only_max(settings.min, settings.max))?;
    let targets = targets(&settings, svc, record, place)?;
    schedule::check(&settings.schedule, &format!("{place}.schedule"), bounds)?;
    warn_of_zero(doc, &settings.schedule, bounds, place);
    let resource_id = format!("service/{}/{name}", cluster.name);
    Ok(Tasks { service: name.to_owned(), resource_id, bounds, targets, schedule: settings.schedule })
}

/// Without a task there is no metric, so target tracking starts none. Bounds that are both 0 are a service that is off on purpose.
fn warn_of_zero(doc: &Document, schedule: &[Entry], bounds: Bounds, place: &str) {
    let stays_at_zero = |min: Option<i32>, max: Option<i32>| min == Some(0) && max.unwrap_or(bounds.max) > 0;
    let entry = schedule.iter().position(|entry| stays_at_zero(entry.min, entry.max)).map(|i| format!("{place}.schedule[{i}]"));
    let place = if stays_at_zero(Some(bounds.min), Some(bounds.max)) { Some(place.to_owned()) } else { entry };
    if let Some(place) = place {
        let what = "a service without a task has no metric, so target tracking never starts one again. Set min to 1, or max to 0 as well to stop it";
        doc.warn("scale-from-zero", format!("{place}.min: {what}"));
    }
}

/// One replica in the document, or a service that svc-deploy calls single, means one task and not more, because a second one may do harm. No replica
/// means no task.
fn task_bounds(settings: &TaskSettings, at: Option<&At<'_>>, single: bool) -> Result<Bounds> {
    let replicas = at.and_then(replicas).map(|at| at.whole(0..=5000)).transpose()?;
    let tasks = replicas.unwrap_or(if single { 1 } else { 2 });
    let min = settings.min.unwrap_or(tasks);
    let max = settings.max.unwrap_or(if tasks <= 1 { min.max(tasks) } else { 10.max(min) });
    Ok(Bounds { min, max })
}

fn targets(settings: &TaskSettings, svc: &Svc, record: &ServiceRecord, place: &str) -> Result<Vec<Target>> {
    let fast = settings.fast;
    let mut targets = vec![Target { metric: Metric::Cpu, value: settings.cpu, fast, label: None }];
    targets.extend(settings.memory.map(|value| Target { metric: Metric::Memory, value, fast, label: None }));
    if let Some(value) = settings.requests {
        if !record.published {
            let what = "only a published service has requests to count. Remove this setting, or publish the service";
            return Err(Error::document("requests-of-unpublished", format!("{place}.requests"), what));
        }
        // In a plan of a new load balancer the label is not known yet.
        let label = label(svc.load_balancer_arn.as_deref(), record.target_group_arn.as_deref());
        targets.push(Target { metric: Metric::Requests, value, fast: false, label });
    }
    Ok(targets)
}

fn instances(doc: &Document, flags: &InstanceFlags, cluster: &Cluster) -> Result<Option<Instances>> {
    let settings: InstanceFlags = shared::settings::read_flags(doc, &doc.root(), "x-scale", flags)?;
    let group = match &cluster.auto_scaling_group {
        Some(group) if cluster.launch_type == LaunchType::Ec2 => group.clone(),
        _ => {
            return match first_given(&settings, &["min", "max", "cpu"]) {
                Some(key) => {
                    let what = "is a setting of instances, and a cluster on Fargate has none. Remove it";
                    Err(Error::document("instances-on-fargate", format!("x-scale.{key}"), what))
                }
                None => Ok(None),
            };
        }
    };
    let settings = InstanceSettings::from(settings);
    let bounds = Bounds { min: settings.min.unwrap_or(cluster.min), max: settings.max.unwrap_or(cluster.max) };
    bounds.check("x-scale", only_max(flags.min, flags.max) || only_max(settings.min, settings.max))?;
    Ok(Some(Instances { group, bounds, cpu: settings.cpu }))
}

/// Whether the maximum alone is given, so that it is wrong when the two contradict each other.
fn only_max(min: Option<i32>, max: Option<i32>) -> bool {
    min.is_none() && max.is_some()
}

/// Returns `app/<name>/<id>/targetgroup/<name>/<id>`, the ends of both ARNs.
/// <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html>
fn label(balancer: Option<&str>, target_group: Option<&str>) -> Option<String> {
    let balancer = balancer?.split_once(":loadbalancer/")?.1;
    let group = target_group?.rsplit(':').next()?;
    Some(format!("{balancer}/{group}"))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, FromArgMatches};
    use serde_json::{Value, json};

    use super::*;

    fn wanted(doc: &Value, args: &[&str]) -> Result<Wanted> {
        // --down is every tool's own.
        let command = Flags::augment_args(Command::new("scale-set").arg(Arg::new("down")));
        let matches = command.try_get_matches_from([&["scale-set"], args].concat()).unwrap();
        Wanted::read(&Document::parse(doc.to_string().as_bytes()).unwrap(), &Flags::from_arg_matches(&matches).unwrap())
    }

    /// A document with the service `web`, which is published, and `worker`, which is not.
    fn shop(web: &Value, x_scale: &Value) -> Value {
        let (balancer, group) =
            ("arn:aws:elasticloadbalancing:eu:1:loadbalancer/app/shop/50dc", "arn:aws:elasticloadbalancing:eu:1:targetgroup/shop-web/73e2");
        json!({"name": "shop", "x-scale": x_scale, "services": {"web": web, "worker": {}},
            "cluster": {"name": "shop", "auto_scaling_group": "shop", "min": 2, "max": 6},
            "svc": {"load_balancer_arn": balancer, "services": {
                "web": {"published": true, "target_group_arn": group}, "worker": {"published": false}}}})
    }

    /// The bounds of `web`, or the error.
    fn web(web: &Value, args: &[&str]) -> Result<(i32, i32), String> {
        let wanted = wanted(&shop(web, &json!({})), args).map_err(|error| error.to_string())?;
        let bounds = wanted.tasks.iter().find(|tasks| tasks.service == "web").unwrap().bounds;
        Ok((bounds.min, bounds.max))
    }

    #[test]
    fn bounds_follow_settings_and_replicas() {
        for (service, args, bounds) in [
            (json!({}), vec![], (2, 10)),
            (json!({"x-scale": {"min": 12}}), vec![], (12, 12)),
            (json!({"x-scale": {"min": 3, "max": 5}}), vec!["--max", "8"], (3, 8)),
            (json!({"deploy": {"replicas": 4}}), vec![], (4, 10)),
            (json!({"deploy": {"replicas": 20}}), vec![], (20, 20)),
            (json!({"deploy": {"replicas": 1}}), vec![], (1, 1)),
            (json!({"deploy": {"replicas": 0}}), vec![], (0, 0)),
            (json!({"scale": 1}), vec![], (1, 1)),
            (json!({"scale": 3, "deploy": {"replicas": 5}}), vec![], (5, 10)),
            (json!({"deploy": {"replicas": 1}, "x-scale": {"max": 4}}), vec![], (1, 4)),
            (json!({"deploy": {"replicas": 1}, "x-scale": {"min": 3}}), vec![], (3, 3)),
        ] {
            assert_eq!(web(&service, &args), Ok(bounds), "{service} {args:?}");
        }
    }

    #[test]
    fn a_service_that_never_starts_again_is_warned_of() {
        for (x_scale, place) in [
            (json!({}), None),
            (json!({"min": 0, "max": 0}), None),
            (json!({"min": 0}), Some("services.web.x-scale.min: a service")),
            (json!({"schedule": [{"name": "a", "schedule": "rate(1 day)", "min": 0, "max": 0}]}), None),
            (
                json!({"schedule": [{"name": "a", "schedule": "rate(1 day)", "min": 0}]}),
                Some("services.web.x-scale.schedule[0].min: a service"),
            ),
        ] {
            let doc = Document::parse(shop(&json!({"x-scale": x_scale}), &json!({})).to_string().as_bytes()).unwrap();
            Wanted::read(&doc, &Flags::default()).unwrap();
            let said = doc.warnings().iter().map(|(code, text)| format!("{code} {text}")).collect::<Vec<_>>().join("\n");
            let expected = place.map_or(String::new(), |place| format!("scale-from-zero {place}"));
            assert!(said.starts_with(&expected) && said.is_empty() == place.is_none(), "{x_scale}: {said}");
        }
    }

    #[test]
    fn a_service_that_keeps_data_has_one_task_until_the_author_says_more() {
        let bounds = |db: Value| {
            let doc = json!({"name": "shop", "services": {"db": db}, "cluster": {"name": "shop", "launch_type": "fargate"},
                "svc": {"services": {"db": {"single": true}}}});
            let bounds = wanted(&doc, &[]).unwrap().tasks[0].bounds;
            (bounds.min, bounds.max)
        };
        for (db, expected) in [
            (json!({}), (1, 1)),
            (json!({"x-scale": {"max": 3}}), (1, 3)),
            (json!({"x-scale": {"min": 0, "max": 0}}), (0, 0)),
            (json!({"deploy": {"replicas": 3}}), (3, 10)),
        ] {
            assert_eq!(bounds(db.clone()), expected, "{db}");
        }
    }

    #[test]
    fn wrong_tasks_are_reported_with_their_path() {
        for (service, said) in [
            (json!({"x-scale": {"min": 5, "max": 3}}), "services.web.x-scale.min: must be at most the maximum of 3; found 5"),
            (json!({"x-scale": {"max": 1}}), "services.web.x-scale.max: must be at least the minimum of 2; found 1"),
            (json!({"x-scale": {"max": 3}, "scale": 4}), "services.web.x-scale.max: must be at least the minimum of 4; found 3"),
            (json!({"x-scale": {"min": -1}}), "services.web.x-scale.min: must be between 0 and 5000; found -1"),
            (json!({"x-scale": {"max": 0}}), "services.web.x-scale.max: must be at least the minimum of 2; found 0"),
            (json!({"x-scale": {"cpu": 170}}), "services.web.x-scale.cpu: must be between 1 and 100; found 170"),
            (json!({"deploy": {"replicas": 6000}}), "services.web.deploy.replicas: must be a whole number between 0 and 5000; found 6000"),
            (
                json!({"x-scale": {"schedule": [{"name": "night", "schedule": "rate(1 day)", "max": 1}]}}),
                "services.web.x-scale.schedule[0]: the minimum would be 2 and the maximum 1",
            ),
        ] {
            let found = web(&service, &[]).err().unwrap();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn a_wrong_value_of_a_flag_is_blamed_on_the_flag() {
        let fargate = json!({"name": "shop", "cluster": {"name": "shop", "launch_type": "fargate"}, "svc": {"services": {"web": {}}}});
        let shop = shop(&json!({"x-scale": {"min": 4}}), &json!({"max": 3}));
        let cases: [(&Value, &[&str], u8, &str); 9] = [
            (&fargate, &["--min", "20", "--max", "3"], 2, "--min (for services.web): must be at most the maximum of 3; found 20"),
            (&fargate, &["--max", "1"], 2, "--max (for services.web): must be at least the minimum of 2; found 1"),
            (&fargate, &["--cpu", "170"], 2, "--cpu (for services.web): must be between 1 and 100; found 170"),
            (&fargate, &["--requests", "5"], 2, "--requests (for services.web): only a published service"),
            (&fargate, &["--instances-min", "2"], 2, "--instances-min: is a setting of instances"),
            (&shop, &["--max", "3", "--only", "web"], 2, "--max (for services.web): must be at least the minimum of 4; found 3"),
            (&shop, &["--instances-min", "5"], 2, "--instances-min: must be at most the maximum of 3; found 5"),
            (&shop, &["--instances-max", "1"], 2, "--instances-max: must be at least the minimum of 2; found 1"),
            (&shop, &["--instances-cpu", "0"], 2, "--instances-cpu: must be between 1 and 100; found 0"),
        ];
        for (doc, args, code, said) in cases {
            let error = wanted(doc, args).err().unwrap();
            assert_eq!(error.exit_code(), code, "{args:?}: {error}");
            assert!(error.to_string().contains(said), "{args:?}: {error}");
        }
        let error = wanted(&self::shop(&json!({"x-scale": {"cpu": 170}}), &json!({})), &["--max", "9"]).err().unwrap();
        assert_eq!(error.exit_code(), 65, "a value of the document is the document's fault: {error}");
    }

    #[test]
    fn every_metric_that_is_set_is_tracked() {
        let doc = shop(&json!({"x-scale": {"memory": 80, "requests": 1000}}), &json!({"cpu": 60}));
        let Wanted { tasks, instances, .. } = wanted(&doc, &["--cpu", "50"]).unwrap();
        let label = Some("app/shop/50dc/targetgroup/shop-web/73e2".to_owned());
        let of_web = [(Metric::Cpu, 50.0, None), (Metric::Memory, 80.0, None), (Metric::Requests, 1000.0, label)];
        assert_eq!(tasks[0].targets, of_web.map(|(metric, value, label)| Target { metric, value, fast: false, label }));
        assert_eq!(tasks[1].targets, [Target { metric: Metric::Cpu, value: 50.0, fast: false, label: None }]);
        let group = Instances { group: "shop".to_owned(), bounds: Bounds { min: 2, max: 6 }, cpu: Some(60.0) };
        assert_eq!(instances, Some(group));
    }
}
