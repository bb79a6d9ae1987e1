//! Everything that can go wrong: each kind has its exit code, each error its short name (`docs/troubleshooting.md`).

use std::fmt;

use super::refusal::{Code, Refusal};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of errors. The texts are what the user reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(Message),
    /// The document is wrong. `path` is the place, as in `services.web.ports[0]`.
    #[error("the document is wrong at {path}: {what}")]
    Document { code: &'static str, path: String, what: String },
    /// A section that the tool needs is not in the document.
    #[error(
        "the document has no section \"{section}\", which {maker} writes. Add {maker} to the pipe before this tool. If it is there, its error is above. Nothing was changed"
    )]
    Missing { section: &'static str, maker: &'static str },
    /// Everything that is wrong, in the order in which it was found; at least two.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    #[error("{0}")]
    Aws(Box<Refusal>),
    /// AWS or Docker did what it was told, but the result is not what is needed.
    #[error("{0}")]
    Failed(Message),
    /// Permission was refused, but not by AWS's API.
    #[error("{0}")]
    Denied(Message),
    /// Something that is needed can't be reached.
    #[error("{0}")]
    Unavailable(Message),
    /// A call got no answer, so it is not known whether AWS acted.
    #[error("{0}")]
    Unanswered(Message),
    #[error(
        "waited {after} for {waiting_for}{said}. AWS goes on working. Run the same command again to go on waiting, or set a longer --timeout"
    )]
    Deadline { waiting_for: String, after: String, said: String },
    #[error("interrupted. Run the same command again to go on from here")]
    Interrupted(Stop),
    /// A mistake in ecs-pipe itself.
    #[error("internal error: {0}. This is a bug in ecs-pipe: report it with the command and the output of -vv")]
    Internal(String),
}

/// A text with its short name, which is unique over all tools.
#[derive(Debug)]
pub struct Message {
    code: &'static str,
    text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a run stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT, as from Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// Another step failed; its error is the one that is reported.
    OtherStep,
}

impl Stop {
    /// 128 and the signal's number, as a shell has it. The third kind is never a run's own end.
    fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt | Self::OtherStep => 130,
            Self::Terminate => 143,
        }
    }
}

/// Characters of a path or a message that are shown: what others wrote into the document may be long.
const LONGEST_PATH: usize = 200;
const LONGEST_TEXT: usize = 600;

impl Error {
    pub fn usage(code: &'static str, text: impl Into<String>) -> Self {
        Self::Usage(Message { code, text: text.into() })
    }

    /// A value in the document is wrong at `path`.
    pub fn document(code: &'static str, path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Document { code, path: cut(path.into(), LONGEST_PATH), what: cut(what.into(), LONGEST_TEXT) }
    }

    pub fn failed(code: &'static str, text: impl Into<String>) -> Self {
        Self::Failed(Message { code, text: text.into() })
    }

    pub fn denied(code: &'static str, text: impl Into<String>) -> Self {
        Self::Denied(Message { code, text: text.into() })
    }

    pub fn unavailable(code: &'static str, text: impl Into<String>) -> Self {
        Self::Unavailable(Message { code, text: text.into() })
    }

    pub fn unanswered(code: &'static str, text: impl Into<String>) -> Self {
        Self::Unanswered(Message { code, text: text.into() })
    }

    /// Returns these errors as one.
    pub(crate) fn all(mut errors: Vec<Self>) -> Option<Self> {
        if errors.len() > 1 { Some(Self::Several(errors)) } else { errors.pop() }
    }

    /// Returns the errors that this one consists of.
    pub(crate) fn each(&self) -> &[Self] {
        if let Self::Several(errors) = self { errors } else { std::slice::from_ref(self) }
    }

