//! The load balancer, when a service is published.

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    Listener, LoadBalancer, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerStateEnum, LoadBalancerTypeEnum, Rule, Tag,
};
use futures_util::future::try_join_all;
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::wait::{later, until};
use shared::{Diff, Error, Result, Run, Tried};

use crate::deployment::SOONEST;
use crate::wish::Wanted;
use crate::{SvcDeploy, tag};

pub type Found = Option<FoundBalancer>;

pub struct FoundBalancer {
    pub balancer: LoadBalancer,
    pub ours: bool,
    tags: Vec<Tag>,
    attributes: Vec<LoadBalancerAttribute>,
    pub listeners: Vec<FoundListener>,
}

pub struct FoundListener {
    pub listener: Listener,
    pub tags: Vec<Tag>,
    pub rules: Vec<Rule>,
}

pub async fn find(elb: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let call = elb.describe_load_balancers();
    let found = match wanted.and_then(|wanted| wanted.alb.as_ref()) {
        Some(arn) => {
            Some(call.load_balancer_arns(arn).send().await.tried(format!("look at the load balancer {arn} that x-svc.alb names"))?)
        }
        None => if_found(call.names(&run.app).send().await.tried(format!("look for the load balancer {}", run.app)))?,
    };
    let balancer = found.and_then(|said| said.load_balancers().first().cloned());
    if let Some(wanted) = wanted.filter(|wanted| wanted.alb.is_some()) {
        check_adopted(wanted, balancer.as_ref())?;
    }
    let Some(balancer) = balancer else { return Ok(None) };
    let arn = given(balancer.load_balancer_arn(), "the load balancer's ARN")?;
    let attributes = async {
        elb.describe_load_balancer_attributes().load_balancer_arn(&arn).send().await.tried(format!("read the attributes of {arn}"))
    };
    let (tags, attributes, listeners) = try_join!(tag::of(elb, &arn), attributes, listeners(elb, &arn))?;
    let ours = run.is_ours(tags.iter().map(tag::pair));
    Ok(Some(FoundBalancer { balancer, ours, tags, attributes: attributes.attributes().to_vec(), listeners }))
}

/// What `x-svc.alb` names has to reach the tasks: they let in only what carries the load balancer's security group of the network.
fn check_adopted(wanted: &Wanted, balancer: Option<&LoadBalancer>) -> Result<()> {
    let wrong = |what: String| Err(Error::document("x-svc.alb", what));
    let Some(balancer) = balancer.filter(|balancer| balancer.r#type() == Some(&LoadBalancerTypeEnum::Application)) else {
        return wrong("there is no Application Load Balancer of this ARN in this account and region".to_owned());
    };
    if wanted.net.vpc_id.is_some() && balancer.vpc_id() != wanted.net.vpc_id.as_deref() {
        return wrong("it is in another VPC than the tasks (net.vpc_id): let net-up adopt that VPC (x-net.vpc)".to_owned());
    }
    match wanted.net.lb_security_group_id.as_ref().filter(|group| !balancer.security_groups().contains(group)) {
        Some(group) => wrong(format!(
            "it does not carry the security group {group} (net.lb_security_group_id), which alone may reach the tasks: add it (aws elbv2 set-security-groups; name those that it has as well)"
        )),
        None => Ok(()),
    }
}

pub async fn listeners(elb: &Client, arn: &str) -> Result<Vec<FoundListener>> {
    let items = elb.describe_listeners().load_balancer_arn(arn).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let listeners = items.tried(format!("look for the listeners of {arn}"))?;
    try_join_all(listeners.into_iter().map(async |listener| {
        let arn = given(listener.listener_arn(), "the listener's ARN")?;
        let rules = async {
            let items = elb.describe_rules().listener_arn(&arn).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
            items.tried(format!("look for the rules of {arn}"))
        };
        let (tags, rules) = try_join!(tag::of(elb, &arn), rules)?;
        Ok(FoundListener { listener, tags, rules })
    }))
    .await
}

