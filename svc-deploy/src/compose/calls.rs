//! Which other services the settings of a container name: `http://api:8080`, `db:5432`, or `DB_HOST=db`.

use crate::model::Container;

/// A host that a value names, and its port as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The place of the value in the document.
    pub path: String,
    pub host: String,
    pub port: Option<i32>,
}

impl Call {
    /// Returns host and port, and nothing else of the value, which may be secret.
    pub fn text(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }
}

/// Parts of the names of variables whose whole value is a host.
const HOST_VARIABLES: &[&str] = &["ADDR", "BACKEND", "BROKER", "ENDPOINT", "HOST", "SERVER", "UPSTREAM", "URI", "URL"];

/// The ports of the schemes that people leave out of addresses.
const SCHEMES: &[(&str, i32)] = &[
    ("amqp", 5672),
    ("http", 80),
    ("https", 443),
    ("mongodb", 27017),
    ("mysql", 3306),
    ("nats", 4222),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("redis", 6379),
];

/// Returns what the environment, command, entry point and health check of a container name, each once.
pub fn calls(container: &Container) -> Vec<Call> {
    let place = |key: &str| format!("services.{}.{key}", container.name);
    let mut all = Vec::new();
    for (name, value) in &container.environment {
        let path = place(&format!("environment.{name}"));
        let upper = name.to_uppercase();
        if is_host(value) && HOST_VARIABLES.iter().any(|part| upper.contains(part)) {
            all.push(Call { path, host: value.clone(), port: None });
        } else {
            all.extend(named(&path, value));
        }
    }
    let check = container.health_check.as_ref().map(|check| &check.command);
    for (key, words) in
        [("command", container.command.as_ref()), ("entrypoint", container.entry_point.as_ref()), ("healthcheck.test", check)]
    {
        all.extend(words.into_iter().flatten().flat_map(|word| named(&place(key), word)));
    }
    let mut once: Vec<Call> = Vec::new();
    for call in all {
        if !once.contains(&call) {
            once.push(call);
        }
    }
    once
}

/// Returns the hosts in a text: those of addresses with a scheme, and those with a port.
fn named(path: &str, text: &str) -> Vec<Call> {
    let is_end = |c: char| c.is_whitespace() || "\"'`,;=()[]{}<>|&".contains(c);
    text.split(is_end).filter_map(|word| host(path, word)).collect()
}

fn host(path: &str, word: &str) -> Option<Call> {
    let (scheme, rest) = word.split_once("://").map_or((None, word), |(scheme, rest)| (Some(scheme), rest));
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| (1..=65535).contains(port))?)),
        None => (authority, None),
    };
    if !is_host(host) || scheme.is_none() && port.is_none() {
        return None;
    }
    // As in postgresql+asyncpg://db/shop.
    let scheme = scheme.and_then(|scheme| scheme.split('+').next());
    let port = port.or_else(|| SCHEMES.iter().find(|(name, _)| Some(*name) == scheme).map(|(_, port)| *port));
    Some(Call { path: path.to_owned(), host: host.to_owned(), port })
}

/// Returns whether a text can be the name of a service.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_host_and_port() {
        for (text, expected) in [
            ("http://api:8080", vec!["api:8080"]),
            ("http://api/v1?x=http://b", vec!["api:80", "b:80"]),
            ("postgresql+asyncpg://shop:pa5@db/shop", vec!["db:5432"]),
            ("tcp://queue", vec!["queue"]),
            ("a:9092,b:9092", vec!["a:9092", "b:9092"]),
            ("mongodb://one:27017,two:27018/shop", vec!["one:27017", "two:27018"]),
            ("./wait-for db:5432 -- run --to=cache:6379", vec!["db:5432", "cache:6379"]),
            ("api", vec![]),
            ("https://example.com/web", vec![]),
            ("12:30", vec!["12:30"]),
            ("nginx:latest", vec![]),
            ("web:99999", vec![]),
        ] {
            let found: Vec<String> = named("p", text).iter().map(Call::text).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_variable_for_a_host_may_be_the_name_alone() {
        let environment = [("DB_HOST", "db"), ("DB_NAME", "db"), ("API_URL", "http://api:1")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let container = Container { name: "web".to_owned(), environment, command: Some(vec!["api:1".to_owned()]), ..Container::default() };
        let found: Vec<(String, String)> = calls(&container).iter().map(|call| (call.path.clone(), call.text())).collect();
        let expected =
            [("services.web.environment.API_URL", "api:1"), ("services.web.environment.DB_HOST", "db"), ("services.web.command", "api:1")];
        assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }
}
