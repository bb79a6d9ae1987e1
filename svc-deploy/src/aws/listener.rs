//! The listeners: port 80, and with a certificate port 443, to which port 80 then redirects. Several services without paths and hosts have each a
//! listener, on the port that Compose publishes.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Listener.html>

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, Certificate, Listener, ProtocolEnum, Rule, Tag};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::{given, made};
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use super::action;
use super::tag;
use super::traffic_shift::Place;
use crate::SvcDeploy;
use crate::model::{Published, Wanted, needs_https};

pub struct FoundListener {
    pub listener: Listener,
    pub tags: Vec<Tag>,
    pub rules: Vec<Rule>,
}

/// A listener that should exist.
#[derive(Debug, PartialEq)]
struct WantedListener {
    port: i32,
    protocol: ProtocolEnum,
    fallback: Fallback,
}

/// What happens to a request that no rule matches.
#[derive(Debug, PartialEq)]
enum Fallback {
    /// The service without path and host gets it.
    Forward(String),
    NotFound,
    RedirectToHttps,
}

impl WantedListener {
    fn name(&self, run: &Run) -> String {
        format!("{}:{}", run.app, self.port)
    }

    /// Returns whether the found listener redirects to HTTPS and should not, or should and does not.
    fn switches(&self, found: &FoundListener) -> bool {
        let redirects = found.listener.default_actions().first().and_then(Action::r#type) == Some(&ActionTypeEnum::Redirect);
        redirects != (self.fallback == Fallback::RedirectToHttps)
    }

    fn tag_name(&self) -> String {
        format!("listener-{}", self.port)
    }

    fn is_https(&self) -> bool {
        self.protocol == ProtocolEnum::Https
    }

    fn certificates(&self, wanted: &Wanted) -> Option<Vec<Certificate>> {
        self.is_https().then(|| wanted.certificate.iter().map(|arn| Certificate::builder().certificate_arn(arn).build()).collect())
    }

    fn ssl_policy(&self, wanted: &Wanted) -> Option<String> {
        self.is_https().then(|| wanted.ssl_policy.clone())
    }
}

/// Finds the listeners of a load balancer with their rules.
pub async fn find(elb: &Client, arn: &str) -> Result<Vec<FoundListener>> {
    let call = elb.describe_listeners().load_balancer_arn(arn);
    let mut listeners: Vec<Listener> = shared::pages!(call, format!("list the listeners of {arn}"))?;
    // AWS lists them in any order, and a plan should not.
    listeners.sort_by_key(Listener::port);
    try_join_all(listeners.into_iter().map(async |listener| {
        let arn = given(listener.listener_arn(), "the ARN of the listener")?;
        let rules = async { shared::pages!(elb.describe_rules().listener_arn(&arn), format!("list the rules of {arn}")) };
        let (tags, rules) = try_join!(tag::find(elb, &arn), rules)?;
        Ok(FoundListener { listener, tags, rules })
    }))
    .await
}

/// Returns the listeners, first the one that has the rules.
fn listeners(wanted: &Wanted) -> Vec<WantedListener> {
    let takes_rest = |published: &Published| published.listener.is_none() && published.paths.is_empty() && published.hosts.is_empty();
    let rest = wanted.published().find(|(_, published)| takes_rest(published));
    let fallback = rest.map_or(Fallback::NotFound, |(service, _)| Fallback::Forward(service.name.clone()));
    let (port, protocol) = if wanted.certificate.is_some() { (443, ProtocolEnum::Https) } else { (80, ProtocolEnum::Http) };
    let mut all = vec![WantedListener { port, protocol: protocol.clone(), fallback }];
    if wanted.certificate.is_some() {
        all.push(WantedListener { port: 80, protocol: ProtocolEnum::Http, fallback: Fallback::RedirectToHttps });
    }
    all.extend(wanted.published().filter_map(|(service, published)| {
        let fallback = Fallback::Forward(service.name.clone());
        Some(WantedListener { port: published.listener?, protocol: protocol.clone(), fallback })
    }));
    all
}

impl SvcDeploy {
    pub async fn listeners_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.published().next().is_none() {
            self.warn_of_unused(run, wanted);
            return Ok(());
        }
        if wanted.alb.is_some() {
            return self.adopt_listener(wanted);
        }
        let listeners = listeners(wanted);
        let arns = each(&listeners, async |listener| self.listener_up(run, wanted, listener).await).await?;
        self.svc.borrow_mut().listener_arns = arns;
        Ok(())
    }

