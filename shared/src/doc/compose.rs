//! The Compose model, as far as more than one tool reads it: which services there are.

use clap::Args;
use serde_json::Value;

use super::{AMD64, ARM64, At, Cluster, Document, LaunchType};
use crate::error::{Error, Result};

/// Which services a tool works on.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Work on these services alone
    #[arg(long, value_name = "SERVICE", value_delimiter = ',', conflicts_with_all = ["except", "down"])]
    pub only: Vec<String>,
    /// Work on all services but these
    #[arg(long, value_name = "SERVICE", value_delimiter = ',', conflicts_with = "down")]
    pub except: Vec<String>,
}

impl Selection {
    #[must_use]
    pub fn takes(&self, service: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == service);
        (self.only.is_empty() || named(&self.only)) && !named(&self.except)
    }

    /// # Errors
    /// That a service is named which is not there.
    pub fn check(&self, is_there: impl Fn(&str) -> bool) -> Result<()> {
        match self.only.iter().chain(&self.except).find(|name| !is_there(name)) {
            Some(missing) => Err(Error::Usage(format!("the document has no service {missing:?}"))),
            None => Ok(()),
        }
    }
}

impl Document {
    /// The selected services in the document's order.
    ///
    /// # Errors
    /// That `services` is no object of objects, that a name can't be one, or that a selected service does not exist.
    pub fn services(&self, selection: &Selection) -> Result<Vec<(&str, At<'_>)>> {
        let Some(services) = self.root().key("services") else { return selection.check(|_| false).map(|()| Vec::new()) };
        let mut all = services.entries()?;
        for (name, at) in &all {
            if !matches!(at.value(), Value::Object(_)) {
                return Err(at.expected("an object"));
            }
            check_service(name, at)?;
        }
        selection.check(|wanted| all.iter().any(|(name, _)| *name == wanted))?;
        all.retain(|(name, _)| selection.takes(name));
        Ok(all)
    }
}

/// The longest service name: `/ecs-pipe/<app>/<service>` and `<app>-<service>` stay well inside every limit of AWS.
const LONGEST: usize = 60;

/// A service names AWS resources, so it must be one of Compose's names (`[a-zA-Z0-9._-]+`) without dots, which ECS does not take.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html>
fn check_service(name: &str, at: &At<'_>) -> Result<()> {
    let fits = (1..=LONGEST).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits {
        Ok(())
    } else {
        Err(at.wrong(format!(
            "{name:?} can't name a service: 1 to {LONGEST} letters, digits, hyphens and underscores, a letter or digit first"
        )))
    }
}

/// The platform of a service's image in Docker's words: what `platform` or `build.platforms` asks for, else what the cluster runs.
///
/// # Errors
/// That it is none of ECS's platforms, or not that of the cluster's instances: the container would end with "exec format error".
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html>
pub fn platform(service: &At<'_>, cluster: Option<&Cluster>) -> Result<Option<&'static str>> {
    let runs = cluster.and_then(Cluster::platform);
    let Some(asked) = asked_platform(service)? else { return Ok(runs) };
    let platform = match asked.text()? {
        "linux/amd64" => AMD64,
        "linux/arm64" | "linux/arm64/v8" => ARM64,
        _ => return Err(asked.expected("linux/amd64 or linux/arm64")),
    };
    // On Fargate every task has the processors that it asks for.
    match runs.filter(|runs| *runs != platform && cluster.is_some_and(|cluster| cluster.launch_type == LaunchType::Ec2)) {
        Some(runs) => Err(asked.wrong(format!(
            "the image is for {platform}, but the cluster's instances run {runs}: take this out to have it built for them, or ask for other instances (x-cluster.ami, x-cluster.instance_types)"
        ))),
        None => Ok(Some(platform)),
    }
}

fn asked_platform<'a>(service: &At<'a>) -> Result<Option<At<'a>>> {
    if let Some(asked) = service.key("platform") {
        return Ok(Some(asked));
    }
    let Some(list) = service.key("build").and_then(|build| build.key("platforms")) else { return Ok(None) };
    match list.list()?.as_slice() {
        [one] => Ok(Some(one.clone())),
        _ => Err(list.wrong("one platform an image: ECS tasks run on one")),
    }
}
