//! The SNS topic that the alarms notify, and its e-mail subscriptions.

use aws_sdk_sns::Client;
use aws_sdk_sns::types::{Subscription, Tag};
use futures_util::try_join;
use shared::error::{given, if_found, made};
use shared::step::each;
use shared::{Result, Run, Tried};

use crate::AlarmsSet;
use crate::settings::Wanted;

shared::tagging!(aws_sdk_sns::types::Tag);

#[derive(Default)]
pub struct Found {
    /// The ARN, if the topic exists.
    arn: Option<String>,
    ours: bool,
    tags: Vec<Tag>,
    subscriptions: Vec<Subscription>,
}

fn name(run: &Run) -> String {
    run.named("alarms")
}

/// Finds the topic by the ARN that follows from its name, because SNS does not search by name.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(sns: &Client, run: &Run) -> Result<Found> {
    run.ask_caller().await?;
    let arn = run.arn("sns", &name(run))?;
    let read_tags = async || {
        let call = sns.list_tags_for_resource().resource_arn(&arn);
        call.send().await.tried(format!("read the tags of the topic {arn}"))
    };
    let topic = async { if_found(sns.get_topic_attributes().topic_arn(&arn).send().await.tried(format!("read the topic {arn}"))) };
    let tags = async { if_found(read_tags().await) };
    let subscriptions = async {
        let call = sns.list_subscriptions_by_topic().topic_arn(&arn);
        if_found(shared::pages!(call, format!("list the subscriptions of the topic {arn}")))
    };
    let (topic, tags, subscriptions) = try_join!(topic, tags, subscriptions)?;
    if topic.is_none() {
        return Ok(Found::default());
    }
    let tags = match tags {
        Some(said) => said,
        // Another run has created the topic between the two answers.
        None => read_tags().await?,
    };
    let tags = tags.tags.unwrap_or_default();
    let ours = run.is_ours(tags.iter().map(pair));
    Ok(Found { arn: Some(arn), ours, tags, subscriptions: subscriptions.unwrap_or_default() })
}

impl AlarmsSet {
    pub async fn topic_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let found = &self.found.topic;
        if wanted.notified.emails.is_empty() {
            if !wanted.partial {
                return self.topic_down(run).await;
            }
            // The alarms of the other services notify it.
            self.alarms.borrow_mut().topic_arn = found.arn.clone().filter(|_| found.ours);
            return Ok(());
        }
        let arn = match &found.arn {
            Some(arn) if !found.ours => return Err(run.unmanaged("topic", arn)),
            Some(arn) => self.settle_topic(run, arn).await.map(|()| Some(arn.clone()))?,
            None => run.create("topic", &name(run), self.create_topic(run)).await?,
        };
        self.alarms.borrow_mut().topic_arn.clone_from(&arn);
        self.subscriptions_up(run, wanted, arn.as_deref()).await?;
        if wanted.partial { Ok(()) } else { self.remove_subscriptions(run, wanted).await }
    }

    async fn create_topic(&self, run: &Run) -> Result<String> {
        let call = self.sns.create_topic().name(name(run)).set_tags(Some(aws_tags(run.tags("alarms"))));
        let said = call.send().await.tried(format!("create the topic {}", name(run)))?;
        given(said.topic_arn(), "the ARN of the new topic")
    }

    async fn settle_topic(&self, run: &Run, arn: &str) -> Result<()> {
        run.found("topic", arn);
        run.settle_tags(
            "topic",
            &name(run),
            run.tags("alarms"),
            self.found.topic.tags.iter().map(pair),
            async |missing| self.sns.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing))).send().await,
            async |left| self.sns.untag_resource().resource_arn(arn).set_tag_keys(Some(left)).send().await,
        )
        .await
    }

    /// Subscribes the addresses that are missing.
    async fn subscriptions_up(&self, run: &Run, wanted: &Wanted, topic: Option<&str>) -> Result<()> {
        let found = &self.found.topic.subscriptions;
        let missing = wanted.notified.emails.iter().filter(|email| !found.iter().any(|one| address(one) == Some(email)));
        each(missing, async |email| run.create("subscription", email, self.subscribe(run, topic, email)).await.map(drop)).await?;
        // SNS lists them for three more days.
        for one in found.iter().filter(|one| one.subscription_arn() == Some("Deleted")) {
            run.note(&format!("{} has unsubscribed from the topic and is not notified", one.endpoint().unwrap_or("an address")));
        }
        Ok(())
    }

    async fn subscribe(&self, run: &Run, topic: Option<&str>, email: &str) -> Result<String> {
        let call = self.sns.subscribe().topic_arn(made(topic, "the ARN of the topic")?).protocol("email").endpoint(email);
        call.send().await.tried(format!("subscribe {email} to the topic {}", name(run)))?;
        run.note(&format!("AWS has sent an e-mail to {email}. Open the link in it to confirm the subscription"));
        Ok(email.to_owned())
    }

    /// Deletes the subscriptions of addresses that are no longer set. One that is not confirmed has no ARN and can't be deleted; SNS
    /// deletes it after two days.
    async fn remove_subscriptions(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let extra = self.found.topic.subscriptions.iter().filter_map(|one| {
            let (email, arn) = (address(one)?, one.subscription_arn()?);
            (arn.starts_with("arn:") && !wanted.notified.emails.iter().any(|wanted| wanted == email)).then_some((email, arn))
        });
        each(extra, async |(email, arn)| {
            let call = self.sns.unsubscribe().subscription_arn(arn);
            let delete = async { call.send().await.tried(format!("delete the subscription of {email}")).map(drop) };
            run.delete("subscription", email, delete).await
        })
        .await
        .map(drop)
    }

    /// Deletes the topic, and with it its subscriptions.
    pub async fn topic_down(&self, run: &Run) -> Result<()> {
        let found = &self.found.topic;
        let Some(arn) = found.arn.as_ref().filter(|arn| run.may_delete("topic", arn, found.ours)) else { return Ok(()) };
        let delete = async { self.sns.delete_topic().topic_arn(arn).send().await.tried(format!("delete the topic {arn}")).map(drop) };
        run.delete("topic", &name(run), delete).await
    }
}

/// The address of an e-mail subscription.
fn address(subscription: &Subscription) -> Option<&str> {
    subscription.endpoint().filter(|_| subscription.protocol() == Some("email"))
}
