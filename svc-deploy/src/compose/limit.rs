//! What AWS accepts in names and values that the document sets. A value that it refuses is refused before anything is created.

use shared::Result;
use shared::doc::{At, is_policy};

/// Characters of a path or host in a rule.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RuleCondition.html>
const LONGEST_CONDITION: usize = 128;
/// Codes of HTTP that can mean healthy.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Matcher.html>
const CODES: std::ops::RangeInclusive<u16> = 200..=499;
/// Managed policies of a role: 10, or 20 on request.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const MOST_POLICIES: usize = 20;
/// Tags of one resource, without those that ecs-pipe and AWS add.
const MOST_TAGS: usize = 40;
/// Characters of a parameter's name, so that its ARN and the policies that name it stay within theirs.
const LONGEST_PARAMETER: usize = 255;
/// Characters of the folder of an access point, with the slash at its beginning.
/// <https://docs.aws.amazon.com/efs/latest/ug/API_RootDirectory.html>
const LONGEST_FOLDER: usize = 100;
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Ulimit.html>
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn has_only(text: &str, more: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// Returns whether a rule accepts this path.
pub fn is_rule_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= LONGEST_CONDITION && has_only(path, "_-.$/~\"'@:+&*?")
}

/// Returns whether a rule accepts this host.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html#host-conditions>
pub fn is_rule_host(host: &str) -> bool {
    let is_end = |last: &str| !last.is_empty() && last.chars().all(|c| c.is_ascii_alphabetic());
    host.len() <= LONGEST_CONDITION && has_only(host, "-_.*?") && host.rsplit_once('.').is_some_and(|(_, last)| is_end(last))
}

/// Returns whether a health check accepts these codes: `200`, `200,204` or `200-399`.
pub fn is_codes(codes: &str) -> bool {
    let code = |text: &str| text.parse().ok().filter(|code: &u16| text.len() == 3 && CODES.contains(code));
    codes.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => code(first).zip(code(last)).is_some_and(|(first, last)| first <= last),
        None => code(part).is_some(),
    })
}

/// Checks the name of a variable.
pub fn check_variable(name: &str, at: &At<'_>) -> Result<()> {
    if !name.is_empty() && !name.contains(['=', '\0']) {
        return Ok(());
    }
    Err(at.wrong("variable-name", format!("the name of a variable must not be empty, and must have no =; found {name:?}")))
}

/// Checks the name of a secret whose value Systems Manager keeps.
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>
pub fn check_parameter(name: &str, at: &At<'_>) -> Result<()> {
    if (1..=LONGEST_PARAMETER).contains(&name.len()) && has_only(name, "_.-") {
        return Ok(());
    }
    let what = "must have 1 to 255 letters, digits, dots, hyphens and underscores, because it is part of the name of an SSM parameter";
    Err(at.wrong("parameter-name", format!("the name of the secret {what}; found {name:?}")))
}

/// Checks the name of a volume that is a folder on EFS.
pub fn check_folder(name: &str, at: &At<'_>) -> Result<()> {
    if name.len() < LONGEST_FOLDER {
        return Ok(());
    }
    let what = format!("must have at most {} characters, because a folder of EFS has this name; found {}", LONGEST_FOLDER - 1, name.len());
    Err(at.wrong("volume-folder", format!("the name of the volume {what}")))
}

/// Checks the name of a limit of Linux.
pub fn check_ulimit(name: &str, at: &At<'_>) -> Result<()> {
    if ULIMITS.contains(&name) {
        return Ok(());
    }
    Err(at.wrong("ulimit-name", format!("must be one of {}; found {name:?}", ULIMITS.join(", "))))
}

/// Checks how many tags a service gets: those of the app, and its labels.
pub fn check_labels(labels: usize, tags: usize, at: &At<'_>) -> Result<()> {
    if labels + tags <= MOST_TAGS {
        return Ok(());
    }
    let what = format!("with the {tags} tags of the app, a service must have at most {MOST_TAGS}; found {labels} labels");
    Err(at.wrong("label-count", format!("{what}. AWS accepts 50 tags, and ecs-pipe adds its own")))
}

/// Checks the managed policies of a role.
pub fn check_policies<'a>(policies: impl ExactSizeIterator<Item = &'a String>, at: &At<'_>) -> Result<()> {
    let count = policies.len();
    let what = match policies.into_iter().find(|arn| !is_policy(arn)) {
        Some(other) => format!("must be ARNs of IAM policies; found {other:?}"),
        None if count > MOST_POLICIES => format!("a role must have at most {MOST_POLICIES} policies; found {count}"),
        None => return Ok(()),
    };
    Err(at.wrong("task-role-policies", what))
}

