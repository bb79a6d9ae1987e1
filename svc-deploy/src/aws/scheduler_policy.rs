//! The policy of the role with which EventBridge Scheduler runs jobs: it may run only their task definitions, on the app's cluster.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role>

use serde_json::{Value, json};
use shared::doc::Caller;

use super::arn::arn;
use super::task_definition_request::family;

/// Returns the policy for these jobs, whose tasks have these roles.
pub fn scheduler_policy(app: &str, caller: &Caller, jobs: &[&str], roles: &[String]) -> Value {
    let revisions: Vec<String> = jobs.iter().map(|job| arn(caller, "ecs", &format!("task-definition/{}:*", family(app, job)))).collect();
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Run", "Effect": "Allow", "Action": ["ecs:RunTask"], "Resource": revisions,
            "Condition": {"ArnEquals": {"ecs:cluster": arn(caller, "ecs", &format!("cluster/{app}"))}}},
        {"Sid": "Tag", "Effect": "Allow", "Action": ["ecs:TagResource"], "Resource": arn(caller, "ecs", &format!("task/{app}/*")),
            "Condition": {"StringEquals": {"ecs:CreateAction": "RunTask"}}},
        {"Sid": "PassRoles", "Effect": "Allow", "Action": ["iam:PassRole"], "Resource": roles,
            "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}},
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;

    #[test]
    fn only_scheduled_jobs_may_be_run() {
        let policy = scheduler_policy("shop", &samples::caller(), &["report"], &["arn:aws:iam::123456789012:role/r".to_owned()]);
        assert_eq!(policy["Statement"][0]["Resource"], json!(["arn:aws:ecs:us-east-1:123456789012:task-definition/shop-report:*"]));
        assert_eq!(policy["Statement"][2]["Resource"], json!(["arn:aws:iam::123456789012:role/r"]));
    }
}
