//! Instances that do not start. A capacity provider waits for them without a word, so tasks would wait until the deadline.

use std::cell::RefCell;

use aws_sdk_autoscaling::Client;
use scaling_activity::{Watch, failed_launches};
use shared::doc::LaunchType;
use shared::{Result, Run};

use crate::SvcDeploy;
use crate::model::Wanted;

/// The launches of the app's Auto Scaling group during this run.
pub struct Launches {
    autoscaling: Client,
    watch: RefCell<Watch>,
}

/// Returns what to watch while tasks wait for instances: nothing on Fargate.
pub fn of(run: &Run, wanted: Option<&Wanted>) -> Option<Launches> {
    let on_ec2 = wanted.is_some_and(|wanted| wanted.cluster.launch_type == LaunchType::Ec2);
    on_ec2.then(|| Launches { autoscaling: shared::client!(aws_sdk_autoscaling, run), watch: RefCell::default() })
}

impl SvcDeploy {
    /// Fails when a launch fails while no instance can run a task. A launch that failed before this run is a warning: its cause may be fixed by now.
    pub async fn check_launches(&self, run: &Run) -> Result<()> {
        let Some(Launches { autoscaling, watch }) = &self.launches else { return Ok(()) };
        // The deployment goes on where the activities can't be read.
        let Ok(failures) = failed_launches(autoscaling, run).await else { return Ok(()) };
        let is_first = watch.borrow().is_first();
        let newer = watch.borrow_mut().newer(&failures);
        let Some(failure) = newer.or(failures.first().filter(|_| is_first)) else { return Ok(()) };
        if self.registered_instances(run).await != Some(0) {
            return Ok(());
        }
        let error = failure.error(run);
        if newer.is_some() {
            return Err(error);
        }
        run.warn(error.code(), error.to_string());
        Ok(())
    }

    /// Returns the number of instances in the cluster, if ECS says it.
    pub async fn registered_instances(&self, run: &Run) -> Option<i32> {
        let said = self.ecs.describe_clusters().clusters(&run.app).send().await.ok()?;
        said.clusters().first().map(aws_sdk_ecs::types::Cluster::registered_container_instances_count)
    }
}
