//! The parameters of a call: a JSON body or a form, and the path.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tests::Call;

pub type Tags = BTreeMap<String, String>;

pub struct Parameters {
    /// Each value with its name, in lower case and without the numbers of lists, as in `tags.key`.
    values: Vec<(String, String)>,
    /// The tags of the request.
    pub tags: Tags,
    /// All that the call says, to search in.
    pub text: String,
    /// The path's parts.
    path: Vec<String>,
    query: String,
}

impl Parameters {
    pub fn of(call: &Call) -> Self {
        let mut raw = Vec::new();
        match serde_json::from_str::<Value>(&call.body) {
            Ok(body) => flatten("", &body, &mut raw),
            Err(_) => {
                raw.extend(call.body.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))));
            }
        }
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        // A client token may have a part of an ID.
        let text: Vec<String> = raw
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("ClientToken"))
            .map(|(_, value)| value.clone())
            .chain([decode(&call.path)])
            .collect();
        Self {
            tags: tags(&raw),
            values: raw.into_iter().map(|(name, value)| (plain(&name), value)).collect(),
            text: text.join("\n"),
            path: path.split('/').filter(|part| !part.is_empty()).map(decode).collect(),
            query: decode(query),
        }
    }

    /// Returns the values of these names, which are in lower case.
    pub fn all(&self, names: &[&str]) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        self.all(&[name]).next()
    }

    pub fn has(&self, value: &str) -> bool {
        self.values.iter().any(|(_, one)| one == value)
    }

    /// Returns the schedule or the group that the path names, as in an ARN.
    pub fn schedule(&self) -> Option<String> {
        match self.path.as_slice() {
            [kind, name] if kind == "schedules" => {
                let group = self
                    .one("groupname")
                    .or_else(|| self.query.split('&').find_map(|pair| pair.strip_prefix("groupName=")))
                    .unwrap_or("default");
                Some(format!("schedule/{group}/{name}"))
            }
            [kind, name] if kind == "schedule-groups" => Some(format!("schedule-group/{name}")),
            _ => None,
        }
    }
}

fn flatten(at: &str, value: &Value, all: &mut Vec<(String, String)>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&below(key), value, all)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| flatten(&below(&at.to_string()), value, all)),
        Value::String(text) => all.push((at.to_owned(), text.clone())),
        other => all.push((at.to_owned(), other.to_string())),
    }
}

fn plain(name: &str) -> String {
    let parts = name.split('.').filter(|part| *part != "member" && part.parse::<usize>().is_err());
    parts.map(str::to_lowercase).collect::<Vec<_>>().join(".")
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Reads tags in all the forms of AWS: lists of keys and values, and maps.
fn tags(raw: &[(String, String)]) -> Tags {
    let value = |prefix: &str| {
        let named = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.eq_ignore_ascii_case("value"));
        raw.iter().find(|(name, _)| named(name)).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let tag = |(name, text): &(String, String)| match plain(name).as_str() {
        "tag.key" | "tags.key" | "tagspecification.tag.key" => Some((text.clone(), value(&name[..name.len() - "key".len()]))),
        "tags.value" | "tags.propagateatlaunch" | "tags.resourceid" | "tags.resourcetype" => None,
        _ => name
            .strip_prefix("tags.")
            .or_else(|| name.strip_prefix("Tags."))
            .filter(|key| !key.contains('.'))
            .map(|key| (key.to_owned(), text.clone())),
    };
    raw.iter().filter_map(tag).collect()
}
