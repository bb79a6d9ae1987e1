//! The table of steps: waves whose steps run at the same time, walked forwards to build and backwards to take down.

use futures_util::future::join_all;

use crate::error::{Error, Result, Stop};
use crate::run::Run;

/// Walks the waves. When a step fails, the others of its wave finish the call that is under way and stop at their next safe point, so that
/// every outcome is known.
///
/// # Errors
/// Returns the first error that is not just another step's stop.
pub async fn walk<'a, S: Copy + 'a>(run: &Run, waves: impl Iterator<Item = &'a &'a [S]>, act: impl AsyncFn(S) -> Result<()>) -> Result<()> {
    for wave in waves {
        run.check()?;
        let steps = wave.iter().map(async |step| {
            let done = act(*step).await;
            if done.is_err() {
                run.stop_others();
            }
            done
        });
        let mut first = Ok(());
        for done in join_all(steps).await {
            if first.is_ok() || matches!(first, Err(Error::Interrupted(Stop::OtherStep))) && done.is_err() {
                first = done;
            }
        }
        first?;
    }
    Ok(())
}

/// Acts on several things at the same time and lets all of them end before it returns, so that no call's outcome is unknown. The results are in
/// the order of the items.
///
/// # Errors
/// Returns the first of the errors.
pub async fn each<I: IntoIterator, T>(items: I, act: impl AsyncFn(I::Item) -> Result<T>) -> Result<Vec<T>> {
    join_all(items.into_iter().map(|item| act(item))).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::run::tests::{run, wait};

    const WAVES: &[&[&str]] = &[&["a", "b"], &["c"]];

    #[test]
    fn waves_are_walked_one_after_another_and_their_steps_together() {
        let (run, seen) = (run(), RefCell::new(Vec::new()));
        let act = async |step: &'static str| {
            seen.borrow_mut().push(format!("{step} begins"));
            run.pause(Duration::from_millis(1)).await?;
            seen.borrow_mut().push(format!("{step} ends"));
            Ok(())
        };
        wait(walk(&run, WAVES.iter(), act)).unwrap();
        assert_eq!(*seen.borrow(), ["a begins", "b begins", "a ends", "b ends", "c begins", "c ends"]);
    }

    #[test]
    fn a_failure_stops_the_others_and_is_the_one_that_is_reported() {
        let (run, seen) = (run(), RefCell::new(Vec::new()));
        let act = async |step: &'static str| {
            if step == "b" {
                return Err(Error::failed("test-failure", "b failed"));
            }
            run.pause(Duration::from_secs(20)).await?;
            seen.borrow_mut().push(step);
            Ok(())
        };
        let failed = wait(walk(&run, WAVES.iter(), act)).unwrap_err();
        assert_eq!(failed.code(), "test-failure");
        assert!(seen.borrow().is_empty(), "neither a nor c went on: {seen:?}");
    }

    #[test]
    fn a_stop_of_the_other_steps_is_taken_back_but_a_signal_is_not() {
        let run = run();
        run.stop.send_replace(Some(Stop::OtherStep));
        run.go_on();
        assert!(run.check().is_ok());
        run.stop.send_replace(Some(Stop::Terminate));
        run.go_on();
        assert_eq!(run.check().unwrap_err().exit_code(), 143);
    }

    #[test]
    fn each_lets_all_end_before_it_fails() {
        let seen = RefCell::new(Vec::new());
        let act = async |n: u64| {
            tokio::time::sleep(Duration::from_millis(n)).await;
            seen.borrow_mut().push(n);
            if n == 1 { Err(Error::failed("test-first", "first")) } else { Ok(n) }
        };
        assert!(wait(each([1, 5], act)).is_err());
        assert_eq!(*seen.borrow(), [1, 5]);
    }
}