    /// Begins or ends the redirection of port 80. Until the other listener has its rules, port 80 does what it did.
    pub async fn switch_listeners(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.alb.is_some() || wanted.published().next().is_none() {
            return Ok(());
        }
        each(listeners(wanted), async |listener| match self.found_listener(&listener) {
            Some(found) if listener.switches(found) => self.settle_listener(run, wanted, &listener, found).await.map(drop),
            _ => Ok(()),
        })
        .await
        .map(drop)
    }

    /// Deletes the listeners that are left over, when others have their rules. The load balancer is kept, because DNS names may point to it.
    pub async fn delete_listeners(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.alb.is_some() {
            return Ok(());
        }
        // 443 is left over when the certificate was removed, another port when its service was removed or has another one.
        let listeners = if wanted.published().next().is_some() { listeners(wanted) } else { Vec::new() };
        let is_left_over = |found: &&FoundListener| !listeners.iter().any(|listener| found.listener.port() == Some(listener.port));
        let ours = self.found.balancer.as_ref().is_some_and(|found| found.ours);
        self.delete_ours(run, self.found_listeners().iter().filter(|_| ours).filter(is_left_over)).await
    }

    fn warn_of_unused(&self, run: &Run, wanted: &Wanted) {
        let Some(found) = self.found.balancer.as_ref().filter(|found| found.ours && wanted.alb.is_none()) else { return };
        run.warn(
            "load-balancer-unused",
            format!(
                "no service is published any more. The load balancer {} is kept without listeners, and AWS charges for it. To delete it, run `aws elbv2 delete-load-balancer --load-balancer-arn {}`",
                run.app,
                found.balancer.load_balancer_arn().unwrap_or_default()
            ),
        );
    }

    fn found_listeners(&self) -> &[FoundListener] {
        self.found.balancer.as_ref().map(|found| found.listeners.as_slice()).unwrap_or_default()
    }

    fn found_listener(&self, listener: &WantedListener) -> Option<&FoundListener> {
        self.found_listeners().iter().find(|found| found.listener.port() == Some(listener.port))
    }

    /// Returns the found listener that has the rules: of an adopted load balancer the one for HTTPS, or else the one for HTTP.
    pub fn serving(&self, wanted: &Wanted) -> Option<&FoundListener> {
        let listeners = self.found_listeners();
        let speaking = |protocol: &ProtocolEnum| listeners.iter().find(|found| found.listener.protocol() == Some(protocol));
        match &wanted.alb {
            Some(_) => speaking(&ProtocolEnum::Https).or_else(|| speaking(&ProtocolEnum::Http)),
            None => {
                let port = if wanted.certificate.is_some() { 443 } else { 80 };
                listeners.iter().find(|found| found.listener.port() == Some(port))
            }
        }
    }

    /// Returns whether the app answers through HTTPS.
    pub fn serves_https(&self, wanted: &Wanted) -> bool {
        let adopted = wanted.alb.as_ref().and_then(|_| self.serving(wanted));
        wanted.certificate.is_some() || adopted.is_some_and(|found| found.listener.protocol() == Some(&ProtocolEnum::Https))
    }

    fn adopt_listener(&self, wanted: &Wanted) -> Result<()> {
        let Some(FoundListener { listener, .. }) = self.serving(wanted) else {
            return Err(Error::document(
                "alb-without-listener",
                "x-svc.alb",
                "this load balancer has no listener for HTTPS or HTTP to which rules can be added. Add a listener to it",
            ));
        };
        let needs_https = |published: &Published| published.target_group.needs_https() && listener.protocol() != Some(&ProtocolEnum::Https);
        if let Some((service, _)) = wanted.published().find(|(_, published)| needs_https(published)) {
            return Err(needs_https_listener(&service.name));
        }
        self.svc.borrow_mut().listener_arns = vec![listener.listener_arn().map(str::to_owned)];
        Ok(())
    }

