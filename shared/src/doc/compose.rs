//! The Compose model, as far as more than one tool reads it: which services there are.

use clap::Args;
use serde_json::Value;

use super::{At, Document};
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
}

impl Document {
    /// The selected services in the document's order.
    ///
    /// # Errors
    /// That `services` is no object of objects, that a name can't be one, or that a selected service does not exist.
    pub fn services(&self, selection: &Selection) -> Result<Vec<(&str, At<'_>)>> {
        let Some(services) = self.root().key("services") else { return Ok(Vec::new()) };
        let mut all = services.entries()?;
        for (name, at) in &all {
            if !matches!(at.value(), Value::Object(_)) {
                return Err(at.expected("an object"));
            }
            check_service(name, at)?;
        }
        if let Some(missing) = selection.only.iter().chain(&selection.except).find(|wanted| !all.iter().any(|(name, _)| name == wanted)) {
            return Err(Error::Usage(format!("the document has no service {missing:?}")));
        }
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
