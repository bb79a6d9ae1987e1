//! Secrets: external ones, which Secrets Manager or Systems Manager keeps. Their values are never in the document.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html>

use shared::Result;
use shared::doc::{At, Document};

use crate::model::Secret;

/// Reads a service's secrets.
pub fn read(doc: &Document, at: &At<'_>) -> Result<Vec<Secret>> {
    at.list()?.iter().map(|item| one(doc, item)).collect()
}

fn one(doc: &Document, item: &At<'_>) -> Result<Secret> {
    let missing = || item.wrong("secret-without-source", "the secret has no source. Add the name of a top-level secret");
    let source = if item.value().is_object() { item.key("source").ok_or_else(missing)? } else { item.clone() };
    for key in ["uid", "gid", "mode"].into_iter().filter(|key| item.key(key).is_some()) {
        doc.warn(
            "secret-file-owner",
            format!("{}.{key} has no effect: ECS passes secrets as environment variables, not as files", item.path()),
        );
    }
    let name = source.text()?;
    let variable = item.key("target").map_or(Ok(name), |at| at.text())?.rsplit('/').next().unwrap_or(name).to_owned();
    let top = doc.root().key("secrets").and_then(|all| all.key(name)).ok_or_else(|| {
        source.wrong("secret-missing", format!("there is no secret {name:?} at the top level. Add it to `secrets`, or remove this"))
    })?;
    if top.key("external").is_none_or(|external| external.value().as_bool() != Some(true)) {
        return Err(top.wrong(
            "secret-in-document",
            "the value of a secret must not be in the document. Store it in Secrets Manager or SSM and name it here (external: true, name: its ARN)",
        ));
    }
    let kept = top.key("name").map_or(Ok(name), |at| at.text())?;
    if !is_name(kept) {
        return Err(top.wrong(
            "secret-name",
            "the name must be an ARN, the name of a secret in Secrets Manager, or the path of an SSM parameter (/…). Set `name`",
        ));
    }
    Ok(Secret { variable, source: kept.to_owned() })
}

/// Returns whether Secrets Manager accepts this name, with the colons of an ARN.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
fn is_name(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_+=.@-:".contains(c))
}
