//! Scales the services and instances of an app automatically.

mod auto_scaling_group;
mod bounds;
mod count;
mod policy;
mod scalable_target;
mod scaling_policy;
mod schedule;
mod scheduled_action;
mod section;
mod settings;

use std::cell::RefCell;
use std::process::ExitCode;

use futures_util::try_join;
use serde::Serialize;
use shared::policy::Grant;
use shared::settings::Parts;
use shared::step::each;
use shared::{Document, Result, Run, Stage};

use section::Scale;
use settings::{Flags, InstanceFlags, TaskFlags, Wanted};

fn main() -> ExitCode {
    shared::main::<ScaleSet>()
}

struct ScaleSet {
    application: aws_sdk_applicationautoscaling::Client,
    groups: aws_sdk_autoscaling::Client,
    ecs: aws_sdk_ecs::Client,
    found: Found,
    /// The section as it grows.
    scale: RefCell<Scale>,
}

/// What existed before the walk began.
struct Found {
    targets: scalable_target::Found,
    policies: scaling_policy::Found,
    actions: scheduled_action::Found,
    counts: count::Found,
    group: auto_scaling_group::Found,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Targets,
    Policies,
    Schedules,
    Counts,
    /// The targets of services that are no longer in the document.
    Left,
    Group,
}

impl Stage for ScaleSet {
    const TOOL: &'static str = "scale-set";
    const SECTION: &'static str = "scale";
    const ABOUT: &'static str = "Scale the services and instances of an app automatically";
    const DETAILS: &'static str = "Reads the document on stdin: the sections `cluster` and `svc`, and the settings in `x-scale`. Those at \
        the top level are for the instances, those in a service for its tasks. Every service scales between a minimum and a maximum \
        number of tasks, by target tracking on CPU. The entries of `schedule` set other bounds at certain times. Sets the minimum and the \
        maximum number of instances of the Auto Scaling group. Writes the document with the section `scale`.\n\n\
        Example:\n  scale-set --only web --min 4 --max 20 < live.json";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("cluster", "cluster-up"), ("svc", "svc-deploy")];
    const GRANTS: &'static [Grant] = policy::GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] =
        &[&[Step::Targets, Step::Group], &[Step::Policies, Step::Counts], &[Step::Schedules], &[Step::Left]];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;

    fn parts() -> Parts {
        Parts::default()
            .with::<Option<InstanceFlags>>("x-scale")
            .with_service::<Option<TaskFlags>>("x-scale")
            .with::<Option<Scale>>("scale")
    }

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn find(run: &Run, doc: &Document, flags: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (application, groups) = (shared::client!(aws_sdk_applicationautoscaling, run), shared::client!(aws_sdk_autoscaling, run));
        let ecs = shared::client!(aws_sdk_ecs, run);
        let (targets, policies, actions, counts, group) = try_join!(
            scalable_target::find(&application, run),
            scaling_policy::find(&application, wanted),
            scheduled_action::find(&application, wanted),
            count::find(&ecs, run, wanted),
            auto_scaling_group::find(&groups, run, wanted),
        )?;
        // Services that this run leaves out are kept as the document has them.
        let mut untouched = Scale { services: doc.view::<Scale>("scale")?.unwrap_or_default().services, instances: None };
        untouched.services.retain(|service, _| !flags.takes(service));
        let found = Found { targets, policies, actions, counts, group };
        Ok(Self { application, groups, ecs, found, scale: RefCell::new(untouched) })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        // Services at the same time, but never two calls on one target, because AWS makes one change of a target at a time.
        match step {
            Step::Targets => each(&wanted.tasks, async |tasks| self.target_up(run, tasks).await).await.map(drop),
            Step::Policies => each(&wanted.tasks, async |tasks| self.policies_up(run, tasks).await).await.map(drop),
            Step::Counts => each(&wanted.tasks, async |tasks| self.count_up(run, tasks).await).await.map(drop),
            Step::Schedules => each(&wanted.tasks, async |tasks| self.schedule_up(run, tasks).await).await.map(drop),
            Step::Group => self.group_up(run, wanted).await,
            Step::Left => self.left_targets_up(run, wanted).await,
        }
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Targets => self.targets_down(run).await,
            // AWS deletes policies and scheduled actions with their target, and all targets are deleted. The services are svc-deploy's.
            Step::Policies | Step::Schedules | Step::Counts | Step::Left => Ok(()),
            Step::Group => self.group_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.scale.borrow().clone()
    }
}
