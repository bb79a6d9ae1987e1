//! No network. Not in `offline`, because a tool retries for about a minute.

use tests::run;

/// A tool without a network retries for a while. Its error says what to check.
#[test]
fn an_unreachable_aws_is_an_error_that_says_what_to_check() {
    let said = run("http://127.0.0.1:1", "alarms-set", &["--down", "--app", "alone"], "");
    assert_eq!((said.code, said.stdout.as_str()), (69, ""), "{}", said.stderr);
    assert!(said.stderr.contains("Check the network, the region and AWS_ENDPOINT_URL"), "{}", said.stderr);
}
