//! What the services of an app need from a network without NAT gateways: the VPC endpoints, and images in ECR.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html>

use std::collections::BTreeSet;

use shared::doc::file::in_image;
use shared::doc::{At, Document, Selection, is_job};

/// What every task needs to start, beside the endpoint of S3, which every network has.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html>
const ALWAYS: [&str; 3] = ["ecr", "ecs", "logs"];

/// Warns of the endpoints that are missing, and of images that no endpoint reaches. `has` says whether the settings have an endpoint. Volumes need
/// none, because their file system has an address in each private subnet. Nor do schedules, which begin outside of the network.
pub fn warn_of_missing(doc: &Document, has: impl Fn(&str) -> bool) {
    // What is wrong with the services is reported by the tools that read them.
    let services = doc.services(&Selection::default()).unwrap_or_default();
    let of_secrets = services.iter().flat_map(|(_, at)| secrets(doc, at));
    let wanted = ALWAYS.into_iter().chain(of_secrets.collect::<BTreeSet<_>>());
    let missing: Vec<&str> = wanted.filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        doc.warn(
            "nat-none-without-endpoints",
            format!(
                "x-net.nat is `none`, so the tasks reach the services of AWS only through VPC endpoints. Add to x-net.endpoints: {}",
                missing.join(", ")
            ),
        );
    }
    warn_of_images(doc, &services);
}

/// Returns where the secrets of a service are kept.
fn secrets(doc: &Document, at: &At<'_>) -> Vec<&'static str> {
    let list = at.key("secrets").and_then(|list| list.list().ok()).unwrap_or_default();
    let top = |entry: &At<'_>| {
        let source = entry.key("source").unwrap_or_else(|| entry.clone());
        doc.root().key("secrets")?.key(source.value().as_str()?)
    };
    let endpoint = |top: At<'_>| {
        // svc-deploy puts their values into Systems Manager.
        let is_ours = top.key("file").or_else(|| top.key("environment")).is_some();
        let is_parameter = |name: &str| name.starts_with('/') || name.contains(":ssm:");
        let name = top.key("name").and_then(|name| name.value().as_str());
        if is_ours || name.is_some_and(is_parameter) { "ssm" } else { "secretsmanager" }
    };
    list.iter().filter_map(top).map(endpoint).collect()
}

