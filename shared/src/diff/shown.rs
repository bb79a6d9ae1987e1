//! Values as a person writes them: text as it is, `none` for nothing.

use std::collections::BTreeSet;

/// What is shown for a value that is not there.
pub const NONE: &str = "none";
/// Characters of a value that are shown; a policy would fill the screen.
const LONGEST: usize = 100;

/// A value that a plan can show.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        if self.is_empty() { NONE.to_owned() } else { self.to_owned() }
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.as_str().shown()
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> String {
        (**self).shown()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| NONE.to_owned(), Shown::shown)
    }
}

impl<T: Shown> Shown for [T] {
    fn shown(&self) -> String {
        self.iter().map(Shown::shown).collect::<Vec<_>>().join(", ").shown()
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> String {
        self.as_slice().shown()
    }
}

impl<T: Shown> Shown for BTreeSet<T> {
    fn shown(&self) -> String {
        self.iter().map(Shown::shown).collect::<Vec<_>>().shown()
    }
}

macro_rules! shown_as_written {
    ($($kind:ty)*) => { $(impl Shown for $kind {
        fn shown(&self) -> String {
            self.to_string()
        }
    })* };
}

shown_as_written!(bool i32 i64 u8 u16 u32 u64 usize f64);

/// A long value without its middle: both ends say what it is.
pub fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= LONGEST {
        return text.to_owned();
    }
    let half = LONGEST / 2;
    text.chars().take(half).chain(['…']).chain(text.chars().skip(count - half)).collect()
}

/// Two values, of which long ones are shortened so that the difference is still there.
pub fn short_pair(found: &str, wanted: &str) -> (String, String) {
    let pair = (short(found), short(wanted));
    if pair.0 != pair.1 {
        return pair;
    }
    let same = found.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    let start = same.saturating_sub(LONGEST / 2);
    let part = |text: &str| ['…'].into_iter().chain(text.chars().skip(start).take(LONGEST)).chain(['…']).collect();
    (part(found), part(wanted))
}
