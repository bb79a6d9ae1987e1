//! Decides as IAM does whether a policy allows a request.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>

use std::collections::BTreeMap;

use serde_json::Value;

/// One action on one resource. A call may need several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub action: String,
    pub resource: String,
    /// The condition keys that have a value. One without a value is not there.
    pub keys: BTreeMap<String, Vec<String>>,
}

/// Returns whether a statement allows the request, and none denies it.
pub fn allows(policy: &Value, request: &Request) -> bool {
    let applies = |effect: &str| items(&policy["Statement"]).any(|statement| statement["Effect"] == effect && matches(statement, request));
    applies("Allow") && !applies("Deny")
}

fn matches(statement: &Value, request: &Request) -> bool {
    // Actions match in any case, resources do not.
    let action = request.action.to_lowercase();
    texts(&statement["Action"]).any(|pattern| like(&pattern.to_lowercase(), &action))
        && texts(&statement["Resource"]).any(|pattern| like(pattern, &request.resource))
        && conditions(statement).all(|(operator, key, wanted)| holds(operator, request.keys.get(key), wanted))
}

fn conditions(statement: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let operators = statement["Condition"].as_object().into_iter().flatten();
    operators
        .flat_map(|(operator, keys)| keys.as_object().into_iter().flatten().map(|(key, wanted)| (operator.as_str(), key.as_str(), wanted)))
}

/// Returns whether one of the wanted values is the value of the key. A key without a value matches only `Null` and `…IfExists`.
fn holds(operator: &str, found: Option<&Vec<String>>, wanted: &Value) -> bool {
    if operator == "Null" {
        return texts(wanted).any(|wanted| (wanted == "true") == found.is_none());
    }
    let (operator, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |operator| (operator, true));
    let Some(found) = found else { return if_exists };
    let is = |found: &String| {
        texts(wanted).any(|wanted| match operator {
            "StringEquals" | "Bool" => wanted == found,
            "StringLike" | "ArnLike" | "ArnEquals" => like(wanted, found),
            _ => unreachable!("the evaluator does not know the operator {operator}"),
        })
    };
    found.iter().any(is)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice).iter()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

/// Returns whether the text is like the pattern: `*` is any text, `?` any character.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_at_checked(1) {
        Some(("*", rest)) => (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| like(rest, &text[at..])),
        Some((first, rest)) => text.split_at_checked(1).is_some_and(|(head, tail)| (first == "?" || first == head) && like(rest, tail)),
        None => pattern.is_empty() && text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Request, allows, like};

    #[test]
    fn a_request_is_allowed_when_everything_matches() {
        let tag = "aws:ResourceTag/app";
        let statement = json!({"Effect": "Allow", "Action": ["ec2:Delete*"], "Resource": "arn:*:vpc/*", "Condition": {"StringEquals": {tag: ["a", "b"]}}});
        let policy = json!({"Statement": [statement]});
        let request = |action: &str, resource: &str, tags: &[&str]| Request {
            action: action.to_owned(),
            resource: resource.to_owned(),
            keys: tags.iter().map(|value| (tag.to_owned(), vec![(*value).to_owned()])).collect(),
        };
        assert!(allows(&policy, &request("ec2:deleteVpc", "arn:aws:vpc/1", &["b"])));
        for (action, resource, tags) in [
            ("ec2:CreateVpc", "arn:aws:vpc/1", &["b"][..]),
            ("ec2:DeleteVpc", "arn:aws:subnet/1", &["b"]),
            ("ec2:DeleteVpc", "arn:aws:vpc/1", &["c"]),
            ("ec2:DeleteVpc", "arn:aws:vpc/1", &[]),
        ] {
            assert!(!allows(&policy, &request(action, resource, tags)), "{action} {resource} {tags:?}");
        }
        let denied =
            json!({"Statement": [statement, {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Null": {tag: "false"}}}]});
        assert!(!allows(&denied, &request("ec2:DeleteVpc", "arn:aws:vpc/1", &["b"])));
    }

    #[test]
    fn patterns_match_whole_texts() {
        assert!(like("a*c?", "abbcd") && like("*", "") && !like("a*c", "abd") && !like("a", "ab") && !like("ab", "a"));
    }
}
