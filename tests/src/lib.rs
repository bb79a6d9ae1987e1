//! What the tests share: the tools as users run them, a local AWS, and a relay that records every
//! call.

pub mod account;
pub mod app;
pub mod call;
pub mod caller;
pub mod cbor;
pub mod clients;
pub mod fault;
pub mod registry;
pub mod relay;
pub mod tool;

pub use call::{Call, longest_chain};
pub use clients::Clients;
pub use fault::{Faults, Moment, Nonsense};
pub use registry::Registry;
pub use relay::Relay;
pub use tool::{Output, Pipe, run, script};
