//! Creates the ECS cluster and, on EC2, its instances.

mod auto_scaling_group;
mod capacity_provider;
mod cluster;
mod cluster_capacity;
mod container_instance;
mod file_system;
mod file_system_policy;
mod instance_profile;
mod instance_role;
mod instance_type;
mod instances;
mod launch_template;
mod launch_template_data;
mod mount_target;
mod namespace;
mod policy;
mod providers;
mod roll;
mod service_role;
mod settings;
mod tag;

use std::cell::RefCell;
use std::process::ExitCode;

use futures_util::try_join;
use serde::Serialize;
use shared::doc::Cluster;
use shared::policy::{Grant, Named};
use shared::settings::Parts;
use shared::{Document, Result, Run, Stage};

use settings::{CommandLine, Flags, Wanted};

fn main() -> ExitCode {
    shared::main::<ClusterUp>()
}

struct ClusterUp {
    ecs: aws_sdk_ecs::Client,
    ec2: aws_sdk_ec2::Client,
    iam: aws_sdk_iam::Client,
    autoscaling: aws_sdk_autoscaling::Client,
    efs: aws_sdk_efs::Client,
    /// Whether `--down` deletes the data of the volumes, too.
    delete_data: bool,
    /// Whether to replace the instances that run an old launch template.
    roll: bool,
    /// The version of the launch template that new instances run. `None` while it is planned.
    template_version: RefCell<Option<String>>,
    cloud_map: aws_sdk_servicediscovery::Client,
    found: Found,
    /// The section to write, which the steps fill.
    cluster: RefCell<Cluster>,
}

/// What existed before the first step.
struct Found {
    service_role: service_role::Found,
    instance_role: instance_role::Found,
    template: launch_template::Found,
    group: auto_scaling_group::Found,
    provider: capacity_provider::Found,
    registered: Vec<container_instance::Registered>,
    cluster: cluster::Found,
    namespace: namespace::Found,
    image: Option<instance_type::FoundImage>,
    file_system: file_system::Found,
    file_system_policy: file_system_policy::Found,
    mount_targets: Vec<mount_target::FoundTarget>,
    /// The zones of the private subnets, by ID.
    subnet_zones: mount_target::Zones,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    ServiceRole,
    Namespace,
    InstanceRole,
    LaunchTemplate,
    FileSystem,
    FileSystemPolicy,
    MountTargets,
    Cluster,
    AutoScalingGroup,
    CapacityProvider,
    ClusterCapacity,
    Instances,
    Roll,
}

