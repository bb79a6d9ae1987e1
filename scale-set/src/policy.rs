//! What scale-set may do in AWS.

use shared::policy::{Grant, When};

// The ARN of a scalable target ends in an id that AWS chooses, so the app's name can't be part of it.
const TARGETS: &[&str] = &["arn:*:application-autoscaling:*:*:scalable-target/*"];

pub const GRANTS: &[Grant] = &[
    Grant {
        sid: "Read",
        actions: &[
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
            "application-autoscaling:DescribeScheduledActions",
            "application-autoscaling:ListTagsForResource",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribePolicies",
            "cloudwatch:DescribeAlarms",
        ],
        on: &["*"],
        when: &[],
    },
    // AWS accepts tags only with a new target, so this can't change another one.
    Grant { sid: "NewTasks", actions: &["application-autoscaling:RegisterScalableTarget"], on: TARGETS, when: &[When::Tagged] },
    // Application Auto Scaling has no key for the action that creates what is tagged.
    Grant { sid: "TagNew", actions: &["application-autoscaling:TagResource"], on: TARGETS, when: &[When::Tagged, When::Untagged] },
    Grant {
        sid: "Tasks",
        actions: &[
            "application-autoscaling:DeleteScalingPolicy",
            "application-autoscaling:DeleteScheduledAction",
            "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:PutScheduledAction",
            "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:TagResource",
            "application-autoscaling:UntagResource",
        ],
        on: TARGETS,
        when: &[When::Ours],
    },
    // Application Auto Scaling manages the alarms of its policies, and reads and updates the service, with the caller's permissions.
    // https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html
    Grant {
        sid: "AlarmsOfTargetTracking",
        actions: &["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"],
        on: &["arn:*:cloudwatch:*:*:alarm:TargetTracking-service/{app}/*", "arn:*:cloudwatch:*:*:alarm:TargetTracking-{app}-*"],
        when: &[],
    },
    Grant {
        sid: "ServicesOfTargets",
        actions: &["ecs:DescribeServices", "ecs:UpdateService"],
        on: &["arn:*:ecs:*:*:service/{app}/*"],
        when: &[When::OursByName],
    },
    Grant {
        sid: "Instances",
        actions: &["autoscaling:DeletePolicy", "autoscaling:PutScalingPolicy", "autoscaling:UpdateAutoScalingGroup"],
        on: &["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{app}"],
        when: &[When::Ours],
    },
    // AWS creates the service-linked role with the first scalable target of an account.
    Grant {
        sid: "ServiceRole",
        actions: &["iam:CreateServiceLinkedRole"],
        on: &["*"],
        when: &[When::Is("iam:AWSServiceName", &["ecs.application-autoscaling.amazonaws.com"])],
    },
];
