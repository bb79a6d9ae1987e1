//! Settings, each declared once: type, range, default and description. Flag, check, `--schema`, `--help` and the tables in `docs/` follow from it.

use clap::Command;
use clap::builder::StyledStr;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::diff::Shown as _;
use crate::doc::{At, Caller, Document};
use crate::error::{Error, Result};

/// Declares the settings under one key of the document: a struct of flags, each optional, and a struct of the settings with their defaults.
///
/// ```ignore
/// shared::settings! {
///     /// `x-net`: the network
///     pub struct Settings, Flags {
///         /// Number of availability zones
///         azs: u8 [2..=4] = 2, arg(long);
///         /// ID of an existing VPC to use
///         vpc: String, arg(long, value_name = "VPC_ID");
///     }
/// }
/// ```
///
/// A setting without a default is an `Option`. `arg(skip)` marks one that only the document can hold. In `schemars(extend(…))`, `x-default` says in
/// words what the default depends on, and `x-flag` names a flag that is not called like the setting.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $settings:ident, $flags:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $kind:ty $([$min:literal ..= $max:literal])? $(= $default:expr)? $(, $attr:meta)*; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default)]
        $vis struct $flags {
            $(
                $(#[doc = $doc])+
                $(#[schemars(extend("minimum" = $min, "maximum" = $max))])?
                $(#[schemars(extend("default" = $crate::settings::of::<$kind>($default)))])?
                $(#[$attr])*
                pub $key: Option<$kind>,
            )+
        }

        $(#[doc = $about])+
        $vis struct $settings {
            $( $(#[doc = $doc])+ pub $key: $crate::settings!(@kind $kind $(, $default)?), )+
        }

        impl From<$flags> for $settings {
            fn from(flags: $flags) -> Self {
                Self { $( $key: $crate::settings!(@value flags.$key $(, $default)?), )+ }
            }
        }
    };
    (@kind $kind:ty) => { Option<$kind> };
    (@kind $kind:ty, $default:expr) => { $kind };
    (@value $value:expr) => { $value };
    (@value $value:expr, $default:expr) => { $value.unwrap_or_else(|| $default) };
}

/// Tells the macro's defaults their type.
#[doc(hidden)]
#[must_use]
pub const fn of<T>(value: T) -> T {
    value
}

/// Reads the settings under a key: flag over document over default.
///
/// # Errors
/// Says where and how a value is wrong, in the document or in a flag.
pub fn read<F, S>(doc: &Document, at: &At<'_>, key: &str, flags: &F) -> Result<S>
where
    F: Serialize + DeserializeOwned + JsonSchema,
    S: From<F>,
{
    read_flags(doc, at, key, flags).map(S::from)
}

/// The same without the defaults, to see what is given.
///
/// # Errors
/// As [`read`].
pub fn read_flags<F: Serialize + DeserializeOwned + JsonSchema>(doc: &Document, at: &At<'_>, key: &str, flags: &F) -> Result<F> {
    let schema = schemars::schema_for!(F).to_value();
    let given = at.key(key);
    if let Some(given) = &given {
        check_objects(given, &schema, &schema)?;
        warn_of_unknown(doc, given, &schema, &schema)?;
    }
    let path = if at.path().is_empty() { key.to_owned() } else { format!("{}.{key}", at.path()) };
    let mut merged = given.map_or_else(|| json!({}), |given| given.value().clone());
    merge(&mut merged, &serde_json::to_value(flags).unwrap_or_default());
    check_each::<F>(doc, &path, &merged, &schema)?;
    At::of(path, &merged).typed()
}

/// Checks each setting alone, so that all wrong ones are reported.
fn check_each<F: DeserializeOwned>(doc: &Document, path: &str, merged: &Value, schema: &Value) -> Result<()> {
    let check = |(key, value): (&String, &Value)| {
        let alone = json!({ key: value });
        let at = At::of(path.to_owned(), &alone);
        check_ranges(&at, schema, schema)?;
        at.typed::<F>().map(drop)
    };
    doc.all(merged.as_object().into_iter().flatten().map(check)).map(drop)
}

/// A setting that `F` does not know would be ignored in silence, though it may be a typing mistake.
fn warn_of_unknown(doc: &Document, at: &At<'_>, schema: &Value, root: &Value) -> Result<()> {
    let Some(properties) = object_of(schema, root).and_then(|object| object.get("properties")) else { return Ok(()) };
    // A value of the wrong type is reported when it is read.
    if !at.value().is_object() {
        return Ok(());
    }
    for (name, place) in at.entries()? {
        match properties.get(name) {
            Some(property) => warn_of_unknown(doc, &place, property, root)?,
            None => doc.warn("unknown-setting", format!("{} is unknown to this version and has no effect", place.path())),
        }
    }
    Ok(())
}

/// A flag must not hide that the document has something else where the settings should be. serde would also read a list as fields in their order.
fn check_objects(at: &At<'_>, schema: &Value, root: &Value) -> Result<()> {
    let Some(properties) = resolve(schema, root).get("properties").and_then(Value::as_object) else { return Ok(()) };
    if !at.value().is_object() {
        return Err(at.expected("settings-not-an-object", "an object"));
    }
    properties
        .iter()
        .filter_map(|(name, property)| Some((at.key(name)?, property)))
        .try_for_each(|(at, property)| check_objects(&at, property, root))
}

fn check_ranges(at: &At<'_>, schema: &Value, root: &Value) -> Result<()> {
    let Some(properties) = resolve(schema, root).get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (name, property) in properties {
        let Some(at) = at.key(name) else { continue };
        check_ranges(&at, property, root)?;
        let (Some(min), Some(max)) = (property.get("minimum").and_then(Value::as_f64), property.get("maximum").and_then(Value::as_f64))
        else {
            continue;
        };
        // Compose prints some numbers as text.
        let number = at.scalar().ok().and_then(|text| text.parse::<f64>().ok());
        if number.is_some_and(|value| !(min..=max).contains(&value)) {
            return Err(at.expected("setting-out-of-range", &format!("between {min} and {max}")));
        }
    }
    Ok(())
}

/// Writes the given flags into the document's settings, object by object.
fn merge(document: &mut Value, flags: &Value) {
    match (document, flags) {
        (Value::Object(document), Value::Object(flags)) => {
            for (key, value) in flags.iter().filter(|(_, value)| !value.is_null()) {
                merge(document.entry(key).or_insert(Value::Null), value);
            }
        }
        (document, flags) => *document = flags.clone(),
    }
}

/// Returns the schema of an object, also where the object is one of several forms.
fn object_of<'a>(schema: &'a Value, root: &'a Value) -> Option<&'a Value> {
    let schema = resolve(schema, root);
    let forms = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().map(|form| resolve(form, root));
    std::iter::once(schema).chain(forms).find(|form| form.get("properties").is_some())
}

/// Returns the schema of a type that is in place, behind a reference, or beside `null`.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let of = |schema: &'a Value| schema.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.trim_start_matches('#')));
    let beside_null = schema.get("anyOf").and_then(Value::as_array).and_then(|any| any.iter().find_map(of));
    of(schema).or(beside_null).unwrap_or(schema)
}

/// The JSON schema of one tool's part of the document.
#[derive(Default)]
pub struct Parts {
    generator: schemars::SchemaGenerator,
    root: Map<String, Value>,
    service: Map<String, Value>,
}

impl Parts {
    /// Adds a key at the top level.
    #[must_use]
    pub fn with<T: JsonSchema>(mut self, key: &str) -> Self {
        let schema = self.generator.subschema_for::<T>().to_value();
        self.root.insert(key.to_owned(), schema);
        self
    }

    /// Adds a key of every service.
    #[must_use]
    pub fn with_service<T: JsonSchema>(mut self, key: &str) -> Self {
        let schema = self.generator.subschema_for::<T>().to_value();
        self.service.insert(key.to_owned(), schema);
        self
    }

    /// Returns the whole, with what all tools read, and with the flag of every setting that has one.
    pub(crate) fn schema(mut self, command: &Command) -> Value {
        self = self.with::<Option<Caller>>("aws");
        let mut properties = Map::new();
        properties.insert(
            "name".into(),
            json!({"type": "string", "pattern": "^[a-z][a-z0-9-]{0,18}[a-z0-9]$", "description": "Name of the app"}),
        );
        let tags =
            json!({"type": "object", "additionalProperties": {"type": "string"}, "description": "Tags of every resource of the app"});
        properties.insert("x-tags".into(), tags);
        properties.extend(self.root);
        if !self.service.is_empty() {
            let service = json!({"type": "object", "properties": self.service});
            properties.insert("services".into(), json!({"type": "object", "additionalProperties": service}));
        }
        let defs = self.generator.take_definitions(true);
        let mut schema =
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties, "$defs": defs});
        let mut flags = Vec::new();
        each_setting(&schema, &mut |pointer, path, setting| {
            let exists = |flag: &String| command.get_arguments().any(|arg| arg.get_long() == Some(flag));
            flags.extend(flag_of(path, setting).filter(exists).map(|flag| (pointer, flag)));
        });
        for (pointer, flag) in flags {
            if let Some(Value::Object(setting)) = schema.pointer_mut(&pointer) {
                setting.insert("x-flag".to_owned(), format!("--{flag}").into());
            }
        }
        schema
    }

    /// Adds range and default of every setting to the help of its flag.
    pub(crate) fn explain(self, mut command: Command) -> Command {
        let schema = self.schema(&command);
        let mut flags = Vec::new();
        each_setting(&schema, &mut |_, path, setting| flags.extend(flag_of(path, setting).map(|flag| (flag, setting.clone()))));
        for (flag, setting) in flags {
            let Some(id) = command.get_arguments().find(|arg| arg.get_long() == Some(&flag)).map(|arg| arg.get_id().clone()) else {
                continue;
            };
            command = command.mut_arg(id, |arg| {
                let default = default_of(&setting).map(|default| format!(" [default: {default}]")).unwrap_or_default();
                let range = range_of(&setting).map(|range| format!("\n\n{range}.")).unwrap_or_default();
                let short = arg.get_help().map(StyledStr::to_string).unwrap_or_default();
                let long = arg.get_long_help().map_or_else(|| short.clone(), StyledStr::to_string);
                arg.help(format!("{short}{default}")).long_help(format!("{long}{range}{default}"))
            });
        }
        command
    }
}

/// Calls `act` with the JSON pointer, the path below its `x-…` key, and the schema of every setting.
fn each_setting(schema: &Value, act: &mut impl FnMut(String, &[String], &Value)) {
    for place in ["/properties", "/properties/services/additionalProperties/properties"] {
        for (key, part) in schema.pointer(place).and_then(Value::as_object).into_iter().flatten() {
            if key.starts_with("x-") && key != "x-tags" {
                each_below(part, schema, &[], act);
            }
        }
    }
}

fn each_below(part: &Value, root: &Value, path: &[String], act: &mut impl FnMut(String, &[String], &Value)) {
    let name = part.get("$ref").or_else(|| part.pointer("/anyOf/0/$ref")).and_then(Value::as_str).unwrap_or_default();
    for (key, setting) in resolve(part, root).get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = [path, std::slice::from_ref(key)].concat();
        act(format!("{}/properties/{key}", name.trim_start_matches('#')), &path, setting);
        each_below(setting, root, &path, act);
    }
}

/// `--health-path` is the flag of `health.path`, unless the setting names another one in `x-flag`, or `false` for none.
fn flag_of(path: &[String], setting: &Value) -> Option<String> {
    match setting.get("x-flag") {
        None => Some(path.join("-").replace('_', "-")),
        Some(Value::String(flag)) => Some(flag.trim_start_matches('-').to_owned()),
        Some(_) => None,
    }
}

/// Returns the default as the help and the docs show it; `x-default` says in words what depends on something else.
fn default_of(setting: &Value) -> Option<String> {
    match setting.get("x-default").or_else(|| setting.get("default"))? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().shown()),
        // 70.0 is a number of percent that need not be whole.
        other => Some(other.to_string().trim_end_matches(".0").to_owned()),
    }
}

