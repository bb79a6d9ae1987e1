//! The flags that every tool has.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Modes")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Common {
    /// Print what would be created, changed or deleted, and change nothing (exit code 3: changes are pending)
    #[arg(long)]
    pub plan: bool,
    /// Check this tool's settings without a call to AWS, print everything that is wrong, and pass the document on
    #[arg(long, conflicts_with_all = ["plan", "down"])]
    pub check: bool,
    /// Delete what this tool created, and remove its section from the document
    #[arg(long)]
    pub down: bool,
    /// Print the least-privilege IAM policy for this tool, and exit
    ///
    /// It is for the app and the settings of the document on stdin, or for `--app`. Without both, it is for all apps of the account.
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
    /// Deploy the services of this profile of the Compose file, too, instead of those of `COMPOSE_PROFILES`
    ///
    /// Repeatable, or with commas; `*` means all. Services without profiles are always deployed.
    #[arg(long = "compose-profile", value_name = "PROFILE", value_delimiter = ',', help_heading = "For every tool")]
    pub compose_profiles: Vec<String>,
    /// Wait until everything is ready [default: only svc-deploy waits]
    #[arg(long, overrides_with = "no_wait", help_heading = "For every tool")]
    pub wait: bool,
    /// Do not wait: print the document as soon as every ID is known
    #[arg(long, help_heading = "For every tool")]
    pub no_wait: bool,
    /// Longest time to wait for one resource
    ///
    /// For example 30m or 1h30m.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration, help_heading = "For every tool")]
    pub timeout: Duration,
    /// Add a tag to every resource of the app (repeatable; in the document: `x-tags`)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "For every tool")]
    pub tags: Vec<(String, String)>,
    /// AWS region, instead of `AWS_REGION` or the profile's
    #[arg(long, help_heading = "For every tool")]
    pub region: Option<String>,
    /// AWS profile, instead of `AWS_PROFILE`
    #[arg(long, help_heading = "For every tool")]
    pub profile: Option<String>,
    /// Print only errors and, with --plan, the changes
    #[arg(short, long, conflicts_with = "verbose", help_heading = "For every tool")]
    pub quiet: bool,
    /// Also print what was found; -vv prints every AWS call with its request ID
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "For every tool")]
    pub verbose: u8,
    /// Format of the messages on stderr
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "For every tool")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per step, with live progress on a terminal
    Text,
    /// One JSON object per line
    Json,
}

/// `KEY=VALUE`.
///
/// # Errors
/// Fails when there is no `=`, or nothing before it.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must have the form KEY=VALUE".to_owned()),
    }
}

/// The flag of the tools that keep data.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct DeleteData {
    /// With --down: also delete the data of the app's volumes, which is kept otherwise
    #[arg(long, requires = "down")]
    pub delete_data: bool,
}

/// The flag of the tools whose resources belong to services.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Prune {
    /// Delete also what services have that are no longer in the document
    #[arg(long, conflicts_with_all = ["only", "except", "down"])]
    pub prune: bool,
}
