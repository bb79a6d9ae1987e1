//! The launch template, which says what an instance is. A version of it never changes, so every change is a new version.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{LaunchTemplateVersion, RequestLaunchTemplateData, ResourceType, Tag, TagSpecification};
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::owner::TAG_KEYS;
use shared::{Error, Result, Run, Tried};

use crate::launch_template_data::{Content, Host, aws_tags, pair};
use crate::settings::{SHORTEST, Wanted};
use crate::{ClusterUp, instance_role};

#[derive(Default)]
pub struct Found {
    /// The default version, which the Auto Scaling group uses.
    version: Option<LaunchTemplateVersion>,
    ours: bool,
    tags: Vec<Tag>,
}

pub async fn find(ec2: &Client, run: &Run) -> Result<Found> {
    // EC2 would refuse such a name.
    if run.app.len() < SHORTEST {
        return Ok(Found::default());
    }
    let template = async {
        let said = ec2.describe_launch_templates().launch_template_names(&run.app).send().await;
        if_found(said.tried(format!("read the launch template {}", run.app)))
    };
    let version = async {
        let said = ec2.describe_launch_template_versions().launch_template_name(&run.app).versions("$Default").send().await;
        if_found(said.tried(format!("read the default version of the launch template {}", run.app)))
    };
    let (template, version) = try_join!(template, version)?;
    let tags = template.and_then(|said| said.launch_templates().first().map(|template| template.tags().to_vec())).unwrap_or_default();
    let ours = run.is_ours(tags.iter().map(pair));
    Ok(Found { version: version.and_then(|said| said.launch_template_versions().first().cloned()), ours, tags })
}

impl ClusterUp {
    pub async fn template_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(instances) = &wanted.instances else { return Ok(()) };
        let Some(image) = &self.found.image else { return Err(Error::Internal("the AMI is not known yet".to_owned())) };
        let (root, is_bottlerocket) = (image.root_device.as_str(), image.is_bottlerocket);
        let mut tags = run.tags("instance");
        // With the keys, the template of each app with tags would be another one than before.
        tags.retain(|(key, _)| key != TAG_KEYS);
        let host = Host { app: &run.app, profile: &instance_role::name(run), root, is_bottlerocket, tags: &tags };
        let data = host.data(instances);
        let content = Content::of_request(&data);
        let fingerprint = content.fingerprint();
        let Some(found) = &self.found.template.version else {
            let id = run.create("launch template", &run.app, self.create_template(run, data, &fingerprint)).await?;
            self.cluster.borrow_mut().launch_template_id = id;
            return Ok(());
        };
        if !self.found.template.ours {
            return Err(run.unmanaged("launch template", &run.app));
        }
        let id = given(found.launch_template_id(), "the ID of the launch template")?;
        self.cluster.borrow_mut().launch_template_id = Some(id.clone());
        run.settle_tags(
            "launch template",
            &run.app,
            run.tags("instance"),
            self.found.template.tags.iter().map(pair),
            async |missing| self.ec2.create_tags().resources(&id).set_tags(Some(aws_tags(missing))).send().await,
            async |left| {
                let left = left.into_iter().map(|key| Tag::builder().key(key).build()).collect();
                self.ec2.delete_tags().resources(&id).set_tags(Some(left)).send().await
            },
        )
        .await?;
        // In the plan of a new network, the security group has no ID yet. That the group is new says enough.
        if instances.group.is_none() {
            return Ok(());
        }
        let diff = content.diff(found);
        if diff.is_empty() {
            *self.template_version.borrow_mut() = found.version_number().map(|number| number.to_string());
        }
        run.change("launch template", &run.app, &diff, self.new_version(run, &id, data, &fingerprint)).await
    }

    async fn create_template(&self, run: &Run, data: RequestLaunchTemplateData, fingerprint: &str) -> Result<String> {
        let tags = TagSpecification::builder().resource_type(ResourceType::LaunchTemplate).set_tags(Some(aws_tags(run.tags("instance"))));
        let call = self.ec2.create_launch_template().launch_template_name(&run.app).version_description(fingerprint);
        let call = call.launch_template_data(data).tag_specifications(tags.build());
        let made = call.send().await.tried(format!("create the launch template {}", run.app))?;
        given(made.launch_template().and_then(|template| template.launch_template_id()), "the ID of the new launch template")
    }

    async fn new_version(&self, run: &Run, id: &str, data: RequestLaunchTemplateData, fingerprint: &str) -> Result<()> {
        let app = &run.app;
        let call = self.ec2.create_launch_template_version().launch_template_id(id).version_description(fingerprint);
        let call = call.launch_template_data(data);
        let made = call.send().await.tried(format!("create a version of the launch template {app}"))?;
        let number = made.launch_template_version().and_then(LaunchTemplateVersion::version_number).map(|number| number.to_string());
        let number = given(number.as_deref(), "the number of the new version")?;
        let call = self.ec2.modify_launch_template().launch_template_id(id).default_version(&number);
        call.send().await.tried(format!("set the default version of the launch template {app} to {number}"))?;
        run.note(&format!("new instances use version {number} of the launch template {app}"));
        *self.template_version.borrow_mut() = Some(number);
        Ok(())
    }

    pub async fn template_down(&self, run: &Run) -> Result<()> {
        let Found { version: Some(version), ours: true, .. } = &self.found.template else { return Ok(()) };
        let id = given(version.launch_template_id(), "the ID of the launch template")?;
        let delete = async {
            self.ec2
                .delete_launch_template()
                .launch_template_id(&id)
                .send()
                .await
                .tried(format!("delete the launch template {id}"))
                .map(drop)
        };
        run.delete("launch template", &run.app, delete).await
    }
}
