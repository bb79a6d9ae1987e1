//! stderr: for people, or one JSON object a line for machines. The only place that writes to it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::flags::{Common, LogFormat};

/// What a line is about; the first word of a plain line, `event` of a JSON one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Create,
    Change,
    Delete,
    /// Found as wanted; only said with `-v`.
    Found,
    Wait,
    /// An AWS call; only said with `-vv`.
    Call,
    Note,
    Warning,
    Error,
}

impl Event {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Found => "found",
            Self::Wait => "wait",
            Self::Call => "call",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The sign of a change, as `--plan` prints it.
    fn sign(self) -> &'static str {
        match self {
            Self::Create => "+ ",
            Self::Change => "~ ",
            Self::Delete => "- ",
            Self::Warning => "warning: ",
            Self::Error => "error: ",
            Self::Found | Self::Wait | Self::Call | Self::Note => "",
        }
    }
}

#[derive(Debug)]
pub struct Progress {
    tool: &'static str,
    quiet: bool,
    verbose: u8,
    format: LogFormat,
    live: bool,
}

impl Progress {
    #[must_use]
    pub fn new(tool: &'static str, common: &Common) -> Self {
        let live = common.log_format == LogFormat::Text && !common.quiet && std::io::stderr().is_terminal();
        Self { tool, quiet: common.quiet, verbose: common.verbose, format: common.log_format, live }
    }

    /// Says one line, unless the user asked for less. Errors, and what a plan lists, are always said.
    pub fn say(&self, event: Event, text: &str) {
        let wanted = match event {
            Event::Error => true,
            Event::Found => self.verbose >= 1,
            Event::Call => self.verbose >= 2,
            _ => !self.quiet,
        };
        if wanted {
            self.write(event, text);
        }
    }

    /// Says one line of a plan: the product of `--plan`, so said with `-q` too.
    pub fn planned(&self, event: Event, text: &str) {
        self.write(event, text);
    }

    /// A live line for a wait on a terminal; elsewhere a plain line once.
    #[must_use]
    pub fn waiting(&self, what: &str) -> Option<ProgressBar> {
        if !self.live {
            self.say(Event::Wait, &format!("waiting for {what}"));
            return None;
        }
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        bar.set_message(format!("{}: waiting for {what}", self.tool));
        bar.enable_steady_tick(Duration::from_millis(120));
        Some(bar)
    }

    fn write(&self, event: Event, text: &str) {
        let line = match self.format {
            LogFormat::Text => format!("{}: {}{text}", self.tool, event.sign()),
            LogFormat::Json => json!({"tool": self.tool, "event": event.word(), "text": text}).to_string(),
        };
        // A closed stderr is no reason to stop the work.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}
