//! The Compose model, as far as more than one tool reads it: which services there are.

use clap::Args;
use serde_json::Value;

use super::at::At;
use super::document::Document;
use super::sections::{AMD64, ARM64, Cluster, LaunchType};
use crate::error::{Error, Result};

/// Which services a tool works on.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Process only these services, for example --only web,api
    #[arg(long, value_name = "SERVICE", value_delimiter = ',', conflicts_with_all = ["except", "down"])]
    pub only: Vec<String>,
    /// Process all services except these
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
    /// Fails for a service that does not exist.
    pub fn check(&self, is_there: impl Fn(&str) -> bool) -> Result<()> {
        match self.only.iter().chain(&self.except).find(|name| !is_there(name)) {
            Some(missing) => {
                Err(Error::usage("no-such-service", format!("the document has no service {missing:?}. Check --only and --except")))
            }
            None => Ok(()),
        }
    }
}

impl Document {
    /// Returns the selected services in the document's order.
    ///
    /// # Errors
    /// Fails when `services` is not an object of objects, a name is not valid, or a selected service does not exist.
    pub fn services(&self, selection: &Selection) -> Result<Vec<(&str, At<'_>)>> {
        let Some(services) = self.root().key("services") else { return selection.check(|_| false).map(|()| Vec::new()) };
        let mut all = services.entries()?;
        for (name, at) in &all {
            if !matches!(at.value(), Value::Object(_)) {
                return Err(at.expected("service-not-an-object", "an object"));
            }
            check_service(name, at)?;
        }
        selection.check(|wanted| all.iter().any(|(name, _)| *name == wanted))?;
        all.retain(|(name, _)| selection.takes(name));
        Ok(all)
    }
}

/// Returns the service whose task a sidecar belongs to (`network_mode: service:X`).
#[must_use]
pub fn owner<'a>(service: &At<'a>) -> Option<&'a str> {
    service.key("network_mode").and_then(|mode| mode.value().as_str()).and_then(|mode| mode.strip_prefix("service:"))
}

/// Returns the number of tasks that the author set, as it is written in the document.
#[must_use]
pub fn replicas<'a>(service: &At<'a>) -> Option<At<'a>> {
    service.key("deploy").and_then(|deploy| deploy.key("replicas")).or_else(|| service.key("scale"))
}

/// The longest service name: `/ecs-pipe/<app>/<service>` and `<app>-<service>` stay well inside every limit of AWS.
const LONGEST: usize = 60;

/// AWS resources are named after a service, so it has one of Compose's names (`[a-zA-Z0-9._-]+`) without dots, which ECS refuses.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html>
fn check_service(name: &str, at: &At<'_>) -> Result<()> {
    let fits = (1..=LONGEST).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits {
        Ok(())
    } else {
        let what = format!(
            "the name of a service must be 1 to {LONGEST} letters, digits, hyphens and underscores, with a letter or digit first; found {name:?}"
        );
        Err(at.wrong("service-name", what))
    }
}

impl Document {
    /// Returns the service that builds the image which this service uses under its name, as Compose lets several services share one build.
    #[must_use]
    pub fn builder(&self, service: &At<'_>) -> Option<String> {
        let image = service.key("image").filter(|_| service.key("build").is_none())?.value().as_str()?.to_owned();
        let app = self.root().key("name").and_then(|name| name.value().as_str()).unwrap_or_default();
        let is_built_by = |(name, at): &(&str, At<'_>)| {
            // Compose names an image after its service when the service does not.
            let own = at.key("image").map_or_else(|| Some(format!("{app}-{name}")), |at| at.value().as_str().map(str::to_owned));
            at.key("build").is_some() && own.as_deref() == Some(&image)
        };
        let services = self.root().key("services")?.entries().ok()?;
        services.into_iter().find(is_built_by).map(|(name, _)| name.to_owned())
    }
}

/// Returns the platform of a service's image in Docker's words: that of `platform` or `build.platforms`, or else that of the cluster.
///
/// # Errors
/// Fails for a platform that ECS or the cluster's instances do not have: the container would end with "exec format error".
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html>
pub fn platform(service: &At<'_>, cluster: Option<&Cluster>) -> Result<Option<&'static str>> {
    let runs = cluster.and_then(Cluster::platform);
    let Some(place) = configured_platform(service)? else { return Ok(runs) };
    let platform = match place.text()? {
        "linux/amd64" => AMD64,
        "linux/arm64" | "linux/arm64/v8" => ARM64,
        _ => return Err(place.expected("platform-unknown", "one of linux/amd64 and linux/arm64")),
    };
    // On Fargate every task has the processors that it is configured for.
    match runs.filter(|runs| *runs != platform && cluster.is_some_and(|cluster| cluster.launch_type == LaunchType::Ec2)) {
        Some(runs) => Err(place.wrong(
            "platform-of-cluster",
            format!(
                "the image is for {platform}, but the instances of the cluster are {runs}. Remove this to build for them, or choose other instances (x-cluster.ami, x-cluster.instance_types)"
            ),
        )),
        None => Ok(Some(platform)),
    }
}

fn configured_platform<'a>(service: &At<'a>) -> Result<Option<At<'a>>> {
    if let Some(place) = service.key("platform") {
        return Ok(Some(place));
    }
    let Some(list) = service.key("build").and_then(|build| build.key("platforms")) else { return Ok(None) };
    match list.list()?.as_slice() {
        [one] => Ok(Some(one.clone())),
        _ => Err(list.wrong("several-platforms", "must have exactly one platform, because an ECS task runs on one. Remove the others")),
    }
}
