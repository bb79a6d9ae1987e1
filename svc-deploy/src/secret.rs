//! Secrets: external ones, that Secrets Manager or Systems Manager keeps. Their values never come near the document.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html>

use serde_json::Value;
use shared::doc::{At, Document};
use shared::{Result, Run};

/// A service's secrets as `(variable, ARN or name)`.
pub fn read(doc: &Document, at: &At<'_>) -> Result<Vec<(String, String)>> {
    at.list()?.iter().map(|item| one(doc, item)).collect()
}

fn one(doc: &Document, item: &At<'_>) -> Result<(String, String)> {
    let source =
        if item.value().is_object() { item.key("source").ok_or_else(|| item.wrong("a secret without source"))? } else { item.clone() };
    for key in ["uid", "gid", "mode"].into_iter().filter(|key| item.key(key).is_some()) {
        doc.warn(format!("{}.{key} has no effect: ECS gives secrets as environment variables, not as files", item.path()));
    }
    let name = source.text()?;
    let variable = item.key("target").map_or(Ok(name), |at| at.text())?.rsplit('/').next().unwrap_or(name).to_owned();
    let top = doc
        .root()
        .key("secrets")
        .and_then(|all| all.key(name))
        .ok_or_else(|| source.wrong(format!("there is no secret {name:?} at the top level")))?;
    if top.key("external").is_none_or(|external| external.value().as_bool() != Some(true)) {
        return Err(top.wrong(
            "a secret's value does not belong into the document: put it into Secrets Manager or SSM and name it here (external: true, name: its ARN)",
        ));
    }
    let kept = top.key("name").map_or(Ok(name), |at| at.text())?;
    if !is_name(kept) {
        return Err(top.wrong("its name is no ARN, no name of a secret in Secrets Manager, and no path of an SSM parameter (/…)"));
    }
    Ok((variable, kept.to_owned()))
}

/// What Secrets Manager takes, with the colons of an ARN.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
fn is_name(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_+=.@-:".contains(c))
}

/// Its full ARN: a path (`/…`) is an SSM parameter's, any other name is that of a secret. Secrets Manager knows a secret also without the six
/// letters that its ARN ends in.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen>
pub fn arn(run: &Run, name: &str) -> Result<String> {
    match name {
        arn if arn.starts_with("arn:") => Ok(arn.to_owned()),
        path if path.starts_with('/') => run.arn("ssm", &format!("parameter{path}")),
        name => run.arn("secretsmanager", &format!("secret:{name}")),
    }
}

/// Puts the ARNs where a container definition has names.
pub fn resolve(run: &Run, container: &mut Value) -> Result<()> {
    for secret in container.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(name) = secret["valueFrom"].as_str() {
            secret["valueFrom"] = arn(run, name)?.into();
        }
    }
    Ok(())
}
