//! Secrets: as files in `/run/secrets`, or as environment variables. Secrets Manager or Systems Manager keeps the values; those that come from a file or
//! a variable are put there by svc-deploy. No value is ever in the document.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html>

use shared::Result;
use shared::doc::file::{self, FileEntry};
use shared::doc::{At, Document, mount};

use super::limit::check_parameter;
use crate::model::{Parameter, Secret, SecretFile, SecretValue};

/// The folder in which Compose shows secrets.
const FOLDER: &str = "/run/secrets";
/// Bytes of the largest value that Systems Manager keeps.
/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html>
const LARGEST: usize = 8192;

/// The secrets of a container.
#[derive(Default)]
pub struct Secrets {
    pub variables: Vec<Secret>,
    pub files: Vec<SecretFile>,
    pub parameters: Vec<Parameter>,
}

/// How the secrets of a service are read.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Files, or else variables.
    pub files: bool,
    /// Whether the service is deployed, so that its values are needed.
    pub values: bool,
}

/// Reads a container's secrets.
pub fn read(doc: &Document, list: &At<'_>, reading: Reading) -> Result<Secrets> {
    let mut secrets = Secrets::default();
    for entry in file::entries(doc, list, "secrets", "secret")? {
        let source = source(doc, &entry)?;
        if reading.files {
            secrets.files.push(file(&entry, source.name.clone())?);
        } else {
            let variable = entry.target.unwrap_or(entry.name).rsplit('/').next().unwrap_or(entry.name).to_owned();
            secrets.variables.push(Secret { variable, source: source.name.clone() });
        }
        if source.is_ours && reading.values {
            secrets.parameters.push(Parameter { name: source.name, value: value(&entry.top)? });
        }
    }
    Ok(secrets)
}

/// Where a value is kept.
struct Source {
    /// An ARN, the path of a parameter, or the name of a secret.
    name: String,
    /// Whether svc-deploy puts the value there.
    is_ours: bool,
}

fn source(doc: &Document, entry: &FileEntry<'_>) -> Result<Source> {
    let FileEntry { top, name, .. } = entry;
    if top.key("file").is_some() || top.key("environment").is_some() {
        check_parameter(name, top)?;
        return Ok(Source { name: format!("/ecs-pipe/{}/{name}", doc.name()?), is_ours: true });
    }
    if top.key("external").is_none_or(|external| external.value().as_bool() != Some(true)) {
        return Err(top.wrong(
            "secret-in-document",
            "the value of a secret must not be in the document. Use `file` or `environment`, or store it in Secrets Manager or SSM and name it here (external: true, name: its ARN)",
        ));
    }
    let kept = top.key("name").map_or(Ok(*name), |at| at.text())?;
    if !is_name(kept) {
        return Err(top.wrong(
            "secret-name",
            "the name must be an ARN, the name of a secret in Secrets Manager, or the path of an SSM parameter (/…). Set `name`",
        ));
    }
    Ok(Source { name: kept.to_owned(), is_ours: false })
}

fn file(entry: &FileEntry<'_>, source: String) -> Result<SecretFile> {
    let written = entry.target.unwrap_or(entry.name);
    let whole = if written.starts_with('/') { written.to_owned() } else { format!("{FOLDER}/{written}") };
    let whole = mount::target(&entry.place, &whole)?;
    let Some(path) = whole.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/')) else {
        return Err(entry.place.wrong(
            "secret-target",
            format!("the target must be below {FOLDER}, because ECS can't mount a single file; found {written:?}. Remove the target, and set the path {FOLDER}/{} in the app", entry.name),
        ));
    };
    Ok(SecretFile { source, path: path.to_owned(), mode: entry.mode, uid: entry.uid, gid: entry.gid })
}

/// Reads the value. Messages say what is wrong with it, but never what it is.
fn value(top: &At<'_>) -> Result<SecretValue> {
    let bytes = file::content(top)?.unwrap_or_default();
    if bytes.is_empty() {
        return Err(
            top.wrong("secret-empty", "the value is empty, and Systems Manager keeps no empty values. Set a value, or remove the secret")
        );
    } else if bytes.len() > LARGEST {
        let what = format!(
            "the value must have at most {LARGEST} bytes, because Systems Manager keeps no larger ones; found {}. Store it in Secrets Manager (64 KiB) and name it here (external: true, name: its ARN)",
            bytes.len()
        );
        return Err(top.wrong("secret-size", what));
    }
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| {
        top.wrong(
            "secret-not-text",
            "the value must be text in UTF-8 without null bytes, because ECS passes it in a variable. Encode it, for example as base64",
        )
    })?;
    if text.contains("{{") {
        return Err(top.wrong(
            "secret-braces",
            "the value must not contain \"{{\", which Systems Manager refuses. Store it in Secrets Manager and name it here (external: true, name: its ARN)",
        ));
    }
    Ok(SecretValue(text))
}

