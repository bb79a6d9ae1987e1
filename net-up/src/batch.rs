//! EC2's calls on several resources: they return 200 and list the resources for which they failed.

use aws_sdk_ec2::types::{UnsuccessfulItem, UnsuccessfulItemError};
use shared::{Error, Result};

/// Returns the first failure as an error. `doing` completes "could not …".
pub fn check(items: &[UnsuccessfulItem], doing: &str) -> Result<()> {
    first(items.iter().filter_map(UnsuccessfulItem::error), doing)
}

/// The same for a call that deletes: a resource that does not exist counts as deleted.
pub fn check_deleted(items: &[UnsuccessfulItem], doing: &str) -> Result<()> {
    let is_gone = |failed: &UnsuccessfulItemError| failed.code().is_some_and(|code| code.contains("NotFound"));
    first(items.iter().filter_map(UnsuccessfulItem::error).filter(|failed| !is_gone(failed)), doing)
}

fn first<'a>(mut failures: impl Iterator<Item = &'a UnsuccessfulItemError>, doing: &str) -> Result<()> {
    let Some(failed) = failures.next() else { return Ok(()) };
    let (code, message) = (failed.code().unwrap_or("no code"), failed.message().unwrap_or("no message"));
    Err(Error::failed("unsuccessful-item", format!("could not {doing}: {code}: {message}. Fix the cause and run the same command again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_item_is_an_error_unless_it_is_deleted_already() {
        let item = |code: &str| {
            let error = UnsuccessfulItemError::builder().code(code).message("said so").build();
            UnsuccessfulItem::builder().resource_id("fl-1").error(error).build()
        };
        assert!(check(&[], "delete fl-1").is_ok() && check_deleted(&[], "delete fl-1").is_ok());
        assert!(check(&[item("InvalidFlowLogId.NotFound")], "create it").is_err());
        assert!(check_deleted(&[item("InvalidFlowLogId.NotFound")], "delete fl-1").is_ok());
        let said = check_deleted(&[item("InvalidFlowLogId.NotFound"), item("Denied")], "delete fl-1").unwrap_err().to_string();
        assert!(said.starts_with("could not delete fl-1: Denied: said so. "), "{said}");
    }
}
