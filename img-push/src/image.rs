//! The images that must be in ECR: for each service what to build or copy, into which repository and under which tag.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::json;
use shared::doc::known_image::known;
use shared::doc::mount::{Mount, mounts};
use shared::doc::{At, Selection, is_job, platform};
use shared::name::{self, fingerprint};
use shared::{Document, Error, Result};

use crate::build::Build;
use crate::layer::{self, Layer};
use crate::settings::{Flags, ImgSettings};

/// The settings and the images, checked.
#[derive(Clone)]
pub struct Wanted {
    pub settings: Rc<ImgSettings>,
    pub images: Vec<WantedImage>,
    /// The images of all selected services.
    pub described: Vec<Described>,
    /// Services of the document that this run does not work on.
    pub unselected: Vec<String>,
}

/// One image that must be in ECR.
#[derive(Debug, Clone)]
pub struct WantedImage {
    /// The service that names the repository.
    pub service: String,
    /// All services that use it and that this run works on.
    pub services: Vec<String>,
    /// `<app>/<service>`, or a name like it that ECR takes.
    pub repository: String,
    pub tag: String,
    /// As Docker writes it, for example `linux/arm64`.
    pub platform: Option<&'static str>,
    pub origin: Origin,
    /// The configs and files of the service, which are added to the image.
    pub layer: Option<Layer>,
    /// The tag of the image without them, which only the Docker Engine has.
    base_tag: String,
}

/// The image of a service, in ECR or not.
#[derive(Debug, Clone)]
pub struct Described {
    pub service: String,
    /// Its name in the document, when ECR does not have it.
    pub name: Option<String>,
    /// As Docker writes it, for example `linux/arm64`.
    pub platform: Option<&'static str>,
    /// Whether only the image itself says which ports it opens. Only then a registry is asked, because Docker Hub counts each answer as a pull.
    pub is_silent: bool,
    /// Where the service mounts volumes, without the folders in which a known image keeps its data: these are empty.
    pub volumes: Vec<String>,
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    Built(Build),
    /// From another registry, by this name.
    Copied(String),
}

impl Wanted {
    /// Reads the settings and the images of the selected services.
    ///
    /// # Errors
    /// Says what is wrong in the document or the flags, with its path.
    pub fn read(doc: &Document, flags: &Flags) -> Result<Self> {
        let settings = Rc::new(ImgSettings::read(doc, &flags.img)?);
        doc.services(&flags.selection)?;
        let services = doc.services(&Selection::default())?;
        let mut groups = groups(doc, &services);
        groups.retain_mut(|group| {
            group.users.retain(|user| flags.selection.takes(user));
            !group.users.is_empty()
        });
        let images = doc.all(groups.into_iter().map(|group| WantedImage::read(doc, group, &settings)))?;
        let images: Vec<WantedImage> = images.into_iter().flatten().collect();
        note_files(doc, &images);
        let cluster = doc.view("cluster")?;
        let selected = services.iter().filter(|(service, _)| flags.selection.takes(service));
        let described = doc.all(selected.map(|(service, at)| {
            let pushed = images.iter().find(|image| image.services.iter().any(|user| user == service));
            Described::read((service, is_job(doc, service)), at, pushed, platform(at, cluster.as_ref())?)
        }))?;
        let described = described.into_iter().flatten().collect();
        let all = services.into_iter().map(|(service, _)| service.to_owned());
        let unselected = all.filter(|service| !flags.selection.takes(service)).collect();
        Ok(Self { settings, images, described, unselected })
    }
}

/// Services that use one image, as far as the document says so.
struct Group<'a> {
    /// The first of them, which names the repository, whether this run works on it or not.
    service: &'a str,
    at: &'a At<'a>,
    /// The service that has the build or names the image; another one when this one uses the image that it builds.
    source: &'a At<'a>,
    users: Vec<&'a str>,
    /// What goes into the image.
    content: Option<String>,
}

/// Joins services that have the same build, or that use the image which another one builds.
fn groups<'a>(doc: &Document, services: &'a [(&'a str, At<'a>)]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let (builders, users): (Vec<_>, Vec<_>) = services.iter().partition(|(_, at)| doc.builder(at).is_none());
    for (service, at) in builders.into_iter().chain(users) {
        let builder = doc.builder(at);
        let source = services.iter().find(|(name, _)| Some(*name) == builder.as_deref()).map_or(at, |(_, source)| source);
        let content = content(doc, source, at);
        match groups.iter_mut().find(|group| content.is_some() && group.content == content) {
            Some(group) => group.users.push(service),
            None => groups.push(Group { service, at, source, users: vec![service], content }),
        }
    }
    groups
}