impl SvcDeploy {
    pub async fn balancer_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        if wanted.published().next().is_none() {
            return Ok(());
        }
        let found = self.found.balancer.as_ref();
        if wanted.alb.is_some() {
            self.adopt(wanted);
            return Ok(());
        }
        if found.is_some_and(|found| !found.ours) {
            return Err(run.foreign("load balancer", &run.app));
        }
        let arn = match found.and_then(|found| found.balancer.load_balancer_arn()) {
            Some(arn) => {
                run.found("load balancer", arn);
                Some(arn.to_owned())
            }
            None => run.create("load balancer", &run.app, self.create_balancer(run, wanted)).await?,
        };
        if let Some(found) = found {
            self.record_url(wanted, &found.balancer);
        }
        let mut svc = self.svc.borrow_mut();
        svc.load_balancer_arn = arn;
        svc.load_balancer_name = Some(run.app.clone());
        Ok(())
    }

    fn adopt(&self, wanted: &Wanted) {
        let Some(found) = self.found.balancer.as_ref().map(|found| &found.balancer) else { return };
        self.record_url(wanted, found);
        let mut svc = self.svc.borrow_mut();
        svc.load_balancer_arn = found.load_balancer_arn().map(str::to_owned);
        svc.load_balancer_name = found.load_balancer_name().map(str::to_owned);
    }

    pub async fn settle_balancer(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        // Without an ARN none is wanted, or this is the plan of a new one.
        let Some(arn) = self.svc.borrow().load_balancer_arn.clone() else { return Ok(()) };
        if wanted.alb.is_some() {
            return Ok(());
        }
        if let Some(found) = &self.found.balancer {
            self.keep_tags(run, "load balancer", "load-balancer", &arn, &found.tags).await?;
            self.settle_place(run, wanted, &found.balancer).await?;
        }
        self.settle_attributes(run, wanted, &arn).await
    }

    fn record_url(&self, wanted: &Wanted, balancer: &LoadBalancer) {
        let scheme = if self.serves_https(wanted) { "https" } else { "http" };
        self.svc.borrow_mut().url = balancer.dns_name().map(|name| format!("{scheme}://{name}"));
    }

    async fn create_balancer(&self, run: &Run, wanted: &Wanted) -> Result<String> {
        let call = self.elb.create_load_balancer().name(&run.app).r#type(LoadBalancerTypeEnum::Application).scheme(scheme(wanted));
        let call = call.set_subnets(Some(subnets(wanted))).set_security_groups(wanted.net.lb_security_group_id.clone().map(|id| vec![id]));
        let made =
            call.set_tags(Some(tag::tags(run, "load-balancer"))).send().await.tried(format!("create the load balancer {}", run.app))?;
        let balancer = made.load_balancers().first();
        if let Some(balancer) = balancer {
            self.record_url(wanted, balancer);
        }
        given(balancer.and_then(LoadBalancer::load_balancer_arn), "the new load balancer's ARN")
    }

    /// In these subnets, behind these security groups.
    async fn settle_place(&self, run: &Run, wanted: &Wanted, found: &LoadBalancer) -> Result<()> {
        let arn = given(found.load_balancer_arn(), "the load balancer's ARN")?;
        if found.scheme() != Some(&scheme(wanted)) {
            return Err(Error::document(
                "x-svc.internal",
                format!("the load balancer of {} can't be moved in or out of the internet: take the services down first", run.app),
            ));
        }
        let groups: Vec<String> = wanted.net.lb_security_group_id.iter().cloned().collect();
        let diff = Diff::new().field("securityGroups", found.security_groups(), &groups);
        run.change("load balancer", &run.app, &diff, async {
            self.elb
                .set_security_groups()
                .load_balancer_arn(&arn)
                .set_security_groups(Some(groups.clone()))
                .send()
                .await
                .tried(format!("change the security groups of {arn}"))
                .map(drop)
        })
        .await?;
        let (mut was, mut ids): (Vec<String>, Vec<String>) =
            (found.availability_zones().iter().filter_map(|zone| zone.subnet_id().map(str::to_owned)).collect(), subnets(wanted));
        was.sort();
        ids.sort();
        let diff = Diff::new().field("subnets", &was, &ids);
        run.change("load balancer", &run.app, &diff, async {
            self.elb
                .set_subnets()
                .load_balancer_arn(&arn)
                .set_subnets(Some(ids.clone()))
                .send()
                .await
                .tried(format!("change the subnets of {arn}"))
                .map(drop)
        })
        .await
    }

    async fn settle_attributes(&self, run: &Run, wanted: &Wanted, arn: &str) -> Result<()> {
        let found = self.found.balancer.as_ref();
        let was = |key: &str| {
            found.and_then(|found| found.attributes.iter().find(|one| one.key() == Some(key))).and_then(LoadBalancerAttribute::value)
        };
        let attributes = attributes(run, wanted);
        let diff = attributes.iter().fold(Diff::new(), |diff, (key, value)| diff.field(key, was(key), Some(value.as_str())));
        run.change("load balancer", &run.app, &diff, async {
            let attributes =
                attributes.iter().map(|(key, value)| LoadBalancerAttribute::builder().key(*key).value(value).build()).collect();
            self.elb
                .modify_load_balancer_attributes()
                .load_balancer_arn(arn)
                .set_attributes(Some(attributes))
                .send()
                .await
                .tried(format!("change the attributes of {arn}"))
                .map(drop)
        })
        .await
    }

    /// A load balancer starts in two to three minutes.
    pub async fn balancer_ready(&self, run: &Run) -> Result<()> {
        let Some(arn) = self.svc.borrow().load_balancer_arn.clone() else { return Ok(()) };
        // An impaired one serves as well, but could not grow.
        let serving = [Some(&LoadBalancerStateEnum::Active), Some(&LoadBalancerStateEnum::ActiveImpaired)];
        let active = |balancer: &LoadBalancer| serving.contains(&balancer.state().and_then(|state| state.code()));
        if self.found.balancer.as_ref().is_some_and(|found| active(&found.balancer)) {
            return Ok(());
        }
        // Beside the deployments, which take as long.
        later(run, "the load balancer", SOONEST, async || {
            let said = self.elb.describe_load_balancers().load_balancer_arns(&arn).send().await.tried(format!("look at {arn}"))?;
            match said.load_balancers().first() {
                Some(balancer) if balancer.state().and_then(|state| state.code()) == Some(&LoadBalancerStateEnum::Failed) => {
                    let why = balancer.state().and_then(|state| state.reason()).unwrap_or("no reason given");
                    Err(Error::Failed(format!("AWS could not start the load balancer {arn}: {why}. Take the services down (svc-deploy --down --app {}) and deploy again", run.app)))
                }
                balancer => Ok(balancer.is_some_and(active).then_some(())),
            }
        })
        .await
    }

    /// Waits until it is gone: until then it holds its target groups, subnets and security group.
    pub async fn balancer_down(&self, run: &Run) -> Result<()> {
        let goes = |found: &&FoundBalancer| run.goes("load balancer", &run.app, found.ours);
        let Some(found) = self.found.balancer.as_ref().filter(goes) else { return Ok(()) };
        let arn = given(found.balancer.load_balancer_arn(), "the load balancer's ARN")?;
        let delete = async {
            self.elb.delete_load_balancer().load_balancer_arn(&arn).send().await.tried(format!("delete the load balancer {arn}"))?;
            until(run, "the load balancer to be deleted", async || {
                let left =
                    if_found(self.elb.describe_load_balancers().load_balancer_arns(&arn).send().await.tried(format!("look at {arn}")))?;
                Ok(left.is_none_or(|left| left.load_balancers().is_empty()).then_some(()))
            })
            .await
        };
        run.delete("load balancer", &run.app, delete).await
    }
}

fn scheme(wanted: &Wanted) -> LoadBalancerSchemeEnum {
    if wanted.internal { LoadBalancerSchemeEnum::Internal } else { LoadBalancerSchemeEnum::InternetFacing }
}

fn subnets(wanted: &Wanted) -> Vec<String> {
    let ids = if wanted.internal { &wanted.net.private_subnet_ids } else { &wanted.net.public_subnet_ids };
    ids.iter().flatten().cloned().collect()
}

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html>
fn attributes(run: &Run, wanted: &Wanted) -> Vec<(&'static str, String)> {
    // Requests that a server and the load balancer might read differently are a way to smuggle one past the other.
    let mut attributes = vec![("routing.http.drop_invalid_header_fields.enabled", "true".to_owned())];
    attributes.push(("access_logs.s3.enabled", wanted.access_logs.is_some().to_string()));
    if let Some(bucket) = &wanted.access_logs {
        attributes.push(("access_logs.s3.bucket", bucket.clone()));
        attributes.push(("access_logs.s3.prefix", run.app.clone()));
    }
    attributes
}
