//! Files that change with each commit or deployment, although the app does not: Git's folder, and the documents that the tools write. If they were
//! part of a tag, each deployment would make new images.

use serde_json::Value;

use crate::tree::{Found, Kind};

/// The largest document that is recognized, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Returns the path of the record that a file is, or is part of.
pub fn record_of(found: &Found) -> Option<&str> {
    let mut end = 0;
    for step in found.name.split('/') {
        end += step.len();
        if step == ".git" {
            return Some(&found.name[..end]);
        }
        end += 1;
    }
    is_document(found).then_some(&found.name)
}

/// Returns whether a file is a document of this project. The shell empties the file to which the last tool of a pipe writes before the first
/// one starts, so an empty file is one, too.
pub fn is_document(found: &Found) -> bool {
    if found.kind != Kind::File || found.path.extension() != Some("json".as_ref()) || found.size > LARGEST {
        return false;
    }
    let Ok(text) = std::fs::read(&found.path) else { return false };
    let is_written = |value: Value| value["name"].is_string() && value["aws"]["account"].is_string() && value["aws"]["region"].is_string();
    text.is_empty() || serde_json::from_slice(&text).is_ok_and(is_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Found {
        let path = std::env::temp_dir().join(format!("img-push-record-{}-{}", std::process::id(), name.replace('/', "-")));
        std::fs::write(&path, text).unwrap();
        Found { name: name.to_owned(), path, kind: Kind::File, mode: 0o644, size: text.len() as u64, modified: 0 }
    }

    #[test]
    fn git_and_documents_are_records_and_other_files_are_not() {
        let document = r#"{"name": "shop", "aws": {"account": "1", "region": "eu-west-1"}, "net": {}}"#;
        for (name, text, record) in [
            (".git/HEAD", "ref", Some(".git")),
            ("lib/.git/objects/ab", "x", Some("lib/.git")),
            (".gitignore", "x", None),
            ("live.json", document, Some("live.json")),
            ("ops/net.json", document, Some("ops/net.json")),
            ("live.json", "", Some("live.json")),
            ("live.txt", "", None),
            ("package.json", r#"{"name": "shop", "version": "1"}"#, None),
            ("broken.json", "{", None),
        ] {
            let found = found(name, text);
            assert_eq!(record_of(&found), record, "{name}");
            std::fs::remove_file(&found.path).unwrap();
        }
    }
}
