//! Builds the images of an app and pushes them to ECR.

mod build;
mod connection;
mod context;
mod copied;
mod credentials;
mod description;
mod docker_config;
mod dockerfile;
mod dockerignore;
mod engine;
mod file_sync;
mod image;
mod layer;
mod orphan;
mod pieces;
mod policy;
mod private;
mod push;
mod record;
mod registry;
mod repository;
mod session;
mod settings;
mod tree;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;
use shared::doc::{Image, Img};
use shared::policy::{Grant, Named, named_once};
use shared::settings::Parts;
use shared::step::each;
use shared::{Document, Result, Run, Stage};
use tokio::sync::RwLock;

use credentials::Credentials;
use image::{Wanted, WantedImage};
use settings::{Flags, ImgFlags, ImgSettings};

fn main() -> ExitCode {
    shared::main::<ImgPush>()
}

struct ImgPush {
    ecr: aws_sdk_ecr::Client,
    found: repository::Found,
    /// The repositories to delete with `--prune`.
    orphans: repository::Found,
    /// The settings with what registries know better: the digests of copied images.
    completed: Option<Wanted>,
    /// The section, which the steps fill.
    img: RefCell<Img>,
    /// The section as the document has it.
    before: Img,
    /// The `<registry>/<repository>` of each service whose repository exists.
    uris: RefCell<BTreeMap<String, String>>,
    credentials: Credentials,
    /// Held by builds that may run beside others, or by one that may not.
    builds: RwLock<()>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Repositories,
    Login,
    Images,
    Pushes,
    Digests,
    Lifecycles,
    Descriptions,
    /// The repositories of services that left the document, with `--prune`.
    Orphans,
}

impl Stage for ImgPush {
    const TOOL: &'static str = "img-push";
    const SECTION: &'static str = "img";
    const ABOUT: &'static str = "Build the images of an app and push them to ECR";
    const DETAILS: &'static str = "Reads the document on stdin: the services with `build`, the configs and the files of the project that services \
        mount, and the settings in `x-img`. With --mirror it also reads the services with `image` alone. Creates an ECR repository for each image, \
        builds the image with BuildKit through the Docker Engine (DOCKER_HOST sets its address) and pushes it. Configs and mounted files become one \
        more layer of the service's image. The tag is a hash of all that goes into the image, so an image that ECR already \
        has is neither built nor pushed again. Writes the document with the section `img`, which also has the ports that each image opens, as far \
        as the Docker Engine or the registry of the image knows them.\n\n\
        Example:\n  docker compose config |\n    img-push --only web | jq -r .img.web.uri";
    const NEEDS: &'static [(&'static str, &'static str)] = &[];
    const GRANTS: &'static [Grant] = policy::GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::Repositories, Step::Login, Step::Images],
        &[Step::Pushes],
        &[Step::Digests, Step::Lifecycles],
        &[Step::Descriptions],
        &[Step::Orphans],
    ];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;

    fn parts() -> Parts {
        Parts::default().with::<Option<ImgFlags>>("x-img").with::<Option<Img>>("img")
    }

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    fn named(doc: &Document, flags: &Flags) -> Result<Named> {
        Ok(named_once([("{key}", ImgSettings::read(doc, &flags.img)?.kms_key)]))
    }

    async fn find(run: &Run, doc: &Document, flags: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let ecr = shared::client!(aws_sdk_ecr, run);
        let credentials = Credentials::new(ecr.clone());
        let completed = match wanted {
            Some(wanted) => copied::resolved(&ecr, run, wanted, &credentials).await?,
            None => None,
        };
        let wanted = completed.as_ref().or(wanted);
        let found = repository::find(&ecr, run, wanted).await?;
        let orphans = if flags.prune.prune { orphan::find(&ecr, run, doc).await? } else { repository::Found::new() };
        // The section keeps the images of services that this run does not work on.
        let before: Img = doc.view("img")?.unwrap_or_default();
        let mut img = before.clone();
        img.retain(|service, _| wanted.is_some_and(|wanted| wanted.unselected.contains(service)));
        let (uris, builds) = Default::default();
        Ok(Self { ecr, found, orphans, completed, img: RefCell::new(img), before, uris, credentials, builds })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        let wanted = self.completed.as_ref().unwrap_or(wanted);
        match step {
            Step::Repositories => each(&wanted.images, async |image| self.repository_up(run, wanted, image).await).await.map(drop),
            Step::Login => self.login_up(run, wanted).await,
            Step::Images => each(&wanted.images, async |image| self.image_up(run, image).await).await.map(drop),
            Step::Pushes => self.pushes_up(run, wanted).await,
            Step::Digests => self.digests_up(run, wanted).await,
            Step::Lifecycles => each(&wanted.images, async |image| self.lifecycle_up(run, wanted, image).await).await.map(drop),
            Step::Descriptions => self.descriptions_up(run, wanted).await,
            Step::Orphans => self.repositories_down(run, &self.orphans).await,
        }
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Repositories => self.repositories_down(run, &self.found).await,
            // Images and lifecycle policies are deleted with their repository. The cache of the Docker Engine is not ours.
            Step::Login | Step::Images | Step::Pushes | Step::Digests | Step::Lifecycles | Step::Descriptions | Step::Orphans => Ok(()),
        }
    }

    fn section(&self) -> impl Serialize {
        self.img.borrow().clone()
    }
}

impl ImgPush {
    /// Records an image for all services that use it.
    fn record(&self, image: &WantedImage, entry: &Image) {
        self.img.borrow_mut().extend(image.services.iter().map(|service| (service.clone(), entry.clone())));
    }
}
