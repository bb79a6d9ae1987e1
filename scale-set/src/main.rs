//! Lets the services and instances of an app scale by themselves.

mod auto_scaling_group;
mod scalable_target;
mod scaling_policy;
mod scheduled_action;
mod wish;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use futures_util::try_join;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::policy::Grant;
use shared::step::each;
use shared::{Document, Error, Result, Run, Stage};

use wish::{Flags, TaskFlags, Wanted};

fn main() -> ExitCode {
    shared::main::<ScaleSet>()
}

struct ScaleSet {
    application: aws_sdk_applicationautoscaling::Client,
    groups: aws_sdk_autoscaling::Client,
    found: Found,
    /// The section as it grows.
    scale: RefCell<Scale>,
}

/// What there was before the walk began.
struct Found {
    targets: scalable_target::Found,
    policies: scaling_policy::Found,
    actions: scheduled_action::Found,
    group: auto_scaling_group::Found,
}

/// `scale`: what scales, between which bounds, by which policies.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Scale {
    services: BTreeMap<String, ScaledService>,
    instances: Option<ScaledInstances>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct ScaledService {
    resource_id: String,
    min: i32,
    max: i32,
    /// By metric: `cpu`, `memory`, `requests`.
    policy_arns: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct ScaledInstances {
    auto_scaling_group: String,
    min: i32,
    max: i32,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Targets,
    Policies,
    Schedules,
    Group,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(rename = "x-scale")]
    x_scale: Option<Flags>,
    services: Option<BTreeMap<String, ServicePart>>,
    scale: Option<Scale>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct ServicePart {
    #[schemars(rename = "x-scale")]
    x_scale: Option<TaskFlags>,
}

impl Stage for ScaleSet {
    const TOOL: &'static str = "scale-set";
    const SECTION: &'static str = "scale";
    const ABOUT: &'static str = "Lets the services and instances of an app scale by themselves";
    const DETAILS: &'static str = "Reads the document on stdin: the sections `cluster` and `svc`, and wishes from `x-scale` (at the top level for the \
        instances, in a service for its tasks). Every service gets bounds and target tracking on CPU, 2 to 10 tasks at 70 % unless asked otherwise; other \
        bounds by the clock with `schedule`; the Auto Scaling group gets its bounds. Writes the document with the section `scale`.\n\n\
        Example:\n  scale-set --only web --min 4 --max 20 < shop.live.json";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("cluster", "cluster-up"), ("svc", "svc-deploy")];
    const GRANTS: &'static [Grant] = GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[&[Step::Targets, Step::Group], &[Step::Policies], &[Step::Schedules]];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;
    type Part = Part;

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn look(run: &Run, doc: &Document, flags: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (application, groups) = (shared::client!(aws_sdk_applicationautoscaling, run), shared::client!(aws_sdk_autoscaling, run));
        let (targets, policies, actions, group) = try_join!(
            scalable_target::find(&application, run, wanted),
            scaling_policy::find(&application, wanted),
            scheduled_action::find(&application, wanted),
            auto_scaling_group::find(&groups, run, wanted),
        )?;
        // What this run leaves alone stays as the document has it.
        let mut untouched = Scale { services: doc.view::<Scale>("scale")?.unwrap_or_default().services, instances: None };
        untouched.services.retain(|service, _| !flags.takes(service));
        Ok(Self { application, groups, found: Found { targets, policies, actions, group }, scale: RefCell::new(untouched) })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        // Services at the same time, but never two calls on one target (`is_busy`).
        match step {
            Step::Targets => each(&wanted.tasks, async |tasks| self.target_up(run, tasks).await).await.map(drop),
            Step::Policies => each(&wanted.tasks, async |tasks| self.policies_up(run, tasks).await).await.map(drop),
            Step::Schedules => each(&wanted.tasks, async |tasks| self.schedules_up(run, tasks).await).await.map(drop),
            Step::Group => self.group_up(run, wanted).await,
        }
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Targets => self.targets_down(run).await,
            // Policies and scheduled actions go with their target.
            Step::Policies | Step::Schedules => Ok(()),
            Step::Group => self.group_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.scale.borrow().clone()
    }
}

/// Application Auto Scaling makes one change of a scalable target at a time, which another run or a scheduled action may be about.
/// <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html#API_PutScalingPolicy_Errors>
fn is_busy(error: &Error) -> bool {
    error.is_code("ConcurrentUpdateException")
}

const GRANTS: &[Grant] = &[
    Grant {
        sid: "Look",
        actions: &[
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
            "application-autoscaling:DescribeScheduledActions",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribePolicies",
            "cloudwatch:DescribeAlarms",
        ],
        on: &["*"],
    },
    Grant {
        sid: "Tasks",
        actions: &[
            "application-autoscaling:DeleteScalingPolicy",
            "application-autoscaling:DeleteScheduledAction",
            "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:ListTagsForResource",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:PutScheduledAction",
            "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:TagResource",
        ],
        on: &["arn:*:application-autoscaling:*:*:scalable-target/*"],
    },
    // Application Auto Scaling looks at the service and at its alarms in the caller's name.
    // https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html
    Grant {
        sid: "TasksInTheCallersName",
        actions: &["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"],
        on: &["arn:*:cloudwatch:*:*:alarm:TargetTracking-*"],
    },
    Grant {
        sid: "ServicesInTheCallersName",
        actions: &["ecs:DescribeServices", "ecs:UpdateService"],
        on: &["arn:*:ecs:*:*:service/{app}/*"],
    },
    Grant {
        sid: "Instances",
        actions: &["autoscaling:DeletePolicy", "autoscaling:PutScalingPolicy", "autoscaling:UpdateAutoScalingGroup"],
        on: &["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{app}"],
    },
    Grant { sid: "ServiceRole", actions: &["iam:CreateServiceLinkedRole"], on: &["arn:*:iam::*:role/aws-service-role/*"] },
];
