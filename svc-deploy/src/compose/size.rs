//! CPU and memory of containers and their tasks: 1024 CPU units a vCPU, and MiB.

use shared::Result;
use shared::doc::{At, Cluster, Document};

use crate::model::{Container, Size};

/// A quarter of a vCPU and half a GiB: Fargate's smallest task, and enough for most services.
const CPU: i32 = 256;
const MEMORY: i32 = 512;

/// Returns a value of `deploy.resources`, or of the older key.
fn resource<'a>(at: &At<'a>, kind: &str, key: &str, older: &str) -> Option<At<'a>> {
    let resources = at.key("deploy").and_then(|at| at.key("resources")).and_then(|at| at.key(kind));
    resources.and_then(|at| at.key(key)).or_else(|| at.key(older))
}

pub fn cpu(at: &At<'_>) -> Result<i32> {
    let cpus = resource(at, "limits", "cpus", "cpus").or_else(|| resource(at, "reservations", "cpus", "cpus"));
    // Docker takes 0 for no limit.
    let Some(cpus) = cpus.filter(|at| at.scalar().is_ok_and(|text| text.parse() != Ok(0.0))) else { return Ok(CPU) };
    // 192 vCPUs is what the largest instance has. Truncated: 1024 units a vCPU, far below i32's end.
    #[expect(clippy::cast_possible_truncation, reason = "at most 192 * 1024")]
    Ok((cpus.number(0.001..=192.0)? * 1024.0).round() as i32)
}

/// The memory of a container, in MiB.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where the container is killed, if the author set a limit.
    pub limit: Option<i32>,
    pub reservation: Option<i32>,
}

/// Compose has no limit unless the author sets one, and a limit that nobody set would kill what runs without it. ECS needs a limit or a
/// reservation on an instance, by which it places the task. On Fargate the task has a size.
pub fn memory(at: &At<'_>, fargate: bool) -> Result<Memory> {
    let of = |kind: &str, older: &str| {
        let place = resource(at, kind, "memory", older).filter(|at| at.scalar().is_ok_and(|text| text != "0"));
        place.map(|at| Ok::<_, shared::Error>((mib(&at)?, at))).transpose()
    };
    let (limit, reserved) = (of("limits", "mem_limit")?, of("reservations", "mem_reservation")?);
    let reservation = reserved.map(|(reserved, _)| reserved);
    match limit {
        Some((memory, place)) if reservation.is_some_and(|reserved| reserved > memory) => Err(place.wrong(
            "memory-below-reservation",
            format!(
                "the limit of {memory} MiB is below the reservation of {} MiB. Raise the limit, or lower the reservation",
                reservation.unwrap_or_default()
            ),
        )),
        Some((memory, _)) => Ok(Memory { limit: Some(memory), reservation }),
        None if fargate => Ok(Memory { limit: None, reservation }),
        None => Ok(Memory { limit: None, reservation: reservation.or(Some(MEMORY)) }),
    }
}

/// Returns the CPU units and MiB that a task of these containers needs.
pub fn needed(containers: &[Container]) -> Size {
    let memory = |one: &Container| one.memory.or(one.memory_reservation).unwrap_or(MEMORY);
    let all = |of: &dyn Fn(&Container) -> i32| containers.iter().map(of).fold(0_i32, i32::saturating_add);
    Size { cpu: all(&|one| one.cpu), memory: all(&memory) }
}

/// Reads bytes, or a number with a unit (`512m`), in MiB.
/// <https://github.com/compose-spec/compose-spec/blob/main/11-extension.md#specifying-byte-values>
pub fn mib(at: &At<'_>) -> Result<i32> {
    let mib = mebibytes(&at.scalar()?).ok_or_else(|| at.expected("byte-value", "a number of bytes, or a number with b, k, m or g"))?;
    // Docker refuses less than 6 MiB; 24 TiB is what the largest instance has.
    if !(6..=25_165_824).contains(&mib) {
        return Err(at.wrong("memory-range", format!("must be between 6 MiB and 24 TiB; found {mib} MiB")));
    }
    Ok(mib)
}

/// Returns MiB, rounded up.
pub fn mebibytes(text: &str) -> Option<i32> {
    let text = text.to_lowercase();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim_end_matches('b') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let mib = number.parse::<f64>().ok()? * factor / 1024.0 / 1024.0;
    #[expect(clippy::cast_possible_truncation, reason = "a float too large becomes the largest number")]
    Some(mib.ceil() as i32)
}

