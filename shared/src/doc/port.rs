//! The ports of a Compose service: those that `ports` publishes and those that `expose` only maps.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#ports>

use std::net::IpAddr;

use super::at::At;
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As Compose and ECS spell it.
    #[must_use]
    pub fn value(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// An entry of `ports`.
#[derive(Debug, Clone)]
pub struct Port<'a> {
    pub at: At<'a>,
    /// The port in the container.
    pub number: u16,
    /// The port on the machine that runs Compose.
    pub published: Option<u16>,
    pub protocol: Protocol,
    pub address: Address,
    /// `app_protocol`
    pub app_protocol: Option<String>,
}

/// From where Compose lets a published port be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On all addresses of the machine.
    All,
    /// On the machine itself.
    Loopback,
    /// On one address.
    One(String),
}

/// Reads `8080`, `"80:8080/tcp"`, `"127.0.0.1:80:8080"`, or the long form.
///
/// # Errors
/// Says which entry is wrong.
pub fn published<'a>(service: &At<'a>) -> Result<Vec<Port<'a>>> {
    let Some(ports) = service.key("ports") else { return Ok(Vec::new()) };
    ports.list()?.into_iter().map(|at| if at.value().is_object() { long(at) } else { short(at) }).collect()
}

/// Reads `8080` or `"8080/udp"`.
///
/// # Errors
/// Says which entry is wrong.
pub fn exposed<'a>(service: &At<'a>) -> Result<Vec<Port<'a>>> {
    service.key("expose").map_or(Ok(Vec::new()), |at| at.list()?.into_iter().map(short).collect())
}

fn long(at: At<'_>) -> Result<Port<'_>> {
    let target = at.key("target").ok_or_else(|| at.wrong("port-without-target", "the port has no target. Add the container's port"))?;
    let number = number(&target, &target.scalar()?)?;
    let protocol = at.key("protocol").map_or(Ok(Protocol::Tcp), |at| known(&at, at.text()?))?;
    let published = match at.key("published") {
        Some(published) => on_machine(&published, &published.scalar()?)?,
        None => None,
    };
    let address = at.key("host_ip").map_or(Ok(Address::All), |at| at.text().map(address))?;
    let app_protocol = at.key("app_protocol").map(|at| at.text().map(str::to_owned)).transpose()?;
    Ok(Port { at, number, published, protocol, address, app_protocol })
}

fn short(at: At<'_>) -> Result<Port<'_>> {
    let text = at.scalar()?;
    let (numbers, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    // An IPv6 address has colons, too.
    let mut parts = numbers.rsplitn(3, ':');
    let number = number(&at, parts.next().unwrap_or_default())?;
    let published = parts.next().map_or(Ok(None), |text| on_machine(&at, text))?;
    let address = parts.next().map_or(Address::All, address);
    let protocol = known(&at, protocol)?;
    Ok(Port { at, number, published, protocol, address, app_protocol: None })
}

fn number(at: &At<'_>, text: &str) -> Result<u16> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(at.expected("port-number", "a port between 1 and 65535 and not a range, for example 8080 or \"80:8080\"")),
    }
}

/// An empty text is any free port, and of a range Compose takes one.
fn on_machine(at: &At<'_>, text: &str) -> Result<Option<u16>> {
    match text.split('-').next().unwrap_or_default() {
        "" | "0" => Ok(None),
        first => number(at, first).map(Some),
    }
}

fn address(text: &str) -> Address {
    let bare = text.trim_matches(['[', ']']);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Address::All,
        Ok(ip) if ip.is_loopback() => Address::Loopback,
        _ if bare.is_empty() => Address::All,
        _ if bare == "localhost" => Address::Loopback,
        _ => Address::One(bare.to_owned()),
    }
}

fn known(at: &At<'_>, protocol: &str) -> Result<Protocol> {
    let known = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.value() == protocol);
    known.ok_or_else(|| at.wrong("port-protocol", format!("the protocol must be tcp or udp; found {protocol:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::doc::Document;

    /// Each port as `address:published:number/protocol`.
    fn ports(ports: &Value) -> Result<Vec<String>, String> {
        let doc = Document::parse(json!({"ports": ports}).to_string().as_bytes()).unwrap();
        let shown = |port: &Port<'_>| {
            let address = match &port.address {
                Address::All => "all",
                Address::Loopback => "loopback",
                Address::One(one) => one,
            };
            format!("{address}:{}:{}/{}", port.published.unwrap_or(0), port.number, port.protocol.value())
        };
        published(&doc.root()).map(|all| all.iter().map(shown).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms_say_the_same() {
        for (entry, shown) in [
            (json!(8080), "all:0:8080/tcp"),
            (json!("8080"), "all:0:8080/tcp"),
            (json!("80:8080"), "all:80:8080/tcp"),
            (json!("0.0.0.0:80:8080/udp"), "all:80:8080/udp"),
            (json!("127.0.0.1:80:8080"), "loopback:80:8080/tcp"),
            (json!("127.0.0.1::8080"), "loopback:0:8080/tcp"),
            (json!("[::1]:80:8080"), "loopback:80:8080/tcp"),
            (json!("[::]:80:8080"), "all:80:8080/tcp"),
            (json!("192.0.2.1:80:8080"), "192.0.2.1:80:8080/tcp"),
            (json!("9000-9010:8080"), "all:9000:8080/tcp"),
            (json!({"target": 8080, "published": "80", "protocol": "tcp", "mode": "ingress"}), "all:80:8080/tcp"),
            (json!({"target": "8080", "host_ip": "127.0.0.1"}), "loopback:0:8080/tcp"),
            (json!({"target": 53, "protocol": "udp", "published": ""}), "all:0:53/udp"),
        ] {
            assert_eq!(ports(&json!([entry])), Ok(vec![shown.to_owned()]), "{entry}");
        }
    }

    #[test]
    fn a_wrong_port_is_reported_where_it_is() {
        for (port, said) in [
            (json!("80/sctp"), "ports[0]: the protocol must be tcp or udp; found \"sctp\""),
            (json!({"target": 80, "protocol": "sctp"}), "ports[0].protocol: the protocol must be tcp or udp; found \"sctp\""),
            (json!({"published": "80"}), "ports[0]: the port has no target. Add the container's port"),
            (
                json!("8000-8010"),
                "ports[0]: must be a port between 1 and 65535 and not a range, for example 8080 or \"80:8080\"; found \"8000-8010\"",
            ),
            (
                json!("70000:80"),
                "ports[0]: must be a port between 1 and 65535 and not a range, for example 8080 or \"80:8080\"; found \"70000:80\"",
            ),
            (
                json!({"target": 0}),
                "ports[0].target: must be a port between 1 and 65535 and not a range, for example 8080 or \"80:8080\"; found 0",
            ),
        ] {
            let found = ports(&json!([port])).unwrap_err();
            assert!(found.ends_with(said), "{found}");
        }
    }
}
