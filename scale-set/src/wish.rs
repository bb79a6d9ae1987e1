//! What is asked of scaling: `x-scale` at the top level (the instances) and of each service (its tasks), and the flags.

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::{At, Cluster, LaunchType, Selection, ServiceRecord, Svc};
use shared::flags::{blame, first_given};
use shared::{Document, Error, Result};

/// `x-scale` at the top level: the instances
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Flags {
    /// Instances at least [default: as cluster-up was asked]
    #[arg(id = "instances_min", long = "instances-min", value_name = "MIN")]
    min: Option<i32>,
    /// Instances at most [default: as cluster-up was asked]
    #[arg(id = "instances_max", long = "instances-max", value_name = "MAX")]
    max: Option<i32>,
    /// Hold the instances' CPU at this percentage, beside ECS's managed scaling [default: off]
    #[arg(id = "instances_cpu", long = "instances-cpu", value_name = "CPU")]
    cpu: Option<f64>,
    #[command(flatten)]
    #[serde(skip)]
    tasks: TaskFlags,
    #[command(flatten)]
    #[serde(skip)]
    #[schemars(skip)]
    selection: Selection,
}

/// `x-scale` of a service: its tasks
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskFlags {
    /// Tasks at least, of each service [default: 2]
    #[arg(long)]
    min: Option<i32>,
    /// Tasks at most, of each service [default: 10]
    #[arg(long)]
    max: Option<i32>,
    /// Hold the tasks' CPU at this percentage [default: 70]
    #[arg(long)]
    cpu: Option<f64>,
    /// Hold the tasks' memory at this percentage [default: off]
    #[arg(long)]
    memory: Option<f64>,
    /// Hold the requests at this many a minute and task, for published services [default: off]
    #[arg(long)]
    requests: Option<f64>,
    /// Other bounds by the clock
    #[arg(skip)]
    schedule: Option<Vec<Timed>>,
}

/// An entry of `x-scale.schedule`: the bounds from a time on, until another entry's time
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Tells the entries of a service apart
    pub name: String,
    /// In Application Auto Scaling's words: `cron(0 8 ? * MON-FRI *)`, `rate(12 hours)` or `at(2027-01-01T00:00:00)`
    pub schedule: String,
    /// As in `Europe/Vienna` [default: UTC]
    #[serde(default)]
    pub timezone: Option<String>,
    /// Tasks at least, from then on
    #[serde(default)]
    pub min: Option<i32>,
    /// Tasks at most, from then on
    #[serde(default)]
    pub max: Option<i32>,
}

/// The wishes, checked.
pub struct Wanted {
    pub tasks: Vec<Tasks>,
    /// `None` on Fargate.
    pub instances: Option<Instances>,
}

#[derive(Debug)]
pub struct Tasks {
    pub service: String,
    /// As Application Auto Scaling names an ECS service: `service/<cluster>/<service>`.
    pub resource_id: String,
    pub min: i32,
    pub max: i32,
    pub targets: Vec<Target>,
    pub schedules: Vec<Timed>,
}

impl Tasks {
    /// What becomes of these bounds: each stays if it is what was asked for, or what an entry of the schedule has made of it.
    pub fn bounds_after(&self, min: i32, max: i32) -> (i32, i32) {
        let low = self.schedules.iter().any(|one| one.min == Some(min));
        let high = self.schedules.iter().any(|one| one.max == Some(max));
        match (if low { min } else { self.min }, if high { max } else { self.max }) {
            (min, max) if min <= max => (min, max),
            _ => (self.min, self.max),
        }
    }
}

/// A metric that is held at a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub metric: Metric,
    pub value: f64,
    /// Of the load balancer and target group whose requests are counted.
    pub label: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Cpu,
    Memory,
    Requests,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Requests => "requests",
        }
    }
}

pub struct Instances {
    pub group: String,
    pub min: i32,
    pub max: i32,
    pub cpu: Option<f64>,
}

