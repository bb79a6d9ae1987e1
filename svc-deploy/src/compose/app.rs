//! The whole app, as the document and the flags have it.

use shared::doc::public::Publishing;
use shared::doc::{Cluster, Img, Net, check_boundary, check_retention};
use shared::{Document, Error, Result};

use super::{balancer, job, limit, one_service, publishing, service};
use crate::model::{Service, Wanted, needs_https};
use crate::settings::{Flags, SvcFlags, SvcSettings};

/// Reads and checks everything; calls nothing.
///
/// # Errors
/// Says what is wrong in the document or the flags, with its path.
pub fn read(doc: &Document, flags: &Flags) -> Result<Wanted> {
    let (net, cluster): (Net, Cluster) = (doc.need("net", "net-up")?, doc.need("cluster", "cluster-up")?);
    let mut img: Option<Img> = doc.view("img")?;
    if let (Some(img), Some(service), Some(_)) = (&mut img, &flags.one.service, &flags.one.image) {
        img.remove(service);
    }
    let doc = &one_service::put_into(&flags.one, &flags.publish, doc)?;
    let given = shared::settings::read_flags(doc, &doc.root(), "x-svc", &flags.svc)?;
    let settings = SvcSettings::from(given.clone());
    check_execution_role(settings.execution_role.as_deref())?;
    check_values(&settings)?;
    let retention = check_retention("x-svc.retention", settings.retention)?;
    let blamed = |error| one_service::blame_flag(&flags.one, error);
    let publishing = Publishing::read(doc, &one_service::without_switch(&flags.one, &flags.publish)).map_err(blamed);
    let publishing = doc.keep(publishing).unwrap_or_default();
    let services = service::read(doc, &flags.selection, &publishing, img.as_ref(), &cluster).map_err(blamed);
    doc.change_findings(blamed);
    let mut services = services?;
    for service in &mut services {
        job::keep_alive(service, &settings.files_image);
    }
    check_any(doc, &services)?;
    if settings.alb.is_some() {
        check_adopted(&given, &services)?;
    }
    if settings.priority.is_some() && settings.alb.is_none() {
        return Err(Error::document(
            "priority-without-alb",
            "x-svc.priority",
            "the rules of the app's own load balancer are in the order of their conditions. Remove priority, or set x-svc.alb",
        ));
    }
    let attributes = balancer::attributes(&settings)?;
    check_protocols(&settings, &services)?;
    warn_of_plain_http(doc, &settings, &services);
    publishing::explain(doc, &publishing, settings.internal);
    Ok(Wanted {
        net,
        cluster,
        certificate: settings.certificate,
        ssl_policy: settings.ssl_policy,
        internal: settings.internal,
        access_logs: settings.access_logs,
        attributes,
        alb: settings.alb,
        priority: settings.priority,
        execution_role: settings.execution_role,
        boundary: check_boundary("x-svc.permissions_boundary", settings.permissions_boundary)?,
        retention,
        log_kms_key: settings.log_kms_key,
        files_image: settings.files_image,
        change_volumes: settings.change_volumes,
        services,
    })
}

/// ECS accepts the name of a role, too, but answers with its ARN, so each run would find a difference and register a new revision.
fn check_execution_role(role: Option<&str>) -> Result<()> {
    match role.filter(|role| !role.starts_with("arn:")) {
        Some(role) => {
            Err(Error::document("execution-role", "x-svc.execution_role", format!("must be the ARN of an existing role; found {role:?}")))
        }
        None => Ok(()),
    }
}

/// AWS would refuse these only when the load balancer and the log groups exist.
fn check_values(settings: &SvcSettings) -> Result<()> {
    let arn = |key: &str, value: &Option<String>, services: &[&str], kind: &str| match value {
        Some(value) if !limit::is_arn_of(value, services) => {
            Err(Error::document("setting-arn", format!("x-svc.{key}"), format!("must be the ARN of {kind}; found {value:?}")))
        }
        _ => Ok(()),
    };
    arn("certificate", &settings.certificate, &["acm", "iam"], "a certificate in ACM")?;
    arn("log_kms_key", &settings.log_kms_key, &["kms"], "a key in KMS")?;
    arn("alb", &settings.alb, &["elasticloadbalancing"], "an Application Load Balancer")?;
    // AWS adds policies, so only the beginning of their names is known.
    if !settings.ssl_policy.starts_with("ELBSecurityPolicy-") {
        let text =
            format!("must be the name of a security policy, as in ELBSecurityPolicy-TLS13-1-2-2021-06; found {:?}", settings.ssl_policy);
        return Err(Error::document("ssl-policy", "x-svc.ssl_policy", text));
    }
    match settings.access_logs.as_deref().filter(|name| !limit::is_bucket(name)) {
        Some(name) => Err(Error::document(
            "bucket-name",
            "x-svc.access_logs",
            format!("must be the name of an S3 bucket: 3 to 63 lower-case letters, digits, dots and hyphens; found {name:?}"),
        )),
        None => Ok(()),
    }
}

