//! Sets the alarms of an app.

mod alarm;
mod topic;
mod wish;

use std::cell::RefCell;
use std::process::ExitCode;

use futures_util::try_join;
use schemars::JsonSchema;
use serde::Serialize;
use shared::policy::Grant;
use shared::{Document, Result, Run, Stage};

use wish::{Flags, Wanted};

fn main() -> ExitCode {
    shared::main::<AlarmsSet>()
}

struct AlarmsSet {
    cloudwatch: aws_sdk_cloudwatch::Client,
    sns: aws_sdk_sns::Client,
    found: Found,
    /// The section as it grows.
    alarms: RefCell<Alarms>,
}

/// What there was before the walk began.
struct Found {
    alarms: alarm::Found,
    topic: topic::Found,
}

/// `alarms`: what is watched, and who is told.
#[derive(Debug, Default, Clone, Serialize, JsonSchema)]
struct Alarms {
    topic_arn: Option<String>,
    alarm_names: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Topic,
    Alarms,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(rename = "x-alarms")]
    x_alarms: Option<Flags>,
    alarms: Option<Alarms>,
}

impl Stage for AlarmsSet {
    const TOOL: &'static str = "alarms-set";
    const SECTION: &'static str = "alarms";
    const ABOUT: &'static str = "Sets the alarms of an app";
    const DETAILS: &'static str = "Reads the document on stdin: the sections `cluster` and `svc`, and wishes from `x-alarms`. Sets CloudWatch alarms on CPU \
        and memory of every service, on the instances' status checks, on unhealthy targets, and on the load balancer's 5xx; with `notify` also an SNS \
        topic and its e-mail subscriptions. Writes the document with the section `alarms`.\n\n\
        Example:\n  alarms-set --notify ops@example.com < shop.live.json";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("cluster", "cluster-up"), ("svc", "svc-deploy")];
    const GRANTS: &'static [Grant] = GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[&[Step::Topic], &[Step::Alarms]];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;
    type Part = Part;

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn look(run: &Run, _: &Document, _: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (cloudwatch, sns) = (shared::client!(aws_sdk_cloudwatch, run), shared::client!(aws_sdk_sns, run));
        let (alarms, topic) = try_join!(alarm::find(&cloudwatch, run, wanted), topic::find(&sns, run))?;
        Ok(Self { cloudwatch, sns, found: Found { alarms, topic }, alarms: RefCell::default() })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::Topic => self.topic_up(run, wanted).await,
            Step::Alarms => self.alarms_up(run, wanted).await,
        }
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Topic => self.topic_down(run).await,
            Step::Alarms => self.alarms_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.alarms.borrow().clone()
    }
}

const GRANTS: &[Grant] = &[
    Grant { sid: "Look", actions: &["cloudwatch:DescribeAlarms"], on: &["*"] },
    Grant {
        sid: "Alarms",
        actions: &["cloudwatch:DeleteAlarms", "cloudwatch:ListTagsForResource", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"],
        on: &["arn:*:cloudwatch:*:*:alarm:{app}/*"],
    },
    Grant {
        sid: "Topic",
        actions: &[
            "sns:CreateTopic",
            "sns:DeleteTopic",
            "sns:GetTopicAttributes",
            "sns:ListSubscriptionsByTopic",
            "sns:ListTagsForResource",
            "sns:Subscribe",
            "sns:TagResource",
        ],
        on: &["arn:*:sns:*:*:{app}-alarms"],
    },
    // A subscription is not a resource of its own: SNS has been seen to ask for it on the topic and on the account.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    Grant { sid: "Unsubscribe", actions: &["sns:Unsubscribe"], on: &["arn:*:sns:*:*:*"] },
];
