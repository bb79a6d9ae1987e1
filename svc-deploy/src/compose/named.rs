//! What the settings name for the policy that `--policy` prints.

use std::collections::BTreeSet;

use shared::doc::check_boundary;
use shared::policy::{BOUNDARY, Named, named_once};
use shared::{Document, Result};

use super::one_service;
use crate::settings::{Flags, ServiceFlags, ServiceSettings, SvcSettings, TaskRoleSetting};

/// Returns the policies of task roles, the existing roles, and the existing load balancer.
///
/// # Errors
/// Says what is wrong in the document or the flags, with its path.
pub fn read(doc: &Document, flags: &Flags) -> Result<Named> {
    let doc = &one_service::put_into(&flags.one, &flags.publish, doc)?;
    let settings: SvcSettings = shared::settings::read(doc, &doc.root(), "x-svc", &flags.svc)?;
    let (mut policies, mut roles) = (BTreeSet::new(), BTreeSet::from_iter(settings.execution_role));
    for (_, service) in doc.root().key("services").map_or(Ok(Vec::new()), |services| services.entries())? {
        let settings: ServiceSettings = shared::settings::read(doc, &service, "x-svc", &ServiceFlags::default())?;
        match settings.task_role {
            Some(TaskRoleSetting::Own(own)) => policies.extend(own.policies),
            Some(TaskRoleSetting::Role(arn)) => drop(roles.insert(arn)),
            None => {}
        }
    }
    let mut named = named_once([(BOUNDARY, check_boundary("x-svc.permissions_boundary", settings.permissions_boundary)?)]);
    // As the ARNs of its listeners and rules have it: app/NAME/ID.
    let balancer = settings.alb.as_deref().and_then(|arn| arn.split_once(":loadbalancer/")).map(|(_, name)| name.to_owned());
    named.insert("{alb}", balancer.into_iter().collect());
    named.insert("{policies}", policies.into_iter().collect());
    named.insert("{roles}", roles.into_iter().collect());
    Ok(named)
}
