//! Files that a service gets by name: entries of `configs` and `secrets`, with the content that the top level names.
//! <https://github.com/compose-spec/compose-spec/blob/main/08-configs.md>, <https://github.com/compose-spec/compose-spec/blob/main/09-secrets.md>

use std::path::Path;

use serde_json::Value;

use super::at::At;
use super::document::Document;
use super::mount::{MountSource, mounts, target};
use crate::error::Result;

/// An entry of `configs` or `secrets` of a service.
#[derive(Debug, Clone)]
pub struct FileEntry<'a> {
    pub place: At<'a>,
    /// The name at the top level.
    pub name: &'a str,
    /// What the top level says of it.
    pub top: At<'a>,
    pub target: Option<&'a str>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Everybody may read, as Compose does it without `mode`.
const MODE: u32 = 0o444;

/// Reads `configs` or `secrets` of a service in the short and the long form. `kind` is the key, and `one` is what messages call an entry.
///
/// # Errors
/// Says which entry is not valid, and which is not at the top level.
pub fn entries<'a>(doc: &'a Document, list: &At<'a>, kind: &str, one: &str) -> Result<Vec<FileEntry<'a>>> {
    list.list()?.into_iter().map(|place| entry(doc, place, kind, one)).collect()
}

fn entry<'a>(doc: &'a Document, place: At<'a>, kind: &str, one: &str) -> Result<FileEntry<'a>> {
    let missing = || place.wrong("file-without-source", format!("the {one} has no source. Add the name of a {one} of the top level"));
    let source = if place.value().is_object() { place.key("source").ok_or_else(missing)? } else { place.clone() };
    let name = source.text()?;
    let top = doc.root().key(kind).and_then(|all| all.key(name)).ok_or_else(|| {
        source.wrong("file-not-at-top-level", format!("there is no {one} {name:?} at the top level. Add it to `{kind}`, or remove this"))
    })?;
    let owner = |key: &str| place.key(key).map_or(Ok(0), |at| at.whole(0..=i32::MAX)).map(i32::unsigned_abs);
    let target = place.key("target").map(|at| at.text()).transpose()?;
    let mode = place.key("mode").map_or(Ok(MODE), |at| mode(&at))?;
    Ok(FileEntry { name, top, target, mode, uid: owner("uid")?, gid: owner("gid")?, place })
}

/// Reads a file's mode: octal digits as text (`"0440"`), or the number that they mean (288).
fn mode(at: &At<'_>) -> Result<u32> {
    let mode = match at.value() {
        Value::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        value => value.as_u64().and_then(|mode| u32::try_from(mode).ok()),
    };
    mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| at.expected("file-mode", "the mode of a file in octal digits, for example \"0440\""))
}

/// Returns where in the image of a service its configs and the files of the project are, sorted.
///
/// # Errors
/// Says which entry is not valid.
pub fn in_image(service: &At<'_>) -> Result<Vec<String>> {
    let mounts = mounts(service)?.into_iter().filter(|mount| matches!(mount.source, MountSource::File(_) | MountSource::Folder(_)));
    let mut targets: Vec<String> = mounts.map(|mount| mount.target).collect();
    for config in service.key("configs").map_or(Ok(Vec::new()), |at| at.list())? {
        targets.push(config_target(&config)?);
    }
    targets.sort();
    Ok(targets)
}

/// Returns where a config is in the container: at its target, and otherwise at its name below the root.
///
/// # Errors
/// Fails for a target that is not a path.
pub fn config_target(config: &At<'_>) -> Result<String> {
    let written = match config.value() {
        Value::Object(_) => config.key("target").or_else(|| config.key("source")).map_or(Ok(""), |at| at.text())?,
        _ => config.text()?,
    };
    target(config, &if written.starts_with('/') { written.to_owned() } else { format!("/{written}") })
}

/// Returns the content that the top level names: of a file, or of an environment variable. `None` when it names neither.
///
/// # Errors
/// Fails when the file is not readable, or the variable is not set. The message never has the content.
pub fn content(top: &At<'_>) -> Result<Option<Vec<u8>>> {
    if let Some(file) = top.key("file") {
        let path = Path::new(file.text()?);
        return std::fs::read(path).map(Some).map_err(|error| {
            let what = format!(
                "could not read the file {}: {error}. Create it, or run this tool in the folder to which the path is relative",
                path.display()
            );
            file.wrong("file-unreadable", what)
        });
    }
    let Some(variable) = top.key("environment") else { return Ok(None) };
    let name = variable.text()?;
    match std::env::var_os(name) {
        Some(value) => Ok(Some(value.into_encoded_bytes())),
        None => Err(variable
            .wrong("file-variable-missing", format!("the environment variable {name} is not set. Set it, and run the same command again"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(entry: &Value) -> Result<(String, Option<String>, u32, u32, u32), String> {
        let doc = json!({"configs": {"site": {"content": "x"}}, "list": [entry]});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let list = doc.root().key("list").unwrap();
        let mut read = entries(&doc, &list, "configs", "config").map_err(|error| error.to_string())?;
        let FileEntry { name, target, mode, uid, gid, .. } = read.remove(0);
        Ok((name.to_owned(), target.map(str::to_owned), mode, uid, gid))
    }

    #[test]
    fn both_forms_are_read() {
        let site = |target: Option<&str>, mode, uid, gid| Ok(("site".to_owned(), target.map(str::to_owned), mode, uid, gid));
        assert_eq!(read(&json!("site")), site(None, 0o444, 0, 0));
        assert_eq!(
            read(&json!({"source": "site", "target": "/a", "mode": "0440", "uid": "103", "gid": 7})),
            site(Some("/a"), 0o440, 103, 7)
        );
        assert_eq!(read(&json!({"source": "site", "mode": 288})), site(None, 0o440, 0, 0));
        assert_eq!(read(&json!({"source": "site", "mode": "0o400"})), site(None, 0o400, 0, 0));
        for (entry, said) in [
            (json!({"target": "/a"}), "list[0]: the config has no source"),
            (json!("other"), "list[0]: there is no config \"other\" at the top level"),
            (json!({"source": "site", "mode": "rw"}), "list[0].mode: must be the mode of a file in octal digits"),
            (json!({"source": "site", "mode": 65536}), "list[0].mode: must be the mode of a file in octal digits"),
            (json!({"source": "site", "uid": "www-data"}), "list[0].uid: must be a whole number"),
        ] {
            let found = read(&entry).err().unwrap_or_default();
            assert!(found.contains(said), "{entry}: {found}");
        }
    }

    #[test]
    fn the_content_is_that_of_a_file_or_a_variable() {
        let path = std::env::temp_dir().join(format!("file-content-{}", std::process::id()));
        std::fs::write(&path, [0xff, b'\n']).unwrap();
        let of = |top: &Value| {
            let doc = Document::parse(json!({"top": top}).to_string().as_bytes()).unwrap();
            content(&doc.root().key("top").unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(of(&json!({"file": path})), Ok(Some(vec![0xff, b'\n'])));
        std::fs::remove_file(&path).unwrap();
        assert!(of(&json!({"file": path})).unwrap_err().contains("top.file: could not read the file"));
        assert_eq!(of(&json!({"environment": "PATH"})), Ok(std::env::var("PATH").ok().map(String::into_bytes)));
        assert!(of(&json!({"environment": "NO_SUCH_VARIABLE"})).unwrap_err().contains("NO_SUCH_VARIABLE is not set"));
        assert_eq!(of(&json!({"external": true})), Ok(None));
    }
}
