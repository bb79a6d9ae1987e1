//! The load balancer, which exists when a service is published.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancer.html>

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    LoadBalancer, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerStateEnum, LoadBalancerTypeEnum, Tag,
};
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::wait::{later, until};
use shared::{Diff, Error, Result, Run, Tried};

use super::deployment::SOONEST;
use super::elb_default::{OF_LOAD_BALANCERS, with_defaults};
use super::listener::{self, FoundListener};
use super::tag;
use crate::SvcDeploy;
use crate::model::Wanted;

pub type Found = Option<FoundBalancer>;

pub struct FoundBalancer {
    pub balancer: LoadBalancer,
    pub ours: bool,
    tags: Vec<Tag>,
    attributes: Vec<LoadBalancerAttribute>,
    pub listeners: Vec<FoundListener>,
}

/// Finds the app's load balancer by name, or the adopted one by ARN, with its listeners and rules.
pub async fn find(elb: &Client, run: &Run, wanted: Option<&Wanted>) -> Result<Found> {
    let call = elb.describe_load_balancers();
    let found = match wanted.and_then(|wanted| wanted.alb.as_ref()) {
        Some(arn) => Some(call.load_balancer_arns(arn).send().await.tried(format!("read the load balancer {arn}, which x-svc.alb names"))?),
        None => if_found(call.names(&run.app).send().await.tried(format!("read the load balancer {}", run.app)))?,
    };
    let balancer = found.and_then(|said| said.load_balancers().first().cloned());
    if let Some(wanted) = wanted.filter(|wanted| wanted.alb.is_some()) {
        check_adopted(wanted, balancer.as_ref())?;
    }
    let Some(balancer) = balancer else { return Ok(None) };
    let arn = given(balancer.load_balancer_arn(), "the ARN of the load balancer")?;
    let attributes = async {
        elb.describe_load_balancer_attributes().load_balancer_arn(&arn).send().await.tried(format!("read the attributes of {arn}"))
    };
    let (tags, attributes, listeners) = try_join!(tag::find(elb, &arn), attributes, listener::find(elb, &arn))?;
    let ours = run.is_ours(tags.iter().map(tag::pair));
    Ok(Some(FoundBalancer { balancer, ours, tags, attributes: attributes.attributes().to_vec(), listeners }))
}

