//! Access to AWS: configuration, retries, the caller, and the guard that makes `--plan` read-only.

use std::sync::Arc;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::SharedCredentialsProvider;
use aws_smithy_http_client::tls;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::interceptors::context::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_smithy_runtime_api::client::interceptors::{Intercept, SharedInterceptor, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority, RetryReason};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::ErrorKind;
use aws_types::request_id::RequestId;

use crate::doc::Caller;
use crate::error::{Error, Result, Tried};
use crate::flags::Common;
use crate::progress::{Event, Progress};

/// Attempts at one call before a throttle or a fault is final: with the pauses below about a minute, longer than AWS's token buckets need
/// to refill. <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
const ATTEMPTS: u32 = 10;
/// Longest pause between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// Time of one attempt; the slowest calls (`CreateLoadBalancer`) answer within ten seconds.
const ATTEMPT_TIME: Duration = Duration::from_mins(1);
/// Time to connect: AWS's endpoints accept in milliseconds, so more than this means that there is no network.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Builds a service's client on the session, with its guard: `shared::client!(aws_sdk_ec2, run)`. clippy.toml refuses `Client::new`, so no call
/// escapes the guard.
#[macro_export]
macro_rules! client {
    ($sdk:ident, $run:expr) => {
        $sdk::Client::from_conf(
            $sdk::config::Builder::from($run.session.config())
                .interceptor($run.session.guard())
                .retry_partition($crate::aws::patience())
                .build(),
        )
    };
}

/// Builds a client for calls that must not be repeated when their answer is lost ([`crate::wait::once`]). Throttled calls are repeated as always,
/// because AWS has not acted on them.
#[macro_export]
macro_rules! client_once {
    ($sdk:ident, $run:expr) => {{
        let config = $sdk::config::Builder::from($run.session.config()).interceptor($run.session.guard());
        let config = config.retry_partition($crate::aws::patience());
        $sdk::Client::from_conf(config.retry_classifier($crate::aws::Unrepeatable).build())
    }};
}

/// Reads all pages of a list: `shared::pages!(ec2.describe_vpcs(), "list the VPCs")?`.
#[macro_export]
macro_rules! pages {
    ($call:expr, $doing:expr) => {
        $crate::Tried::tried($call.into_paginator().items().send().collect::<::std::result::Result<Vec<_>, _>>().await, $doing)
    };
}

/// The SDK allows about thirty retries in a row for each service and then gives up at the first fault, so that servers do not overload a service that
/// recovers. A run makes few calls, and each has its own limit of attempts.
#[must_use]
pub fn patience() -> RetryPartition {
    RetryPartition::custom("ecs-pipe").token_bucket(TokenBucket::unlimited()).build()
}

/// Forbids to repeat a call that AWS may have acted on.
#[derive(Debug)]
pub struct Unrepeatable;

impl ClassifyRetry for Unrepeatable {
    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, _: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        match previous {
            RetryAction::RetryIndicated(RetryReason::RetryableError { kind: ErrorKind::ThrottlingError, .. }) => {
                RetryAction::NoActionIndicated
            }
            RetryAction::RetryIndicated(_) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "ecs-pipe unrepeatable"
    }

