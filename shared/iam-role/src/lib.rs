//! An IAM role: its trust policy, its tags, and exactly the policies that it should have.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html>

use std::collections::BTreeSet;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{AttachedPolicy, Role};
use futures_util::try_join;
use serde_json::Value;
use shared::error::{given, if_found};
use shared::owner::Pair;
use shared::step::each;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

shared::tagging!(aws_sdk_iam::types::Tag);

/// A role as it should be.
pub struct Wanted<'a> {
    pub name: &'a str,
    /// As in `/ecs-pipe/shop/`.
    pub path: &'a str,
    pub description: &'a str,
    /// Who may assume it.
    pub trust: Value,
    /// Its `ecs-pipe:name`.
    pub tag: &'a str,
    /// The ARN of its permissions boundary.
    pub boundary: Option<&'a str>,
}

/// The policies that a role should have, and no others.
#[derive(Default)]
pub struct Policies {
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
    /// The role's own policy with its name.
    pub inline: Option<(&'static str, Value)>,
}

/// A role as it is.
pub struct Found {
    pub role: Role,
    /// The inline policy that was read by name.
    policy: Option<Value>,
    /// The names of all inline policies.
    inline: BTreeSet<String>,
    /// The ARNs of all managed policies.
    pub attached: BTreeSet<String>,
}

impl Found {
    pub fn tags(&self) -> impl Iterator<Item = Pair<'_>> {
        self.role.tags().iter().map(pair)
    }
}

/// Finds a role, with what its inline policy of the name `inline` says.
///
/// # Errors
/// Returns what IAM refused.
pub async fn find(iam: &Client, name: &str, inline: Option<&str>) -> Result<Option<Found>> {
    let role = async { if_found(iam.get_role().role_name(name).send().await.tried(format!("read the role {name}"))) };
    let policy = async {
        let Some(inline) = inline else { return Ok(None) };
        let call = iam.get_role_policy().role_name(name).policy_name(inline);
        let said = if_found(call.send().await.tried(format!("read the policy {inline} of the role {name}")))?;
        Ok(said.and_then(|said| shared::policy::decode(said.policy_document())))
    };
    let names = async {
        let call = iam.list_role_policies().role_name(name);
        if_found(shared::pages!(call, format!("list the inline policies of the role {name}")))
    };
    let attached = async {
        let call = iam.list_attached_role_policies().role_name(name);
        if_found(shared::pages!(call, format!("list the policies attached to the role {name}")))
    };
    let (role, policy, names, attached) = try_join!(role, policy, names, attached)?;
    let attached = attached.iter().flatten().filter_map(AttachedPolicy::policy_arn).map(str::to_owned).collect();
    let found = |role| Found { role, policy, inline: names.unwrap_or_default().into_iter().collect(), attached };
    Ok(role.and_then(|said| said.role).map(found))
}

/// Creates the role, or corrects its permissions boundary, trust policy and tags. Returns its ARN, or `None` when it is only planned.
///
/// # Errors
/// Refuses a role of this name that ecs-pipe did not create, and returns what IAM refused.
pub async fn up(iam: &Client, run: &Run, wanted: &Wanted<'_>, found: Option<&Found>) -> Result<Option<String>> {
    let name = wanted.name;
    let Some(found) = found else { return run.create("role", name, create(iam, run, wanted)).await };
    if !run.is_ours(found.tags()) {
        return Err(run.unmanaged("role", name));
    }
    run.found("role", name);
    settle_boundary(iam, run, wanted, found).await?;
    let was = found.role.assume_role_policy_document().and_then(shared::policy::decode);
    run.change("role", name, &Diff::new().policy("trust", was.as_ref(), &wanted.trust), async {
        let call = iam.update_assume_role_policy().role_name(name).policy_document(wanted.trust.to_string());
        call.send().await.tried(format!("update the trust policy of the role {name}")).map(drop)
    })
    .await?;
    run.settle_tags(
        "role",
        name,
        run.tags(wanted.tag),
        found.tags(),
        async |missing| iam.tag_role().role_name(name).set_tags(Some(aws_tags(missing))).send().await,
        async |left| iam.untag_role().role_name(name).set_tag_keys(Some(left)).send().await,
    )
    .await?;
    Ok(Some(found.role.arn().to_owned()))
}

