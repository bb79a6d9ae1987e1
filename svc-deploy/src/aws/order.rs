//! The order of a deployment: services are deployed and jobs run as `depends_on` says, everything else at the same time.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use shared::error::Stop;
use shared::{Error, Result, Run};

use crate::SvcDeploy;
use crate::model::{Service, Wanted};

/// The two parts of a service's turn. A job has only the first one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Deploy,
    /// Waits until the service is healthy.
    Await,
}

impl SvcDeploy {
    /// Each service is deployed as soon as those that it waits for are healthy, the jobs that it waits for have ended, and those before it are deployed.
    /// After a failure nothing new begins, and what waits stops waiting.
    pub async fn services_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let mut left: Vec<&Service> = wanted.selected().collect();
        let names = || wanted.selected().map(|service| service.name.as_str());
        let awaited: BTreeSet<&str> = wanted.selected().flat_map(|service| &service.after).map(String::as_str).collect();
        let (mut undeployed, mut unready): (BTreeSet<&str>, BTreeSet<&str>) = (names().collect(), names().collect());
        let (mut active, mut all) = (FuturesUnordered::new(), Ok(()));
        loop {
            if all.is_ok() {
                let waits = |service: &Service| service.after.iter().any(|name| unready.contains(name.as_str()));
                let follows = |service: &Service| service.before.iter().any(|name| undeployed.contains(name.as_str()));
                let (later, now): (Vec<_>, Vec<_>) = left.into_iter().partition(|service| waits(service) || follows(service));
                left = later;
                active.extend(now.into_iter().map(|service| self.turn(run, wanted, service, Part::Deploy)));
            }
            let Some((service, part, done)) = active.next().await else { break };
            let name = service.name.as_str();
            undeployed.remove(name);
            if part == Part::Deploy && done.is_ok() && service.job.is_none() && awaited.contains(name) && !run.is_planning() {
                active.push(self.turn(run, wanted, service, Part::Await));
            } else {
                unready.remove(name);
            }
            if done.is_err() {
                run.stop_others();
            }
            // The stop of the others is no failure of its own.
            if all.is_ok() || matches!(all, Err(Error::Interrupted(Stop::OtherStep))) && done.is_err() {
                all = done;
            }
        }
        all?;
        self.late_deployments(run, wanted).await?;
        // Without a wait, permissions are removed where no other revision runs.
        let done = wanted.deployed().filter(|service| !run.wait && !run.is_planning() && self.runs_alone(service));
        self.narrow_roles(run, done).await
    }

    async fn turn<'a>(&self, run: &Run, wanted: &Wanted, service: &'a Service, part: Part) -> (&'a Service, Part, Result<()>) {
        let done = match (part, &service.job) {
            (Part::Await, _) => self.deployments_ready(run, [service]).await,
            (Part::Deploy, Some(job)) => self.job_up(run, wanted, service, job).await,
            (Part::Deploy, None) => self.service_turn(run, wanted, service).await,
        };
        (service, part, done)
    }

    async fn service_turn(&self, run: &Run, wanted: &Wanted, service: &Service) -> Result<()> {
        self.service_up(run, wanted, service).await?;
        self.endpoints_ready(run, wanted, &[service]).await
    }
}
