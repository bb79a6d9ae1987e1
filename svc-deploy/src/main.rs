//! Runs the services of an app on ECS, behind a load balancer.

mod aws;
mod compose;
#[cfg(test)]
mod mapping;
mod model;
mod policy;
mod settings;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use aws_smithy_types::DateTime;
use futures_util::try_join;
use serde::Serialize;
use shared::doc::{JobRecord, ServiceRecord, Svc};
use shared::policy::{Grant, Named};
use shared::settings::Parts;
use shared::{Document, Result, Run, Stage};

use aws::kept::Kept;
use aws::{access_point, orphan, parameter};
use aws::{
    by_hand, container_definition, endpoint, found_service, image, kept_ports, launch, limit, load_balancer, log_group, role, schedule,
    target_group, task, task_definition, traffic_shift, volume_change,
};
use model::Wanted;
use settings::{Flags, ServiceFlags, SvcFlags, SvcSettings};

fn main() -> ExitCode {
    shared::main::<SvcDeploy>()
}

struct SvcDeploy {
    ecs: aws_sdk_ecs::Client,
    /// For what ECS would create twice.
    once: aws_sdk_ecs::Client,
    iam: aws_sdk_iam::Client,
    elb: aws_sdk_elasticloadbalancingv2::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    efs: aws_sdk_efs::Client,
    ssm: aws_sdk_ssm::Client,
    /// Whether `--down` deletes the data of the volumes, too.
    delete_data: bool,
    /// Whether a service that is as it should be gets a new deployment.
    redeploy: bool,
    scheduler: aws_sdk_scheduler::Client,
    cloud_map: aws_sdk_servicediscovery::Client,
    /// On EC2.
    launches: Option<launch::Launches>,
    found: Found,
    /// The settings with what AWS knows better: the ports of images that nobody has read.
    completed: Option<Wanted>,
    /// The section to write, which the steps fill. Jobs are among its services until it is written.
    svc: RefCell<Svc>,
    /// What the task definitions refer to, which the steps fill.
    kept: RefCell<Kept>,
    /// The names of the jobs.
    jobs: BTreeSet<String>,
    /// The ARNs of the schedules, by job.
    schedules: RefCell<BTreeMap<String, Option<String>>>,
    /// The ids of the deployments that this run started, by service.
    begun: RefCell<BTreeMap<String, Option<String>>>,
    /// The endpoints that exist, also those that this run created.
    endpoints: RefCell<endpoint::Found>,
    /// When the newest deployment of each service began.
    deployed: RefCell<BTreeMap<String, DateTime>>,
    /// What left the document, with `--prune`.
    orphans: Option<Found>,
    /// Rules and listeners that move to another target group when its targets are healthy.
    moves: RefCell<Vec<traffic_shift::Move>>,
}

/// What existed before the first step.
struct Found {
    log_groups: log_group::Found,
    roles: role::Found,
    balancer: load_balancer::Found,
    target_groups: target_group::Found,
    task_definitions: task_definition::Found,
    services: found_service::Found,
    access_points: access_point::Found,
    parameters: parameter::Found,
    tasks: Vec<aws_sdk_ecs::types::Task>,
    /// The names of all services of the cluster; unknown with `--down`.
    others: Vec<String>,
    schedules: schedule::Found,
}