impl Flags {
    pub fn takes(&self, service: &str) -> bool {
        self.selection.takes(service)
    }
}

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let (cluster, svc): (Cluster, Svc) = (doc.need("cluster", "cluster-up")?, doc.need("svc", "svc-deploy")?);
        flags.selection.check(|name| svc.services.contains_key(name))?;
        let services = doc.services(&Selection::default())?;
        let selected = svc.services.iter().filter(|(name, _)| flags.takes(name));
        let tasks = selected.map(|(name, record)| {
            let at = services.iter().find(|(service, _)| service == name).map(|(_, at)| at);
            tasks(doc, &cluster, &svc, name, record, at, &flags.tasks)
                .map_err(|error| blame(error, &format!("services.{name}.x-scale."), "--", &flags.tasks))
        });
        let instances = instances(doc, flags, &cluster).map_err(|error| blame(error, "x-scale.", "--instances-", flags));
        Ok(Self { tasks: tasks.collect::<Result<_>>()?, instances: instances? })
    }
}

fn tasks(
    doc: &Document,
    cluster: &Cluster,
    svc: &Svc,
    name: &str,
    record: &ServiceRecord,
    at: Option<&At<'_>>,
    flags: &TaskFlags,
) -> Result<Tasks> {
    let wish = at.map_or_else(|| Ok(flags.clone()), |at| doc.wish(at, "x-scale", flags))?;
    let place = |key: &str| format!("services.{name}.x-scale.{key}");
    // Who asks for one task means one: a second may do harm.
    let deploy = at.and_then(|at| at.key("deploy"));
    let replicas = deploy.as_ref().and_then(|deploy| deploy.key("replicas")).or_else(|| at.and_then(|at| at.key("scale")));
    let replicas = replicas.map(|at| at.whole(0..=5000)).transpose()?;
    let min = wish.min.or(replicas).unwrap_or(2);
    let max = wish.max.unwrap_or(if replicas.is_some_and(|replicas| replicas <= 1) { min.max(1) } else { 10.max(min) });
    check_bounds(min, max, &place(at_fault(wish.min, wish.max)))?;
    let percent = |key: &str, value: Option<f64>| check(value, 1.0, 100.0, &place(key));
    let mut targets = vec![Target { metric: Metric::Cpu, value: percent("cpu", wish.cpu)?.unwrap_or(70.0), label: None }];
    targets.extend(percent("memory", wish.memory)?.map(|value| Target { metric: Metric::Memory, value, label: None }));
    if let Some(value) = check(wish.requests, 1.0, 1e9, &place("requests"))? {
        if !record.published {
            return Err(Error::document(place("requests"), "only a published service has requests to count"));
        }
        // In a plan of a new load balancer there is no label yet.
        let label = label(svc.load_balancer_arn.as_deref(), record.target_group_arn.as_deref());
        targets.push(Target { metric: Metric::Requests, value, label });
    }
    Ok(Tasks {
        service: name.to_owned(),
        resource_id: format!("service/{}/{name}", cluster.name),
        min,
        max,
        targets,
        schedules: schedules(wish.schedule, name, (min, max))?,
    })
}

/// AWS checks the schedules themselves; a name must be one, and at least one bound is to move.
fn schedules(wish: Option<Vec<Timed>>, service: &str, (least, most): (i32, i32)) -> Result<Vec<Timed>> {
    let schedules = wish.unwrap_or_default();
    for (i, one) in schedules.iter().enumerate() {
        let place = |key: &str| format!("services.{service}.x-scale.schedule[{i}]{key}");
        let named =
            !one.name.is_empty() && one.name.len() <= 64 && one.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !named {
            return Err(Error::document(
                place(".name"),
                format!("{:?} is no name: 1 to 64 letters, digits, hyphens and underscores", one.name),
            ));
        }
        if schedules[..i].iter().any(|other| other.name == one.name) {
            return Err(Error::document(place(".name"), format!("{:?} names two entries", one.name)));
        }
        if one.min.is_none() && one.max.is_none() {
            return Err(Error::document(place(""), "neither min nor max is given, so nothing would happen"));
        }
        // The bound that is not given stays as another entry has left it.
        let lowest = schedules.iter().filter_map(|one| one.max).fold(most, i32::min);
        let highest = schedules.iter().filter_map(|one| one.min).fold(least, i32::max);
        let (min, max) = (one.min.unwrap_or(highest), one.max.unwrap_or(lowest));
        if min > max && (one.min.is_none() || one.max.is_none()) {
            return Err(Error::document(
                place(""),
                format!("{min} at least, but {max} at most, when the other bound is as something else has left it: give min and max"),
            ));
        }
        check_bounds(min, max, &place(".min"))?;
    }
    Ok(schedules)
}

