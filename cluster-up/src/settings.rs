//! What can be configured: `x-cluster` and its flags.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doc::{LaunchType, Net, Selection, check_boundary, owner, volume};
use shared::flags::DeleteData;
use shared::policy::{BOUNDARY, Named, named_once};
use shared::settings::{first_given, read_flags};
use shared::{Document, Error, Result};

/// The shortest name of a launch template, which has the app's name.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html>
pub const SHORTEST: usize = 3;

/// The default of `max`, unless `min` is larger.
const MAX: i32 = 6;

shared::settings! {
    /// `x-cluster`: the ECS cluster and, on EC2, its instances
    pub struct Settings, Flags {
        /// Launch type of all services
        ///
        /// It can't be changed while the cluster exists.
        launch_type: LaunchType = LaunchType::Ec2, arg(long, value_enum);
        /// EC2: instance types, in order of preference
        ///
        /// Several types, or Spot, make the Auto Scaling group use a mixed instances policy. Example: m7g.large,m6g.large
        instance_types: Vec<String>,
            arg(long, value_delimiter = ',', value_name = "TYPE"),
            schemars(extend("x-default" = "t3.medium, or t4g.medium with the arm64 AMI"));
        // AWS allows 10,000 instances in a group. A larger number than 1,000 is more likely a typing mistake.
        /// EC2: minimum number of instances
        ///
        /// cluster-up uses it only when it creates the Auto Scaling group. Later, set --instances-min in scale-set.
        min: i32 [0..=1000] = 2, arg(long, value_name = "COUNT");
        /// EC2: maximum number of instances
        ///
        /// cluster-up uses it only when it creates the Auto Scaling group. Later, set --instances-max in scale-set.
        max: i32 [1..=1000], arg(long, value_name = "COUNT"), schemars(extend("x-default" = "6, or min if that is larger"));
        /// Percentage of the capacity on Spot
        ///
        /// Spot costs less, but AWS may end an instance or a task with two minutes' notice.
        spot: i32 [0..=100] = 0, arg(long, value_name = "PERCENT");
        /// EC2: AMI of the instances
        ///
        /// One of al2023, al2023-arm64 and bottlerocket, or the ID of an AMI. EC2 takes the newest AMI of a name whenever it starts an instance.
        /// Example: ami-0abcdef1234567890
        ami: String = "al2023".to_owned(), arg(long);
        // The ECS-optimized AMI's own snapshot has 30 GiB, and a volume can't be smaller. gp3 allows 16 TiB.
        // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-optimized_AMI.html
        /// EC2: size of an instance's volume in GiB
        ///
        /// It is the volume of the containers: the root volume, or the second volume with Bottlerocket.
        volume_gib: i32 [30..=16384] = 30, arg(long, value_name = "GIB");
        /// EC2: percentage of the instances that managed scaling keeps in use
        ///
        /// With less than 100, spare instances wait for the next tasks.
        target_capacity: i32 [1..=100] = 100, arg(long, value_name = "PERCENT");
        /// EC2: whether Session Manager can open a shell on the instances
        ///
        /// The role of the instances then has the policy AmazonSSMManagedInstanceCore.
        session_manager: bool = true, arg(long, value_name = "BOOL");
        /// ARN of the permissions boundary of the role of the instances
        ///
        /// A managed policy that limits what the policies of a role allow. Without this setting, a run removes the boundary.
        permissions_boundary: String, arg(long, value_name = "ARN"), schemars(extend("x-default" = "none"));
        /// Level of Container Insights
        insights: Insights = Insights::Enhanced, arg(long, value_enum);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Insights {
    /// Metrics of clusters, services, tasks and containers
    Enhanced,
    /// Metrics of clusters and services
    Enabled,
    /// No metrics
    Disabled,
}

impl Insights {
    /// Returns the value of the cluster setting `containerInsights`.
    pub fn value(self) -> &'static str {
        match self {
            Self::Enhanced => "enhanced",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// The settings, checked.
#[derive(Debug)]
pub struct Wanted {
    pub insights: Insights,
    /// Percentage on Spot.
    pub spot: i32,
    /// Whether the services of the app find each other by name.
    pub connects: bool,
    /// `None` on Fargate.
    pub instances: Option<Instances>,
    /// `None` when no service has a volume on the app's file system.
    pub storage: Option<Storage>,
}

/// The command line.
#[derive(Debug, Clone, Args, Serialize)]
pub struct CommandLine {
    #[command(flatten)]
    #[serde(flatten)]
    pub cluster: Flags,
    #[command(flatten)]
    #[serde(skip)]
    pub data: DeleteData,
    /// EC2: replace the instances that run an old version of the launch template, and wait
    #[arg(long, conflicts_with = "down")]
    #[serde(skip)]
    pub roll: bool,
}

/// Where the file system of the volumes is reached.
#[derive(Debug)]
pub struct Storage {
    pub vpc: Option<String>,
    /// The private subnets and their zones.
    pub subnets: Vec<Option<String>>,
    pub zones: Vec<String>,
    /// The security group.
    pub group: Option<String>,
}

impl Storage {
    /// # Errors
    /// Says which volume of a service is not valid.
    fn read(doc: &Document, net: &Net) -> Result<Option<Self>> {
        let needed = !volume::on_file_system(doc)?.is_empty();
        Ok(needed.then(|| Self {
            vpc: net.vpc_id.clone(),
            subnets: net.private_subnet_ids.clone(),
            zones: net.zones.clone(),
            group: net.file_system_security_group_id.clone(),
        }))
    }
}

/// The instances of the EC2 launch type.
#[derive(Debug)]
pub struct Instances {
    pub types: Vec<String>,
    pub min: i32,
    pub max: i32,
    pub ami: Ami,
    pub volume_gib: i32,
    pub target_capacity: i32,
    /// Whether Session Manager may manage the instances.
    pub session_manager: bool,
    /// The ARN of the permissions boundary of their role.
    pub boundary: Option<String>,
    /// Whether a container of the app is privileged.
    pub privileged: bool,
    pub subnets: Vec<Option<String>>,
    /// The security group.
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

/// Returns what the settings name for the policy.
///
/// # Errors
/// Says what is wrong in the document or the flags, with its path.
pub fn named(doc: &Document, flags: &Flags) -> Result<Named> {
    let settings = Settings::from(read_flags(doc, &doc.root(), "x-cluster", flags)?);
    Ok(named_once([(BOUNDARY, check_boundary("x-cluster.permissions_boundary", settings.permissions_boundary)?)]))
}

impl Wanted {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Says what is wrong in the document or the flags, with its path.
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let net: Net = doc.need("net", "net-up")?;
        let given = read_flags(doc, &doc.root(), "x-cluster", flags)?;
        let settings = Settings::from(given.clone());
        let (insights, spot) = (settings.insights, settings.spot);
        let storage = Storage::read(doc, &net)?;
        let instances = match settings.launch_type {
            LaunchType::Ec2 => {
                check_name(doc.name()?)?;
                Some(Instances { privileged: has_privileged(doc)?, ..instances(&given, settings, net)? })
            }
            LaunchType::Fargate => no_instances(&given).map(|()| None)?,
        };
        let connects = connects(doc, instances.as_ref())?;
        Ok(Self { insights, spot, connects, instances, storage })
    }

    pub fn launch_type(&self) -> LaunchType {
        if self.instances.is_some() { LaunchType::Ec2 } else { LaunchType::Fargate }
    }
}

/// Returns whether there are two tasks or more that may call each other. Sidecars are in the task of another service.
fn connects(doc: &Document, instances: Option<&Instances>) -> Result<bool> {
    let tasks = doc.services(&Selection::default())?.iter().filter(|(_, at)| owner(at).is_none()).count();
    // <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect.html#service-connect-considerations>
    let can = instances.is_none_or(|instances| instances.ami != Ami::Bottlerocket);
    if tasks > 1 && !can {
        doc.warn(
            "names-on-bottlerocket",
            "the services can't reach each other by name, because ECS Service Connect does not support Bottlerocket. Set x-cluster.ami to al2023, or use other addresses in the services",
        );
    }
    Ok(tasks > 1 && can)
}

fn has_privileged(doc: &Document) -> Result<bool> {
    for (_, service) in doc.services(&Selection::default())? {
        if service.key("privileged").map(|on| on.truth()).transpose()?.unwrap_or(false) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_name(app: &str) -> Result<()> {
    if app.len() >= SHORTEST {
        return Ok(());
    }
    let text = format!(
        "must have at least {SHORTEST} characters, because the launch template has the app's name; found {app:?}. Choose a longer name, or the launch type fargate"
    );
    Err(Error::document("name-too-short-for-ec2", "name", text))
}

fn instances(given: &Flags, settings: Settings, net: Net) -> Result<Instances> {
    let ami = Ami::read(&settings.ami)?;
    let default_type = if ami == Ami::Al2023Arm64 { "t4g.medium" } else { "t3.medium" };
    let types = settings.instance_types.unwrap_or_else(|| vec![default_type.to_owned()]);
    if types.is_empty() {
        return Err(Error::document("no-instance-types", "x-cluster.instance_types", "must have at least one instance type; found none"));
    }
    let (min, max) = (settings.min, settings.max.unwrap_or(MAX.max(settings.min)));
    check_bounds(given, min, max)?;
    Ok(Instances {
        types,
        min,
        max,
        ami,
        volume_gib: settings.volume_gib,
        target_capacity: settings.target_capacity,
        session_manager: settings.session_manager,
        boundary: check_boundary("x-cluster.permissions_boundary", settings.permissions_boundary)?,
        privileged: false,
        subnets: net.private_subnet_ids,
        group: net.task_security_group_id,
        zones: net.zones,
    })
}

impl Ami {
    fn read(text: &str) -> Result<Self> {
        let is_id =
            |text: &str| text.strip_prefix("ami-").is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit()));
        match text {
            "al2023" => Ok(Self::Al2023),
            "al2023-arm64" => Ok(Self::Al2023Arm64),
            "bottlerocket" => Ok(Self::Bottlerocket),
            id if is_id(id) => Ok(Self::Id(id.to_owned())),
            other => Err(Error::document(
                "ami-name",
                "x-cluster.ami",
                format!("must be one of al2023, al2023-arm64, bottlerocket, or the ID of an AMI (ami-…); found {other:?}"),
            )),
        }
    }
}

/// Checks `min` against `max`, and blames the one that was set.
fn check_bounds(given: &Flags, min: i32, max: i32) -> Result<()> {
    if min <= max {
        return Ok(());
    }
    let (path, what) = if given.min.is_none() {
        ("x-cluster.max", format!("must be at least {min}, the value of x-cluster.min; found {max}"))
    } else {
        ("x-cluster.min", format!("must be at most {max}, the value of x-cluster.max; found {min}"))
    };
    Err(Error::document("instances-min-above-max", path, what))
}

/// Refuses settings of instances on Fargate, which has none. Ignoring them would hide a mistake.
fn no_instances(given: &Flags) -> Result<()> {
    match first_given(given, &["instance_types", "min", "max", "ami", "volume_gib", "target_capacity", "session_manager"]) {
        Some(key) => Err(Error::document(
            "ec2-setting-on-fargate",
            format!("x-cluster.{key}"),
            "applies to instances, but the launch type fargate has none. Remove this setting, or set launch_type to ec2",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, x_cluster: &str) -> Result<Wanted, String> {
        let doc = format!(r#"{{"name": "{name}", "net": {{}}, "x-cluster": {x_cluster}}}"#);
        let doc = Document::parse(doc.as_bytes()).map_err(|error| error.to_string())?;
        Wanted::read(&doc, &Flags::default()).map_err(|error| format!("{}: {error}", error.code()))
    }

    fn instances(x_cluster: &str) -> Instances {
        read("shop", x_cluster).unwrap().instances.unwrap()
    }

    #[test]
    fn without_settings_the_defaults_apply() {
        let wanted = read("shop", "{}").unwrap();
        assert_eq!((wanted.insights, wanted.spot, wanted.launch_type()), (Insights::Enhanced, 0, LaunchType::Ec2));
        let instances = wanted.instances.unwrap();
        assert_eq!((instances.types.as_slice(), instances.ami), (["t3.medium".to_owned()].as_slice(), Ami::Al2023));
        assert_eq!((instances.min, instances.max, instances.volume_gib, instances.target_capacity), (2, 6, 30, 100));
        assert!(read("shop", r#"{"launch_type": "fargate", "spot": 50}"#).unwrap().instances.is_none());
    }

    #[test]
    fn the_default_type_has_the_processor_of_the_ami() {
        for (ami, kind, wanted) in [
            ("al2023", "t3.medium", Ami::Al2023),
            ("al2023-arm64", "t4g.medium", Ami::Al2023Arm64),
            ("bottlerocket", "t3.medium", Ami::Bottlerocket),
            ("ami-0abcdef1234567890", "t3.medium", Ami::Id("ami-0abcdef1234567890".to_owned())),
        ] {
            let instances = instances(&format!(r#"{{"ami": "{ami}"}}"#));
            assert_eq!((instances.types[0].as_str(), instances.ami), (kind, wanted), "{ami}");
        }
    }

    #[test]
    fn the_default_maximum_is_never_below_the_minimum() {
        for (x_cluster, bounds) in [
            (r#"{"min": 9}"#, (9, 9)),
            (r#"{"min": 0}"#, (0, 6)),
            (r#"{"max": 2}"#, (2, 2)),
            (r#"{"min": 1000, "max": 1000}"#, (1000, 1000)),
        ] {
            let instances = instances(x_cluster);
            assert_eq!((instances.min, instances.max), bounds, "{x_cluster}");
        }
    }

    #[test]
    fn wrong_settings_are_reported_with_their_path() {
        for (name, x_cluster, said) in [
            ("shop", r#"{"ami": "al2022"}"#, "ami-name: the document is wrong at x-cluster.ami: must be one of al2023, al2023-arm64"),
            ("shop", r#"{"ami": "ami-"}"#, "ami-name: "),
            ("shop", r#"{"ami": "ami-$(reboot)"}"#, "ami-name: "),
            ("shop", r#"{"min": 5, "max": 2}"#, "x-cluster.min: must be at most 2, the value of x-cluster.max; found 5"),
            ("shop", r#"{"min": 7, "max": 6}"#, "instances-min-above-max: "),
            ("shop", r#"{"max": 1}"#, "x-cluster.max: must be at least 2, the value of x-cluster.min; found 1"),
            ("shop", r#"{"min": -1}"#, "x-cluster.min: must be between 0 and 1000; found -1"),
            ("shop", r#"{"max": 0}"#, "x-cluster.max: must be between 1 and 1000; found 0"),
            ("shop", r#"{"spot": 101}"#, "x-cluster.spot: must be between 0 and 100; found 101"),
            ("shop", r#"{"volume_gib": 29}"#, "x-cluster.volume_gib: must be between 30 and 16384; found 29"),
            ("shop", r#"{"instance_types": []}"#, "no-instance-types: "),
            ("shop", r#"{"launch_type": "fargate", "ami": "al2023"}"#, "x-cluster.ami: applies to instances"),
            ("ab", "{}", "name-too-short-for-ec2: the document is wrong at name: must have at least 3 characters"),
        ] {
            let found = read(name, x_cluster).err().unwrap_or_default();
            assert!(found.contains(said), "{x_cluster}: {found}");
        }
        assert!(read("ab", r#"{"launch_type": "fargate"}"#).is_ok());
    }
}
