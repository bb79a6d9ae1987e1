//! `x-net` and its flags: what can be set, and the checks of what is set.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::public::{Publish, Publishing};
use shared::doc::{check_boundary, check_retention};
use shared::policy::{BOUNDARY, Named, named_once};
use shared::settings::{first_given, read_flags};
use shared::{Document, Error, Result};

use crate::needed;

const CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16);

shared::settings! {
    /// `x-net`: the network
    pub struct Settings, Flags {
        /// Address range of the VPC
        ///
        /// A network of /16 to /24, for example 10.1.0.0/16. net-up divides it into sixteen slices. Public subnets use slices
        /// 1 to 4, and private subnets use slices 9 to 12. A /24 needs public_cidrs, because a public subnet has /27 or more addresses.
        cidr: Ipv4Net = CIDR, arg(long), schemars(with = "Option<String>");
        /// Number of availability zones
        ///
        /// When you add a zone, the subnets of the other zones are kept. net-up uses zones without Fargate or current instance types last.
        azs: u8 [2..=4] = 2, arg(long, value_name = "COUNT");
        /// NAT gateways, through which private subnets reach the internet
        nat: Nat = Nat::PerAz, arg(long, value_enum);
        /// Services that are reached through VPC endpoints instead of the internet, beside S3
        ///
        /// The endpoint of S3 is free, and always created.
        /// Each is the end of an endpoint's name `com.amazonaws.<region>.<service>`, for example s3, dynamodb, logs or secretsmanager.
        /// `ecr` means all endpoints that ECR needs, and `ecs` all that ECS needs. Endpoints that you remove from the list are kept until
        /// `net-up --down`.
        endpoints: Vec<String> = Vec::new(), arg(long, value_name = "SERVICE", value_delimiter = ',');
        /// Address ranges of the public subnets, one for each zone
        ///
        /// They must be inside the VPC's range and must not overlap, for example 10.0.0.0/24,10.0.1.0/24.
        public_cidrs: Vec<Ipv4Net>, arg(long, value_name = "CIDR", value_delimiter = ','),
            schemars(with = "Option<Vec<String>>", extend("x-default" = "slices of the VPC's range"));
        /// Address ranges of the private subnets, one for each zone
        ///
        /// They must be inside the VPC's range and must not overlap, for example 10.0.128.0/20,10.0.144.0/20.
        private_cidrs: Vec<Ipv4Net>, arg(long, value_name = "CIDR", value_delimiter = ','),
            schemars(with = "Option<Vec<String>>", extend("x-default" = "slices of the VPC's range"));
        /// Days to keep a flow log of all traffic in the VPC
        ///
        /// CloudWatch Logs accepts 1, 3, 5, 7, 14, 30, 60, 90 and some larger numbers. The log group is /ecs-pipe-flow-logs/APP. Without
        /// this setting the flow log is deleted, but its log group is kept until `net-up --down`.
        flow_logs: i32, arg(long, value_name = "DAYS"), schemars(extend("x-default" = "no flow log"));
        /// ARN of the permissions boundary of the role that writes the flow log
        ///
        /// A managed policy that limits what the policies of a role allow. Without this setting, a run removes the boundary.
        permissions_boundary: String, arg(long, value_name = "ARN"), schemars(extend("x-default" = "none"));
        /// ID of an existing VPC to use
        ///
        /// The VPC and its subnets are never changed or deleted; only security groups are created in it.
        vpc: String, arg(long, value_name = "VPC_ID"), schemars(extend("x-default" = "a new VPC"));
        /// IDs of the existing VPC's public subnets, for the load balancer
        ///
        /// Two or more, each in another zone. Only with `vpc`.
        public_subnets: Vec<String>, arg(long, value_name = "SUBNET_ID", value_delimiter = ',');
        /// IDs of the existing VPC's private subnets, for tasks and instances
        ///
        /// They must be in the zones of the public subnets. Only with `vpc`.
        private_subnets: Vec<String>, arg(long, value_name = "SUBNET_ID", value_delimiter = ',');
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// No NAT gateway; tasks need the endpoints ecr, ecs and logs, and ssm or secretsmanager for secrets
    None,
    /// One for all zones; it costs less, but fails with its zone
    Single,
    /// One in each zone; it still works when another zone fails
    PerAz,
}

/// The command line.
#[derive(Debug, Clone, Args, Serialize)]
pub struct NetFlags {
    #[command(flatten)]
    #[serde(flatten)]
    net: Flags,
    #[command(flatten)]
    #[serde(skip)]
    publish: Publish,
    /// With --down: also delete what `GuardDuty` created in the VPC, which blocks its deletion
    #[arg(long, requires = "down")]
    #[serde(skip)]
    pub force: bool,
}

/// The settings, checked.
#[derive(Debug)]
pub struct Wanted {
    pub place: Place,
    /// The ports that the internet reaches on the load balancer.
    pub ports: BTreeSet<u16>,
}

/// Where the app is.
#[derive(Debug)]
pub enum Place {
    Create(Network),
    /// An existing network.
    Adopt {
        vpc: String,
        public: Vec<String>,
        private: Vec<String>,
    },
}

/// A network to create. Subnet `i` of either kind is in the `i`-th zone.
#[derive(Debug)]
pub struct Network {
    pub cidr: Ipv4Net,
    pub public: Vec<Ipv4Net>,
    pub private: Vec<Ipv4Net>,
    pub nat: Nat,
    /// The services of the endpoints, as their names end.
    pub endpoints: BTreeSet<String>,
    /// Days to keep the flow log.
    pub flow_logs: Option<i32>,
    /// The ARN of the permissions boundary.
    pub boundary: Option<String>,
}

/// Returns what the settings name for the policy.
///
/// # Errors
/// Says what is wrong in the document or the flags, with its path.
pub fn named(doc: &Document, flags: &NetFlags) -> Result<Named> {
    let settings = Settings::from(read_flags(doc, &doc.root(), "x-net", &flags.net)?);
    let boundary = check_boundary("x-net.permissions_boundary", settings.permissions_boundary)?;
    Ok(named_once([("{vpc}", settings.vpc), (BOUNDARY, boundary)]))
}

impl Wanted {
    pub fn read(doc: &Document, flags: &NetFlags) -> Result<Self> {
        let (place, publishing) = doc.both(place(doc, &flags.net), Publishing::read(doc, &flags.publish))?;
        Ok(Self { place, ports: publishing.ports() })
    }

    /// Returns the network to create, or nothing when an existing one is used.
    pub fn network(&self) -> Option<&Network> {
        match &self.place {
            Place::Create(network) => Some(network),
            Place::Adopt { .. } => None,
        }
    }
}

impl Network {
    /// Returns the number of NAT gateways.
    pub fn nats(&self) -> usize {
        match self.nat {
            Nat::None => 0,
            Nat::Single => 1,
            Nat::PerAz => self.public.len(),
        }
    }
}

fn place(doc: &Document, flags: &Flags) -> Result<Place> {
    let given = read_flags(doc, &doc.root(), "x-net", flags)?;
    let settings = Settings::from(given.clone());
    match &settings.vpc {
        Some(vpc) => adopt(vpc, &settings, &given),
        None => match first_given(&given, &["public_subnets", "private_subnets"]) {
            Some(key) => Err(Error::document(
                "subnets-without-vpc",
                format!("x-net.{key}"),
                "these subnets are in an existing VPC, but the settings do not name it. Set x-net.vpc (--vpc) to its ID, or remove the subnets",
            )),
            None => network(doc, &settings).map(Place::Create),
        },
    }
}

fn adopt(vpc: &str, settings: &Settings, given: &Flags) -> Result<Place> {
    let others = ["cidr", "azs", "nat", "endpoints", "public_cidrs", "private_cidrs", "flow_logs"];
    if let Some(key) = first_given(given, &others) {
        return Err(Error::document(
            "setting-beside-vpc",
            format!("x-net.{key}"),
            "can't be set together with `vpc`, because an existing network is never changed. Remove one of the two",
        ));
    }
    let subnets = |key: &str, ids: &Option<Vec<String>>, least: usize| {
        let ids = ids.clone().unwrap_or_default();
        if ids.len() >= least {
            return Ok(ids);
        }
        let what = format!("must name {least} or more subnets of {vpc}, because `vpc` is set; found {}", ids.len());
        Err(Error::document("too-few-subnets", format!("x-net.{key}"), what))
    };
    // A load balancer needs two zones.
    let public = subnets("public_subnets", &settings.public_subnets, 2)?;
    let private = subnets("private_subnets", &settings.private_subnets, 1)?;
    Ok(Place::Adopt { vpc: vpc.to_owned(), public, private })
}

fn network(doc: &Document, settings: &Settings) -> Result<Network> {
    let cidr = settings.cidr;
    check_cidr(cidr)?;
    let (first, ninth) = slices(cidr, usize::from(settings.azs))?;
    let public = cidrs("x-net.public_cidrs", settings.public_cidrs.as_ref(), first)?;
    let private = cidrs("x-net.private_cidrs", settings.private_cidrs.as_ref(), ninth)?;
    check_apart(cidr, &public, &private)?;
    check_public_size(settings, &public)?;
    // The gateway endpoint of S3 is free, and the layers of images come from S3.
    let names = settings.endpoints.iter().map(String::as_str).chain(["s3"]);
    let endpoints: BTreeSet<String> = names.flat_map(services).map(str::to_owned).collect();
    if settings.nat == Nat::None {
        needed::warn_of_missing(doc, |name| services(name).into_iter().all(|service| endpoints.contains(service)));
        warn_of_instances(doc, &endpoints)?;
    }
    let flow_logs = settings.flow_logs.map(|days| check_retention("x-net.flow_logs", days)).transpose()?;
    let boundary = check_boundary("x-net.permissions_boundary", settings.permissions_boundary.clone())?;
    Ok(Network { cidr, public, private, nat: settings.nat, endpoints, flow_logs, boundary })
}

/// A VPC and a subnet each have a range of /16 to /28, and sixteen slices of a /24 are the smallest subnets.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html>
fn check_cidr(cidr: Ipv4Net) -> Result<()> {
    if !(16..=24).contains(&cidr.prefix_len()) {
        return Err(Error::document("cidr-size", "x-net.cidr", format!("must be a network between /16 and /24; found {cidr}")));
    }
    if DOCKER.contains(&cidr) || cidr.contains(&DOCKER) {
        let text = format!("must not overlap {DOCKER}, which Docker uses on the instances; found {cidr}. Set another network");
        return Err(Error::document("cidr-of-docker", "x-net.cidr", text));
    }
    match cidr.trunc() {
        network if network == cidr => Ok(()),
        network => {
            Err(Error::document("cidr-host-bits", "x-net.cidr", format!("must be the address of a network, as in {network}; found {cidr}")))
        }
    }
}

/// Docker's bridge on every instance. An instance does not reach a VPC with these addresses.
/// <https://docs.docker.com/engine/network/drivers/bridge/>
const DOCKER: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);

