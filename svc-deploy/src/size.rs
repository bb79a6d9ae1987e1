//! CPU and memory of containers and their tasks: 1024 CPU units a vCPU, and MiB.

use shared::Result;
use shared::doc::{At, Document};

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

/// The limit; never less than what is reserved.
pub fn memory(at: &At<'_>, reserved: Option<i32>) -> Result<i32> {
    let limits = at.key("deploy").and_then(|at| at.key("resources")).and_then(|at| at.key("limits"));
    let reserved = reserved.unwrap_or(0);
    let Some(limit) = limits.and_then(|at| at.key("memory")).or_else(|| at.key("mem_limit")) else { return Ok(MEMORY.max(reserved)) };
    match mib(&limit)? {
        memory if memory < reserved => Err(limit.wrong(format!("{memory} MiB at most, but {reserved} MiB are reserved"))),
        memory => Ok(memory),
    }
}

pub fn reserved(at: &At<'_>) -> Result<Option<i32>> {
    let reservations = at.key("deploy").and_then(|at| at.key("resources")).and_then(|at| at.key("reservations"));
    reservations.and_then(|at| at.key("memory")).or_else(|| at.key("mem_reservation")).map(|at| mib(&at)).transpose()
}

/// Bytes, or a number with a unit (`512m`), in MiB.
/// <https://github.com/compose-spec/compose-spec/blob/main/11-extension.md#specifying-byte-values>
pub fn mib(at: &At<'_>) -> Result<i32> {
    let mib = mebibytes(&at.scalar()?).ok_or_else(|| at.expected("bytes, or a number with b, k, m or g"))?;
    // Docker refuses less than 6 MiB; 24 TiB is what the largest instance has.
    if !(6..=25_165_824).contains(&mib) {
        return Err(at.wrong(format!("{mib} MiB: a container has 6 MiB at least, and a task 24 TiB at most")));
    }
    Ok(mib)
}

/// Rounded up.
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

/// The pairs of CPU units and MiB that Fargate has: for each size the smallest and largest memory, and the step between.
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

pub fn fargate(doc: &Document, at: &At<'_>, cpu: i32, memory: i32) -> Result<(i32, i32)> {
    let fitting = FARGATE.iter().find(|(units, _, most, _)| *units >= cpu && *most >= memory);
    let Some((units, least, _, step)) = fitting else {
        return Err(at.wrong(format!("{cpu} CPU units and {memory} MiB are more than a Fargate task can have (16384 and 122880)")));
    };
    let steps = (memory.max(*least) - least + step - 1) / step;
    // 256 units come with 512, 1024 or 2048 MiB.
    let size = (*units, if *units == 256 && steps == 2 { 2048 } else { least + steps * step });
    if size != (cpu, memory) {
        doc.warn(format!("{}: Fargate has no task of {cpu} CPU units and {memory} MiB; it gets {} and {}", at.path(), size.0, size.1));
    }
    Ok(size)
}
