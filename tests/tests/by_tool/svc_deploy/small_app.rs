//! An app that needs no more than a network and a cluster.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_ecs::types::{DesiredStatus, Task};
use serde_json::{Value, json};
use tests::tool::TOOLS;
use tests::{Clients, Output, Pipe, Relay, account, run};

/// An app on the local AWS, with the network and the cluster that it needs.
pub struct App {
    pub relay: Relay,
    pub aws: Clients,
    pub name: &'static str,
    pub base: Value,
    /// When the test began: ECS still returns the tasks of an earlier app of the same name.
    since: SystemTime,
}

impl App {
    pub fn new(name: &'static str, env: &str) -> Self {
        Self::with(name, env, &json!({}))
    }

    /// An app of several services has a namespace, in which they call each other by name.
    pub fn with(name: &'static str, env: &str, services: &Value) -> Self {
        let relay = Relay::before(env);
        let doc = json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "x-svc": {"files_image": "busybox"},
            "services": services});
        let base = Pipe::up(&relay.endpoint).only(|tool| matches!(tool, "net-up" | "cluster-up")).run(&doc.to_string()).ok().doc();
        let _ = relay.calls();
        Self { aws: Clients::at(&relay.endpoint), relay, name, base, since: SystemTime::now() }
    }

    pub fn doc(&self, services: &Value) -> String {
        let mut doc = self.base.clone();
        doc["services"] = services.clone();
        doc.to_string()
    }

    pub fn deploy(&self, args: &[&str], services: &Value) -> Output {
        run(&self.relay.endpoint, "svc-deploy", args, &self.doc(services))
    }

    /// Returns the tasks of a service or job, running and stopped.
    pub fn tasks(&self, service: &str) -> Vec<Task> {
        let of = async |status: DesiredStatus| {
            let call = self.aws.ecs.list_tasks().cluster(self.name).family(format!("{}-{service}", self.name)).desired_status(status);
            let arns = call.send().await.unwrap().task_arns().to_vec();
            if arns.is_empty() {
                return Vec::new();
            }
            self.aws.ecs.describe_tasks().cluster(self.name).set_tasks(Some(arns)).send().await.unwrap().tasks().to_vec()
        };
        let mut tasks = self.aws.wait(async { [of(DesiredStatus::Running).await, of(DesiredStatus::Stopped).await].concat() });
        let since = self.since.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        tasks.retain(|task| task.created_at().unwrap().as_secs_f64() >= since.floor());
        tasks
    }

    /// Returns how many lines of a log are this line.
    pub fn lines(&self, service: &str, line: &str) -> usize {
        let call = self.aws.logs.filter_log_events().log_group_name(format!("/ecs-pipe/{}/{service}", self.name));
        let said = self.aws.wait(call.send()).unwrap();
        said.events().iter().filter(|event| event.message().is_some_and(|message| message.trim_end() == line)).count()
    }

    /// Returns the revision that a service runs.
    pub fn revision(&self, service: &str) -> String {
        let said = self.aws.wait(self.aws.ecs.describe_services().cluster(self.name).services(service).send()).unwrap();
        said.services()[0].task_definition().unwrap().to_owned()
    }

    /// Expects that a further run has nothing to do.
    pub fn rests(&self, services: &Value) {
        let _ = self.relay.calls();
        let _ = self.deploy(&[], services).ok();
        assert_eq!(self.relay.mutations(), Vec::<String>::new(), "nothing is left to do");
        let plan = self.deploy(&["--plan"], services);
        assert_eq!((plan.code, plan.acts('+'), plan.acts('~')), (0, Vec::new(), Vec::new()), "{}", plan.stderr);
    }

    /// Deletes everything, from the name of the app alone.
    pub fn down(self) {
        for tool in TOOLS.iter().rev() {
            let _ = run(&self.relay.endpoint, tool, &["--down", "--app", self.name], "").ok();
        }
        assert_eq!(account::resources(&self.relay.endpoint, self.name), Vec::<String>::new());
    }
}

/// A service that stays.
pub fn stays(after: &Value) -> Value {
    json!({"image": "busybox", "command": ["sh", "-c", "exec sleep 1000"], "depends_on": after})
}
