//! The schedule of a service: other bounds from certain times on.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Error, Result};

use crate::bounds::Bounds;

/// An entry of `x-scale.schedule`: the bounds from its time on, until the time of another entry
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Tells the entries of a service apart
    pub name: String,
    /// As Application Auto Scaling writes it: `cron(0 8 ? * MON-FRI *)`, `rate(12 hours)` or `at(2027-01-01T00:00:00)`
    pub schedule: String,
    /// Time zone of `schedule`, for example `Europe/Vienna`; UTC when not set
    pub timezone: Option<String>,
    /// Minimum number of tasks from then on
    #[schemars(range(min = 0, max = 5000))]
    pub min: Option<i32>,
    /// Maximum number of tasks from then on
    #[schemars(range(min = 0, max = 5000))]
    pub max: Option<i32>,
}

/// The same range as that of `x-scale.min` and `x-scale.max`. Both bounds are 0 for a service that stops at night.
const BOUND: RangeInclusive<i32> = 0..=5000;
/// Characters of a name; AWS accepts more, but the scheduled action's name has a prefix.
const LONGEST_NAME: usize = 64;

/// Checks the entries of one service, which is between `bounds` without them. AWS checks `schedule` and `timezone` itself. `place` is where
/// the list is in the document.
///
/// # Errors
/// Returns [`Error::Document`] for the first entry that is wrong, or that contradicts another one.
pub fn check(entries: &[Entry], place: &str, bounds: Bounds) -> Result<()> {
    let mut names = BTreeSet::new();
    for (i, entry) in entries.iter().enumerate() {
        let place = format!("{place}[{i}]");
        check_name(entry, &place)?;
        if !names.insert(&entry.name) {
            let what = format!("two entries have the name {:?}. Rename one of them", entry.name);
            return Err(Error::document("schedule-name-twice", format!("{place}.name"), what));
        }
        check_range(entry.min, &BOUND, &format!("{place}.min"))?;
        check_range(entry.max, &BOUND, &format!("{place}.max"))?;
        check_bounds(entry, entries, &place, bounds)?;
    }
    Ok(())
}

fn check_name(entry: &Entry, place: &str) -> Result<()> {
    let Entry { name, .. } = entry;
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits {
        return Ok(());
    }
    let what = format!("must be 1 to {LONGEST_NAME} letters, digits, hyphens and underscores; found {name:?}");
    Err(Error::document("schedule-name", format!("{place}.name"), what))
}

fn check_range(value: Option<i32>, range: &RangeInclusive<i32>, place: &str) -> Result<()> {
    match value.filter(|value| !range.contains(value)) {
        Some(value) => {
            let what = format!("must be between {} and {}; found {value}", range.start(), range.end());
            Err(Error::document("schedule-bound-range", place, what))
        }
        None => Ok(()),
    }
}

/// An entry may set one bound alone. The other one is then as the service or another entry has set it, and must go with it in every case.
fn check_bounds(entry: &Entry, entries: &[Entry], place: &str, bounds: Bounds) -> Result<()> {
    let (missing, one) = match (entry.min, entry.max) {
        (None, None) => {
            return Err(Error::document("schedule-without-bounds", place, "must set min, max or both. Add at least one of them"));
        }
        (Some(min), Some(max)) => return Bounds { min, max }.check(place, false),
        (Some(min), None) => ("max", Bounds { min, max: entries.iter().filter_map(|entry| entry.max).fold(bounds.max, i32::min) }),
        (None, Some(max)) => ("min", Bounds { min: entries.iter().filter_map(|entry| entry.min).fold(bounds.min, i32::max), max }),
    };
    if one.min <= one.max {
        return Ok(());
    }
    let what = format!(
        "the minimum would be {} and the maximum {}, because the service or another entry sets {missing}. Set {missing} in this entry, too",
        one.min, one.max
    );
    Err(Error::document("schedule-contradiction", place, what))
}

