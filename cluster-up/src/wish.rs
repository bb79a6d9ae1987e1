//! What is asked of the cluster: `x-cluster` and its flags.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::{LaunchType, Net};
use shared::flags::first_given;
use shared::{Document, Error, Result};

use crate::launch_template::SHORTEST;

/// `x-cluster`
#[derive(Debug, Clone, Args, Serialize, Deserialize, JsonSchema)]
pub struct Flags {
    /// Where tasks run [default: ec2]
    #[arg(long, value_enum)]
    launch_type: Option<LaunchType>,
    /// EC2: instance types, the first preferred [default: t3.medium, with an arm64 AMI t4g.medium]
    #[arg(long, value_delimiter = ',')]
    instance_types: Option<Vec<String>>,
    /// EC2: instances at least [default: 2]
    #[arg(long)]
    min: Option<i32>,
    /// EC2: instances at most [default: 6]
    #[arg(long)]
    max: Option<i32>,
    /// Percentage of capacity on Spot, cheaper and taken away at two minutes' notice [default: 0]
    #[arg(long)]
    spot: Option<i32>,
    /// EC2: `al2023`, `al2023-arm64`, `bottlerocket`, or an AMI's id [default: al2023]
    #[arg(long)]
    ami: Option<String>,
    /// EC2: size of an instance's volume in GiB [default: 30]
    #[arg(long)]
    volume_gib: Option<i32>,
    /// EC2: percentage of the instances that managed scaling keeps in use [default: 100]
    #[arg(long)]
    target_capacity: Option<i32>,
    /// Container Insights [default: enhanced]
    #[arg(long, value_enum)]
    insights: Option<Insights>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Insights {
    Enhanced,
    Enabled,
    Disabled,
}

impl Insights {
    /// As the cluster setting `containerInsights` spells it.
    pub fn value(self) -> &'static str {
        match self {
            Self::Enhanced => "enhanced",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// The wishes, checked.
pub struct Wanted {
    pub insights: Insights,
    /// Percentage on Spot.
    pub spot: i32,
    /// `None` on Fargate.
    pub instances: Option<Instances>,
}

/// The instances of the EC2 launch type.
pub struct Instances {
    pub types: Vec<String>,
    pub min: i32,
    pub max: i32,
    pub ami: Ami,
    pub volume_gib: i32,
    pub target_capacity: i32,
    pub subnets: Vec<Option<String>>,
    pub group: Option<String>,
    pub zones: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ami {
    Al2023,
    Al2023Arm64,
    Bottlerocket,
    Id(String),
}

impl Wanted {
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let net: Net = doc.need("net", "net-up")?;
        let wish = doc.wish(&doc.root(), "x-cluster", flags)?;
        let spot = within("spot", wish.spot.unwrap_or(0), 0, 100)?;
        let insights = wish.insights.unwrap_or(Insights::Enhanced);
        let instances = match wish.launch_type.unwrap_or_default() {
            LaunchType::Ec2 if doc.name()?.len() < SHORTEST => {
                return Err(Error::document(
                    "name",
                    format!(
                        "a launch template is named like the app, with {SHORTEST} letters at least: choose a longer name, or launch_type fargate"
                    ),
                ));
            }
            LaunchType::Ec2 => Some(instances(&wish, net)?),
            LaunchType::Fargate => no_instances(&wish).map(|()| None)?,
        };
        Ok(Self { insights, spot, instances })
    }

    pub fn launch_type(&self) -> LaunchType {
        if self.instances.is_some() { LaunchType::Ec2 } else { LaunchType::Fargate }
    }
}

fn instances(wish: &Flags, net: Net) -> Result<Instances> {
    let ami = match wish.ami.as_deref().unwrap_or("al2023") {
        "al2023" => Ami::Al2023,
        "al2023-arm64" => Ami::Al2023Arm64,
        "bottlerocket" => Ami::Bottlerocket,
        id if id.strip_prefix("ami-").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit())) => Ami::Id(id.to_owned()),
        other => {
            return Err(Error::document(
                "x-cluster.ami",
                format!("{other:?} is none of al2023, al2023-arm64, bottlerocket, and no AMI's id (ami-…)"),
            ));
        }
    };
    let default_type = if ami == Ami::Al2023Arm64 { "t4g.medium" } else { "t3.medium" };
    let types = wish.instance_types.clone().unwrap_or_else(|| vec![default_type.to_owned()]);
    if types.is_empty() {
        return Err(Error::document("x-cluster.instance_types", "at least one instance type is needed"));
    }
    // An Auto Scaling group starts 0 to 10,000 instances, though no app of this size should need a thousand.
    let min = within("min", wish.min.unwrap_or(2), 0, 1000)?;
    let max = within("max", wish.max.unwrap_or(6.max(min)), 1, 1000)?;
    if min > max {
        let at_fault = if wish.min.is_none() { "x-cluster.max" } else { "x-cluster.min" };
        return Err(Error::document(at_fault, format!("{min} instances at least, but {max} at most")));
    }
    Ok(Instances {
        types,
        min,
        max,
        ami,
        // The ECS-optimised AMI's own snapshot has 30 GiB, and a volume can't be smaller; 16 TiB is gp3's limit.
        // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-optimized_AMI.html
        volume_gib: within("volume_gib", wish.volume_gib.unwrap_or(30), 30, 16384)?,
        target_capacity: within("target_capacity", wish.target_capacity.unwrap_or(100), 1, 100)?,
        subnets: net.private_subnet_ids,
        group: net.task_security_group_id,
        zones: net.zones,
    })
}

/// Wishes about instances make no sense where there are none; silence would hide a mistake.
fn no_instances(wish: &Flags) -> Result<()> {
    match first_given(wish, &["instance_types", "min", "max", "ami", "volume_gib", "target_capacity"]) {
        Some(key) => Err(Error::document(
            format!("x-cluster.{key}"),
            "is about instances, and Fargate has none: take it out, or choose launch_type ec2",
        )),
        None => Ok(()),
    }
}

fn within(key: &str, value: i32, least: i32, most: i32) -> Result<i32> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Error::document(format!("x-cluster.{key}"), format!("{value} is not from {least} to {most}")))
    }
}
