//! What comes on stdin: the document, or nothing.

use std::io::{IsTerminal, Read};

use tokio::sync::oneshot;

use crate::doc::Document;
use crate::error::{Error, Result};
use crate::flags::Common;
use crate::signals::Signals;

/// Reads all of stdin; a signal ends the wait for it. A terminal has nothing to read.
///
/// # Errors
/// Returns [`Error::Interrupted`] after a signal.
pub async fn stdin(signals: &mut Signals) -> Result<Vec<u8>> {
    if std::io::stdin().is_terminal() {
        return Ok(Vec::new());
    }
    let (sender, text) = oneshot::channel();
    // A read of stdin can't be cancelled. In a thread of its own it ends with the process.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut text).map(|_| text);
        let _ = sender.send(read);
    });
    tokio::select! {
        // A Ctrl-C ends the tool before this one as well, and with it the text.
        biased;
        stop = signals.next() => Err(Error::Interrupted(stop)),
        text = text => match text {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(Error::unavailable("stdin-unreadable", format!("could not read stdin: {error}. Check what is before this tool in the pipe"))),
            Err(_) => Err(Error::Internal("the thread that reads stdin has ended".to_owned())),
        },
    }
}

/// Returns the document, or a new one for `--app`, without a check of its sections.
///
/// # Errors
/// Says what is wrong with the text, or that there is none.
pub fn document(text: &[u8], needs: &[(&'static str, &'static str)], common: &Common) -> Result<Document> {
    let mut doc = match (&common.app, text.trim_ascii().is_empty()) {
        (_, false) => Document::read(text, &profiles(common))?,
        (Some(_), true) => Document::default(),
        (None, true) => match needs.first() {
            Some((section, maker)) if !common.down && !common.check => return Err(Error::Missing { section, maker }),
            _ => {
                return Err(Error::document(
                    "no-document",
                    "stdin",
                    "there is nothing to read, and no --app to start a new document. If another tool is before this one in the pipe, it failed and its error is above. Nothing was changed",
                ));
            }
        },
    };
    if let Some(app) = &common.app {
        doc.set_name(app)?;
    }
    Ok(doc)
}

/// Returns the enabled profiles. As in Compose, the flag replaces the variable.
fn profiles(common: &Common) -> Vec<String> {
    if !common.compose_profiles.is_empty() {
        return common.compose_profiles.clone();
    }
    let variable = std::env::var("COMPOSE_PROFILES").unwrap_or_default();
    variable.split(',').map(|profile| profile.trim().to_owned()).filter(|profile| !profile.is_empty()).collect()
}