impl Stage for ClusterUp {
    const TOOL: &'static str = "cluster-up";
    const SECTION: &'static str = "cluster";
    const ABOUT: &'static str = "Create the ECS cluster and, on EC2, its instances";
    const DETAILS: &'static str = "Reads the document on stdin: the section `net`, which net-up writes, and the settings in `x-cluster`. Creates an \
        ECS cluster and, for two services or more, the namespace in which they find each other by name. With the launch type ec2 it also creates the role of the instances and a launch template (ECS-optimized AMI, IMDSv2, \
        encrypted volume). The instances are in an Auto Scaling group in the private subnets, behind a capacity provider with managed scaling. \
        When services have named volumes, it creates an encrypted EFS file system for them, which --down keeps. Writes the document with the section `cluster`. It does not wait for the instances, unless you set --wait.\n\n\
        Example:\n  net-up --app shop | cluster-up --launch-type fargate |\n    svc-deploy --service web --image nginx:1.27 --port 80";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("net", "net-up")];
    const GRANTS: &'static [Grant] = policy::GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::ServiceRole, Step::Namespace, Step::InstanceRole, Step::LaunchTemplate, Step::FileSystem],
        &[Step::Cluster, Step::AutoScalingGroup, Step::FileSystemPolicy, Step::MountTargets],
        &[Step::CapacityProvider],
        &[Step::ClusterCapacity],
        // Only an instance that starts after the association belongs to the capacity provider.
        &[Step::Instances],
        &[Step::Roll],
    ];
    type Step = Step;
    type Flags = CommandLine;
    type Wanted = Wanted;

    fn parts() -> Parts {
        Parts::default().with::<Option<Flags>>("x-cluster").with::<Option<Cluster>>("cluster")
    }

    fn wanted(doc: &Document, flags: &CommandLine) -> Result<Wanted> {
        Wanted::read(doc, &flags.cluster)
    }

    fn named(doc: &Document, flags: &CommandLine) -> Result<Named> {
        settings::named(doc, &flags.cluster)
    }

    async fn find(run: &Run, _: &Document, flags: &CommandLine, wanted: Option<&Wanted>) -> Result<Self> {
        let (ecs, ec2) = (shared::client!(aws_sdk_ecs, run), shared::client!(aws_sdk_ec2, run));
        let (iam, autoscaling) = (shared::client!(aws_sdk_iam, run), shared::client!(aws_sdk_autoscaling, run));
        let (efs, cloud_map) = (shared::client!(aws_sdk_efs, run), shared::client!(aws_sdk_servicediscovery, run));
        let registered = async {
            // Only a run on EC2 replaces instances.
            if wanted.is_some_and(|wanted| wanted.instances.is_some()) { container_instance::find(&ecs, run).await } else { Ok(Vec::new()) }
        };
        let storage = async {
            let file_system = file_system::find(&efs, run).await?;
            let (policy, targets) = try_join!(file_system_policy::find(&efs, &file_system), mount_target::find(&efs, &file_system))?;
            Ok((file_system, policy, targets))
        };
        let storage = async { try_join!(storage, mount_target::zones(&ec2, wanted)) };
        let (service_role, instance_role, template, group, provider, registered, cluster, namespace, image, storage) = try_join!(
            service_role::find(&iam),
            instance_role::find(&iam, run),
            launch_template::find(&ec2, run),
            auto_scaling_group::find(&autoscaling, run),
            capacity_provider::find(&ecs, run),
            registered,
            cluster::find(&ecs, run),
            namespace::find(&cloud_map, run),
            instance_type::check(&ec2, wanted),
            storage,
        )?;
        cluster::check_launch_type(run, wanted, cluster.as_ref(), group.exists())?;
        let architecture = image.as_ref().map(|image| image.architecture.clone());
        let (instance_cpu, instance_memory) = (image.as_ref().and_then(|image| image.cpu), image.as_ref().and_then(|image| image.memory));
        let ((file_system, file_system_policy, mount_targets), subnet_zones) = storage;
        let found = Found {
            service_role,
            instance_role,
            template,
            group,
            provider,
            registered,
            cluster,
            namespace,
            image,
            file_system,
            file_system_policy,
            mount_targets,
            subnet_zones,
        };
        let delete_data = flags.data.delete_data;
        Ok(Self {
            ecs,
            ec2,
            iam,
            autoscaling,
            efs,
            delete_data,
            roll: flags.roll,
            template_version: RefCell::default(),
            cloud_map,
            found,
            cluster: RefCell::new(Cluster { architecture, instance_cpu, instance_memory, ..Cluster::default() }),
        })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::ServiceRole => self.service_role_up(run).await,
            Step::Namespace => self.namespace_up(run, wanted).await,
            Step::InstanceRole => self.instance_role_up(run, wanted).await,
            Step::LaunchTemplate => self.template_up(run, wanted).await,
            Step::FileSystem => self.file_system_up(run, wanted).await,
            Step::FileSystemPolicy => self.file_system_policy_up(run, wanted).await,
            Step::MountTargets => self.mount_targets_up(run, wanted).await,
            Step::Cluster => self.cluster_up(run, wanted).await,
            Step::AutoScalingGroup => self.group_up(run, wanted).await,
            Step::CapacityProvider => self.provider_up(run, wanted).await,
            Step::ClusterCapacity => self.capacity_up(run, wanted).await,
            Step::Instances => self.instances_up(run, wanted).await,
            Step::Roll => self.roll_up(run, wanted).await,
        }
    }

    async fn ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        self.instances_ready(run, wanted).await
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            // All clusters of the account use ECS's role, the policy is deleted with the file system, and the group ends its instances.
            Step::ServiceRole | Step::FileSystemPolicy | Step::Instances | Step::Roll => Ok(()),
            Step::Namespace => self.namespace_down(run).await,
            Step::InstanceRole => self.instance_role_down(run).await,
            Step::LaunchTemplate => self.template_down(run).await,
            Step::FileSystem => self.file_system_down(run).await,
            Step::MountTargets => self.mount_targets_down(run).await,
            Step::Cluster => self.cluster_down(run).await,
            Step::AutoScalingGroup => self.group_down(run).await,
            Step::CapacityProvider => self.provider_down(run).await,
            Step::ClusterCapacity => self.capacity_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.cluster.borrow().clone()
    }
}
