//! The container instances: the instances whose ECS agent has registered with the cluster.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerInstance.html>

use aws_sdk_ecs::Client;
use aws_sdk_ecs::operation::describe_container_instances::DescribeContainerInstancesOutput;
use aws_sdk_ecs::types::ContainerInstance;
use shared::error::if_found;
use shared::step::each;
use shared::{Result, Run, Tried};

/// Container instances that one call of `DescribeContainerInstances` takes.
const AT_ONCE: usize = 100;

/// A registered instance.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The ID of the EC2 instance.
    pub id: String,
    /// The capacity provider to which the instance belongs. It does not change while the instance is registered.
    pub provider: Option<String>,
    /// Whether ECS places tasks on it.
    pub is_active: bool,
}

/// Returns the container instances of the cluster, and none when there is no cluster.
///
/// # Errors
/// Returns what ECS refused.
pub async fn find(ecs: &Client, run: &Run) -> Result<Vec<Registered>> {
    let call = ecs.list_container_instances().cluster(&run.app);
    let arns = if_found(shared::pages!(call, format!("list the container instances of the cluster {}", run.app)))?.unwrap_or_default();
    let described = each(arns.chunks(AT_ONCE), async |arns| {
        let call = ecs.describe_container_instances().cluster(&run.app).set_container_instances(Some(arns.to_vec()));
        call.send().await.tried(format!("read the container instances of the cluster {}", run.app))
    })
    .await?;
    Ok(described.iter().flat_map(DescribeContainerInstancesOutput::container_instances).filter_map(registered).collect())
}

fn registered(found: &ContainerInstance) -> Option<Registered> {
    let id = found.ec2_instance_id()?.to_owned();
    let is_active = found.status() == Some("ACTIVE") && found.agent_connected();
    Some(Registered { id, provider: found.capacity_provider_name().map(str::to_owned), is_active })
}
