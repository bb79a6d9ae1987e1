//! Tests of the pipe, or of all tools, with a local AWS.

mod compose;
mod document;
mod drift;
mod faults;
mod flags;
mod interrupts;
mod kills;
mod life;
mod masked;
mod names;
mod nonsense;
mod plans;
mod policy;
mod secrets;
mod selection;
mod storage;
mod together;
mod unmanaged;
mod unreachable;

/// Creates the service-linked role of the account, if no test has created it yet. With it, a plan
/// is the same in each run.
pub fn create_service_linked_role(clients: &tests::Clients) {
    let call = clients.iam.create_service_linked_role().aws_service_name("ecs.amazonaws.com");
    // An error says that the role exists.
    let _ = clients.wait(call.send());
}
