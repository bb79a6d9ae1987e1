//! The role of the instances, with which the ECS agent calls ECS.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html>

use std::collections::BTreeSet;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::InstanceProfile;
use futures_util::{join, try_join};
use iam_role::Policies;
use serde_json::{Value, json};
use shared::{Result, Run};

use crate::settings::Wanted;
use crate::{ClusterUp, instance_profile};

pub struct Found {
    role: Option<iam_role::Found>,
    profile: Option<InstanceProfile>,
}

/// What the agent needs. AWS maintains this policy.
const AGENT_POLICY: &str = "service-role/AmazonEC2ContainerServiceforEC2Role";

/// What the agent of Systems Manager needs, also for Session Manager. AWS maintains this policy.
const SESSION_POLICY: &str = "AmazonSSMManagedInstanceCore";

/// Returns the name of the role and of its instance profile. Names in IAM are unique in the account, so the region is part of them.
pub fn name(run: &Run) -> String {
    run.named(&format!("instance-{}", run.session.region()))
}

pub async fn find(iam: &Client, run: &Run) -> Result<Found> {
    let name = name(run);
    let (role, profile) = try_join!(iam_role::find(iam, &name, None), instance_profile::find(iam, &name))?;
    Ok(Found { role, profile })
}

impl ClusterUp {
    pub async fn instance_role_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let (iam, name, Found { role, profile }) = (&self.iam, name(run), &self.found.instance_role);
        // Both are checked before either is created.
        if role.as_ref().is_some_and(|role| !run.is_ours(role.tags())) {
            return Err(run.unmanaged("role", &name));
        }
        instance_profile::check(run, &name, profile.as_ref())?;
        let wanted_role = iam_role::Wanted {
            name: &name,
            path: "/",
            description: &format!("The ECS agent on the instances of {}", run.app),
            trust: trust(),
            tag: "instance",
            boundary: instances.boundary.as_deref(),
        };
        // Both calls end before an error of one is returned, so that no call is left with an unknown outcome.
        let (arn, made) =
            join!(iam_role::up(iam, run, &wanted_role, role.as_ref()), instance_profile::up(iam, run, &name, profile.as_ref()));
        let (arn, ()) = (arn?, made?);
        self.cluster.borrow_mut().instance_role_arn = arn;
        let policies = policies(&run.caller()?.partition, instances.session_manager, role.as_ref().map(|role| &role.attached));
        let (policies, member) =
            join!(iam_role::settle(iam, run, &name, role.as_ref(), &policies), instance_profile::settle(iam, run, &name, profile.as_ref()));
        policies.and(member)
    }

    pub async fn instance_role_down(&self, run: &Run) -> Result<()> {
        let Found { role, profile } = &self.found.instance_role;
        // IAM does not delete a role that is in an instance profile.
        instance_profile::remove(&self.iam, run, profile.as_ref()).await?;
        iam_role::remove(&self.iam, run, role.as_ref()).await
    }
}

/// Returns the policies that the role should have. Managed policies that others attached are kept: agents of the organization use this role.
fn policies(partition: &str, session_manager: bool, found: Option<&BTreeSet<String>>) -> Policies {
    let arn = |name: &str| format!("arn:{partition}:iam::aws:policy/{name}");
    let mut attached: BTreeSet<String> = found.cloned().unwrap_or_default();
    attached.insert(arn(AGENT_POLICY));
    if session_manager {
        attached.insert(arn(SESSION_POLICY));
    } else {
        attached.remove(&arn(SESSION_POLICY));
    }
    Policies { attached, inline: None }
}

/// Returns the trust policy: only EC2 may assume the role, for an instance.
fn trust() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_that_others_attached_are_kept() {
        let (agent, sessions) = (format!("arn:aws:iam::aws:policy/{AGENT_POLICY}"), format!("arn:aws:iam::aws:policy/{SESSION_POLICY}"));
        let theirs = "arn:aws:iam::123456789012:policy/inspector".to_owned();
        let set = |arns: &[&String]| arns.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(policies("aws", true, None).attached, set(&[&agent, &sessions]));
        let found = set(&[&theirs, &sessions]);
        assert_eq!(policies("aws", true, Some(&found)).attached, set(&[&agent, &sessions, &theirs]));
        assert_eq!(policies("aws", false, Some(&found)).attached, set(&[&agent, &theirs]));
    }
}
