//! The volumes of a task, and where its containers mount them.

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    pub path: String,
    /// MiB.
    pub size: i32,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Name of a volume of the task.
    pub volume: String,
    pub path: String,
    pub read_only: bool,
}

/// A volume of a task, which its containers may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub source: VolumeSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    Efs(Efs),
    /// A folder of the instance, by path.
    Host(String),
    /// A Docker volume of the instance, of the volume's name.
    Docker,
    /// A folder of the app's own file system.
    AccessPoint(AccessPoint),
    /// Empty when the task starts, and gone when it ends.
    Task,
}

/// An access point of the app's file system, which shows one folder as a whole file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    /// The name of the volume, and of the folder.
    pub volume: String,
    /// User and group that own the folder when it is created.
    pub owner: Option<(u32, u32)>,
}

/// A file system of EFS, which is always encrypted in transit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Efs {
    pub file_system_id: String,
    pub access_point_id: Option<String>,
    pub root_directory: Option<String>,
    /// Whether the task role decides on access.
    pub iam: bool,
}
