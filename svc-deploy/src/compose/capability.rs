//! `cap_add` and `cap_drop`: what a container's processes may do beyond those of a usual user.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KernelCapabilities.html>

use shared::Result;
use shared::doc::At;

use super::forms::strings;

/// What Docker gives a container that says nothing.
/// <https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities>
const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const ALL: &str = "ALL";
/// The only one that can be added on Fargate.
const ON_FARGATE: &str = "SYS_PTRACE";

/// Capabilities in ECS's names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub added: Vec<String>,
    pub dropped: Vec<String>,
}

/// Reads both keys of a service.
pub fn read(service: &At<'_>, fargate: bool) -> Result<Capabilities> {
    let names = |key: &str| {
        let written = service.key(key).map_or(Ok(Vec::new()), |at| strings(&at))?;
        Ok::<_, shared::Error>(written.iter().map(|name| of_ecs(name)).collect::<Vec<String>>())
    };
    let (added, dropped) = (names("cap_add")?, names("cap_drop")?);
    if !fargate {
        return Ok(Capabilities { added, dropped });
    }
    let refused = added.iter().find(|name| !DEFAULT.contains(&name.as_str()) && *name != ON_FARGATE);
    match refused.zip(service.key("cap_add")) {
        Some((name, place)) => Err(place.wrong(
            "capability-on-fargate",
            format!("Fargate can add only {ON_FARGATE} to Docker's default capabilities; found {name}. Remove it, or run the app on EC2"),
        )),
        None => Ok(on_fargate(&added, dropped)),
    }
}

/// Fargate adds no default capability after it dropped all, so only the others are dropped: that is the same set.
fn on_fargate(added: &[String], dropped: Vec<String>) -> Capabilities {
    let is_added = |name: &str| added.iter().any(|added| added == name);
    let is_kept = |name: &str| DEFAULT.contains(&name) && is_added(name);
    let dropped = if !dropped.iter().any(|name| name == ALL) {
        dropped.into_iter().filter(|name| !is_added(name)).collect()
    } else if DEFAULT.iter().any(|name| is_kept(name)) {
        DEFAULT.iter().filter(|name| !is_kept(name)).map(|name| (*name).to_owned()).collect()
    } else {
        vec![ALL.to_owned()]
    };
    Capabilities { added: added.iter().filter(|name| *name == ON_FARGATE).cloned().collect(), dropped }
}

/// Docker takes `cap_chown`, `chown` and `CHOWN`; ECS takes only the last.
fn of_ecs(name: &str) -> String {
    let name = name.to_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::Document;

    use super::*;

    fn capabilities(fargate: bool, add: &Value, drop: &Value) -> Result<(String, String), String> {
        let doc = Document::parse(json!({"cap_add": add, "cap_drop": drop}).to_string().as_bytes()).unwrap();
        let found = read(&doc.root(), fargate).map_err(|error| error.to_string())?;
        Ok((found.added.join(" "), found.dropped.join(" ")))
    }

    fn both(added: &str, dropped: &str) -> (String, String) {
        (added.to_owned(), dropped.to_owned())
    }

    #[test]
    fn names_are_those_of_ecs() {
        assert_eq!(capabilities(false, &json!(["net_admin", "CAP_CHOWN"]), &json!(["all"])), Ok(both("NET_ADMIN CHOWN", "ALL")));
    }

    #[test]
    fn on_fargate_the_same_capabilities_are_left() {
        let others = "AUDIT_WRITE DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT";
        for (add, drop, expected) in [
            (json!(["CHOWN"]), json!(["ALL"]), both("", others)),
            (json!(["CHOWN"]), json!(["CHOWN", "NET_RAW"]), both("", "NET_RAW")),
            (json!(["SYS_PTRACE"]), json!(["all"]), both("SYS_PTRACE", "ALL")),
            (json!(["NET_BIND_SERVICE"]), json!([]), both("", "")),
        ] {
            assert_eq!(capabilities(true, &add, &drop), Ok(expected), "{add} {drop}");
        }
        for name in ["NET_ADMIN", "ALL"] {
            let said = capabilities(true, &json!([name]), &json!([])).unwrap_err();
            assert!(said.contains("cap_add: Fargate can add only SYS_PTRACE") && said.contains(name), "{said}");
        }
    }
}
