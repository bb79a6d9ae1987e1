//! The cluster's capacity providers, and the default strategy, which services without a strategy of their own use.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html>

use aws_sdk_ecs::operation::describe_services::DescribeServicesOutput;
use aws_sdk_ecs::types::{CapacityProviderStrategyItem, Cluster, Service};
use serde_json::{Value, json};
use shared::step::each;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::cluster::{attachment_failed, is_ours};
use crate::providers::{Providers, providers};
use crate::settings::Wanted;

impl ClusterUp {
    pub async fn capacity_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let name = self.provider_name(run);
        let Providers { shares, mut names, strategy } = providers(&name, wanted)?;
        self.cluster.borrow_mut().capacity_provider_strategy = shares;
        let found = self.found.cluster.as_ref();
        // The plan of a new cluster is the cluster itself.
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        let dead: Vec<&str> = self.found.provider.dead(self.found.group.living()).into_iter().filter(|dead| *dead != name).collect();
        let used = self.used(run, &dead).await?;
        names.extend(used.iter().cloned());
        // On Fargate a cluster is created with its providers.
        if found.is_some() || wanted.instances.is_some() {
            let diff = differences(found, &names, &strategy).note(found.is_some_and(attachment_failed), "the last change failed");
            run.change("cluster", &run.app, &diff, self.put_providers(run, names, strategy)).await?;
        }
        for provider in dead.into_iter().filter(|dead| !used.iter().any(|used| used == dead)) {
            self.remove_provider(run, provider).await?;
        }
        Ok(())
    }

    /// Returns those of the providers without a group that services still use. The cluster must keep them until svc-deploy has moved the services.
    async fn used(&self, run: &Run, dead: &[&str]) -> Result<Vec<String>> {
        let associated = self.found.cluster.as_ref().map(Cluster::capacity_providers).unwrap_or_default();
        let dead: Vec<String> = associated.iter().filter(|name| dead.contains(&name.as_str())).cloned().collect();
        if dead.is_empty() {
            return Ok(dead);
        }
        let call = self.ecs.list_services().cluster(&run.app);
        let arns = shared::pages!(call, format!("list the services of the cluster {}", run.app))?;
        // One call takes ten services.
        let said = each(arns.chunks(10), async |arns| {
            let call = self.ecs.describe_services().cluster(&run.app).set_services(Some(arns.to_vec()));
            call.send().await.tried(format!("read the services of the cluster {}", run.app))
        })
        .await?;
        let is_in_use = |name: &String| {
            let strategies = said.iter().flat_map(DescribeServicesOutput::services).flat_map(Service::capacity_provider_strategy);
            strategies.map(CapacityProviderStrategyItem::capacity_provider).any(|used| used == name)
        };
        let used: Vec<String> = dead.into_iter().filter(is_in_use).collect();
        if !used.is_empty() && !run.is_planning() {
            run.note(&format!(
                "the Auto Scaling group of the capacity provider {} was deleted. svc-deploy moves the services to the new provider, and the next run of cluster-up deletes the old one",
                used.join(", ")
            ));
        }
        Ok(used)
    }

    async fn put_providers(&self, run: &Run, names: Vec<String>, strategy: Vec<CapacityProviderStrategyItem>) -> Result<()> {
        // ECS makes one change at a time, and tasks that drain still use a provider.
        let busy = |error: &Error| error.is_code("UpdateInProgressException") || error.is_code("ResourceInUseException");
        // A new cluster or capacity provider is not visible at once.
        let words = ["does not exist", "was not found", "not in an ACTIVE state", "was not ACTIVE"];
        let not_yet = |error: &Error| words.iter().any(|words| error.says(words));
        while_held(run, "the last change of the cluster's capacity providers", busy, async || {
            while_not_yet(run, "the capacity provider to be visible", not_yet, async || {
                let call = self.ecs.put_cluster_capacity_providers().cluster(&run.app).set_capacity_providers(Some(names.clone()));
                let call = call.set_default_capacity_provider_strategy(Some(strategy.clone()));
                call.send().await.tried(format!("set the capacity providers of the cluster {}", run.app)).map(drop)
            })
            .await
        })
        .await
    }

    pub async fn capacity_down(&self, run: &Run) -> Result<()> {
        let Some(found) = self.found.cluster.as_ref().filter(|found| is_ours(run, found)) else { return Ok(()) };
        // Without instances, running services would stop one by one.
        let count = found.active_services_count();
        if count > 0 {
            return Err(Error::failed(
                "cluster-has-services",
                format!(
                    "could not delete the cluster {0}: {count} services still run on it. Nothing was deleted. Delete them with `svc-deploy --down --app {0}`, and run the same command again",
                    run.app
                ),
            ));
        }
        if found.capacity_providers().is_empty() {
            return Ok(());
        }
        let put = self.put_providers(run, Vec::new(), Vec::new());
        run.delete("capacity providers of the cluster", &run.app, put).await
    }
}

fn differences(found: Option<&Cluster>, names: &[String], items: &[CapacityProviderStrategyItem]) -> Diff {
    let was = found.map(Cluster::default_capacity_provider_strategy).unwrap_or_default();
    Diff::new().set("capacityProviders", found.map(Cluster::capacity_providers).unwrap_or_default(), names).json(
        "defaultCapacityProviderStrategy",
        Some(&by_provider(was)),
        &by_provider(items),
    )
}

/// The order of the items means nothing.
fn by_provider(items: &[CapacityProviderStrategyItem]) -> Value {
    items.iter().map(|item| (item.capacity_provider().to_owned(), json!({"weight": item.weight(), "base": item.base()}))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(provider: &str, weight: i32, base: i32) -> CapacityProviderStrategyItem {
        CapacityProviderStrategyItem::builder().capacity_provider(provider).weight(weight).base(base).build().unwrap()
    }

    #[test]
    fn a_plan_names_providers_and_their_weights() {
        let names = ["FARGATE_SPOT".to_owned(), "FARGATE".to_owned()];
        let of = |spot| vec![item("FARGATE", 100 - spot, 1), item("FARGATE_SPOT", spot, 0)];
        let found = Cluster::builder()
            .capacity_providers("FARGATE")
            .capacity_providers("FARGATE_SPOT")
            .set_default_capacity_provider_strategy(Some(of(50).into_iter().rev().collect()))
            .build();
        assert_eq!(differences(Some(&found), &names, &of(50)).to_string(), "");
        assert_eq!(
            differences(Some(&found), &names, &of(70)).to_string(),
            "defaultCapacityProviderStrategy.FARGATE.weight: 50 -> 30, defaultCapacityProviderStrategy.FARGATE_SPOT.weight: 50 -> 70"
        );
        let provider = ["instances-of-shop".to_owned()];
        assert_eq!(
            differences(None, &provider, &[item("instances-of-shop", 1, 0)]).to_string(),
            "capacityProviders: none -> instances-of-shop, defaultCapacityProviderStrategy.instances-of-shop.weight: none -> 1, \
             defaultCapacityProviderStrategy.instances-of-shop.base: none -> 0"
        );
    }
}
