//! The contract of the pipe and the machinery that the six tools share. It knows no tool, and of AWS only the caller (STS).

pub mod aws;
pub mod diff;
pub mod doc;
pub mod error;
pub mod flags;
mod input;
pub mod name;
mod output;
pub mod owner;
pub mod policy;
pub mod progress;
pub mod run;
pub mod settings;
mod signals;
pub mod stage;
pub mod step;
mod tag;
pub mod wait;

pub use diff::Diff;
pub use doc::Document;
pub use error::{Error, Result, Tried};
pub use run::Run;
pub use stage::{Stage, main};