/// Returns whether Secrets Manager accepts this name, with the colons of an ARN.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
fn is_name(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_+=.@-:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secrets(top: &Value, entry: &Value, files: bool) -> Result<Secrets, String> {
        let doc = json!({"name": "shop", "secrets": {"token": top}, "list": [entry]});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        read(&doc, &doc.root().key("list").unwrap(), Reading { files, values: true }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_is_a_file_below_run_secrets() {
        let external = json!({"external": true, "name": "shop/token"});
        for (entry, path, mode, uid) in [
            (json!("token"), "token", 0o444, 0),
            (json!({"source": "token", "target": "db/password", "mode": "0400", "uid": "999"}), "db/password", 0o400, 999),
            (json!({"source": "token", "target": "/run/secrets/key"}), "key", 0o444, 0),
        ] {
            let read = secrets(&external, &entry, true).unwrap();
            let file = SecretFile { source: "shop/token".to_owned(), path: path.to_owned(), mode, uid, gid: 0 };
            assert_eq!((read.files, read.variables.len(), read.parameters.len()), (vec![file], 0, 0), "{entry}");
        }
        let elsewhere = secrets(&external, &json!({"source": "token", "target": "/etc/token"}), true).err().unwrap_or_default();
        assert!(elsewhere.contains("list[0]: the target must be below /run/secrets"), "{elsewhere}");
    }

    #[test]
    fn a_secret_may_be_a_variable() {
        let read = secrets(&json!({"external": true}), &json!({"source": "token", "target": "/run/secrets/KEY"}), false).unwrap();
        assert_eq!(read.variables, [Secret { variable: "KEY".to_owned(), source: "token".to_owned() }]);
        assert!(read.files.is_empty());
    }

    #[test]
    fn a_value_of_a_file_is_kept_in_systems_manager_byte_for_byte() {
        let path = std::env::temp_dir().join(format!("svc-deploy-secret-{}", std::process::id()));
        let top = json!({"file": path});
        let with = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            secrets(&top, &json!("token"), true)
        };
        let value = "pa$$5 \"'\n ä\n";
        let read = with(value.as_bytes()).unwrap();
        assert_eq!(read.parameters, [Parameter { name: "/ecs-pipe/shop/token".to_owned(), value: SecretValue(value.to_owned()) }]);
        assert_eq!(read.files[0].source, "/ecs-pipe/shop/token");
        assert!(!format!("{:?}", read.parameters).contains("pa$"), "no message has the value");
        for (bytes, said) in [
            (vec![], "the value is empty"),
            (vec![b'x'; 8193], "the value must have at most 8192 bytes"),
            (vec![0xff], "must be text in UTF-8"),
            (vec![b'a', 0], "must be text in UTF-8"),
            (b"hunter2{{x}}".to_vec(), "must not contain \"{{\""),
        ] {
            let found = with(&bytes).err().unwrap_or_default();
            assert!(found.contains(said) && found.contains("secrets.token") && !found.contains("hunter2"), "{found}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_wrong_secret_is_reported_with_its_place() {
        for (top, entry, said) in [
            (json!({"content": "hunter2"}), json!("token"), "secrets.token: the value of a secret must not be in the document"),
            (json!({"external": true, "name": "a b"}), json!("token"), "secrets.token: the name must be an ARN"),
            (
                json!({"environment": "NO_SUCH_VARIABLE"}),
                json!("token"),
                "secrets.token.environment: the environment variable NO_SUCH_VARIABLE",
            ),
            (json!({"file": "./no-such-file"}), json!("token"), "secrets.token.file: could not read the file ./no-such-file"),
            (json!({"external": true}), json!("other"), "list[0]: there is no secret \"other\""),
        ] {
            let found = secrets(&top, &entry, true).err().unwrap_or_default();
            assert!(found.contains(said) && !found.contains("hunter2"), "{found}");
        }
    }
}
