//! The log of one task in CloudWatch Logs, as it grows.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>

use aws_sdk_cloudwatchlogs::Client;
use serde_json::Value;
use shared::error::if_found;
use shared::{Result, Run, Tried};

pub struct TaskLog {
    group: String,
    stream: String,
    /// Where to read on.
    token: Option<String>,
}

impl TaskLog {
    /// Returns the log of a container, if its log driver is `awslogs`. The definition is that of its task, in AWS's own JSON.
    pub fn of(definition: &Value, container: &str, task: &str) -> Option<Self> {
        let containers = definition.get("containerDefinitions")?.as_array()?;
        let log = containers.iter().find(|one| one["name"] == container)?.get("logConfiguration")?;
        let option = |key: &str| log.get("options")?.get(key)?.as_str().map(str::to_owned);
        let prefix = option("awslogs-stream-prefix")?;
        let group = option("awslogs-group").filter(|_| log["logDriver"] == "awslogs")?;
        Some(Self { group, stream: format!("{prefix}/{container}/{task}"), token: None })
    }

    /// Prints what is new, and returns whether there was something.
    pub async fn print(&mut self, logs: &Client, run: &Run) -> Result<bool> {
        let mut printed = false;
        loop {
            let call = logs.get_log_events().log_group_name(&self.group).log_stream_name(&self.stream).start_from_head(true);
            let said = call.set_next_token(self.token.clone()).send().await;
            // A container that has not written yet has no stream.
            let Some(said) = if_found(said.tried(format!("read the log {} of {}", self.stream, self.group)))? else { return Ok(printed) };
            let lines: String =
                said.events().iter().filter_map(|event| event.message()).flat_map(|line| [line.trim_end_matches('\n'), "\n"]).collect();
            if !lines.is_empty() {
                run.print(&lines)?;
                printed = true;
            }
            let next = said.next_forward_token().map(str::to_owned);
            // At the end the token is the one that was sent.
            if next == self.token || lines.is_empty() {
                self.token = next.or_else(|| self.token.take());
                return Ok(printed);
            }
            self.token = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_log_in_cloudwatch_can_be_read() {
        let of = |driver: &str| {
            let options = json!({"awslogs-group": "/ecs-pipe/shop/web", "awslogs-stream-prefix": "web"});
            let containers = json!([{"name": "proxy"}, {"name": "web", "logConfiguration": {"logDriver": driver, "options": options}}]);
            let definition = json!({"containerDefinitions": containers});
            TaskLog::of(&definition, "web", "1a2b").map(|log| (log.group, log.stream))
        };
        assert_eq!(of("awslogs"), Some(("/ecs-pipe/shop/web".to_owned(), "web/web/1a2b".to_owned())));
        assert_eq!(of("splunk"), None);
    }
}
