//! What is asked of the services: `x-svc`, its flags, and the selection.

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::doc::{Cluster, Img, Net, Selection, check_retention};
use shared::{Document, Error, Result};

use crate::compose::{self, Service};
use crate::container;

/// `x-svc` at the top level
#[derive(Debug, Clone, Args, Serialize, Deserialize, JsonSchema)]
pub struct Flags {
    /// Certificate of the load balancer (ACM): HTTPS on 443, and 80 leads there
    #[arg(long, value_name = "ARN")]
    certificate: Option<String>,
    /// TLS policy of the load balancer [default: ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09]
    #[arg(long)]
    ssl_policy: Option<String>,
    /// Put the load balancer into the private subnets, out of the internet's reach
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    internal: Option<bool>,
    /// S3 bucket for the load balancer's access logs
    #[arg(long, value_name = "BUCKET")]
    access_logs: Option<String>,
    /// Use this load balancer instead of making one: services get rules on its listener, and it is never changed or deleted otherwise
    #[arg(long, value_name = "ARN")]
    alb: Option<String>,
    /// Use this task execution role instead of making one; it is never changed or deleted
    #[arg(long, value_name = "ARN")]
    execution_role: Option<String>,
    /// Days that log lines are kept, one of those that CloudWatch Logs knows [default: 30]
    #[arg(long, value_name = "DAYS")]
    retention: Option<i32>,
    #[command(flatten)]
    #[serde(skip)]
    #[schemars(skip)]
    selection: Selection,
    #[command(flatten)]
    #[serde(skip)]
    #[schemars(skip)]
    one: One,
}

/// `x-svc` of a service
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says which wishes there are; compose.rs reads them one by one, so that an error has its path")]
pub struct ServiceWish {
    /// Paths that it answers, as `/api/*`: one, or a list [default: what no other service takes]
    path: Option<Texts>,
    /// Host names that it answers: one, or a list
    host: Option<Texts>,
    /// Which of its `ports` is behind the load balancer [default: the first]
    port: Option<u16>,
    /// Whether its ports are behind the load balancer at all [default: true]
    publish: Option<bool>,
    health: Option<Health>,
    /// Seconds in which a starting task may be unhealthy [default: 60]
    grace: Option<u32>,
    /// Deployment circuit breaker: on, off, or how many failed tasks end a deployment [default: true]
    breaker: Option<BreakerWish>,
    /// How deployments go: for now `rolling`
    strategy: Option<String>,
    /// `awsvpc` or `bridge` [default: `bridge` on EC2; Fargate has `awsvpc` alone]
    network_mode: Option<String>,
    /// Allow volumes on the disk of the instance [default: false]
    host_volumes: Option<bool>,
    /// What its code may do in AWS [default: nothing]
    task_role: Option<TaskRole>,
    /// RFC 7396 merge patches in AWS's own JSON, applied last
    patch: Option<Patch>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum BreakerWish {
    Is(bool),
    Failures(u32),
}

/// How the load balancer sees that a task is well
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct Health {
    /// [default: /]
    path: Option<String>,
    /// [default: 200-399]
    codes: Option<String>,
    /// Seconds from one check to the next, 5 to 300 [default: 15]
    interval: Option<u16>,
    /// Seconds that an answer may take, 2 to 120 [default: 5]
    timeout: Option<u16>,
    /// Good answers until a task is well, 2 to 10 [default: 2]
    healthy: Option<u8>,
    /// Bad answers until it is unwell, 2 to 10 [default: 3]
    unhealthy: Option<u8>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum TaskRole {
    /// ARN of a role to use
    Role(String),
    /// A role of its own
    Own(OwnRole),
}

/// The role of a service
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct OwnRole {
    /// ARNs
    policies: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Patch {
    /// `RegisterTaskDefinition`
    task: Option<Map<String, Value>>,
    /// The container definition of the service
    container: Option<Map<String, Value>>,
    /// `CreateService` and `UpdateService`
    service: Option<Map<String, Value>>,
    /// `CreateTargetGroup`, and `Attributes`
    target_group: Option<Map<String, Value>>,
}

/// One service from flags alone, without a document's `services`
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "One service without a document")]
struct One {
    /// Name of the service; with the flags below it needs no document
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Its image
    #[arg(long, requires = "service")]
    image: Option<String>,
    /// Its port behind the load balancer
    #[arg(long, requires = "service")]
    port: Option<u16>,
    /// Its share of CPUs, as 0.5
    #[arg(long, requires = "service")]
    cpus: Option<f64>,
    /// Its memory, as 512m
    #[arg(long, requires = "service")]
    memory: Option<String>,
    /// A variable of its environment (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = shared::flags::key_value, requires = "service")]
    env: Vec<(String, String)>,
    /// Paths that it answers, as /api/*
    #[arg(long, value_delimiter = ',', requires = "service")]
    path: Vec<String>,
    /// Host names that it answers
    #[arg(long, value_delimiter = ',', requires = "service")]
    host: Vec<String>,
    /// The path by which the load balancer sees that it is well [default: /]
    #[arg(long, requires = "service")]
    health_path: Option<String>,
    /// Whether its port is behind the load balancer at all [default: true]
    #[arg(long, requires = "service")]
    publish: Option<bool>,
    /// Seconds in which a starting task may be unhealthy [default: 60]
    #[arg(long, value_name = "SECONDS", requires = "service")]
    grace: Option<u32>,
    /// Deployment circuit breaker: true, false, or how many failed tasks end a deployment [default: true]
    #[arg(long, value_parser = boolean_or_number, requires = "service")]
    breaker: Option<Value>,
    /// awsvpc or bridge [default: bridge on EC2; Fargate has awsvpc alone]
    #[arg(long, value_name = "MODE", requires = "service")]
    network_mode: Option<String>,
    /// Use this task role instead of one without policies
    #[arg(long, value_name = "ARN", requires = "service")]
    task_role: Option<String>,
}

fn boolean_or_number(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value),
        _ => Err("true, false or a number is expected".to_owned()),
    }
}

