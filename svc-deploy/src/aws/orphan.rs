//! What services and jobs have that left the document. Compose calls them orphans: `docker compose up --remove-orphans`.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::Task;
use shared::owner::{TAG_NAME, pairs};
use shared::step::walk;
use shared::{Result, Run, Stage};

use super::task_definition_request::family;
use super::{ecs_tag, log_group, role, schedule, target_group};
use crate::model::{BY_HAND, Wanted};
use crate::{Found, SvcDeploy};

/// Returns what belongs to no service or job of the document, of everything that the app has. `None` is nothing.
pub fn of(run: &Run, wanted: &Wanted, mut all: Found) -> Option<Found> {
    let names: BTreeSet<&str> = wanted.services.iter().map(|service| service.name.as_str()).collect();
    let has_left = |name: &str| !names.contains(name) && !name.starts_with(BY_HAND);
    all.services.retain(|name, found| has_left(name) && run.is_ours(found.service.tags().iter().map(ecs_tag::pair)));
    let service = |task: &Task| ecs_tag::value(task.tags(), TAG_NAME).unwrap_or_default().to_owned();
    all.tasks.retain(|task| has_left(&service(task)));
    let families: BTreeSet<String> = names.iter().map(|name| family(&run.app, name)).collect();
    let by_hand = family(&run.app, BY_HAND);
    all.task_definitions.retain(|family, found| found.is_ours() && !families.contains(family) && !family.starts_with(&by_hand));
    let groups = target_group::names(&run.app, wanted);
    all.target_groups.retain(|name, found| found.ours && !groups.contains(name));
    let roles = role::own(run, wanted);
    all.roles.retain(|name, found| run.is_ours(found.tags()) && !roles.contains(name));
    let log_groups: BTreeSet<String> = names.iter().map(|name| log_group::name(&run.app, name)).collect();
    all.log_groups.retain(|name, found| run.is_ours(pairs(&found.tags)) && !log_groups.contains(name));
    let parameters = wanted.parameters();
    all.parameters.retain(|name, found| found.ours && !parameters.contains_key(name.as_str()));
    let volumes = wanted.access_points();
    all.access_points.retain(|volume, _| !volumes.contains_key(volume.as_str()));
    // Every run deletes the schedules that are not in the document.
    all.schedules = schedule::Found::default();
    let counts = [all.services.len(), all.tasks.len(), all.task_definitions.len(), all.target_groups.len()];
    let others = [all.roles.len(), all.log_groups.len(), all.parameters.len()];
    counts.into_iter().chain(others).any(|count| count > 0).then_some(all)
}

/// Says what a run without `--prune` keeps. Each service and job has a log group, also one that does not run.
pub fn warn(run: &Run, wanted: &Wanted, found: &Found) {
    let prefix = log_group::name(&run.app, "");
    let logging = found.log_groups.iter().filter(|(_, group)| run.is_ours(pairs(&group.tags)));
    let logging = logging.filter_map(|(name, _)| name.strip_prefix(&prefix));
    let running: BTreeSet<&str> = found.others.iter().map(String::as_str).collect();
    let all: BTreeSet<&str> = running.iter().copied().chain(logging).collect();
    let has_left = |name: &&str| !wanted.services.iter().any(|service| service.name == *name) && !name.starts_with(BY_HAND);
    for name in all.into_iter().filter(has_left) {
        let kept = if running.contains(name) {
            "It runs with all that it has, but without rules of the load balancer"
        } else {
            "What it had is kept: task definitions, roles and log group"
        };
        run.warn(
            "service-not-in-document",
            format!(
                "the service or job {name} of {} is not in the document. {kept}. Add it to the document, or run svc-deploy with --prune to delete it",
                run.app
            ),
        );
    }
}

impl SvcDeploy {
    /// Deletes the orphans. Until the deployments are complete, orphans may do the work of their successors, so this waits also with `--no-wait`.
    pub async fn prune(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(orphans) = &self.orphans else { return Ok(()) };
        if !run.is_planning() {
            self.deployments_ready(run, wanted.deployed()).await?;
        }
        walk(run, Self::WAVES.iter().rev(), async |step| self.take_down(run, orphans, Some(wanted), step).await).await
    }
}
