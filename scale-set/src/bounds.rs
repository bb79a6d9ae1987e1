//! The bounds between which a number of tasks or instances moves.

use shared::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub min: i32,
    pub max: i32,
}

impl Bounds {
    /// Checks that the minimum is not above the maximum. `place` is the object in the document that holds both. `max_is_wrong` says which
    /// of the two the error names.
    ///
    /// # Errors
    /// Returns [`Error::Document`] at `min` or `max` of `place`.
    pub fn check(self, place: &str, max_is_wrong: bool) -> Result<()> {
        let Self { min, max } = self;
        if min <= max {
            return Ok(());
        }
        let (key, what) = if max_is_wrong {
            ("max", format!("must be at least the minimum of {min}; found {max}"))
        } else {
            ("min", format!("must be at most the maximum of {max}; found {min}"))
        };
        Err(Error::document("scaling-min-above-max", format!("{place}.{key}"), what))
    }
}
