//! Where two JSON values differ, by path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// One path at which two values differ, with both as text.
#[derive(Debug)]
pub struct Difference {
    pub path: String,
    pub found: Option<String>,
    pub wanted: Option<String>,
    /// Whether only the path may be shown.
    pub is_secret: bool,
}

impl Difference {
    pub fn is_on_both_sides(&self) -> bool {
        self.found.is_some() && self.wanted.is_some()
    }
}

/// The keys by which AWS tells the items of a list apart, in the order in which they are tried.
const IDS: &[&str] = &[
    "name",
    "Name",
    "Sid",
    "rulePriority",
    "containerName",
    "containerPort",
    "containerPath",
    "hostname",
    "namespace",
    "deviceName",
    "DeviceName",
    "resourceType",
    "ResourceType",
    "key",
    "Key",
    "field",
];

/// Parts of names whose values may be secret, wherever they are.
const SECRET_NAMES: &[&str] = &["PASS", "PWD", "SECRET", "-TOKEN", "_TOKEN", "CREDENTIAL"];
/// The same for variables of the environment.
const SECRET_VARIABLES: &[&str] = &["TOKEN", "KEY", "PRIVATE", "AUTH", "DSN", "CONN", "WEBHOOK", "SALT", "SIGNATURE"];
/// Parts of texts that have a secret in them, as connection strings do.
const SECRET_TEXTS: &[&str] = &["password=", "passwd=", "pwd=", "secret=", "token=", "sig=", "apikey=", "api_key="];

/// Lists all paths at which the values differ. `null`, empty lists and empty objects count as not there.
pub fn walk(path: &str, found: Option<&Value>, wanted: Option<&Value>) -> Vec<Difference> {
    let mut all = Vec::new();
    compare(path, there(found), there(wanted), &mut all);
    all
}

