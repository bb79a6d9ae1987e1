//! All integration tests, in one binary, because each binary links all AWS SDKs.
//!
//! The name of a test says where it is:
//!
//! - `by_tool::<tool>`: one tool, with a local AWS.
//! - `pipe::<subject>`: the pipe or all tools, with a local AWS.
//! - `offline`, `house` and `text`: all tests that need neither AWS nor Docker. To run only these:
//!   `cargo test --workspace --all-targets -- --skip by_tool:: --skip pipe::`

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod by_tool;
mod house;
mod offline;
mod pipe;
mod source;
mod text;

/// Returns whether the long forms of the tests run: all kill points, more seeds, more documents.
fn full() -> bool {
    std::env::var_os("ECS_PIPE_FULL").is_some()
}
