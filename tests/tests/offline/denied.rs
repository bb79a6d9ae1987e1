//! Credentials without permissions, and machines without root certificates.

use tests::Faults;
use tests::tool::{TOOLS, command, finish, spawn};

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

/// As in a container image without the package ca-certificates.
#[test]
fn missing_root_certificates_are_an_error() {
    for tool in TOOLS {
        let mut command = command(tool, &["--down", "--app", "alone"]);
        let child = spawn(command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/dev/null"), &nothing().endpoint);
        let said = finish(child, "");
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{tool}: {}", said.stderr);
        assert!(said.stderr.contains("error[no-root-certificates]"), "{tool}: {}", said.stderr);
    }
}