/// The smallest subnet of a load balancer.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer>
pub const LEAST: u8 = 27;

/// Checks that the load balancer fits into the public subnets.
fn check_public_size(settings: &Settings, public: &[Ipv4Net]) -> Result<()> {
    let Some((i, net)) = public.iter().enumerate().find(|(_, net)| net.prefix_len() > LEAST) else { return Ok(()) };
    let text = format!("must be /{LEAST} or larger, because a load balancer needs that; found {net}");
    match &settings.public_cidrs {
        Some(_) => Err(too_small(&format!("x-net.public_cidrs[{i}]"), text)),
        None => {
            let text = format!("its public subnets {text} in {}. Set a network of /16 to /23, or set x-net.public_cidrs", settings.cidr);
            Err(too_small("x-net.cidr", text))
        }
    }
}

/// Returns the error of a public subnet.
pub fn too_small(path: &str, text: String) -> Error {
    Error::document("public-subnet-size", path, text)
}

/// Returns the ranges of the public and of the private subnets: of sixteen slices those from the first on, and those from the ninth on. So
/// an additional zone changes no other subnet.
fn slices(cidr: Ipv4Net, azs: usize) -> Result<(Vec<Ipv4Net>, Vec<Ipv4Net>)> {
    let slices = cidr.subnets(cidr.prefix_len() + 4).map_err(|error| Error::Internal(format!("could not split {cidr}: {error}")))?;
    let slices: Vec<Ipv4Net> = slices.collect();
    Ok((slices[..azs].to_vec(), slices[8..8 + azs].to_vec()))
}

