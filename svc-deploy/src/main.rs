//! Runs the services of an app on ECS, behind a load balancer.

mod compose;
mod container;
mod dependency;
mod deploy;
mod deployment;
mod forward;
mod listener;
mod load_balancer;
mod log_group;
mod port;
mod role;
mod rule;
mod secret;
mod service;
mod size;
mod tag;
mod target_group;
mod task_definition;
mod volume;
mod wish;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use futures_util::try_join;
use schemars::JsonSchema;
use serde::Serialize;
use shared::doc::{ServiceRecord, Svc};
use shared::policy::Grant;
use shared::{Document, Result, Run, Stage};

use wish::{Flags, ServiceWish, Wanted};

fn main() -> ExitCode {
    shared::main::<SvcDeploy>()
}

struct SvcDeploy {
    ecs: aws_sdk_ecs::Client,
    /// For what ECS would make twice.
    once: aws_sdk_ecs::Client,
    iam: aws_sdk_iam::Client,
    elb: aws_sdk_elasticloadbalancingv2::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    found: Found,
    /// The section as it grows.
    svc: RefCell<Svc>,
    /// The ids of the deployments of services that this run has made or updated.
    begun: RefCell<BTreeMap<String, Option<String>>>,
    /// Rules and listeners that go over to another target group when its targets are well.
    moves: RefCell<Vec<forward::Move>>,
}

/// What there was before the walk began.
struct Found {
    log_groups: log_group::Found,
    roles: role::Found,
    balancer: load_balancer::Found,
    target_groups: target_group::Found,
    task_definitions: task_definition::Found,
    services: service::Found,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    LogGroups,
    Roles,
    LoadBalancer,
    TargetGroups,
    Settings,
    TaskDefinitions,
    Listeners,
    Rules,
    Services,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(rename = "x-svc")]
    x_svc: Option<Flags>,
    services: Option<BTreeMap<String, ServicePart>>,
    svc: Option<Svc>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct ServicePart {
    #[schemars(rename = "x-svc")]
    x_svc: Option<ServiceWish>,
}

impl Stage for SvcDeploy {
    const TOOL: &'static str = "svc-deploy";
    const SECTION: &'static str = "svc";
    const ABOUT: &'static str = "Runs the services of an app on ECS, behind a load balancer";
    const DETAILS: &'static str = "Reads the document on stdin: the sections `net`, `cluster` and (for services that are built) `img`, the Compose \
        `services`, and wishes from `x-svc` (top level and per service). Makes log groups, roles, task definitions, a load balancer with a target group \
        and rule for every published service, and the ECS services; waits until their deployments are complete, and says why when one fails. Writes \
        the document with the section `svc`, with the URL in `.svc.url`.\n\n\
        Example:\n  net-up --app shop | cluster-up --launch-type fargate | svc-deploy --service web --image nginx:1.27 --port 80 | jq -r .svc.url";
    const NEEDS: &'static [(&'static str, &'static str)] = &[("net", "net-up"), ("cluster", "cluster-up")];
    const GRANTS: &'static [Grant] = GRANTS;
    const WAITS: bool = true;
    const WAVES: &'static [&'static [Step]] = &[
        &[Step::LogGroups, Step::Roles, Step::LoadBalancer, Step::TargetGroups],
        &[Step::Settings, Step::TaskDefinitions, Step::Listeners],
        // A service can only have a target group that a listener leads to.
        &[Step::Rules],
        &[Step::Services],
    ];
    type Step = Step;
    type Flags = Flags;
    type Wanted = Wanted;
    type Part = Part;

    fn wanted(doc: &Document, flags: &Flags) -> Result<Wanted> {
        Wanted::read(doc, flags)
    }

    async fn look(run: &Run, doc: &Document, _: &Flags, wanted: Option<&Wanted>) -> Result<Self> {
        let (ecs, iam) = (shared::client!(aws_sdk_ecs, run), shared::client!(aws_sdk_iam, run));
        let (elb, logs) = (shared::client!(aws_sdk_elasticloadbalancingv2, run), shared::client!(aws_sdk_cloudwatchlogs, run));
        let (log_groups, roles, balancer, target_groups, task_definitions, services) = try_join!(
            log_group::find(&logs, run, wanted),
            role::find(&iam, run, wanted),
            load_balancer::find(&elb, run, wanted),
            target_group::find(&elb, run, wanted),
            task_definition::find(&ecs, run, wanted),
            service::find(&ecs, run, wanted),
        )?;
        let found = Found { log_groups, roles, balancer, target_groups, task_definitions, services };
        let svc = RefCell::new(Svc { services: untouched(doc, wanted)?, ..Svc::default() });
        let once = shared::client_once!(aws_sdk_ecs, run);
        Ok(Self { ecs, once, iam, elb, logs, found, svc, begun: RefCell::default(), moves: RefCell::default() })
    }

    async fn up(&self, run: &Run, wanted: &Wanted, step: Step) -> Result<()> {
        match step {
            Step::LogGroups => self.log_groups_up(run, wanted).await,
            Step::Roles => self.roles_up(run, wanted).await,
            Step::LoadBalancer => self.balancer_up(run, wanted).await,
            Step::TargetGroups => self.target_groups_up(run, wanted).await,
            Step::Settings => self.settings_up(run, wanted).await,
            Step::TaskDefinitions => self.task_definitions_up(run, wanted).await,
            Step::Listeners => self.listeners_up(run, wanted).await,
            Step::Rules => self.rules_up(run, wanted).await,
            Step::Services => self.services_up(run, wanted).await,
        }
    }

    async fn ready(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (deployments, balancer) = futures_util::join!(self.deployments_ready(run, wanted.selected()), self.balancer_ready(run));
        deployments.and(balancer)
    }

    async fn down(&self, run: &Run, step: Step) -> Result<()> {
        match step {
            Step::LogGroups => self.log_groups_down(run).await,
            Step::Roles => self.roles_down(run).await,
            Step::LoadBalancer => self.balancer_down(run).await,
            Step::TargetGroups => self.target_groups_down(run).await,
            Step::TaskDefinitions => self.task_definitions_down(run).await,
            Step::Listeners => self.listeners_down(run).await,
            Step::Rules => self.rules_down(run).await,
            // Settings go with what they are of.
            Step::Settings => Ok(()),
            Step::Services => self.services_down(run).await,
        }
    }

    fn section(&self) -> impl Serialize {
        self.svc.borrow().clone()
    }
}

