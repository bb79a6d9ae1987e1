//! What is asked of the network: `x-net` and its flags.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::check_retention;
use shared::flags::first_given;
use shared::{Document, Error, Result};

/// `x-net`
#[derive(Debug, Clone, Args, Serialize, Deserialize, JsonSchema)]
pub struct Flags {
    /// Addresses of the VPC, /16 to /24 [default: 10.0.0.0/16]
    #[arg(long)]
    #[schemars(with = "Option<String>")]
    cidr: Option<Ipv4Net>,
    /// Number of availability zones, 2 to 4 [default: 2]
    #[arg(long)]
    azs: Option<u8>,
    /// NAT gateways: one a zone keeps working when a zone fails; `single` costs less; `none` needs the endpoints s3, ecr, ecs and logs [default: per-az]
    #[arg(long, value_enum)]
    nat: Option<Nat>,
    /// VPC endpoints, so that traffic to these services stays inside AWS: s3, dynamodb, ecr, ecs, logs, secretsmanager … [default: none]
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    endpoints: Option<Vec<String>>,
    /// Addresses of the public subnets, one a zone, instead of slices of the VPC's
    #[arg(long, value_delimiter = ',')]
    #[schemars(with = "Option<Vec<String>>")]
    public_cidrs: Option<Vec<Ipv4Net>>,
    /// Addresses of the private subnets, one a zone, instead of slices of the VPC's
    #[arg(long, value_delimiter = ',')]
    #[schemars(with = "Option<Vec<String>>")]
    private_cidrs: Option<Vec<Ipv4Net>>,
    /// Log who speaks with whom in the VPC, and keep it for so many days [default: no log]
    #[arg(long, value_name = "DAYS")]
    flow_logs: Option<i32>,
    /// Use this VPC instead of making one; it is never changed or deleted
    #[arg(long, value_name = "VPC_ID")]
    vpc: Option<String>,
    /// With --vpc: its public subnets, for the load balancer, in two zones at least
    #[arg(long, value_name = "SUBNET_ID", value_delimiter = ',')]
    public_subnets: Option<Vec<String>>,
    /// With --vpc: its private subnets, for tasks and instances
    #[arg(long, value_name = "SUBNET_ID", value_delimiter = ',')]
    private_subnets: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    None,
    Single,
    PerAz,
}

/// The wishes, checked.
#[derive(Debug)]
pub enum Wanted {
    Make(Network),
    Adopt { vpc: String, public: Vec<String>, private: Vec<String> },
}

/// A network to make. Subnet `i` of either kind lies in the `i`-th zone.
#[derive(Debug)]
pub struct Network {
    pub cidr: Ipv4Net,
    pub public: Vec<Ipv4Net>,
    pub private: Vec<Ipv4Net>,
    pub nat: Nat,
    /// Services, as their endpoints' names end.
    pub endpoints: BTreeSet<String>,
    /// Days that the flow log is kept.
    pub flow_logs: Option<i32>,
}

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let wish = doc.wish(&doc.root(), "x-net", flags)?;
        match &wish.vpc {
            Some(vpc) => adopt(vpc, &wish),
            None if wish.public_subnets.is_some() || wish.private_subnets.is_some() => Err(Error::document(
                if wish.public_subnets.is_some() { "x-net.public_subnets" } else { "x-net.private_subnets" },
                "names subnets of an existing VPC, so `vpc` is needed too",
            )),
            None => network(doc, &wish).map(Self::Make),
        }
    }

    /// The network to make; nothing when one is adopted.
    pub fn network(&self) -> Option<&Network> {
        match self {
            Self::Make(network) => Some(network),
            Self::Adopt { .. } => None,
        }
    }
}

impl Network {
    /// How many NAT gateways there are to be.
    pub fn nats(&self) -> usize {
        match self.nat {
            Nat::None => 0,
            Nat::Single => 1,
            Nat::PerAz => self.public.len(),
        }
    }
}

fn adopt(vpc: &str, wish: &Flags) -> Result<Wanted> {
    let others = ["cidr", "azs", "nat", "endpoints", "public_cidrs", "private_cidrs", "flow_logs"];
    if let Some(key) = first_given(wish, &others) {
        return Err(Error::document(format!("x-net.{key}"), "can't be asked for with `vpc`: the network is used as it is"));
    }
    let subnets = |key: &str, ids: &Option<Vec<String>>, least: usize| match ids {
        Some(ids) if ids.len() >= least => Ok(ids.clone()),
        _ => Err(Error::document(
            format!("x-net.{key}"),
            format!("with `vpc`, {least} or more of its subnets must be named (a load balancer needs two zones)"),
        )),
    };
    let (public, private) = (subnets("public_subnets", &wish.public_subnets, 2)?, subnets("private_subnets", &wish.private_subnets, 1)?);
    Ok(Wanted::Adopt { vpc: vpc.to_owned(), public, private })
}

