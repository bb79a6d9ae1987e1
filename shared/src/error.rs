//! Everything that can go wrong, each kind with its exit code (contract: "Exit codes").

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One kind a way of going wrong; the texts are what the user reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Usage(String),
    /// `path` is the place in the document, as in `services.web.ports[0]`.
    #[error("the document is wrong at {path}: {what}")]
    Document { path: String, what: String },
    #[error(
        "the document has no section \"{section}\": {maker} makes it. Either {maker} is not in the pipe before this, or it has failed and its error stands above; nothing was touched"
    )]
    Missing { section: &'static str, maker: &'static str },
    #[error("{0}")]
    Aws(Box<Refusal>),
    /// AWS or Docker did what was asked, but it did not come out well.
    #[error("{0}")]
    Failed(String),
    /// Forbidden, but said by another than AWS's API.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unavailable(String),
    /// AWS was asked, but no answer came: whether it acted is not known, and the same command finds out.
    #[error("{0}")]
    Unanswered(String),
    #[error(
        "waited {after} for {waiting_for}{said}. AWS goes on working: run the same command again to go on waiting, or give it longer with --timeout"
    )]
    Deadline { waiting_for: String, after: String, said: String },
    #[error("interrupted")]
    Interrupted { signal: i32 },
}

/// What AWS said no to, in AWS's words.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}: {code}: {message} ({action}, request id {request_id}){hint}")]
pub struct Refusal {
    /// What was tried, on what, as in "create the VPC of shop".
    pub doing: String,
    /// The IAM action of the call, as in `ec2:CreateVpc`.
    pub action: String,
    pub code: String,
    pub message: String,
    pub request_id: String,
    kind: Kind,
    hint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Refused,
    Gone,
    Exists,
    Denied,
    Unknown,
    Throttled,
    Fault,
}

/// Codes that mean "this caller may not".
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>
const DENIED: &[&str] =
    &["AccessDenied", "AccessDeniedException", "AuthorizationError", "NotAuthorized", "OptInRequired", "UnauthorizedOperation"];

/// Codes that mean "these credentials are not taken".
const UNKNOWN: &[&str] = &[
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Each service throttles in its own words: EC2, then ECS/ELB, CloudWatch, IAM, Auto Scaling.
const THROTTLED: &[&str] =
    &["RequestLimitExceeded", "ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException", "SlowDown"];

/// Codes of "not there" that do not contain `NotFound`.
const GONE: &[&str] = &["NoSuchEntity", "NoSuchEntityException", "ServiceNotActiveException"];

/// Codes of "there already" that do not contain `AlreadyExists`; `IdempotentParameterMismatch` is said when another run has made it with other tags,
/// the last one by a table or gateway that has what it is given.
const EXISTS: &[&str] = &[
    "Duplicate",
    "DuplicateListener",
    "DuplicateLoadBalancerName",
    "DuplicateTargetGroupName",
    "IdempotentParameterMismatch",
    "InvalidGroup.Duplicate",
    "InvalidPermission.Duplicate",
    "InvalidSubnet.Conflict",
    "PriorityInUse",
    "Resource.AlreadyAssociated",
];

impl Error {
    /// A value in the document is wrong at `path`. What somebody else has written may be long; a message is not.
    pub fn document(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Document { path: cut(path.into(), 200), what: cut(what.into(), 600) }
    }

    /// The process's exit code for this kind; the only place where one is chosen.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Denied(_) => 77,
            Self::Usage(_) => 2,
            Self::Document { .. } | Self::Missing { .. } => 65,
            Self::Unavailable(_) => 69,
            Self::Unanswered(_) | Self::Deadline { .. } => 75,
            Self::Interrupted { signal } => u8::try_from(128 + signal).unwrap_or(130),
            Self::Aws(refusal) => match refusal.kind {
                Kind::Refused | Kind::Gone | Kind::Exists => 1,
                Kind::Throttled | Kind::Fault => 75,
                Kind::Denied | Kind::Unknown => 77,
            },
        }
    }

    /// A wrong flag, found where the document is checked.
    pub(crate) fn of_flag(self) -> Self {
        match self {
            Self::Document { path, what } => Self::Usage(format!("{path}: {what}")),
            other => other,
        }
    }

    /// AWS says that the thing does not exist (any more, or not yet visible).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Aws(refusal) if refusal.kind == Kind::Gone)
    }

    /// What was being made, when AWS says that it is there already: a call before has made it, though its answer was lost, or another run has.
    #[must_use]
    pub fn there_already(&self) -> Option<&str> {
        match self {
            Self::Aws(refusal) if refusal.kind == Kind::Exists => Some(&refusal.doing),
            _ => None,
        }
    }

    /// Whether AWS has acted is not known: no answer came, or one that says nothing.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::Unanswered(_) | Self::Unavailable(_) => true,
            Self::Aws(refusal) => refusal.kind == Kind::Fault,
            _ => false,
        }
    }

    /// AWS refused with this code.
    #[must_use]
    pub fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Aws(refusal) if refusal.code == code)
    }

    /// IAM says that something still holds the thing: what was taken from it a moment ago is not gone everywhere yet.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.is_code("DeleteConflict")
    }

    /// What AWS said contains these words; for the few errors that have no code of their own, or stand in an answer that is none.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        match self {
            Self::Aws(refusal) => refusal.message.contains(words),
            Self::Failed(text) => text.contains(words),
            _ => false,
        }
    }

    /// The same, and that it was said again and again.
    pub(crate) fn said_for(mut self, time: &str) -> Self {
        if let Self::Aws(refusal) = &mut self {
            refusal.hint = format!(". It was tried for {time}, as AWS may need a while to know what is new{}", refusal.hint);
        }
        self
    }
}

