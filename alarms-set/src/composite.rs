//! The composite alarm of the app, to page on: it is in alarm while one of the alarms is that users notice.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html>

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, CompositeAlarm, Tag};
use futures_util::try_join;
use shared::wait::while_not_yet;
use shared::{Diff, Error, Result, Run, Tried};

use crate::AlarmsSet;
use crate::alarm::{arn, aws_tags, pair, tags};
use crate::definition::{Definition, definitions};
use crate::settings::Wanted;

#[derive(Default)]
pub struct Found {
    alarm: Option<CompositeAlarm>,
    tags: Vec<Tag>,
}

/// Alarms that the rule of one composite alarm can name.
const MOST: usize = 100;
/// Characters of its rule.
const LONGEST: usize = 10_240;

fn name(run: &Run) -> String {
    format!("{}/urgent", run.app)
}

/// Finds the composite alarm with its tags.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(cloudwatch: &Client, run: &Run) -> Result<Found> {
    run.ask_caller().await?;
    let name = name(run);
    let alarm = async {
        let call = cloudwatch.describe_alarms().alarm_names(&name).alarm_types(AlarmType::CompositeAlarm);
        call.send().await.tried(format!("read the composite alarm {name}"))
    };
    let (said, mut tags) = try_join!(alarm, tags(cloudwatch, run, vec![name.clone()]))?;
    Ok(Found { alarm: said.composite_alarms().first().cloned(), tags: tags.remove(&name).unwrap_or_default() })
}

/// Returns the rule over as many of these alarms as CloudWatch accepts, and how many these are; `None` when no alarm is urgent.
fn rule(definitions: &[Definition]) -> Option<(String, usize)> {
    let (mut rule, mut count) = (String::new(), 0);
    for one in definitions.iter().filter(|one| one.urgent).take(MOST) {
        let or = if rule.is_empty() { "" } else { " OR " };
        let longer = format!("{rule}{or}ALARM(\"{}\")", one.name);
        if longer.len() > LONGEST {
            break;
        }
        (rule, count) = (longer, count + 1);
    }
    (count > 0).then_some((rule, count))
}

impl AlarmsSet {
    /// A run of some services only keeps the composite alarm, because its rule names those of all services.
    pub async fn composite_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (name, found) = (name(run), &self.found.composite);
        if wanted.partial {
            self.alarms.borrow_mut().composite_alarm_name = found.alarm.is_some().then_some(name);
            return Ok(());
        }
        let definitions = definitions(&run.app, wanted);
        let Some((rule, watched)) = rule(&definitions) else { return self.composite_down(run).await };
        let urgent = definitions.iter().filter(|one| one.urgent).count();
        if urgent > watched {
            let what = format!(
                "the composite alarm {name} watches {watched} of {urgent} alarms, as many as CloudWatch allows. The others notify x-alarms.notify"
            );
            run.warn("composite-alarm-full", what);
        }
        self.alarms.borrow_mut().composite_alarm_name = Some(name.clone());
        match &found.alarm {
            Some(_) if !self.is_composite_ours(run) => Err(run.unmanaged("composite alarm", &name)),
            Some(alarm) => self.settle_composite(run, wanted, &rule, alarm).await,
            None => {
                let create = async { self.put_composite(run, wanted, &rule).await.map(|()| name.clone()) };
                run.create("composite alarm", &name, create).await.map(drop)
            }
        }
    }

    fn is_composite_ours(&self, run: &Run) -> bool {
        run.is_ours(self.found.composite.tags.iter().map(pair))
    }

    async fn settle_composite(&self, run: &Run, wanted: &Wanted, rule: &str, found: &CompositeAlarm) -> Result<()> {
        let name = name(run);
        let arn = arn(run, &name)?;
        run.settle_tags(
            "composite alarm",
            &name,
            run.tags("urgent"),
            self.found.composite.tags.iter().map(pair),
            async |missing| self.cloudwatch.tag_resource().resource_arn(&arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.cloudwatch.untag_resource().resource_arn(&arn).set_tag_keys(Some(left)).send().await,
        )
        .await?;
        let diff = diff(found, rule, &wanted.notified.page);
        if diff.is_empty() {
            run.found("composite alarm", &name);
        }
        run.change("composite alarm", &name, &diff, self.put_composite(run, wanted, rule)).await
    }

    async fn put_composite(&self, run: &Run, wanted: &Wanted, rule: &str) -> Result<()> {
        let name = name(run);
        // A new alarm is not visible at once (eventual consistency).
        let not_yet = |error: &Error| error.says("do not exist");
        while_not_yet(run, "the new alarms to be visible", not_yet, async || {
            let call = self.cloudwatch.put_composite_alarm().alarm_name(&name).alarm_rule(rule).alarm_description(DESCRIPTION);
            let call = call.actions_enabled(true).set_alarm_actions(Some(wanted.notified.page.clone()));
            let call = call.set_tags(Some(aws_tags(run.tags("urgent"))));
            call.send().await.tried(format!("set the composite alarm {name}")).map(drop)
        })
        .await
    }

    /// Deletes the composite alarm, which must be gone before the alarms that it names.
    pub async fn composite_down(&self, run: &Run) -> Result<()> {
        let name = name(run);
        if self.found.composite.alarm.is_none() || !run.may_delete("composite alarm", &name, self.is_composite_ours(run)) {
            return Ok(());
        }
        let call = self.cloudwatch.delete_alarms().alarm_names(&name);
        let delete = async { call.send().await.tried(format!("delete the composite alarm {name}")).map(drop) };
        run.delete("composite alarm", &name, delete).await
    }
}

