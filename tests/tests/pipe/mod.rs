//! Tests of the pipe, or of all tools, with a local AWS.

mod chain;
mod compose;
mod document;
mod drift;
mod faults;
mod flags;
mod interrupts;
mod kills;
mod life;
mod masked;
mod names;
mod nonsense;
mod plans;
mod policy;
mod secrets;
mod selection;
mod storage;
mod tags;
mod together;
mod unmanaged;
mod unreachable;