    /// After all others, whose verdict it reads.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

#[derive(Debug)]
pub struct Session {
    config: SdkConfig,
    guard: SharedInterceptor,
    region: String,
}

impl Session {
    /// Reads the configuration as every AWS tool does (environment, profile, instance or task role). It calls nothing, or only the instance's
    /// metadata when no region is set.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] when there is no region or no root certificate.
    pub async fn open(tool: &'static str, common: &Common, known: Option<&Caller>) -> Result<Self> {
        // The SDK panics without them, as in an image without the package ca-certificates.
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(Error::usage(
                "no-root-certificates",
                "no root certificates are on this machine, so no connection to AWS can be trusted. Install the package ca-certificates, \
                 or set SSL_CERT_FILE to a file of certificates",
            ));
        }
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http_client())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(LONGEST_BACKOFF))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIME).operation_attempt_timeout(ATTEMPT_TIME).build());
        if let Ok(name) = AppName::new("ecs-pipe") {
            loader = loader.app_name(name);
        }
        if let Some(region) = common.region.as_ref().filter(|region| !region.is_empty()) {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &common.profile {
            loader = loader.profile_name(profile);
        }
        let mut config = loader.load().await;
        // A variable that is set to nothing is not set.
        if config.region().is_some_and(|region| region.as_ref().is_empty()) {
            config = config.into_builder().region(None).build();
        }
        // The SDK prefers keys in the environment to a profile, but --profile is explicit.
        if let Some(profile) = &common.profile {
            let provider = ProviderConfig::default().with_region(config.region().cloned());
            let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&provider).build();
            config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build();
        }
        // In a pipe only the first tool needs --region.
        if let (None, Some(known)) = (config.region(), known) {
            config = config.into_builder().region(Region::new(known.region.clone())).build();
        }
        let region = config
            .region()
            .map(ToString::to_string)
            .ok_or_else(|| Error::usage("no-region", "no AWS region is set. Set --region, AWS_REGION or the region of the profile"))?;
        let guard = SharedInterceptor::new(Guard {
            planning: common.plan,
            says: (common.verbose >= 2).then(|| Progress::new(tool, common)).map(Arc::new),
        });
        Ok(Self { config, guard, region })
    }

    /// A session for tests that call nothing.
    #[cfg(test)]
    pub(crate) fn unused() -> Self {
        let guard = SharedInterceptor::new(Guard { planning: true, says: None });
        Self { config: SdkConfig::builder().build(), guard, region: "eu-central-1".to_owned() }
    }

    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    #[must_use]
    pub fn guard(&self) -> SharedInterceptor {
        self.guard.clone()
    }

    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Reads the caller from STS; the partition is that of the caller's ARN.
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
    pub(crate) async fn caller(&self) -> Result<Caller> {
        let sts = aws_sdk_sts::config::Builder::from(&self.config).interceptor(self.guard()).build();
        let said =
            aws_sdk_sts::Client::from_conf(sts).get_caller_identity().send().await.tried("read the AWS account of the credentials")?;
        let partition = said.arn().and_then(|arn| arn.split(':').nth(1)).unwrap_or("aws").to_owned();
        Ok(Caller { account: said.account().unwrap_or_default().to_owned(), region: self.region.clone(), partition })
    }
}

/// Returns the HTTP client of all services. By default each service has one of its own, which reads
/// all root certificates again.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)).build_https()
}

/// Part of every client: refuses all calls but reads while planning, and prints every call with `-vv`.
#[derive(Debug)]
struct Guard {
    planning: bool,
    says: Option<Arc<Progress>>,
}

#[dyn_dispatch_hint]
impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "ecs-pipe guard"
    }

    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match cfg.load::<Metadata>() {
            Some(call) if self.planning && !reads(call.name()) => Err(format!("{} refused: --plan only reads", call.name()).into()),
            None if self.planning => Err("a call without a name refused: --plan only reads".into()),
            _ => Ok(()),
        }
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(progress), Some(call)) = (&self.says, cfg.load::<Metadata>()) {
            let (status, id) = context
                .response()
                .map_or(("no answer".to_owned(), None), |answer| (answer.status().as_u16().to_string(), answer.headers().request_id()));
            progress.say(Event::Call, &format!("{} {}: {status}, request ID {}", call.service(), call.name(), id.unwrap_or("none")));
        }
        Ok(())
    }
}

/// Returns whether a call only reads: AWS gives such calls these verbs.
fn reads(operation: &str) -> bool {
    ["Describe", "Get", "List", "Head", "BatchGet", "BatchCheck", "Filter"].iter().any(|verb| operation.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use aws_config::SdkConfig;
    use aws_sdk_sts::config::Credentials;

    use super::*;

    fn sts(planning: bool) -> aws_sdk_sts::Client {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")))
            .retry_config(RetryConfig::disabled())
            // Nobody listens there: a call that gets through fails otherwise than one that is refused.
            .endpoint_url("http://127.0.0.1:1")
            .build();
        let config = aws_sdk_sts::config::Builder::from(&config).interceptor(SharedInterceptor::new(Guard { planning, says: None }));
        aws_sdk_sts::Client::from_conf(config.build())
    }

    /// What a call fails with.
    fn said<T, E: std::error::Error + 'static>(call: impl Future<Output = std::result::Result<T, E>>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let failed = runtime.block_on(call).err().unwrap();
        aws_smithy_types::error::display::DisplayErrorContext(failed).to_string()
    }

    #[test]
    fn planning_a_mutating_call_is_refused_inside_the_client() {
        let refusal = "AssumeRole refused: --plan only reads";
        assert!(said(sts(true).assume_role().role_arn("r").role_session_name("s").send()).contains(refusal));
        assert!(!said(sts(false).assume_role().role_arn("r").role_session_name("s").send()).contains(refusal));
        assert!(!said(sts(true).get_caller_identity().send()).contains("refused: --plan"));
    }

    #[test]
    fn reads_are_known_by_their_verb() {
        assert!(reads("DescribeVpcs") && reads("BatchGetImage") && reads("GetAuthorizationToken"));
        assert!(!reads("CreateVpc") && !reads("PutMetricAlarm") && !reads("RegisterTaskDefinition") && !reads("TagResource"));
    }
}