/// Turns an SDK result into ours, with what was being done: `.tried("create the VPC")?`.
pub trait Tried<T> {
    /// # Errors
    /// What AWS said, as an [`Error`] of the right kind.
    fn tried(self, doing: impl Into<String>) -> Result<T>;
}

impl<T, E> Tried<T> for Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn tried(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|error| from_sdk(&error, doing.into()))
    }
}

fn cut(text: String, most: usize) -> String {
    if text.chars().nth(most).is_none() { text } else { text.chars().take(most).chain(['…']).collect() }
}

fn from_sdk<E>(error: &SdkError<E, HttpResponse>, doing: String) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let request_id = error.request_id().unwrap_or("unknown").to_owned();
    let (code, message, status) = match error {
        SdkError::ServiceError(said) => {
            let status = said.raw().status().as_u16();
            let code = said.err().code().map_or_else(|| format!("HTTP {status}"), str::to_owned);
            (code, said.err().message().map_or_else(|| DisplayErrorContext(said.err()).to_string(), str::to_owned), status)
        }
        SdkError::ResponseError(said) => {
            let status = said.raw().status().as_u16();
            (format!("HTTP {status}"), format!("the answer could not be read: {}", DisplayErrorContext(error)), status)
        }
        other => return unanswered(&DisplayErrorContext(other).to_string(), &causes(other), &doing),
    };
    let kind = kind_of(&code, &message, status);
    let hint = match kind {
        Kind::Denied => {
            ". The credentials in use may not do this: allow the action named above (--policy prints everything this tool needs), or use other credentials"
        }
        Kind::Unknown => {
            ". AWS does not take these credentials: renew them (`aws sso login`, or new keys), and see that the clock of this machine is right"
        }
        Kind::Throttled => ". AWS asks to slow down: run the same command again in a minute",
        Kind::Fault => ". This is a fault on AWS's side: run the same command again",
        // Of a quota AWS says which one it is.
        Kind::Refused if code.contains("LimitExceeded") => {
            ". Delete what is not needed any more, or have the quota raised (Service Quotas in AWS's console), and run the same command again"
        }
        Kind::Refused | Kind::Gone | Kind::Exists => ". When that is mended, run the same command again",
    }
    .to_owned();
    Error::Aws(Box::new(Refusal { doing, action: action_of(std::any::type_name::<E>()), code, message, request_id, kind, hint }))
}

