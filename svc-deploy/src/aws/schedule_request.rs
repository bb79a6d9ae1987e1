//! The request that creates or updates a schedule, in AWS's own JSON, and how a found schedule differs from it.
//! <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>

use serde_json::{Value, json};
use shared::Diff;

use super::arn::last_name;
use super::service_diff::NEW_REVISION;
use super::service_request::strategy;
use crate::model::{NetworkMode, Schedule, Service, Wanted};

/// The ARNs that a schedule names.
pub struct Arns<'a> {
    pub cluster: &'a str,
    /// Of the role with which EventBridge Scheduler runs the task.
    pub role: &'a str,
    /// Unknown only in a plan.
    pub revision: Option<&'a str>,
}

/// Returns the request. A call that fails is repeated for an hour, and not for a day as by default: then the next run is near, or the time of this one
/// has passed.
pub fn request(app: &str, wanted: &Wanted, service: &Service, schedule: &Schedule, arns: &Arns<'_>) -> Value {
    let network = (service.network_mode == NetworkMode::Awsvpc).then(|| {
        json!({"awsvpcConfiguration": {
            "Subnets": wanted.net.private_subnet_ids,
            "SecurityGroups": [wanted.net.task_security_group_id],
            "AssignPublicIp": "DISABLED",
        }})
    });
    json!({
        "GroupName": app,
        "Description": format!("Runs the job {} of {app}", service.name),
        "ScheduleExpression": schedule.expression,
        "ScheduleExpressionTimezone": schedule.timezone,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Target": {
            "Arn": arns.cluster,
            "RoleArn": arns.role,
            "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 10},
            "EcsParameters": {
                "TaskDefinitionArn": arns.revision,
                "TaskCount": 1,
                "CapacityProviderStrategy": strategy(&wanted.cluster),
                "NetworkConfiguration": network,
                "PropagateTags": "TASK_DEFINITION",
                "EnableECSManagedTags": true,
            },
        },
    })
}

/// Compares the fields that the request has.
pub fn diff(found: &Value, wanted: &Value) -> Diff {
    let (mut found, mut wanted) = (shown(found, wanted), shown(wanted, wanted));
    // A revision is shown as services show it, and what AWS may leave out is 0.
    for schedule in [&mut found, &mut wanted] {
        let Some(parameters) = schedule.pointer_mut("/Target/EcsParameters") else { continue };
        parameters["TaskDefinitionArn"] = json!(parameters["TaskDefinitionArn"].as_str().map_or(NEW_REVISION, last_name));
        for share in parameters.get_mut("CapacityProviderStrategy").and_then(Value::as_array_mut).into_iter().flatten() {
            for key in ["base", "weight"] {
                if share.get(key).is_none_or(Value::is_null) {
                    share[key] = json!(0);
                }
            }
        }
    }
    Diff::new().json("", Some(&found), &wanted)
}

/// Returns of `value` what `like` has: fields that only AWS's answer has are defaults.
fn shown(value: &Value, like: &Value) -> Value {
    match (value, like) {
        (Value::Object(fields), Value::Object(like)) => {
            like.iter().map(|(key, like)| (key.clone(), fields.get(key).map_or(Value::Null, |value| shown(value, like)))).collect()
        }
        (value, _) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;

    const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-report:3";

    fn of(mode: NetworkMode, expression: &str, revision: Option<&str>) -> Value {
        let (wanted, mut service) = (samples::wanted(Vec::new()), samples::service("report"));
        service.network_mode = mode;
        let schedule = Schedule { expression: expression.to_owned(), timezone: "UTC".to_owned() };
        let arns = Arns { cluster: "arn:aws:ecs:us-east-1:123456789012:cluster/shop", role: "arn:aws:iam::123456789012:role/r", revision };
        request("shop", &wanted, &service, &schedule, &arns)
    }

    #[test]
    fn the_fields_that_differ_are_shown_and_defaults_of_aws_are_not() {
        let wanted = of(NetworkMode::Awsvpc, "rate(1 hour)", Some(REVISION));
        let mut found = wanted.clone();
        found["Arn"] = json!("arn");
        found["Target"]["EcsParameters"]["EnableExecuteCommand"] = json!(false);
        found["Target"]["EcsParameters"]["CapacityProviderStrategy"] = json!([{"capacityProvider": "FARGATE", "weight": 1}]);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        for (wanted, shown) in [
            (of(NetworkMode::Awsvpc, "rate(2 hours)", Some(REVISION)), "ScheduleExpression: rate(1 hour) -> rate(2 hours)"),
            (of(NetworkMode::Awsvpc, "rate(1 hour)", None), "Target.EcsParameters.TaskDefinitionArn: shop-report:3 -> the new revision"),
        ] {
            assert_eq!(diff(&found, &wanted).to_string(), shown);
        }
        let bridge = diff(&found, &of(NetworkMode::Bridge, "rate(1 hour)", Some(REVISION))).to_string();
        assert!(bridge.contains("NetworkConfiguration.awsvpcConfiguration.Subnets"), "{bridge}");
    }
}