/// Without services a run would remove what runs from the load balancer.
fn check_any(doc: &Document, services: &[Service]) -> Result<()> {
    if !services.is_empty() {
        return Ok(());
    }
    let app = doc.name()?;
    Err(Error::document(
        "no-services",
        "services",
        format!(
            "the document has no services. Add them, or set --service and --image. To delete the app, run svc-deploy --down --app {app}"
        ),
    ))
}

/// Elastic Load Balancing forwards HTTP/2 and gRPC only from a listener for HTTPS. That of an existing load balancer is read later.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html#target-group-protocol-version>
fn check_protocols(settings: &SvcSettings, services: &[Service]) -> Result<()> {
    if settings.certificate.is_some() || settings.alb.is_some() {
        return Ok(());
    }
    match services.iter().find(|service| service.published.as_ref().is_some_and(|published| published.target_group.needs_https())) {
        Some(service) => {
            Err(needs_https(&service.name, "a load balancer with a certificate. Set x-svc.certificate, or remove ProtocolVersion"))
        }
        None => Ok(()),
    }
}

/// Whoever is between the browser and the load balancer can read and change all that is sent.
fn warn_of_plain_http(doc: &Document, settings: &SvcSettings, services: &[Service]) {
    let is_plain = settings.certificate.is_none() && settings.alb.is_none() && !settings.internal;
    if is_plain && services.iter().any(|service| service.published.is_some()) {
        doc.warn(
            "plain-http",
            "the load balancer is open to the internet and speaks HTTP without TLS, so passwords and cookies can be read on the way. Request a certificate in ACM for a host name of your own and set x-svc.certificate",
        );
    }
}

/// An adopted load balancer is used as it is, so none of its settings can be set, and its default action is not ours.
fn check_adopted(given: &SvcFlags, services: &[Service]) -> Result<()> {
    let settings = [
        ("certificate", given.certificate.is_some()),
        ("ssl_policy", given.ssl_policy.is_some()),
        ("internal", given.internal.is_some()),
        ("access_logs", given.access_logs.is_some()),
        ("load_balancer", given.load_balancer.as_ref().is_some_and(|one| one.idle_timeout.is_some() || one.keep_alive.is_some())),
        ("patch.load_balancer", given.patch.as_ref().is_some_and(|patch| patch.load_balancer.is_some())),
    ];
    let set: Vec<&str> = settings.into_iter().filter_map(|(key, is_set)| is_set.then_some(key)).collect();
    if !set.is_empty() {
        return Err(Error::document(
            "alb-settings",
            "x-svc.alb",
            format!("svc-deploy does not change the settings of an existing load balancer. Remove {}, or remove alb", set.join(", ")),
        ));
    }
    let takes_all = |service: &&Service| service.published.as_ref().is_some_and(|one| one.paths.is_empty() && one.hosts.is_empty());
    match services.iter().find(takes_all) {
        Some(service) => Err(Error::document(
            "alb-without-path",
            format!("services.{}.x-svc.path", service.name),
            "behind an existing load balancer (x-svc.alb) every published service needs a path or a host. Add one",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_role_is_an_arn() {
        assert!(check_execution_role(None).is_ok());
        assert!(check_execution_role(Some("arn:aws-cn:iam::123456789012:role/execution")).is_ok());
        let wrong = check_execution_role(Some("execution")).unwrap_err();
        let said = "the document is wrong at x-svc.execution_role: must be the ARN of an existing role; found \"execution\"";
        assert_eq!((wrong.code(), wrong.to_string().as_str()), ("execution-role", said));
    }
}