/// No answer came at all: no credentials, no network, or the time of one call was up.
fn unanswered(context: &str, causes: &str, doing: &str) -> Error {
    let no_credentials = [
        "CredentialsNotLoaded",
        "InvalidConfiguration",
        "no providers in chain",
        "could not load credentials",
        "failed to load IMDS",
        "while loading credentials",
    ];
    if no_credentials.iter().any(|words| context.contains(words)) {
        let hint = if causes.contains("not enabled") {
            ". Of a profile that is named, that means that it has none: `aws configure list-profiles` lists those that there are"
        } else {
            ". Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login`"
        };
        return Error::Aws(Box::new(Refusal {
            doing: doing.to_owned(),
            action: "sts:GetCallerIdentity".to_owned(),
            code: "NoCredentials".to_owned(),
            message: format!("no AWS credentials were found ({causes})"),
            request_id: "none".to_owned(),
            kind: Kind::Unknown,
            hint: hint.to_owned(),
        }));
    }
    let text = format!(
        "could not {doing}: no answer from AWS ({causes}). Check the network, the region and AWS_ENDPOINT_URL, then run the same command again"
    );
    // Where nobody can be reached there is no network; elsewhere the answer got lost.
    if ["tcp connect error", "dns error"].iter().any(|words| context.contains(words)) {
        Error::Unavailable(text)
    } else {
        Error::Unanswered(text)
    }
}

/// An error and its causes in words, each once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// The same in words: ECS of a service and of a capacity provider, Application Auto Scaling of a scalable target.
const EXISTS_SAYS: &[&str] = &["was not idempotent", "capacity provider already exists", "that you tried to tag already exists"];

fn kind_of(code: &str, message: &str, status: u16) -> Kind {
    if DENIED.contains(&code) {
        Kind::Denied
    } else if UNKNOWN.contains(&code) {
        Kind::Unknown
    } else if THROTTLED.contains(&code) {
        Kind::Throttled
    } else if code.contains("NotFound") || GONE.contains(&code) || (code == "ValidationError" && message.contains("not found")) {
        Kind::Gone
    } else if code.contains("AlreadyExists") || EXISTS.contains(&code) || EXISTS_SAYS.iter().any(|words| message.contains(words)) {
        Kind::Exists
    } else if status >= 500 {
        Kind::Fault
    } else {
        Kind::Refused
    }
}

/// The IAM action of an SDK error type: `aws_sdk_ec2::operation::create_vpc::CreateVpcError` is `ec2:CreateVpc`.
/// The SDKs name their error types after the operation, and IAM names its actions so too.
fn action_of(type_name: &str) -> String {
    let service = type_name.split("::").next().unwrap_or_default().trim_start_matches("aws_sdk_");
    let operation = type_name.rsplit("::").next().unwrap_or_default().trim_end_matches("Error");
    let prefix = match service {
        "applicationautoscaling" => "application-autoscaling",
        "cloudwatchlogs" => "logs",
        "elasticloadbalancingv2" => "elasticloadbalancing",
        other => other,
    };
    format!("{prefix}:{operation}")
}

/// A value that AWS always gives, though its SDK does not promise it.
///
/// # Errors
/// That it was not given after all.
pub fn given<T: ToOwned + ?Sized>(value: Option<&T>, what: &str) -> Result<T::Owned> {
    value.map(ToOwned::to_owned).ok_or_else(|| Error::Failed(format!("AWS answered without {what}; run the same command again")))
}

/// Makes `None` of "not there".
///
/// # Errors
/// Every other error, unchanged.
pub fn if_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_follow_iam() {
        assert_eq!(action_of("aws_sdk_ec2::operation::create_vpc::CreateVpcError"), "ec2:CreateVpc");
        assert_eq!(action_of("aws_sdk_elasticloadbalancingv2::operation::create_rule::CreateRuleError"), "elasticloadbalancing:CreateRule");
    }

    #[test]
    fn kinds_follow_each_service_own_words() {
        assert_eq!(kind_of("RequestLimitExceeded", "", 503), Kind::Throttled);
        assert_eq!(kind_of("InvalidVpcID.NotFound", "", 400), Kind::Gone);
        assert_eq!(kind_of("ValidationError", "AutoScalingGroup name not found - shop", 400), Kind::Gone);
        assert_eq!(kind_of("UnauthorizedOperation", "", 403), Kind::Denied);
        assert_eq!(kind_of("InternalError", "", 500), Kind::Fault);
        assert_eq!(kind_of("EntityAlreadyExists", "", 409), Kind::Exists);
        assert_eq!(kind_of("InvalidParameterException", "Creation of service was not idempotent.", 400), Kind::Exists);
        assert_eq!(kind_of("DependencyViolation", "", 400), Kind::Refused);
    }
}
