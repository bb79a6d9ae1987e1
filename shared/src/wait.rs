//! The one waiter.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::run::Run;

/// First pause between two reads; most things that can be waited for take longer than that.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause: slow resources (a NAT gateway takes two minutes) are read seldom, to stay below AWS's rate limits.
const LONGEST: Duration = Duration::from_secs(8);

/// Reads again and again until `read` returns something. `what` completes "waiting for …".
///
/// # Errors
/// Returns [`Error::Deadline`] after the run's `--timeout`, [`Error::Interrupted`] on a signal, and every error of `read`.
pub async fn until<T>(run: &Run, what: &str, mut read: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    run.check()?;
    match read().await? {
        Some(found) => Ok(found),
        None => later(run, what, FIRST, read).await,
    }
}

/// As [`until`], for what can't be ready at once: reads first after a pause, and then ever more seldom.
///
/// # Errors
/// As [`until`].
pub async fn later<T>(run: &Run, what: &str, first: Duration, read: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    paced(run, what, (first, LONGEST), run.timeout, read).await
}

/// As [`until`], for what must be noticed soon: reads after every pause.
///
/// # Errors
/// As [`until`].
pub async fn steadily<T>(run: &Run, what: &str, pause: Duration, read: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    paced(run, what, (pause, pause), run.timeout, read).await
}

/// Reads again and again, with a pause before each, for as long as it takes: what a person started and can stop has no deadline.
///
/// # Errors
/// Returns those of `read`, and an interruption.
pub async fn follow<T>(run: &Run, pause: Duration, mut read: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        run.pause(pause).await?;
        if let Some(found) = read().await? {
            return Ok(found);
        }
    }
}

async fn paced<T>(
    run: &Run,
    what: &str,
    (mut pause, longest): (Duration, Duration),
    limit: Duration,
    mut read: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    let _line = run.progress.waiting(what).map(Line);
    loop {
        if began.elapsed() + pause > limit {
            let after = humantime::format_duration(limit).to_string();
            return Err(Error::Deadline { waiting_for: what.to_owned(), after, said: String::new() });
        }
        run.pause(pause).await?;
        if let Some(found) = read().await? {
            return Ok(found);
        }
        pause = (pause * 3 / 2).min(longest);
    }
}

/// What was created before this time is visible everywhere by now. EC2's documentation speaks of seconds.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
pub const LOST: Duration = Duration::from_secs(3);

/// Longest time until a new resource is visible everywhere; IAM's roles take longest. What is not visible then does not exist.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const LAG: Duration = Duration::from_mins(2);

/// Tries again while AWS returns one of the named errors that may only mean "not visible yet". Each caller names its codes, with the reason beside
/// them.
///
/// # Errors
/// As [`until`], every error that `not_yet` does not name, and one that it names when AWS has returned it for two minutes.
pub async fn while_not_yet<T>(
    run: &Run,
    what: &str,
    not_yet: impl Fn(&Error) -> bool,
    attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let limit = LAG.min(run.timeout);
    again(run, what, limit, not_yet, attempt).await.map_err(|(error, last)| match last {
        Some(last) => last.said_for(&humantime::format_duration(limit).to_string()),
        None => error,
    })
}

/// Tries again while AWS returns one of the named errors that mean "something else still uses it", which ends by itself.
///
/// # Errors
/// As [`until`], and every error that `held` does not name. When the time is up, the error repeats what AWS said last.
pub async fn while_held<T>(run: &Run, what: &str, held: impl Fn(&Error) -> bool, attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    again(run, what, run.timeout, held, attempt).await.map_err(|(error, last)| match (error, last) {
        (Error::Deadline { waiting_for, after, .. }, Some(last)) => Error::Deadline { waiting_for, after, said: format!(": {last}") },
        (error, _) => error,
    })
}

/// When the time is up, returns the deadline with the last error beside it.
async fn again<T>(
    run: &Run,
    what: &str,
    limit: Duration,
    known: impl Fn(&Error) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T, (Error, Option<Error>)> {
    let last = RefCell::new(None);
    let mut read = async || match attempt().await {
        Ok(done) => Ok(Some(done)),
        Err(error) if known(&error) => {
            last.replace(Some(error));
            Ok(None)
        }
        Err(error) => Err(error),
    };
    let first = match run.check() {
        Ok(()) => read().await,
        Err(error) => Err(error),
    };
    let done = match first {
        Ok(None) => paced(run, what, (FIRST, LONGEST), limit, read).await,
        Ok(Some(done)) => Ok(done),
        Err(error) => Err(error),
    };
    done.map_err(|error| match error {
        Error::Deadline { .. } => (error, last.take()),
        error => (error, None),
    })
}

/// Creates something that AWS would create twice, because it has no token and no unique name. When the answer is lost, `find` looks it up before
/// the next attempt. For clients of [`crate::client_once`], which do not repeat calls by themselves.
///
/// # Errors
/// As [`until`], and every other error of `make` and `find`.
pub async fn once<T>(
    run: &Run,
    what: &str,
    mut make: impl AsyncFnMut() -> Result<T>,
    mut find: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    match make().await {
        Err(error) if error.leaves_open() => {}
        other => return other,
    }
    later(run, &format!("AWS to show whether it has created {what}"), LOST, async || {
        if let Some(found) = find().await? {
            return Ok(Some(found));
        }
        match make().await {
            Err(error) if error.leaves_open() => Ok(None),
            other => other.map(Some),
        }
    })
    .await
}

/// Clears the live line, also when the wait ends in an error.
struct Line(indicatif::ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::run::tests::{run, wait};

    fn lost() -> Error {
        Error::unanswered("test-lost", "the answer was lost")
    }

    #[test]
    fn once_returns_what_was_created() {
        let made = wait(once(&run(), "the VPC", async || Ok("vpc-1"), async || Err(lost())));
        assert_eq!(made.unwrap(), "vpc-1");
    }

    #[test]
    fn once_finds_what_a_lost_call_created_and_does_not_create_it_again() {
        let (run, makes) = (run(), Cell::new(0));
        let make = async || {
            makes.set(makes.get() + 1);
            Err(lost())
        };
        assert_eq!(wait(once(&run, "the VPC", make, async || Ok(Some("vpc-1")))).unwrap(), "vpc-1");
        assert_eq!(makes.get(), 1);
    }

    #[test]
    fn once_does_not_repeat_what_aws_refused() {
        let refused = wait(once(&run(), "the VPC", async || Err::<(), _>(Error::failed("test-refused", "no")), async || Ok(None)));
        assert_eq!(refused.unwrap_err().code(), "test-refused");
    }

    #[test]
    fn a_wait_ends_at_its_deadline_with_what_was_said_last() {
        let run = Run { timeout: Duration::from_millis(10), ..run() };
        let held = wait(while_held(&run, "it to be unused", |_| true, async || Err::<(), _>(Error::failed("test-used", "it is in use"))));
        let error = held.unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert!(error.to_string().contains("waited 10ms for it to be unused: it is in use"), "{error}");
    }
}