/// Endpoints without which nobody opens a session on an instance. Bottlerocket's control container needs them, too.
/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html>
const FOR_SESSIONS: [&str; 3] = ["ec2messages", "ssm", "ssmmessages"];

/// Warns of the endpoints that the instances of the cluster lack.
fn warn_of_instances(doc: &Document, endpoints: &BTreeSet<String>) -> Result<()> {
    let root = doc.root();
    let cluster = root.key("x-cluster");
    let key = |key: &str| cluster.as_ref().and_then(|cluster| cluster.key(key));
    let has_instances = !key("launch_type").is_some_and(|kind| kind.value() == "fargate");
    let has_sessions = key("session_manager").map(|on| on.truth()).transpose()?.unwrap_or(true);
    let missing: Vec<&str> = FOR_SESSIONS.into_iter().filter(|name| !endpoints.contains(*name)).collect();
    if has_instances && has_sessions && !missing.is_empty() {
        doc.warn(
            "sessions-without-endpoints",
            format!(
                "x-net.nat is `none`, so Session Manager reaches the instances only through VPC endpoints. Add to x-net.endpoints: {}, or set x-cluster.session_manager to false",
                missing.join(", ")
            ),
        );
    }
    Ok(())
}

/// Returns the services that one name in `endpoints` means, as in `com.amazonaws.<region>.<service>`.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html>
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html>
fn services(name: &str) -> Vec<&str> {
    match name {
        "ecr" => vec!["ecr.api", "ecr.dkr"],
        "ecs" => vec!["ecs", "ecs-agent", "ecs-telemetry"],
        one => vec![one],
    }
}

