//! The cluster's capacity providers, and the default strategy, which services without a strategy of their own use.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html>

use aws_sdk_ecs::operation::describe_services::DescribeServicesOutput;
use aws_sdk_ecs::types::{CapacityProviderStrategyItem, Cluster, Service};
use serde_json::{Value, json};
use shared::doc::Capacity;
use shared::step::each;
use shared::wait::{while_held, while_not_yet};
use shared::{Diff, Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::cluster::{FARGATE, attachment_failed, is_ours};
use crate::settings::Wanted;

const FARGATE_SPOT: &str = "FARGATE_SPOT";

impl ClusterUp {
    pub async fn capacity_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let name = self.provider_name(run);
        let mut shares = strategy(&name, wanted);
        let mut names: Vec<String> = shares.iter().map(|share| share.capacity_provider.clone()).collect();
        // A provider without tasks need not be in the strategy, and AWS may leave it out of its answer.
        shares.retain(|share| share.weight > 0 || share.base > 0);
        let items = shares.iter().map(item).collect::<Result<Vec<_>>>()?;
        self.cluster.borrow_mut().capacity_provider_strategy = shares;
        let found = self.found.cluster.as_ref();
        // The plan of a new cluster is the cluster itself.
        if found.is_none() && run.is_planning() {
            return Ok(());
        }
        let dead: Vec<&str> = self.found.provider.dead(self.found.group.living()).into_iter().filter(|dead| *dead != name).collect();
        let used = self.used(run, &dead).await?;
        names.extend(used.iter().cloned());
        let diff = differences(found, &names, &items).note(found.is_some_and(attachment_failed), "the last change failed");
        run.change("cluster", &run.app, &diff, self.put_providers(run, names, items)).await?;
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

/// Returns the share of each provider. On EC2 there is one provider. On Fargate one task runs on demand, and `spot` divides the rest.
fn strategy(provider: &str, wanted: &Wanted) -> Vec<Capacity> {
    let share = |name: &str, weight, base| Capacity { capacity_provider: name.to_owned(), weight, base };
    if wanted.instances.is_some() {
        vec![share(provider, 1, 0)]
    } else {
        vec![share(FARGATE, 100 - wanted.spot, 1), share(FARGATE_SPOT, wanted.spot, 0)]
    }
}

fn item(share: &Capacity) -> Result<CapacityProviderStrategyItem> {
    let item = CapacityProviderStrategyItem::builder().capacity_provider(&share.capacity_provider).weight(share.weight).base(share.base);
    item.build().map_err(|error| Error::Internal(error.to_string()))
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
    use crate::settings::{Flags, Insights};
    use shared::Document;

    fn on_fargate(spot: i32) -> Wanted {
        Wanted { insights: Insights::Enhanced, spot, connects: false, instances: None, storage: None }
    }

    fn on_ec2() -> Wanted {
        let doc = Document::parse(br#"{"name": "shop", "net": {}, "x-cluster": {"spot": 50}}"#).unwrap();
        Wanted::read(&doc, &Flags::default()).unwrap()
    }

    fn items(shares: &[Capacity]) -> Vec<CapacityProviderStrategyItem> {
        shares.iter().map(|share| item(share).unwrap()).collect()
    }

    #[test]
    fn spot_divides_tasks_on_fargate_and_instances_on_ec2() {
        for (wanted, shares) in [
            (on_fargate(0), vec![("FARGATE", 100, 1), ("FARGATE_SPOT", 0, 0)]),
            (on_fargate(70), vec![("FARGATE", 30, 1), ("FARGATE_SPOT", 70, 0)]),
            (on_fargate(100), vec![("FARGATE", 0, 1), ("FARGATE_SPOT", 100, 0)]),
            (on_ec2(), vec![("instances-of-shop", 1, 0)]),
        ] {
            let strategy = strategy("instances-of-shop", &wanted);
            let found: Vec<_> = strategy.iter().map(|share| (share.capacity_provider.as_str(), share.weight, share.base)).collect();
            assert_eq!(found, shares, "spot {}", wanted.spot);
        }
    }

    #[test]
    fn a_plan_names_providers_and_their_weights() {
        let names = ["FARGATE_SPOT".to_owned(), FARGATE.to_owned()];
        let of = |spot| items(&strategy("instances-of-shop", &on_fargate(spot)));
        let found = Cluster::builder()
            .capacity_providers(FARGATE)
            .capacity_providers(FARGATE_SPOT)
            .set_default_capacity_provider_strategy(Some(of(50).into_iter().rev().collect()))
            .build();
        assert_eq!(differences(Some(&found), &names, &of(50)).to_string(), "");
        assert_eq!(
            differences(Some(&found), &names, &of(70)).to_string(),
            "defaultCapacityProviderStrategy.FARGATE.weight: 50 -> 30, defaultCapacityProviderStrategy.FARGATE_SPOT.weight: 50 -> 70"
        );
        let provider = ["instances-of-shop".to_owned()];
        assert_eq!(
            differences(None, &provider, &items(&strategy("instances-of-shop", &on_ec2()))).to_string(),
            "capacityProviders: none -> instances-of-shop, defaultCapacityProviderStrategy.instances-of-shop.weight: none -> 1, \
             defaultCapacityProviderStrategy.instances-of-shop.base: none -> 0"
        );
    }
}
