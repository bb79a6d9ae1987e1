//! The number of tasks that each service has now.
//!
//! Application Auto Scaling moves it when it changes the bounds. A number outside of the bounds that somebody has set by hand is kept, because
//! a service without tasks has no metric to scale by. So a run moves it.

use std::collections::BTreeMap;

use aws_sdk_ecs::Client;
use futures_util::future::try_join_all;
use shared::error::if_found;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ScaleSet;
use crate::settings::{Tasks, Wanted};

/// By service. A service that does not exist yet, as in a plan, is not among them.
pub type Found = BTreeMap<String, i32>;

/// Services that one call of `DescribeServices` takes.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html>
const AT_ONCE: usize = 10;

/// Finds the numbers of the settings' services; with `--down` none, because they are kept.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(ecs: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let names: Vec<String> = wanted.into_iter().flat_map(|wanted| &wanted.tasks).map(|tasks| tasks.service.clone()).collect();
    let found = try_join_all(names.chunks(AT_ONCE).map(async |some| {
        let said = ecs.describe_services().cluster(&run.app).set_services(Some(some.to_vec())).send().await;
        let said = if_found(said.tried(format!("read the services of the cluster {}", run.app)))?;
        Ok::<_, Error>(said.and_then(|said| said.services).unwrap_or_default())
    }));
    let active = found.await?.into_iter().flatten().filter(|service| service.status() == Some("ACTIVE"));
    Ok(active.filter_map(|service| Some((service.service_name()?.to_owned(), service.desired_count()))).collect())
}

impl ScaleSet {
    /// Moves the number of tasks between the bounds.
    pub async fn count_up(&self, run: &Run, tasks: &Tasks) -> Result<()> {
        let Some(found) = self.found.counts.get(&tasks.service).copied() else { return Ok(()) };
        let bounds = self.bounds_now(tasks);
        let count = found.clamp(bounds.min, bounds.max);
        let diff = Diff::new().field("desiredCount", found, count);
        run.change("service", &tasks.service, &diff, async {
            let call = self.ecs.update_service().cluster(&run.app).service(&tasks.service).desired_count(count);
            call.send().await.tried(format!("set the number of tasks of the service {}", tasks.service)).map(drop)
        })
        .await
    }
}
