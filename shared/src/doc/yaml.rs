//! YAML as Compose reads it.

use serde_json::{Number, Value};
use serde_saphyr::{Error as YamlError, Options};

use crate::error::{Error, Result};

/// Reads one YAML document.
///
/// # Errors
/// Says in which line and column the text is wrong, or which limit it exceeds.
pub fn parse(text: &[u8]) -> Result<Value> {
    let mut value: Value = serde_saphyr::from_slice_with_options(text, options()).map_err(|error| wrong(&error))?;
    whole(&mut value);
    Ok(value)
}

/// Compose reads YAML with go-yaml: `017` is a number to base 8, and a key may be there once.
/// <https://github.com/go-yaml/yaml/tree/v3#compatibility>
fn options() -> Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        // `on` and `no` are words.
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 250_000,
            // One block of defaults is merged into every service, which is a hundred aliases of a few anchors in a large app. What aliases
            // copy is limited below.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 250_000 },
    }
}

fn wrong(error: &YamlError) -> Error {
    let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column())).unwrap_or_default();
    let said = error.without_snippet().to_string();
    // The place is in the text, too.
    let said = said.split(" at line ").next().unwrap_or(&said).trim_end_matches([' ', ',', ':']);
    let what = format!("not YAML{place}: {said}. Check the file with `docker compose config`");
    Error::document("not-yaml", "stdin", what)
}

/// Writes `1.0` and `1e3` as Go does, as 1 and 1000: where Compose wants text, it takes that.
fn whole(value: &mut Value) {
    match value {
        Value::Object(entries) => entries.values_mut().for_each(whole),
        Value::Array(items) => items.iter_mut().for_each(whole),
        Value::Number(number) if number.as_i64().is_none() => {
            // Above this, Go writes an exponent.
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15) {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number far below i64's end")]
                let whole = float as i64;
                *number = Number::from(whole);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn lines(lines: impl Iterator<Item = String>) -> String {
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn words_and_numbers_are_those_of_compose() {
        let text = "{a: on, b: no, c: 0o17, d: 22:22, e: 017, f: 1.10, g: 1_000, h: 0x1F, i: ~, j: \"yes\", k: 1e3, l: 2024-01-01, m: .5, n: true, o: +12}";
        let expected = json!({"a": "on", "b": "no", "c": 15, "d": "22:22", "e": 15, "f": 1.1, "g": 1000, "h": 31, "i": null, "j": "yes", "k": 1000,
            "l": "2024-01-01", "m": 0.5, "n": true, "o": 12});
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn anchors_and_merge_keys_are_expanded() {
        let text = "x-all: &all {restart: always, environment: {A: b}}\nservices:\n  web:\n    <<: *all\n    image: nginx\n  api:\n    <<: [*all]\n    restart: \"no\"\n";
        let web = json!({"restart": "always", "environment": {"A": "b"}, "image": "nginx"});
        let api = json!({"restart": "no", "environment": {"A": "b"}});
        let read = read(text).unwrap();
        assert_eq!((&read["services"]["web"], &read["services"]["api"]), (&web, &api));
    }

    #[test]
    fn blocks_and_keys_that_are_numbers_are_text() {
        let read = read("a: |\n  one\n  two\nb: >-\n  one\n  two\n8080: x\n\"é\\n'\": \"\\u00e9\"\n").unwrap();
        assert_eq!(read, json!({"a": "one\ntwo\n", "b": "one two", "8080": "x", "é\n'": "é"}));
    }

    #[test]
    fn mistakes_have_their_line_and_column() {
        let said = read("services:\n  web:\n    image: [nginx\n  api: x\n").unwrap_err();
        assert!(said.contains("not YAML at line ") && said.contains(", column "), "{said}");
        let said = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(said.contains("line 3, column 1") && said.contains("duplicate"), "{said}");
    }

    #[test]
    fn bombs_are_refused() {
        let line =
            |i: usize| format!("a{i}: &a{i} [{}]", vec![if i == 0 { "x".to_owned() } else { format!("*a{}", i - 1) }; 10].join(", "));
        assert!(read(&lines((0..10).map(line))).is_err());
        assert!(read(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))).is_err());
        assert!(read(&lines((0..2000).map(|i| format!("{}a:", " ".repeat(i))))).is_err());
    }

    #[test]
    fn many_aliases_of_one_anchor_are_taken() {
        let services = lines((0..150).map(|i| format!("  s{i}: {{<<: *all, image: nginx}}")));
        assert!(read(&format!("x-all: &all {{restart: always}}\nservices:\n{services}")).is_ok());
    }
}