fn there(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

fn compare(path: &str, found: Option<&Value>, wanted: Option<&Value>, all: &mut Vec<Difference>) {
    match (found, wanted) {
        (None, None) => {}
        (Some(Value::Object(found)), Some(Value::Object(wanted))) => fields(path, found, wanted, all),
        (Some(Value::Object(found)), None) => fields(path, found, &Map::new(), all),
        (None, Some(Value::Object(wanted))) => fields(path, &Map::new(), wanted, all),
        (Some(Value::Array(found)), Some(Value::Array(wanted))) => lists(path, found, wanted, all),
        (Some(Value::Array(found)), None) => lists(path, found, &[], all),
        (None, Some(Value::Array(wanted))) => lists(path, &[], wanted, all),
        (found, wanted) if found == wanted => {}
        (found, wanted) => all.push(Difference {
            is_secret: is_secret(path, found) || is_secret(path, wanted),
            path: path.to_owned(),
            found: found.map(text),
            wanted: wanted.map(text),
        }),
    }
}

fn fields(path: &str, found: &Map<String, Value>, wanted: &Map<String, Value>, all: &mut Vec<Difference>) {
    let others = found.keys().filter(|key| !wanted.contains_key(*key));
    for key in wanted.keys().chain(others) {
        compare(&below(path, key), there(found.get(key)), there(wanted.get(key)), all);
    }
}

fn lists(path: &str, found: &[Value], wanted: &[Value], all: &mut Vec<Difference>) {
    if let Some(id) = IDS.iter().find(|id| tells_apart(id, found) && tells_apart(id, wanted)) {
        let (found, wanted) = (by_id(id, found), by_id(id, wanted));
        let others = found.keys().filter(|key| !wanted.contains_key(*key));
        for key in wanted.keys().chain(others) {
            compare(&below(path, key), found.get(key), wanted.get(key), all);
        }
    } else if found.iter().chain(wanted).all(is_scalar) {
        scalars(path, found, wanted, all);
    } else {
        for i in 0..found.len().max(wanted.len()) {
            compare(&format!("{path}[{i}]"), found.get(i), wanted.get(i), all);
        }
    }
}

/// Of two lists of texts, those that only one of them has; or both, when only the order differs.
fn scalars(path: &str, found: &[Value], wanted: &[Value], all: &mut Vec<Difference>) {
    if found == wanted {
        return;
    }
    let texts = |these: &[Value], those: &[Value]| {
        let only: Vec<String> = these.iter().filter(|value| !those.contains(value)).map(text).collect();
        (!only.is_empty()).then(|| only.join(", "))
    };
    let (mut removed, mut added) = (texts(found, wanted), texts(wanted, found));
    if removed.is_none() && added.is_none() {
        (removed, added) = (texts(found, &[]), texts(wanted, &[]));
    }
    let is_secret = found.iter().chain(wanted).any(|value| is_secret(path, Some(value)));
    all.push(Difference { path: path.to_owned(), found: removed, wanted: added, is_secret });
}

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// Whether every item has this key, each with another value.
fn tells_apart(id: &str, items: &[Value]) -> bool {
    let mut seen = BTreeSet::new();
    items.iter().all(|item| item.get(id).filter(|value| is_scalar(value)).is_some_and(|value| seen.insert(text(value))))
}

/// The items by their id, which is left out; of a pair such as `{"name": …, "value": …}` only the value.
fn by_id(id: &str, items: &[Value]) -> BTreeMap<String, Value> {
    let item = |item: &Value| {
        let mut rest = item.as_object().cloned().unwrap_or_default();
        let key = rest.shift_remove(id).as_ref().map(text).unwrap_or_default();
        let rest = match ["value", "Value", "valueFrom"].iter().find(|value| rest.len() == 1 && rest.contains_key(**value)) {
            Some(value) => rest.shift_remove(*value).unwrap_or_default(),
            None => Value::Object(rest),
        };
        (key, rest)
    };
    items.iter().map(item).collect()
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn text(value: &Value) -> String {
    match value {
        // An empty text is not the same as none.
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a value must not be shown: ECS's secrets, names that say so, and texts with a password in them.
fn is_secret(path: &str, value: Option<&Value>) -> bool {
    let mut steps = path.split(['.', '[']);
    let name = path.rsplit('.').next().unwrap_or_default().to_uppercase();
    let of_environment = steps.clone().any(|step| step == "environment");
    let named = SECRET_NAMES.iter().any(|part| name.contains(part));
    let named = named || of_environment && (SECRET_VARIABLES.iter().any(|part| name.contains(part)) || path.contains("environment["));
    steps.any(|step| step == "secrets") || named || value.is_some_and(|value| has_secret(path, &text(value)))
}

fn has_secret(path: &str, text: &str) -> bool {
    let (lower, upper) = (text.to_lowercase(), text.to_uppercase());
    let address = text.split("://").skip(1).any(|rest| rest.split(['?', ' ', '"']).next().is_some_and(|rest| rest.contains('@')));
    let is_command = ["command", "entryPoint"].iter().any(|list| path.split('.').any(|step| step.split('[').next() == Some(list)));
    address || SECRET_TEXTS.iter().any(|part| lower.contains(part)) || is_command && SECRET_NAMES.iter().any(|part| upper.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(found: &Value, wanted: &Value) -> Vec<String> {
        walk("", Some(found), Some(wanted)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn things_with_names_are_compared_by_name() {
        let found = json!({"containers": [
            {"name": "web", "cpu": 256, "environment": [{"name": "A", "value": "1"}, {"name": "GREETING", "value": "hello"}]},
            {"name": "log", "cpu": 1}]});
        let wanted = json!({"containers": [
            {"name": "log", "cpu": 1, "mountPoints": []},
            {"name": "web", "cpu": 512, "environment": [{"name": "GREETING", "value": "good day"}, {"name": "B", "value": "2"}]}]});
        assert_eq!(
            said(&found, &wanted),
            [
                "containers.web.cpu: 256 -> 512",
                "containers.web.environment.B: none -> 2",
                "containers.web.environment.GREETING: hello -> good day",
                "containers.web.environment.A: 1 -> none",
            ]
        );
    }

    #[test]
    fn secrets_are_shown_by_name_only() {
        let env = |name: &str, value: &str| json!({"environment": [{"name": name, "value": value}]});
        assert_eq!(said(&env("DB_PASSWORD", "one"), &env("DB_PASSWORD", "two")), ["environment.DB_PASSWORD: changed"]);
        assert_eq!(said(&env("URL", "postgres://u:one@db/x"), &env("URL", "postgres://u:two@db/x")), ["environment.URL: changed"]);
        assert_eq!(said(&json!({}), &env("API_KEY", "two")), ["environment.API_KEY: added"]);
        assert_eq!(said(&json!({"secrets": [{"name": "T", "valueFrom": "arn"}]}), &json!({})), ["secrets.T: removed"]);
        for (name, value) in [
            ("MYSQL_PWD", "x"),
            ("CONNECTION", "Server=db;Password=x"),
            ("URL", "https://db/?user=a&password=b"),
            ("URL", "https://token@host/"),
            ("URL", "postgres://u:pa/ss@db"),
            ("SLACK_WEBHOOK", "https://hooks/1"),
        ] {
            assert_eq!(said(&json!({}), &env(name, value)), [format!("environment.{name}: added")], "{value}");
        }
        let options = |value: &str| json!({"logConfiguration": {"options": {"splunk-token": value}}});
        assert_eq!(said(&options("a"), &options("b")), ["logConfiguration.options.splunk-token: changed"]);
        let command = |value: &str| json!({"command": ["redis-server", "--requirepass", value]});
        assert_eq!(said(&command("a"), &command("b")), ["command: changed"]);
        let twice = json!({"environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]});
        assert!(said(&json!({}), &twice).iter().all(|line| line.ends_with(": added")));
        assert_eq!(said(&env("GREETING", "hello"), &env("GREETING", "good day")), ["environment.GREETING: hello -> good day"]);
    }

    #[test]
    fn lists_of_texts_show_what_came_and_what_went() {
        assert_eq!(said(&json!({"a": ["x", "y"]}), &json!({"a": ["y", "z"]})), ["a: x -> z"]);
        assert_eq!(said(&json!({"a": ["x", "y"]}), &json!({"a": ["y", "x"]})), ["a: x, y -> y, x"]);
        assert_eq!(said(&json!({"command": ["a", "a"]}), &json!({"command": ["a"]})), ["command: a, a -> a"]);
        assert_eq!(said(&json!({"a": [{"x": 1}, {"x": 1}]}), &json!({"a": [{"x": 1}, {"x": 2}]})), ["a[1].x: 1 -> 2"]);
    }

    #[test]
    fn nothing_and_empty_are_the_same() {
        assert_eq!(said(&json!({"a": [], "b": null, "c": {}}), &json!({})), Vec::<String>::new());
    }
}
