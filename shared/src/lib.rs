//! The contract of the pipe and the machinery that the six tools share. Knows no tool, and of AWS only who is asking (STS).

pub mod aws;
pub mod diff;
pub mod doc;
pub mod error;
pub mod flags;
pub mod name;
pub mod policy;
pub mod progress;
pub mod run;
pub mod stage;
pub mod step;
pub mod wait;

pub use diff::Diff;
pub use doc::Document;
pub use error::{Error, Result, Tried};
pub use run::Run;
pub use stage::{Stage, main};
