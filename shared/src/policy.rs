//! IAM policies: the one that a tool needs, printed by `--policy`, and reading those that IAM gives.

use serde_json::{Value, json};

/// Some actions on some resources. `{app}` in a resource stands for the app's name; account and region stay open.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    pub sid: &'static str,
    pub actions: &'static [&'static str],
    pub on: &'static [&'static str],
}

/// The policy document. Without an app it is for all apps of the account.
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

/// A policy as it can be compared: IAM gives lists back in another order, and one thing as it is or in a list.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>
#[must_use]
pub fn plain(policy: &Value) -> Value {
    match policy {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            if items.len() == 1 { items.remove(0) } else { items.into() }
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

/// IAM gives policies percent-encoded (RFC 3986).
#[must_use]
pub fn decode(text: &str) -> Option<Value> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    serde_json::from_str(&decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::plain;
    use serde_json::json;

    #[test]
    fn lists_are_sets_and_one_is_no_list() {
        let (ours, theirs) = (json!({"Action": ["b", "a"], "Resource": ["*"]}), json!({"Resource": "*", "Action": ["a", "b"]}));
        assert_eq!(plain(&ours), plain(&theirs));
        assert_ne!(plain(&ours), plain(&json!({"Action": ["a"], "Resource": "*"})));
    }
}
