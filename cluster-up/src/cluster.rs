//! The ECS cluster, and which capacity providers it has.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{CapacityProviderStrategyItem, Cluster, ClusterField, ClusterSetting, ClusterSettingName, Tag};
use shared::doc::{Capacity, LaunchType};
use shared::error::given;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{ClusterUp, capacity_provider};

pub type Found = Option<Cluster>;

pub async fn find(ecs: &Client, run: &Run) -> Result<Found> {
    let call = ecs.describe_clusters().clusters(&run.app).include(ClusterField::Settings).include(ClusterField::Tags);
    let said = call.send().await.tried(format!("look for the cluster {}", run.app))?;
    // A deleted cluster stays visible, INACTIVE, for a while.
    Ok(said.clusters().iter().find(|cluster| cluster.status() != Some("INACTIVE")).cloned())
}

/// Tasks can't be moved between the launch types in place; found out before anything is made.
pub fn check_launch_type(run: &Run, wanted: Option<&Wanted>, found: &crate::Found) -> Result<()> {
    let on_fargate = found.cluster.as_ref().is_some_and(|cluster| cluster.capacity_providers().iter().any(|name| name == FARGATE));
    let wrong = |runs: &str, flag: &str| {
        Err(Error::document(
            "x-cluster.launch_type",
            format!(
                "{} runs on {runs}, and tasks can't be moved in place: give --launch-type {flag} (or x-cluster.launch_type), or take the app down first",
                run.app
            ),
        ))
    };
    match wanted.map(Wanted::launch_type) {
        Some(LaunchType::Ec2) if on_fargate => wrong("Fargate", "fargate"),
        Some(LaunchType::Fargate) if found.group.is_some() => wrong("EC2", "ec2"),
        _ => Ok(()),
    }
}

const FARGATE: &str = "FARGATE";

