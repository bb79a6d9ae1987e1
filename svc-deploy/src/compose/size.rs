//! CPU and memory of containers and their tasks: 1024 CPU units a vCPU, and MiB.

use shared::Result;
use shared::doc::{At, Document};

use crate::model::Size;

/// A quarter of a vCPU and half a GiB: Fargate's smallest task, and enough for most services.
const CPU: i32 = 256;
const MEMORY: i32 = 512;

pub fn cpu(at: &At<'_>) -> Result<i32> {
    let limits = at.key("deploy").and_then(|at| at.key("resources")).and_then(|at| at.key("limits"));
    let Some(cpus) = limits.and_then(|at| at.key("cpus")).or_else(|| at.key("cpus")) else { return Ok(CPU) };
    // 192 vCPUs is what the largest instance has. Truncated: 1024 units a vCPU, far below i32's end.
    #[expect(clippy::cast_possible_truncation, reason = "at most 192 * 1024")]
    Ok((cpus.number(0.001..=192.0)? * 1024.0).round() as i32)
}

/// Returns the limit, which is never less than the reservation.
pub fn memory(at: &At<'_>, reserved: Option<i32>) -> Result<i32> {
    let limits = at.key("deploy").and_then(|at| at.key("resources")).and_then(|at| at.key("limits"));
    let reserved = reserved.unwrap_or(0);
    let Some(limit) = limits.and_then(|at| at.key("memory")).or_else(|| at.key("mem_limit")) else { return Ok(MEMORY.max(reserved)) };
    match mib(&limit)? {
        memory if memory < reserved => Err(limit.wrong(
            "memory-below-reservation",
            format!("the limit of {memory} MiB is below the reservation of {reserved} MiB. Raise the limit, or lower the reservation"),
        )),
        memory => Ok(memory),
    }
}

pub fn reserved(at: &At<'_>) -> Result<Option<i32>> {
    let reservations = at.key("deploy").and_then(|at| at.key("resources")).and_then(|at| at.key("reservations"));
    reservations.and_then(|at| at.key("memory")).or_else(|| at.key("mem_reservation")).map(|at| mib(&at)).transpose()
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

/// Returns the smallest size of a Fargate task that has room for all its containers.
pub fn fargate(doc: &Document, at: &At<'_>, all: Size) -> Result<Size> {
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
    if size != all {
        doc.warn(
            "fargate-rounded",
            format!(
                "{}: Fargate has no task of {cpu} CPU units and {memory} MiB. The task gets the next size, {} CPU units and {} MiB",
                at.path(),
                size.cpu,
                size.memory
            ),
        );
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rounded(cpu: i32, memory: i32) -> Result<(i32, i32), String> {
        let doc = Document::parse(b"{}").unwrap();
        fargate(&doc, &doc.root(), Size { cpu, memory }).map(|size| (size.cpu, size.memory)).map_err(|error| error.to_string())
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
    fn a_limit_is_at_least_the_reservation() {
        let of = |service: serde_json::Value| {
            let doc = Document::parse(service.to_string().as_bytes()).unwrap();
            let reserved = reserved(&doc.root()).unwrap();
            memory(&doc.root(), reserved).map_err(|error| error.to_string())
        };
        assert_eq!(of(json!({})), Ok(512));
        assert_eq!(of(json!({"mem_reservation": "1g"})), Ok(1024));
        assert!(of(json!({"mem_reservation": "1g", "mem_limit": "512m"})).unwrap_err().contains("below the reservation"));
    }
}
