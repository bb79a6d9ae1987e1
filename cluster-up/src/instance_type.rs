//! The instance types: whether the zones have them, and whether their processors can run the AMI.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    ArchitectureType, BlockDeviceMapping, EbsBlockDevice, Filter, Image, InstanceTypeInfo, LocationType, ProcessorInfo,
};
use futures_util::try_join;
use shared::{Error, Result, Tried};

use crate::settings::{Ami, Instances, Wanted};

/// The root device of Amazon Linux and Bottlerocket.
const ROOT: &str = "/dev/xvda";

/// What matters of the instances' types and of their AMI.
pub struct FoundImage {
    /// As EC2 calls it: `x86_64` or `arm64`.
    pub architecture: String,
    /// The device of the root volume.
    pub root_device: String,
    /// Whether it is Bottlerocket, which has other user data.
    pub is_bottlerocket: bool,
    /// CPU units of the type that has most of them; 1024 are a vCPU.
    pub cpu: Option<i32>,
    /// MiB of the type that has most memory.
    pub memory: Option<i32>,
}

/// Returns the AMI of the instances, or `None` where there are none.
///
/// # Errors
/// Fails when a zone has none of the types, or when one of them can't run the AMI. An Auto Scaling group would report that only in its activities.
pub async fn check(ec2: &Client, wanted: Option<&Wanted>) -> Result<Option<FoundImage>> {
    let Some(instances) = wanted.and_then(|wanted| wanted.instances.as_ref()) else { return Ok(None) };
    let (image, types, ()) = try_join!(image(ec2, instances), described(ec2, instances), check_offered(ec2, instances))?;
    types.iter().try_for_each(|kind| check_processor(kind, &image.architecture))?;
    let cpu = types.iter().filter_map(|kind| kind.v_cpu_info()?.default_v_cpus()).max().map(|vcpus| vcpus * 1024);
    let memory = types.iter().filter_map(|kind| kind.memory_info()?.size_in_mib()).max().and_then(|memory| i32::try_from(memory).ok());
    Ok(Some(FoundImage { cpu, memory, ..image }))
}

async fn image(ec2: &Client, instances: &Instances) -> Result<FoundImage> {
    let known = |architecture: &str, is_bottlerocket| FoundImage {
        architecture: architecture.to_owned(),
        root_device: ROOT.to_owned(),
        is_bottlerocket,
        cpu: None,
        memory: None,
    };
    let id = match &instances.ami {
        Ami::Al2023 => return Ok(known("x86_64", false)),
        Ami::Bottlerocket => return Ok(known("x86_64", true)),
        Ami::Al2023Arm64 => return Ok(known("arm64", false)),
        Ami::Id(id) => id,
    };
    let said = ec2.describe_images().image_ids(id).send().await.tried(format!("read the AMI {id} of x-cluster.ami"))?;
    let Some(found) = said.images().first() else { return Err(no_such_ami(id)) };
    let architecture = found.architecture().map(|architecture| architecture.as_str().to_owned()).ok_or_else(|| no_such_ami(id))?;
    let is_bottlerocket = found.name().is_some_and(|name| name.starts_with("bottlerocket"));
    check_image(found, instances.volume_gib, is_bottlerocket)?;
    let root_device = found.root_device_name().unwrap_or(ROOT).to_owned();
    Ok(FoundImage { architecture, root_device, is_bottlerocket, cpu: None, memory: None })
}

fn no_such_ami(id: &str) -> Error {
    let text =
        format!("must be an AMI of this region that this account may use; found {id}. Set another AMI, or share this one with the account");
    Error::document("no-such-ami", "x-cluster.ami", text)
}

