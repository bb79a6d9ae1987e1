//! Secrets as files. ECS passes secrets only as variables, and has no memory that the containers of a task share. So a small container of the task gets
//! them, writes them into a volume of the task, and ends before the others start. Each container sees only its own, and no variable has a value.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html>

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::kept::Kept;
use crate::model::{Container, Service};

/// The name of the container that writes the files. No service has this name, because a name does not begin with an underscore.
const CONTAINER: &str = "_secrets";
/// MiB, on EC2. ECS reserves it as long as the task runs.
const MEMORY: i32 = 16;
/// The label with the versions of the values, so that a new value is a new revision.
const VERSIONS: &str = "ecs-pipe.secrets";

/// Returns the volumes for the files, one for each container that has any.
pub fn volumes(service: &Service) -> impl Iterator<Item = Value> {
    with_files(service).map(|container| json!({"name": volume(container)}))
}

fn with_files(service: &Service) -> impl Iterator<Item = &Container> {
    service.containers.iter().filter(|container| !container.secret_files.is_empty())
}

fn volume(container: &Container) -> String {
    format!("secrets-of-{}", container.name)
}

/// Adds the container that writes the files, and mounts them in the others. `definitions` are those of the service's containers.
pub fn add(service: &Service, definitions: &mut Vec<Value>, kept: &Kept) {
    for (container, definition) in service.containers.iter().zip(definitions.iter_mut()) {
        let versions = versions(container, kept);
        // A patch may have replaced the labels by something else.
        if let (false, Some(fields)) = (versions.is_empty(), definition.as_object_mut())
            && let Some(labels) = fields.entry("dockerLabels").or_insert_with(|| json!({})).as_object_mut()
        {
            labels.insert(VERSIONS.to_owned(), versions.into());
        }
        if !container.secret_files.is_empty() {
            push(definition, "mountPoints", json!({"sourceVolume": volume(container), "containerPath": "/run/secrets", "readOnly": true}));
            push(definition, "dependsOn", json!({"containerName": CONTAINER, "condition": "SUCCESS"}));
        }
    }
    if with_files(service).next().is_some() {
        definitions.push(writer(service, kept));
    }
}

fn push(definition: &mut Value, key: &str, item: Value) {
    match definition.get_mut(key) {
        Some(Value::Array(items)) => items.push(item),
        _ => definition[key] = json!([item]),
    }
}

fn versions(container: &Container, kept: &Kept) -> String {
    let variables = container.secrets.iter().map(|secret| secret.source.as_str());
    let sources = variables.chain(container.secret_files.iter().map(|file| file.source.as_str()));
    let mut all: Vec<String> = sources
        .filter_map(|source| kept.versions.get(source).map(|version| format!("{}:{version}", source.rsplit('/').next().unwrap_or(source))))
        .collect();
    all.sort();
    all.dedup();
    all.join(",")
}