/// The wishes, checked.
pub struct Wanted {
    pub net: Net,
    pub cluster: Cluster,
    pub certificate: Option<String>,
    pub ssl_policy: String,
    pub internal: bool,
    pub access_logs: Option<String>,
    /// The load balancer that is used instead of one of our own.
    pub alb: Option<String>,
    /// The task execution role that is used instead of one of our own.
    pub execution_role: Option<String>,
    pub retention: i32,
    pub services: Vec<Service>,
}

/// TLS 1.2 and 1.3 with forward secrecy and post-quantum key exchange, AWS's own recommendation.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html>
const SSL_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09";

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let (net, cluster): (Net, Cluster) = (doc.need("net", "net-up")?, doc.need("cluster", "cluster-up")?);
        let mut img: Option<Img> = doc.view("img")?;
        if let (Some(img), Some(service), Some(_)) = (&mut img, &flags.one.service, &flags.one.image) {
            img.remove(service);
        }
        let doc = &flags.one.put_into(doc)?;
        let wish = doc.wish(&doc.root(), "x-svc", flags)?;
        let retention = check_retention("x-svc.retention", wish.retention.unwrap_or(30))?;
        let services = compose::services(doc, &flags.selection, img.as_ref(), &cluster)?;
        // Going on would take what runs off the load balancer.
        if services.is_empty() {
            let app = doc.name()?;
            return Err(Error::document(
                "services",
                format!(
                    "there are none: give `services`, or --service NAME with --image IMAGE. To take the app down: svc-deploy --down --app {app}"
                ),
            ));
        }
        if wish.alb.is_some() {
            check_adopted(&wish, &services)?;
        } else if services.iter().any(|service| service.published.is_some()) && doc.name()?.starts_with("internal-") {
            return Err(Error::document("name", "a load balancer's name can't begin with \"internal-\": give the app another name"));
        }
        Ok(Self {
            net,
            cluster,
            certificate: wish.certificate,
            ssl_policy: wish.ssl_policy.unwrap_or_else(|| SSL_POLICY.to_owned()),
            internal: wish.internal.unwrap_or(false),
            access_logs: wish.access_logs,
            alb: wish.alb,
            execution_role: wish.execution_role,
            retention,
            services,
        })
    }

    /// The services that this run deploys.
    pub fn selected(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.selected)
    }

    /// Of those, the published ones.
    pub fn selected_published(&self) -> impl Iterator<Item = (&Service, &compose::Published)> {
        self.published().filter(|(service, _)| service.selected)
    }

    pub fn published(&self) -> impl Iterator<Item = (&Service, &compose::Published)> {
        self.services.iter().filter_map(|service| service.published.as_ref().map(|published| (service, published)))
    }
}

