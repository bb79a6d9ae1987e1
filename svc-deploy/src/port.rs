//! The ports of a container: those that `ports` publishes and those that `expose` only maps.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>

use serde_json::{Value, json};
use shared::Result;
use shared::doc::At;

use crate::compose::NetworkMode;

/// `8080`, `"80:8080/tcp"`, or the long form. Only the container's port counts: the load balancer has its own.
pub fn published(at: &At<'_>) -> Result<Vec<(i32, String)>> {
    let Some(ports) = at.key("ports") else { return Ok(Vec::new()) };
    ports
        .list()?
        .iter()
        .map(|port| {
            if port.value().is_object() {
                let target = port.key("target").ok_or_else(|| port.wrong("a port without target"))?;
                Ok((target.whole(1..=65535)?, known(port, port.key("protocol").map_or(Ok("tcp"), |at| at.text())?)?))
            } else {
                short_port(port)
            }
        })
        .collect()
}

/// What can't be behind the load balancer; and a port that the document opens on one address alone would be open to everybody there.
pub fn check_open(at: &At<'_>) -> Result<()> {
    let ports = at.key("ports").map_or_else(|| Ok(Vec::new()), |ports| ports.list())?;
    for ((_, protocol), port) in published(at)?.into_iter().zip(&ports) {
        if protocol != "tcp" {
            return Err(port.wrong(format!(
                "{protocol} can't stand behind the load balancer, which speaks HTTP over tcp: use `expose`, or x-svc.publish: false"
            )));
        }
        let short = port.value().as_str().and_then(|text| text.rsplitn(3, ':').nth(2));
        let host = port.key("host_ip").map_or(Ok(short), |at| at.text().map(Some))?;
        if let Some(host) = host.filter(|host| !["0.0.0.0", "::", "[::]"].contains(host)) {
            return Err(port.wrong(format!(
                "is published on {host} alone, but behind the load balancer it is open: x-svc.publish: false keeps the service private; or take the address out"
            )));
        }
    }
    Ok(())
}

pub fn exposed(at: &At<'_>) -> Result<Vec<(i32, String)>> {
    at.key("expose").map_or(Ok(Vec::new()), |at| at.list()?.iter().map(short_port).collect())
}

fn short_port(port: &At<'_>) -> Result<(i32, String)> {
    let text = port.scalar()?;
    let (numbers, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    let number = numbers.rsplit(':').next().unwrap_or_default();
    match number.parse() {
        Ok(number @ 1..=65535) => Ok((number, known(port, protocol)?)),
        _ => Err(port.expected("a port from 1 to 65535 (no range), as in 8080 or \"80:8080\"")),
    }
}

fn known(port: &At<'_>, protocol: &str) -> Result<String> {
    if ["tcp", "udp"].contains(&protocol) { Ok(protocol.to_owned()) } else { Err(port.expected("the protocol tcp or udp")) }
}

/// Behind a bridge the instance gives a free port (0), so that two tasks fit on one instance.
pub fn mapping(port: i32, protocol: &str, network_mode: NetworkMode) -> Value {
    let host = if network_mode == NetworkMode::Bridge { 0 } else { port };
    json!({"containerPort": port, "hostPort": host, "protocol": protocol})
}
