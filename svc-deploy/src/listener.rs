//! The listeners: 80, and with a certificate 443, to which 80 then leads.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, Listener, ProtocolEnum, RedirectActionConfig,
    RedirectActionStatusCodeEnum,
};
use shared::error::given;
use shared::step::each;
use shared::{Diff, Result, Run, Tried};

use crate::wish::Wanted;
use crate::{SvcDeploy, load_balancer};

/// One listener that there is to be.
struct Wish {
    port: i32,
    protocol: ProtocolEnum,
    action: Action,
}

/// The port whose listener has the rules.
pub fn port(wanted: &Wanted) -> i32 {
    if wanted.certificate.is_some() { 443 } else { 80 }
}

impl SvcDeploy {
    pub async fn listeners_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.published().next().is_none() {
            return Ok(());
        }
        let wishes = self.wishes(wanted);
        let ports: Vec<i32> = wishes.iter().map(|wish| wish.port).collect();
        let arns = each(wishes, async |wish| self.listener_up(run, wanted, wish).await).await?;
        self.svc.borrow_mut().listener_arns = arns;
        // 443, when the certificate is gone.
        let unwanted = self.found.balancer.iter().flat_map(|found| &found.listeners).map(|(listener, _)| listener);
        self.delete_ours(run, unwanted.filter(|one| one.port() == Some(443) && !ports.contains(&443)).collect()).await
    }

    /// The one with the rules first.
    fn wishes(&self, wanted: &Wanted) -> Vec<Wish> {
        let serving = Wish {
            port: port(wanted),
            protocol: if wanted.certificate.is_some() { ProtocolEnum::Https } else { ProtocolEnum::Http },
            action: self.default_action(wanted),
        };
        let mut wishes = vec![serving];
        if wanted.certificate.is_some() {
            let redirect =
                RedirectActionConfig::builder().protocol("HTTPS").port("443").status_code(RedirectActionStatusCodeEnum::Http301).build();
            let action = Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect).build();
            wishes.push(Wish { port: 80, protocol: ProtocolEnum::Http, action });
        }
        wishes
    }

    /// The service without path and host takes what no rule takes; when there is none, nothing is there.
    fn default_action(&self, wanted: &Wanted) -> Action {
        if let Some((service, _)) = wanted.published().find(|(_, published)| published.paths.is_empty() && published.hosts.is_empty()) {
            forward(self.svc.borrow().services.get(&service.name).and_then(|record| record.target_group_arn.clone()))
        } else {
            let nothing =
                FixedResponseActionConfig::builder().status_code("404").content_type("text/plain").message_body("Not found").build();
            Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(nothing).build()
        }
    }

    async fn listener_up(&self, run: &Run, wanted: &Wanted, wish: Wish) -> Result<Option<String>> {
        let name = format!("{}:{}", run.app, wish.port);
        let listeners = self.found.balancer.as_ref().map(|found| found.listeners.as_slice()).unwrap_or_default();
        let Some((found, _)) = listeners.iter().find(|(listener, _)| listener.port() == Some(wish.port)) else {
            return run.create("listener", &name, self.create_listener(run, wanted, wish)).await;
        };
        let arn = given(found.listener_arn(), "the listener's ARN")?;
        run.found("listener", &name);
        let secure = wish.protocol == ProtocolEnum::Https;
        let certificate = found.certificates().first().and_then(Certificate::certificate_arn);
        let diff = Diff::new()
            .field("protocol", found.protocol(), Some(&wish.protocol))
            .field("defaultAction", found.default_actions().iter().map(text).collect::<Vec<_>>().join(", "), text(&wish.action))
            .field("certificate", certificate, if secure { wanted.certificate.as_deref() } else { None })
            .field("sslPolicy", found.ssl_policy().filter(|_| secure), secure.then_some(wanted.ssl_policy.as_str()));
        run.change("listener", &name, &diff, async {
            let call = self.elb.modify_listener().listener_arn(&arn).port(wish.port).protocol(wish.protocol).default_actions(wish.action);
            let call =
                call.set_certificates(secure.then(|| certificates(wanted))).set_ssl_policy(secure.then(|| wanted.ssl_policy.clone()));
            call.send().await.tried(format!("change the listener {name}")).map(drop)
        })
        .await?;
        Ok(Some(arn))
    }

    async fn create_listener(&self, run: &Run, wanted: &Wanted, wish: Wish) -> Result<String> {
        let balancer = given(self.svc.borrow().load_balancer_arn.as_deref(), "the load balancer's ARN")?;
        let secure = wish.protocol == ProtocolEnum::Https;
        let call =
            self.elb.create_listener().load_balancer_arn(balancer).port(wish.port).protocol(wish.protocol).default_actions(wish.action);
        let call = call.set_certificates(secure.then(|| certificates(wanted))).set_ssl_policy(secure.then(|| wanted.ssl_policy.clone()));
        let call = call.set_tags(Some(load_balancer::tags(run, &format!("listener-{}", wish.port))));
        let made = call.send().await.tried(format!("create the listener {}:{}", run.app, wish.port))?;
        given(made.listeners().first().and_then(Listener::listener_arn), "the new listener's ARN")
    }

    pub async fn listeners_down(&self, run: &Run) -> Result<()> {
        let listeners = self.found.balancer.iter().filter(|found| found.ours).flat_map(|found| &found.listeners);
        self.delete_ours(run, listeners.map(|(listener, _)| listener).collect()).await
    }

    /// A listener made by hand is none of our business; it goes with the load balancer.
    async fn delete_ours(&self, run: &Run, listeners: Vec<&Listener>) -> Result<()> {
        let arns = listeners.iter().filter_map(|one| one.listener_arn().map(str::to_owned)).collect();
        let ours = load_balancer::ours(&self.elb, run, arns).await?;
        let ours = listeners.into_iter().filter(|one| one.listener_arn().is_some_and(|arn| ours.contains(arn)));
        each(ours, async |one| self.delete_listener(run, one).await).await.map(drop)
    }

    async fn delete_listener(&self, run: &Run, listener: &Listener) -> Result<()> {
        let (arn, port) = (given(listener.listener_arn(), "the listener's ARN")?, listener.port().unwrap_or_default());
        let delete =
            async { self.elb.delete_listener().listener_arn(&arn).send().await.tried(format!("delete the listener {arn}")).map(drop) };
        run.delete("listener", &format!("{}:{port}", run.app), delete).await
    }
}

fn certificates(wanted: &Wanted) -> Vec<Certificate> {
    wanted.certificate.iter().map(|arn| Certificate::builder().certificate_arn(arn).build()).collect()
}

/// In a plan of a new target group its ARN is not known yet.
pub fn forward(target_group: Option<String>) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).set_target_group_arn(target_group).build()
}

/// An action in words, to compare it: AWS gives more fields back than it was sent.
pub fn text(action: &Action) -> String {
    let target = action.target_group_arn().or_else(|| action.forward_config()?.target_groups().first()?.target_group_arn());
    let redirect = action.redirect_config().map(|to| format!("{} {}", to.protocol().unwrap_or_default(), to.port().unwrap_or_default()));
    let fixed = action.fixed_response_config().and_then(|fixed| fixed.status_code()).map(str::to_owned);
    let to = target.map(str::to_owned).or(redirect).or(fixed).unwrap_or_default();
    format!("{} {to}", action.r#type().map_or("", ActionTypeEnum::as_str))
}
