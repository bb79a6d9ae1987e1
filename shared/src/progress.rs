//! stderr: for people, or one JSON object a line for machines. The only place that writes to it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::error::Error;
use crate::flags::{Common, LogFormat};

/// What a line is about; the first word of a plain line, `event` of a JSON one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Create,
    Change,
    /// A setting of a resource that this run created.
    Setting,
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
            Self::Change | Self::Setting => "change",
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
            Self::Change | Self::Setting => "~ ",
            Self::Delete => "- ",
            Self::Warning => "warning",
            Self::Error => "error",
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

    /// Prints one line, unless the user chose to see less. Errors, and what a plan lists, are always printed.
    pub fn say(&self, event: Event, text: &str) {
        let wanted = match event {
            Event::Error => true,
            Event::Found => self.verbose >= 1,
            Event::Call => self.verbose >= 2,
            _ => !self.quiet,
        };
        if wanted {
            self.write(event, None, text);
        }
    }

    /// Prints a warning under its short name.
    pub fn warn(&self, code: &'static str, text: &str) {
        if !self.quiet {
            self.write(Event::Warning, Some(code), text);
        }
    }

    /// Prints the error that ends the run, or all of them, each under its short name.
    pub fn fail(&self, error: &Error) {
        error.each().iter().for_each(|error| self.write(Event::Error, Some(error.code()), &error.to_string()));
    }

    /// Prints one line of a plan: the product of `--plan`, so with `-q` too.
    pub fn planned(&self, event: Event, text: &str) {
        self.write(event, None, text);
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

    fn write(&self, event: Event, code: Option<&str>, text: &str) {
        let line = match (self.format, code) {
            (LogFormat::Text, None) => format!("{}: {}{text}", self.tool, event.sign()),
            (LogFormat::Text, Some(code)) => format!("{}: {}[{code}]: {text}", self.tool, event.sign()),
            (LogFormat::Json, None) => json!({"tool": self.tool, "event": event.word(), "text": text}).to_string(),
            (LogFormat::Json, Some(code)) => json!({"tool": self.tool, "event": event.word(), "code": code, "text": text}).to_string(),
        };
        // A closed stderr is no reason to stop the work.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}
