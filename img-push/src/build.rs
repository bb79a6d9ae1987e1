//! A service's `build`: how it is written, and its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bollard::grpc::build::SecretSource;
use sha2::{Digest, Sha256};
use shared::doc::{At, Document};
use shared::{Result, name};

use crate::context::Context;

/// Compose's `build`. <https://github.com/compose-spec/compose-spec/blob/main/build.md>
#[derive(Debug, Clone, Default)]
pub struct Build {
    pub context: Context,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub target: Option<String>,
    pub cache_from: Vec<String>,
    /// By id. Only BuildKit reads them, while it runs a step with `RUN --mount=type=secret`.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Whether `RUN --mount=type=ssh` may use the SSH agent.
    pub ssh: bool,
}

impl Build {
    /// Reads `build` in its short and its long form.
    ///
    /// # Errors
    /// Says which key is wrong or not supported, and which file is missing.
    pub fn read(doc: &Document, build: &At<'_>) -> Result<Self> {
        if build.value().is_string() {
            return Ok(Self { context: Context::read(build, build.text()?, None, None)?, ..Self::default() });
        }
        check_keys(doc, build)?;
        let text = |key: &str| build.key(key).map(|at| at.text()).transpose();
        let list = |key: &str| build.key(key).map_or_else(|| Ok(Vec::new()), |at| at.list());
        let context = Context::read(build, text("context")?.unwrap_or("."), text("dockerfile")?, text("dockerfile_inline")?)?;
        Ok(Self {
            context,
            args: build.key("args").map(|at| pairs(&at)).transpose()?.unwrap_or_default(),
            labels: build.key("labels").map(|at| pairs(&at)).transpose()?.unwrap_or_default(),
            target: text("target")?.map(str::to_owned),
            cache_from: list("cache_from")?.iter().map(|at| at.text().map(str::to_owned)).collect::<Result<_>>()?,
            secrets: list("secrets")?.iter().map(|at| secret(doc, at)).collect::<Result<_>>()?,
            ssh: build.key("ssh").is_some_and(|at| at.value().as_array().is_none_or(|list| !list.is_empty())),
        })
    }

    /// Returns a short text that stays the same as long as all that goes into the image does, and the records that it leaves out. Secrets do not
    /// go into the image, and the sources of the cache do not change it.
    ///
    /// # Errors
    /// Fails when a file of the context is not readable.
    pub fn hash(&self, platform: Option<&str>) -> Result<(String, BTreeSet<String>)> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}{:?}{:?}{platform:?}", self.args, self.labels, self.target));
        let left_out = self.context.hash(&mut hash)?;
        Ok((name::digest(hash), left_out))
    }
}

/// Refuses keys that would change the image, and warns of those without effect.
fn check_keys(doc: &Document, build: &At<'_>) -> Result<()> {
    for (key, place) in build.entries()?.into_iter().filter(|(_, place)| !place.value().is_null()) {
        match key {
            "context" | "dockerfile" | "dockerfile_inline" | "args" | "labels" | "target" | "cache_from" | "platforms" | "secrets"
            | "ssh" => {}
            "cache_to" | "no_cache" | "pull" | "tags" | "provenance" | "sbom" => {
                doc.warn("build-key-ignored", format!("{} has no effect", place.path()));
            }
            key if key.starts_with("x-") => {}
            _ => {
                return Err(place.wrong(
                    "build-key-unsupported",
                    "img-push does not support this key. Build the image elsewhere, and replace `build` with `image`",
                ));
            }
        }
    }
    Ok(())
}