/// The container that writes the files of all others.
fn writer(service: &Service, kept: &Kept) -> Value {
    // The bytes of a value are those of the variable: printf adds nothing, and the shell's own printf is no process with arguments.
    let mut script = String::from(
        "set -eu; put() { umask 022; mkdir -p \"${1%/*}\"; umask 077; printf %s \"$5\" > \"$1\"; chown \"$3:$4\" \"$1\"; chmod \"$2\" \"$1\"; }",
    );
    let (mut secrets, mut mounts) = (Vec::new(), Vec::new());
    for container in with_files(service) {
        let folder = format!("/secrets/{}", container.name);
        mounts.push(json!({"sourceVolume": volume(container), "containerPath": folder, "readOnly": false}));
        for file in &container.secret_files {
            let variable = format!("SECRET_{}", secrets.len() + 1);
            let path = format!("{folder}/{}", file.path).replace('\'', r"'\''");
            let _ = write!(script, "\nput '{path}' {:o} {} {} \"${variable}\"", file.mode, file.uid, file.gid);
            secrets.push(json!({"name": variable, "valueFrom": file.source}));
        }
    }
    let mut writer = json!({
        "name": CONTAINER,
        "image": kept.files_image,
        "essential": false,
        "user": "0",
        "entryPoint": ["/bin/sh", "-c"],
        "command": [script],
        "secrets": secrets,
        "mountPoints": mounts,
    });
    // On Fargate a limit would count in the size of the task, which is what is paid.
    if service.size.is_none() {
        writer["memory"] = json!(MEMORY);
    }
    writer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;
    use crate::model::{Secret, SecretFile, Size};

    fn file(source: &str, path: &str) -> SecretFile {
        SecretFile { source: source.to_owned(), path: path.to_owned(), mode: 0o440, uid: 999, gid: 7 }
    }

    fn kept() -> Kept {
        Kept {
            versions: [("/ecs-pipe/shop/db".to_owned(), "1764459000000.3".to_owned())].into(),
            files_image: "busybox".to_owned(),
            ..Kept::default()
        }
    }

    #[test]
    fn each_container_sees_its_own_files() {
        let mut service = samples::service("web");
        service.containers.push(samples::container("log"));
        service.containers[0].secret_files = vec![file("/ecs-pipe/shop/db", "db/pass"), file("token", "it's")];
        let mut definitions = vec![json!({"name": "web"}), json!({"name": "log"})];
        add(&service, &mut definitions, &kept());
        assert_eq!(definitions[1], json!({"name": "log"}));
        assert_eq!(
            definitions[0],
            json!({"name": "web", "dockerLabels": {"ecs-pipe.secrets": "db:1764459000000.3"},
                "mountPoints": [{"sourceVolume": "secrets-of-web", "containerPath": "/run/secrets", "readOnly": true}],
                "dependsOn": [{"containerName": "_secrets", "condition": "SUCCESS"}]})
        );
        let writer = &definitions[2];
        assert_eq!(
            writer["secrets"],
            json!([{"name": "SECRET_1", "valueFrom": "/ecs-pipe/shop/db"}, {"name": "SECRET_2", "valueFrom": "token"}])
        );
        let script = writer["command"][0].as_str().unwrap();
        assert!(
            script.ends_with("\nput '/secrets/web/db/pass' 440 999 7 \"$SECRET_1\"\nput '/secrets/web/it'\\''s' 440 999 7 \"$SECRET_2\""),
            "{script}"
        );
        assert_eq!((&writer["essential"], &writer["memory"]), (&json!(false), &json!(16)));
        assert_eq!(volumes(&service).collect::<Vec<_>>(), [json!({"name": "secrets-of-web"})]);
        service.size = Some(Size { cpu: 256, memory: 512 });
        let mut definitions = vec![json!({"name": "web"}), json!({"name": "log"})];
        add(&service, &mut definitions, &kept());
        assert!(definitions[2].get("memory").is_none());
    }

    #[test]
    fn a_new_value_of_a_variable_is_a_new_revision_too() {
        let mut service = samples::service("web");
        service.containers[0].secrets = vec![Secret { variable: "DB".to_owned(), source: "/ecs-pipe/shop/db".to_owned() }];
        let mut definitions = vec![json!({"name": "web", "dockerLabels": {"a": "b"}})];
        add(&service, &mut definitions, &kept());
        assert_eq!(definitions, [json!({"name": "web", "dockerLabels": {"a": "b", "ecs-pipe.secrets": "db:1764459000000.3"}})]);
    }

    /// The script runs in a real shell; only the folder and the owner are others.
    #[test]
    fn the_script_writes_each_byte() {
        let folder = std::env::temp_dir().join(format!("svc-deploy-writer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut service = samples::service("web");
        service.containers[0].secret_files = vec![file("token", "a/b")];
        let writer = writer(&service, &kept());
        let script =
            writer["command"][0].as_str().unwrap().replace("'/secrets/", &format!("'{}/", folder.display())).replace("chown", ": chown");
        let value = "pa$5 \"x\" 'y' \\n %s `id`\n\nä\n";
        let done = std::process::Command::new("/bin/sh").args(["-c", &script]).env("SECRET_1", value).status().unwrap();
        let path = folder.join("web/a/b");
        let (written, mode) =
            (std::fs::read_to_string(&path).unwrap(), std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(done.success());
        assert_eq!((written.as_str(), mode & 0o777), (value, 0o440));
    }
}