/// Checks that the instances can start from the AMI: a shell reads the user data, and the snapshot fits into the volume.
fn check_image(image: &Image, volume_gib: i32, is_bottlerocket: bool) -> Result<()> {
    let id = image.image_id().unwrap_or("the AMI");
    if image.platform().is_some_and(|platform| platform.as_str().eq_ignore_ascii_case("windows")) {
        return Err(Error::document(
            "windows-ami",
            "x-cluster.ami",
            format!("must be an AMI with Linux; found {id} with Windows. Set another AMI"),
        ));
    }
    // The volume of Bottlerocket's containers has no snapshot.
    let root = image.block_device_mappings().iter().find(|one| one.device_name() == Some(image.root_device_name().unwrap_or(ROOT)));
    match root.and_then(BlockDeviceMapping::ebs).and_then(EbsBlockDevice::volume_size) {
        Some(size) if !is_bottlerocket && size > volume_gib => {
            let text = format!("must be at least {size}, the size of the snapshot of {id}; found {volume_gib}");
            Err(Error::document("volume-below-snapshot", "x-cluster.volume_gib", text))
        }
        _ => Ok(()),
    }
}

async fn described(ec2: &Client, instances: &Instances) -> Result<Vec<InstanceTypeInfo>> {
    let kinds = instances.types.iter().map(|kind| kind.as_str().into()).collect();
    shared::pages!(ec2.describe_instance_types().set_instance_types(Some(kinds)), "read the instance types of x-cluster.instance_types")
}

fn check_processor(kind: &InstanceTypeInfo, architecture: &str) -> Result<()> {
    let processors = kind.processor_info().map(ProcessorInfo::supported_architectures).unwrap_or_default();
    if processors.iter().any(|one| one.as_str() == architecture) {
        return Ok(());
    }
    let has = processors.iter().map(ArchitectureType::as_str).collect::<Vec<_>>().join(", ");
    let name = kind.instance_type().map_or("the type", |kind| kind.as_str());
    let text = format!(
        "must be types with the AMI's architecture, which is {architecture}; found {name} with {has}. Set other types, or set another AMI: al2023 for x86_64, al2023-arm64 for arm64"
    );
    Err(Error::document("instance-type-architecture", "x-cluster.instance_types", text))
}

async fn check_offered(ec2: &Client, instances: &Instances) -> Result<()> {
    let filter = Filter::builder().name("instance-type").set_values(Some(instances.types.clone())).build();
    let call = ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone).filters(filter);
    let offered = shared::pages!(call, "read which zones have the instance types of x-cluster.instance_types")?;
    match instances.zones.iter().find(|zone| !offered.iter().any(|offering| offering.location() == Some(zone))) {
        Some(zone) => Err(Error::document(
            "zone-without-type",
            "x-cluster.instance_types",
            format!("must have a type that the zone {zone} offers; found {}. Add a type of that zone", instances.types.join(", ")),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ami_must_have_linux_and_a_snapshot_that_fits() {
        let with = |gib| {
            let volume = EbsBlockDevice::builder().volume_size(gib).build();
            let volume = BlockDeviceMapping::builder().device_name(ROOT).ebs(volume).build();
            Image::builder().image_id("ami-1").root_device_name(ROOT).block_device_mappings(volume)
        };
        assert!(check_image(&with(30).build(), 30, false).is_ok());
        assert!(check_image(&with(100).build(), 30, true).is_ok());
        let code = |image: Image| check_image(&image, 30, false).unwrap_err().code().to_owned();
        assert_eq!(code(with(31).build()), "volume-below-snapshot");
        assert_eq!(code(with(30).platform("windows".into()).build()), "windows-ami");
    }

    #[test]
    fn a_type_must_run_the_architecture_of_the_ami() {
        let arm = ProcessorInfo::builder().supported_architectures(ArchitectureType::Arm64).build();
        let kind = InstanceTypeInfo::builder().instance_type("t4g.medium".into()).processor_info(arm).build();
        assert!(check_processor(&kind, "arm64").is_ok());
        let said = check_processor(&kind, "x86_64").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("the AMI's architecture, which is x86_64; found t4g.medium with arm64"), "{said}");
    }
}
