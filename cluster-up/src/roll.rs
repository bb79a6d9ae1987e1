//! `--roll`: replaces the instances that run an old version of the launch template, and waits.
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/asg-instance-refresh.html>

use std::cell::Cell;

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, Instance, InstanceRefresh, InstanceRefreshStatus, LaunchTemplateSpecification, RefreshPreferences,
    ScaleInProtectedInstances,
};
use shared::error::given;
use shared::wait::until;
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::settings::Wanted;

impl ClusterUp {
    /// Says how many instances run an old version of the launch template, and replaces them with `--roll`.
    pub async fn roll_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(group) = self.found.group.living().filter(|_| wanted.instances.is_some()) else { return Ok(()) };
        let version = self.template_version.borrow().clone();
        let old = outdated(group, version.as_deref());
        let Some(before) = old.first().filter(|_| version.is_some() || run.is_planning()) else { return Ok(()) };
        let count = format!("{} of {}", old.len(), group.instances().len());
        if !self.roll {
            run.note(&format!(
                "{count} instances run an old version of the launch template {0}. To replace them, run: cluster-up --roll",
                run.app
            ));
            return Ok(());
        }
        let diff = Diff::new().field("instances with an old launch template", count, 0);
        run.change("Auto Scaling group", &run.app, &diff, self.replace_all(run, before)).await
    }

    /// Replaces all outdated instances. When that fails, the group returns to the version `before`.
    async fn replace_all(&self, run: &Run, before: &str) -> Result<()> {
        let Err(error) = self.refresh(run).await else { return Ok(()) };
        // AWS's own rollback accepts neither $Default nor an AMI of an SSM parameter.
        if error.code() != FAILED {
            return Err(error);
        }
        run.note(&format!("the instance refresh failed. The group returns to version {before} of the launch template"));
        let call = self.ec2.modify_launch_template().launch_template_name(&run.app).default_version(before);
        call.send().await.tried(format!("set the default version of the launch template {} to {before}", run.app))?;
        self.refresh(run).await?;
        Err(error)
    }

    async fn refresh(&self, run: &Run) -> Result<()> {
        // ECS protects the instances. Without the preference, AWS waits an hour for each of them and then fails.
        let preferences = RefreshPreferences::builder().scale_in_protected_instances(ScaleInProtectedInstances::Refresh);
        let call = self.autoscaling.start_instance_refresh().auto_scaling_group_name(&run.app);
        let call = call.preferences(preferences.skip_matching(true).build());
        match call.send().await.tried(format!("start an instance refresh of the Auto Scaling group {}", run.app)) {
            // An earlier run has started it.
            Err(error) if error.is_code("InstanceRefreshInProgress") => {}
            other => drop(other?),
        }
        let done = Cell::new(None);
        until(run, "the instances to be replaced", async || {
            let call = self.autoscaling.describe_instance_refreshes().auto_scaling_group_name(&run.app).max_records(1);
            let said = call.send().await.tried(format!("read the instance refresh of the Auto Scaling group {}", run.app))?;
            let found = given(said.instance_refreshes().first(), "the instance refresh")?;
            let percent = found.percentage_complete();
            if percent.is_some() && done.replace(percent) != percent {
                run.note(&format!("{}% of the instances are replaced", percent.unwrap_or_default()));
            }
            outcome(run, &found)
        })
        .await
    }
}

/// The code of a refresh that AWS has ended.
const FAILED: &str = "instance-refresh-failed";

/// Returns whether the refresh has ended well.
fn outcome(run: &Run, found: &InstanceRefresh) -> Result<Option<()>> {
    match found.status() {
        Some(InstanceRefreshStatus::Successful) => Ok(Some(())),
        Some(status @ (InstanceRefreshStatus::Failed | InstanceRefreshStatus::Cancelled)) => {
            let reason = found.status_reason().unwrap_or("AWS gives no reason");
            let text = format!(
                "could not replace the instances of the Auto Scaling group {}: {}: {reason}. Fix the cause, and run the same command again",
                run.app,
                status.as_str()
            );
            Err(Error::failed("instance-refresh-failed", text))
        }
        _ => Ok(None),
    }
}

/// Returns the versions of the instances that do not run this version; without one, a new version is planned.
fn outdated<'a>(group: &'a AutoScalingGroup, version: Option<&str>) -> Vec<&'a str> {
    let versions = group.instances().iter().filter_map(Instance::launch_template).filter_map(LaunchTemplateSpecification::version);
    versions.filter(|found| version != Some(*found)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_of_another_version_are_outdated() {
        let one = |version: &str| {
            let template = LaunchTemplateSpecification::builder().launch_template_name("shop").version(version).build();
            Instance::builder().launch_template(template).build()
        };
        let group = AutoScalingGroup::builder().instances(one("1")).instances(one("2")).build();
        assert_eq!(outdated(&group, Some("2")), ["1"]);
        assert_eq!(outdated(&group, None), ["1", "2"], "a plan has a new version");
    }
}
