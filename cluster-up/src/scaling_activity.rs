//! What the Auto Scaling group could not do. Only its activities say why an instance did not start.
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/CHAP_Troubleshooting.html>

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{Activity, ScalingActivityStatusCode};
use shared::{Error, Result, Run, Tried};

/// The newest activities are first, and a group tries again only after some minutes.
const NEWEST: i32 = 20;

/// A launch that failed.
#[derive(Debug)]
pub struct Failure {
    pub id: String,
    /// What EC2 said.
    reason: String,
}

/// Returns the launches of the group that failed last.
///
/// # Errors
/// Returns what Auto Scaling refused.
pub async fn failed_launches(autoscaling: &Client, run: &Run) -> Result<Vec<Failure>> {
    let call = autoscaling.describe_scaling_activities().auto_scaling_group_name(&run.app).max_records(NEWEST);
    let said = call.send().await.tried(format!("read the scaling activities of the Auto Scaling group {}", run.app))?;
    Ok(said.activities().iter().filter_map(failure).collect())
}

fn failure(activity: &Activity) -> Option<Failure> {
    let is_launch = activity.description().is_some_and(|text| text.starts_with("Launching"));
    let failed = activity.status_code() == Some(&ScalingActivityStatusCode::Failed);
    let reason = activity.status_message().or(activity.cause()).unwrap_or("AWS gives no reason");
    (is_launch && failed).then(|| Failure { id: activity.activity_id().unwrap_or_default().to_owned(), reason: reason.to_owned() })
}

/// # Errors
/// Says why the launch failed.
pub fn check(run: &Run, failure: Option<&Failure>) -> Result<()> {
    let Some(Failure { reason, .. }) = failure else { return Ok(()) };
    let text = format!(
        "could not start an instance of the Auto Scaling group {}: {}. Fix the cause: the quota of EC2, other instance types or zones, the AMI, or the KMS key. The group tries again by itself",
        run.app,
        reason.trim_end_matches('.')
    );
    Err(Error::failed("instance-not-started", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_launches_that_failed_count() {
        let activity =
            |description: &str, code| Activity::builder().description(description).status_code(code).status_message("said").build();
        assert!(failure(&activity("Launching a new EC2 instance: i-1", ScalingActivityStatusCode::Failed)).is_some());
        assert!(failure(&activity("Launching a new EC2 instance: i-1", ScalingActivityStatusCode::Successful)).is_none());
        assert!(failure(&activity("Terminating EC2 instance: i-1", ScalingActivityStatusCode::Failed)).is_none());
    }
}