/// Returns whether S3 accepts the name of a bucket.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
pub fn is_bucket(name: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| is_edge(c) || c == '.' || c == '-')
        && name.starts_with(is_edge)
        && name.ends_with(is_edge)
        && !name.contains("..")
}

/// Returns whether this is an ARN of one of these services of AWS.
pub fn is_arn_of(arn: &str, services: &[&str]) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(parts[..], ["arn", partition, service, _, _, resource] if partition.starts_with("aws") && services.contains(&service) && !resource.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_hosts_are_checked_as_rules_do() {
        for (path, fits) in [
            ("/", true),
            ("/api/v1.0/*", true),
            ("/~user/$a_b-c/?'\"@:+&", true),
            ("api", false),
            ("/users/{id}", false),
            ("/a%20b", false),
            ("/a b", false),
            ("/(a|b)", false),
            ("/ü", false),
            (&format!("/{}", "a".repeat(127)), true),
            (&format!("/{}", "a".repeat(128)), false),
        ] {
            assert_eq!(is_rule_path(path), fits, "{path}");
        }
        for (host, fits) in [
            ("www.example.com", true),
            ("*.my-shop.example.com", true),
            ("a_b.example.com", true),
            ("localhost", false),
            ("example.com:8080", false),
            ("10.0.0.1", false),
            ("bücher.de", false),
            ("http://example.com", false),
        ] {
            assert_eq!(is_rule_host(host), fits, "{host}");
        }
    }

    #[test]
    fn codes_are_numbers_lists_and_ranges() {
        for (codes, fits) in [
            ("200", true),
            ("200-399", true),
            ("200,204,301-302", true),
            ("499", true),
            ("500", false),
            ("199-300", false),
            ("300-200", false),
            ("2xx", false),
            ("200, 204", false),
            ("0200", false),
            ("", false),
        ] {
            assert_eq!(is_codes(codes), fits, "{codes}");
        }
    }

    #[test]
    fn names_that_aws_refuses_are_refused() {
        let doc = shared::Document::parse(br#"{"services": {}}"#).unwrap();
        let at = doc.root();
        let code = |result: Result<()>| result.err().map(|error| error.code());
        for (name, wrong) in [("HOME", None), ("a.b-c", None), ("", Some("variable-name")), ("A=B", Some("variable-name"))] {
            assert_eq!(code(check_variable(name, &at)), wrong, "{name}");
        }
        for (name, wrong) in [("db_password.v1", None), ("a b", Some("parameter-name")), ("a/b", Some("parameter-name"))] {
            assert_eq!(code(check_parameter(name, &at)), wrong, "{name}");
        }
        assert_eq!(code(check_folder(&"v".repeat(99), &at)), None);
        assert_eq!(code(check_folder(&"v".repeat(100), &at)), Some("volume-folder"));
        assert_eq!((code(check_ulimit("nofile", &at)), code(check_ulimit("as", &at))), (None, Some("ulimit-name")));
        assert_eq!((code(check_labels(30, 10, &at)), code(check_labels(31, 10, &at))), (None, Some("label-count")));
    }

    #[test]
    fn the_policies_of_a_role_are_few_and_arns() {
        let doc = shared::Document::parse(json!({}).to_string().as_bytes()).unwrap();
        let code = |policies: &[String]| check_policies(policies.iter(), &doc.root()).err().map(|error| error.code());
        let many: Vec<String> = (0..21).map(|i| format!("arn:aws:iam::123456789012:policy/p{i}")).collect();
        assert_eq!((code(&many[..20]), code(&many)), (None, Some("task-role-policies")));
        assert_eq!(code(&["ReadOnlyAccess".to_owned()]), Some("task-role-policies"));
        assert_eq!(code(&["arn:aws-cn:iam::aws:policy/service-role/X".to_owned()]), None);
    }

    #[test]
    fn buckets_and_arns_are_checked() {
        for (name, fits) in [("logs.shop-1", true), ("ab", false), ("Logs", false), ("-logs", false), ("s3://logs", false), ("a..b", false)]
        {
            assert_eq!(is_bucket(name), fits, "{name}");
        }
        for (arn, fits) in [
            ("arn:aws:acm:eu-west-1:123456789012:certificate/0a", true),
            ("arn:aws-cn:iam::123456789012:server-certificate/x", true),
            ("arn:aws:kms:eu-west-1:123456789012:key/0a", false),
            ("0a-1b", false),
            ("arn:aws:acm:eu-west-1:123456789012:", false),
        ] {
            assert_eq!(is_arn_of(arn, &["acm", "iam"]), fits, "{arn}");
        }
    }
}
