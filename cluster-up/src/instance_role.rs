//! The role of the instances, and the instance profile that carries it (one role a profile).

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{AttachedPolicy, InstanceProfile, Role, Tag};
use futures_util::try_join;
use serde_json::{Value, json};
use shared::error::{given, if_found};
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::wish::Wanted;

pub struct Found {
    role: Option<Role>,
    policies: Vec<AttachedPolicy>,
    /// The names of inline policies, of which there should be none.
    inline: Vec<String>,
    profile: Option<InstanceProfile>,
}

/// What the ECS agent needs, maintained by AWS.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html>
const AGENT_POLICY: &str = "service-role/AmazonEC2ContainerServiceforEC2Role";

/// IAM names are the account's, not the region's, so the region is part of them.
pub fn name(run: &Run) -> String {
    run.named(&format!("instance-{}", run.session.region()))
}

pub async fn find(iam: &Client, run: &Run) -> Result<Found> {
    let name = name(run);
    let role = async { if_found(iam.get_role().role_name(&name).send().await.tried(format!("look for the role {name}"))) };
    let policies = async {
        let items = iam.list_attached_role_policies().role_name(&name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("look at the policies of the role {name}")))
    };
    let inline = async {
        let items = iam.list_role_policies().role_name(&name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("list the inline policies of the role {name}")))
    };
    let profile = async {
        if_found(
            iam.get_instance_profile().instance_profile_name(&name).send().await.tried(format!("look for the instance profile {name}")),
        )
    };
    let (role, policies, inline, profile) = try_join!(role, policies, inline, profile)?;
    Ok(Found {
        role: role.and_then(|said| said.role),
        policies: policies.unwrap_or_default(),
        inline: inline.unwrap_or_default(),
        profile: profile.and_then(|said| said.instance_profile),
    })
}

