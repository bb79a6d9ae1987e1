//! The file system of the app's volumes: EFS, encrypted, in the private subnets. Its data outlives the app: it is kept by `--down`, and found again
//! by the next run.
//! <https://docs.aws.amazon.com/efs/latest/ug/whatisefs.html>

use aws_sdk_efs::Client;
use aws_sdk_efs::types::{FileSystemDescription, LifeCycleState, ThroughputMode};
use shared::wait::{until, while_held};
use shared::{Error, Result, Run, Tried};

use crate::ClusterUp;
use crate::settings::Wanted;

shared::tagging!(aws_sdk_efs::types::Tag);

pub type Found = Option<FileSystemDescription>;

/// Returns the creation token. EFS has one file system for a token, so it is also what the file system is found by.
fn token(run: &Run) -> String {
    format!("ecs-pipe-{}", run.app)
}

pub async fn find(efs: &Client, run: &Run) -> Result<Found> {
    let said = efs.describe_file_systems().creation_token(token(run)).send().await;
    let said = said.tried(format!("read the file system of {}", run.app))?;
    // A deleted file system may be visible for a while.
    let is_it =
        |found: &&FileSystemDescription| found.creation_token() == token(run) && found.life_cycle_state() != &LifeCycleState::Deleted;
    Ok(said.file_systems().iter().find(is_it).cloned())
}

impl ClusterUp {
    /// Creates the file system when services have volumes that need it.
    pub async fn file_system_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.storage.is_none() {
            return Ok(());
        }
        let id = match &self.found.file_system {
            Some(found) => Some(self.settle_file_system(run, found).await?),
            None => run.create("file system", &run.app, self.create_file_system(run)).await?,
        };
        self.cluster.borrow_mut().file_system_id = id;
        Ok(())
    }

    /// Elastic throughput is paid by use, and a small file system is as fast as a large one.
    /// <https://docs.aws.amazon.com/efs/latest/ug/performance.html#throughput-modes>
    async fn create_file_system(&self, run: &Run) -> Result<String> {
        let call = self.efs.create_file_system().creation_token(token(run)).encrypted(true).throughput_mode(ThroughputMode::Elastic);
        let made = call.set_tags(Some(aws_tags(run.tags("file-system")))).send().await;
        let made = made.tried(format!("create the file system of {}", run.app))?;
        Ok(made.file_system_id().to_owned())
    }

    async fn settle_file_system(&self, run: &Run, found: &FileSystemDescription) -> Result<String> {
        let id = found.file_system_id();
        if !is_ours(run, found) {
            return Err(run.unmanaged("EFS file system", id));
        }
        run.found("file system", id);
        run.settle_tags(
            "file system",
            id,
            run.tags("file-system"),
            found.tags().iter().map(pair),
            async |missing| self.efs.tag_resource().resource_id(id).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.efs.untag_resource().resource_id(id).set_tag_keys(Some(left)).send().await,
        )
        .await?;
        Ok(id.to_owned())
    }

    /// Keeps the file system, unless `--delete-data` is given.
    pub async fn file_system_down(&self, run: &Run) -> Result<()> {
        let Some(found) = &self.found.file_system else { return Ok(()) };
        let id = found.file_system_id();
        if !run.may_delete("EFS file system", id, is_ours(run, found)) {
            return Ok(());
        }
        if !self.delete_data {
            run.note(&format!(
                "the file system {id} with the data of the volumes is kept, and the next deployment of {0} uses it. To delete it, run cluster-up --down --delete-data --app {0}",
                run.app
            ));
            return Ok(());
        }
        let delete = async {
            // A mount target that is being deleted still counts.
            while_held(
                run,
                "the mount targets to be deleted",
                |error| error.is_code("FileSystemInUse"),
                async || {
                    self.efs.delete_file_system().file_system_id(id).send().await.tried(format!("delete the file system {id}")).map(drop)
                },
            )
            .await?;
            // Its creation token is free again only then.
            until(run, "the file system to be deleted", async || Ok::<_, Error>(find(&self.efs, run).await?.is_none().then_some(()))).await
        };
        run.delete("file system", id, delete).await
    }
}

/// Returns whether the tags say that cluster-up created the file system for this app.
pub fn is_ours(run: &Run, found: &FileSystemDescription) -> bool {
    run.is_ours(found.tags().iter().map(pair))
}
