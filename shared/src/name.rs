//! Names: the app's, and those of its resources, which are derived from it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The longest app name: with the longest suffix it still fits AWS's limit of 32 for load balancers.
const LONGEST: usize = 20;

/// Checks the app's name against `[a-z][a-z0-9-]{0,18}[a-z0-9]`.
///
/// # Errors
/// Says what does not fit, and suggests a name that does.
pub fn check_app(name: &str, path: &str) -> Result<()> {
    let fits = (2..=LONGEST).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return check_reserved(name, path);
    }
    let offer = offer(name).map_or_else(String::new, |name| format!(". Use for example {name:?}"));
    Err(Error::document(
        "app-name",
        path,
        format!(
            "must be 2 to {LONGEST} lower-case letters, digits and hyphens, with a letter first and no hyphen last; found {name:?}{offer}"
        ),
    ))
}

/// Security groups and load balancers have names that begin with the app's.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html>
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html>
fn check_reserved(name: &str, path: &str) -> Result<()> {
    match ["sg-", "internal-"].into_iter().find(|prefix| name.starts_with(prefix)) {
        Some(prefix) => Err(Error::document(
            "reserved-name",
            path,
            format!(
                "must not begin with {prefix:?}, because AWS refuses such names of security groups (sg-) and load balancers (internal-); found {name:?}. Give the app another name"
            ),
        )),
        None => Ok(()),
    }
}

fn offer(name: &str) -> Option<String> {
    let mapped: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let cut: String = mapped.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(LONGEST).collect();
    let cut = cut.trim_end_matches('-');
    (cut.len() >= 2).then(|| cut.to_owned())
}

/// Returns a name that AWS takes where the limit is tight: `parts` joined by hyphens. When that is longer than `limit`, it is cut and ends in a
/// hash of the whole, so that two long names stay two names.
#[must_use]
pub fn fit(parts: &[&str], limit: usize) -> String {
    let whole: String =
        parts.join("-").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>().trim_matches('-').to_owned();
    if whole.len() <= limit && parts.iter().all(|part| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
        return whole;
    }
    let ending = format!("-{}", &fingerprint(&parts.join("/"))[..8]);
    let head: String = whole.chars().take(limit - ending.len()).collect();
    format!("{}{ending}", head.trim_end_matches('-'))
}

/// Returns the name of the ECR repository of a service. A service whose name ECR does not take gets one that ends in a hash, so that `web` and
/// `Web` have two repositories. The name does not depend on the other services of the document.
#[must_use]
pub fn repository(app: &str, service: &str) -> String {
    if is_repository(service) && service.len() <= LONGEST_REPOSITORY {
        return format!("{app}/{service}");
    }
    let lower = service.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let cut: String = words.join("-").chars().take(LONGEST_REPOSITORY).collect();
    let hash = &fingerprint(service)[..8];
    match cut.trim_end_matches('-') {
        "" => format!("{app}/{hash}"),
        cut => format!("{app}/{cut}-{hash}"),
    }
}

/// ECR takes 256 characters; this leaves space for the app and the hash.
const LONGEST_REPOSITORY: usize = 200;

/// Returns whether ECR takes this name, or part of a name.
/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html>
#[must_use]
pub fn is_repository(name: &str) -> bool {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-' | '/');
    name.split(is_separator).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
}

/// Returns a short text that stays the same as long as `text` does: 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    digest(Sha256::new_with_prefix(text))
}

/// Returns 64 bits of a hash as 16 hexadecimal digits: as short as a git hash, and enough for as many things as one app has.
#[must_use]
pub fn digest(hash: Sha256) -> String {
    let digest = hash.finalize();
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_answered_with_one_that_does() {
        assert!(check_app("shop", "name").is_ok());
        for (bad, good) in [("my_shop", "\"my-shop\""), ("Shop", "\"shop\""), ("a-very-long-name-for-an-app", "\"a-very-long-name-for\"")] {
            let said = check_app(bad, "name").err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(good), "{said}");
        }
    }

    #[test]
    fn a_repository_name_is_checked_as_ecr_does() {
        for (name, fits) in [
            ("shop/web", true),
            ("my-shop/api_v2", true),
            ("shop/we__b", false),
            ("my--shop/web", false),
            ("shop/web-", false),
            ("shop/Web", false),
            ("shop/", false),
        ] {
            assert_eq!(is_repository(name), fits, "{name}");
        }
    }

    #[test]
    fn each_service_has_a_repository_of_its_own_that_ecr_takes() {
        let services = ["web", "Web", "WEB", "my-svc", "my--svc", "my__svc", "a__b", "web_", "_", "-", "dumbVendor", "dumbvendor", "v1.2"];
        let long = ["x".repeat(300), "x".repeat(301)];
        let names: Vec<String> = services.into_iter().chain(long.iter().map(String::as_str)).map(|one| repository("shop", one)).collect();
        for (n, name) in names.iter().enumerate() {
            assert!(is_repository(name) && name.len() <= 256, "{name}");
            assert!(!names[..n].contains(name), "{name}");
        }
        assert_eq!((&*names[0], &*names[3], &*names[12]), ("shop/web", "shop/my-svc", "shop/v1.2"), "a name that ECR takes is kept");
        assert!(names[1].starts_with("shop/web-") && names[10].starts_with("shop/dumbvendor-"), "{names:?}");
    }

    #[test]
    fn a_name_that_aws_reserves_is_refused() {
        for name in ["sg-shop", "internal-shop"] {
            assert_eq!(check_app(name, "name").unwrap_err().code(), "reserved-name", "{name}");
        }
        assert!(check_app("sgshop", "name").is_ok() && check_app("internal", "name").is_ok());
    }

    #[test]
    fn fitted_names_stay_apart() {
        assert_eq!(fit(&["shop", "web"], 32), "shop-web");
        let (a, b) = (fit(&["shop", &"x".repeat(40), "1"], 32), fit(&["shop", &"x".repeat(40), "2"], 32));
        assert!(a != b && a.len() == 32 && b.len() == 32);
        assert_ne!(fit(&["shop", "a_b"], 32), fit(&["shop", "a-b"], 32));
    }
}
