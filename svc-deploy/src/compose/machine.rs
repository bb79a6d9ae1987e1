//! What only a container on an instance can have: its devices, GPUs and security options, and the processes that it sees.

use shared::Result;
use shared::doc::At;

use crate::model::{Device, Namespace};

/// Reads `devices`: `/dev/kvm`, `/dev/fuse:/dev/fuse:rwm`, or `{source, target, permissions}`.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Device.html>
pub fn devices(at: &At<'_>) -> Result<Vec<Device>> {
    at.list()?.iter().map(device).collect()
}

fn device(at: &At<'_>) -> Result<Device> {
    let text = |key: &str| at.key(key).map(|at| at.text().map(str::to_owned)).transpose();
    let (host, container, permissions) = if at.value().is_object() {
        (text("source")?.unwrap_or_default(), text("target")?, text("permissions")?)
    } else {
        let mut parts = at.text()?.splitn(3, ':').map(str::to_owned);
        (parts.next().unwrap_or_default(), parts.next(), parts.next())
    };
    if !host.starts_with('/') {
        return Err(at.wrong("device-path", format!("the device must be a path of the instance, as /dev/fuse; found {host:?}. Set a path")));
    }
    let of_letter = |letter: char| match letter {
        'r' => Ok("read"),
        'w' => Ok("write"),
        'm' => Ok("mknod"),
        _ => Err(at.wrong("device-permissions", format!("the permissions must be letters of rwm; found {letter:?}"))),
    };
    let permissions = permissions.as_deref().unwrap_or("rwm").chars().map(of_letter).collect::<Result<_>>()?;
    Ok(Device { container: container.unwrap_or_else(|| host.clone()), host, permissions })
}

/// Reads `gpus`: `all`, or requests as `deploy.resources.reservations.devices` has them. Returns how many there are.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-gpu.html>
pub fn gpus(at: &At<'_>) -> Result<i32> {
    if !at.value().is_array() {
        return count(at);
    }
    at.list()?.iter().map(request).sum()
}

/// Reads one request of devices: `{driver, count, device_ids, capabilities, options}`.
fn request(at: &At<'_>) -> Result<i32> {
    let capabilities = at.key("capabilities").map_or(Ok(Vec::new()), |at| at.list())?;
    let is_gpu = |one: &At<'_>| one.value() == "gpu" || one.value() == "nvidia";
    // `gpus` lists them without a need to say what they are.
    if !capabilities.is_empty() && !capabilities.iter().any(is_gpu) {
        return Err(
            at.wrong("device-not-gpu", "ECS reserves only GPUs (capabilities: [gpu]). Remove this, or set it in x-svc.patch.container")
        );
    }
    if let Some(ids) = at.key("device_ids") {
        return Ok(i32::try_from(ids.list()?.len()).unwrap_or(i32::MAX));
    }
    at.key("count").map_or(Ok(1), |at| count(&at))
}

fn count(at: &At<'_>) -> Result<i32> {
    // Compose prints `all` as -1.
    if at.value() == "all" || at.value().as_i64() == Some(-1) {
        return Err(at.wrong("gpu-count", "ECS needs the number of GPUs, because it places tasks by it. Replace all with a number"));
    }
    at.whole(1..=64)
}

/// Reads `security_opt`.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html#ECS-Type-ContainerDefinition-dockerSecurityOptions>
pub fn security_options(at: &At<'_>) -> Result<Vec<String>> {
    let mut options = Vec::new();
    for place in at.list()? {
        let text = place.text()?;
        match text.split_once([':', '=']).unwrap_or((text, "")) {
            ("no-new-privileges", "" | "true") => options.push("no-new-privileges".to_owned()),
            ("no-new-privileges", "false") => {}
            (kind @ ("apparmor" | "label"), value) => options.push(format!("{kind}:{value}")),
            _ => return Err(place.expected("security-option", "one of no-new-privileges, apparmor:… and label:…, which are those of ECS")),
        }
    }
    Ok(options)
}

