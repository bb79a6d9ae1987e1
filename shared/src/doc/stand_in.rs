//! What `--check` takes for the sections of the tools before: as far as the settings say it, and otherwise as good as nothing.

use serde_json::{Map, Value, json};

use super::at::At;
use super::compose::owner;
use super::document::Document;
use super::file::in_image;
use super::job::is_job;
use super::public::{Publish, Publishing};

impl Document {
    /// Adds the sections that are missing, with IDs that are not known.
    pub(crate) fn stand_in(&mut self) {
        // An image that is there lacks what was added to the document since.
        let img = self.img();
        self.put("img", img);
        let sections = [("net", json!({})), ("cluster", self.cluster()), ("svc", self.svc())];
        for (section, value) in sections {
            if self.root().key(section).is_none() {
                self.put(section, value);
            }
        }
    }

    fn cluster(&self) -> Value {
        let setting = |key: &str| self.root().key("x-cluster").and_then(|at| at.key(key)).map(|at| at.value().clone());
        // A wrong value is cluster-up's to report.
        let launch_type = setting("launch_type").filter(|of| of == "fargate").unwrap_or_else(|| "ec2".into());
        let name = self.root().key("name").map(|at| at.value().clone()).filter(Value::is_string);
        let bound = |key| setting(key).and_then(|bound| bound.as_i64()).and_then(|bound| i32::try_from(bound).ok());
        let is_ec2 = launch_type == "ec2";
        let name = name.unwrap_or_else(|| "app".into());
        let tasks = self.known_services().filter(|(_, at)| owner(at).is_none()).count();
        let connects = tasks > 1 && !(is_ec2 && setting("ami").is_some_and(|ami| ami == "bottlerocket"));
        json!({"launch_type": launch_type, "name": name, "namespace": if connects { name.clone() } else { Value::Null },
            "min": if is_ec2 { bound("min").unwrap_or(2) } else { 0 }, "max": if is_ec2 { bound("max").unwrap_or(6) } else { 0 }})
    }

    fn img(&self) -> Value {
        let mut img = self.root().key("img").and_then(|at| at.value().as_object().cloned()).unwrap_or_default();
        for (name, at) in self.known_services() {
            // What is wrong with a file is img-push's to report.
            let files = in_image(&at).unwrap_or_default();
            if at.key("build").is_some() || self.builder(&at).is_some() || !files.is_empty() {
                let image = img.entry(name).or_insert_with(|| json!({"uri": null, "repository_arn": null, "tag": ""}));
                // A section of the wrong form is reported when it is read.
                if let Some(image) = image.as_object_mut() {
                    image.insert("files".to_owned(), files.into());
                }
            }
        }
        img.into()
    }

    fn svc(&self) -> Value {
        let own = self.known_services().filter(|(_, at)| owner(at).is_none());
        let (jobs, services): (Vec<_>, Vec<_>) = own.partition(|(name, _)| is_job(self, name));
        // What is wrong with the ports is reported by net-up and svc-deploy, so a copy keeps it to itself.
        let publishing = Publishing::read(&Self::of(self.value().clone()), &Publish::default()).unwrap_or_default();
        let record = |(name, _): (&str, At<'_>)| (name.to_owned(), json!({"name": name, "published": publishing.of(name).is_some()}));
        let job = |(name, _): (&str, At<'_>)| (name.to_owned(), json!({}));
        json!({"services": services.into_iter().map(record).collect::<Map<_, _>>(), "jobs": jobs.into_iter().map(job).collect::<Map<_, _>>()})
    }

    /// Returns the services that are objects; the others are reported elsewhere.
    fn known_services(&self) -> impl Iterator<Item = (&str, At<'_>)> {
        let services = self.root().key("services").and_then(|at| at.entries().ok()).unwrap_or_default();
        services.into_iter().filter(|(_, at)| at.value().is_object())
    }
}
