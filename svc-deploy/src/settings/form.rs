//! The forms in which a setting can be written in the document: a text for a number, one text for a list, a number for a switch.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Reads one text or a list of them.
pub fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    struct OneOrMore;
    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![text.to_owned()]))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(items)).map(Some)
        }
    }
    deserializer.deserialize_any(OneOrMore)
}

/// Reads one port or a list of them, as numbers or texts.
pub fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(de::Error::invalid_value(Unexpected::Other("another value"), &"a port or a list of ports")),
    };
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Array(items) => items.into_iter().map(text).collect::<Result<_, _>>().map(Some),
        one => text(one).map(|one| Some(vec![one])),
    }
}

/// Returns the schema of what [`numbers`] reads.
pub fn ports(_: &mut SchemaGenerator) -> Schema {
    let port = json_schema!({"type": ["integer", "string"]});
    json_schema!({"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "array", "items": port}, {"type": "null"}]})
}

/// Returns the schema of what [`one_or_more`] reads.
pub fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]})
}

/// Reads a whole number, also from a text, because Compose prints some numbers as text.
pub fn whole<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<Option<T>, D::Error> {
    scalar(deserializer, "a whole number")
}

/// Reads a text, also from a number, as in `200`.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    scalar(deserializer, "a string or a number")
}

fn scalar<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D, kind: &str) -> Result<Option<T>, D::Error> {
    let read = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    // The message shows the value as the document has it.
    read.map(Some).ok_or_else(|| de::Error::invalid_value(Unexpected::Other("another value"), &kind))
}

/// The circuit breaker: on, off, or the number of failed tasks that ends a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BreakerSetting {
    Switch(bool),
    Failures(#[schemars(range(min = 1))] i32),
}

impl BreakerSetting {
    /// ECS accepts no threshold of 0.
    fn failures(failures: i32) -> Option<Self> {
        (failures > 0).then_some(Self::Failures(failures))
    }
}

/// What the setting can be.
pub const BREAKER: &str = "true, false or a number of failed tasks that is at least 1";

impl FromStr for BreakerSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failures = || text.parse().ok().and_then(Self::failures);
        text.parse().ok().map(Self::Switch).or_else(failures).ok_or_else(|| format!("must be {BREAKER}"))
    }
}

impl<'de> Deserialize<'de> for BreakerSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchOrNumber;
        impl Visitor<'_> for SwitchOrNumber {
            type Value = BreakerSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(BREAKER)
            }

            fn visit_bool<E>(self, on: bool) -> Result<BreakerSetting, E> {
                Ok(BreakerSetting::Switch(on))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<BreakerSetting, E> {
                let failures = i32::try_from(number).ok().and_then(BreakerSetting::failures);
                failures.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(SwitchOrNumber)
    }
}

/// The task role: an existing one by ARN, or the policies of a role of its own.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TaskRoleSetting {
    /// ARN of an existing role
    Role(String),
    /// A role of its own
    Own(OwnRole),
}

/// A role of its own
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OwnRole {
    /// ARNs of policies
    pub policies: BTreeSet<String>,
}

impl FromStr for TaskRoleSetting {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::Role(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for TaskRoleSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArnOrPolicies;
        impl<'de> Visitor<'de> for ArnOrPolicies {
            type Value = TaskRoleSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"the ARN of an existing role, or an object {"policies": [ARNs]}"#)
            }

            fn visit_str<E: de::Error>(self, arn: &str) -> Result<TaskRoleSetting, E> {
                Ok(TaskRoleSetting::Role(arn.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TaskRoleSetting, A::Error> {
                OwnRole::deserialize(MapAccessDeserializer::new(map)).map(TaskRoleSetting::Own)
            }
        }
        deserializer.deserialize_any(ArnOrPolicies)
    }
}
