//! What alarms-set may do in AWS.

use shared::policy::Grant;

pub const GRANTS: &[Grant] = &[
    Grant { sid: "Read", actions: &["cloudwatch:DescribeAlarms"], on: &["*"] },
    Grant {
        sid: "Alarms",
        actions: &[
            "cloudwatch:DeleteAlarms",
            "cloudwatch:EnableAlarmActions",
            "cloudwatch:ListTagsForResource",
            "cloudwatch:PutMetricAlarm",
            "cloudwatch:SetAlarmState",
            "cloudwatch:TagResource",
            "cloudwatch:UntagResource",
        ],
        on: &["arn:*:cloudwatch:*:*:alarm:{app}/*"],
    },
    // AWS refuses this action when its permission names a resource.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
    Grant { sid: "CompositeAlarm", actions: &["cloudwatch:PutCompositeAlarm"], on: &["*"] },
    // Dashboards belong to the account, and their names end in the region.
    Grant {
        sid: "Dashboard",
        actions: &["cloudwatch:DeleteDashboards", "cloudwatch:GetDashboard", "cloudwatch:PutDashboard"],
        on: &["arn:*:cloudwatch::*:dashboard/{app}-*"],
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
            "sns:UntagResource",
        ],
        on: &["arn:*:sns:*:*:{app}-alarms"],
    },
    // A subscription is not a resource of IAM: SNS has been seen to check this action on the topic and on the account.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    Grant { sid: "Unsubscribe", actions: &["sns:Unsubscribe"], on: &["arn:*:sns:*:*:*"] },
];
