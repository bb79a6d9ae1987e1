//! Wrong flags: exit code 2, and an error that names the flag.

use serde_json::json;

use super::{live, nothing, refused};

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let relay = nothing();
    let mut deployed = live(&json!({"web": {"image": "x"}}));
    deployed["svc"] = json!({"services": {"web": {"arn": "arn:aws:ecs:us-east-1:000000000000:service/bad/web"}}});
    let (new, deployed) = (r#"{"name": "bad"}"#, deployed.to_string());
    let cases: [(&str, &[&str], &str, &str); 19] = [
        ("net-up", &["--nat", "many"], new, "--nat"),
        ("net-up", &["--tag", "novalue"], new, "--tag"),
        ("net-up", &["--app", "My App"], new, "--app"),
        ("net-up", &["--cidr", "10.0.0.0"], new, "--cidr"),
        ("net-up", &["--timeout", "soon"], new, "--timeout"),
        ("net-up", &["--public-subnets", "subnet-1,subnet-2"], new, "--public-subnets: these subnets are in an existing VPC"),
        ("net-up", &["--vpc", "vpc-1", "--cidr", "10.0.0.0/16"], new, "--cidr: can't be set together with `vpc`"),
        ("cluster-up", &["--max", "1"], &deployed, "--max: must be at least 2, the value of x-cluster.min; found 1"),
        ("img-push", &["--tag-images", ".bad"], &deployed, "--tag-images: must be 1 to 128 letters"),
        ("svc-deploy", &["--service", "web", "--breaker", "maybe"], &deployed, "--breaker"),
        ("svc-deploy", &["--service", "web", "--port", "80", "--path", "api"], &deployed, "--path (for services.web): must be a path"),
        (
            "svc-deploy",
            &["--service", "web", "--health-interval", "1"],
            &deployed,
            "--health-interval (for services.web): must be between 5",
        ),
        ("svc-deploy", &["--service", "web", "--prune"], &deployed, "--prune"),
        ("svc-deploy", &["--service", "web", "--memory", "much"], &deployed, "--memory: must be a number of bytes"),
        ("svc-deploy", &["--service", "web", "--port", "0"], &deployed, "--port: must be a port between 1"),
        ("scale-set", &["--min", "20", "--max", "3"], &deployed, "--min (for services.web): must be at most the maximum of 3; found 20"),
        ("scale-set", &["--max", "1"], &deployed, "--max (for services.web): must be at least the minimum of 2; found 1"),
        ("scale-set", &["--cpu", "170"], &deployed, "--cpu (for services.web): must be between 1 and 100; found 170"),
        ("scale-set", &["--instances-min", "2"], &deployed, "--instances-min: is a setting of instances"),
    ];
    for (tool, args, doc, says) in cases {
        refused(&relay, (tool, args), doc, (2, says));
    }
    assert_eq!(relay.calls(), [], "no AWS call was made");
}
