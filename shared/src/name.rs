//! Names: the app's, and those of its resources, which are derived from it.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::error::{Error, Result};

/// The tag that says which app a resource belongs to.
pub const TAG_APP: &str = "ecs-pipe:app";
/// The tag that says which tool made a resource.
pub const TAG_STAGE: &str = "ecs-pipe:stage";
/// The tag that tells the resources of one stage apart.
pub const TAG_NAME: &str = "ecs-pipe:name";

/// The longest app name: with the longest suffix of ours it still fits AWS's limit of 32 for load balancers.
const LONGEST: usize = 20;

/// Checks the app's name against `[a-z][a-z0-9-]{0,18}[a-z0-9]`.
///
/// # Errors
/// Says what does not fit, and offers a name that does.
pub fn check_app(name: &str, path: &str) -> Result<()> {
    let fits = (2..=LONGEST).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return Ok(());
    }
    let offer = offer(name).map_or_else(String::new, |name| format!("; \"{name}\" would do"));
    Err(Error::document(
        path,
        format!("{name:?} can't name an app: 2 to {LONGEST} lower-case letters, digits and hyphens, a letter first, no hyphen last{offer}"),
    ))
}

fn offer(name: &str) -> Option<String> {
    let mapped: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let cut: String = mapped.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(LONGEST).collect();
    let cut = cut.trim_end_matches('-');
    (cut.len() >= 2).then(|| cut.to_owned())
}

/// Makes a name that AWS takes where the limit is tight: `parts` joined by hyphens, and when that is longer than `limit`, cut and ended by a
/// hash of the whole, so that two long names stay two names.
#[must_use]
pub fn fit(parts: &[&str], limit: usize) -> String {
    let whole: String =
        parts.join("-").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>().trim_matches('-').to_owned();
    if whole.len() <= limit && parts.iter().all(|part| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
        return whole;
    }
    let mut ending = String::new();
    let _ = write!(ending, "-{:08x}", fnv1a(&parts.join("/")));
    let head: String = whole.chars().take(limit - ending.len()).collect();
    format!("{}{ending}", head.trim_end_matches('-'))
}

/// A short text that stays the same as long as `text` does.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    format!("{:08x}{:08x}", fnv1a(text), fnv1a(&text.chars().rev().collect::<String>()))
}

/// FNV-1a, 32 bits: short, and the same in every version (unlike the standard library's hasher).
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Tags as some services give them, as [`crate::Run`] takes them.
pub fn pairs<S>(tags: &HashMap<String, String, S>) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    tags.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_answered_with_one_that_does() {
        assert!(check_app("shop", "name").is_ok());
        for (bad, good) in [("my_shop", "\"my-shop\""), ("Shop", "\"shop\""), ("a-very-long-name-for-an-app", "\"a-very-long-name-for\"")] {
            let said = check_app(bad, "name").err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(good), "{said}");
        }
    }

    #[test]
    fn fitted_names_stay_apart() {
        assert_eq!(fit(&["shop", "web"], 32), "shop-web");
        let (a, b) = (fit(&["shop", &"x".repeat(40), "1"], 32), fit(&["shop", &"x".repeat(40), "2"], 32));
        assert!(a != b && a.len() == 32 && b.len() == 32);
        assert_ne!(fit(&["shop", "a_b"], 32), fit(&["shop", "a-b"], 32));
    }
}