/// A boundary limits what policies allow, so it is set before them.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html>
async fn settle_boundary(iam: &Client, run: &Run, wanted: &Wanted<'_>, found: &Found) -> Result<()> {
    let name = wanted.name;
    let was = found.role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn());
    run.change("role", name, &Diff::new().field("permissions boundary", was, wanted.boundary), async {
        match wanted.boundary {
            Some(arn) => {
                let call = iam.put_role_permissions_boundary().role_name(name).permissions_boundary(arn);
                call.send().await.tried(format!("set the permissions boundary of the role {name}")).map(drop)
            }
            None => {
                let call = iam.delete_role_permissions_boundary().role_name(name);
                if_found(call.send().await.tried(format!("delete the permissions boundary of the role {name}"))).map(drop)
            }
        }
    })
    .await
}

async fn create(iam: &Client, run: &Run, wanted: &Wanted<'_>) -> Result<String> {
    let call = iam.create_role().role_name(wanted.name).path(wanted.path).description(wanted.description);
    let call = call.set_permissions_boundary(wanted.boundary.map(str::to_owned));
    let call = call.assume_role_policy_document(wanted.trust.to_string()).set_tags(Some(aws_tags(run.tags(wanted.tag))));
    let made = call.send().await.tried(format!("create the role {}", wanted.name))?;
    given(made.role().map(Role::arn), "the ARN of the new role")
}

/// Gives the role its policies: adds what is missing first and removes the rest afterwards, so that tasks that run never lack a permission.
///
/// # Errors
/// Returns what IAM refused.
pub async fn settle(iam: &Client, run: &Run, name: &str, found: Option<&Found>, wanted: &Policies) -> Result<()> {
    // The plan of a new role is the role itself.
    if found.is_none() && run.is_planning() {
        return Ok(());
    }
    let none = BTreeSet::new();
    let (attached, inline) = found.map_or((&none, &none), |found| (&found.attached, &found.inline));
    let extra: Vec<&String> = inline.iter().filter(|inline| wanted.inline.as_ref().is_none_or(|(own, _)| own != inline)).collect();
    let mut own = Diff::new();
    if let Some((policy, document)) = &wanted.inline {
        own = own.policy(policy, found.and_then(|found| found.policy.as_ref()), document);
    }
    let own_differs = !own.is_empty();
    let diff = own.set("attached policies", attached, &wanted.attached).set("inline policies", &extra, [""; 0]);
    run.change("role", name, &diff, async {
        if let Some((policy, document)) = wanted.inline.as_ref().filter(|_| own_differs) {
            put(iam, run, name, policy, document).await?;
        }
        each(wanted.attached.difference(attached), async |arn| attach(iam, run, name, arn).await).await?;
        for arn in attached.difference(&wanted.attached) {
            detach(iam, name, arn).await?;
        }
        for inline in extra {
            delete_inline(iam, name, inline).await?;
        }
        Ok(())
    })
    .await
}

/// Gives the role what it lacks of these policies, and keeps what it has until [`narrow`]: what runs now may need that.
///
/// # Errors
/// Returns what IAM refused.
pub async fn widen(iam: &Client, run: &Run, name: &str, found: Option<&Found>, wanted: &Policies) -> Result<()> {
    // The plan of a new role is the role itself.
    if found.is_none() && run.is_planning() {
        return Ok(());
    }
    let none = BTreeSet::new();
    let (attached, inline) = found.map_or((&none, &none), |found| (&found.attached, &found.inline));
    let was = found.and_then(|found| found.policy.as_ref());
    let extra: Vec<&String> = inline.iter().filter(|inline| wanted.inline.as_ref().is_none_or(|(own, _)| own != inline)).collect();
    let own = wanted.inline.iter().fold(Diff::new(), |diff, (policy, document)| diff.policy(policy, was, document));
    let diff = own.set("attached policies", attached, &wanted.attached).set("inline policies", &extra, [""; 0]);
    run.change("role", name, &diff, async {
        if let Some((policy, document)) = &wanted.inline {
            let document = both(was, document);
            if was != Some(&document) {
                put(iam, run, name, policy, &document).await?;
            }
        }
        for arn in wanted.attached.difference(attached) {
            attach(iam, run, name, arn).await?;
        }
        Ok(())
    })
    .await
}

