//! The mount targets: the addresses of the file system in the private subnets, one in each zone. They have no tags; those of the app's file system are
//! the app's.
//! <https://docs.aws.amazon.com/efs/latest/ug/accessing-fs.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Subnet};
use aws_sdk_efs::Client;
use aws_sdk_efs::types::{LifeCycleState, MountTargetDescription};
use futures_util::future::try_join_all;
use shared::error::{if_found, made};
use shared::step::each;
use shared::wait::{until, while_held};
use shared::{Diff, Error, Result, Run, Tried};

use crate::settings::{Storage, Wanted};
use crate::{ClusterUp, file_system};

pub struct FoundTarget {
    pub target: MountTargetDescription,
    groups: Vec<String>,
}

/// The zones of subnets, by ID.
pub type Zones = BTreeMap<String, String>;

/// Finds the zones of the private subnets. Two subnets of an existing network may be in one zone. A filter returns no error for a new subnet that is
/// not visible yet.
pub async fn zones(ec2: &aws_sdk_ec2::Client, wanted: Option<&Wanted>) -> Result<Zones> {
    let storage = wanted.and_then(|wanted| wanted.storage.as_ref());
    let ids: Vec<String> = storage.iter().flat_map(|storage| &storage.subnets).flatten().cloned().collect();
    // A zone is not shared by one subnet.
    if ids.len() < 2 {
        return Ok(Zones::new());
    }
    let filter = Filter::builder().name("subnet-id").set_values(Some(ids)).build();
    let subnets: Vec<Subnet> = shared::pages!(ec2.describe_subnets().filters(filter), "list the private subnets")?;
    Ok(subnets.into_iter().filter_map(|subnet| Some((subnet.subnet_id?, subnet.availability_zone?))).collect())
}

/// Finds the mount targets of the app's file system.
pub async fn find(efs: &Client, file_system: &file_system::Found) -> Result<Vec<FoundTarget>> {
    match file_system {
        Some(found) => list(efs, found.file_system_id()).await,
        None => Ok(Vec::new()),
    }
}

/// Lists the mount targets of a file system with their security groups.
async fn list(efs: &Client, file_system: &str) -> Result<Vec<FoundTarget>> {
    let call = efs.describe_mount_targets().file_system_id(file_system);
    let targets = if_found(shared::pages!(call, format!("list the mount targets of the file system {file_system}")))?.unwrap_or_default();
    let targets = targets.into_iter().filter(is_usable);
    try_join_all(targets.map(async |target| {
        let id = target.mount_target_id();
        let said = efs.describe_mount_target_security_groups().mount_target_id(id).send().await;
        // It may not have its groups while it is being created.
        let said = match said.tried(format!("read the security groups of the mount target {id}")) {
            Err(error) if error.is_code("IncorrectMountTargetState") => None,
            other => if_found(other)?,
        };
        let groups = said.map(|said| said.security_groups).unwrap_or_default();
        Ok(FoundTarget { target, groups })
    }))
    .await
}

fn is_usable(target: &MountTargetDescription) -> bool {
    !matches!(target.life_cycle_state(), LifeCycleState::Deleting | LifeCycleState::Deleted)
}