/// Returns what goes into a built image as the document has it: two services with the same text share one image.
fn content(doc: &Document, source: &At<'_>, at: &At<'_>) -> Option<String> {
    let build = source.key("build")?;
    let build = if build.value().is_string() { json!({"context": build.value()}) } else { build.value().clone() };
    Some(json!([build, source.key("platform").map(|at| at.value().clone()), layer::written(doc, at)]).to_string())
}

impl WantedImage {
    /// Returns the image of a group of services, or `None` when they use the image of another registry. Without a tag in the settings, the
    /// tag is a hash of all that goes into the image.
    ///
    /// # Errors
    /// Says what is wrong with the service, and which file of its build is not readable.
    fn read(doc: &Document, group: Group<'_>, settings: &ImgSettings) -> Result<Option<Self>> {
        let Group { service, at, source, users, .. } = group;
        let platform = platform(source, doc.view("cluster")?.as_ref())?;
        let layer = Layer::read(doc, at)?;
        let origin = match (source.key("build"), source.key("image")) {
            (Some(build), _) => Origin::Built(Build::read(doc, &build)?),
            (None, Some(image)) if settings.mirror || layer.is_some() => Origin::Copied(image.text()?.to_owned()),
            _ => return Ok(None),
        };
        let base_tag = match (&settings.tag, &origin) {
            (Some(tag), _) => fingerprint(&format!("{tag} without files")),
            (None, Origin::Built(build)) => {
                let (hash, left_out) = build.hash(platform)?;
                warn_of_records(doc, source, &left_out);
                hash
            }
            (None, Origin::Copied(image)) => fingerprint(&format!("{image}{platform:?}")),
        };
        let tag = match (&settings.tag, &layer) {
            (Some(tag), _) => tag.clone(),
            (None, Some(layer)) => fingerprint(&format!("{base_tag}{}", layer.hash())),
            (None, None) => base_tag.clone(),
        };
        let app = doc.name()?;
        if !name::is_repository(app) {
            return Err(Error::document(
                "repository-name",
                "name",
                format!(
                    "must have letters and digits with single hyphens between them, because it is part of the names of the ECR repositories; found {app:?}. Rename the app"
                ),
            ));
        }
        let repository = name::repository(app, service);
        let services = users.into_iter().map(str::to_owned).collect();
        Ok(Some(Self { service: service.to_owned(), services, repository, tag, platform, origin, layer, base_tag }))
    }

    /// Adds to the tags what tells the contents under one name apart.
    pub fn extend_tags(&mut self, end: &str) {
        self.tag.push_str(end);
        self.base_tag.push_str(end);
    }

    /// Returns the name under which the Docker Engine keeps the image until it is pushed.
    pub fn local_name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// Returns the tag of the image before configs and files are added.
    pub fn base_tag(&self) -> &str {
        if self.layer.is_some() { &self.base_tag } else { &self.tag }
    }

    /// Returns the name of the image before configs and files are added.
    pub fn base_name(&self) -> String {
        format!("{}:{}", self.repository, self.base_tag())
    }
}

fn warn_of_records(doc: &Document, service: &At<'_>, records: &BTreeSet<String>) {
    let all: Vec<&str> = records.iter().map(String::as_str).collect();
    if !all.is_empty() {
        doc.warn(
            "records-in-context",
            format!(
                "{}.build: the image has {}, but a change of these files alone does not build it again. Exclude them in .dockerignore, or name them in a COPY instruction",
                service.path(),
                all.join(", ")
            ),
        );
    }
}

/// A bind on a laptop is the file itself; here it is a copy.
fn note_files(doc: &Document, images: &[WantedImage]) {
    let with: Vec<String> =
        images.iter().filter(|image| image.layer.is_some()).map(|image| format!("services.{}", image.service)).collect();
    let left_out: BTreeSet<&str> =
        images.iter().filter_map(|image| image.layer.as_ref()).flat_map(|layer| &layer.left_out).map(String::as_str).collect();
    let without = match left_out.into_iter().collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        names => format!(". Not copied: {}. A pattern such as !{} in .dockerignore includes it", names.join(", "), names[0]),
    };
    if !with.is_empty() {
        doc.warn(
            "files-copied",
            format!(
                "{}: configs and mounted files are copied into the image. Deploy again after you change them; what a container writes there is lost when its task ends{without}",
                with.join(", ")
            ),
        );
    }
}

