//! What is known of the images of services: the ports that they open, their architecture and their digest.

use std::time::Duration;

use bollard::models::ImageInspect;
use futures_util::future::join_all;
use shared::doc::Image;
use shared::{Result, Run};
use tokio::time::timeout;

use crate::ImgPush;
use crate::engine::Engine;
use crate::image::{Described, Wanted, WantedImage};
use crate::registry::{self, Description, Login};

/// The Docker Engine answers in milliseconds, unless it is not there.
const ENGINE_TIME: Duration = Duration::from_secs(3);

impl ImgPush {
    /// Records what is known of each image: from the Docker Engine, or else from its registry, all at the same time.
    ///
    /// # Errors
    /// Returns what ECR refused.
    pub async fn descriptions_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let engine = timeout(ENGINE_TIME, Engine::connect()).await.ok().and_then(Result::ok);
        let login = self.ecr_login(wanted, engine.as_ref()).await?;
        let all = join_all(
            wanted.described.iter().map(async |one| (one, self.describe(run, wanted, engine.as_ref(), login.as_ref(), one).await)),
        )
        .await;
        let mut unknown = Vec::new();
        for (one, description) in all {
            if description.is_none() && one.is_silent && one.name.is_some() {
                unknown.push(one.service.as_str());
            }
            self.record_description(one, description);
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

    /// Returns the credentials for ECR, if there is an image that only ECR has.
    async fn ecr_login(&self, wanted: &Wanted, engine: Option<&Engine>) -> Result<Option<Login>> {
        for one in wanted.described.iter().filter(|one| one.is_silent && one.name.is_none()) {
            if self.uri(&one.service).is_some() && self.by_engine(wanted, engine, one).await.is_none() {
                return self.login().await.map(|login| Some(Login { user: login.username, password: login.password }));
            }
        }
        Ok(None)
    }

    /// The Docker Engine may have an older image of a tag, so the digest of a job's image is that of the registry, or of an earlier run.
    async fn describe(
        &self,
        run: &Run,
        wanted: &Wanted,
        engine: Option<&Engine>,
        login: Option<&Login>,
        one: &Described,
    ) -> Option<Description> {
        let found = self.read(run, wanted, engine, login, one).await;
        let Some(name) = one.name.as_ref().filter(|_| one.is_job) else { return found };
        let before =
            || self.before.get(&one.service).filter(|image| image.uri.as_ref() == Some(name)).and_then(|image| image.digest.clone());
        let digest = registry::digest(name).await.or_else(before);
        Some(Description { digest, ..found.unwrap_or_default() })
    }

    async fn read(
        &self,
        run: &Run,
        wanted: &Wanted,
        engine: Option<&Engine>,
        login: Option<&Login>,
        one: &Described,
    ) -> Option<Description> {
        let is_it = |image: &&Image| image.uri.is_some() && image.uri == self.uri(&one.service).or(one.name.clone());
        let before = self.before.get(&one.service).filter(is_it);
        if let Some(mut found) = self.by_engine(wanted, engine, one).await {
            found.seeded = match (engine, local_name(wanted, one)) {
                // A plan creates nothing, not even a container that does not start.
                (Some(engine), Some(name)) if !run.is_planning() => engine.with_files(&name, &one.volumes).await,
                _ => before.map(|before| before.seeded.clone()).unwrap_or_default(),
            };
            return Some(found);
        }
        if let Some(before) = before {
            let (ports, architecture) = (before.exposed_ports.clone(), before.architecture.clone()?);
            return Some(Description { ports, architecture, digest: before.digest.clone(), seeded: before.seeded.clone() });
        }
        if !one.is_silent {
            return None;
        }
        match &one.name {
            Some(name) => registry::describe(name, one.platform, None).await,
            None => {
                let uri = self.uri(&one.service)?;
                let (_, path) = uri.split_once('/')?;
                let host = wanted.settings.registry.as_deref();
                registry::describe(&host.map_or(uri.clone(), |host| format!("{host}/{path}")), one.platform, login).await
            }
        }
    }

    async fn by_engine(&self, wanted: &Wanted, engine: Option<&Engine>, one: &Described) -> Option<Description> {
        let name = local_name(wanted, one)?;
        let found = engine?.0.inspect_image(&name).await.ok()?;
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

    fn record_description(&self, one: &Described, description: Option<Description>) {
        let mut img = self.img.borrow_mut();
        let image = img.entry(one.service.clone()).or_default();
        if let Some(name) = &one.name {
            *image = Image { uri: Some(name.clone()), tag: tag(name), ..Image::default() };
        }
        let Description { ports, architecture, digest, seeded } = description.unwrap_or_default();
        (image.exposed_ports, image.seeded) = (ports, seeded);
        image.architecture = Some(architecture).filter(|architecture| !architecture.is_empty());
        // ECR's own digest is part of the URI.
        let pushed = image.uri.as_deref().and_then(|uri| uri.split_once('@')).map(|(_, digest)| digest.to_owned());
        image.digest = pushed.or(digest);
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
    let digest =
        found.repo_digests.and_then(|digests| digests.first().and_then(|one| one.split_once('@')).map(|(_, digest)| digest.to_owned()));
    Some(Description { ports, architecture: found.architecture?, digest, seeded: Vec::new() })
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
