//! AWS clients without the guard of the tools: what a person changes in the account by hand.

use aws_config::{BehaviorVersion, SdkConfig};
use shared::aws::http_client;

/// One client a service, and the runtime that they need.
pub struct Clients {
    pub application: aws_sdk_applicationautoscaling::Client,
    pub groups: aws_sdk_autoscaling::Client,
    pub cloud_map: aws_sdk_servicediscovery::Client,
    pub cloudwatch: aws_sdk_cloudwatch::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    pub ec2: aws_sdk_ec2::Client,
    pub ecr: aws_sdk_ecr::Client,
    pub ecs: aws_sdk_ecs::Client,
    pub efs: aws_sdk_efs::Client,
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    pub iam: aws_sdk_iam::Client,
    pub scheduler: aws_sdk_scheduler::Client,
    pub sns: aws_sdk_sns::Client,
    pub ssm: aws_sdk_ssm::Client,
    runtime: tokio::runtime::Runtime,
}

impl Clients {
    /// Creates the clients for the AWS at this endpoint.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the guard is for the tools")]
    pub fn at(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| unreachable!("{error}"));
        let config: SdkConfig =
            runtime.block_on(aws_config::defaults(BehaviorVersion::v2026_01_12()).endpoint_url(endpoint).http_client(http_client()).load());
        Self {
            application: aws_sdk_applicationautoscaling::Client::new(&config),
            groups: aws_sdk_autoscaling::Client::new(&config),
            cloud_map: aws_sdk_servicediscovery::Client::new(&config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ecr: aws_sdk_ecr::Client::new(&config),
            ecs: aws_sdk_ecs::Client::new(&config),
            efs: aws_sdk_efs::Client::new(&config),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            scheduler: aws_sdk_scheduler::Client::new(&config),
            sns: aws_sdk_sns::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            runtime,
        }
    }

    /// Creates the service-linked role of ECS, if the account has none. With it, a plan is the same
    /// in each run.
    pub fn create_service_linked_role(&self) {
        // An error says that the role exists.
        let _ = self.wait(self.iam.create_service_linked_role().aws_service_name("ecs.amazonaws.com").send());
    }

    /// Runs a request to its end.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}
