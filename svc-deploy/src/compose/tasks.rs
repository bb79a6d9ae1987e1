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
    Ok((replicas.unwrap_or(if single { 1 } else { 2 }), single))
}