fn network(doc: &Document, wish: &Flags) -> Result<Network> {
    let cidr = match wish.cidr {
        Some(cidr) => cidr,
        None => "10.0.0.0/16".parse().map_err(|_| Error::Failed("the default of x-net.cidr".to_owned()))?,
    };
    // A VPC has /16 to /28 and so has a subnet; sixteen slices of a /24 are the smallest possible.
    // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
    if !(16..=24).contains(&cidr.prefix_len()) || cidr.trunc() != cidr {
        return Err(Error::document(
            "x-net.cidr",
            format!("{cidr} can't be a VPC's addresses: /16 to /24 of the network's own address, as in 10.0.0.0/16"),
        ));
    }
    let azs = usize::from(wish.azs.unwrap_or(2));
    if !(2..=4).contains(&azs) {
        return Err(Error::document("x-net.azs", format!("{azs} zones: 2 to 4 are possible (a load balancer needs two)")));
    }
    // Sixteen slices: the public ones from the first, the private ones from the ninth, so that zones can be added without moving any.
    let slices: Vec<Ipv4Net> =
        cidr.subnets(cidr.prefix_len() + 4).map_err(|error| Error::document("x-net.cidr", error.to_string()))?.collect();
    let public = cidrs("x-net.public_cidrs", wish.public_cidrs.as_ref(), &slices[..azs])?;
    let private = cidrs("x-net.private_cidrs", wish.private_cidrs.as_ref(), &slices[8..8 + azs])?;
    check_apart(cidr, &public, &private)?;
    let nat = wish.nat.unwrap_or(Nat::PerAz);
    let endpoints: BTreeSet<String> = wish.endpoints.iter().flatten().flat_map(|wish| services(wish)).map(str::to_owned).collect();
    if nat == Nat::None && !["s3", "ecr", "ecs", "logs"].into_iter().flat_map(services).all(|service| endpoints.contains(service)) {
        doc.warn("x-net.nat: without a NAT gateway tasks reach ECR, ECS and the logs only by the endpoints s3, ecr, ecs and logs, and not all of them are asked for");
    }
    let flow_logs = wish.flow_logs.map(|days| check_retention("x-net.flow_logs", days)).transpose()?;
    Ok(Network { cidr, public, private, nat, endpoints, flow_logs })
}

/// The services behind a wish, as they stand in `com.amazonaws.<region>.<service>`: some need more endpoints than one.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html>
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html>
fn services(wish: &str) -> Vec<&str> {
    match wish {
        "ecr" => vec!["ecr.api", "ecr.dkr"],
        "ecs" => vec!["ecs", "ecs-agent", "ecs-telemetry"],
        one => vec![one],
    }
}

fn cidrs(path: &str, wish: Option<&Vec<Ipv4Net>>, slices: &[Ipv4Net]) -> Result<Vec<Ipv4Net>> {
    match wish {
        None => Ok(slices.to_vec()),
        Some(cidrs) if cidrs.len() == slices.len() => Ok(cidrs.clone()),
        Some(cidrs) => Err(Error::document(path, format!("{} given, but there are {} zones", cidrs.len(), slices.len()))),
    }
}

/// Every subnet lies inside the VPC, and no two overlap.
fn check_apart(cidr: Ipv4Net, public: &[Ipv4Net], private: &[Ipv4Net]) -> Result<()> {
    let place = |kind: &str, subnets: &[Ipv4Net]| {
        subnets.iter().enumerate().map(|(i, net)| (format!("x-net.{kind}_cidrs[{i}]"), *net)).collect::<Vec<_>>()
    };
    let all = [place("public", public), place("private", private)].concat();
    for (i, (path, net)) in all.iter().enumerate() {
        if !cidr.contains(net) {
            return Err(Error::document(path, format!("{net} lies outside the VPC's {cidr}")));
        }
        if let Some((other, overlap)) = all[..i].iter().find(|(_, other)| other.contains(net) || net.contains(other)) {
            return Err(Error::document(path, format!("{net} overlaps {overlap} of {other}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(x_net: &str) -> Result<Wanted, String> {
        let doc = Document::parse(format!(r#"{{"name": "shop", "x-net": {x_net}}}"#).as_bytes()).unwrap();
        let none = Flags {
            cidr: None,
            azs: None,
            nat: None,
            endpoints: None,
            public_cidrs: None,
            private_cidrs: None,
            flow_logs: None,
            vpc: None,
            public_subnets: None,
            private_subnets: None,
        };
        Wanted::read(&doc, &none).map_err(|error| error.to_string())
    }

    #[test]
    fn slices_leave_room_for_more_zones() {
        let two = read("{}").unwrap();
        let three = read(r#"{"azs": 3}"#).unwrap();
        let (two, three) = (two.network().unwrap(), three.network().unwrap());
        assert_eq!(two.public[..], three.public[..2]);
        assert_eq!(two.private[..], three.private[..2]);
        assert_eq!(two.private[0].to_string(), "10.0.128.0/20");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_path() {
        for (x_net, path) in [
            (r#"{"cidr": "10.0.0.0/8"}"#, "x-net.cidr"),
            (r#"{"cidr": "10.0.0.1/16"}"#, "x-net.cidr"),
            (r#"{"azs": 1}"#, "x-net.azs"),
            (r#"{"nat": "two"}"#, "x-net.nat"),
            (r#"{"flow_logs": 15}"#, "x-net.flow_logs"),
            (r#"{"public_cidrs": ["10.0.0.0/20", "10.0.0.0/24"]}"#, "x-net.public_cidrs[1]"),
            (r#"{"private_cidrs": ["10.0.0.0/20", "10.0.240.0/20"]}"#, "x-net.private_cidrs[0]"),
            (r#"{"private_cidrs": ["10.1.0.0/20", "10.0.240.0/20"]}"#, "x-net.private_cidrs[0]"),
            (r#"{"vpc": "vpc-1"}"#, "x-net.public_subnets"),
            (r#"{"public_subnets": ["subnet-1"]}"#, "x-net.public_subnets"),
        ] {
            let said = read(x_net).unwrap_err();
            assert!(said.contains(&format!("at {path}:")), "{x_net}: {said}");
        }
    }
}
