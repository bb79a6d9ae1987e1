//! Sets the alarms of an app.

mod alarm;
mod alarm_diff;
mod composite;
mod dashboard;
mod definition;
mod policy;
mod section;
mod settings;
mod topic;

use std::cell::RefCell;
use std::process::ExitCode;

use futures_util::try_join;
use serde::Serialize;
use shared::policy::Grant;
use shared::settings::Parts;
use shared::{Document, Result, Run, Stage};

use section::Alarms;
use settings::{AlarmFlags, Flags, Wanted};

fn main() -> ExitCode {
    shared::main::<AlarmsSet>()
}

struct AlarmsSet {
    cloudwatch: aws_sdk_cloudwatch::Client,
    sns: aws_sdk_sns::Client,
    /// Whether the alarms of services are deleted that are no longer in the document.
    prune: bool,
    found: Found,
    /// The section as it grows.
    alarms: RefCell<Alarms>,
}

/// What existed before the walk began.
struct Found {
    alarms: alarm::Found,
    composite: composite::Found,
    dashboard: dashboard::Found,
    topic: topic::Found,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Topic,
    Alarms,
    Composite,
    Dashboard,
    /// The alarms of services that no longer exist.
    Extra,
}

impl Stage for AlarmsSet {
    const TOOL: &'static str = "alarms-set";
    const SECTION: &'static str = "alarms";
    const ABOUT: &'static str = "Set the alarms of an app";
    const DETAILS: &'static str = "Reads the document on stdin: the sections `cluster` and `svc`, and the settings in `x-alarms`. Sets \
        CloudWatch alarms on the CPU, memory and tasks of every service, and on the health, 5xx responses and latency of published services. \
        A composite alarm is in alarm while users notice a problem, and a dashboard shows all services. With `notify` it also creates an SNS topic and its e-mail subscriptions. Writes the \
        document with the section `alarms`.\n\n\
        Example:\n  alarms-set --notify ops@example.com < live.json";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("cluster", "cluster-up"), ("svc", "svc-deploy")];
    const GRANTS: &'static [Grant] = policy::GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[&[Step::Topic], &[Step::Alarms], &[Step::Composite, Step::Dashboard], &[Step::Extra]];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;

    fn parts() -> Parts {
        Parts::default().with::<Option<AlarmFlags>>("x-alarms").with::<Option<Alarms>>("alarms")
    }

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn find(run: &Run, _: &Document, flags: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (cloudwatch, sns) = (shared::client!(aws_sdk_cloudwatch, run), shared::client!(aws_sdk_sns, run));
        let (alarms, composite, dashboard, topic) = try_join!(
            alarm::find(&cloudwatch, run, wanted),
            composite::find(&cloudwatch, run),
            dashboard::find(&cloudwatch, run),
            topic::find(&sns, run),
        )?;
        Ok(Self {
            cloudwatch,
            sns,
            prune: flags.prune.prune,
            found: Found { alarms, composite, dashboard, topic },
            alarms: RefCell::default(),
        })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::Topic => self.topic_up(run, wanted).await,
            Step::Alarms => self.alarms_up(run, wanted).await,
            Step::Composite => self.composite_up(run, wanted).await,
            Step::Dashboard => self.dashboard_up(run, wanted).await,
            Step::Extra => self.extra_down(run, wanted).await,
        }
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Topic => self.topic_down(run).await,
            Step::Alarms => self.alarms_down(run).await,
            Step::Composite => self.composite_down(run).await,
            Step::Dashboard => self.dashboard_down(run).await,
            // They are among the alarms.
            Step::Extra => Ok(()),
        }
    }

    fn section(&self) -> impl Serialize {
        self.alarms.borrow().clone()
    }
}
