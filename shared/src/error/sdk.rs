//! From the SDK's results to errors, and what those say about AWS.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

use super::kind::{Error, Result};
use super::refusal::{Kind, Refusal};

/// Turns an SDK result into ours, with what was tried: `.tried("create the VPC")?`.
pub trait Tried<T> {
    /// # Errors
    /// Returns what AWS said, as an [`Error`] of the right kind.
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

impl Error {
    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Aws(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns whether AWS says that the resource does not exist, or is not visible yet.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.kind == Kind::Gone)
    }

    /// Returns what was being created when AWS said that it exists already: an earlier call created it, though its answer was lost, or another run.
    #[must_use]
    pub fn already_exists(&self) -> Option<&str> {
        self.refusal().filter(|refusal| refusal.kind == Kind::Exists).map(|refusal| refusal.doing.as_str())
    }

    /// Returns whether it is unknown if AWS acted: no answer came, or one that says nothing.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Unavailable(_)) || self.refusal().is_some_and(|refusal| refusal.kind == Kind::Fault)
    }

    /// Returns whether AWS refused with this code.
    #[must_use]
    pub fn is_code(&self, code: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == code)
    }

    /// Returns whether IAM says that something still uses the resource: what was detached a moment ago is not gone everywhere yet.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.is_code("DeleteConflict")
    }

    /// Returns whether AWS's message contains these words; for the few errors that have no code of their own.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        match self {
            Self::Aws(refusal) => refusal.message.contains(words),
            Self::Failed(text) => text.to_string().contains(words),
            _ => false,
        }
    }

    /// The same, with for how long it was tried.
    pub(crate) fn said_for(mut self, time: &str) -> Self {
        if let Self::Aws(refusal) = &mut self {
            refusal.hint =
                format!(". The call was repeated for {time}, because new resources may take a while to be visible{}", refusal.hint);
        }
        self
    }
}

fn from_sdk<E>(error: &SdkError<E, HttpResponse>, doing: String) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let request_id = error.request_id().unwrap_or("unknown").to_owned();
    let action = action_of(std::any::type_name::<E>());
    let (code, message, status) = match error {
        SdkError::ServiceError(said) => match (said.err().code(), said.err().message()) {
            (None, None) => return unreadable(&doing, said.raw(), &action, &request_id),
            (code, message) => {
                let status = said.raw().status().as_u16();
                let code = code.map_or_else(|| format!("HTTP {status}"), str::to_owned);
                (code, message.unwrap_or("there is no message").to_owned(), status)
            }
        },
        SdkError::ResponseError(said) => return unreadable(&doing, said.raw(), &action, &request_id),
        other => return unanswered(&DisplayErrorContext(other).to_string(), &causes(other), &doing),
    };
    let kind = Kind::of(&code, &message, status);
    let hint = kind.code().advice.to_owned();
    Error::Aws(Box::new(Refusal { doing, action, code, message, request_id, kind, hint }))
}

/// The response is not AWS's. What the SDK says of it is in Rust's words and may contain the response, which may have secret values.
fn unreadable(doing: &str, response: &HttpResponse, action: &str, request_id: &str) -> Error {
    let status = response.status().as_u16();
    Error::unanswered(
        "unreadable-answer",
        format!(
            "could not {doing}: the response can't be read (HTTP {status}, {action}, request ID {request_id}). A proxy between this machine and AWS may have sent it. Check AWS_ENDPOINT_URL and the proxy, and run the same command again"
        ),
    )
}

/// Words of the SDK's errors that mean "there are no credentials"; they have no type of their own.
const NO_CREDENTIALS: &[&str] = &[
    "CredentialsNotLoaded",
    "InvalidConfiguration",
    "no providers in chain",
    "could not load credentials",
    "failed to load IMDS",
    "while loading credentials",
];

/// No answer came at all: no credentials, no network, or the time of one call was up.
fn unanswered(context: &str, causes: &str, doing: &str) -> Error {
    if NO_CREDENTIALS.iter().any(|words| context.contains(words)) {
        let hint = if causes.contains("not enabled") {
            ". The named profile has no credentials, or does not exist: `aws configure list-profiles` lists the profiles"
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
        "could not {doing}: AWS did not answer ({causes}). Check the network, the region and AWS_ENDPOINT_URL, then run the same command again"
    );
    // Without a connection there is no network; otherwise the answer was lost.
    if ["tcp connect error", "dns error"].iter().any(|words| context.contains(words)) {
        Error::unavailable("no-network", text)
    } else {
        Error::unanswered("no-answer", text)
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

/// Returns the IAM action of an SDK error type: `aws_sdk_ec2::operation::create_vpc::CreateVpcError` is `ec2:CreateVpc`.
/// The SDKs name their error types after the operation, and so does IAM its actions.
fn action_of(type_name: &str) -> String {
    let service = type_name.split("::").next().unwrap_or_default().trim_start_matches("aws_sdk_");
    let operation = type_name.rsplit("::").next().unwrap_or_default().trim_end_matches("Error");
    let prefix = match service {
        "applicationautoscaling" => "application-autoscaling",
        "cloudwatchlogs" => "logs",
        "efs" => "elasticfilesystem",
        "elasticloadbalancingv2" => "elasticloadbalancing",
        other => other,
    };
    format!("{prefix}:{operation}")
}

#[cfg(test)]
mod tests {
    use super::action_of;

    #[test]
    fn actions_follow_iam() {
        assert_eq!(action_of("aws_sdk_ec2::operation::create_vpc::CreateVpcError"), "ec2:CreateVpc");
        assert_eq!(action_of("aws_sdk_elasticloadbalancingv2::operation::create_rule::CreateRuleError"), "elasticloadbalancing:CreateRule");
    }
}
