//! The values of secrets that come from a file or a variable: parameters of Systems Manager, encrypted. A value is compared by reading it, and printed
//! nowhere.
//! <https://docs.aws.amazon.com/systems-manager/latest/userguide/systems-manager-parameter-store.html>

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{ParameterStringFilter, ParameterTier, ParameterType, ResourceTypeForTagging, Tag};
use futures_util::future::try_join_all;
use shared::error::{given, if_found};
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::SvcDeploy;
use crate::model::{SecretValue, Wanted};

shared::tagging!(aws_sdk_ssm::types::Tag);

/// By name.
pub type Found = BTreeMap<String, FoundParameter>;

pub struct FoundParameter {
    /// Unknown with `--down`, which does not read it.
    value: Option<SecretValue>,
    version: i64,
    pub ours: bool,
    tags: Vec<Tag>,
}

impl FoundParameter {
    /// Returns what tells this value from every other one that the parameter has had. A parameter that was deleted and created again counts its
    /// versions from 1 again, so its creation is a part.
    fn version_text(&self, number: i64) -> String {
        let made = self.tags.iter().find(|tag| tag.key() == MADE).map(|tag| format!("{}.", tag.value()));
        format!("{}{number}", made.unwrap_or_default())
    }
}

/// The tag with the time of the creation, in milliseconds since 1970.
const MADE: &str = "ecs-pipe:made";
/// Names that one call of `GetParameters` takes.
const NAMES_A_CALL: usize = 10;

/// Finds the parameters of the secrets, or with `--down` all of the app, without their values.
pub async fn find(ssm: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let values = match wanted {
        Some(wanted) => values(ssm, &wanted.parameters().into_keys().collect::<Vec<_>>()).await?,
        None => listed(ssm, run).await?.into_iter().map(|name| (name, None, 0)).collect(),
    };
    let found = values.into_iter().map(async |(name, value, version)| {
        let call = ssm.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(&name);
        let said = if_found(call.send().await.tried(format!("list the tags of the parameter {name}")))?;
        let tags = said.and_then(|said| said.tag_list).unwrap_or_default();
        Ok::<_, Error>((name, FoundParameter { value, version, ours: run.is_ours(tags.iter().map(pair)), tags }))
    });
    Ok(try_join_all(found).await?.into_iter().collect())
}

/// Returns the parameters that exist, with their values and versions.
async fn values(ssm: &Client, names: &[&str]) -> Result<Vec<(String, Option<SecretValue>, i64)>> {
    let mut all = Vec::new();
    for some in names.chunks(NAMES_A_CALL) {
        let call = ssm.get_parameters().set_names(Some(some.iter().map(|name| (*name).to_owned()).collect())).with_decryption(true);
        let said = call.send().await.tried("read the parameters of the secrets")?;
        let found = said.parameters.unwrap_or_default().into_iter();
        all.extend(found.filter_map(|one| Some((one.name?, one.value.map(SecretValue), one.version))));
    }
    Ok(all)
}

async fn listed(ssm: &Client, run: &Run) -> Result<Vec<String>> {
    let path = format!("/ecs-pipe/{}", run.app);
    let filter = ParameterStringFilter::builder().key("Path").option("Recursive").values(&path).build();
    let filter = filter.map_err(|error| Error::Internal(error.to_string()))?;
    let pages =
        ssm.describe_parameters().parameter_filters(filter).into_paginator().send().collect::<std::result::Result<Vec<_>, _>>().await;
    let pages = pages.tried(format!("list the parameters {path}/*"))?;
    let names = pages.into_iter().flat_map(|page| page.parameters.unwrap_or_default()).filter_map(|one| one.name);
    Ok(names.filter(|name| name.starts_with(&format!("{path}/"))).collect())
}

impl SvcDeploy {
    pub async fn parameters_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        each(wanted.parameters(), async |(name, value)| {
            let version = self.parameter_up(run, name, value).await?;
            self.kept.borrow_mut().versions.insert(name.to_owned(), version);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Returns the version of the value; in a plan, the one that it will have.
    async fn parameter_up(&self, run: &Run, name: &str, value: &SecretValue) -> Result<String> {
        let Some(found) = self.found.parameters.get(name) else {
            let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
            let version = run.create("parameter", name, self.create_parameter(run, name, value, &made)).await?;
            return Ok(format!("{made}.{}", version.as_deref().unwrap_or("1")));
        };
        if !found.ours {
            return Err(run.unmanaged("SSM parameter", name));
        }
        run.found("parameter", name);
        run.settle_tags(
            "parameter",
            name,
            run.tags(secret_of(name)),
            found.tags.iter().map(pair),
            async |missing| {
                let call = self.ssm.add_tags_to_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(name);
                call.set_tags(Some(aws_tags(missing))).send().await
            },
            async |left| {
                let call = self.ssm.remove_tags_from_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(name);
                call.set_tag_keys(Some(left)).send().await
            },
        )
        .await?;
        let differs = found.value.as_ref() != Some(value);
        let mut set = found.version + i64::from(differs);
        run.change("parameter", name, &Diff::new().note(differs, "value: changed"), async {
            let call = self.ssm.put_parameter().name(name).value(&value.0).r#type(ParameterType::SecureString);
            let said = call.tier(ParameterTier::IntelligentTiering).overwrite(true).send().await;
            set = said.tried(format!("set the value of the parameter {name}"))?.version();
            Ok(())
        })
        .await?;
        Ok(found.version_text(set))
    }

    /// Returns the version of the new value. `made` is the time of the creation.
    async fn create_parameter(&self, run: &Run, name: &str, value: &SecretValue, made: &str) -> Result<String> {
        let tags = run.tags(secret_of(name)).into_iter().chain([(MADE.to_owned(), made.to_owned())]).collect();
        let call = self.ssm.put_parameter().name(name).value(&value.0).r#type(ParameterType::SecureString);
        let call = call.tier(ParameterTier::IntelligentTiering).set_tags(Some(aws_tags(tags)));
        let said = call.send().await.tried(format!("create the parameter {name}"))?;
        given(Some(said.version().to_string().as_str()), "the version of the parameter")
    }

    pub async fn parameters_down(&self, run: &Run, found: &Found) -> Result<()> {
        each(found.iter().filter(|(name, found)| run.may_delete("SSM parameter", name, found.ours)), async |(name, _)| {
            let delete = async {
                let call = self.ssm.delete_parameter().name(name);
                call.send().await.tried(format!("delete the parameter {name}")).map(drop)
            };
            run.delete("parameter", name, delete).await
        })
        .await
        .map(drop)
    }
}

/// Returns the secret's name at the end of `/ecs-pipe/<app>/<secret>`.
fn secret_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
