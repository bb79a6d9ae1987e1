//! One call of a tool to AWS.

use std::ops::Range;
use std::time::Instant;

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
    /// From the call's arrival to AWS's answer.
    pub time: Range<Instant>,
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

/// Returns the longest sequence of calls of which each began after the one before it had ended.
#[must_use]
pub fn longest_chain(calls: &[Call]) -> Vec<&str> {
    let mut calls: Vec<&Call> = calls.iter().collect();
    calls.sort_by_key(|call| call.time.start);
    let mut chains: Vec<(&Call, Vec<&str>)> = Vec::new();
    for call in calls {
        let before = chains.iter().filter(|(other, _)| other.time.end <= call.time.start).map(|(_, chain)| chain);
        let chain = before.max_by_key(|chain| chain.len()).into_iter().flatten().copied().chain([call.action.as_str()]).collect();
        chains.push((call, chain));
    }
    chains.into_iter().map(|(_, chain)| chain).max_by_key(Vec::len).unwrap_or_default()
}