impl Found {
    /// Reads everything at once. The endpoints are apart, because steps add to them.
    async fn read(run: &Run, wanted: Option<&Wanted>) -> Result<(Self, endpoint::Found)> {
        let (ecs, iam) = (shared::client!(aws_sdk_ecs, run), shared::client!(aws_sdk_iam, run));
        let (elb, logs) = (shared::client!(aws_sdk_elasticloadbalancingv2, run), shared::client!(aws_sdk_cloudwatchlogs, run));
        let (efs, ssm) = (shared::client!(aws_sdk_efs, run), shared::client!(aws_sdk_ssm, run));
        let (timer, cloud_map) = (shared::client!(aws_sdk_scheduler, run), shared::client!(aws_sdk_servicediscovery, run));
        let tasks = async { if wanted.is_none() { task::find(&ecs, run).await } else { Ok(Vec::new()) } };
        let around = async {
            try_join!(
                log_group::find(&logs, run, wanted),
                role::find(&iam, run, wanted),
                load_balancer::find(&elb, run, wanted),
                target_group::find(&elb, run, wanted),
                access_point::find(&efs, run, wanted),
                parameter::find(&ssm, run, wanted),
            )
        };
        let running = async {
            try_join!(
                task_definition::find(&ecs, run, wanted),
                found_service::find(&ecs, run, wanted),
                tasks,
                schedule::find(&timer, run),
                endpoint::find(&cloud_map, wanted),
            )
        };
        let (around, (task_definitions, (services, others), tasks, schedules, endpoints)) = try_join!(around, running)?;
        let (log_groups, roles, balancer, target_groups, access_points, parameters) = around;
        let around = Self {
            log_groups,
            roles,
            balancer,
            target_groups,
            task_definitions,
            services,
            access_points,
            parameters,
            tasks,
            others,
            schedules,
        };
        Ok((around, endpoints))
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    LogGroups,
    AccessPoints,
    Parameters,
    Roles,
    LoadBalancer,
    TargetGroups,
    Settings,
    TaskDefinitions,
    Listeners,
    Rules,
    Services,
    Schedules,
    /// What left the document, with `--prune`.
    Orphans,
}

impl Stage for SvcDeploy {
    const TOOL: &'static str = "svc-deploy";
    const SECTION: &'static str = "svc";
    const ABOUT: &'static str = "Run the services of an app on ECS, behind a load balancer";
    const DETAILS: &'static str = "Reads the document on stdin: the sections `net`, `cluster` and `img` (only for services that are built), and the \
        Compose `services`. Settings are in `x-svc`, at the top level and in each service. Creates log groups, roles, task definitions and the \
        ECS services. Named volumes are folders of the cluster's EFS file system. Secrets are files in /run/secrets; values from \
        files and variables are put into Systems Manager. Also creates a load balancer, with a target group and rules for every published service. Waits until the deployments are \
        complete, and explains why when one fails. Writes the document with the section `svc`; `.svc.url` is the app's address.\n\n\
        Example:\n  svc-deploy --service web --image nginx:1.27 --port 80 < live.json |\n    jq -r .svc.url";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("net", "net-up"), ("cluster", "cluster-up")];
    const GRANTS: &'static [Grant] = policy::GRANTS;
    const WAITS: bool = true;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::LogGroups, Step::AccessPoints, Step::Parameters, Step::Roles, Step::LoadBalancer, Step::TargetGroups],
        &[Step::Settings, Step::TaskDefinitions, Step::Listeners],
        // ECS accepts only a target group to which a listener forwards.
        &[Step::Rules],
        &[Step::Services],
        &[Step::Schedules],
        &[Step::Orphans],
    ];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;

    fn parts() -> Parts {
        let parts = Parts::default().with::<Option<SvcFlags>>("x-svc").with_service::<Option<ServiceFlags>>("x-svc");
        parts.with::<Option<Svc>>("svc")
    }

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        let wanted = compose::read(doc, flags)?;
        container_definition::check_size(&wanted)?;
        container_definition::check_health(&wanted)?;
        limit::check(doc, &wanted)?;
        Ok(wanted)
    }

    fn named(doc: &Document, flags: &Flags) -> Result<Named> {
        compose::named(doc, flags)
    }

    async fn find(run: &Run, doc: &Document, flags: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (found, endpoints) = Found::read(run, wanted).await?;
        if let Some(wanted) = wanted {
            found_service::check_network(run, wanted, &found.services)?;
            if !flags.prune.prune {
                orphan::warn(run, wanted, &found);
            }
            volume_change::check(doc, &run.app, wanted, &found.task_definitions, &found.access_points)?;
        }
        let orphans = match wanted.filter(|_| flags.prune.prune) {
            Some(wanted) => orphan::of(run, wanted, Found::read(run, None).await?.0),
            None => None,
        };
        let (services, schedules) = untouched(doc, wanted)?;
        let jobs = wanted.map(|wanted| wanted.services.iter().filter(|one| one.job.is_some()).map(|one| one.name.clone()).collect());
        let kept = Kept { files_image: wanted.map(|wanted| wanted.files_image.clone()).unwrap_or_default(), ..Kept::default() };
        let with_images = wanted.and_then(|wanted| image::kept(run, wanted, &found.task_definitions));
        let with_ports = with_images.as_ref().or(wanted).and_then(|wanted| kept_ports::kept(run, wanted, &found.task_definitions));
        let completed = with_ports.or(with_images);
        Ok(Self {
            completed,
            ecs: shared::client!(aws_sdk_ecs, run),
            once: shared::client_once!(aws_sdk_ecs, run),
            iam: shared::client!(aws_sdk_iam, run),
            elb: shared::client!(aws_sdk_elasticloadbalancingv2, run),
            logs: shared::client!(aws_sdk_cloudwatchlogs, run),
            efs: shared::client!(aws_sdk_efs, run),
            ssm: shared::client!(aws_sdk_ssm, run),
            scheduler: shared::client!(aws_sdk_scheduler, run),
            cloud_map: shared::client!(aws_sdk_servicediscovery, run),
            launches: launch::of(run, wanted),
            delete_data: flags.data.delete_data,
            redeploy: flags.redeploy,
            orphans,
            svc: RefCell::new(Svc { services, ..Svc::default() }),
            kept: RefCell::new(kept),
            schedules: RefCell::new(schedules),
            jobs: jobs.unwrap_or_default(),
            begun: RefCell::default(),
            endpoints: RefCell::new(endpoints),
            deployed: RefCell::new(endpoint::deployments(&found.services)),
            moves: RefCell::default(),
            found,
        })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        let wanted = self.completed.as_ref().unwrap_or(wanted);
        match step {
            Step::LogGroups => self.log_groups_up(run, wanted).await,
            Step::AccessPoints => self.access_points_up(run, wanted).await,
            Step::Parameters => self.parameters_up(run, wanted).await,
            Step::Roles => self.roles_up(run, wanted).await,
            Step::LoadBalancer => self.balancer_up(run, wanted).await,
            Step::TargetGroups => self.target_groups_up(run, wanted).await,
            Step::Settings => self.settings_up(run, wanted).await,
            Step::TaskDefinitions => self.task_definitions_up(run, wanted).await,
            Step::Listeners => self.listeners_up(run, wanted).await,
            Step::Rules => self.rules_up(run, wanted).await,
            Step::Services => self.services_up(run, wanted).await,
            Step::Schedules => self.schedules_up(run, wanted).await,
            Step::Orphans => self.prune(run, wanted).await,
        }
    }

    async fn ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let wanted = self.completed.as_ref().unwrap_or(wanted);
        let (deployments, balancer) = futures_util::join!(self.deployments_ready(run, wanted.deployed()), self.balancer_ready(run));
        deployments.and(balancer)?;
        self.narrow_roles(run, wanted.selected()).await
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        self.take_down(run, &self.found, None, step).await
    }

    fn is_aside(flags: &Flags) -> bool {
        flags.by_hand.run.is_some()
    }

    async fn aside(run: &Run, doc: &Document, flags: &Flags) -> Result<()> {
        let service = flags.by_hand.run.as_deref().unwrap_or_default();
        let settings = shared::settings::read_flags(doc, &doc.root(), "x-svc", &flags.svc).map(SvcSettings::from)?;
        by_hand::run_by_hand(run, doc, service, &flags.by_hand.command, &settings.files_image).await
    }

    fn section(&self) -> impl Serialize {
        let mut svc = self.svc.borrow().clone();
        let (jobs, services) = svc.services.into_iter().partition(|(name, _)| self.jobs.contains(name));
        let jobs: BTreeMap<String, ServiceRecord> = jobs;
        svc.services = services;
        let schedules = self.schedules.borrow();
        svc.jobs =
            jobs.into_iter().map(|(name, record)| (name.clone(), job_record(record, schedules.get(&name).cloned().flatten()))).collect();
        svc
    }

    fn epilogue(&self) -> Option<String> {
        let svc = self.svc.borrow();
        let url = svc.url.as_ref()?;
        let is_other = |own: &&String| *own != url;
        let own = svc.services.iter().filter_map(|(name, record)| Some(format!(", {name} at {}", record.url.as_ref().filter(is_other)?)));
        Some(format!("the app answers at {url}{}", own.collect::<String>()))
    }
}