    /// The process's exit code for this kind; the only place where one is chosen.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Internal(_) => 1,
            Self::Denied(_) => 77,
            Self::Usage(_) => 2,
            Self::Document { .. } | Self::Missing { .. } => 65,
            Self::Unavailable(_) => 69,
            Self::Unanswered(_) | Self::Deadline { .. } => 75,
            Self::Interrupted(stop) => stop.exit_code(),
            // A wrong document comes before wrong flags, because it is there in the next run, too.
            Self::Several(errors) => errors.iter().map(Self::exit_code).max().unwrap_or(1),
            Self::Aws(refusal) => refusal.exit_code(),
        }
    }

    /// The error's short name, as in `error[two-services-one-path]`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        // Literals, so that the test of docs/troubleshooting.md finds them.
        match self {
            Self::Usage(said) | Self::Failed(said) | Self::Denied(said) | Self::Unavailable(said) | Self::Unanswered(said) => said.code,
            Self::Document { code, .. } => code,
            Self::Missing { .. } => Code::new("missing-section", "").name,
            Self::Deadline { .. } => Code::new("deadline", "").name,
            Self::Interrupted(_) => Code::new("interrupted", "").name,
            Self::Internal(_) => Code::new("internal", "").name,
            Self::Several(errors) => errors.first().map_or("", Self::code),
            Self::Aws(refusal) => refusal.name(),
        }
    }

    /// The same as the fault of a flag: found where the document is checked, but the value came from the command line.
    pub(crate) fn of_flag(self) -> Self {
        match self {
            Self::Document { code, path, what } => Self::Usage(Message { code, text: format!("{path}: {what}") }),
            other => other,
        }
    }
}

fn cut(text: String, most: usize) -> String {
    if text.chars().nth(most).is_none() { text } else { text.chars().take(most).chain(['…']).collect() }
}

/// Returns a value that AWS always gives, though its SDK does not promise it. `what` completes "AWS's answer lacks …".
///
/// # Errors
/// Fails when AWS did not give it after all.
pub fn given<T: ToOwned + ?Sized>(value: Option<&T>, what: &str) -> Result<T::Owned> {
    value
        .map(ToOwned::to_owned)
        .ok_or_else(|| Error::failed("incomplete-answer", format!("AWS's answer lacks {what}. Run the same command again")))
}

/// Returns a value that an earlier step of the same run has made. `what` completes "… is not known yet".
///
/// # Errors
/// Returns [`Error::Internal`] when a step ran before the value existed.
pub fn made<T: ToOwned + ?Sized>(value: Option<&T>, what: &str) -> Result<T::Owned> {
    value.map(ToOwned::to_owned).ok_or_else(|| Error::Internal(format!("{what} is not known yet, but a step needs it")))
}

/// Turns "not found" into `None`.
///
/// # Errors
/// Returns every other error unchanged.
pub fn if_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_text_name_and_exit_code() {
        let deadline = Error::Deadline { waiting_for: "the NAT gateway".to_owned(), after: "15m".to_owned(), said: String::new() };
        for (error, name, code, text) in [
            (
                Error::Missing { section: "net", maker: "net-up" },
                "missing-section",
                65,
                "the document has no section \"net\", which net-up writes. Add net-up to the pipe before this tool. If it is there, its error is above. Nothing was changed",
            ),
            (
                deadline,
                "deadline",
                75,
                "waited 15m for the NAT gateway. AWS goes on working. Run the same command again to go on waiting, or set a longer --timeout",
            ),
            (Error::Interrupted(Stop::Interrupt), "interrupted", 130, "interrupted. Run the same command again to go on from here"),
            (Error::Interrupted(Stop::Terminate), "interrupted", 143, "interrupted. Run the same command again to go on from here"),
            (
                Error::Internal("no ID".to_owned()),
                "internal",
                1,
                "internal error: no ID. This is a bug in ecs-pipe: report it with the command and the output of -vv",
            ),
            (
                Error::document("test-place", "services.web", "is wrong"),
                "test-place",
                65,
                "the document is wrong at services.web: is wrong",
            ),
        ] {
            assert_eq!((error.code(), error.exit_code(), error.to_string().as_str()), (name, code, text));
        }
    }

    #[test]
    fn what_others_wrote_is_cut() {
        let long = Error::document("test-long", "x".repeat(1000), "y".repeat(5000)).to_string();
        assert!(long.chars().count() < 850 && long.contains('…'));
    }
}
