//! The flags that every tool has.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use serde::Serialize;

use crate::Error;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Modes")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Common {
    /// Say what would be made, changed or deleted (exit code 3 when there is something), and touch nothing
    #[arg(long)]
    pub plan: bool,
    /// Delete what this tool made, and take its section out of the document
    #[arg(long)]
    pub down: bool,
    /// Print the least IAM policy that this tool needs, and exit
    #[arg(long)]
    pub policy: bool,
    /// Print the JSON schema of this tool's part of the document, and exit
    #[arg(long)]
    pub schema: bool,
    /// Print the completions for a shell, and exit
    #[arg(long, value_name = "SHELL")]
    pub completions: Option<Shell>,
    /// Print the manual page (roff), and exit
    #[arg(long, hide = true)]
    pub man: bool,

    /// Name of the app, instead of the document's `name`
    #[arg(long, value_name = "NAME", help_heading = "For every tool")]
    pub app: Option<String>,
    /// Wait until everything that this tool made is ready
    #[arg(long, overrides_with = "no_wait", help_heading = "For every tool")]
    pub wait: bool,
    /// Print the document as soon as every id is known
    #[arg(long, help_heading = "For every tool")]
    pub no_wait: bool,
    /// Longest time to wait for any one thing
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration, help_heading = "For every tool")]
    pub timeout: Duration,
    /// Tag everything that is made, beside the app's own tags (repeatable; also `x-tags` in the document)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "For every tool")]
    pub tags: Vec<(String, String)>,
    /// AWS region, instead of `AWS_REGION` or the profile's
    #[arg(long, help_heading = "For every tool")]
    pub region: Option<String>,
    /// AWS profile, instead of `AWS_PROFILE`
    #[arg(long, help_heading = "For every tool")]
    pub profile: Option<String>,
    /// Say nothing but errors, and with --plan what would be done
    #[arg(short, long, conflicts_with = "verbose", help_heading = "For every tool")]
    pub quiet: bool,
    /// Say what was found as well; -vv: every AWS call with its request id
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "For every tool")]
    pub verbose: u8,
    /// How to write to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "For every tool")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A plain line a step; live progress on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// `KEY=VALUE`.
///
/// # Errors
/// That it is none.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// The first of these wishes that is given, by its name in the document.
#[must_use]
pub fn first_given<'a>(wishes: &impl Serialize, keys: &[&'a str]) -> Option<&'a str> {
    let wishes = serde_json::to_value(wishes).unwrap_or_default();
    keys.iter().copied().find(|key| wishes.get(key).is_some_and(|wish| !wish.is_null()))
}

/// What is wrong with a wish that was given as a flag is the flag's fault and not the document's: `place` is where the wishes stand in the document
/// (of one service, perhaps), and `flag` how their flags begin.
#[must_use]
pub fn blame(error: Error, place: &str, flag: &str, flags: &impl Serialize) -> Error {
    let Error::Document { path, what } = error else { return error };
    if path.starts_with("--") {
        return Error::document(path, what).of_flag();
    }
    let key = path.strip_prefix(place).and_then(|key| key.split(['.', '[']).next());
    match key.and_then(|key| first_given(flags, &[key])) {
        Some(key) => {
            let service = place.split_once(".x-").map(|(service, _)| format!(" (for {service})")).unwrap_or_default();
            Error::document(format!("{flag}{}{service}", key.replace('_', "-")), what).of_flag()
        }
        None => Error::Document { path, what },
    }
}
