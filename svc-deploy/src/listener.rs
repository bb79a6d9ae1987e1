//! The listeners: 80, and with a certificate 443, to which 80 then leads.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, Listener, ProtocolEnum, RedirectActionConfig,
    RedirectActionStatusCodeEnum,
};
use shared::error::given;
use shared::step::each;
use shared::{Diff, Error, Result, Run, Tried};

use crate::forward::{self, Place};
use crate::load_balancer::FoundListener;
use crate::wish::Wanted;
use crate::{SvcDeploy, tag};

/// One listener that there is to be.
struct Wish {
    port: i32,
    protocol: ProtocolEnum,
    does: Does,
}

/// What becomes of a request that no rule takes.
enum Does {
    /// It goes to this service, the one without path and host.
    Forward(String),
    /// There is nothing.
    NotFound,
    /// It comes again by HTTPS.
    Redirect,
}

impl SvcDeploy {
    pub async fn listeners_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.published().next().is_none() {
            return self.unpublish(run, wanted).await;
        }
        if wanted.alb.is_some() {
            return self.adopt_listener(wanted);
        }
        let wishes = wishes(wanted);
        let ports: Vec<i32> = wishes.iter().map(|wish| wish.port).collect();
        let arns = each(wishes, async |wish| self.listener_up(run, wanted, wish).await).await?;
        self.svc.borrow_mut().listener_arns = arns;
        // 443, when the certificate is gone.
        let listeners = self.found.balancer.iter().flat_map(|found| &found.listeners);
        self.delete_ours(run, listeners.filter(|found| found.listener.port() == Some(443) && !ports.contains(&443))).await
    }

    /// Nothing answers there any more. The load balancer stays, for its name may be known elsewhere.
    async fn unpublish(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let Some(found) = self.found.balancer.as_ref().filter(|found| found.ours && wanted.alb.is_none()) else { return Ok(()) };
        run.warn(&format!(
            "no service is published any more; the load balancer {0} stays, without listeners, and costs. To delete it: aws elbv2 delete-load-balancer --load-balancer-arn {1}",
            run.app,
            found.balancer.load_balancer_arn().unwrap_or_default()
        ));
        self.delete_ours(run, &found.listeners).await
    }

    /// The listener that has the rules, if it is there already: of an adopted load balancer the one for HTTPS, or else the one for HTTP.
    pub fn serving(&self, wanted: &Wanted) -> Option<&FoundListener> {
        let listeners = self.found.balancer.as_ref().map(|found| found.listeners.as_slice()).unwrap_or_default();
        let speaks = |protocol: &ProtocolEnum| listeners.iter().find(|found| found.listener.protocol() == Some(protocol));
        match &wanted.alb {
            Some(_) => speaks(&ProtocolEnum::Https).or_else(|| speaks(&ProtocolEnum::Http)),
            None => listeners.iter().find(|found| found.listener.port() == Some(port(wanted))),
        }
    }

    pub fn serves_https(&self, wanted: &Wanted) -> bool {
        let adopted = wanted.alb.as_ref().and_then(|_| self.serving(wanted));
        wanted.certificate.is_some() || adopted.is_some_and(|found| found.listener.protocol() == Some(&ProtocolEnum::Https))
    }

    fn adopt_listener(&self, wanted: &Wanted) -> Result<()> {
        let Some(FoundListener { listener, .. }) = self.serving(wanted) else {
            return Err(Error::document("x-svc.alb", "it has no listener for HTTPS or HTTP that rules could be put on: add one"));
        };
        self.svc.borrow_mut().listener_arns = vec![listener.listener_arn().map(str::to_owned)];
        Ok(())
    }

    async fn listener_up(&self, run: &Run, wanted: &Wanted, wish: Wish) -> Result<Option<String>> {
        let name = format!("{}:{}", run.app, wish.port);
        let listeners = self.found.balancer.as_ref().map(|found| found.listeners.as_slice()).unwrap_or_default();
        let Some(FoundListener { listener: found, tags, .. }) = listeners.iter().find(|found| found.listener.port() == Some(wish.port))
        else {
            return run.create("listener", &name, self.create_listener(run, wanted, wish)).await;
        };
        if !run.is_ours(tags.iter().map(tag::pair)) {
            return Err(run.foreign("listener", &name));
        }
        let arn = given(found.listener_arn(), "the listener's ARN")?;
        run.found("listener", &name);
        self.keep_tags(run, "listener", &tag_name(wish.port), &arn, tags).await?;
        let action = self.action(wanted, &name, &wish, Some(found));
        let secure = wish.protocol == ProtocolEnum::Https;
        let certificate = found.certificates().first().and_then(Certificate::certificate_arn);
        let diff = Diff::new()
            .field("protocol", found.protocol(), Some(&wish.protocol))
            .field(
                "defaultAction",
                found.default_actions().iter().map(forward::text).collect::<Vec<_>>().join(", "),
                forward::text(&action),
            )
            .field("certificate", certificate, if secure { wanted.certificate.as_deref() } else { None })
            .field("sslPolicy", found.ssl_policy().filter(|_| secure), secure.then_some(wanted.ssl_policy.as_str()));
        run.change("listener", &name, &diff, async {
            let call = self.elb.modify_listener().listener_arn(&arn).port(wish.port).protocol(wish.protocol).default_actions(action);
            let call =
                call.set_certificates(secure.then(|| certificates(wanted))).set_ssl_policy(secure.then(|| wanted.ssl_policy.clone()));
            call.send().await.tried(format!("change the listener {name}")).map(drop)
        })
        .await?;
        Ok(Some(arn))
    }

    fn action(&self, wanted: &Wanted, name: &str, wish: &Wish, found: Option<&Listener>) -> Action {
        match &wish.does {
            Does::Forward(service) if self.target_group(service).is_none() && !wanted.selected().any(|one| one.name == *service) => {
                not_found()
            }
            Does::Forward(service) => {
                let arn = found.and_then(Listener::listener_arn).unwrap_or_default().to_owned();
                self.lead(wanted, service, name, found.and_then(|found| found.default_actions().first()), Place::Listener(arn))
            }
            Does::NotFound => not_found(),
            Does::Redirect => {
                let redirect = RedirectActionConfig::builder()
                    .protocol("HTTPS")
                    .port("443")
                    .status_code(RedirectActionStatusCodeEnum::Http301)
                    .build();
                Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect).build()
            }
        }
    }

    async fn create_listener(&self, run: &Run, wanted: &Wanted, wish: Wish) -> Result<String> {
        let balancer = given(self.svc.borrow().load_balancer_arn.as_deref(), "the load balancer's ARN")?;
        let name = format!("{}:{}", run.app, wish.port);
        let (secure, action) = (wish.protocol == ProtocolEnum::Https, self.action(wanted, &name, &wish, None));
        let call = self.elb.create_listener().load_balancer_arn(balancer).port(wish.port).protocol(wish.protocol).default_actions(action);
        let call = call.set_certificates(secure.then(|| certificates(wanted))).set_ssl_policy(secure.then(|| wanted.ssl_policy.clone()));
        let call = call.set_tags(Some(tag::tags(run, &tag_name(wish.port))));
        let made = call.send().await.tried(format!("create the listener {name}"))?;
        given(made.listeners().first().and_then(Listener::listener_arn), "the new listener's ARN")
    }

    pub async fn listeners_down(&self, run: &Run) -> Result<()> {
        self.delete_ours(run, self.found.balancer.iter().filter(|found| found.ours).flat_map(|found| &found.listeners)).await
    }

    /// A listener made by hand is none of our business; it goes with the load balancer.
    async fn delete_ours<'a>(&self, run: &Run, listeners: impl IntoIterator<Item = &'a FoundListener>) -> Result<()> {
        let ours = listeners.into_iter().filter(|found| run.is_ours(found.tags.iter().map(tag::pair)));
        each(ours, async |found| self.delete_listener(run, &found.listener).await).await.map(drop)
    }

    async fn delete_listener(&self, run: &Run, listener: &Listener) -> Result<()> {
        let (arn, port) = (given(listener.listener_arn(), "the listener's ARN")?, listener.port().unwrap_or_default());
        let delete =
            async { self.elb.delete_listener().listener_arn(&arn).send().await.tried(format!("delete the listener {arn}")).map(drop) };
        run.delete("listener", &format!("{}:{port}", run.app), delete).await
    }
}

fn not_found() -> Action {
    let nothing = FixedResponseActionConfig::builder().status_code("404").content_type("text/plain").message_body("Not found").build();
    Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(nothing).build()
}

fn tag_name(port: i32) -> String {
    format!("listener-{port}")
}

fn port(wanted: &Wanted) -> i32 {
    if wanted.certificate.is_some() { 443 } else { 80 }
}

/// The one with the rules first.
fn wishes(wanted: &Wanted) -> Vec<Wish> {
    let rest = wanted.published().find(|(_, published)| published.paths.is_empty() && published.hosts.is_empty());
    let does = rest.map_or(Does::NotFound, |(service, _)| Does::Forward(service.name.clone()));
    if wanted.certificate.is_none() {
        return vec![Wish { port: 80, protocol: ProtocolEnum::Http, does }];
    }
    vec![Wish { port: 443, protocol: ProtocolEnum::Https, does }, Wish { port: 80, protocol: ProtocolEnum::Http, does: Does::Redirect }]
}

fn certificates(wanted: &Wanted) -> Vec<Certificate> {
    wanted.certificate.iter().map(|arn| Certificate::builder().certificate_arn(arn).build()).collect()
}