/// Refuses a task that no instance of the cluster can hold. ECS places it by its reservations, and by the limits where there are none; it would wait
/// for ever. A part of an instance's memory is the operating system's, so a task may be too large all the same.
pub fn check_instances(at: &At<'_>, containers: &[Container], cluster: &Cluster) -> Result<()> {
    let Size { cpu, .. } = needed(containers);
    let placed = |one: &Container| one.memory_reservation.or(one.memory).unwrap_or(MEMORY);
    let memory = containers.iter().map(placed).fold(0_i32, i32::saturating_add);
    for (what, needs, has) in [("CPU units", cpu, cluster.instance_cpu), ("MiB", memory, cluster.instance_memory)] {
        if let Some(has) = has.filter(|has| needs > *has) {
            return Err(at.wrong(
                "task-larger-than-instance",
                format!(
                    "the task needs {needs} {what}, but the largest instance type of the cluster has {has}. Lower what the service reserves, or set larger types (x-cluster.instance_types)"
                ),
            ));
        }
    }
    Ok(())
}

/// The sizes of Fargate tasks: CPU units, then the smallest and largest memory in MiB, and the step between.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size>
const FARGATE: &[(i32, i32, i32, i32)] = &[
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16384, 1024),
    (4096, 8192, 30720, 1024),
    (8192, 16384, 61440, 4096),
    (16384, 32768, 122_880, 8192),
];

/// What AWS recommends to add to a task for the proxy of Service Connect.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html#service-connect-concepts-proxy>
const PROXY: Size = Size { cpu: 256, memory: 64 };

/// Returns the smallest size of a Fargate task that has room for all its containers. `connects` says whether the proxy of Service Connect is one.
pub fn fargate(doc: &Document, at: &At<'_>, containers: &[Container], connects: bool) -> Result<Size> {
    let mut all = needed(containers);
    if connects {
        all = Size { cpu: all.cpu.saturating_add(PROXY.cpu), memory: all.memory.saturating_add(PROXY.memory) };
    }
    let Size { cpu, memory } = all;
    let fitting = FARGATE.iter().find(|(units, _, most, _)| *units >= cpu && *most >= memory);
    let Some((units, least, _, step)) = fitting else {
        return Err(at.wrong(
            "fargate-too-large",
            format!(
                "the containers need {cpu} CPU units and {memory} MiB, but a Fargate task has at most 16384 and 122880. Lower the limits"
            ),
        ));
    };
    let steps = (memory.max(*least) - least + step - 1) / step;
    // 256 units come with 512, 1024 or 2048 MiB.
    let size = Size { cpu: *units, memory: if *units == 256 && steps == 2 { 2048 } else { least + steps * step } };
    // Nobody set a size that could be missed, and the documentation names the default.
    let is_default = containers.iter().all(|one| one.cpu == CPU && one.memory.is_none() && one.memory_reservation.is_none());
    if size != all && !(connects && is_default) {
        let proxy = if connects { " (with the proxy of Service Connect; x-svc.connect: false leaves it out)" } else { "" };
        doc.warn_at(
            "fargate-rounded",
            at,
            format!(
                "Fargate has no task of {cpu} CPU units and {memory} MiB{proxy}. The task gets the next size, {} CPU units and {} MiB, and AWS charges for all of it. {}",
                size.cpu,
                size.memory,
                allowances(containers)
            ),
        );
    }
    Ok(size)
}

