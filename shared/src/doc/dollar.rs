//! `$` in a Compose model: `$$` is one `$`, and `${VAR}` is a variable that nobody has replaced.
//! <https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md>

use serde_json::{Map, Value};

use crate::error::Error;

/// Writes every `$$` as `$`, in keys as well, because `docker compose config` doubles all of them. Returns an error for each variable.
pub fn single(model: &mut Value) -> Vec<Error> {
    let mut errors = Vec::new();
    walk(model, "", &mut errors);
    errors
}

fn walk(value: &mut Value, path: &str, errors: &mut Vec<Error>) {
    match value {
        Value::Object(entries) => {
            let old = std::mem::take(entries);
            *entries = old.into_iter().map(|(key, value)| entry(key, value, path, errors)).collect::<Map<_, _>>();
        }
        Value::Array(items) => items.iter_mut().enumerate().for_each(|(i, item)| walk(item, &format!("{path}[{i}]"), errors)),
        Value::String(text) if text.contains('$') => {
            let (plain, variable) = read(text);
            errors.extend(variable.map(|variable| unresolved(path, &variable)));
            *text = plain;
        }
        _ => {}
    }
}

fn entry(key: String, mut value: Value, path: &str, errors: &mut Vec<Error>) -> (String, Value) {
    let key = if key.contains('$') { read(&key).0 } else { key };
    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
    walk(&mut value, &path, errors);
    (key, value)
}

/// Returns the text with single dollars, and the name of its first variable.
fn read(text: &str) -> (String, Option<String>) {
    let (mut plain, mut variable, mut rest) = (String::with_capacity(text.len()), None, text);
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        plain.push('$');
        rest = match after.strip_prefix('$') {
            Some(after) => after,
            None => {
                let name = after.strip_prefix('{').unwrap_or(after);
                let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                // "$5" and a "$" alone are no variables.
                let is_variable = after.starts_with('{') || name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                variable = variable.or(is_variable.then_some(name));
                after
            }
        };
    }
    plain.push_str(rest);
    (plain, variable)
}

fn unresolved(path: &str, variable: &str) -> Error {
    let what = format!(
        "the variable {variable:?} has no value yet, because Compose sets variables. Pipe the file through `docker compose config`, or write $$ for a dollar sign"
    );
    Error::document("unresolved-variable", path, what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_dollars_are_one_everywhere() {
        let mut model =
            json!({"command": ["echo $$HOME", "$$$$"], "labels": {"a$$b": "pa$$5"}, "n": 1, "price": "5$", "cost": "$5", "x": "a$$$$b"});
        assert!(single(&mut model).is_empty());
        let expected =
            json!({"command": ["echo $HOME", "$$"], "labels": {"a$b": "pa$5"}, "n": 1, "price": "5$", "cost": "$5", "x": "a$$b"});
        assert_eq!(model, expected);
    }

    #[test]
    fn a_variable_is_an_error_with_its_path() {
        let mut model = json!({"services": {"web": {"image": "nginx:${TAG:-1}", "command": ["$HOME", "$${PORT}", "$$${LAST}"]}}});
        let said: Vec<String> = single(&mut model).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("services.web.image: the variable \"TAG\""), "{said:?}");
        assert!(said[1].contains("services.web.command[0]: the variable \"HOME\""), "{said:?}");
        assert!(said[2].contains("services.web.command[2]: the variable \"LAST\""), "{said:?}");
    }
}
