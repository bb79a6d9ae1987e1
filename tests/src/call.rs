//! One call of a tool to AWS.

/// A call, as AWS receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// IAM's name of the action, as in `ec2:CreateVpc`.
    pub action: String,
    pub status: u16,
    /// The path with its query.
    pub path: String,
    /// The request's body: JSON, also when it was CBOR, or a form.
    pub body: String,
    /// What AWS answered.
    pub answer: String,
}

impl Call {
    #[must_use]
    pub fn service(&self) -> &str {
        self.action.split_once(':').map_or("", |(service, _)| service)
    }

    /// Returns whether the call changes something. AWS uses these verbs for actions that only read.
    #[must_use]
    pub fn mutates(&self) -> bool {
        let operation = self.action.split_once(':').map_or("", |(_, operation)| operation);
        !["Describe", "Get", "List", "BatchGet", "BatchCheck"].iter().any(|verb| operation.starts_with(verb))
    }
}
