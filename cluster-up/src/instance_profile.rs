//! The instance profile, which gives the role of the same name to the instances. A profile has at most one role.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_switch-role-ec2_instance-profiles.html>

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{InstanceProfile, Role};
use iam_role::{aws_tags, pair};
use shared::error::if_found;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

pub async fn find(iam: &Client, name: &str) -> Result<Option<InstanceProfile>> {
    if_found(read(iam, name).await).map(Option::flatten)
}

async fn read(iam: &Client, name: &str) -> Result<Option<InstanceProfile>> {
    let said = iam.get_instance_profile().instance_profile_name(name).send().await.tried(format!("read the instance profile {name}"))?;
    Ok(said.instance_profile)
}

/// Refuses a profile of this name that ecs-pipe did not create.
pub fn check(run: &Run, name: &str, found: Option<&InstanceProfile>) -> Result<()> {
    match found {
        Some(found) if !run.is_ours(found.tags().iter().map(pair)) => Err(run.unmanaged("instance profile", name)),
        _ => Ok(()),
    }
}

/// Creates the profile without its role, or corrects its tags.
pub async fn up(iam: &Client, run: &Run, name: &str, found: Option<&InstanceProfile>) -> Result<()> {
    let Some(found) = found else { return run.create("instance profile", name, create(iam, run, name)).await.map(drop) };
    run.found("instance profile", name);
    run.settle_tags(
        "instance profile",
        name,
        run.tags("instance"),
        found.tags().iter().map(pair),
        async |missing| iam.tag_instance_profile().instance_profile_name(name).set_tags(Some(aws_tags(missing))).send().await,
        async |left| iam.untag_instance_profile().instance_profile_name(name).set_tag_keys(Some(left)).send().await,
    )
    .await
}

async fn create(iam: &Client, run: &Run, name: &str) -> Result<String> {
    let call = iam.create_instance_profile().instance_profile_name(name).set_tags(Some(aws_tags(run.tags("instance"))));
    call.send().await.tried(format!("create the instance profile {name}"))?;
    Ok(name.to_owned())
}

/// Adds the role to the profile.
pub async fn settle(iam: &Client, run: &Run, name: &str, found: Option<&InstanceProfile>) -> Result<()> {
    // The plan of a new profile is the profile itself.
    if found.is_none() && run.is_planning() {
        return Ok(());
    }
    // A new role or profile is not visible at once.
    let add = while_not_yet(run, "the instance profile to be visible", Error::is_gone, async || {
        let call = iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name);
        match call.send().await.tried(format!("add the role {name} to the instance profile {name}")) {
            // The profile has its one role already: from a call whose answer was lost, or from another run.
            Err(error) if error.is_code("LimitExceeded") => check_role(iam, name).await,
            other => other.map(drop),
        }
    });
    let diff = Diff::new().field("role", found.and_then(role_of), name);
    run.change("instance profile", name, &diff, add).await
}

async fn check_role(iam: &Client, name: &str) -> Result<()> {
    let found = read(iam, name).await?;
    match found.as_ref().and_then(role_of) {
        Some(role) if role == name => Ok(()),
        other => Err(Error::failed(
            "profile-with-other-role",
            format!(
                "could not add the role {name} to the instance profile {name}: the profile has the role {}. Remove that role from the profile, and run the same command again",
                other.unwrap_or("none")
            ),
        )),
    }
}

fn role_of(profile: &InstanceProfile) -> Option<&str> {
    profile.roles().first().map(Role::role_name)
}

/// Deletes the profile after its role is removed from it, unless ecs-pipe did not create it.
pub async fn remove(iam: &Client, run: &Run, found: Option<&InstanceProfile>) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    let name = found.instance_profile_name();
    if !run.may_delete("instance profile", name, run.is_ours(found.tags().iter().map(pair))) {
        return Ok(());
    }
    let delete = async {
        for role in found.roles().iter().map(Role::role_name) {
            let call = iam.remove_role_from_instance_profile().instance_profile_name(name).role_name(role);
            if_found(call.send().await.tried(format!("remove the role {role} from the instance profile {name}")))?;
        }
        iam.delete_instance_profile()
            .instance_profile_name(name)
            .send()
            .await
            .tried(format!("delete the instance profile {name}"))
            .map(drop)
    };
    run.delete("instance profile", name, delete).await
}
