//! The one waiter.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::run::Run;

/// First pause between two looks; most things that can be waited for take longer than that.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause: slow things (a NAT gateway takes two minutes) are asked for seldom, to stay clear of the throttles.
const LONGEST: Duration = Duration::from_secs(8);

/// Looks again and again until `look` gives something. `what` completes "waiting for …".
///
/// # Errors
/// [`Error::Deadline`] after the run's `--timeout`, [`Error::Interrupted`] on a signal, and whatever `look` fails with.
pub async fn until<T>(run: &Run, what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    run.check()?;
    match look().await? {
        Some(found) => Ok(found),
        None => later(run, what, FIRST, look).await,
    }
}

/// As [`until`], for what can't be there at once: looks first after a pause, and then ever more seldom.
///
/// # Errors
/// As [`until`].
pub async fn later<T>(run: &Run, what: &str, first: Duration, look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    paced(run, what, first, LONGEST, look).await
}

/// As [`until`], for what must be noticed soon: looks after every pause.
///
/// # Errors
/// As [`until`].
pub async fn steadily<T>(run: &Run, what: &str, pause: Duration, look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    paced(run, what, pause, pause, look).await
}

async fn paced<T>(
    run: &Run,
    what: &str,
    first: Duration,
    longest: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    let mut pause = first;
    let _line = run.progress.waiting(what).map(Line);
    loop {
        if began.elapsed() + pause > run.timeout {
            return Err(Error::Deadline { waiting_for: what.to_owned(), after: humantime::format_duration(run.timeout).to_string() });
        }
        run.pause(pause).await?;
        if let Some(found) = look().await? {
            return Ok(found);
        }
        pause = (pause * 3 / 2).min(longest);
    }
}

/// What was made before this time is known everywhere by now. EC2 speaks of seconds.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
pub const LOST: Duration = Duration::from_secs(3);

/// Tries again while AWS says one of the named things that only mean "not yet everywhere". Each caller names its codes, with the reason beside
/// them.
///
/// # Errors
/// As [`until`], and every error that `not_yet` does not know.
pub async fn while_not_yet<T>(
    run: &Run,
    what: &str,
    not_yet: impl Fn(&Error) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    until(run, what, async || match attempt().await {
        Ok(done) => Ok(Some(done)),
        Err(error) if not_yet(&error) => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

/// Makes something that AWS would make twice, because it has no token and no name for it. When the answer is lost, `find` looks for it before
/// it is tried again. For clients of [`crate::client_once`], which do not try again by themselves.
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
    later(run, &format!("AWS to say whether it has made {what}"), LOST, async || {
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

/// Clears the live line, also when the wait ends by an error.
struct Line(indicatif::ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
