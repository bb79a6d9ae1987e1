//! `healthcheck`: how Docker checks a container.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>

use std::ops::RangeInclusive;

use shared::Result;
use shared::doc::{At, Document};

use super::forms::{clamped_seconds, strings};
use crate::model::HealthCheck;

/// Seconds that ECS takes. A value outside hardens or softens a check; it does not change what the service does.
const TIMEOUT: RangeInclusive<u64> = 2..=60;
const INTERVAL: RangeInclusive<u64> = 5..=300;
const START_PERIOD: RangeInclusive<u64> = 0..=300;
const RETRIES: RangeInclusive<i32> = 1..=10;

/// Docker's default; ECS's is 5 seconds.
const DEFAULT_TIMEOUT: u64 = 30;

pub fn read(doc: &Document, at: &At<'_>) -> Result<Option<HealthCheck>> {
    if at.key("disable").map_or(Ok(false), |at| at.truth())? {
        return Ok(None);
    }
    let Some(test) = at.key("test") else {
        doc.warn_at(
            "health-check-of-image",
            at,
            "there is no test, and ECS does not read the health check of an image. The container has no health check",
        );
        return Ok(None);
    };
    let command = if test.value().is_string() { vec!["CMD-SHELL".to_owned(), test.text()?.to_owned()] } else { strings(&test)? };
    if command.first().is_none_or(|word| word == "NONE") {
        return Ok(None);
    }
    if let Some(unused) = at.key("start_interval") {
        doc.warn_at("health-start-interval", &unused, "this has no effect: ECS checks at one interval");
    }
    Ok(Some(HealthCheck {
        command,
        timeout: time(doc, at, "timeout", TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        interval: time(doc, at, "interval", INTERVAL)?,
        start_period: time(doc, at, "start_period", START_PERIOD)?,
        retries: at.key("retries").map_or(Ok(None), |at| retries(doc, &at))?,
    }))
}

/// Returns seconds; 0 is Docker's default.
fn time(doc: &Document, at: &At<'_>, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
    let Some(place) = at.key(key) else { return Ok(None) };
    let (written, seconds) = clamped_seconds(&place, &range)?;
    if written == 0 {
        return Ok(None);
    }
    if written != seconds {
        warn(doc, &place, &format!("{seconds} seconds"));
    }
    Ok(Some(seconds))
}

fn retries(doc: &Document, at: &At<'_>) -> Result<Option<i32>> {
    let written = at.whole(0..=i32::MAX)?;
    let retries = written.clamp(*RETRIES.start(), *RETRIES.end());
    if written > retries {
        warn(doc, at, &retries.to_string());
    }
    Ok((written > 0).then_some(retries))
}

fn warn(doc: &Document, at: &At<'_>, used: &str) {
    let written = at.scalar().unwrap_or_default();
    doc.warn_at("health-check-range", at, format!("{written} is outside of the range of ECS. It is set to {used}"));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn health_check(check: &Value) -> Result<Option<HealthCheck>, String> {
        let doc = Document::parse(json!({"healthcheck": check}).to_string().as_bytes()).unwrap();
        read(&doc, &doc.root().key("healthcheck").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_moved_into_the_ranges_of_ecs() {
        let of = |more: Value| {
            let mut check = json!({"test": ["CMD", "true"]});
            json_patch::merge(&mut check, &more);
            health_check(&check).map(|found| found.map(|one| (one.timeout, one.interval, one.start_period, one.retries)))
        };
        for (check, expected) in [
            (json!({}), (30, None, None, None)),
            (json!({"timeout": "5s", "interval": "1m30s", "start_period": "1m0s", "retries": 3}), (5, Some(90), Some(60), Some(3))),
            (json!({"timeout": "1s", "interval": "1s", "start_period": "10m0s", "retries": 100}), (2, Some(5), Some(300), Some(10))),
            (json!({"timeout": "2m", "interval": "1h", "retries": "5"}), (60, Some(300), None, Some(5))),
            (json!({"timeout": "0s", "interval": "0s", "start_period": "0s", "retries": 0}), (30, None, None, None)),
        ] {
            assert_eq!(of(check.clone()), Ok(Some(expected)), "{check}");
        }
        assert!(of(json!({"interval": "soon"})).unwrap_err().contains("healthcheck.interval: must be a duration"));
        assert!(of(json!({"retries": -1})).unwrap_err().contains("healthcheck.retries: must be a whole number"));
    }

    #[test]
    fn a_check_may_be_off() {
        for check in [json!({"test": ["NONE"]}), json!({"test": "true", "disable": true}), json!({"test": []}), json!({"interval": "5s"})] {
            assert_eq!(health_check(&check), Ok(None), "{check}");
        }
    }
}
