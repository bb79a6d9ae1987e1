//! The settings of the alarms: `x-alarms` and its flags.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use shared::doc::{At, Caller, Cluster, Selection, Svc};
use shared::flags::Prune;
use shared::settings::read;
use shared::{Document, Error, Result};

/// The command line.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    alarms: AlarmFlags,
    #[command(flatten)]
    #[serde(skip)]
    selection: Selection,
    #[command(flatten)]
    #[serde(skip)]
    pub prune: Prune,
}

shared::settings! {
    /// `x-alarms`: the thresholds of the alarms, and who is notified
    pub struct AlarmSettings, AlarmFlags {
        /// E-mail addresses and ARNs of SNS topics to notify
        ///
        /// alarms-set sends e-mail through an SNS topic of the app. AWS asks each address to confirm its subscription. Topics must be in the
        /// region of the app. An alarm notifies at most five topics, and all e-mail addresses together count as one. Example: --notify
        /// ops@example.com
        notify: Vec<String> = Vec::new(), arg(long, value_delimiter = ',', value_name = "ADDRESS");
        /// Notify also when an alarm is over
        ///
        /// A new alarm that finds everything in order notifies nobody. Example: --notify-ok
        notify_ok: bool = false, arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true");
        /// ARNs of SNS topics that only the composite alarm of the app notifies
        ///
        /// The composite alarm is in alarm while users notice a problem: missing tasks, no healthy target, 5xx responses, latency. Topics must be in
        /// the region of the app. Example: --page arn:aws:sns:eu-central-1:123456789012:on-call
        page: Vec<String> = Vec::new(), arg(long, value_delimiter = ',', value_name = "ARN");
        /// Whether the app has a CloudWatch dashboard
        ///
        /// With CPU, memory, tasks, requests, latency and 5xx responses of every service, and the alarms. Example: --dashboard false
        dashboard: bool = true, arg(long, value_name = "BOOL");
        /// Threshold for the CPU of a service, in percent
        ///
        /// In percent of the CPU that the service reserves. Example: --cpu 90
        cpu: f64 [0.001..=100] = 85.0, arg(long, value_name = "PERCENT");
        /// Threshold for the memory of a service, in percent
        ///
        /// In percent of the memory that the service reserves. A service without a memory limit on EC2 may use more than that, so it has this
        /// alarm only with this setting. Example: --memory 90
        memory: f64 [0.001..=100], arg(long, value_name = "PERCENT"),
            schemars(extend("x-default" = "85, for services with a memory limit"));
        /// Threshold for the share of 5xx responses, in percent
        ///
        /// In percent of the requests of a service, and for the load balancer's own 5xx responses in percent of all requests. Example: --5xx-percent 1
        percent_5xx: f64 [0.001..=100] = 5.0, arg(long = "5xx-percent", value_name = "PERCENT"), serde(rename = "5xx_percent");
        /// Threshold for the 99th percentile of the response time, in seconds
        ///
        /// In seconds from the request that the load balancer sends to the response of the task. Example: --latency-p99 0.5
        latency_p99: f64 [0.001..=4000], arg(long, value_name = "SECONDS"), schemars(extend("x-default" = "off"));
    }
}

/// The settings, checked, with what they apply to.
#[derive(Debug, Default)]
pub struct Wanted {
    pub cluster: Cluster,
    pub svc: Svc,
    pub notified: Notified,
    pub cpu: f64,
    /// `None` is the default, for services with a memory limit.
    pub memory: Option<f64>,
    pub percent_5xx: f64,
    pub latency_p99: Option<f64>,
    /// Whether the cluster has the metrics of Container Insights.
    pub insights: bool,
    /// Services that may have no task on purpose.
    pub may_stop: BTreeSet<String>,
    pub dashboard: bool,
    /// Whether only some services are selected. Then no alarm is deleted.
    pub partial: bool,
}

/// Who is notified.
#[derive(Debug, Default, PartialEq)]
pub struct Notified {
    /// E-mail addresses, which subscribe to the app's own topic.
    pub emails: Vec<String>,
    /// ARNs of the user's topics.
    pub topics: Vec<String>,
    /// ARNs of the user's topics that only the composite alarm notifies.
    pub page: Vec<String>,
    /// Whether the end of an alarm is notified, too.
    pub ok: bool,
}

impl Wanted {
    /// Reads the settings and the selected services.
    ///
    /// # Errors
    /// Says what is wrong in the document, with its path.
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let (cluster, mut svc): (Cluster, Svc) = (doc.need("cluster", "cluster-up")?, doc.need("svc", "svc-deploy")?);
        flags.selection.check(|name| svc.services.contains_key(name))?;
        let all = svc.services.len();
        svc.services.retain(|name, _| flags.selection.takes(name));
        let partial = svc.services.len() < all;
        let settings: AlarmSettings = read(doc, &doc.root(), "x-alarms", &flags.alarms)?;
        let AlarmSettings { notify, notify_ok, page, dashboard, cpu, memory, percent_5xx, latency_p99 } = settings;
        let region = doc.view::<Caller>("aws")?.map(|aws| aws.region);
        let (notified, page) = doc.both(notified(doc, notify, region.as_deref()), paged(doc, page, region.as_deref()))?;
        let notified = Notified { page, ok: notify_ok, ..notified };
        let may_stop = svc.services.keys().filter(|name| may_stop(doc, name)).cloned().collect();
        // A wrong value is cluster-up's to report.
        let insights = doc.root().key("x-cluster").and_then(|at| at.key("insights")).is_none_or(|at| at.value() != "disabled");
        Ok(Self { cluster, svc, notified, cpu, memory, percent_5xx, latency_p99, insights, may_stop, dashboard, partial })
    }
}