/// Returns what the containers at these places share: by `pid` their processes, by `ipc` their memory. `names` are the containers of the task.
pub fn shared(places: &[&At<'_>], key: &str, names: &[&str], fargate: bool) -> Result<Option<Namespace>> {
    let mut found = None;
    for at in places.iter().filter_map(|at| at.key(key)) {
        let namespace = namespace(&at, names)?;
        // On Fargate a task can share its processes among its containers, but nothing with a machine.
        if let Some(namespace) = namespace.filter(|namespace| fargate && (key == "ipc" || *namespace != Namespace::Task)) {
            let what = format!("{key}Mode {} is not possible on Fargate. Remove this, or run the app on EC2", namespace.value());
            return Err(at.wrong("namespace-on-fargate", what));
        }
        found = namespace.or(found);
    }
    Ok(found)
}

/// Reads `pid` or `ipc` of a container in a task of these containers.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html#ECS-RegisterTaskDefinition-request-pidMode>
fn namespace(at: &At<'_>, containers: &[&str]) -> Result<Option<Namespace>> {
    match at.text()? {
        "" | "private" | "shareable" => Ok(None),
        "host" => Ok(Some(Namespace::Host)),
        "none" => Ok(Some(Namespace::Own)),
        text => match text.strip_prefix("service:") {
            Some(service) if containers.contains(&service) => Ok(Some(Namespace::Task)),
            Some(service) => Err(at.wrong(
                "namespace-of-another-task",
                format!("{service} is not a container of this task. Make this service its sidecar (network_mode: \"service:{service}\"), or remove this"),
            )),
            None => Err(at.expected("namespace", "host, or service:NAME of a container in the same task")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::forms::tests::read;
    use super::*;

    #[test]
    fn a_device_has_two_forms() {
        let device = |host: &str, container: &str, permissions: &[&'static str]| {
            Ok(vec![Device { host: host.to_owned(), container: container.to_owned(), permissions: permissions.to_vec() }])
        };
        let all = ["read", "write", "mknod"];
        assert_eq!(read(&json!(["/dev/kvm"]), devices), device("/dev/kvm", "/dev/kvm", &all));
        assert_eq!(read(&json!(["/dev/a:/dev/b:r"]), devices), device("/dev/a", "/dev/b", &["read"]));
        let long = json!([{"source": "/dev/a", "target": "/dev/b", "permissions": "rwm"}]);
        assert_eq!(read(&long, devices), device("/dev/a", "/dev/b", &all));
        assert!(read(&json!(["vendor.com/class=name"]), devices).unwrap_err().contains("it[0]: the device must be a path"));
        assert!(read(&json!(["/dev/a:/dev/b:x"]), devices).unwrap_err().contains("must be letters of rwm"));
    }

    #[test]
    fn gpus_are_counted() {
        for (written, expected) in [
            (json!(2), Ok(2)),
            (json!([{"driver": "nvidia", "count": 1}]), Ok(1)),
            (json!([{"capabilities": ["gpu"], "count": 2}, {"capabilities": ["gpu"], "device_ids": ["0", "3"]}]), Ok(4)),
            (json!([{"capabilities": ["gpu"]}]), Ok(1)),
        ] {
            assert_eq!(read(&written, gpus), expected, "{written}");
        }
        assert!(read(&json!("all"), gpus).unwrap_err().contains("it: ECS needs the number of GPUs"));
        assert!(read(&json!([{"count": -1}]), gpus).unwrap_err().contains("it[0].count: ECS needs the number"));
        assert!(read(&json!([{"capabilities": ["tpu"]}]), gpus).unwrap_err().contains("ECS reserves only GPUs"));
    }

    #[test]
    fn security_options_are_those_of_ecs() {
        let options = json!(["no-new-privileges:true", "apparmor=web", "label:type:web_t", "no-new-privileges:false"]);
        assert_eq!(read(&options, security_options).unwrap(), ["no-new-privileges", "apparmor:web", "label:type:web_t"]);
        assert!(read(&json!(["seccomp:unconfined"]), security_options).unwrap_err().contains("it[0]: must be one of no-new-privileges"));
    }

    #[test]
    fn a_namespace_is_shared_within_the_task() {
        let of = |text: &str| read(&json!(text), |at| namespace(at, &["web", "log"]));
        for (text, expected) in
            [("host", Some(Namespace::Host)), ("service:web", Some(Namespace::Task)), ("none", Some(Namespace::Own)), ("shareable", None)]
        {
            assert_eq!(of(text), Ok(expected), "{text}");
        }
        assert!(of("service:db").unwrap_err().contains("db is not a container of this task"));
        assert!(of("container:x").unwrap_err().contains("must be host, or service:NAME"));
    }
}