impl ClusterUp {
    pub async fn instance_role_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.instances.is_none() {
            return Ok(());
        }
        let (found, name) = (&self.found.instance_role, name(run));
        if let Some(role) = &found.role {
            check_ours(run, "role", role.arn(), role.tags())?;
        }
        if let Some(profile) = &found.profile {
            check_ours(run, "instance profile", profile.arn(), profile.tags())?;
        }
        let role = async {
            match &found.role {
                Some(role) => self.keep_role(run, role).await.map(Some),
                None => run.create("role", &name, self.create_role(run, &name)).await,
            }
        };
        let profile = async {
            match &found.profile {
                Some(profile) => self.keep_profile(run, profile).await.map(|()| None),
                None => run.create("instance profile", &name, self.create_profile(run, &name)).await,
            }
        };
        // Both end before either's error comes out, so that no call is left with its outcome unknown.
        let (role, profile) = futures_util::join!(role, profile);
        let (role, _) = (role?, profile?);
        self.cluster.borrow_mut().instance_role_arn = role;
        let (policies, member) = futures_util::join!(self.settle_policies(run, &name), self.settle_profile(run, &name));
        policies.and(member)
    }

    async fn create_role(&self, run: &Run, name: &str) -> Result<String> {
        let call = self.iam.create_role().role_name(name).assume_role_policy_document(trust().to_string());
        let call = call.set_tags(Some(tags(run.tags("instance"))?));
        let made = call
            .description(format!("The ECS agent on the instances of {}", run.app))
            .send()
            .await
            .tried(format!("create the role {name}"))?;
        given(made.role().map(Role::arn), "the new role's ARN")
    }

    async fn create_profile(&self, run: &Run, name: &str) -> Result<String> {
        self.iam
            .create_instance_profile()
            .instance_profile_name(name)
            .set_tags(Some(tags(run.tags("instance"))?))
            .send()
            .await
            .tried(format!("create the instance profile {name}"))?;
        Ok(name.to_owned())
    }

    /// With its tags, and with those who may take it.
    async fn keep_role(&self, run: &Run, role: &Role) -> Result<String> {
        let name = role.role_name();
        run.found("role", name);
        let was = role.assume_role_policy_document().and_then(shared::policy::decode);
        run.change("role", name, &Diff::new().policy("trust", was.as_ref(), &trust()), async {
            let call = self.iam.update_assume_role_policy().role_name(name).policy_document(trust().to_string());
            call.send().await.tried(format!("change who may take the role {name}")).map(drop)
        })
        .await?;
        run.settle_tags("role", name, run.tags("instance"), role.tags().iter().map(pair), async |missing| {
            let call = self.iam.tag_role().role_name(name).set_tags(Some(tags(missing)?));
            call.send().await.tried(format!("tag the role {name}")).map(drop)
        })
        .await?;
        Ok(role.arn().to_owned())
    }

    async fn keep_profile(&self, run: &Run, profile: &InstanceProfile) -> Result<()> {
        let name = profile.instance_profile_name();
        run.found("instance profile", name);
        run.settle_tags("instance profile", name, run.tags("instance"), profile.tags().iter().map(pair), async |missing| {
            let call = self.iam.tag_instance_profile().instance_profile_name(name).set_tags(Some(tags(missing)?));
            call.send().await.tried(format!("tag the instance profile {name}")).map(drop)
        })
        .await
    }

    /// The agent's policy and no other.
    async fn settle_policies(&self, run: &Run, name: &str) -> Result<()> {
        let wanted = format!("arn:{}:iam::aws:policy/{AGENT_POLICY}", run.caller()?.partition);
        let attached: Vec<&str> = self.found.instance_role.policies.iter().filter_map(AttachedPolicy::policy_arn).collect();
        if self.found.instance_role.role.is_none() && run.is_planning() {
            return Ok(());
        }
        let inline = &self.found.instance_role.inline;
        let diff = Diff::new().field("policies", attached.join(" "), wanted.clone()).field("inline policies", inline.join(" "), "");
        run.change("role", name, &diff, async {
            if !attached.contains(&wanted.as_str()) {
                // The role, made a moment ago, is not known everywhere yet.
                while_not_yet(run, "the role to be visible", Error::is_gone, async || {
                    self.iam
                        .attach_role_policy()
                        .role_name(name)
                        .policy_arn(&wanted)
                        .send()
                        .await
                        .tried(format!("attach {wanted} to {name}"))
                        .map(drop)
                })
                .await?;
            }
            for extra in attached.iter().filter(|arn| **arn != wanted) {
                self.iam
                    .detach_role_policy()
                    .role_name(name)
                    .policy_arn(*extra)
                    .send()
                    .await
                    .tried(format!("detach {extra} from {name}"))?;
            }
            self.delete_inline(name).await
        })
        .await
    }

    async fn delete_inline(&self, name: &str) -> Result<()> {
        for inline in &self.found.instance_role.inline {
            let call = self.iam.delete_role_policy().role_name(name).policy_name(inline);
            if_found(call.send().await.tried(format!("delete the policy {inline} of the role {name}")))?;
        }
        Ok(())
    }

    async fn settle_profile(&self, run: &Run, name: &str) -> Result<()> {
        let carried = self.found.instance_role.profile.as_ref().and_then(|profile| profile.roles().first()).map(Role::role_name);
        if self.found.instance_role.profile.is_none() && run.is_planning() {
            return Ok(());
        }
        let diff = Diff::new().field("role", carried, Some(name));
        // Role and profile, made a moment ago, are not known everywhere yet.
        let add = while_not_yet(run, "the instance profile to be visible", Error::is_gone, async || {
            let call = self.iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name);
            match call.send().await.tried(format!("put the role {name} into its profile")) {
                // A profile takes one role, and has it: from a call whose answer was lost, or from another run.
                Err(error) if error.is_code("LimitExceeded") => self.check_profile(name).await,
                other => other.map(drop),
            }
        });
        run.change("instance profile", name, &diff, add).await
    }

    async fn check_profile(&self, name: &str) -> Result<()> {
        let said = self
            .iam
            .get_instance_profile()
            .instance_profile_name(name)
            .send()
            .await
            .tried(format!("look at the instance profile {name}"))?;
        let carried = said.instance_profile().and_then(|profile| profile.roles().first()).map(Role::role_name);
        if carried == Some(name) {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "the instance profile {name} carries the role {} instead of {name}: take that role out of it, and run the same command again",
            carried.unwrap_or("none")
        )))
    }

    pub async fn instance_role_down(&self, run: &Run) -> Result<()> {
        let (found, name) = (&self.found.instance_role, name(run));
        if found.profile.as_ref().is_some_and(|profile| run.goes("instance profile", &name, run.is_ours(profile.tags().iter().map(pair)))) {
            let delete = async {
                for role in found.profile.iter().flat_map(aws_sdk_iam::types::InstanceProfile::roles) {
                    let role = role.role_name();
                    let taken = self.iam.remove_role_from_instance_profile().instance_profile_name(&name).role_name(role).send().await;
                    if_found(taken.tried(format!("take the role {role} out of its profile")))?;
                }
                self.iam
                    .delete_instance_profile()
                    .instance_profile_name(&name)
                    .send()
                    .await
                    .tried(format!("delete the instance profile {name}"))
                    .map(drop)
            };
            run.delete("instance profile", &name, delete).await?;
        }
        let Some(role) = &found.role else { return Ok(()) };
        if !run.goes("role", &name, run.is_ours(role.tags().iter().map(pair))) {
            return Ok(());
        }
        let delete = async {
            for policy in found.policies.iter().filter_map(AttachedPolicy::policy_arn) {
                if_found(
                    self.iam
                        .detach_role_policy()
                        .role_name(&name)
                        .policy_arn(policy)
                        .send()
                        .await
                        .tried(format!("detach {policy} from {name}")),
                )?;
            }
            self.delete_inline(&name).await?;
            while_not_yet(run, "the role to be free", Error::is_conflict, async || {
                self.iam.delete_role().role_name(&name).send().await.tried(format!("delete the role {name}")).map(drop)
            })
            .await
        };
        run.delete("role", &name, delete).await
    }
}

/// EC2 alone may take the role, for an instance.
fn trust() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
}

fn tags(pairs: Vec<(String, String)>) -> Result<Vec<Tag>> {
    let tag =
        |(key, value): (String, String)| Tag::builder().key(key).value(value).build().map_err(|error| Error::Failed(error.to_string()));
    pairs.into_iter().map(tag).collect()
}

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (Some(tag.key()), Some(tag.value()))
}

/// A role of our name that somebody else made is never touched.
fn check_ours(run: &Run, kind: &str, id: &str, tags: &[Tag]) -> Result<()> {
    if run.is_ours(tags.iter().map(pair)) {
        return Ok(());
    }
    Err(run.foreign(kind, id))
}
