//! The images that must be in ECR: for each service what to build or copy, into which repository and under which tag.

use shared::doc::{At, Selection, platform};
use shared::name::fingerprint;
use shared::{Document, Error, Result};

use crate::build::Build;
use crate::settings::{Flags, ImgSettings};

/// The settings and the images, checked.
pub struct Wanted {
    pub settings: ImgSettings,
    pub images: Vec<WantedImage>,
    /// Services of the document that this run does not work on.
    pub unselected: Vec<String>,
}

/// One image that must be in ECR.
#[derive(Debug)]
pub struct WantedImage {
    pub service: String,
    /// `<app>/<service>` in lower case.
    pub repository: String,
    pub tag: String,
    /// As Docker writes it, for example `linux/arm64`.
    pub platform: Option<&'static str>,
    pub origin: Origin,
}

/// Where an image comes from.
#[derive(Debug)]
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
        let settings = ImgSettings::read(doc, &flags.img)?;
        let services = doc.services(&flags.selection)?;
        let images = doc.all(services.iter().map(|(service, at)| WantedImage::read(doc, service, at, &settings)))?;
        let images: Vec<WantedImage> = images.into_iter().flatten().collect();
        check_repositories(&images)?;
        let all = doc.services(&Selection::default())?.into_iter().map(|(service, _)| service.to_owned());
        let unselected = all.filter(|service| !flags.selection.takes(service)).collect();
        Ok(Self { settings, images, unselected })
    }
}

impl WantedImage {
    /// Returns the image of a service, or `None` when the service uses the image of another registry. Without a tag in the settings, the
    /// tag is a hash of all that goes into the image.
    ///
    /// # Errors
    /// Says what is wrong with the service, and which file of its build is not readable.
    fn read(doc: &Document, service: &str, at: &At<'_>, settings: &ImgSettings) -> Result<Option<Self>> {
        let platform = platform(at, doc.view("cluster")?.as_ref())?;
        let origin = match (at.key("build"), at.key("image")) {
            (Some(build), _) => Origin::Built(Build::read(doc, &build)?),
            (None, Some(image)) if settings.mirror => Origin::Copied(image.text()?.to_owned()),
            _ => return Ok(None),
        };
        let tag = match (&settings.tag, &origin) {
            (Some(tag), _) => tag.clone(),
            (None, Origin::Built(build)) => build.hash(platform)?,
            (None, Origin::Copied(image)) => fingerprint(&format!("{image}{platform:?}")),
        };
        let repository = format!("{}/{}", doc.name()?, service.to_lowercase());
        if !is_repository(&repository) {
            return Err(at.wrong(
                "repository-name",
                format!(
                    "the name of its repository must have letters and digits with single hyphens or underscores between them; found {repository:?}. Rename the service or the app"
                ),
            ));
        }
        Ok(Some(Self { service: service.to_owned(), repository, tag, platform, origin }))
    }

    /// Returns the name under which the Docker Engine keeps the image until it is pushed.
    pub fn local_name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// Compose tells `web` and `Web` apart, but ECR accepts only lower case.
fn check_repositories(images: &[WantedImage]) -> Result<()> {
    for (n, image) in images.iter().enumerate() {
        if let Some(other) = images[..n].iter().find(|other| other.repository == image.repository) {
            return Err(Error::document(
                "repository-of-two-services",
                format!("services.{}", image.service),
                format!("its repository {} is also the repository of services.{}. Rename one of the two", image.repository, other.service),
            ));
        }
    }
    Ok(())
}

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html>
fn is_repository(name: &str) -> bool {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-' | '/');
    name.split(is_separator).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::ImgFlags;

    fn read(services: &Value, img: ImgFlags, only: &[&str]) -> Result<Wanted, String> {
        let doc = Document::parse(json!({"name": "shop", "services": services}).to_string().as_bytes()).unwrap();
        let selection = Selection { only: only.iter().map(|service| (*service).to_owned()).collect(), except: Vec::new() };
        Wanted::read(&doc, &Flags { img, selection }).map_err(|error| error.to_string())
    }

    fn mirror(tag: Option<&str>) -> ImgFlags {
        ImgFlags { mirror: Some(true), tag: tag.map(str::to_owned), ..ImgFlags::default() }
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        wanted.images.iter().map(WantedImage::local_name).collect()
    }

    #[test]
    fn a_repository_name_is_checked_as_ecr_does() {
        for (name, fits) in [
            ("shop/web", true),
            ("my-shop/api_v2", true),
            ("shop/we__b", false),
            ("my--shop/web", false),
            ("shop/web-", false),
            ("shop/Web", false),
            ("shop/", false),
        ] {
            assert_eq!(is_repository(name), fits, "{name}");
        }
    }

    #[test]
    fn an_image_without_a_build_is_copied_only_with_mirror() {
        let services = json!({"web": {"image": "nginx:1.27"}, "Api": {"image": "api"}, "none": {}});
        assert_eq!(names(&read(&services, ImgFlags::default(), &[]).unwrap()), [""; 0]);
        assert_eq!(names(&read(&services, mirror(Some("v1")), &[]).unwrap()), ["shop/web:v1", "shop/api:v1"]);
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

    #[test]
    fn a_wrong_service_is_reported_with_its_path() {
        let image = json!({"image": "nginx"});
        for (services, said) in [
            (json!({"we__b": image}), "services.we__b: the name of its repository must have"),
            (json!({"web": image, "Web": image}), "services.Web: its repository shop/web is also the repository of services.web"),
            (json!({"web": {"image": 1}}), "services.web.image: must be a string; found 1"),
        ] {
            let found = read(&services, mirror(None), &[]).err().unwrap_or_default();
            assert!(found.contains(said), "{services}: {found}");
        }
    }
}