impl Described {
    /// Reads the image of a service at this place. `pushed` is what ECR will have of it.
    ///
    /// # Errors
    /// Says what is wrong, with its path.
    pub fn read(
        (service, is_job): (&str, bool),
        at: &At<'_>,
        pushed: Option<&WantedImage>,
        platform: Option<&'static str>,
    ) -> Result<Option<Self>> {
        let name = at.key("image").map(|image| image.text().map(str::to_owned)).transpose()?;
        if name.is_none() && pushed.is_none() {
            return Ok(None);
        }
        let has = |place: &At<'_>, key: &str| place.key(key).is_some_and(|at| at.value().as_array().is_none_or(|list| !list.is_empty()));
        let says = has(at, "ports") || has(at, "expose") || at.key("x-svc").is_some_and(|at| has(&at, "expose"));
        // Nothing calls a job.
        let is_silent = !says && !is_job && name.as_deref().and_then(known).is_none();
        let data = name.as_deref().and_then(known).map(|known| known.data).unwrap_or_default();
        let has_files = |mount: &Mount<'_>| mount.volume().is_some() && !data.contains(&mount.target.as_str());
        let volumes = mounts(at)?.into_iter().filter(has_files).map(|mount| mount.target).collect();
        let name = name.filter(|_| pushed.is_none());
        Ok(Some(Self { service: service.to_owned(), name, platform, is_silent, volumes }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared::flags::Prune;

    use super::*;
    use crate::settings::ImgFlags;

    fn read(services: &Value, img: ImgFlags, only: &[&str]) -> Result<Wanted, String> {
        let doc = Document::parse(json!({"name": "shop", "services": services}).to_string().as_bytes()).unwrap();
        let selection = Selection { only: only.iter().map(|service| (*service).to_owned()).collect(), except: Vec::new() };
        Wanted::read(&doc, &Flags { img, selection, prune: Prune::default() }).map_err(|error| error.to_string())
    }

    fn mirror(tag: Option<&str>) -> ImgFlags {
        ImgFlags { mirror: Some(true), tag: tag.map(str::to_owned), ..ImgFlags::default() }
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        wanted.images.iter().map(WantedImage::local_name).collect()
    }

    #[test]
    fn an_image_without_a_build_is_copied_only_with_mirror() {
        let services = json!({"web": {"image": "nginx:1.27"}, "Api": {"image": "api"}, "none": {}});
        assert_eq!(names(&read(&services, ImgFlags::default(), &[]).unwrap()), [""; 0]);
        assert_eq!(names(&read(&services, mirror(Some("v1")), &[]).unwrap()), ["shop/web:v1", "shop/api-ce111709:v1"]);
        let one = read(&services, mirror(Some("v1")), &["web"]).unwrap();
        assert_eq!((names(&one), one.unselected), (vec!["shop/web:v1".to_owned()], vec!["Api".to_owned(), "none".to_owned()]));
    }

    #[test]
    fn the_tag_of_a_copy_follows_its_name_and_platform() {
        let tag = |service: Value| read(&json!({"web": service}), mirror(None), &[]).unwrap().images.remove(0).tag;
        let plain = tag(json!({"image": "nginx:1.27"}));
        assert!(plain.len() == 16 && plain.chars().all(|c| c.is_ascii_hexdigit()), "{plain}");
        assert_eq!(plain, tag(json!({"image": "nginx:1.27"})));
        assert_ne!(plain, tag(json!({"image": "nginx:1.28"})));
        assert_ne!(plain, tag(json!({"image": "nginx:1.27", "platform": "linux/arm64"})));
    }

    /// Each image with the services that use it.
    fn shared(services: &Value, only: &[&str]) -> Vec<(String, String)> {
        let wanted = read(services, ImgFlags { tag: Some("v1".to_owned()), ..ImgFlags::default() }, only).unwrap();
        wanted.images.iter().map(|image| (image.repository.clone(), image.services.join(" "))).collect()
    }

    #[test]
    fn services_with_the_same_build_share_one_image() {
        // A context that exists wherever the test runs.
        let build = |more: Value| {
            let mut build = json!({"context": "/", "dockerfile_inline": "FROM busybox"});
            json_patch(&mut build, &more);
            json!({"build": build})
        };
        let mut worker = build(json!({}));
        worker["command"] = json!("work");
        let mut named = build(json!({"target": "named"}));
        named["image"] = json!("backend:latest");
        let services = json!({"web": build(json!({})), "worker": worker, "test": build(json!({"target": "test"})),
            "api": named, "job": {"image": "backend:latest"}, "beat": {"image": "shop-web"}, "db": {"image": "postgres"}});
        let pair = |repository: &str, services: &str| (format!("shop/{repository}"), services.to_owned());
        assert_eq!(shared(&services, &[]), [pair("web", "web worker beat"), pair("test", "test"), pair("api", "api job")]);
        assert_eq!(shared(&services, &["worker"]), [pair("web", "worker")], "the repository does not depend on the selection");
        assert_eq!(shared(&services, &["job"]), [pair("api", "job")]);
        let mut arm = services.clone();
        arm["worker"]["platform"] = json!("linux/arm64");
        assert_eq!(shared(&arm, &["web", "worker"]), [pair("web", "web"), pair("worker", "worker")]);
    }

    #[test]
    fn services_with_other_files_have_images_of_their_own() {
        let build = json!({"context": "/", "dockerfile_inline": "FROM busybox"});
        let with = |config: &str| json!({"build": build, "configs": [config]});
        let services = json!({"plain": {"build": build}, "web": with("a"), "worker": with("a"), "api": with("b"),
            "job": {"image": "shop-plain", "configs": ["a"]}});
        let doc = json!({"name": "shop", "configs": {"a": {"content": "1"}, "b": {"content": "2"}}, "services": services});
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        let flags = Flags {
            img: ImgFlags { tag: Some("v1".to_owned()), ..ImgFlags::default() },
            selection: Selection::default(),
            prune: Prune::default(),
        };
        let images = Wanted::read(&doc, &flags).unwrap().images;
        let users: Vec<String> = images.iter().map(|image| image.services.join(" ")).collect();
        assert_eq!(users, ["plain", "web worker job", "api"]);
    }

    fn json_patch(value: &mut Value, more: &Value) {
        more.as_object().into_iter().flatten().for_each(|(key, more)| value[key] = more.clone());
    }

    #[test]
    fn a_wrong_service_is_reported_with_its_path() {
        let found = read(&json!({"web": {"image": 1}}), mirror(None), &[]).err().unwrap_or_default();
        assert!(found.contains("services.web.image: must be a string; found 1"), "{found}");
    }

    #[test]
    fn an_app_whose_name_ecr_does_not_take_is_refused_before_anything_is_made() {
        let doc = Document::parse(
            br#"{"name": "my--shop", "services": {"web": {"build": {"context": "/", "dockerfile_inline": "FROM busybox"}}}}"#,
        );
        let flags = Flags { img: mirror(Some("v1")), selection: Selection::default(), prune: Prune::default() };
        let found = Wanted::read(&doc.unwrap(), &flags).err().unwrap().to_string();
        assert!(found.contains("name: must have letters and digits with single hyphens"), "{found}");
    }

    #[test]
    fn services_whose_names_differ_by_case_alone_have_two_repositories() {
        let image = json!({"image": "nginx"});
        let services = json!({"dumbvendor": image, "dumbVendor": image, "my--svc": image, "web_": image});
        let mut all: Vec<String> = read(&services, mirror(None), &[]).unwrap().images.into_iter().map(|image| image.repository).collect();
        assert!(all.iter().all(|name| name::is_repository(name)), "{all:?}");
        all.dedup();
        assert_eq!(all.len(), 4, "{all:?}");
    }

    #[test]
    fn a_registry_is_asked_only_for_what_nothing_else_says() {
        for (service, is_silent) in [
            (json!({"image": "acme/queue"}), true),
            (json!({"image": "acme/queue", "ports": []}), true),
            (json!({"image": "acme/queue", "ports": ["80"]}), false),
            (json!({"image": "acme/queue", "expose": ["80"]}), false),
            (json!({"image": "acme/queue", "x-svc": {"expose": 80}}), false),
            (json!({"image": "postgres:16"}), false),
        ] {
            let doc = Document::parse(service.to_string().as_bytes()).unwrap();
            let described = Described::read(("web", false), &doc.root(), None, None).unwrap().unwrap();
            assert_eq!(described.is_silent, is_silent, "{service}");
            let job = Described::read(("web", true), &doc.root(), None, None).unwrap().unwrap();
            assert!(!job.is_silent, "nothing calls a job");
        }
        let doc = Document::parse(b"{}").unwrap();
        assert!(Described::read(("web", false), &doc.root(), None, None).unwrap().is_none());
    }
}