/// Reads one secret: a name, or `{source, target}`. The top level of the document says in which file or environment variable its value is.
/// <https://github.com/compose-spec/compose-spec/blob/main/09-secrets.md>
fn secret(doc: &Document, at: &At<'_>) -> Result<(String, SecretSource)> {
    let source = if at.value().is_object() {
        at.key("source").ok_or_else(|| at.wrong("build-secret-source", "must have `source`, the name of a secret"))?
    } else {
        at.clone()
    };
    let name = source.text()?;
    let id = at.key("target").map_or(Ok(name), |at| at.text())?.to_owned();
    let top = doc.root().key("secrets").and_then(|all| all.key(name)).ok_or_else(|| {
        source.wrong("build-secret-unknown", format!("must be the name of a secret; found {name:?}. Add it to `secrets` at the top level"))
    })?;
    if let Some(file) = top.key("file") {
        let path = PathBuf::from(file.text()?);
        return if path.is_file() {
            Ok((id, SecretSource::File(path)))
        } else {
            Err(file.wrong("build-secret-file", "must be the path of an existing file. Create the file, or correct the path"))
        };
    }
    match top.key("environment") {
        Some(variable) if std::env::var_os(variable.text()?).is_some() => Ok((id, SecretSource::Env(variable.text()?.to_owned()))),
        Some(variable) => {
            Err(variable.wrong("build-secret-variable", "this environment variable is not set. Set it, and run the same command again"))
        }
        None => Err(top.wrong("build-secret-kind", "must have `file` or `environment`, because a build uses no other secrets")),
    }
}

