//! SIGINT and SIGTERM, from the start of the program to its end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Stop;

/// From here on a signal does not end the process; it waits until the program reads it.
pub struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// Without a place for its handlers, a signal ends the process at once, as before.
    pub fn catch() -> Self {
        Self(signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok()))
    }

    /// Returns the next signal.
    pub async fn next(&mut self) -> Stop {
        match &mut self.0 {
            Some((int, term)) => tokio::select! {
                _ = int.recv() => Stop::Interrupt,
                _ = term.recv() => Stop::Terminate,
            },
            None => std::future::pending().await,
        }
    }
}
