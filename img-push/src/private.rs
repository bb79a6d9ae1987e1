//! What of a mounted folder is copied into an image only when `.dockerignore` names it: the history of a repository, and files with passwords.

use std::path::Path;

use crate::dockerignore::Ignore;

/// Files of variables that are examples, without passwords.
const EXAMPLES: &[&str] = &["example", "sample", "template", "dist", "default"];

/// Returns whether this is the history of a repository, or a file of variables as Compose and many frameworks read it, which often has passwords.
pub fn is_private(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Not `.envoy.yaml`.
    let is_env =
        |name: &str| name.strip_prefix(".env").is_some_and(|rest| rest.chars().next().is_none_or(|c| !c.is_alphanumeric() || rest == "rc"));
    name == ".git" || is_env(&name) && !EXAMPLES.iter().any(|example| name.contains(example))
}

/// Returns the name of the private file or folder that a path is, or is in, unless `.dockerignore` names it.
pub fn private<'a>(path: &'a str, ignore: &Ignore) -> Option<&'a str> {
    let above = path.match_indices('/').map(|(end, _)| &path[..end]).chain([path]);
    let mut private = above.filter(|path| is_private(Path::new(path)) && !ignore.includes_hidden(path));
    private.next().map(|path| path.rsplit('/').next().unwrap_or(path))
}
