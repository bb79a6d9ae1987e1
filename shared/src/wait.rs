//! The one waiter.

use std::cell::RefCell;
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
    paced(run, what, (first, LONGEST), run.timeout, look).await
}

/// As [`until`], for what must be noticed soon: looks after every pause.
///
/// # Errors
/// As [`until`].
pub async fn steadily<T>(run: &Run, what: &str, pause: Duration, look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    paced(run, what, (pause, pause), run.timeout, look).await
}

async fn paced<T>(
    run: &Run,
    what: &str,
    (mut pause, longest): (Duration, Duration),
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    let _line = run.progress.waiting(what).map(Line);
    loop {
        if began.elapsed() + pause > limit {
            let after = humantime::format_duration(limit).to_string();
            return Err(Error::Deadline { waiting_for: what.to_owned(), after, said: String::new() });
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

/// Longest time that AWS may need to know everywhere what is new; IAM's roles take longest. What is not known then is not there.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const LAG: Duration = Duration::from_mins(2);

/// Tries again while AWS says one of the named things that may only mean "not yet everywhere". Each caller names its codes, with the reason beside
/// them.
///
/// # Errors
/// As [`until`], every error that `not_yet` does not know, and one that it knows when AWS has said it for two minutes.
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

/// Tries again while AWS says one of the named things that mean "something else still holds it", which goes by itself.
///
/// # Errors
/// As [`until`], and every error that `held` does not know. When the time is up, what AWS said last stands in it.
pub async fn while_held<T>(run: &Run, what: &str, held: impl Fn(&Error) -> bool, attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    again(run, what, run.timeout, held, attempt).await.map_err(|(error, last)| match (error, last) {
        (Error::Deadline { waiting_for, after, .. }, Some(last)) => Error::Deadline { waiting_for, after, said: format!(": {last}") },
        (error, _) => error,
    })
}

/// When the time is up, the error has what was said last beside it.
async fn again<T>(
    run: &Run,
    what: &str,
    limit: Duration,
    known: impl Fn(&Error) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T, (Error, Option<Error>)> {
    let last = RefCell::new(None);
    let mut look = async || match attempt().await {
        Ok(done) => Ok(Some(done)),
        Err(error) if known(&error) => {
            last.replace(Some(error));
            Ok(None)
        }
        Err(error) => Err(error),
    };
    let first = match run.check() {
        Ok(()) => look().await,
        Err(error) => Err(error),
    };
    let done = match first {
        Ok(None) => paced(run, what, (FIRST, LONGEST), limit, look).await,
        Ok(Some(done)) => Ok(done),
        Err(error) => Err(error),
    };
    done.map_err(|error| match error {
        Error::Deadline { .. } => (error, last.take()),
        error => (error, None),
    })
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
