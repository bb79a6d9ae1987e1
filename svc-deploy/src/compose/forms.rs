//! The forms in which Compose writes the same thing: pairs, words, lists and durations.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use shared::Result;
use shared::doc::At;

/// Reads `{"A": "b"}` or `["A=b"]`; a name without a value has an empty one.
pub fn pairs(at: &At<'_>) -> Result<Vec<(String, String)>> {
    Ok(values(at)?.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// The same as a map; the last of two equal names counts.
pub fn map(at: &At<'_>) -> Result<BTreeMap<String, String>> {
    Ok(pairs(at)?.into_iter().collect())
}

/// The same, with `None` for a name without a value.
pub fn values(at: &At<'_>) -> Result<Vec<(String, Option<String>)>> {
    if at.value().is_array() {
        let pair =
            |text: &str| text.split_once('=').map_or((text.to_owned(), None), |(key, value)| (key.to_owned(), Some(value.to_owned())));
        return at.list()?.iter().map(|item| item.text().map(pair)).collect();
    }
    let value = |at: At<'_>| if at.value().is_null() { Ok(None) } else { at.scalar().map(Some) };
    at.entries()?.into_iter().map(|(key, at)| Ok((key.to_owned(), value(at)?))).collect()
}

/// Reads a list, or a string that is split as a shell does.
pub fn words(at: &At<'_>) -> Result<Vec<String>> {
    if at.value().is_array() {
        return strings(at);
    }
    shlex::split(at.text()?).ok_or_else(|| at.expected("open-quote", "a command with closed quotes"))
}

/// Reads a list, or one string.
pub fn strings(at: &At<'_>) -> Result<Vec<String>> {
    if at.value().is_string() {
        return Ok(vec![at.text()?.to_owned()]);
    }
    at.list()?.iter().map(At::scalar).collect()
}

/// Reads a duration such as `1m30s` in whole seconds, rounded up.
pub fn seconds(at: &At<'_>, range: RangeInclusive<u64>) -> Result<u64> {
    match clamped_seconds(at, &range)? {
        (written, clamped) if written == clamped => Ok(written),
        _ => {
            Err(at
                .expected("duration-of-ecs", &format!("between {} and {} seconds, which is the range of ECS", range.start(), range.end())))
        }
    }
}

/// Returns the seconds that are written, and those of the range that are nearest.
pub fn clamped_seconds(at: &At<'_>, range: &RangeInclusive<u64>) -> Result<(u64, u64)> {
    let written = duration(&at.scalar()?).ok_or_else(|| at.expected("not-a-duration", "a duration, for example 1m30s"))?;
    Ok((written, written.clamp(*range.start(), *range.end())))
}

/// Reads a duration as Go writes it, in seconds, rounded up: `1h30m`, `1.5s`, `500ms`.
/// <https://github.com/compose-spec/compose-spec/blob/main/11-extension.md#specifying-durations>
fn duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (written, behind) = rest.split_at(number);
        let unit = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (name, left) = behind.split_at(unit);
        let factor = match name {
            "w" => 604_800.0,
            "d" => 86400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            "ns" => 0.000_000_001,
            _ => return None,
        };
        seconds += written.parse::<f64>().ok()? * factor;
        rest = left;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is not negative, and one too large becomes the largest"
    )]
    (!text.is_empty()).then_some((seconds - 1e-9).ceil() as u64)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::{Value, json};
    use shared::Document;

    /// Reads a value as a test has it; an error is its message.
    pub fn read<T>(value: &Value, read: impl Fn(&At<'_>) -> Result<T>) -> Result<T, String> {
        let doc = Document::parse(json!({"it": value}).to_string().as_bytes()).unwrap();
        read(&doc.root().key("it").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn pairs_have_two_forms() {
        let both = [json!(["A=1", "B=x=y", "C"]), json!({"A": 1, "B": "x=y", "C": null})];
        for form in both {
            let found = read(&form, values).unwrap();
            let expected = [("A", Some("1")), ("B", Some("x=y")), ("C", None)];
            assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned))));
        }
        assert!(read(&json!([{"A": 1}]), values).unwrap_err().contains("it[0]: must be a string"));
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(read(&json!("sh -c 'a b'"), words).unwrap(), ["sh", "-c", "a b"]);
        assert_eq!(read(&json!(["sh", "a b"]), words).unwrap(), ["sh", "a b"]);
        assert!(read(&json!("echo 'a"), words).unwrap_err().contains("closed quotes"));
    }

    #[test]
    fn durations_are_rounded_up_to_seconds() {
        for (text, expected) in [("1m30s", Ok(90)), ("1500ms", Ok(2)), ("2s", Ok(2)), ("1m0s", Ok(60)), ("1.5s", Ok(2)), ("0.5m", Ok(30))] {
            assert_eq!(read(&json!(text), |at| seconds(at, 2..=90)), expected);
        }
        assert!(read(&json!("1s"), |at| seconds(at, 2..=90)).unwrap_err().contains("between 2 and 90 seconds"));
        for text in ["soon", "", "5", "s", "1.s.s", "-1s"] {
            assert!(read(&json!(text), |at| seconds(at, 2..=90)).unwrap_err().contains("must be a duration"), "{text}");
        }
    }
}
