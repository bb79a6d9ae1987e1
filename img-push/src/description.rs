//! What is known of the images of services: the ports that they open, their architecture and their digest.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use futures_util::future::join_all;
use futures_util::join;
use shared::doc::Image;
use shared::{Result, Run};
use tokio::time::timeout;

use crate::ImgPush;
use crate::connection::Engine;
use crate::docker_config::registry_of;
use crate::image::{Described, Wanted, WantedImage};
use crate::registry::{self, Description};

/// The Docker Engine answers in milliseconds, unless it is not there.
const ENGINE_TIME: Duration = Duration::from_secs(3);

impl ImgPush {
    /// Records what is known of each image: from the Docker Engine, or else from its registry, all at the same time.
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn descriptions_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let engine = timeout(ENGINE_TIME, Engine::connect(self.credentials.docker())).await.ok().and_then(Result::ok);
        let all = wanted.described.iter().map(async |one| {
            let (description, digest) = join!(self.describe(run, wanted, engine.as_ref(), one), self.digest(one));
            (one, description, digest)
        });
        let all = join_all(all).await;
        let mut unknown = Vec::new();
        for (one, description, digest) in all {
            let description = description?;
            if description.is_none() && one.is_silent && one.name.is_some() {
                unknown.push(one.service.as_str());
            }
            self.record_description(one, description, digest);
        }
        if !unknown.is_empty() {
            run.warn(
                "image-ports-unknown",
                format!(
                    "the ports that the images of {} open are not known, because neither the Docker Engine has the images nor their registries answer. If other services call these by name, add their ports to expose",
                    unknown.join(", ")
                ),
            );
        }
        Ok(())
    }

    /// Returns what the registry has, or had in an earlier run, under the name of an image that ECR does not have. The Docker Engine may have an older
    /// one.
    async fn digest(&self, one: &Described) -> Option<String> {
        let name = one.name.as_deref().filter(|name| !name.contains('@'))?;
        let before =
            || self.before.get(&one.service).filter(|image| image.uri.as_deref() == Some(name)).and_then(|image| image.digest.clone());
        registry::digest(name, self.login_of(name).await).await.or_else(before)
    }

    /// Returns the credentials to read what an image is. A run goes on without that, so it does when no credentials can be had.
    async fn login_of(&self, image: &str) -> Option<DockerCredentials> {
        self.credentials.of(registry_of(image)).await.ok().flatten()
    }

    async fn describe(&self, run: &Run, wanted: &Wanted, engine: Option<&Engine>, one: &Described) -> Result<Option<Description>> {
        let is_it = |image: &&Image| image.uri.is_some() && image.uri == self.uri(&one.service).or(one.name.clone());
        let before = self.before.get(&one.service).filter(is_it);
        if let Some(mut found) = self.by_engine(wanted, engine, one).await {
            found.seeded = match (engine, local_name(wanted, one)) {
                // A plan creates nothing, not even a container that does not start.
                (Some(engine), Some(name)) if !run.is_planning() => engine.with_files(&name, &one.volumes).await,
                _ => before.map(|before| before.seeded.clone()).unwrap_or_default(),
            };
            return Ok(Some(found));
        }
        if let Some(before) = before {
            let (ports, seeded) = (before.exposed_ports.clone(), before.seeded.clone());
            return Ok(before.architecture.clone().map(|architecture| Description { ports, architecture, seeded }));
        }
        if !one.is_silent {
            return Ok(None);
        }
        let (name, login) = match (&one.name, self.uri(&one.service)) {
            (Some(name), _) => (name.clone(), self.login_of(name).await),
            (None, Some(uri)) => {
                let path = uri.split_once('/').map(|(_, path)| path).unwrap_or_default();
                let name = wanted.settings.registry.as_ref().map_or(uri.clone(), |host| format!("{host}/{path}"));
                (name, Some(self.credentials.of_ecr(None).await?))
            }
            (None, None) => return Ok(None),
        };
        Ok(registry::describe(&name, one.platform, login).await)
    }

    async fn by_engine(&self, wanted: &Wanted, engine: Option<&Engine>, one: &Described) -> Option<Description> {
        let name = local_name(wanted, one)?;
        let found = engine?.docker.inspect_image(&name).await.ok()?;
        let is_for = |platform: &&str| platform.split_once('/').map(|(_, architecture)| architecture) == found.architecture.as_deref();
        if one.platform.as_ref().is_some_and(|platform| !is_for(platform)) {
            return None;
        }
        of_engine(found)
    }

    /// Returns the image in ECR by digest, as far as it is known.
    fn uri(&self, service: &str) -> Option<String> {
        self.img.borrow().get(service).filter(|image| image.repository_arn.is_some()).and_then(|image| image.uri.clone())
    }

    fn record_description(&self, one: &Described, description: Option<Description>, newest: Option<String>) {
        let mut img = self.img.borrow_mut();
        let image = img.entry(one.service.clone()).or_default();
        if let Some(name) = &one.name {
            *image = Image { uri: Some(name.clone()), tag: tag(name), ..Image::default() };
        }
        let Description { ports, architecture, seeded } = description.unwrap_or_default();
        (image.exposed_ports, image.seeded) = (ports, seeded);
        image.architecture = Some(architecture).filter(|architecture| !architecture.is_empty());
        // ECR's own digest is part of the URI.
        let pushed = image.uri.as_deref().and_then(|uri| uri.split_once('@')).map(|(_, digest)| digest.to_owned());
        // Not that of the Docker Engine, which may have an image of last year under a tag: svc-deploy runs what is here.
        image.digest = pushed.or(newest);
    }
}

/// Returns the name under which the Docker Engine may have the image.
fn local_name(wanted: &Wanted, one: &Described) -> Option<String> {
    let local = wanted.images.iter().find(|image| image.services.contains(&one.service)).map(WantedImage::local_name);
    one.name.clone().or(local)
}

fn of_engine(found: ImageInspect) -> Option<Description> {
    let mut ports = found.config.and_then(|config| config.exposed_ports).unwrap_or_default();
    ports.sort();
    Some(Description { ports, architecture: found.architecture?, seeded: Vec::new() })
}

/// Returns the tag in the name of an image.
fn tag(name: &str) -> String {
    let (name, has_digest) = name.split_once('@').map_or((name, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map_or(if has_digest { "" } else { "latest" }, |(_, tag)| tag).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_is_in_its_name() {
        for (name, expected) in [
            ("nginx", "latest"),
            ("nginx:1.27", "1.27"),
            ("localhost:5000/web", "latest"),
            ("ghcr.io/a/b:v1@sha256:12", "v1"),
            ("nginx@sha256:12", ""),
        ] {
            assert_eq!(tag(name), expected, "{name}");
        }
    }
}