/// Warns of images that are neither in ECR nor copied there.
fn warn_of_images(doc: &Document, services: &[(&str, At<'_>)]) {
    let setting = |section: &str, key: &str| doc.root().key(section).and_then(|at| at.key(key));
    let is_in_ecr = |image: At<'_>| image.value().as_str().is_some_and(|image| image.contains(".dkr.ecr."));
    let is_mirrored = setting("x-img", "mirror").is_some_and(|mirror| mirror.value() == true);
    let is_copied =
        |at: &At<'_>| at.key("build").is_some() || doc.builder(at).is_some() || in_image(at).is_ok_and(|files| !files.is_empty());
    let pulled = services.iter().filter(|(_, at)| !is_mirrored && !is_copied(at)).filter_map(|(_, at)| at.key("image"));
    for image in pulled.filter(|image| !is_in_ecr(image.clone())) {
        doc.warn_at(
            "nat-none-with-image",
            &image,
            "x-net.nat is `none`, so tasks can't pull this image from its registry. Set x-img.mirror: true, which copies images to ECR",
        );
    }
    let needs_files_image = services.iter().any(|(name, at)| has_secret_files(at) || services.len() > 1 && is_named_job(doc, name, at));
    if needs_files_image && !setting("x-svc", "files_image").is_some_and(is_in_ecr) {
        doc.warn(
            "nat-none-with-files-image",
            "x-net.nat is `none`, so tasks can't pull the image of the small containers for secrets and jobs from the public registry. Copy a busybox to ECR, and set x-svc.files_image to the copy",
        );
    }
}

fn has_secret_files(at: &At<'_>) -> bool {
    let as_variables = at.key("x-svc").and_then(|at| at.key("secrets")).is_some_and(|form| form.value() == "env");
    !as_variables && at.key("secrets").and_then(|list| list.list().ok()).is_some_and(|list| !list.is_empty())
}

/// Returns whether a job runs beside a small container, because it calls others by name.
fn is_named_job(doc: &Document, name: &str, at: &At<'_>) -> bool {
    let setting = |key: &str| at.key("x-svc").and_then(|at| at.key(key));
    is_job(doc, name) && setting("schedule").is_none() && setting("connect").is_none_or(|connect| connect.value() != false)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warnings(doc: &Value, endpoints: &[&str]) -> Vec<String> {
        let doc = Document::parse(doc.to_string().as_bytes()).unwrap();
        warn_of_missing(&doc, |name| endpoints.contains(&name));
        doc.warnings().into_iter().map(|(code, text)| format!("{code}: {text}")).collect()
    }

    fn missing(services: &Value, endpoints: &[&str]) -> String {
        let secrets = json!({"file": {"file": "./a"}, "variable": {"environment": "A"}, "theirs": {"external": true, "name": "shop/token"},
            "parameter": {"external": true, "name": "/shop/token"},
            "arn": {"external": true, "name": "arn:aws:ssm:us-east-1:1:parameter/shop"}, "unused": {"external": true}});
        let all = warnings(&json!({"name": "shop", "secrets": secrets, "services": services}), endpoints);
        let said = all.iter().find(|said| said.starts_with("nat-none-without-endpoints"));
        said.and_then(|said| said.split_once("x-net.endpoints: ")).map(|(_, missing)| missing.to_owned()).unwrap_or_default()
    }

    #[test]
    fn the_endpoints_are_those_that_the_services_need() {
        let all = ["ecr", "ecs", "logs"];
        assert_eq!(missing(&json!({}), &[]), "ecr, ecs, logs");
        assert_eq!(missing(&json!({"web": {}}), &all), "");
        assert_eq!(missing(&json!({"web": {"secrets": ["theirs", {"source": "file"}]}}), &all), "secretsmanager, ssm");
        for secret in ["file", "variable", "parameter", "arn"] {
            assert_eq!(missing(&json!({"web": {"secrets": [secret]}}), &all), "ssm", "{secret}");
        }
    }

    #[test]
    fn an_image_of_the_internet_is_warned_of() {
        let codes = |doc: Value| {
            let all = warnings(&doc, &["ecr", "ecs", "logs", "ssm"]);
            all.iter().map(|said| said.split_once(" x-net").map_or("", |(code, _)| code).to_owned()).collect::<Vec<_>>()
        };
        let ecr = "1.dkr.ecr.us-east-1.amazonaws.com/web";
        let services = json!({"web": {"image": "nginx"}, "api": {"build": "."}, "own": {"image": ecr}, "db": {"image": "postgres"}});
        let both = ["nat-none-with-image: services.web.image, services.db.image:"];
        assert_eq!(codes(json!({"name": "shop", "services": services})), both);
        assert_eq!(codes(json!({"name": "shop", "x-img": {"mirror": true}, "services": services})), [""; 0]);
        let secret = json!({"web": {"image": ecr, "secrets": ["a"]}});
        let doc = |x_svc: Value, services: &Value| json!({"name": "shop", "x-svc": x_svc, "secrets": {"a": {"file": "./a"}}, "services": services});
        assert_eq!(codes(doc(json!({}), &secret)), ["nat-none-with-files-image:"]);
        assert_eq!(codes(doc(json!({"files_image": ecr}), &secret)), [""; 0]);
        let job = json!({"web": {"image": ecr}, "migrate": {"image": ecr, "x-svc": {"job": true}}});
        assert_eq!(codes(doc(json!({}), &job)), ["nat-none-with-files-image:"]);
    }
}