impl SvcDeploy {
    /// Undoes one step of what was found: everything, or what left the document.
    async fn take_down(&self, run: &Run, found: &Found, wanted: Option<&Wanted>, step: Step) -> Result<()> {
        match step {
            // The services of the document need them.
            Step::LoadBalancer | Step::Listeners if wanted.is_some() => Ok(()),
            Step::LogGroups => self.log_groups_down(run, &found.log_groups).await,
            Step::AccessPoints => self.access_points_down(run, &found.access_points).await,
            Step::Parameters => self.parameters_down(run, &found.parameters).await,
            Step::Roles => self.roles_down(run, &found.roles).await,
            Step::LoadBalancer => self.balancer_down(run).await,
            Step::TargetGroups => self.target_groups_down(run, &found.target_groups).await,
            Step::TaskDefinitions => self.task_definitions_down(run, &found.task_definitions).await,
            Step::Listeners => self.listeners_down(run).await,
            Step::Rules => self.rules_down(run, found, wanted.and_then(|wanted| wanted.alb.as_ref())).await,
            // Settings are deleted with their resources, and orphans are among the others.
            Step::Settings | Step::Orphans => Ok(()),
            Step::Schedules => self.schedules_down(run, &found.schedules).await,
            Step::Services => {
                let (services, tasks) = futures_util::join!(self.services_down(run, &found.services), self.tasks_down(run, &found.tasks));
                services.and(tasks)
            }
        }
    }

