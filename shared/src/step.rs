//! The table of steps: waves whose steps run at the same time, walked forwards to build and backwards to take down.

use futures_util::future::join_all;

use crate::error::{Error, Result};
use crate::run::Run;

/// Marks a stop that another step's failure asked for; no signal has this number.
pub(crate) const HALT: i32 = 0;

/// Walks the waves. When a step fails, the others of its wave stop at their next safe point and finish the call that is under way, so that
/// nothing is made unseen.
///
/// # Errors
/// The first error that is not just the echo of another.
pub async fn walk<'a, S: Copy + 'a>(run: &Run, waves: impl Iterator<Item = &'a &'a [S]>, act: impl AsyncFn(S) -> Result<()>) -> Result<()> {
    for wave in waves {
        run.check()?;
        let steps = wave.iter().map(async |step| {
            let done = act(*step).await;
            if done.is_err() {
                run.stop.send_if_modified(|stop| stop.is_none() && stop.replace(HALT).is_none());
            }
            done
        });
        let mut first = Ok(());
        for done in join_all(steps).await {
            if first.is_ok() || matches!(first, Err(Error::Interrupted { signal: HALT })) && done.is_err() {
                first = done;
            }
        }
        first?;
    }
    Ok(())
}

/// Acts on several things at the same time, and lets all of them end before the first error comes out: no call is abandoned with its outcome
/// unknown. The results stand in the order of the items.
///
/// # Errors
/// The first of the errors.
pub async fn each<I: IntoIterator, T>(items: I, act: impl AsyncFn(I::Item) -> Result<T>) -> Result<Vec<T>> {
    join_all(items.into_iter().map(|item| act(item))).await.into_iter().collect()
}
