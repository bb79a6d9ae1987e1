//! IAM policies: the one that a tool needs, printed by `--policy`, and those that IAM returns.

use serde_json::{Value, json};

/// Some actions on some resources. `{app}` in a resource is replaced by the app's name; account and region stay open.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    pub sid: &'static str,
    pub actions: &'static [&'static str],
    pub on: &'static [&'static str],
}

/// Returns the policy document. Without an app it is for all apps of the account.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>
#[must_use]
pub fn document(grants: &[Grant], app: Option<&str>) -> Value {
    let identity = Grant { sid: "WhoAmI", actions: &["sts:GetCallerIdentity"], on: &["*"] };
    let statements: Vec<Value> = std::iter::once(&identity)
        .chain(grants)
        .map(|grant| {
            let on: Vec<String> = grant.on.iter().map(|resource| resource.replace("{app}", app.unwrap_or("*"))).collect();
            json!({"Sid": grant.sid, "Effect": "Allow", "Action": grant.actions, "Resource": on})
        })
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Returns a policy as it can be compared: IAM returns lists in another order, and a single item with or without its list.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>
#[must_use]
pub fn comparable(policy: &Value) -> Value {
    let Value::Object(fields) = policy else { return policy.clone() };
    let field = |(key, value): (&String, &Value)| {
        (key.clone(), if key == "Statement" { sorted(items(value).into_iter().map(statement)) } else { value.clone() })
    };
    fields.iter().map(field).collect()
}

/// Returns the names of a policy's statements, or how many there are.
#[must_use]
pub fn names(policy: &Value) -> String {
    let statements = policy.get("Statement").map(items).unwrap_or_default();
    let names: Vec<&str> = statements.iter().filter_map(|statement| statement.get("Sid")?.as_str()).collect();
    if names.len() == statements.len() { names.join(", ") } else { format!("{} statements", statements.len()) }
}

fn statement(statement: &Value) -> Value {
    let Value::Object(fields) = statement else { return statement.clone() };
    let field =
        |(key, value): (&String, &Value)| (key.clone(), if key == "Sid" || key == "Effect" { value.clone() } else { listed(value) });
    fields.iter().map(field).collect()
}

/// Every value as a sorted list.
fn listed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), listed(value))).collect(),
        value => sorted(items(value).into_iter().cloned()),
    }
}

fn items(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())
}

fn sorted(items: impl Iterator<Item = Value>) -> Value {
    let mut items: Vec<Value> = items.collect();
    items.sort_by_key(Value::to_string);
    items.into()
}

/// Reads a policy as IAM returns it, percent-encoded (RFC 3986).
#[must_use]
pub fn decode(text: &str) -> Option<Value> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    serde_json::from_str(&decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::comparable;
    use serde_json::json;

    #[test]
    fn lists_are_sets_and_one_item_needs_no_list() {
        let statement = |statement| comparable(&json!({"Version": "2012-10-17", "Statement": statement}));
        let ours = statement(json!([{"Action": ["b", "a"], "Resource": ["*"], "Principal": {"Service": ["x"]}}]));
        let theirs = statement(json!({"Resource": "*", "Action": ["a", "b"], "Principal": {"Service": "x"}}));
        assert_eq!(ours, theirs);
        assert_ne!(ours, statement(json!([{"Action": ["a"], "Resource": "*", "Principal": {"Service": "x"}}])));
    }
}
