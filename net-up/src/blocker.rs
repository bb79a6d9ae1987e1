//! What keeps AWS from deleting a part of the network: first the app's own network interfaces, which exist a minute or two longer than their load
//! balancers and tasks, and then what others created in the network.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{Filter, NetworkInterface, NetworkInterfaceAttachment, SecurityGroup};
use futures_util::try_join;
use shared::wait::while_held;
use shared::{Error, Result, Run};

use crate::{NetUp, tag};

/// Interfaces that no one waits for elsewhere, and that AWS deletes by itself, are gone by then.
const PATIENCE: Duration = Duration::from_secs(15);

/// A part of the network.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    Group(&'a str),
    Subnet(&'a str),
    Vpc(&'a str),
}

impl Part<'_> {
    fn text(self) -> String {
        match self {
            Self::Group(id) => format!("security group {id}"),
            Self::Subnet(id) => format!("subnet {id}"),
            Self::Vpc(id) => format!("VPC {id}"),
        }
    }

    /// Selects the network interfaces in this part.
    fn interfaces(self) -> Filter {
        match self {
            Self::Group(id) => tag::filter("group-id", id),
            Self::Subnet(id) => tag::filter("subnet-id", id),
            Self::Vpc(id) => tag::filter("vpc-id", id),
        }
    }

    /// Selects the security groups that keep AWS from deleting this part. AWS deletes no group to which a rule refers.
    fn groups(self) -> Vec<Filter> {
        match self {
            Self::Group(id) => ["ip-permission.group-id", "egress.ip-permission.group-id"].map(|name| tag::filter(name, id)).to_vec(),
            Self::Subnet(_) => Vec::new(),
            Self::Vpc(id) => vec![tag::filter("vpc-id", id)],
        }
    }
}

impl NetUp {
    /// Deletes a part of the network as soon as the app's own interfaces in it are gone. `what` completes "waiting for …".
    ///
    /// # Errors
    /// Names what others created and what uses this part, within a minute. Returns every other error of `delete`.
    pub async fn delete_when_unused(&self, run: &Run, what: &str, part: Part<'_>, delete: impl AsyncFn() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        let still_used = |error: &Error| error.is_code("DependencyViolation");
        while_held(run, what, still_used, async || match delete().await {
            Err(error) if still_used(&error) && began.elapsed() > PATIENCE => {
                self.check_blockers(run, part).await?;
                Err(error)
            }
            other => other,
        })
        .await
    }

    async fn check_blockers(&self, run: &Run, part: Part<'_>) -> Result<()> {
        let doing = format!("read what uses the {}", part.text());
        let interfaces = async {
            let call = self.ec2.describe_network_interfaces().filters(part.interfaces());
            shared::pages!(call, &doing)
        };
        let groups = async {
            let mut all = Vec::new();
            for filter in part.groups() {
                all.extend(shared::pages!(self.ec2.describe_security_groups().filters(filter), &doing)?);
            }
            Ok(all)
        };
        let (interfaces, groups) = try_join!(interfaces, groups)?;
        let interfaces = interfaces.iter().filter(|one| !ends_by_itself(one, &run.app)).map(interface_text);
        let is_foreign = |one: &&SecurityGroup| one.group_name() != Some("default") && !run.is_ours(one.tags().iter().map(tag::pair));
        let all: Vec<String> = interfaces.chain(groups.iter().filter(is_foreign).map(group_text)).collect();
        if all.is_empty() {
            return Ok(());
        }
        let hint =
            if self.found.guard_duty.is_in(self.found.vpc.id()) { ". With --force, net-up deletes what GuardDuty created" } else { "" };
        let text = format!(
            "could not delete the {}: it is used by what ecs-pipe did not create: {}. Delete it, and run the same command again{hint}",
            part.text(),
            all.join("; ")
        );
        Err(Error::failed("network-in-use", text))
    }
}

/// Returns whether AWS deletes the interface soon: it is of the app's deleted load balancer, or of a task that has stopped.
fn ends_by_itself(interface: &NetworkInterface, app: &str) -> bool {
    let description = interface.description().unwrap_or_default();
    description.starts_with(&format!("ELB app/{app}/")) || (description.contains(":ecs:") && description.contains(":attachment/"))
}

/// Names an interface, as in `eni-1 ("theirs", created by amazon-rds, attached to i-1)`.
fn interface_text(interface: &NetworkInterface) -> String {
    let id = interface.network_interface_id().unwrap_or("an interface");
    let maker = interface.requester_id().or(interface.owner_id()).unwrap_or("an unknown account");
    let instance = interface.attachment().and_then(NetworkInterfaceAttachment::instance_id);
    let attached = instance.map(|id| format!(", attached to {id}")).unwrap_or_default();
    format!("{id} ({:?}, created by {maker}{attached})", interface.description().unwrap_or_default())
}

/// Names a group, as in `sg-1 ("theirs", its description)`.
fn group_text(group: &SecurityGroup) -> String {
    format!(
        "{} ({:?}, {:?})",
        group.group_id().unwrap_or("a security group"),
        group.group_name().unwrap_or_default(),
        group.description().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_of_the_app_end_by_themselves() {
        for (description, ends) in [
            ("ELB app/shop/0123456789abcdef", true),
            ("arn:aws:ecs:eu-central-1:123456789012:attachment/01234567", true),
            ("ELB app/other/0123456789abcdef", false),
            ("RDSNetworkInterface", false),
            ("VPC Endpoint Interface vpce-1", false),
        ] {
            assert_eq!(ends_by_itself(&NetworkInterface::builder().description(description).build(), "shop"), ends, "{description}");
        }
        let attachment = NetworkInterfaceAttachment::builder().instance_id("i-1").build();
        let eni = NetworkInterface::builder().network_interface_id("eni-1").description("theirs").requester_id("amazon-rds");
        assert_eq!(interface_text(&eni.attachment(attachment).build()), "eni-1 (\"theirs\", created by amazon-rds, attached to i-1)");
    }
}