/// Returns whether the number of tasks may be 0 on purpose: as the minimum of the scaling, or of an entry of its schedule.
fn may_stop(doc: &Document, service: &str) -> bool {
    let of =
        |at: Option<At<'_>>| at.and_then(|at| at.key("services")).and_then(|services| services.key(service).map(|at| at.value().clone()));
    let (settings, scaled) = (of(Some(doc.root())).unwrap_or_default(), of(doc.root().key("scale")).unwrap_or_default());
    let min = settings.pointer("/x-scale/min").or(scaled.get("min"));
    let replicas = settings.pointer("/deploy/replicas").or(settings.get("scale")).filter(|_| min.is_none());
    let scheduled =
        settings.pointer("/x-scale/schedule").and_then(Value::as_array).into_iter().flatten().filter_map(|entry| entry.get("min"));
    min.into_iter().chain(replicas).chain(scheduled).any(|least| *least == 0 || *least == "0")
}

/// Returns the ARNs of the topics that the composite alarm notifies.
fn paged(doc: &Document, page: Vec<String>, region: Option<&str>) -> Result<Vec<String>> {
    let one = |(i, address): (usize, String)| match kind(&format!("x-alarms.page[{i}]"), address, region)? {
        Address::Topic(arn) => Ok(arn),
        Address::Email(email) => {
            let what = format!("must be the ARN of an SNS topic; found {email:?}. Subscribe the address to a topic of your own");
            Err(Error::document("page-address", format!("x-alarms.page[{i}]"), what))
        }
    };
    let topics = doc.all(page.into_iter().enumerate().map(one))?;
    if topics.len() > MOST {
        let what = format!("must be at most {MOST} topics; found {}. Remove topics", topics.len());
        return Err(Error::document("page-too-many", "x-alarms.page", what));
    }
    Ok(topics)
}

/// Topics that one alarm can notify.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>
const MOST: usize = 5;

/// Sorts the addresses by kind, each once. `region` is that of the document, when it is known.
fn notified(doc: &Document, notify: Vec<String>, region: Option<&str>) -> Result<Notified> {
    let mut seen = BTreeSet::new();
    let once = notify.into_iter().enumerate().filter(|(_, address)| seen.insert(address.clone()));
    let addresses = doc.all(once.map(|(i, address)| kind(&format!("x-alarms.notify[{i}]"), address, region)))?;
    let mut notified = Notified::default();
    for address in addresses {
        match address {
            Address::Topic(arn) => notified.topics.push(arn),
            Address::Email(email) => notified.emails.push(email),
        }
    }
    let count = notified.topics.len() + usize::from(!notified.emails.is_empty());
    if count > MOST {
        let what = format!(
            "must be at most {MOST} topics, where all e-mail addresses together count as one topic; found {count}. Remove topics, or subscribe their endpoints to one topic"
        );
        return Err(Error::document("notify-too-many", "x-alarms.notify", what));
    }
    Ok(notified)
}

enum Address {
    Topic(String),
    Email(String),
}

