//! The tables of settings in `docs/` are what `--schema` says: `UPDATE_DOCS=1` writes them anew.

use std::fmt::Write as _;

use serde_json::Value;
use tests::tool::{TOOLS, root, run};

/// Where a page's table begins and ends; the key of the settings is in the first line.
const BEGIN: &str = "<!-- settings: ";
const END: &str = "<!-- end -->";

#[test]
fn the_tables_in_docs_are_those_of_the_schema() {
    let mut stale = Vec::new();
    for tool in TOOLS {
        let schema = run("http://127.0.0.1:1", tool, &["--schema"], "").ok().doc();
        let path = root().join("docs").join(format!("{tool}.md"));
        let page = std::fs::read_to_string(&path).unwrap();
        let wanted = rewritten(&page, &schema);
        for part in parts(&schema) {
            assert!(page.contains(&format!("{BEGIN}{part} -->")), "docs/{tool}.md has no table of {part}");
        }
        if wanted != page {
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, wanted).unwrap();
            } else {
                stale.push(format!("docs/{tool}.md"));
            }
        }
    }
    assert!(stale.is_empty(), "{stale:?} differ from --schema: run this test with UPDATE_DOCS=1");
}

/// The keys under which there are settings: `x-net`, `services.*.x-svc` …
fn parts(schema: &Value) -> Vec<String> {
    let names = |properties: &Value, before: &str| {
        let keys = properties.as_object().into_iter().flatten().map(|(key, _)| key);
        keys.filter(|key| key.starts_with("x-") && *key != "x-tags").map(|key| format!("{before}{key}")).collect::<Vec<_>>()
    };
    let services = &schema["properties"]["services"]["additionalProperties"]["properties"];
    [names(&schema["properties"], ""), names(services, "services.*.")].concat()
}

/// The page with every table between its marks as the schema has it.
fn rewritten(page: &str, schema: &Value) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (part, after) = after.split_once(" -->\n").unwrap();
        let (_, after) = after.split_once(END).unwrap();
        let _ = write!(out, "{before}{BEGIN}{part} -->\n{}{END}", table(part, schema));
        rest = after;
    }
    out + rest
}

fn table(part: &str, schema: &Value) -> String {
    let properties = match part.strip_prefix("services.*.") {
        Some(key) => &schema["properties"]["services"]["additionalProperties"]["properties"][key],
        None => &schema["properties"][part],
    };
    let mut rows = format!("| `{part}` | flag | default | meaning |\n|---|---|---|---|\n");
    add(&mut rows, "", properties, schema);
    rows
}

fn add(rows: &mut String, before: &str, part: &Value, schema: &Value) {
    for (key, setting) in resolve(part, schema)["properties"].as_object().into_iter().flatten() {
        let nested = resolve(setting, schema);
        // Settings of settings have rows of their own.
        if nested["properties"].as_object().is_some_and(|all| all.values().any(|one| one["x-flag"].is_string())) {
            add(rows, &format!("{before}{key}."), setting, schema);
            continue;
        }
        let flag = setting["x-flag"].as_str().map_or_else(|| "none".to_owned(), |flag| format!("`{flag}`"));
        let _ = writeln!(rows, "| `{before}{key}` | {flag} | {} | {} |", default(setting), meaning(setting, nested));
    }
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let of = |schema: &'a Value| schema["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#')));
    of(schema).or_else(|| schema["anyOf"].as_array()?.iter().find_map(of)).unwrap_or(schema)
}

fn default(setting: &Value) -> String {
    match setting.get("x-default").or_else(|| setting.get("default")) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", "),
        Some(Value::String(text)) if setting.get("x-default").is_some() => text.clone(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{}`", other.to_string().trim_end_matches(".0")),
    }
}

/// The first paragraph of the description, with the range or the values that are possible.
fn meaning(setting: &Value, resolved: &Value) -> String {
    let text = setting["description"].as_str().or_else(|| resolved["description"].as_str()).unwrap_or_default();
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let range = setting["minimum"].as_f64().zip(setting["maximum"].as_f64()).filter(|(_, max)| *max < 1e9);
    let values = values(resolved);
    match (range, values.is_empty()) {
        (Some(_), _) => format!("{text}; between {} and {}", setting["minimum"], setting["maximum"]),
        (None, false) => format!("{text}; one of {}", values.join(", ")),
        (None, true) => text,
    }
}

fn values(schema: &Value) -> Vec<String> {
    let constant = |one: &Value| one["const"].as_str().map(|value| format!("`{value}`"));
    let plain = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|value| format!("`{value}`"));
    plain.chain(schema["oneOf"].as_array().into_iter().flatten().filter_map(constant)).collect()
}
