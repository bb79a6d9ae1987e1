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

/// Tags that AWS accepts on a resource, without those that ecs-pipe and AWS add.
/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html#tag-conventions>
const MOST_TAGS: usize = 40;

/// Checks the tags that all resources get, together.
///
/// # Errors
/// Fails for too many of them, and for keys that differ by case alone, which IAM takes for the same.
pub fn check_all_tags(path: &str, tags: &[(String, String)]) -> Result<()> {
    check_tags(path, tags)?;
    if tags.len() > MOST_TAGS {
        let what = format!("must have at most {MOST_TAGS} tags, because AWS accepts 50 and ecs-pipe adds its own; found {}", tags.len());
        return Err(Error::document("tag-count", path, what));
    }
    let lower = |key: &str| key.to_lowercase();
    let twice = tags.iter().enumerate().find_map(|(i, (key, _))| {
        let (other, _) = tags[..i].iter().find(|(other, _)| lower(other) == lower(key))?;
        Some((key, other))
    });
    match twice {
        Some((key, other)) => Err(Error::document(
            "tag-case",
            format!("{path}.{key}"),
            format!("differs from {other} by case alone, and IAM takes both for the same key. Remove one of them"),
        )),
        None => Ok(()),
    }
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

/// Returns whether this is the ARN of a managed policy of IAM.
#[must_use]
pub fn is_policy(arn: &str) -> bool {
    matches!(arn.splitn(6, ':').collect::<Vec<_>>()[..], ["arn", _, "iam", "", _, name] if name.starts_with("policy/"))
}

/// Checks the ARN of a permissions boundary.
///
/// # Errors
/// Fails for what is not the ARN of a managed policy.
pub fn check_boundary(path: &str, arn: Option<String>) -> Result<Option<String>> {
    match arn {
        Some(arn) if !is_policy(&arn) => {
            Err(Error::document("permissions-boundary", path, format!("must be the ARN of a managed policy; found {arn:?}")))
        }
        arn => Ok(arn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_the_arn_of_a_managed_policy() {
        let is_right = |arn: &str| check_boundary("x-svc.permissions_boundary", Some(arn.to_owned())).is_ok();
        assert!(is_right("arn:aws-cn:iam::123456789012:policy/teams/limit") && is_right("arn:aws:iam::aws:policy/PowerUserAccess"));
        assert!(!is_right("limit") && !is_right("arn:aws:iam::123456789012:role/limit") && check_boundary("", None).is_ok());
    }

    #[test]
    fn tags_that_iam_takes_for_the_same_are_refused() {
        let tags = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), String::new())).collect::<Vec<_>>();
        let code = |tags: &[(String, String)]| check_all_tags("x-tags", tags).map_err(|error| error.code());
        assert_eq!(code(&tags(&["Team", "team2"])), Ok(()));
        assert_eq!(code(&tags(&["Team", "a", "team"])), Err("tag-case"));
        let many: Vec<String> = (0..41).map(|i| format!("key{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!((code(&tags(&many[..40])), code(&tags(&many))), (Ok(()), Err("tag-count")));
        assert_eq!(code(&tags(&["a!"])), Err("tag-characters"));
    }
}