const DESCRIPTION: &str = "users notice a problem; the alarms of this one say which";

fn diff(found: &CompositeAlarm, rule: &str, page: &[String]) -> Diff {
    let none = [""; 0];
    Diff::new()
        .field("AlarmDescription", found.alarm_description(), DESCRIPTION)
        .field("AlarmRule", found.alarm_rule(), rule)
        .field("ActionsEnabled", found.actions_enabled(), Some(true))
        .set("AlarmActions", found.alarm_actions(), page)
        .set("OKActions", found.ok_actions(), none)
        .set("InsufficientDataActions", found.insufficient_data_actions(), none)
        // A suppressor silences the alarm.
        .field("ActionsSuppressor", found.actions_suppressor().filter(|name| !name.is_empty()), None::<&str>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::wanted;

    #[test]
    fn the_rule_names_what_users_notice() {
        let (rule, _) = rule(&definitions("shop", &wanted(true, Some("shop")))).unwrap();
        let alarms = ["shop/web/healthy-targets", "shop/web/5xx", "shop/worker/no-task", "shop/5xx"];
        assert_eq!(rule, alarms.map(|name| format!("ALARM(\"{name}\")")).join(" OR "));
        assert_eq!(super::rule(&[]), None);
    }

    #[test]
    fn a_rule_has_as_many_alarms_as_cloudwatch_accepts() {
        let one = definitions("shop", &wanted(true, Some("shop"))).into_iter().find(|one| one.urgent).unwrap();
        let named = |length: usize| (0..150).map(|i| Definition { name: format!("{i:0length$}"), ..one.clone() }).collect::<Vec<_>>();
        assert_eq!(super::rule(&named(20)).unwrap().1, 100);
        let (rule, count) = super::rule(&named(100)).unwrap();
        assert!(rule.len() <= LONGEST && rule.len() + 113 > LONGEST && count < 100, "{count}: {}", rule.len());
    }

    #[test]
    fn a_suppressor_and_another_action_are_shown() {
        let found = CompositeAlarm::builder().alarm_description(DESCRIPTION).alarm_rule("r").actions_enabled(true);
        assert!(diff(&found.clone().build(), "r", &[]).is_empty());
        let changed = found.alarm_actions("arn:theirs").actions_suppressor("s").build();
        assert_eq!(diff(&changed, "r", &[]).to_string(), "AlarmActions: arn:theirs -> none, ActionsSuppressor: s -> none");
    }
}
