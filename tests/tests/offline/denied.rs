//! Credentials without permissions.

use tests::Faults;
use tests::tool::TOOLS;

use super::{nothing, run};

#[test]
fn a_denied_call_is_an_error_with_its_action() {
    let relay = nothing();
    relay.fail(Faults { denied: true, ..Faults::default() });
    for tool in TOOLS {
        let said = run(&relay.endpoint, tool, &["--down", "--app", "denied"], "");
        assert_eq!((said.code, said.stdout.as_str()), (77, ""), "{tool}: {}", said.stderr);
        let names_an_action =
            said.stderr.contains("sts:GetCallerIdentity") || said.stderr.contains(":Describe") || said.stderr.contains(":List");
        assert!(names_an_action || said.stderr.contains(":Get"), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains("--policy prints all permissions that this tool needs"), "{tool}: {}", said.stderr);
    }
}