/// Returns the bounds that a service with these entries should have, when it has `found` now and `wanted` is configured. A bound that an
/// entry has set is kept.
pub fn keep_scheduled(entries: &[Entry], wanted: Bounds, found: Bounds) -> Bounds {
    let min = if entries.iter().any(|entry| entry.min == Some(found.min)) { found.min } else { wanted.min };
    let max = if entries.iter().any(|entry| entry.max == Some(found.max)) { found.max } else { wanted.max };
    if min <= max { Bounds { min, max } } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(min: Option<i32>, max: Option<i32>) -> Entry {
        let name = format!("{min:?}-{max:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        Entry { name, schedule: "rate(1 day)".to_owned(), timezone: None, min, max }
    }

    fn named(name: &str) -> Entry {
        Entry { name: name.to_owned(), ..entry(Some(4), None) }
    }

    #[test]
    fn bounds_that_the_schedule_has_set_are_kept() {
        let entries = [entry(Some(4), None), entry(None, Some(6)), entry(Some(0), Some(0))];
        for (found, max, expected) in [
            ((2, 10), 10, (2, 10)),
            ((4, 10), 10, (4, 10)),
            ((4, 6), 10, (4, 6)),
            ((4, 10), 20, (4, 20)),
            ((3, 7), 10, (2, 10)),
            ((4, 10), 3, (2, 3)),
            ((0, 0), 10, (0, 0)),
        ] {
            let found = Bounds { min: found.0, max: found.1 };
            let expected = Bounds { min: expected.0, max: expected.1 };
            assert_eq!(keep_scheduled(&entries, Bounds { min: 2, max }, found), expected, "{found:?} with a maximum of {max}");
        }
    }

    #[test]
    fn wrong_entries_are_reported_with_their_place() {
        let long = "n".repeat(65);
        for (entries, said) in [
            (vec![named("a b")], "s[0].name: must be 1 to 64 letters, digits, hyphens and underscores; found \"a b\""),
            (vec![named("")], "s[0].name: must be"),
            (vec![named(&long)], "s[0].name: must be"),
            (vec![named("a"), named("b"), named("a")], "s[2].name: two entries have the name \"a\""),
            (vec![entry(None, None)], "s[0]: must set min, max or both"),
            (vec![entry(Some(-1), None)], "s[0].min: must be between 0 and 5000; found -1"),
            (vec![entry(None, Some(-1))], "s[0].max: must be between 0 and 5000; found -1"),
            (vec![entry(Some(1), Some(5001))], "s[0].max: must be between 0 and 5000; found 5001"),
            (vec![entry(Some(9), Some(8))], "s[0].min: must be at most the maximum of 8; found 9"),
        ] {
            let error = check(&entries, "s", Bounds { min: 2, max: 10 }).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn entries_must_not_contradict_the_service_or_each_other() {
        for (entries, expected) in [
            (vec![entry(Some(4), None), entry(None, Some(6))], Ok(())),
            (vec![entry(Some(5), Some(10)), entry(Some(2), Some(3))], Ok(())),
            (vec![entry(Some(10), None)], Ok(())),
            (vec![entry(Some(0), Some(0)), entry(Some(2), Some(10))], Ok(())),
            (vec![entry(Some(11), None)], Err("s[0]: the minimum would be 11 and the maximum 10")),
            (vec![entry(None, Some(1))], Err("s[0]: the minimum would be 2 and the maximum 1")),
            (vec![entry(Some(5), None), entry(Some(2), Some(3))], Err("s[0]: the minimum would be 5 and the maximum 3")),
            (vec![entry(Some(5), Some(9)), entry(None, Some(4))], Err("s[1]: the minimum would be 5 and the maximum 4")),
        ] {
            let said = check(&entries, "s", Bounds { min: 2, max: 10 }).map_err(|error| error.to_string());
            match expected {
                Ok(()) => assert_eq!(said, Ok(()), "{entries:?}"),
                Err(part) => assert!(said.as_ref().is_err_and(|said| said.contains(part)), "{entries:?}: {said:?}"),
            }
        }
    }

    #[test]
    fn unknown_keys_of_an_entry_are_refused() {
        let text = r#"{"name": "a", "schedule": "rate(1 day)", "mim": 4}"#;
        assert!(serde_json::from_str::<Entry>(text).err().unwrap().to_string().contains("unknown field `mim`"));
    }
}