    /// Sets what can be changed in resources, found or created, all at the same time.
    async fn settings_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (logs, roles, balancer, groups) = futures_util::join!(
            self.settle_log_groups(run, wanted),
            self.settle_roles(run, wanted),
            self.settle_balancer(run, wanted),
            self.settle_target_groups(run, wanted),
        );
        logs.and(roles).and(balancer).and(groups)
    }

    /// Returns a service's record in the section.
    fn recorded(&self, service: &str) -> ServiceRecord {
        self.svc.borrow().services.get(service).cloned().unwrap_or_default()
    }

    /// Changes a service's record in the section.
    fn record(&self, service: &str, write: impl FnOnce(&mut ServiceRecord)) {
        write(self.svc.borrow_mut().services.entry(service.to_owned()).or_default());
    }
}

/// Returns the records of services and jobs that this run does not deploy, as the document has them, and the schedules of these jobs.
#[expect(clippy::type_complexity, reason = "both are maps by name")]
fn untouched(doc: &Document, wanted: Option<&Wanted>) -> Result<(BTreeMap<String, ServiceRecord>, BTreeMap<String, Option<String>>)> {
    let is_untouched =
        |name: &String| wanted.is_some_and(|wanted| wanted.services.iter().any(|service| !service.selected && service.name == *name));
    let Svc { mut services, mut jobs, .. } = doc.view::<Svc>("svc")?.unwrap_or_default();
    services.retain(|name, _| is_untouched(name));
    jobs.retain(|name, _| is_untouched(name));
    let mut schedules = BTreeMap::new();
    for (name, JobRecord { task_definition_arn, execution_role_arn, task_role_arn, log_group, schedule_arn }) in jobs {
        schedules.insert(name.clone(), schedule_arn);
        services
            .insert(name, ServiceRecord { task_definition_arn, execution_role_arn, task_role_arn, log_group, ..ServiceRecord::default() });
    }
    Ok((services, schedules))
}

fn job_record(record: ServiceRecord, schedule_arn: Option<String>) -> JobRecord {
    let ServiceRecord { task_definition_arn, execution_role_arn, task_role_arn, log_group, .. } = record;
    JobRecord { task_definition_arn, execution_role_arn, task_role_arn, log_group, schedule_arn }
}
