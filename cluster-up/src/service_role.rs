//! ECS's service-linked role, which all clusters of the account use. ECS would create it with the first cluster, but often can't use it at once
//! ("Unable to assume the service linked role", aws/containers-roadmap 2614). So it is created first.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-service-linked-roles.html>

use aws_sdk_iam::Client;
use shared::{Result, Run, Tried};

use crate::ClusterUp;

/// Whether the role exists.
pub type Found = bool;

const SERVICE: &str = "ecs.amazonaws.com";

pub async fn find(iam: &Client) -> Result<Found> {
    let call = iam.list_roles().path_prefix(format!("/aws-service-role/{SERVICE}/"));
    let said = call.send().await.tried("read ECS's service-linked role")?;
    Ok(!said.roles().is_empty())
}

impl ClusterUp {
    pub async fn service_role_up(&self, run: &Run) -> Result<()> {
        if self.found.service_role {
            return Ok(());
        }
        let create = async {
            match self.iam.create_service_linked_role().aws_service_name(SERVICE).send().await.tried("create ECS's service-linked role") {
                // Another run created it meanwhile.
                Err(error) if (error.is_code("InvalidInput") && error.says("has been taken")) || error.is_code("EntityAlreadyExists") => {
                    Ok(SERVICE.to_owned())
                }
                other => other.map(|_| SERVICE.to_owned()),
            }
        };
        run.create("service-linked role", SERVICE, create).await.map(drop)
    }
}