/// Reads `{"A": "b"}` or `["A=b"]`. A name without a value has the value of the environment variable, as in Compose.
fn pairs(at: &At<'_>) -> Result<BTreeMap<String, String>> {
    let from_environment = |key: &str| std::env::var(key).ok().map(|value| (key.to_owned(), value));
    if at.value().is_array() {
        let mut pairs = BTreeMap::new();
        for item in at.list()? {
            pairs.extend(match item.text()?.split_once('=') {
                Some((key, value)) => Some((key.to_owned(), value.to_owned())),
                None => from_environment(item.text()?),
            });
        }
        return Ok(pairs);
    }
    let entry = |(key, value): (&str, At<'_>)| {
        if value.value().is_null() { Ok(from_environment(key)) } else { value.scalar().map(|value| Some((key.to_owned(), value))) }
    };
    at.entries()?.into_iter().filter_map(|pair| entry(pair).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    /// A build context that is deleted after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("img-push-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("Dockerfile"), "FROM busybox\n").unwrap();
            std::fs::write(path.join("app.txt"), "1").unwrap();
            std::fs::write(path.join("token"), "hunter2").unwrap();
            std::fs::write(path.join(".dockerignore"), "token\n").unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read_with(secrets: &Value, build: &Value) -> Result<Build, String> {
        let doc = json!({"name": "shop", "secrets": secrets, "services": {"web": {"build": build}}});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let web = doc.root().key("services").and_then(|services| services.key("web")).unwrap();
        Build::read(&doc, &web.key("build").unwrap()).map_err(|error| error.to_string())
    }

    fn read(build: &Value) -> Result<Build, String> {
        read_with(&json!({}), build)
    }

    fn hash(build: &Value) -> String {
        read(build).unwrap().hash(None).unwrap().0
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_short_and_the_long_form_are_the_same_build() {
        let folder = Folder::new("forms");
        let short = hash(&json!(folder.path()));
        assert!(short.len() == 16 && short.chars().all(|c| c.is_ascii_hexdigit()), "{short}");
        for long in [
            json!({"context": folder.path()}),
            json!({"context": folder.path(), "dockerfile": "Dockerfile", "args": null, "platforms": ["linux/amd64"]}),
            json!({"context": folder.path(), "dockerfile_inline": "FROM busybox\n"}),
            json!({"context": folder.path(), "args": [], "labels": {}, "cache_from": ["type=registry,ref=x"], "ssh": ["default"], "x-note": 1}),
        ] {
            assert_eq!(hash(&long), short, "{long}");
        }
    }

    #[test]
    fn the_hash_follows_what_goes_into_the_image() {
        let folder = Folder::new("hash");
        let with = |key: &str, value: Value| {
            let mut build = json!({"context": folder.path()});
            build[key] = value;
            hash(&build)
        };
        let first = hash(&json!(folder.path()));
        for (key, value) in [
            ("args", json!({"A": "1"})),
            ("labels", json!({"A": "1"})),
            ("target", json!("test")),
            ("dockerfile_inline", json!("FROM busybox:1\n")),
        ] {
            assert_ne!(with(key, value), first, "{key}");
        }
        assert_ne!(read(&json!(folder.path())).unwrap().hash(Some("linux/arm64")).unwrap().0, first);
        std::fs::write(folder.0.join("token"), "hunter3").unwrap();
        assert_eq!(hash(&json!(folder.path())), first, ".dockerignore excludes the file");
        std::fs::write(folder.0.join("app.txt"), "2").unwrap();
        assert_ne!(hash(&json!(folder.path())), first);
    }

    #[test]
    fn arguments_are_an_object_or_a_list() {
        let folder = Folder::new("args");
        let args = |args: Value| read(&json!({"context": folder.path(), "args": args})).unwrap().args;
        let path = std::env::var("PATH").unwrap();
        for (written, pairs) in [
            (json!({"A": "b", "N": 1, "T": true}), map(&[("A", "b"), ("N", "1"), ("T", "true")])),
            (json!(["A=b", "C=d=e", "EMPTY="]), map(&[("A", "b"), ("C", "d=e"), ("EMPTY", "")])),
            (json!({"PATH": null, "IMG_PUSH_UNSET": null}), map(&[("PATH", path.as_str())])),
            (json!(["PATH", "IMG_PUSH_UNSET"]), map(&[("PATH", path.as_str())])),
        ] {
            assert_eq!(args(written.clone()), pairs, "{written}");
        }
    }

    #[test]
    fn a_wrong_build_is_reported_with_its_path() {
        let folder = Folder::new("wrong");
        let with = |key: &str, value: Value| {
            let mut build = json!({"context": folder.path()});
            build[key] = value;
            build
        };
        for (build, said) in [
            (json!("./nowhere"), "services.web.build: the build context must be an existing folder; found \"./nowhere\""),
            (json!("https://github.com/docker/app.git"), "services.web.build: the build context must be a local folder"),
            (json!("git@github.com:docker/app.git"), "services.web.build: the build context must be a local folder"),
            (json!(["./web"]), "services.web.build: must be an object; found a list"),
            (with("dockerfile", json!("Missing")), "services.web.build: could not read the Dockerfile"),
            (with("additional_contexts", json!({"a": "b"})), "services.web.build.additional_contexts: img-push does not support this key"),
            (with("args", json!({"A": {}})), "services.web.build.args.A: must be a string, a number, true or false; found an object"),
            (with("target", json!(1)), "services.web.build.target: must be a string; found 1"),
        ] {
            let found = read(&build).err().unwrap_or_default();
            assert!(found.contains(said), "{build}: {found}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable() {
        let folder = Folder::new("secrets");
        let token = folder.0.join("token");
        let secrets = json!({"token": {"file": token}, "root": {"environment": "PATH"}});
        let (file, variable) = (SecretSource::File(token.clone()), SecretSource::Env("PATH".to_owned()));
        for (written, id, source) in [
            (json!("token"), "token", &file),
            (json!({"source": "token"}), "token", &file),
            (json!({"source": "token", "target": "npm"}), "npm", &file),
            (json!("root"), "root", &variable),
        ] {
            let build = read_with(&secrets, &json!({"context": folder.path(), "secrets": [written]})).unwrap();
            assert_eq!(build.secrets, BTreeMap::from([(id.to_owned(), source.clone())]), "{written}");
            assert_eq!(build.hash(None).unwrap().0, hash(&json!(folder.path())), "a secret is not in the tag");
        }
    }

    #[test]
    fn a_wrong_secret_is_reported_with_its_path_and_without_its_value() {
        let folder = Folder::new("wrong-secrets");
        let secrets =
            json!({"lost": {"file": Path::new("hunter2")}, "unset": {"environment": "IMG_PUSH_UNSET"}, "external": {"external": true}});
        for (written, said) in [
            (json!({"target": "npm"}), "services.web.build.secrets[0]: must have `source`"),
            (json!("other"), "services.web.build.secrets[0]: must be the name of a secret; found \"other\""),
            (json!({"source": "other"}), "services.web.build.secrets[0].source: must be the name of a secret"),
            (json!("lost"), "secrets.lost.file: must be the path of an existing file"),
            (json!("unset"), "secrets.unset.environment: this environment variable is not set"),
            (json!("external"), "secrets.external: must have `file` or `environment`"),
        ] {
            let found = read_with(&secrets, &json!({"context": folder.path(), "secrets": [written]})).err().unwrap_or_default();
            assert!(found.contains(said) && !found.contains("hunter2"), "{written}: {found}");
        }
    }
}