fn instances(doc: &Document, flags: &Flags, cluster: &Cluster) -> Result<Option<Instances>> {
    let wish = doc.wish(&doc.root(), "x-scale", flags)?;
    let group = match &cluster.auto_scaling_group {
        Some(group) if cluster.launch_type == LaunchType::Ec2 => group.clone(),
        _ => {
            return match first_given(&wish, &["min", "max", "cpu"]) {
                Some(key) => Err(Error::document(format!("x-scale.{key}"), "is about instances, and Fargate has none: take it out")),
                None => Ok(None),
            };
        }
    };
    let (min, max) = (wish.min.unwrap_or(cluster.min), wish.max.unwrap_or(cluster.max));
    check_bounds(min, max, &format!("x-scale.{}", at_fault(wish.min, wish.max)))?;
    Ok(Some(Instances { group, min, max, cpu: check(wish.cpu, 1.0, 100.0, "x-scale.cpu")? }))
}

/// Which of two bounds that contradict each other was asked for.
fn at_fault(min: Option<i32>, max: Option<i32>) -> &'static str {
    if min.is_none() && max.is_some() { "max" } else { "min" }
}

fn check_bounds(min: i32, max: i32, path: &str) -> Result<()> {
    if min < 0 || !(1..=5000).contains(&max) {
        return Err(Error::document(path, format!("{min} to {max}: 0 to 5000 are possible")));
    }
    if min > max { Err(Error::document(path, format!("{min} at least, but {max} at most"))) } else { Ok(()) }
}

fn check(value: Option<f64>, least: f64, most: f64, path: &str) -> Result<Option<f64>> {
    match value {
        Some(value) if !(least..=most).contains(&value) => Err(Error::document(path, format!("{value} is not from {least} to {most}"))),
        value => Ok(value),
    }
}

/// `app/<name>/<id>/targetgroup/<name>/<id>`, the ends of both ARNs.
/// <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html>
fn label(balancer: Option<&str>, target_group: Option<&str>) -> Option<String> {
    let balancer = balancer?.split_once(":loadbalancer/")?.1;
    let group = target_group?.rsplit(':').next()?;
    Some(format!("{balancer}/{group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(min: Option<i32>, max: Option<i32>) -> Timed {
        Timed {
            name: format!("{min:?}-{max:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
            schedule: "rate(1 day)".to_owned(),
            timezone: None,
            min,
            max,
        }
    }

    #[test]
    fn what_the_clock_has_set_stays() {
        let tasks = |max| Tasks {
            service: String::new(),
            resource_id: String::new(),
            min: 2,
            max,
            targets: Vec::new(),
            schedules: vec![entry(Some(4), None), entry(None, Some(6))],
        };
        for (found, max, becomes) in [
            ((2, 10), 10, (2, 10)),
            ((4, 10), 10, (4, 10)),
            ((4, 6), 10, (4, 6)),
            ((4, 10), 20, (4, 20)),
            ((3, 7), 10, (2, 10)),
            ((4, 10), 3, (2, 3)),
        ] {
            assert_eq!(tasks(max).bounds_after(found.0, found.1), becomes, "{found:?} with {max} at most");
        }
    }

    #[test]
    fn entries_must_not_contradict_what_others_leave() {
        let read = |entries: Vec<Timed>| schedules(Some(entries), "web", (2, 10)).map(|all| all.len()).map_err(|error| error.to_string());
        assert_eq!(read(vec![entry(Some(5), None), entry(Some(2), Some(3))]), Err("the document is wrong at services.web.x-scale.schedule[0]: 5 at least, but 3 at most, when the other bound is as something else has left it: give min and max".to_owned()));
        assert_eq!(read(vec![entry(Some(5), Some(10)), entry(Some(2), Some(3))]), Ok(2));
        assert_eq!(read(vec![entry(Some(4), None), entry(None, Some(6))]), Ok(2));
    }
}