/// Takes from the role what [`widen`] kept.
///
/// # Errors
/// Returns what IAM refused.
pub async fn narrow(iam: &Client, run: &Run, name: &str, found: Option<&Found>, wanted: &Policies) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    let was = found.policy.as_ref();
    let own = wanted.inline.as_ref().filter(|(_, document)| both(was, document) != *document);
    let attached: Vec<&String> = found.attached.difference(&wanted.attached).collect();
    let inline: Vec<&String> = found.inline.iter().filter(|inline| wanted.inline.as_ref().is_none_or(|(own, _)| own != inline)).collect();
    if own.is_none() && attached.is_empty() && inline.is_empty() {
        return Ok(());
    }
    run.carry("role", name, async {
        if let Some((policy, document)) = own {
            put(iam, run, name, policy, document).await?;
        }
        for arn in attached {
            detach(iam, name, arn).await?;
        }
        for inline in inline {
            delete_inline(iam, name, inline).await?;
        }
        Ok(())
    })
    .await
}

/// Returns a policy that allows what the new one does, and what the old one did. IDs of statements are unique in a policy, so old ones have none.
fn both(old: Option<&Value>, new: &Value) -> Value {
    let statements = |policy: &Value| match policy.get("Statement") {
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let (mut all, mut document) = (statements(new), new.clone());
    for mut statement in old.map(statements).unwrap_or_default() {
        if all.contains(&statement) {
            continue;
        }
        statement.as_object_mut().into_iter().for_each(|fields| drop(fields.remove("Sid")));
        if !all.contains(&statement) {
            all.push(statement);
        }
    }
    document["Statement"] = all.into();
    document
}

async fn put(iam: &Client, run: &Run, name: &str, policy: &str, document: &Value) -> Result<()> {
    // A new role is not visible at once.
    while_not_yet(run, "the role to be visible", Error::is_gone, async || {
        let call = iam.put_role_policy().role_name(name).policy_name(policy).policy_document(document.to_string());
        call.send().await.tried(format!("set the policy {policy} of the role {name}")).map(drop)
    })
    .await
}

async fn attach(iam: &Client, run: &Run, name: &str, arn: &str) -> Result<()> {
    // A new role is not visible at once.
    while_not_yet(run, "the role to be visible", Error::is_gone, async || {
        let call = iam.attach_role_policy().role_name(name).policy_arn(arn);
        call.send().await.tried(format!("attach the policy {arn} to the role {name}")).map(drop)
    })
    .await
}

async fn detach(iam: &Client, name: &str, arn: &str) -> Result<()> {
    let call = iam.detach_role_policy().role_name(name).policy_arn(arn);
    if_found(call.send().await.tried(format!("detach the policy {arn} from the role {name}"))).map(drop)
}

async fn delete_inline(iam: &Client, name: &str, inline: &str) -> Result<()> {
    let call = iam.delete_role_policy().role_name(name).policy_name(inline);
    if_found(call.send().await.tried(format!("delete the policy {inline} of the role {name}"))).map(drop)
}

/// Deletes the role with its policies, unless ecs-pipe did not create it.
///
/// # Errors
/// Returns what IAM refused.
pub async fn remove(iam: &Client, run: &Run, found: Option<&Found>) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    let name = found.role.role_name();
    if !run.may_delete("role", name, run.is_ours(found.tags())) {
        return Ok(());
    }
    let delete = async {
        for inline in &found.inline {
            delete_inline(iam, name, inline).await?;
        }
        for arn in &found.attached {
            detach(iam, name, arn).await?;
        }
        // What was detached a moment ago may still count.
        while_not_yet(run, "the role to be unused", Error::is_conflict, async || {
            iam.delete_role().role_name(name).send().await.tried(format!("delete the role {name}")).map(drop)
        })
        .await
    };
    run.delete("role", name, delete).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::both;

    #[test]
    fn what_runs_keeps_its_permissions_until_the_end() {
        let policy = |statements| json!({"Version": "2012-10-17", "Statement": statements});
        let (log, old, new) = (json!({"Sid": "Log"}), json!({"Sid": "Pull", "Resource": "old"}), json!({"Sid": "Pull", "Resource": "new"}));
        let (before, after) = (policy(json!([log, old])), policy(json!([log, new])));
        let wide = both(Some(&before), &after);
        assert_eq!(wide, policy(json!([log, new, {"Resource": "old"}])), "IDs are unique");
        assert_eq!(both(Some(&wide), &after), wide, "a run after a stop");
        assert_eq!((both(None, &after), both(Some(&after), &after)), (after.clone(), after));
    }
}
