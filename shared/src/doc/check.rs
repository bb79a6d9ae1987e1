//! Checks of values that more than one tool reads.

use crate::error::{Error, Result};

/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
const RETENTIONS: &[i32] = &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// Checks tags that users set: what all of AWS's services accept.
/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html#tag-conventions>
///
/// # Errors
/// Fails for a tag that is reserved, too long, or has a character that AWS refuses.
pub fn check_tags(path: &str, tags: &[(String, String)]) -> Result<()> {
    let fits = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c));
    for (key, value) in tags {
        let shown: String = key.chars().take(128).collect();
        let place = format!("{path}.{shown}");
        if key.starts_with("ecs-pipe:") || key.starts_with("aws:") {
            return Err(Error::document(
                "tag-reserved",
                place,
                "tags that begin with \"ecs-pipe:\" or \"aws:\" are reserved. Use another key",
            ));
        } else if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(Error::document("tag-length", place, "the key of a tag must have 1 to 128 characters, and its value at most 256"));
        } else if !fits(key) || !fits(value) {
            return Err(Error::document("tag-characters", place, "a tag must have only letters, digits, spaces and _ . : / = + - @"));
        }
    }
    Ok(())
}

/// Checks for how many days log lines are kept.
///
/// # Errors
/// Fails for a number that CloudWatch Logs does not accept.
pub fn check_retention(path: &str, days: i32) -> Result<i32> {
    if RETENTIONS.contains(&days) {
        Ok(days)
    } else {
        let known: Vec<String> = RETENTIONS.iter().map(ToString::to_string).collect();
        Err(Error::document("retention", path, format!("must be one of {} (days); found {days}", known.join(", "))))
    }
}
