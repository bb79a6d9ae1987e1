//! What the Auto Scaling group could not do. Only its activities say why an instance did not start.
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/CHAP_Troubleshooting.html>

use std::collections::BTreeSet;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{Activity, ScalingActivityStatusCode};
use shared::{Error, Result, Run, Tried};

/// The newest activities are first, and a group tries again only after some minutes.
const NEWEST: i32 = 20;

/// A launch that failed.
#[derive(Debug)]
pub struct Failure {
    id: String,
    /// What EC2 said.
    reason: String,
}

impl Failure {
    /// Says why the launch failed, and what to do.
    #[must_use]
    pub fn error(&self, run: &Run) -> Error {
        let text = format!(
            "could not start an instance of the Auto Scaling group {}: {}. Fix the cause: the quota of EC2, other instance types or zones, the AMI, or the KMS key. The group tries again by itself",
            run.app,
            self.reason.trim_end_matches('.')
        );
        Error::failed("instance-not-started", text)
    }
}

/// The launches that fail during a wait. What failed before may be fixed by now.
#[derive(Debug, Default)]
pub struct Watch {
    old: Option<BTreeSet<String>>,
}

impl Watch {
    /// Watches a group that did not exist before, so that every failure is of this run.
    #[must_use]
    pub fn of_new_group() -> Self {
        Self { old: Some(BTreeSet::new()) }
    }

    /// Returns whether this is the first look, which tells what is old.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.old.is_none()
    }

    /// Returns a failure that was not there at the first look.
    pub fn newer<'a>(&mut self, failures: &'a [Failure]) -> Option<&'a Failure> {
        let old = self.old.get_or_insert_with(|| failures.iter().map(|one| one.id.clone()).collect());
        failures.iter().find(|one| !old.contains(&one.id))
    }
}

/// Returns the launches of the app's group that failed last, the newest first. While another one is under way there are none, because the group
/// may have gone to another zone.
///
/// # Errors
/// Returns what Auto Scaling refused.
pub async fn failed_launches(autoscaling: &Client, run: &Run) -> Result<Vec<Failure>> {
    let call = autoscaling.describe_scaling_activities().auto_scaling_group_name(&run.app).max_records(NEWEST);
    let said = call.send().await.tried(format!("read the scaling activities of the Auto Scaling group {}", run.app))?;
    Ok(failures(said.activities()))
}

fn failures(activities: &[Activity]) -> Vec<Failure> {
    use ScalingActivityStatusCode::{Cancelled, Failed, Successful};
    let launches = || activities.iter().filter(|one| one.description().is_some_and(|text| text.starts_with("Launching")));
    if !launches().all(|one| matches!(one.status_code(), Some(Cancelled | Failed | Successful))) {
        return Vec::new();
    }
    launches().take_while(|one| one.status_code() == Some(&Failed)).map(failure).collect()
}

fn failure(activity: &Activity) -> Failure {
    let reason = activity.status_message().or(activity.cause()).unwrap_or("AWS gives no reason");
    Failure { id: activity.activity_id().unwrap_or_default().to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_launches_that_failed_last_count() {
        use ScalingActivityStatusCode::{Failed, InProgress, Successful};
        let count = |all: &[(&str, ScalingActivityStatusCode)]| {
            let one = |(does, code): &(&str, ScalingActivityStatusCode)| {
                Activity::builder().description(format!("{does} EC2 instance: i-1")).status_code(code.clone()).build()
            };
            failures(&all.iter().map(one).collect::<Vec<_>>()).len()
        };
        assert_eq!(count(&[("Launching a new", Failed), ("Launching a new", Failed), ("Launching a new", Successful)]), 2);
        assert_eq!(count(&[("Terminating", Failed)]), 0);
        assert_eq!(count(&[("Launching a new", Successful), ("Launching a new", Failed)]), 0);
        // The group tries another zone.
        assert_eq!(count(&[("Launching a new", InProgress), ("Launching a new", Failed)]), 0);
    }

    #[test]
    fn a_failure_before_the_first_look_is_old() {
        let failed =
            |ids: &[&str]| -> Vec<Failure> { ids.iter().map(|id| Failure { id: (*id).to_owned(), reason: String::new() }).collect() };
        let mut watch = Watch::default();
        assert!(watch.is_first() && watch.newer(&failed(&["a"])).is_none() && !watch.is_first());
        assert_eq!(watch.newer(&failed(&["b", "a"])).map(|one| one.id.as_str()), Some("b"));
        assert_eq!(Watch::of_new_group().newer(&failed(&["a"])).map(|one| one.id.as_str()), Some("a"));
    }
}
