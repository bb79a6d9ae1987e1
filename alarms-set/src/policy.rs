//! What alarms-set may do in AWS.

use shared::policy::{Grant, When};

const ALARMS: &[&str] = &["arn:*:cloudwatch:*:*:alarm:{app}/*"];
const TOPICS: &[&str] = &["arn:*:sns:*:*:{app}-alarms"];

pub const GRANTS: &[Grant] = &[
    Grant { sid: "Read", actions: &["cloudwatch:DescribeAlarms"], on: &["*"], when: &[] },
    // PutMetricAlarm creates and changes, and TagResource is checked before an alarm exists, so the name alone limits them.
    Grant {
        sid: "PutAlarms",
        actions: &["cloudwatch:ListTagsForResource", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"],
        on: ALARMS,
        when: &[],
    },
    Grant {
        sid: "Alarms",
        actions: &["cloudwatch:DeleteAlarms", "cloudwatch:EnableAlarmActions", "cloudwatch:SetAlarmState", "cloudwatch:UntagResource"],
        on: ALARMS,
        when: &[When::OursByName],
    },
    // AWS refuses this action when its permission names a resource. A condition on the tags of the request would not protect the alarms of others.
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
    Grant { sid: "CompositeAlarm", actions: &["cloudwatch:PutCompositeAlarm"], on: &["*"], when: &[] },
    // Dashboards belong to the account and have no tags, and their names end in the region.
    Grant {
        sid: "Dashboard",
        actions: &["cloudwatch:DeleteDashboards", "cloudwatch:GetDashboard", "cloudwatch:PutDashboard"],
        on: &["arn:*:cloudwatch::*:dashboard/{app}-??-*"],
        when: &[],
    },
    Grant {
        sid: "CreateTopic",
        actions: &[
            "sns:CreateTopic",
            "sns:GetTopicAttributes",
            "sns:ListSubscriptionsByTopic",
            "sns:ListTagsForResource",
            "sns:TagResource",
        ],
        on: TOPICS,
        when: &[],
    },
    Grant { sid: "Topic", actions: &["sns:DeleteTopic", "sns:Subscribe", "sns:UntagResource"], on: TOPICS, when: &[When::OursByName] },
    // This action has no resources: SNS has been seen to check it on the topic and on the account.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    Grant { sid: "Unsubscribe", actions: &["sns:Unsubscribe"], on: &["*"], when: &[] },
];