fn range_of(setting: &Value) -> Option<String> {
    let (min, max) = (setting.get("minimum")?, setting.get("maximum")?);
    // Those are the type's own.
    let own = setting.get("format").is_some_and(|_| max.as_f64().is_none_or(|max| max > 1e9));
    (!own).then(|| format!("Between {min} and {max}"))
}

/// Returns the first of these settings that is given, by its name in the document.
#[must_use]
pub fn first_given<'a>(settings: &impl Serialize, keys: &[&'a str]) -> Option<&'a str> {
    let settings = serde_json::to_value(settings).unwrap_or_default();
    keys.iter().copied().find(|key| settings.get(key).is_some_and(|setting| !setting.is_null()))
}

/// Blames the flag for a wrong value that came from it. `place` is where the settings are in the document (of one service, perhaps), and `prefix`
/// how their flags begin.
#[must_use]
pub fn blame(error: Error, place: &str, prefix: &str, flags: &impl Serialize) -> Error {
    let Error::Document { code, path, what } = error else { return error };
    if path.starts_with("--") {
        return Error::Document { code, path, what }.of_flag();
    }
    let key = path.strip_prefix(place).and_then(|key| key.split(['.', '[']).next());
    match key.and_then(|key| first_given(flags, &[key])) {
        Some(key) => {
            let service = place.split_once(".x-").map(|(service, _)| format!(" (for {service})")).unwrap_or_default();
            Error::Document { code, path: format!("{prefix}{}{service}", key.replace('_', "-")), what }.of_flag()
        }
        None => Error::Document { code, path, what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// `x-net`: a network
        pub struct Settings, Flags {
            /// Number of availability zones
            azs: u8 [2..=4] = 2, arg(long);
            /// NAT gateways
            nat: String = "per-az".to_owned(), arg(long);
            /// VPC endpoints
            endpoints: Vec<String> = Vec::new(), arg(long, value_delimiter = ',', value_name = "SERVICE");
            /// ID of a VPC
            vpc: String, arg(long);
            /// Health check
            health: HealthFlags, command(flatten);
            /// Only in the document
            schedule: Vec<u8>, arg(skip);
        }
    }

    crate::settings! {
        /// How a target is checked
        pub struct Health, HealthFlags {
            /// Path of the check
            path: String = "/".to_owned(), arg(long = "health-path", id = "health-path");
            /// Seconds between two checks
            interval: u16 [5..=300] = 15, arg(long = "health-interval", id = "health-interval");
        }
    }

    fn settings(x_net: &str, args: &[&str]) -> Result<(Settings, Health), String> {
        let doc = Document::parse(format!(r#"{{"name": "shop", "x-net": {x_net}}}"#).as_bytes()).unwrap();
        let matches = <Flags as clap::Args>::augment_args(Command::new("net-up")).try_get_matches_from([&["net-up"], args].concat());
        let flags = <Flags as clap::FromArgMatches>::from_arg_matches(&matches.map_err(|error| error.to_string())?).unwrap();
        let settings: Settings = read(&doc, &doc.root(), "x-net", &flags).map_err(|error| error.to_string())?;
        let health = Health::from(settings.health.clone().unwrap_or_default());
        let warnings: Vec<String> = doc.warnings().into_iter().map(|(_, text)| text).collect();
        if warnings.is_empty() { Ok((settings, health)) } else { Err(warnings.join("\n")) }
    }

    #[test]
    fn flag_over_document_over_default() {
        let (settings, health) =
            settings(r#"{"azs": 3, "vpc": null, "health": {"interval": 30}}"#, &["--nat", "none", "--health-path", "/up"]).unwrap();
        assert_eq!((settings.azs, settings.nat.as_str(), settings.vpc, settings.endpoints.len()), (3, "none", None, 0));
        assert_eq!((health.path.as_str(), health.interval), ("/up", 30));
        let (settings, health) = self::settings("{}", &["--azs", "4", "--endpoints", "s3,ecr"]).unwrap();
        assert_eq!((settings.azs, settings.nat.as_str(), settings.endpoints.len(), health.interval), (4, "per-az", 2, 15));
        assert_eq!(settings.schedule, None);
    }

    #[test]
    fn a_wrong_value_is_reported_with_its_path() {
        for (x_net, said) in [
            (r#"{"azs": 5}"#, "x-net.azs: must be between 2 and 4; found 5"),
            (r#"{"azs": "two"}"#, "x-net.azs: must be a whole number; found \"two\""),
            (r#"{"health": {"interval": 1}}"#, "x-net.health.interval: must be between 5 and 300; found 1"),
            (r#"{"health": {"inteval": 10}}"#, "x-net.health.inteval is unknown"),
            ("[]", "x-net: must be an object; found"),
            (r#"{"zones": 2}"#, "x-net.zones is unknown"),
            (r#"{"azs": "9"}"#, "x-net.azs: must be between 2 and 4; found \"9\""),
        ] {
            let found = settings(x_net, &[]).err().unwrap_or_default();
            assert!(found.contains(said), "{x_net}: {found}");
        }
        for x_net in ["[1]", "\"none\"", r#"{"health": "x"}"#] {
            let found = settings(x_net, &["--nat", "none", "--health-path", "/"]).err().unwrap_or_default();
            assert!(found.contains("must be an object"), "a flag does not hide {x_net}: {found}");
        }
        assert!(settings("{}", &["--azs", "1"]).err().unwrap_or_default().contains("x-net.azs: must be between 2 and 4; found 1"));
    }

    #[test]
    fn a_wrong_flag_is_blamed_and_a_wrong_document_is_not() {
        let flags = Flags { azs: Some(5), ..Flags::default() };
        let said = |path: &str| {
            let error = blame(Error::document("test-blame", path, "is wrong"), "x-net.", "--", &flags);
            (error.exit_code(), error.to_string())
        };
        assert_eq!(said("x-net.azs"), (2, "--azs: is wrong".to_owned()));
        assert_eq!(said("x-net.azs[0]").0, 2);
        assert_eq!(said("x-net.nat"), (65, "the document is wrong at x-net.nat: is wrong".to_owned()));
        assert_eq!(said("--only"), (2, "--only: is wrong".to_owned()));
        assert_eq!(said("x-cluster.azs").0, 65);
    }

    #[test]
    fn help_and_schema_follow() {
        let parts = || Parts::default().with::<Option<Flags>>("x-net");
        let command = <Flags as clap::Args>::augment_args(Command::new("net-up"));
        let schema = parts().schema(&command);
        assert_eq!(schema.pointer("/$defs/Flags/properties/azs/x-flag").and_then(Value::as_str), Some("--azs"), "{schema:#}");
        assert_eq!(schema.pointer("/$defs/HealthFlags/properties/path/x-flag").and_then(Value::as_str), Some("--health-path"));
        let help = parts().explain(command).render_long_help().to_string();
        for part in
            ["Number of availability zones", "Between 2 and 4.", "[default: 2]", "[default: per-az]", "[default: none]", "[default: /]"]
        {
            assert!(help.contains(part), "{part} is not in\n{help}");
        }
    }
}