impl SvcDeploy {
    /// What is set on what is there, found or made, all at the same time.
    async fn settings_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (logs, roles, balancer, groups) = futures_util::join!(
            self.settle_log_groups(run, wanted),
            self.settle_roles(run, wanted),
            self.settle_balancer(run, wanted),
            self.settle_target_groups(run, wanted),
        );
        logs.and(roles).and(balancer).and(groups)
    }

    /// Writes into a service's record in the section.
    fn record(&self, service: &str, write: impl FnOnce(&mut ServiceRecord)) {
        write(self.svc.borrow_mut().services.entry(service.to_owned()).or_default());
    }
}

/// The records of services that this run does not deploy, as the document has them.
fn untouched(doc: &Document, wanted: Option<&Wanted>) -> Result<BTreeMap<String, ServiceRecord>> {
    let mut before = doc.view::<Svc>("svc")?.unwrap_or_default().services;
    before.retain(|name, _| wanted.is_some_and(|wanted| wanted.services.iter().any(|service| !service.selected && service.name == *name)));
    Ok(before)
}

const GRANTS: &[Grant] = &[
    Grant {
        sid: "Look",
        actions: &[
            "ecs:DescribeTaskDefinition",
            "ecs:ListServices",
            "ecs:ListTaskDefinitionFamilies",
            "ecs:ListTaskDefinitions",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:DescribeTags",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "iam:ListRoles",
            "logs:DescribeLogGroups",
        ],
        on: &["*"],
    },
    Grant {
        sid: "Services",
        actions: &[
            "ecs:CreateService",
            "ecs:DeleteService",
            "ecs:DescribeServices",
            "ecs:DescribeTasks",
            "ecs:ListTasks",
            "ecs:TagResource",
            "ecs:UpdateService",
        ],
        on: &[
            "arn:*:ecs:*:*:service/{app}/*",
            "arn:*:ecs:*:*:task/{app}/*",
            "arn:*:ecs:*:*:container-instance/{app}/*",
            "arn:*:ecs:*:*:cluster/{app}",
        ],
    },
    Grant {
        sid: "TaskDefinitions",
        // DeregisterTaskDefinition knows no resources.
        // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
        actions: &["ecs:DeleteTaskDefinitions", "ecs:DeregisterTaskDefinition", "ecs:RegisterTaskDefinition", "ecs:TagResource"],
        on: &["*"],
    },
    Grant {
        sid: "LoadBalancer",
        actions: &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:CreateRule",
            "elasticloadbalancing:CreateTargetGroup",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:DeleteRule",
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:ModifyListener",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
            "elasticloadbalancing:ModifyRule",
            "elasticloadbalancing:ModifyTargetGroup",
            "elasticloadbalancing:ModifyTargetGroupAttributes",
            "elasticloadbalancing:SetRulePriorities",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ],
        on: &[
            "arn:*:elasticloadbalancing:*:*:loadbalancer/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:listener/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:listener-rule/app/{app}/*",
            "arn:*:elasticloadbalancing:*:*:targetgroup/{app}-*",
        ],
    },
    // Elastic Load Balancing looks at the network in the caller's name.
    // https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-permissions.html
    Grant {
        sid: "NetworkInTheCallersName",
        actions: &[
            "ec2:DescribeAccountAttributes",
            "ec2:DescribeAddresses",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "ec2:GetSecurityGroupsForVpc",
        ],
        on: &["*"],
    },
    Grant {
        sid: "Roles",
        actions: &[
            "iam:AttachRolePolicy",
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:PassRole",
            "iam:PutRolePolicy",
            "iam:TagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        on: &["arn:*:iam::*:role/ecs-pipe/{app}/*"],
    },
    // Roles are looked for by name, and one that is not there has no path.
    Grant {
        sid: "LookAtRoles",
        actions: &["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"],
        on: &["arn:*:iam::*:role/ecs-pipe/{app}/*", "arn:*:iam::*:role/{app}-*"],
    },
    Grant { sid: "ServiceRoles", actions: &["iam:CreateServiceLinkedRole"], on: &["arn:*:iam::*:role/aws-service-role/*"] },
    Grant {
        sid: "Logs",
        actions: &[
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:GetLogEvents",
            "logs:ListTagsForResource",
            "logs:PutRetentionPolicy",
            "logs:TagResource",
        ],
        on: &["arn:*:logs:*:*:log-group:/ecs-pipe/{app}/*"],
    },
];