/// Says how much memory each container may use.
fn allowances(containers: &[Container]) -> String {
    let limited = containers.iter().filter_map(|one| Some(format!("{} may use at most {} MiB", one.name, one.memory?)));
    let free =
        containers.iter().any(|one| one.memory.is_none()).then(|| "A container without a limit may use all of its memory".to_owned());
    free.into_iter().chain(limited).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rounded(cpu: i32, memory: i32) -> Result<(i32, i32), String> {
        let doc = Document::parse(b"{}").unwrap();
        let container = Container { cpu, memory: Some(memory), ..Container::default() };
        fargate(&doc, &doc.root(), &[container], false).map(|size| (size.cpu, size.memory)).map_err(|error| error.to_string())
    }

    #[test]
    fn fargate_rounds_up_to_its_next_size() {
        for (wanted, size) in [
            ((256, 512), (256, 512)),
            ((256, 513), (256, 1024)),
            ((256, 1025), (256, 2048)),
            ((256, 2049), (512, 3072)),
            ((1, 1), (256, 512)),
            ((1000, 512), (1024, 2048)),
            ((4096, 8193), (4096, 9216)),
            ((8000, 16385), (8192, 20480)),
            ((16384, 122_880), (16384, 122_880)),
        ] {
            assert_eq!(rounded(wanted.0, wanted.1), Ok(size), "{wanted:?}");
        }
        assert!(rounded(16385, 512).unwrap_err().contains("at most 16384 and 122880"));
    }

    #[test]
    fn bytes_become_mebibytes_rounded_up() {
        for (text, expected) in [("67108864", Some(64)), ("64m", Some(64)), ("1.5gb", Some(1536)), ("1b", Some(1)), ("1x", None)] {
            assert_eq!(mebibytes(text), expected, "{text}");
        }
    }

    #[test]
    fn a_limit_is_only_what_the_author_set() {
        let of = |fargate: bool, service: &serde_json::Value| {
            let doc = Document::parse(service.to_string().as_bytes()).unwrap();
            memory(&doc.root(), fargate).map(|found| (found.limit, found.reservation)).map_err(|error| error.to_string())
        };
        for (service, on_ec2, on_fargate) in [
            (json!({}), (None, Some(512)), (None, None)),
            (json!({"mem_reservation": "1g"}), (None, Some(1024)), (None, Some(1024))),
            (json!({"mem_limit": "1g"}), (Some(1024), None), (Some(1024), None)),
            (json!({"mem_limit": "1g", "mem_reservation": "256m"}), (Some(1024), Some(256)), (Some(1024), Some(256))),
            (json!({"mem_limit": "0"}), (None, Some(512)), (None, None)),
            (json!({"deploy": {"resources": {"limits": {"memory": "2g"}}}, "mem_limit": "1g"}), (Some(2048), None), (Some(2048), None)),
        ] {
            assert_eq!((of(false, &service), of(true, &service)), (Ok(on_ec2), Ok(on_fargate)), "{service}");
        }
        assert!(of(false, &json!({"mem_reservation": "1g", "mem_limit": "512m"})).unwrap_err().contains("below the reservation"));
    }

    #[test]
    fn a_task_needs_what_its_containers_need() {
        let container = |memory, memory_reservation| Container { cpu: 256, memory, memory_reservation, ..Container::default() };
        let all = [container(Some(1024), Some(256)), container(None, Some(128)), container(None, None)];
        assert_eq!(needed(&all), Size { cpu: 768, memory: 1024 + 128 + 512 });
    }

    #[test]
    fn a_task_must_fit_on_an_instance() {
        let cluster = Cluster { instance_cpu: Some(2048), instance_memory: Some(3900), ..Cluster::default() };
        let check = |cpu, memory, memory_reservation, cluster: &Cluster| {
            let doc = Document::parse(b"{}").unwrap();
            let container = Container { cpu, memory, memory_reservation, ..Container::default() };
            check_instances(&doc.root(), &[container], cluster).map_err(|error| error.to_string())
        };
        assert_eq!(check(2048, Some(8192), Some(2048), &cluster), Ok(()), "a limit is no reservation");
        assert!(
            check(2048, Some(8192), None, &cluster)
                .unwrap_err()
                .contains("needs 8192 MiB, but the largest instance type of the cluster has 3900")
        );
        assert!(check(4096, None, None, &cluster).unwrap_err().contains("needs 4096 CPU units"));
        assert_eq!(check(4096, Some(8192), None, &Cluster::default()), Ok(()), "without the section nothing is known");
    }

    #[test]
    fn cpus_are_a_limit_or_a_reservation() {
        let of = |service: serde_json::Value| cpu(&Document::parse(service.to_string().as_bytes()).unwrap().root()).unwrap();
        assert_eq!(of(json!({})), 256);
        assert_eq!(of(json!({"cpus": 0})), 256);
        assert_eq!(of(json!({"cpus": "0.5"})), 512);
        assert_eq!(of(json!({"deploy": {"resources": {"reservations": {"cpus": "0.25"}, "limits": {"cpus": "1"}}}})), 1024);
        assert_eq!(of(json!({"deploy": {"resources": {"reservations": {"cpus": "0.25"}}}})), 256);
    }
}
