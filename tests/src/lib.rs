//! What the tests of whole pipes share: the tools as users run them, a local AWS, and a relay that writes down every call.

pub mod account;
pub mod app;
pub mod caller;
pub mod fault;
pub mod hand;
pub mod relay;
pub mod tool;

pub use fault::{Faults, Moment};
pub use hand::Hand;
pub use relay::{Call, Relay};
pub use tool::{Output, Pipe, run, script};