/// An adopted load balancer is used as it is, so nothing about it can be asked for, and its default action is not ours to give away.
fn check_adopted(wish: &Flags, services: &[Service]) -> Result<()> {
    if wish.certificate.is_some() || wish.ssl_policy.is_some() || wish.internal.is_some() || wish.access_logs.is_some() {
        return Err(Error::document(
            "x-svc.alb",
            "with `alb` the load balancer is used as it is: certificate, ssl_policy, internal and access_logs can't be asked for",
        ));
    }
    let all = services.iter().filter_map(|service| service.published.as_ref());
    match all.into_iter().find(|published| published.paths.is_empty() && published.hosts.is_empty()) {
        Some(published) => Err(Error::document(
            format!("{}.x-svc.path", published.path),
            "with `alb` every published service needs a path or a host: what no rule takes is not ours",
        )),
        None => Ok(()),
    }
}

impl One {
    /// The document with this service in it: flag over document, so only what is given replaces what stands there.
    fn put_into(&self, doc: &Document) -> Result<Document> {
        let Some(name) = &self.service else { return Ok(doc.clone()) };
        let mut doc = doc.clone();
        let mut services = match doc.root().key("services") {
            Some(at) => at.value().as_object().cloned().ok_or_else(|| at.expected("an object"))?,
            None => Map::new(),
        };
        let mut patch = Map::new();
        let mut put = |key: &str, value: Option<Value>| patch.extend(value.map(|value| (key.to_owned(), value)));
        put("image", self.image.as_ref().map(|image| json!(image)));
        put("build", self.image.as_ref().map(|_| Value::Null));
        put("ports", self.port.map(|port| json!([port])));
        if !self.env.is_empty() {
            let there = doc.root().key("services").and_then(|all| all.key(name)).and_then(|at| at.key("environment"));
            let there = there.map_or(Ok(Vec::new()), |at| container::values(&at))?.into_iter().map(|(key, value)| (key, json!(value)));
            let given = self.env.iter().map(|(key, value)| (key.clone(), json!(value)));
            put("environment", Some(there.chain(given).collect()));
        }
        let limits = given(json!({"cpus": self.cpus, "memory": self.memory}));
        put("deploy", limits.map(|limits| json!({"resources": {"limits": limits}})));
        put("x-svc", self.x_svc());
        let service = services.entry(name).or_insert_with(|| json!({}));
        json_patch::merge(service, &Value::Object(patch));
        doc.put("services", Value::Object(services));
        Ok(doc)
    }

    fn x_svc(&self) -> Option<Value> {
        given(json!({
            "path": (!self.path.is_empty()).then_some(&self.path),
            "host": (!self.host.is_empty()).then_some(&self.host),
            "health": self.health_path.as_ref().map(|path| json!({"path": path})),
            "publish": self.publish,
            "grace": self.grace,
            "breaker": self.breaker,
            "network_mode": self.network_mode,
            "task_role": self.task_role,
        }))
    }
}

/// A null would take away what stands in the document.
fn given(mut wishes: Value) -> Option<Value> {
    let given = wishes.as_object_mut()?;
    given.retain(|_, wish| !wish.is_null());
    (!given.is_empty()).then_some(wishes)
}
