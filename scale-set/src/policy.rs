//! What scale-set may do in AWS.

use shared::policy::Grant;

pub const GRANTS: &[Grant] = &[
    Grant {
        sid: "Read",
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
    // The ARN of a scalable target ends in an id that AWS chooses, so the app's name can't be part of it.
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
            "application-autoscaling:UntagResource",
        ],
        on: &["arn:*:application-autoscaling:*:*:scalable-target/*"],
    },
    // Application Auto Scaling manages the alarms of its policies, and reads and updates the service, with the caller's permissions.
    // https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html
    Grant {
        sid: "AlarmsOfTargetTracking",
        actions: &["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"],
        on: &["arn:*:cloudwatch:*:*:alarm:TargetTracking-*"],
    },
    Grant { sid: "ServicesOfTargets", actions: &["ecs:DescribeServices", "ecs:UpdateService"], on: &["arn:*:ecs:*:*:service/{app}/*"] },
    Grant {
        sid: "Instances",
        actions: &["autoscaling:DeletePolicy", "autoscaling:PutScalingPolicy", "autoscaling:UpdateAutoScalingGroup"],
        on: &["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{app}"],
    },
    // AWS creates the service-linked role with the first scalable target of an account.
    Grant { sid: "ServiceRole", actions: &["iam:CreateServiceLinkedRole"], on: &["arn:*:iam::*:role/aws-service-role/*"] },
];
