//! What can go wrong: the kinds of errors with their exit codes, and AWS's own codes with what they mean.

mod kind;
mod refusal;
mod sdk;

pub use kind::{Error, Message, Result, Stop, given, if_found, made};
pub use refusal::Refusal;
pub use sdk::Tried;
