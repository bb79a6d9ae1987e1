//! What is asked of the alarms: `x-alarms` and its flags.

use std::collections::BTreeSet;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::{Caller, Cluster, Selection, Svc};
use shared::{Document, Error, Result};

/// `x-alarms`
#[derive(Debug, Clone, Args, Serialize, Deserialize, JsonSchema)]
pub struct Flags {
    /// Whom to tell: e-mail addresses and ARNs of SNS topics
    #[arg(long, value_delimiter = ',')]
    notify: Option<Vec<String>>,
    /// CPU of a service in percent [default: 85]
    #[arg(long)]
    cpu: Option<f64>,
    /// Memory of a service in percent [default: 85]
    #[arg(long)]
    memory: Option<f64>,
    /// Share of a published app's answers that are 5xx, in percent [default: 5]
    #[arg(long = "5xx-percent", value_name = "PERCENT")]
    #[serde(rename = "5xx_percent")]
    percent_5xx: Option<f64>,
    /// Seconds within which 99 of 100 requests are answered [default: off]
    #[arg(long, value_name = "SECONDS")]
    latency_p99: Option<f64>,
    #[command(flatten)]
    #[serde(skip)]
    #[schemars(skip)]
    selection: Selection,
}

/// The wishes, checked.
pub struct Wanted {
    pub cluster: Cluster,
    pub svc: Svc,
    pub emails: Vec<String>,
    pub topics: Vec<String>,
    pub cpu: f64,
    pub memory: f64,
    pub percent_5xx: f64,
    pub latency_p99: Option<f64>,
    /// Whether only some services are meant; then no alarm is taken away.
    pub partial: bool,
}

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let (cluster, mut svc): (Cluster, Svc) = (doc.need("cluster", "cluster-up")?, doc.need("svc", "svc-deploy")?);
        flags.selection.check(|name| svc.services.contains_key(name))?;
        let all = svc.services.len();
        svc.services.retain(|name, _| flags.selection.takes(name));
        let wish = doc.wish(&doc.root(), "x-alarms", flags)?;
        let mut this = Self {
            emails: Vec::new(),
            topics: Vec::new(),
            cpu: within("cpu", wish.cpu.unwrap_or(85.0), 100.0)?,
            memory: within("memory", wish.memory.unwrap_or(85.0), 100.0)?,
            percent_5xx: within("5xx_percent", wish.percent_5xx.unwrap_or(5.0), 100.0)?,
            latency_p99: wish.latency_p99.map(|seconds| within("latency_p99", seconds, 4000.0)).transpose()?,
            partial: svc.services.len() < all,
            cluster,
            svc,
        };
        let region = doc.view::<Caller>("aws")?.map(|aws| aws.region);
        let mut seen = BTreeSet::new();
        for (i, whom) in wish.notify.unwrap_or_default().into_iter().enumerate().filter(|(_, whom)| seen.insert(whom.clone())) {
            if whom.starts_with("arn:") && whom.contains(":sns:") {
                if let Some(region) = region.as_deref().filter(|region| whom.split(':').nth(3) != Some(region)) {
                    return Err(Error::document(format!("x-alarms.notify[{i}]"), format!("an alarm in {region} tells only topics there")));
                }
                this.topics.push(whom);
            } else if whom.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.')) {
                this.emails.push(whom);
            } else {
                return Err(Error::document(
                    format!("x-alarms.notify[{i}]"),
                    format!("{whom:?} is neither an e-mail address nor an SNS topic's ARN"),
                ));
            }
        }
        if this.topics.len() + usize::from(!this.emails.is_empty()) > MOST {
            return Err(Error::document(
                "x-alarms.notify",
                format!("an alarm tells {MOST} topics at most, and all e-mail addresses are one"),
            ));
        }
        Ok(this)
    }
}

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>
const MOST: usize = 5;

fn within(key: &str, value: f64, most: f64) -> Result<f64> {
    if value > 0.0 && value <= most {
        Ok(value)
    } else {
        Err(Error::document(format!("x-alarms.{key}"), format!("{value} is not above 0 and at most {most}")))
    }
}
