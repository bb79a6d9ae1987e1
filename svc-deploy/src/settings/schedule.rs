//! `x-svc.schedule`: when EventBridge Scheduler runs a job.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The times of a job: in UTC as one text, or with a time zone.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ScheduleSetting {
    /// As in `rate(1 hour)`
    Utc(String),
    /// With a time zone
    InZone(InZone),
}

/// A schedule with its time zone
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InZone {
    /// `rate(…)`, `cron(…)` or `at(…)`
    pub expression: String,
    /// Name of the time zone, for example `Europe/Vienna`; UTC when not set
    pub timezone: Option<String>,
}

impl ScheduleSetting {
    /// Returns the expression and the time zone.
    pub fn parts(&self) -> (&str, &str) {
        const UTC: &str = "UTC";
        match self {
            Self::Utc(expression) => (expression, UTC),
            Self::InZone(one) => (&one.expression, one.timezone.as_deref().unwrap_or(UTC)),
        }
    }
}

impl<'de> Deserialize<'de> for ScheduleSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrObject;
        impl<'de> Visitor<'de> for TextOrObject {
            type Value = ScheduleSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    r#"a text such as "rate(1 hour)", or an object {"expression": "cron(0 8 ? * MON-FRI *)", "timezone": "Europe/Vienna"}"#,
                )
            }

            fn visit_str<E: de::Error>(self, expression: &str) -> Result<ScheduleSetting, E> {
                Ok(ScheduleSetting::Utc(expression.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ScheduleSetting, A::Error> {
                InZone::deserialize(MapAccessDeserializer::new(map)).map(ScheduleSetting::InZone)
            }
        }
        deserializer.deserialize_any(TextOrObject)
    }
}
