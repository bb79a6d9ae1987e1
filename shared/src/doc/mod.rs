//! The document that flows through the pipe: a JSON value of which each section is a typed view.

mod at;
mod check;
mod compose;
mod document;
mod dollar;
pub mod file;
mod job;
mod join;
pub mod known_image;
pub mod mount;
pub mod port;
mod profile;
pub mod public;
mod sections;
mod stand_in;
mod unique;
pub mod volume;
mod yaml;

pub use at::At;
pub use check::{check_boundary, check_retention, check_tags, is_policy};
pub use compose::{Selection, owner, platform, replicas};
pub use document::Document;
pub use job::{is_awaited, is_job};
pub(crate) use join::join;
pub use sections::{AMD64, ARM64, Caller, Capacity, Cluster, Image, Img, JobRecord, LaunchType, Net, ServiceRecord, Svc};