/// The load balancer of `x-svc.alb` must reach the tasks, which accept only traffic from the network's security group for load balancers.
fn check_adopted(wanted: &Wanted, balancer: Option<&LoadBalancer>) -> Result<()> {
    let wrong = |code, what: String| Err(Error::document(code, "x-svc.alb", what));
    let Some(balancer) = balancer.filter(|balancer| balancer.r#type() == Some(&LoadBalancerTypeEnum::Application)) else {
        return wrong(
            "alb-not-found",
            "must be the ARN of an Application Load Balancer in this account and region. Check the ARN with `aws elbv2 describe-load-balancers`"
                .to_owned(),
        );
    };
    if let Some(vpc) = wanted.net.vpc_id.as_deref().filter(|vpc| balancer.vpc_id() != Some(vpc)) {
        let other = balancer.vpc_id().unwrap_or("no VPC");
        return wrong(
            "alb-in-another-vpc",
            format!("must be in the VPC of the tasks, {vpc} (net.vpc_id); found {other}. Set x-net.vpc to the load balancer's VPC"),
        );
    }
    match wanted.net.lb_security_group_id.as_ref().filter(|group| !balancer.security_groups().contains(group)) {
        Some(group) => wrong(
            "alb-without-security-group",
            format!(
                "must have the security group {group} (net.lb_security_group_id), because the tasks accept traffic only from it. Add it with `aws elbv2 set-security-groups`, and name there also the groups that the load balancer has"
            ),
        ),
        None => Ok(()),
    }
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
            return Err(run.unmanaged("load balancer", &run.app));
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

    /// Records where the app answers, and each of its services. A service with a host answers only under that name.
    fn record_url(&self, wanted: &Wanted, balancer: &LoadBalancer) {
        let scheme = if self.serves_https(wanted) { "https" } else { "http" };
        let Some(url) = balancer.dns_name().map(|name| format!("{scheme}://{name}")) else { return };
        for (service, published) in wanted.selected_published() {
            let own = published.listener.map_or_else(|| url.clone(), |port| format!("{url}:{port}"));
            self.record(&service.name, |record| record.url = published.hosts.is_empty().then_some(own));
        }
        self.svc.borrow_mut().url = Some(url);
    }

    async fn create_balancer(&self, run: &Run, wanted: &Wanted) -> Result<String> {
        let call = self.elb.create_load_balancer().name(&run.app).r#type(LoadBalancerTypeEnum::Application).scheme(scheme(wanted));
        let call = call.set_subnets(Some(subnets(wanted))).set_security_groups(wanted.net.lb_security_group_id.clone().map(|id| vec![id]));
        let call = call.set_tags(Some(tag::new(run, "load-balancer")));
        let made = call.send().await.tried(format!("create the load balancer {}", run.app))?;
        let balancer = made.load_balancers().first();
        if let Some(balancer) = balancer {
            self.record_url(wanted, balancer);
        }
        given(balancer.and_then(LoadBalancer::load_balancer_arn), "the ARN of the new load balancer")
    }

    pub async fn settle_balancer(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        // Without an ARN no load balancer is wanted, or a new one is planned.
        let Some(arn) = self.svc.borrow().load_balancer_arn.clone() else { return Ok(()) };
        if wanted.alb.is_some() {
            return Ok(());
        }
        if let Some(found) = &self.found.balancer {
            self.settle_elb_tags(run, "load balancer", "load-balancer", &arn, &found.tags).await?;
            check_scheme(run, wanted, &found.balancer)?;
            self.settle_security_groups(run, wanted, &found.balancer, &arn).await?;
            self.settle_subnets(run, wanted, &found.balancer, &arn).await?;
        }
        self.settle_attributes(run, wanted, &arn).await
    }

    async fn settle_security_groups(&self, run: &Run, wanted: &Wanted, found: &LoadBalancer, arn: &str) -> Result<()> {
        let groups: Vec<String> = wanted.net.lb_security_group_id.iter().cloned().collect();
        run.change("load balancer", &run.app, &Diff::new().set("SecurityGroups", found.security_groups(), &groups), async {
            let call = self.elb.set_security_groups().load_balancer_arn(arn).set_security_groups(Some(groups.clone()));
            call.send().await.tried(format!("set the security groups of {arn}")).map(drop)
        })
        .await
    }

    async fn settle_subnets(&self, run: &Run, wanted: &Wanted, found: &LoadBalancer, arn: &str) -> Result<()> {
        let (was, subnets) = (found.availability_zones().iter().filter_map(|zone| zone.subnet_id()), subnets(wanted));
        run.change("load balancer", &run.app, &Diff::new().set("Subnets", was, &subnets), async {
            let call = self.elb.set_subnets().load_balancer_arn(arn).set_subnets(Some(subnets.clone()));
            call.send().await.tried(format!("set the subnets of {arn}")).map(drop)
        })
        .await
    }

    async fn settle_attributes(&self, run: &Run, wanted: &Wanted, arn: &str) -> Result<()> {
        let found = self.found.balancer.as_ref().map(|found| found.attributes.as_slice()).unwrap_or_default();
        let was = |key: &str| found.iter().find(|one| one.key() == Some(key)).and_then(LoadBalancerAttribute::value);
        let attributes = with_defaults(attributes(run, wanted), OF_LOAD_BALANCERS, was);
        let diff = attributes.iter().fold(Diff::new(), |diff, (key, value)| diff.field(key, was(key), Some(value.as_str())));
        run.change("load balancer", &run.app, &diff, async {
            let attributes = attributes.iter().map(|(key, value)| LoadBalancerAttribute::builder().key(*key).value(value).build());
            let call = self.elb.modify_load_balancer_attributes().load_balancer_arn(arn).set_attributes(Some(attributes.collect()));
            call.send().await.tried(format!("update the attributes of {arn}")).map(drop)
        })
        .await
    }

    /// Waits until the load balancer is active, which takes two to three minutes.
    pub async fn balancer_ready(&self, run: &Run) -> Result<()> {
        let Some(arn) = self.svc.borrow().load_balancer_arn.clone() else { return Ok(()) };
        if self.found.balancer.as_ref().is_some_and(|found| is_active(&found.balancer)) {
            return Ok(());
        }
        // It waits beside the deployments, which take as long.
        later(run, "the load balancer", SOONEST, async || {
            let call = self.elb.describe_load_balancers().load_balancer_arns(&arn);
            let said = call.send().await.tried(format!("read the load balancer {arn}"))?;
            match said.load_balancers().first() {
                Some(balancer) if balancer.state().and_then(|state| state.code()) == Some(&LoadBalancerStateEnum::Failed) => {
                    let reason = balancer.state().and_then(|state| state.reason()).unwrap_or("AWS gave no reason");
                    Err(Error::failed(
                        "load-balancer-failed",
                        format!(
                            "could not start the load balancer {arn}: {reason}. Run `svc-deploy --down --app {}`, fix the cause and deploy again",
                            run.app
                        ),
                    ))
                }
                balancer => Ok(balancer.is_some_and(is_active).then_some(())),
            }
        })
        .await
    }

    /// Waits until it is deleted, because until then its target groups, subnets and security group can't be deleted.
    pub async fn balancer_down(&self, run: &Run) -> Result<()> {
        let ours = |found: &&FoundBalancer| run.may_delete("load balancer", &run.app, found.ours);
        let Some(found) = self.found.balancer.as_ref().filter(ours) else { return Ok(()) };
        let arn = given(found.balancer.load_balancer_arn(), "the ARN of the load balancer")?;
        let delete = async {
            self.elb.delete_load_balancer().load_balancer_arn(&arn).send().await.tried(format!("delete the load balancer {arn}"))?;
            until(run, "the load balancer to be deleted", async || {
                let call = self.elb.describe_load_balancers().load_balancer_arns(&arn);
                let left = if_found(call.send().await.tried(format!("read the load balancer {arn}")))?;
                Ok(left.is_none_or(|left| left.load_balancers().is_empty()).then_some(()))
            })
            .await
        };
        run.delete("load balancer", &run.app, delete).await
    }
}

