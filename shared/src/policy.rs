//! IAM policies: the one that a tool needs, printed by `--policy`, and those that IAM returns.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::tag::TAG_APP;

/// Some actions on some resources, under conditions. In resources and values, `{app}` is replaced by the app's name and `{…}` by what
/// the settings name; account and region stay open. A grant for something that no setting names is left out.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    pub sid: &'static str,
    pub actions: &'static [&'static str],
    pub on: &'static [&'static str],
    pub when: &'static [When],
}

/// A condition. A key that AWS does not support for the action denies everything, so each is looked up in the Service Authorization Reference.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// The resource has the tag of the app.
    Ours,
    /// The name says that the resource is of the app. A policy for all apps needs the tag for that.
    OursByName,
    /// The request sets the tag of the app.
    Tagged,
    /// The resource has no tag of an app.
    Untagged,
    /// The key has one of these values.
    Is(&'static str, &'static [&'static str]),
    /// The key is true.
    True(&'static str),
    /// With `permissions_boundary`, the role has that boundary.
    Bounded,
    /// There is no `permissions_boundary`.
    Unbounded,
}

/// What the settings name, by its placeholder in a [`Grant`].
pub type Named = BTreeMap<&'static str, Vec<String>>;

/// The placeholder of the permissions boundary.
pub const BOUNDARY: &str = "{boundary}";

/// Returns the settings that are set.
#[must_use]
pub fn named_once(settings: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Named {
    settings.into_iter().filter_map(|(placeholder, value)| Some((placeholder, vec![value?]))).collect()
}

/// Returns the policy document. Without an app it is for all apps of the account.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>
#[must_use]
pub fn document(grants: &[Grant], app: Option<&str>, named: &Named) -> Value {
    let identity = Grant { sid: "WhoAmI", actions: &["sts:GetCallerIdentity"], on: &["*"], when: &[] };
    let mut statements: Vec<Statement> = Vec::new();
    for next in std::iter::once(&identity).chain(grants).filter_map(|grant| allowed(grant, app, named)) {
        // What the same condition allows on the same resources is one statement, as IAM counts the characters of a policy.
        match statements.iter_mut().find(|one| one.on == next.on && one.conditions == next.conditions) {
            Some(same) => same.actions.extend(next.actions),
            None => statements.push(next),
        }
    }
    json!({"Version": "2012-10-17", "Statement": statements.iter().map(Statement::json).collect::<Vec<_>>()})
}

struct Statement {
    sid: &'static str,
    actions: BTreeSet<&'static str>,
    on: Vec<String>,
    conditions: Map<String, Value>,
}

impl Statement {
    fn json(&self) -> Value {
        let actions: Vec<_> = self.actions.iter().collect();
        let mut statement = json!({"Sid": self.sid, "Effect": "Allow", "Action": one_or_all(&actions), "Resource": one_or_all(&self.on)});
        if !self.conditions.is_empty() {
            statement["Condition"] = self.conditions.clone().into();
        }
        statement
    }
}

fn allowed(grant: &Grant, app: Option<&str>, named: &Named) -> Option<Statement> {
    let on = filled(grant.on, app, named);
    let mut conditions: Map<String, Value> = Map::new();
    for when in grant.when {
        let (operator, key, values) = match when {
            When::OursByName if app.is_some() => continue,
            When::Bounded if !named.contains_key(BOUNDARY) => continue,
            When::Unbounded if named.contains_key(BOUNDARY) => return None,
            When::Unbounded => continue,
            When::Ours | When::OursByName => tag("ResourceTag", app),
            When::Tagged => tag("RequestTag", app),
            When::Untagged => ("Null", format!("aws:ResourceTag/{TAG_APP}"), vec!["true".to_owned()]),
            When::Is(key, values) => {
                let values = filled(values, app, named);
                let operator = if values.iter().any(|value| value.starts_with("arn:")) { "ArnLike" } else { "StringEquals" };
                (operator, (*key).to_owned(), values)
            }
            When::True(key) => ("Bool", (*key).to_owned(), vec!["true".to_owned()]),
            When::Bounded => ("ArnLike", "iam:PermissionsBoundary".to_owned(), filled(&[BOUNDARY], app, named)),
        };
        if values.is_empty() {
            return None;
        }
        conditions.entry(operator).or_insert_with(|| json!({}))[key] = one_or_all(&values);
    }
    let statement = Statement { sid: grant.sid, actions: grant.actions.iter().copied().collect(), on, conditions };
    (!statement.on.is_empty()).then_some(statement)
}

/// A list of one item is written without the list.
fn one_or_all<T: Serialize>(texts: &[T]) -> Value {
    if let [one] = texts { json!(one) } else { json!(texts) }
}

/// Without an app, the tag must exist.
fn tag(of: &str, app: Option<&str>) -> (&'static str, String, Vec<String>) {
    (if app.is_some() { "StringEquals" } else { "StringLike" }, format!("aws:{of}/{TAG_APP}"), vec![app.unwrap_or("*").to_owned()])
}

fn filled(texts: &[&str], app: Option<&str>, named: &Named) -> Vec<String> {
    let fill = |text: &&str| {
        let text = text.replace("{app}", app.unwrap_or("*"));
        let Some((start, rest)) = text.split_once('{') else { return vec![text] };
        let Some((name, end)) = rest.split_once('}') else { return vec![text] };
        let values = named.get(format!("{{{name}}}").as_str()).into_iter().flatten();
        values.map(|value| format!("{start}{value}{end}")).collect()
    };
    texts.iter().flat_map(fill).collect()
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
    use super::{BOUNDARY, Grant, Named, When, comparable, document};
    use serde_json::json;

    #[test]
    fn a_grant_without_what_it_needs_is_left_out() {
        let on = &["arn:*:iam::*:role/{app}-*"];
        let grants = [
            Grant { sid: "A", actions: &["iam:CreateRole"], on, when: &[When::Tagged, When::Bounded] },
            Grant {
                sid: "B",
                actions: &["iam:AttachRolePolicy"],
                on,
                when: &[When::OursByName, When::Is("iam:PolicyARN", &["{policies}"])],
            },
            Grant { sid: "C", actions: &["iam:DeleteRolePermissionsBoundary"], on, when: &[When::Ours, When::Unbounded] },
            Grant { sid: "D", actions: &["kms:CreateGrant"], on: &["{key}"], when: &[When::True("kms:GrantIsForAWSResource")] },
        ];
        let conditions = |app, named: &Named| {
            let policy = document(&grants, app, named);
            let statements = policy["Statement"].as_array().cloned().unwrap_or_default().into_iter().skip(1);
            statements.map(|statement| json!([statement["Sid"], statement["Resource"], statement["Condition"]])).collect::<Vec<_>>()
        };
        let (request, resource) = ("aws:RequestTag/ecs-pipe:app", "aws:ResourceTag/ecs-pipe:app");
        assert_eq!(
            conditions(Some("shop"), &Named::new()),
            [
                json!(["A", "arn:*:iam::*:role/shop-*", {"StringEquals": {request: "shop"}}]),
                json!(["C", "arn:*:iam::*:role/shop-*", {"StringEquals": {resource: "shop"}}]),
            ]
        );
        let arns = |arns: &[&str]| arns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let named = Named::from([("{policies}", arns(&["arn:p", "arn:q"])), (BOUNDARY, arns(&["arn:b"])), ("{key}", arns(&["arn:k"]))]);
        assert_eq!(
            conditions(None, &named),
            [
                json!(["A", "arn:*:iam::*:role/*-*", {"StringLike": {request: "*"}, "ArnLike": {"iam:PermissionsBoundary": "arn:b"}}]),
                json!(["B", "arn:*:iam::*:role/*-*", {"StringLike": {resource: "*"}, "ArnLike": {"iam:PolicyARN": ["arn:p", "arn:q"]}}]),
                json!(["D", "arn:k", {"Bool": {"kms:GrantIsForAWSResource": "true"}}]),
            ]
        );
    }

    #[test]
    fn lists_are_sets_and_one_item_needs_no_list() {
        let statement = |statement| comparable(&json!({"Version": "2012-10-17", "Statement": statement}));
        let ours = statement(json!([{"Action": ["b", "a"], "Resource": ["*"], "Principal": {"Service": ["x"]}}]));
        let theirs = statement(json!({"Resource": "*", "Action": ["a", "b"], "Principal": {"Service": "x"}}));
        assert_eq!(ours, theirs);
        assert_ne!(ours, statement(json!([{"Action": ["a"], "Resource": "*", "Principal": {"Service": "x"}}])));
    }
}