    async fn listener_up(&self, run: &Run, wanted: &Wanted, listener: &WantedListener) -> Result<Option<String>> {
        let name = listener.name(run);
        match self.found_listener(listener) {
            None => run.create("listener", &name, self.create_listener(run, wanted, listener, &name)).await,
            Some(found) if !run.is_ours(found.tags.iter().map(tag::pair)) => Err(run.unmanaged("listener", &name)),
            Some(found) if listener.switches(found) => Ok(found.listener.listener_arn().map(str::to_owned)),
            Some(found) => self.settle_listener(run, wanted, listener, found).await.map(Some),
        }
    }

    async fn create_listener(&self, run: &Run, wanted: &Wanted, listener: &WantedListener, name: &str) -> Result<String> {
        let balancer = made(self.svc.borrow().load_balancer_arn.as_deref(), "the ARN of the load balancer")?;
        let call = self.elb.create_listener().load_balancer_arn(balancer).port(listener.port).protocol(listener.protocol.clone());
        let action = self.default_action(wanted, listener, None);
        let call = call.default_actions(action.clone());
        let call = call.set_certificates(listener.certificates(wanted)).set_ssl_policy(listener.ssl_policy(wanted));
        let call = call.set_tags(Some(tag::new(run, &listener.tag_name())));
        let made = call.send().await.tried(format!("create the listener {name}"))?;
        let arn = given(made.listeners().first().and_then(Listener::listener_arn), "the ARN of the new listener")?;
        self.moves_of(listener, &action, name, &arn);
        Ok(arn)
    }

    async fn settle_listener(&self, run: &Run, wanted: &Wanted, listener: &WantedListener, found: &FoundListener) -> Result<String> {
        let FoundListener { listener: found, tags, .. } = found;
        let (arn, name) = (given(found.listener_arn(), "the ARN of the listener")?, listener.name(run));
        run.found("listener", &name);
        self.settle_elb_tags(run, "listener", &listener.tag_name(), &arn, tags).await?;
        let action = self.default_action(wanted, listener, Some(found));
        self.moves_of(listener, &action, &name, &arn);
        run.change("listener", &name, &diff(wanted, listener, &action, found), async {
            let call = self.elb.modify_listener().listener_arn(&arn).port(listener.port).protocol(listener.protocol.clone());
            let call = call.default_actions(action.clone()).set_certificates(listener.certificates(wanted));
            let call = call.set_ssl_policy(listener.ssl_policy(wanted));
            call.send().await.tried(format!("update the listener {name}")).map(drop)
        })
        .await?;
        Ok(arn)
    }

    fn default_action(&self, wanted: &Wanted, listener: &WantedListener, found: Option<&Listener>) -> Action {
        match &listener.fallback {
            Fallback::Forward(service) if !self.can_forward(wanted, service) => action::not_found(),
            Fallback::Forward(service) => self.forwarding(wanted, service, found.and_then(|found| found.default_actions().first())),
            Fallback::NotFound => action::not_found(),
            Fallback::RedirectToHttps => action::redirect_to_https(),
        }
    }

    fn moves_of(&self, listener: &WantedListener, action: &Action, name: &str, arn: &str) {
        if let Fallback::Forward(service) = &listener.fallback {
            self.moving(action, service, name, Place::Listener(arn.to_owned()));
        }
    }

    /// Returns whether the service has a target group, or gets one. One that was never deployed, and is not now, has none.
    pub fn can_forward(&self, wanted: &Wanted, service: &str) -> bool {
        wanted.selected().any(|one| one.name == service) || self.recorded(service).target_group_arn.is_some()
    }

    pub async fn listeners_down(&self, run: &Run) -> Result<()> {
        self.delete_ours(run, self.found.balancer.iter().filter(|found| found.ours).flat_map(|found| &found.listeners)).await
    }

