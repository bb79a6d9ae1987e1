//! `logging`: where a container writes its log.

use std::collections::BTreeMap;

use shared::Result;
use shared::doc::{At, Document};

use super::forms::map;
use crate::model::{Container, LogDriver};

/// The options of `awslogs` that an author may set; svc-deploy sets those that name the log group.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LogConfiguration.html>
const AWSLOGS: &[&str] = &["awslogs-datetime-format", "awslogs-multiline-pattern", "max-buffer-size", "mode"];

/// Another driver is passed on. `awslogs`, the default, is set where the log group has its name.
pub fn read(doc: &Document, at: &At<'_>, out: &mut Container) -> Result<()> {
    let options = at.key("options").map_or(Ok(BTreeMap::new()), |at| map(&at))?;
    match at.key("driver").map_or(Ok("awslogs"), |at| at.text())? {
        "awslogs" => {
            for (name, value) in options {
                if AWSLOGS.contains(&name.as_str()) {
                    out.log_options.insert(name, value);
                } else {
                    let place = at.below("options").below(&name);
                    doc.warn_at("log-option", &place, "this has no effect: svc-deploy sets log group and stream");
                }
            }
        }
        // Compose's default drivers write to the machine, and a task has none of its own.
        driver @ ("json-file" | "local" | "journald" | "none") => {
            doc.warn_at("log-driver", at, format!("the driver {driver} and its options have no effect; the log is in CloudWatch Logs"));
        }
        driver => out.log = Some(LogDriver { driver: driver.to_owned(), options }),
    }
    Ok(())
}
