//! The capacity providers that a cluster should have.

use aws_sdk_ecs::types::CapacityProviderStrategyItem;
use shared::doc::Capacity;
use shared::{Error, Result};

use crate::settings::Wanted;

/// AWS's capacity provider for Fargate on demand, which every cluster on Fargate has.
pub const FARGATE: &str = "FARGATE";
const FARGATE_SPOT: &str = "FARGATE_SPOT";

pub struct Providers {
    /// As the document shows them.
    pub shares: Vec<Capacity>,
    pub names: Vec<String>,
    pub strategy: Vec<CapacityProviderStrategyItem>,
}

/// Returns what the cluster should have. `provider` is that of the instances on EC2.
pub fn providers(provider: &str, wanted: &Wanted) -> Result<Providers> {
    let mut shares = strategy(provider, wanted);
    let names = shares.iter().map(|share| share.capacity_provider.clone()).collect();
    // A provider without tasks need not be in the strategy, and AWS may leave it out of its answer.
    shares.retain(|share| share.weight > 0 || share.base > 0);
    let strategy = shares.iter().map(item).collect::<Result<_>>()?;
    Ok(Providers { shares, names, strategy })
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

#[cfg(test)]
mod tests {
    use shared::Document;

    use super::*;
    use crate::settings::{Flags, Insights};

    fn on_fargate(spot: i32) -> Wanted {
        Wanted { insights: Insights::Enhanced, spot, connects: false, instances: None, storage: None }
    }

    fn on_ec2() -> Wanted {
        let doc = Document::parse(br#"{"name": "shop", "net": {}, "x-cluster": {"spot": 50}}"#).unwrap();
        Wanted::read(&doc, &Flags::default()).unwrap()
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
}