    /// A listener that somebody created by hand is deleted only together with the load balancer.
    async fn delete_ours<'a>(&self, run: &Run, listeners: impl IntoIterator<Item = &'a FoundListener>) -> Result<()> {
        let ours = listeners.into_iter().filter(|found| run.is_ours(found.tags.iter().map(tag::pair)));
        each(ours, async |found| self.delete_listener(run, &found.listener).await).await.map(drop)
    }

    async fn delete_listener(&self, run: &Run, listener: &Listener) -> Result<()> {
        let (arn, port) = (given(listener.listener_arn(), "the ARN of the listener")?, listener.port().unwrap_or_default());
        let call = self.elb.delete_listener().listener_arn(&arn);
        let delete = async { call.send().await.tried(format!("delete the listener {arn}")).map(drop) };
        run.delete("listener", &format!("{}:{port}", run.app), delete).await
    }
}

fn needs_https_listener(service: &str) -> Error {
    needs_https(service, "a listener for HTTPS, which the load balancer of x-svc.alb does not have. Add one, or remove ProtocolVersion")
}

fn diff(wanted: &Wanted, listener: &WantedListener, action: &Action, found: &Listener) -> Diff {
    let certificate = found.certificates().first().and_then(Certificate::certificate_arn);
    let https = listener.is_https();
    Diff::new()
        .field("Protocol", found.protocol().map(ProtocolEnum::as_str), Some(listener.protocol.as_str()))
        .field("DefaultActions", action::text(found.default_actions()), action::text(std::slice::from_ref(action)))
        .field("Certificates", certificate, wanted.certificate.as_deref().filter(|_| https))
        .field("SslPolicy", found.ssl_policy().filter(|_| https), listener.ssl_policy(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::samples;

    #[test]
    fn without_a_certificate_port_80_has_the_rules() {
        let published = |paths: &[&str]| samples::wanted(vec![samples::published("web", &[], paths), samples::service("worker")]);
        let http = |fallback| vec![WantedListener { port: 80, protocol: ProtocolEnum::Http, fallback }];
        assert_eq!(listeners(&published(&[])), http(Fallback::Forward("web".to_owned())));
        assert_eq!(listeners(&published(&["/web/*"])), http(Fallback::NotFound));
    }

    #[test]
    fn with_a_certificate_port_443_has_the_rules_and_port_80_redirects() {
        let mut wanted = samples::wanted(vec![samples::published("web", &[], &[])]);
        wanted.certificate = Some("arn:aws:acm:us-east-1:1:certificate/1".to_owned());
        let listeners = listeners(&wanted);
        assert_eq!(listeners.iter().map(|listener| listener.port).collect::<Vec<_>>(), [443, 80]);
        assert_eq!(listeners[1].fallback, Fallback::RedirectToHttps);
    }

    #[test]
    fn a_service_may_have_a_listener_of_its_own() {
        let mut wanted = samples::wanted(vec![samples::published("web", &[], &[]), samples::published("api", &[], &[])]);
        wanted.services[1].published.as_mut().unwrap().listener = Some(8081);
        let shown = |wanted: &Wanted| {
            let text = |one: &WantedListener| format!("{} {} {:?}", one.port, one.protocol.as_str(), one.fallback);
            listeners(wanted).iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(shown(&wanted), ["80 HTTP Forward(\"web\")", "8081 HTTP Forward(\"api\")"]);
        wanted.certificate = Some("arn".to_owned());
        assert_eq!(shown(&wanted), ["443 HTTPS Forward(\"web\")", "80 HTTP RedirectToHttps", "8081 HTTPS Forward(\"api\")"]);
    }

    #[test]
    fn a_listener_differs_by_the_names_of_aws() {
        let mut wanted = samples::wanted(vec![samples::published("web", &[], &[])]);
        wanted.certificate = Some("arn:new".to_owned());
        let listener = &listeners(&wanted)[0];
        let certificate = Certificate::builder().certificate_arn("arn:old").build();
        let found = Listener::builder().port(443).protocol(ProtocolEnum::Https).certificates(certificate).ssl_policy("old");
        let found = found.default_actions(action::redirect_to_https()).build();
        assert_eq!(
            diff(&wanted, listener, &action::not_found(), &found).to_string(),
            format!(
                "DefaultActions: redirect HTTPS:443 -> fixed-response 404, Certificates: arn:old -> arn:new, SslPolicy: old -> {}",
                wanted.ssl_policy
            )
        );
    }
}
