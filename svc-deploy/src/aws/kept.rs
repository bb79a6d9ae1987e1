//! What outlives a task and its task definition refers to: volumes and secrets.

use std::collections::BTreeMap;

/// The steps fill it; in a plan, ids of new resources are unknown.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The app's file system.
    pub file_system: Option<String>,
    /// The access points, by volume.
    pub access_points: BTreeMap<String, Option<String>>,
    /// The versions of the parameters, by name, each with the time of the parameter's creation. A new value is a new version, and so starts new tasks.
    pub versions: BTreeMap<String, String>,
    /// The image of the container that writes secrets into files.
    pub files_image: String,
}

impl Kept {
    /// Returns the id of the file system, or what a plan calls it.
    pub fn file_system(&self) -> &str {
        self.file_system.as_deref().unwrap_or("the new file system")
    }

    /// Returns the id of a volume's access point, or what a plan calls it.
    pub fn access_point(&self, volume: &str) -> &str {
        self.access_points.get(volume).and_then(Option::as_deref).unwrap_or("the new access point")
    }
}