impl ClusterUp {
    pub async fn cluster_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let insights = ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(wanted.insights.value()).build();
        let arn = match &self.found.cluster {
            Some(found) => self.settle_cluster(run, wanted, found, insights).await?,
            None => run.create("cluster", &run.app, self.create_cluster(run, insights)).await?,
        };
        let mut cluster = self.cluster.borrow_mut();
        (cluster.arn, cluster.name, cluster.launch_type) = (arn, run.app.clone(), wanted.launch_type());
        Ok(())
    }

    async fn create_cluster(&self, run: &Run, insights: ClusterSetting) -> Result<String> {
        // ECS's service-linked role, made a moment ago, can't be used at once.
        let not_yet = |error: &Error| error.says("service linked role");
        let made = while_not_yet(run, "ECS's service-linked role to be usable", not_yet, async || {
            let tags = run.tags("cluster").into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
            self.ecs
                .create_cluster()
                .cluster_name(&run.app)
                .settings(insights.clone())
                .set_tags(Some(tags))
                .send()
                .await
                .tried(format!("create the cluster {}", run.app))
        })
        .await?;
        given(made.cluster().and_then(Cluster::cluster_arn), "the new cluster's ARN")
    }

    async fn settle_cluster(&self, run: &Run, wanted: &Wanted, found: &Cluster, insights: ClusterSetting) -> Result<Option<String>> {
        if !run.is_ours(found.tags().iter().map(|tag| (tag.key(), tag.value()))) {
            return Err(run.foreign("cluster", &run.app));
        }
        run.found("cluster", &run.app);
        self.keep_tags(run, "cluster", "cluster", found.cluster_arn().unwrap_or_default(), found.tags()).await?;
        let was = found
            .settings()
            .iter()
            .find(|setting| setting.name() == Some(&ClusterSettingName::ContainerInsights))
            .and_then(ClusterSetting::value);
        let diff = Diff::new().field("containerInsights", was, Some(wanted.insights.value()));
        let update = async {
            self.ecs
                .update_cluster()
                .cluster(&run.app)
                .settings(insights)
                .send()
                .await
                .tried(format!("change the settings of the cluster {}", run.app))
                .map(drop)
        };
        run.change("cluster", &run.app, &diff, update).await?;
        Ok(found.cluster_arn().map(str::to_owned))
    }

    /// Of a cluster or capacity provider.
    pub async fn keep_tags(&self, run: &Run, kind: &str, name: &str, arn: &str, found: &[Tag]) -> Result<()> {
        run.settle_tags(kind, arn, run.tags(name), found.iter().map(|tag| (tag.key(), tag.value())), async |missing| {
            let missing = missing.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
            self.ecs.tag_resource().resource_arn(arn).set_tags(Some(missing)).send().await.tried(format!("tag the {kind} {arn}")).map(drop)
        })
        .await
    }

    /// The providers and the strategy that services follow when they name none.
    pub async fn capacity_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let mut shares = strategy(run, wanted);
        let names: Vec<String> = shares.iter().map(|share| share.capacity_provider.clone()).collect();
        // Who gets no task need not be named, and might not be named in AWS's answer.
        shares.retain(|share| share.weight > 0 || share.base > 0);
        let strategy = shares.iter().map(item).collect::<Result<Vec<_>>>()?;
        self.cluster.borrow_mut().capacity_provider_strategy = shares;
        let found = self.found.cluster.as_ref();
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        let was = found.map(Cluster::capacity_providers).unwrap_or_default();
        let followed = found.map(Cluster::default_capacity_provider_strategy).unwrap_or_default();
        let diff = Diff::new().field("capacityProviders", sorted(was), sorted(&names)).field(
            "defaultCapacityProviderStrategy",
            texts(followed),
            texts(&strategy),
        );
        let put = self.put_providers(run, names, strategy);
        run.change("cluster", &run.app, &diff, put).await
    }

    async fn put_providers(&self, run: &Run, names: Vec<String>, strategy: Vec<CapacityProviderStrategyItem>) -> Result<()> {
        // One change at a time, and tasks that drain still hold a provider.
        let busy = |error: &Error| error.is_code("UpdateInProgressException") || error.is_code("ResourceInUseException");
        // A new cluster or capacity provider is not known everywhere at once.
        let words = ["does not exist", "was not found", "not in an ACTIVE state", "was not ACTIVE"];
        let not_yet = |error: &Error| words.iter().any(|words| error.says(words));
        while_held(run, "the cluster's capacity providers", busy, async || {
            while_not_yet(run, "the capacity provider to be visible", not_yet, async || {
                let call = self.ecs.put_cluster_capacity_providers().cluster(&run.app).set_capacity_providers(Some(names.clone()));
                call.set_default_capacity_provider_strategy(Some(strategy.clone()))
                    .send()
                    .await
                    .tried(format!("give the cluster {} its capacity providers", run.app))
                    .map(drop)
            })
            .await
        })
        .await
    }

    pub async fn capacity_down(&self, run: &Run) -> Result<()> {
        let Some(found) = self.ours(run) else { return Ok(()) };
        // Taking instances away under running services would stop them one by one.
        if found.active_services_count() > 0 {
            let count = found.active_services_count();
            return Err(Error::Failed(format!(
                "{count} services still run on the cluster {0}: take them down first (svc-deploy --down --app {0}); nothing was deleted",
                run.app
            )));
        }
        if found.capacity_providers().is_empty() {
            return Ok(());
        }
        let put = self.put_providers(run, Vec::new(), Vec::new());
        run.delete("capacity providers of the cluster", &run.app, put).await
    }

    pub async fn cluster_down(&self, run: &Run) -> Result<()> {
        if self.found.cluster.is_none() || !run.goes("cluster", &run.app, self.ours(run).is_some()) {
            return Ok(());
        }
        // Instances leave the cluster a minute or two after they are told to stop, and services when they have drained.
        let still_used = |error: &Error| {
            [
                "ClusterContainsContainerInstancesException",
                "ClusterContainsServicesException",
                "ClusterContainsTasksException",
                "ClusterContainsCapacityProviderException",
                "UpdateInProgressException",
            ]
            .iter()
            .any(|code| error.is_code(code))
        };
        let delete = while_held(run, "the instances to leave the cluster", still_used, async || {
            self.ecs.delete_cluster().cluster(&run.app).send().await.tried(format!("delete the cluster {}", run.app)).map(drop)
        });
        run.delete("cluster", &run.app, delete).await
    }

    fn ours(&self, run: &Run) -> Option<&Cluster> {
        self.found.cluster.as_ref().filter(|cluster| run.is_ours(cluster.tags().iter().map(|tag| (tag.key(), tag.value()))))
    }
}

/// On EC2 the one provider; on Fargate one task on demand, and the rest divided as `spot` says.
fn strategy(run: &Run, wanted: &Wanted) -> Vec<Capacity> {
    let share = |name: &str, weight, base| Capacity { capacity_provider: name.to_owned(), weight, base };
    if wanted.instances.is_some() {
        vec![share(&capacity_provider::name(run), 1, 0)]
    } else {
        vec![share(FARGATE, 100 - wanted.spot, 1), share("FARGATE_SPOT", wanted.spot, 0)]
    }
}

fn item(share: &Capacity) -> Result<CapacityProviderStrategyItem> {
    let item = CapacityProviderStrategyItem::builder().capacity_provider(&share.capacity_provider).weight(share.weight).base(share.base);
    item.build().map_err(|error| Error::Failed(error.to_string()))
}

fn sorted(names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.join(" ")
}

fn texts(strategy: &[CapacityProviderStrategyItem]) -> String {
    let mut texts: Vec<String> =
        strategy.iter().map(|item| format!("{} weight {} base {}", item.capacity_provider(), item.weight(), item.base())).collect();
    texts.sort_unstable();
    texts.join("; ")
}