fn kind(place: &str, address: String, region: Option<&str>) -> Result<Address> {
    if address.starts_with("arn:") && address.contains(":sns:") {
        match region.filter(|region| address.split(':').nth(3) != Some(region)) {
            Some(region) => {
                let what = format!("must be a topic in {region}, because an alarm notifies only topics of its own region; found {address}");
                Err(Error::document("notify-other-region", place, what))
            }
            None => Ok(Address::Topic(address)),
        }
    } else if address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.')) {
        Ok(Address::Email(address))
    } else {
        let what = format!("must be an e-mail address or the ARN of an SNS topic; found {address:?}");
        Err(Error::document("notify-address", place, what))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, FromArgMatches};
    use serde_json::{Value, json};

    use super::*;

    fn wanted(x_alarms: &Value, args: &[&str]) -> Result<Wanted> {
        // --down is every tool's own.
        let command = Flags::augment_args(Command::new("alarms-set").arg(Arg::new("down")));
        let matches = command.try_get_matches_from([&["alarms-set"], args].concat()).unwrap();
        let doc = json!({"name": "shop", "aws": {"account": "1", "region": "eu-west-1", "partition": "aws"}, "x-alarms": x_alarms,
            "cluster": {"name": "shop"}, "svc": {"services": {"web": {}, "worker": {}}}});
        Wanted::read(&Document::parse(doc.to_string().as_bytes()).unwrap(), &Flags::from_arg_matches(&matches).unwrap())
    }

    fn topic(region: &str, n: usize) -> String {
        format!("arn:aws:sns:{region}:1:topic-{n}")
    }

    #[test]
    fn addresses_are_sorted_by_kind() {
        let (topic, email) = (topic("eu-west-1", 1), "ops@example.com".to_owned());
        let notify = vec![email.clone(), topic.clone(), email.clone()];
        assert_eq!(
            notified(&Document::default(), notify, Some("eu-west-1")).unwrap(),
            Notified { emails: vec![email], topics: vec![topic], ..Notified::default() }
        );
        assert!(notified(&Document::default(), vec![self::topic("us-east-1", 1)], None).is_ok(), "the region may not be known yet");
    }

    #[test]
    fn wrong_addresses_are_reported_with_their_place() {
        let topics = |count| (0..count).map(|n| topic("eu-west-1", n)).collect::<Vec<_>>();
        for (notify, said) in [
            (vec!["ops".to_owned()], "notify[0]: must be an e-mail address or the ARN of an SNS topic; found \"ops\""),
            (vec!["@example.com".to_owned()], "notify[0]: must be an e-mail"),
            (vec!["ops@localhost".to_owned()], "notify[0]: must be an e-mail"),
            (vec!["arn:aws:sqs:eu-west-1:1:queue".to_owned()], "notify[0]: must be an e-mail"),
            (vec!["a@b.de".to_owned(), topic("us-east-1", 1)], "notify[1]: must be a topic in eu-west-1"),
            (topics(6), "notify: must be at most 5 topics"),
            ([topics(5), vec!["a@b.de".to_owned()]].concat(), "notify: must be at most 5 topics"),
        ] {
            let found = notified(&Document::default(), notify, Some("eu-west-1")).err().unwrap().to_string();
            assert!(found.contains(&format!("x-alarms.{said}")), "{found}");
        }
        let many = [topics(4), vec!["a@b.de".to_owned(), "c@d.de".to_owned()]].concat();
        assert!(notified(&Document::default(), many, Some("eu-west-1")).is_ok(), "all e-mail addresses are one topic");
    }

    #[test]
    fn thresholds_are_within_their_ranges() {
        let set = wanted(&json!({"cpu": 90, "5xx_percent": 0.5, "latency_p99": 2}), &["--5xx-percent", "1.5"]).unwrap();
        assert_eq!((set.cpu, set.memory, set.percent_5xx, set.latency_p99), (90.0, None, 1.5, Some(2.0)));
        for (x_alarms, said) in [
            (json!({"cpu": 0}), "x-alarms.cpu: must be between 0.001 and 100; found 0"),
            (json!({"memory": 101}), "x-alarms.memory: must be between 0.001 and 100; found 101"),
            (json!({"5xx_percent": -1}), "x-alarms.5xx_percent: must be between"),
            (json!({"latency_p99": 4001}), "x-alarms.latency_p99: must be between 0.001 and 4000; found 4001"),
            (json!({"cpu": "NaN"}), "x-alarms.cpu: must be between 0.001 and 100; found \"NaN\""),
            (json!({"cpu": "much"}), "x-alarms.cpu: must be a number; found \"much\""),
        ] {
            let found = wanted(&x_alarms, &[]).err().unwrap().to_string();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn a_service_whose_least_is_zero_may_stop() {
        for (web, scale, expected) in [
            (json!({}), json!({}), false),
            (json!({"deploy": {"replicas": 0}}), json!({}), true),
            (json!({"deploy": {"replicas": 0}, "x-scale": {"min": 1}}), json!({}), false),
            (json!({"x-scale": {"min": 0}}), json!({}), true),
            (json!({}), json!({"services": {"web": {"min": 0}}}), true),
            (json!({"x-scale": {"schedule": [{"name": "day", "min": 2}, {"name": "night", "min": 0, "max": 0}]}}), json!({}), true),
        ] {
            let doc = json!({"services": {"web": web}, "scale": scale});
            assert_eq!(may_stop(&Document::parse(doc.to_string().as_bytes()).unwrap(), "web"), expected, "{doc}");
        }
    }

    #[test]
    fn only_topics_are_paged() {
        let error = wanted(&json!({"page": ["ops@example.com"]}), &[]).err().unwrap().to_string();
        assert!(error.contains("x-alarms.page[0]: must be the ARN of an SNS topic"), "{error}");
        assert_eq!(wanted(&json!({"page": [topic("eu-west-1", 1)]}), &[]).unwrap().notified.page, [topic("eu-west-1", 1)]);
    }

    #[test]
    fn a_selection_leaves_services_out() {
        let all = wanted(&json!({}), &[]).unwrap();
        assert_eq!((all.svc.services.len(), all.partial), (2, false));
        let some = wanted(&json!({}), &["--only", "web"]).unwrap();
        assert_eq!((some.svc.services.into_keys().collect::<Vec<_>>(), some.partial), (vec!["web".to_owned()], true));
        assert!(wanted(&json!({}), &["--only", "shop"]).is_err());
    }
}