impl ClusterUp {
    /// Creates a mount target in every zone of the private subnets.
    pub async fn mount_targets_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(storage) = &wanted.storage else { return Ok(()) };
        // All mount targets of a file system are in one VPC, so those of an earlier network are replaced.
        let is_elsewhere = |found: &&FoundTarget| {
            storage.vpc.is_some() && found.target.vpc_id().is_some() && found.target.vpc_id() != storage.vpc.as_deref()
        };
        let (elsewhere, here): (Vec<&FoundTarget>, Vec<&FoundTarget>) = self.found.mount_targets.iter().partition(is_elsewhere);
        each(elsewhere, async |found| self.delete_target(run, found).await).await?;
        each(places(storage, &self.found.subnet_zones), async |place| match here.iter().find(|found| place.has(&found.target)) {
            Some(found) => self.settle_target(run, storage, found).await,
            None => run.create("mount target", &place.name, self.create_target(run, storage, place.subnet)).await.map(drop),
        })
        .await
        .map(drop)
    }

    async fn create_target(&self, run: &Run, storage: &Storage, subnet: Option<&str>) -> Result<String> {
        let (subnet, file_system) =
            (made(subnet, "the subnet")?, made(self.cluster.borrow().file_system_id.as_deref(), "the file system")?);
        let Some(group) = &storage.group else {
            return Err(Error::document(
                "no-file-system-group",
                "net.file_system_security_group_id",
                "is missing, but services have volumes on the file system. Run net-up again with this document",
            ));
        };
        // A new file system is not available at once, and the mount target of an earlier run may still be in the zone.
        let not_yet = |error: &Error| error.is_code("IncorrectFileSystemLifeCycleState") || error.is_code("MountTargetConflict");
        while_held(run, "the file system to accept mount targets", not_yet, async || {
            let call = self.efs.create_mount_target().file_system_id(&file_system).subnet_id(&subnet).security_groups(group);
            match call.send().await.tried(format!("create the mount target of the file system {file_system} in the subnet {subnet}")) {
                Ok(said) => Ok(said.mount_target_id().to_owned()),
                // It exists when the answer to an earlier attempt was lost, or another run has created it.
                Err(error) if error.is_code("MountTargetConflict") => {
                    let all = list(&self.efs, &file_system).await?;
                    let mine = all.into_iter().find(|found| found.target.subnet_id() == subnet);
                    mine.map(|found| found.target.mount_target_id().to_owned()).ok_or(error)
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn settle_target(&self, run: &Run, storage: &Storage, found: &FoundTarget) -> Result<()> {
        let id = found.target.mount_target_id();
        run.found("mount target", id);
        let Some(group) = &storage.group else { return Ok(()) };
        let diff = if found.groups.is_empty() { Diff::new() } else { Diff::new().set("securityGroups", &found.groups, [group]) };
        run.change("mount target", id, &diff, async {
            let call = self.efs.modify_mount_target_security_groups().mount_target_id(id).security_groups(group);
            call.send().await.tried(format!("set the security group of the mount target {id}")).map(drop)
        })
        .await
    }

    /// Deletes the mount targets, which are in the way of deleting the network. A new network gets new ones.
    pub async fn mount_targets_down(&self, run: &Run) -> Result<()> {
        if self.found.file_system.as_ref().is_none_or(|found| !file_system::is_ours(run, found)) {
            return Ok(());
        }
        each(&self.found.mount_targets, async |found| self.delete_target(run, found).await).await.map(drop)
    }

    async fn delete_target(&self, run: &Run, found: &FoundTarget) -> Result<()> {
        let id = found.target.mount_target_id();
        let delete = async {
            self.efs.delete_mount_target().mount_target_id(id).send().await.tried(format!("delete the mount target {id}"))?;
            until(run, "the mount target to be deleted", async || {
                let said = self.efs.describe_mount_targets().mount_target_id(id).send().await;
                let said = if_found(said.tried(format!("read the mount target {id}")))?;
                let gone =
                    said.is_none_or(|said| said.mount_targets().iter().all(|one| one.life_cycle_state() == &LifeCycleState::Deleted));
                Ok(gone.then_some(()))
            })
            .await
        };
        run.delete("mount target", id, delete).await
    }
}

/// Where a mount target must be.
struct Place<'a> {
    /// What a plan calls it: the zone, or the number of the subnet.
    name: String,
    subnet: Option<&'a str>,
    zone: Option<&'a str>,
}

impl Place<'_> {
    /// Returns whether this mount target serves the zone.
    fn has(&self, target: &MountTargetDescription) -> bool {
        self.subnet == Some(target.subnet_id()) || (self.zone.is_some() && self.zone == target.availability_zone_name())
    }
}

/// Returns the first private subnet of each zone: EFS allows one mount target in a zone, which serves all subnets of the zone. Subnets whose zones are
/// not known are taken for subnets of different zones.
/// <https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html>
fn places<'a>(storage: &'a Storage, zones: &'a Zones) -> Vec<Place<'a>> {
    let mut taken = BTreeSet::new();
    let place = |(i, subnet): (usize, &'a Option<String>)| {
        let zone = subnet.as_ref().and_then(|subnet| zones.get(subnet)).map(String::as_str);
        let name = zone.map(str::to_owned).or_else(|| storage.zones.get(i).cloned()).unwrap_or_else(|| format!("private-{}", i + 1));
        zone.is_none_or(|zone| taken.insert(zone)).then_some(Place { name, subnet: subnet.as_deref(), zone })
    };
    storage.subnets.iter().enumerate().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_one_mount_target() {
        let storage = |subnets: &[Option<&str>], zones: &[&str]| Storage {
            vpc: None,
            subnets: subnets.iter().map(|subnet| subnet.map(str::to_owned)).collect(),
            zones: zones.iter().map(ToString::to_string).collect(),
            group: None,
        };
        let known: Zones = [("s-1", "a"), ("s-2", "a"), ("s-3", "b")].map(|(id, zone)| (id.to_owned(), zone.to_owned())).into();
        let of = |storage: &Storage, zones: &Zones| -> Vec<String> {
            places(storage, zones).iter().map(|place| format!("{} {}", place.name, place.subnet.unwrap_or("new"))).collect()
        };
        assert_eq!(of(&storage(&[Some("s-1"), Some("s-2"), Some("s-3")], &["a", "b", "c"]), &known), ["a s-1", "b s-3"]);
        assert_eq!(of(&storage(&[None, None], &["a", "b"]), &Zones::new()), ["a new", "b new"], "a plan knows no subnets");
        assert_eq!(of(&storage(&[Some("s-1"), Some("s-4")], &["a"]), &known), ["a s-1", "private-2 s-4"]);
    }
}
