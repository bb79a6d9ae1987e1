//! Builds the images of an app and pushes them to ECR.

mod build;
mod context;
mod dockerignore;
mod engine;
mod push;
mod repository;
mod wish;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use bollard::auth::DockerCredentials;
use schemars::JsonSchema;
use serde::Serialize;
use shared::doc::{Image, Img};
use shared::policy::Grant;
use shared::step::each;
use shared::{Document, Result, Run, Stage};

use wish::{Flags, Wanted};

fn main() -> ExitCode {
    shared::main::<ImgPush>()
}

struct ImgPush {
    ecr: aws_sdk_ecr::Client,
    found: repository::Found,
    /// The section as it grows.
    img: RefCell<Img>,
    /// The `<registry>/<repository>` of each service, once its repository is there.
    uris: RefCell<BTreeMap<String, String>>,
    /// ECR's login, when there is something to push.
    login: RefCell<DockerCredentials>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Repositories,
    Login,
    Images,
    Lifecycles,
    Pushes,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(rename = "x-img")]
    x_img: Option<Flags>,
    img: Option<Img>,
}

impl Stage for ImgPush {
    const TOOL: &'static str = "img-push";
    const SECTION: &'static str = "img";
    const ABOUT: &'static str = "Builds the images of an app and pushes them to ECR";
    const DETAILS: &'static str = "Reads the document on stdin: every service with `build` (with --mirror also those with `image` alone), and wishes from `x-img`. Makes an ECR repository a service, \
        builds with BuildKit through the Docker Engine (DOCKER_HOST is honoured) and pushes. The tag is a hash of all that goes into the build, so an \
        image that ECR has already is neither built nor pushed again. Writes the document with the section `img`.\n\n\
        Example:\n  docker compose config --format json | img-push --only web | jq -r .img.web.uri";
    const NEEDS: &'static [(&'static str, &'static str)] = &[];
    const GRANTS: &'static [Grant] = GRANTS;
    const WAITS: bool = false;
    const WAVES: &'static [&'static [Step]] = &[&[Step::Repositories, Step::Login, Step::Images], &[Step::Lifecycles, Step::Pushes]];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;
    type Part = Part;

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn look(run: &Run, doc: &Document, _: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let ecr = shared::client!(aws_sdk_ecr, run);
        let found = repository::find(&ecr, run, wanted).await?;
        // The images of services that this run does not build stay as the document has them.
        let mut untouched: Img = doc.view("img")?.unwrap_or_default();
        untouched.retain(|service, _| wanted.is_some_and(|wanted| wanted.unselected.contains(service)));
        Ok(Self { ecr, found, img: RefCell::new(untouched), uris: RefCell::default(), login: RefCell::default() })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::Repositories => each(&wanted.images, async |wish| self.repository_up(run, wanted, wish).await).await.map(drop),
            Step::Login => self.login_up(run, wanted).await,
            Step::Lifecycles => each(&wanted.images, async |wish| self.lifecycle_up(run, wanted, wish).await).await.map(drop),
            Step::Images => each(&wanted.images, async |wish| self.image_up(run, wish).await).await.map(drop),
            Step::Pushes => self.pushes_up(run, wanted).await,
        }
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::Repositories => self.repositories_down(run).await,
            // What was built stays in the Docker Engine's cache, which is not ours; the rest goes with its repository.
            Step::Login | Step::Images | Step::Lifecycles | Step::Pushes => Ok(()),
        }
    }

    fn section(&self) -> impl Serialize {
        self.img.borrow().clone()
    }
}

impl ImgPush {
    fn record(&self, service: &str, image: Image) {
        self.img.borrow_mut().insert(service.to_owned(), image);
    }
}

const GRANTS: &[Grant] = &[
    Grant { sid: "Look", actions: &["ecr:DescribeRepositories", "ecr:GetAuthorizationToken"], on: &["*"] },
    Grant {
        sid: "Repositories",
        actions: &[
            "ecr:CreateRepository",
            "ecr:DeleteRepository",
            "ecr:DescribeImages",
            "ecr:GetLifecyclePolicy",
            "ecr:ListTagsForResource",
            "ecr:PutImageScanningConfiguration",
            "ecr:PutImageTagMutability",
            "ecr:PutLifecyclePolicy",
            "ecr:TagResource",
        ],
        on: &["arn:*:ecr:*:*:repository/{app}/*"],
    },
    // ECR takes a key (`x-img.kms_key`) in the caller's name.
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
    Grant { sid: "Key", actions: &["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"], on: &["arn:*:kms:*:*:key/*"] },
    // What Docker does when it pushes.
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    Grant {
        sid: "Push",
        actions: &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        ],
        on: &["arn:*:ecr:*:*:repository/{app}/*"],
    },
];
