//! The ports of a container: those that `ports` publishes and those that `expose` only maps.

use shared::Result;
use shared::doc::At;

use crate::model::{Port, Protocol};

/// Reads `8080`, `"80:8080/tcp"`, or the long form. Only the container's port counts, because the load balancer has its own.
pub fn published(at: &At<'_>) -> Result<Vec<Port>> {
    let Some(ports) = at.key("ports") else { return Ok(Vec::new()) };
    let read = |port: &At<'_>| {
        if !port.value().is_object() {
            return short_port(port);
        }
        let target =
            port.key("target").ok_or_else(|| port.wrong("port-without-target", "the port has no target. Add the container's port"))?;
        let protocol = port.key("protocol").map_or(Ok(Protocol::Tcp), |at| known(&at, at.text()?))?;
        Ok(Port { number: target.whole(1..=65535)?, protocol })
    };
    ports.list()?.iter().map(read).collect()
}

/// Checks that all published ports can be behind the load balancer. One that the document opens on a single address would be open to everybody.
pub fn check_open(at: &At<'_>) -> Result<()> {
    let ports = at.key("ports").map_or_else(|| Ok(Vec::new()), |ports| ports.list())?;
    for (published, port) in published(at)?.into_iter().zip(&ports) {
        if published.protocol != Protocol::Tcp {
            return Err(port.wrong(
                "port-not-tcp",
                format!(
                    "{} ports can't be behind the load balancer, which speaks HTTP over tcp. Use `expose`, or set x-svc.publish: false",
                    published.protocol.value()
                ),
            ));
        }
        let short = port.value().as_str().and_then(|text| text.rsplitn(3, ':').nth(2));
        let host = port.key("host_ip").map_or(Ok(short), |at| at.text().map(Some))?;
        if let Some(host) = host.filter(|host| !["0.0.0.0", "::", "[::]"].contains(host)) {
            return Err(port.wrong(
                "port-on-one-address",
                format!(
                    "the port is published on {host} only, but behind the load balancer it is open to all its clients. Set x-svc.publish: false to keep the service private, or remove the address"
                ),
            ));
        }
    }
    Ok(())
}

pub fn exposed(at: &At<'_>) -> Result<Vec<Port>> {
    at.key("expose").map_or(Ok(Vec::new()), |at| at.list()?.iter().map(short_port).collect())
}

fn short_port(port: &At<'_>) -> Result<Port> {
    let text = port.scalar()?;
    let (numbers, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    match numbers.rsplit(':').next().unwrap_or_default().parse() {
        Ok(number @ 1..=65535) => Ok(Port { number, protocol: known(port, protocol)? }),
        _ => Err(port.expected("port-number", "a port between 1 and 65535 and not a range, for example 8080 or \"80:8080\"")),
    }
}

fn known(at: &At<'_>, protocol: &str) -> Result<Protocol> {
    let known = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.value() == protocol);
    known.ok_or_else(|| at.wrong("port-protocol", format!("the protocol must be tcp or udp; found {protocol:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::doc::Document;

    use super::*;

    fn ports(ports: &Value) -> Result<Vec<Port>, String> {
        let doc = Document::parse(json!({"ports": ports}).to_string().as_bytes()).unwrap();
        published(&doc.root()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wrong_protocol_is_reported_where_it_is() {
        let dns = Port { number: 53, protocol: Protocol::Udp };
        assert_eq!(ports(&json!(["53/udp", {"target": 53, "protocol": "udp"}])), Ok(vec![dns, dns]));
        for (port, said) in [
            (json!("80/sctp"), "ports[0]: the protocol must be tcp or udp; found \"sctp\""),
            (json!({"target": 80, "protocol": "sctp"}), "ports[0].protocol: the protocol must be tcp or udp; found \"sctp\""),
        ] {
            let found = ports(&json!([port])).unwrap_err();
            assert!(found.ends_with(said), "{found}");
        }
    }
}
