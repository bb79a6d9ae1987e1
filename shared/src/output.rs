//! stdout: the document, or what a mode prints instead of it. The only place that writes to it.

use std::io::Write;

use crate::error::{Error, Result};

/// Writes a text. A reader that stopped reading is not an error of this tool.
///
/// # Errors
/// Fails when stdout can't be written, for example because a disk is full.
pub fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::unavailable("stdout-unwritable", format!("could not write to stdout: {error}. Check where the output goes")))
        }
        _ => Ok(()),
    }
}
