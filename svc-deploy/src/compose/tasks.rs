//! How many tasks a service runs.

use shared::Result;
use shared::doc::known_image::known_of;
use shared::doc::{At, replicas};

use crate::model::{Container, Volume, VolumeSource};

/// Returns the number of tasks, and whether two at once may do harm. What writes to a volume, and an image that keeps state, runs once unless the
/// author says more.
pub fn read(at: &At<'_>, containers: &[Container], volumes: &[Volume]) -> Result<(i32, bool)> {
    let replicas = replicas(at).map(|at| at.whole(0..=1000)).transpose()?;
    let is_kept = |name: &str| volumes.iter().any(|volume| volume.name == name && volume.source != VolumeSource::Task);
    let writes = containers.iter().flat_map(|one| &one.mounts).any(|mount| !mount.read_only && is_kept(&mount.volume));
    let is_known = known_of(at).is_some_and(|known| known.is_private());
    let single = (writes || is_known) && replicas.is_none_or(|replicas| replicas <= 1);
    // Otherwise two tasks, one in each zone, so that one zone may fail.
    let tasks = replicas.unwrap_or(if single { 1 } else { 2 });
    Ok((within_bounds(at, tasks), single))
}

/// Moves a number of tasks between the bounds that scale-set sets later, so that no task starts that is stopped at once. scale-set checks
/// the bounds.
fn within_bounds(at: &At<'_>, tasks: i32) -> i32 {
    let bound = |name: &str| at.key("x-scale").and_then(|scale| scale.key(name)).and_then(|bound| bound.whole(0..=5000).ok());
    let tasks = bound("min").map_or(tasks, |min| tasks.max(min));
    bound("max").map_or(tasks, |max| tasks.min(max))
}

/// Returns whether `x-scale.fast` is set. scale-set checks the value.
pub fn fast_metrics(at: &At<'_>) -> bool {
    at.key("x-scale").and_then(|scale| scale.key("fast")).is_some_and(|fast| fast.truth().unwrap_or(false))
}
