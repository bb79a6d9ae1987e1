//! Two runs at the same moment may both create a resource, because EC2 knows no names. The earliest one is kept, and both runs use it.

use aws_sdk_ec2::types::TagDescription;
use shared::{Result, Run};

use crate::{NetUp, tag};

impl NetUp {
    /// Returns the id of the resource that is kept: `mine`, or an earlier one of another run. Then `mine` is deleted; nothing uses it yet.
    ///
    /// The clocks of two machines may differ a little. Then both resources are kept, and the next run reports them.
    pub async fn claim(
        &self,
        run: &Run,
        name: &str,
        mine: String,
        exists: impl AsyncFn(&str) -> Result<bool>,
        delete: impl AsyncFn(&str) -> Result<()>,
    ) -> Result<String> {
        let prefix = tag::created_by(run, name);
        let filters = vec![tag::filter("key", tag::CREATED), tag::filter("value", &format!("{prefix}*"))];
        let call = self.ec2.describe_tags().set_filters(Some(filters));
        let tags = shared::pages!(call, format!("read whether another run has created {}", run.named(name)))?;
        for other in earlier(&tags, &prefix, &mine) {
            // AWS lists the tags of a deleted resource for a while.
            if !exists(other).await? {
                continue;
            }
            let named = run.named(name);
            run.note(&format!("another run created {named} at the same moment. {mine} of this run is deleted, and both runs use {other}"));
            delete(&mine).await?;
            return Ok(other.to_owned());
        }
        Ok(mine)
    }
}

/// Returns the ids of the resources that were created before `mine` under the same name, the earliest first.
fn earlier<'a>(tags: &'a [TagDescription], prefix: &str, mine: &str) -> Vec<&'a str> {
    // A NAT gateway and its elastic IP have the same name; the beginning of an id tells the kind.
    let kind = |id: &str| id.split('-').next().map(str::to_owned);
    let dated = tags.iter().filter_map(|tag| tag.value().zip(tag.resource_id()));
    let mut all: Vec<(&str, &str)> = dated.filter(|(value, id)| value.starts_with(prefix) && kind(id) == kind(mine)).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, id)| id).take_while(|id| *id != mine).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::TagDescription;

    use super::earlier;

    #[test]
    fn only_resources_of_the_same_name_and_kind_that_are_older_count() {
        let tag = |value: &str, id: &str| TagDescription::builder().value(value).resource_id(id).build();
        let tags = [
            tag("shop/nat-1 0000000000003", "eipalloc-3"),
            tag("shop/nat-1 0000000000001", "eipalloc-1"),
            tag("shop/nat-1 0000000000002", "eipalloc-2"),
            tag("shop/nat-1 0000000000000", "nat-0"),
            tag("shop/nat-10 0000000000000", "eipalloc-0"),
        ];
        for (mine, expected) in [("eipalloc-1", &[][..]), ("eipalloc-2", &["eipalloc-1"]), ("eipalloc-3", &["eipalloc-1", "eipalloc-2"])] {
            assert_eq!(earlier(&tags, "shop/nat-1 ", mine), expected, "{mine}");
        }
    }
}
