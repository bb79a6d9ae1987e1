//! The instance types: whether the zones have them, and what processors they have.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ArchitectureType, Filter, Image, InstanceTypeInfo, LocationType, ProcessorInfo};
use futures_util::try_join;
use shared::{Error, Result, Tried};

use crate::wish::{Ami, Instances, Wanted};

/// Where Amazon Linux and Bottlerocket start from.
const ROOT: &str = "/dev/xvda";

/// What an AMI is for.
pub struct FoundImage {
    /// As EC2 calls it, `x86_64` or `arm64`.
    pub architecture: String,
    /// The device that it starts from.
    pub root_device: String,
}

/// The image of the instances; `None` where there are none.
///
/// # Errors
/// That a zone has none of the types, or that one can't start the AMI: an Auto Scaling group would say so only in its activities, later.
pub async fn check(ec2: &Client, wanted: Option<&Wanted>) -> Result<Option<FoundImage>> {
    let Some(instances) = wanted.and_then(|wanted| wanted.instances.as_ref()) else { return Ok(None) };
    let (image, types, ()) = try_join!(image(ec2, &instances.ami), described(ec2, instances), check_offered(ec2, instances))?;
    for kind in types {
        let processors = kind.processor_info().map(ProcessorInfo::supported_architectures).unwrap_or_default();
        if !processors.iter().any(|one| one.as_str() == image.architecture) {
            let has = processors.iter().map(ArchitectureType::as_str).collect::<Vec<_>>().join(", ");
            return Err(Error::document(
                "x-cluster.instance_types",
                format!(
                    "{} has {has}, but the AMI is for {}: choose other types, or another AMI (x-cluster.ami: al2023 is for x86_64, al2023-arm64 for arm64)",
                    kind.instance_type().map_or("the type", |kind| kind.as_str()),
                    image.architecture
                ),
            ));
        }
    }
    Ok(Some(image))
}

async fn image(ec2: &Client, ami: &Ami) -> Result<FoundImage> {
    let known = |architecture: &str| FoundImage { architecture: architecture.to_owned(), root_device: ROOT.to_owned() };
    let id = match ami {
        Ami::Al2023 | Ami::Bottlerocket => return Ok(known("x86_64")),
        Ami::Al2023Arm64 => return Ok(known("arm64")),
        Ami::Id(id) => id,
    };
    let said = ec2.describe_images().image_ids(id).send().await.tried(format!("look at the AMI {id} that x-cluster.ami names"))?;
    let image = said.images().first();
    match image.and_then(Image::architecture) {
        Some(architecture) => Ok(FoundImage {
            architecture: architecture.as_str().to_owned(),
            root_device: image.and_then(Image::root_device_name).unwrap_or(ROOT).to_owned(),
        }),
        None => Err(Error::document("x-cluster.ami", format!("there is no AMI {id} in this region that this account may use"))),
    }
}

async fn described(ec2: &Client, instances: &Instances) -> Result<Vec<InstanceTypeInfo>> {
    let kinds = instances.types.iter().map(|kind| kind.as_str().into()).collect();
    let call = ec2.describe_instance_types().set_instance_types(Some(kinds));
    call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.tried("look at the instance types of x-cluster")
}

async fn check_offered(ec2: &Client, instances: &Instances) -> Result<()> {
    let filter = Filter::builder().name("instance-type").set_values(Some(instances.types.clone())).build();
    let call = ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone).filters(filter);
    let offered =
        call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.tried("look which zones have the instance types")?;
    for zone in &instances.zones {
        if !offered.iter().any(|offering| offering.location() == Some(zone)) {
            return Err(Error::document(
                "x-cluster.instance_types",
                format!("the zone {zone} has none of {}: add a type that it has", instances.types.join(", ")),
            ));
        }
    }
    Ok(())
}
