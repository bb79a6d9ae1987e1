//! What AWS refuses: its codes, and which of them mean the same.

/// What AWS refused, in AWS's words.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}: {code}: {message} ({action}, request ID {request_id}){hint}")]
pub struct Refusal {
    /// What was tried, on which resource, as in "create the VPC of shop".
    pub doing: String,
    /// The IAM action of the call, as in `ec2:CreateVpc`.
    pub action: String,
    pub code: String,
    pub message: String,
    pub request_id: String,
    pub(super) kind: Kind,
    pub(super) hint: String,
}

/// The short name of an error that has no constructor of its own, and what to do, as the end of its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    pub name: &'static str,
    pub advice: &'static str,
}

impl Code {
    pub const fn new(name: &'static str, advice: &'static str) -> Self {
        Self { name, advice }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Refused,
    Quota,
    Gone,
    Exists,
    Denied,
    /// The credentials are not valid, or there are none.
    Unknown,
    Throttled,
    Fault,
}

impl Refusal {
    pub(super) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Refused | Kind::Quota | Kind::Gone | Kind::Exists => 1,
            Kind::Throttled | Kind::Fault => 75,
            Kind::Denied | Kind::Unknown => 77,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.code().name
    }
}

impl Kind {
    pub fn of(code: &str, message: &str, status: u16) -> Self {
        if DENIED.contains(&code) {
            Self::Denied
        } else if UNKNOWN.contains(&code) {
            Self::Unknown
        } else if THROTTLED.contains(&code) {
            Self::Throttled
        } else if code.contains("NotFound") || GONE.contains(&code) || (code == "ValidationError" && message.contains("not found")) {
            Self::Gone
        } else if code.contains("AlreadyExists") || EXISTS.contains(&code) || EXISTS_SAYS.iter().any(|words| message.contains(words)) {
            Self::Exists
        } else if status >= 500 {
            Self::Fault
        } else if code.contains("LimitExceeded") {
            Self::Quota
        } else {
            Self::Refused
        }
    }

    pub fn code(self) -> Code {
        match self {
            Self::Refused => Code::new("aws-refused", ". Fix the cause and run the same command again"),
            // AWS's message names the quota.
            Self::Quota => Code::new(
                "aws-quota",
                ". Delete what you no longer need, or request a higher quota (Service Quotas in the AWS console), and run the same command again",
            ),
            Self::Gone => Code::new("aws-not-found", ". Check that it exists, in this account and region, and run the same command again"),
            Self::Exists => Code::new("aws-already-exists", ". Rename or delete what has the name, and run the same command again"),
            Self::Denied => Code::new(
                "aws-denied",
                ". Allow the denied action for these credentials, or use other credentials. --policy prints all permissions that this tool needs",
            ),
            Self::Unknown => {
                Code::new("aws-credentials", ". Renew the credentials (`aws sso login`, or new keys), and check the clock of this machine")
            }
            Self::Throttled => Code::new("aws-throttled", ". AWS limits the rate of calls. Run the same command again in a minute"),
            Self::Fault => Code::new("aws-fault", ". This is a fault of AWS. Run the same command again"),
        }
    }
}

/// Codes that mean "this caller may not".
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>
const DENIED: &[&str] =
    &["AccessDenied", "AccessDeniedException", "AuthorizationError", "NotAuthorized", "OptInRequired", "UnauthorizedOperation"];

/// Codes that mean "these credentials are not valid".
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

/// Each service has its own codes for throttling: EC2, then ECS and ELB, CloudWatch, IAM, Auto Scaling.
const THROTTLED: &[&str] =
    &["RequestLimitExceeded", "ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException", "SlowDown"];

/// Codes of "not found" that do not contain `NotFound`.
const GONE: &[&str] = &["NoSuchEntity", "NoSuchEntityException", "ServiceNotActiveException"];

/// Codes of "exists already" that do not contain `AlreadyExists`. AWS returns `IdempotentParameterMismatch` when another run created the resource
/// with other tags, EventBridge Scheduler `ConflictException`, and EC2 `Resource.AlreadyAssociated` for a table or gateway that already has what it is given.
const EXISTS: &[&str] = &[
    "ConflictException",
    "Duplicate",
    "DuplicateListener",
    "DuplicateRequest",
    "DuplicateLoadBalancerName",
    "DuplicateTargetGroupName",
    "IdempotentParameterMismatch",
    "InvalidGroup.Duplicate",
    "InvalidPermission.Duplicate",
    "InvalidSubnet.Conflict",
    "PriorityInUse",
    "Resource.AlreadyAssociated",
];

/// The same in messages, where there is no code: ECS of a service and of a capacity provider, Application Auto Scaling of a scalable target.
const EXISTS_SAYS: &[&str] = &["was not idempotent", "capacity provider already exists", "that you tried to tag already exists"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_each_service_own_words() {
        assert_eq!(Kind::of("RequestLimitExceeded", "", 503), Kind::Throttled);
        assert_eq!(Kind::of("InvalidVpcID.NotFound", "", 400), Kind::Gone);
        assert_eq!(Kind::of("ValidationError", "AutoScalingGroup name not found - shop", 400), Kind::Gone);
        assert_eq!(Kind::of("UnauthorizedOperation", "", 403), Kind::Denied);
        assert_eq!(Kind::of("InternalError", "", 500), Kind::Fault);
        assert_eq!(Kind::of("EntityAlreadyExists", "", 409), Kind::Exists);
        assert_eq!(Kind::of("InvalidParameterException", "Creation of service was not idempotent.", 400), Kind::Exists);
        assert_eq!(Kind::of("DependencyViolation", "", 400), Kind::Refused);
        assert_eq!(Kind::of("VpcLimitExceeded", "", 400), Kind::Quota);
    }
}