/// An impaired load balancer serves requests, too, but may be unable to scale.
fn is_active(balancer: &LoadBalancer) -> bool {
    let code = balancer.state().and_then(|state| state.code());
    matches!(code, Some(LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired))
}

fn check_scheme(run: &Run, wanted: &Wanted, found: &LoadBalancer) -> Result<()> {
    let was = found.scheme().map_or("unknown", LoadBalancerSchemeEnum::as_str);
    if was == scheme(wanted).as_str() {
        return Ok(());
    }
    Err(Error::document(
        "load-balancer-scheme",
        "x-svc.internal",
        format!(
            "the load balancer {0} is {was}, and AWS can't change that. Set x-svc.internal back, or run `svc-deploy --down --app {0}` and deploy again",
            run.app
        ),
    ))
}

fn scheme(wanted: &Wanted) -> LoadBalancerSchemeEnum {
    if wanted.internal { LoadBalancerSchemeEnum::Internal } else { LoadBalancerSchemeEnum::InternetFacing }
}

fn subnets(wanted: &Wanted) -> Vec<String> {
    let ids = if wanted.internal { &wanted.net.private_subnet_ids } else { &wanted.net.public_subnet_ids };
    ids.iter().flatten().cloned().collect()
}

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html>
fn attributes<'a>(run: &Run, wanted: &'a Wanted) -> Vec<(&'a str, String)> {
    // A header that the load balancer and a server read in different ways can smuggle a request past one of them.
    let mut attributes = vec![("routing.http.drop_invalid_header_fields.enabled", "true".to_owned())];
    attributes.push(("access_logs.s3.enabled", wanted.access_logs.is_some().to_string()));
    if let Some(bucket) = &wanted.access_logs {
        attributes.push(("access_logs.s3.bucket", bucket.clone()));
        attributes.push(("access_logs.s3.prefix", run.app.clone()));
    }
    attributes.retain(|(key, _)| !wanted.attributes.contains_key(*key));
    attributes.extend(wanted.attributes.iter().filter_map(|(key, value)| Some((key.as_str(), value.clone()?))));
    attributes
}