fn cidrs(path: &str, given: Option<&Vec<Ipv4Net>>, slices: Vec<Ipv4Net>) -> Result<Vec<Ipv4Net>> {
    match given {
        None => Ok(slices),
        Some(cidrs) if cidrs.len() == slices.len() => Ok(cidrs.clone()),
        Some(cidrs) => {
            let what = format!("must have {} ranges, one for each of the zones (x-net.azs); found {}", slices.len(), cidrs.len());
            Err(Error::document("subnet-cidr-count", path, what))
        }
    }
}

/// Checks that every subnet is inside the VPC, and that no two overlap.
fn check_apart(cidr: Ipv4Net, public: &[Ipv4Net], private: &[Ipv4Net]) -> Result<()> {
    let place = |kind: &str, subnets: &[Ipv4Net]| {
        subnets.iter().enumerate().map(|(i, net)| (format!("x-net.{kind}_cidrs[{i}]"), *net)).collect::<Vec<_>>()
    };
    let all = [place("public", public), place("private", private)].concat();
    for (i, (path, net)) in all.iter().enumerate() {
        if !cidr.contains(net) {
            return Err(Error::document("subnet-outside-vpc", path, format!("must be inside the VPC's {cidr}; found {net}")));
        }
        if let Some((other, overlap)) = all[..i].iter().find(|(_, other)| other.contains(net) || net.contains(other)) {
            return Err(Error::document("subnets-overlap", path, format!("must not overlap {overlap} of {other}; found {net}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(x_net: &str, args: &[&str]) -> Result<Wanted, String> {
        let doc = Document::parse(format!(r#"{{"name": "shop", "x-net": {x_net}}}"#).as_bytes()).unwrap();
        // --down is every tool's own.
        let command = <NetFlags as clap::Args>::augment_args(clap::Command::new("net-up").arg(clap::Arg::new("down")));
        let matches = command.try_get_matches_from([&["net-up"], args].concat()).map_err(|error| error.to_string())?;
        let flags = <NetFlags as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        Wanted::read(&doc, &flags).map_err(|error| error.to_string())
    }

    fn read(x_net: &str) -> Result<Wanted, String> {
        with(x_net, &[])
    }

    #[test]
    fn slices_leave_room_for_more_zones() {
        let two = read("{}").unwrap();
        let three = read(r#"{"azs": 3}"#).unwrap();
        let (two, three) = (two.network().unwrap(), three.network().unwrap());
        assert_eq!(two.public[..], three.public[..2]);
        assert_eq!(two.private[..], three.private[..2]);
        assert_eq!(two.public[0].to_string(), "10.0.0.0/20");
        assert_eq!(two.private[0].to_string(), "10.0.128.0/20");
    }

    #[test]
    fn defaults_apply_where_neither_flag_nor_document_says_otherwise() {
        let read = with(r#"{"azs": 3, "nat": "none", "endpoints": ["s3"]}"#, &["--nat", "per-az", "--endpoints", "ecr,ecs"]).unwrap();
        let network = read.network().unwrap();
        assert_eq!((network.cidr.to_string().as_str(), network.nats(), network.flow_logs), ("10.0.0.0/16", 3, None));
        let endpoints: Vec<&str> = network.endpoints.iter().map(String::as_str).collect();
        assert_eq!(endpoints, ["ecr.api", "ecr.dkr", "ecs", "ecs-agent", "ecs-telemetry", "s3"], "the endpoint of S3 is always there");
        let cidrs = with("{}", &["--public-cidrs", "10.0.8.0/24,10.0.9.0/24"]).unwrap();
        assert_eq!(cidrs.network().unwrap().public[1].to_string(), "10.0.9.0/24");
    }

    #[test]
    fn without_a_nat_gateway_the_endpoints_of_the_instances_are_checked() {
        for (x_net, x_cluster, warned) in [
            (r#"{"nat": "none"}"#, "{}", "ec2messages, ssm, ssmmessages"),
            (r#"{"nat": "none", "endpoints": ["ssm", "ec2messages"]}"#, r#"{"ami": "bottlerocket"}"#, "x-net.endpoints: ssmmessages, or"),
            (r#"{"nat": "none"}"#, r#"{"session_manager": false}"#, ""),
            (r#"{"nat": "none"}"#, r#"{"launch_type": "fargate"}"#, ""),
            (r#"{"nat": "single"}"#, "{}", ""),
        ] {
            let doc = format!(r#"{{"name": "shop", "x-net": {x_net}, "x-cluster": {x_cluster}}}"#);
            let doc = Document::parse(doc.as_bytes()).unwrap();
            assert!(place(&doc, &Flags::default()).is_ok());
            let warnings = doc.warnings();
            let found = warnings.iter().find(|(code, _)| *code == "sessions-without-endpoints").map(|(_, text)| text.clone());
            assert!(found.as_deref().map_or(warned.is_empty(), |text| !warned.is_empty() && text.contains(warned)), "{x_net}: {found:?}");
        }
    }

    #[test]
    fn an_existing_network_is_used_as_it_is() {
        let adopted = read(r#"{"vpc": "vpc-1", "public_subnets": ["subnet-1", "subnet-2"], "private_subnets": ["subnet-3"]}"#).unwrap();
        assert!(adopted.network().is_none());
    }

    #[test]
    fn a_wrong_value_is_reported_with_its_path() {
        for (x_net, says, path) in [
            (r#"{"cidr": "10.0.0.0/8"}"#, "between /16 and /24; found 10.", "x-net.cidr"),
            (r#"{"cidr": "10.0.0.0/25"}"#, "between /16 and /24; found 10.", "x-net.cidr"),
            (r#"{"cidr": "10.0.0.1/16"}"#, "as in 10.0.0.0/16; found 10.0.0.1/16", "x-net.cidr"),
            (r#"{"cidr": "172.17.0.0/16"}"#, "must not overlap 172.17.0.0/16, which Docker uses", "x-net.cidr"),
            (r#"{"cidr": "172.17.128.0/20"}"#, "must not overlap 172.17.0.0/16, which Docker uses", "x-net.cidr"),
            (r#"{"cidr": "10.0.0.0/24"}"#, "must be /27 or larger, because a load balancer needs that; found 10.0.0.0/28", "x-net.cidr"),
            (r#"{"public_cidrs": ["10.0.0.0/27", "10.0.1.0/28"]}"#, "must be /27 or larger", "x-net.public_cidrs[1]"),
            (r#"{"azs": 1}"#, "between 2 and 4; found ", "x-net.azs"),
            (r#"{"azs": 5}"#, "between 2 and 4; found ", "x-net.azs"),
            (r#"{"nat": "two"}"#, "must be one of none, single, per-az; found \"two\"", "x-net.nat"),
            (r#"{"flow_logs": 15}"#, "found 15", "x-net.flow_logs"),
            (r#"{"public_cidrs": ["10.0.0.0/20"]}"#, "must have 2 ranges", "x-net.public_cidrs"),
            (r#"{"public_cidrs": ["10.0.0.0/20", "10.0.0.0/24"]}"#, "must not overlap 10.0.", "x-net.public_cidrs[1]"),
            (r#"{"private_cidrs": ["10.0.0.0/20", "10.0.240.0/20"]}"#, "must not overlap 10.0.", "x-net.private_cidrs[0]"),
            (r#"{"private_cidrs": ["10.1.0.0/20", "10.0.240.0/20"]}"#, "must be inside the VPC's 10.0.0.0/16", "x-net.private_cidrs[0]"),
            (r#"{"vpc": "vpc-1"}"#, "must name 2 or more subnets of vpc-1", "x-net.public_subnets"),
            (r#"{"vpc": "vpc-1", "azs": 2}"#, "together with `vpc`", "x-net.azs"),
            (r#"{"public_subnets": ["subnet-1"]}"#, "Set x-net.vpc (--vpc) to its ID", "x-net.public_subnets"),
        ] {
            let said = read(x_net).unwrap_err();
            assert!(said.contains(says) && said.contains(&format!("at {path}: ")), "{x_net}: {said}");
        }
    }
}
