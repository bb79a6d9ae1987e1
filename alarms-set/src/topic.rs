//! The SNS topic that the alarms tell, and its e-mail subscriptions.

use aws_sdk_sns::Client;
use aws_sdk_sns::types::{Subscription, Tag};
use futures_util::try_join;
use shared::error::{given, if_found};
use shared::step::each;
use shared::{Error, Result, Run, Tried};

use crate::AlarmsSet;
use crate::wish::Wanted;

#[derive(Default)]
pub struct Found {
    /// The ARN, if the topic is there.
    arn: Option<String>,
    ours: bool,
    tags: Vec<Tag>,
    subscriptions: Vec<Subscription>,
}

fn name(run: &Run) -> String {
    run.named("alarms")
}

/// Asked by the ARN that the name gives: SNS can't be asked for a name.
pub async fn find(sns: &Client, run: &Run) -> Result<Found> {
    run.ask_caller().await?;
    let arn = run.arn("sns", &name(run))?;
    let topic = async { if_found(sns.get_topic_attributes().topic_arn(&arn).send().await.tried(format!("look for the topic {arn}"))) };
    let tags = async { if_found(sns.list_tags_for_resource().resource_arn(&arn).send().await.tried(format!("read the tags of {arn}"))) };
    let subscriptions = async {
        let items = sns.list_subscriptions_by_topic().topic_arn(&arn).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        if_found(items.tried(format!("look for the subscriptions of {arn}")))
    };
    let (topic, tags, subscriptions) = try_join!(topic, tags, subscriptions)?;
    if topic.is_none() {
        return Ok(Found::default());
    }
    let tags = match tags {
        Some(said) => said,
        // Made by another run between the two answers.
        None => sns.list_tags_for_resource().resource_arn(&arn).send().await.tried(format!("read the tags of {arn}"))?,
    };
    let tags = tags.tags.unwrap_or_default();
    Ok(Found { arn: Some(arn), ours: run.is_ours(tags.iter().map(pair)), tags, subscriptions: subscriptions.unwrap_or_default() })
}

fn pair(tag: &Tag) -> (Option<&str>, Option<&str>) {
    (Some(tag.key()), Some(tag.value()))
}

fn aws_tags(tags: Vec<(String, String)>) -> Result<Vec<Tag>> {
    let tag =
        |(key, value): (String, String)| Tag::builder().key(key).value(value).build().map_err(|error| Error::Failed(error.to_string()));
    tags.into_iter().map(tag).collect()
}

impl AlarmsSet {
    pub async fn topic_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let found = &self.found.topic;
        if wanted.emails.is_empty() {
            if !wanted.partial {
                return self.topic_down(run).await;
            }
            // The other services' alarms tell it.
            self.alarms.borrow_mut().topic_arn = found.arn.clone().filter(|_| found.ours);
            return Ok(());
        }
        let arn = match &found.arn {
            Some(arn) if !found.ours => return Err(run.foreign("topic", arn)),
            Some(arn) => {
                run.found("topic", arn);
                run.settle_tags("topic", &name(run), run.tags("alarms"), found.tags.iter().map(pair), async |missing| {
                    let call = self.sns.tag_resource().resource_arn(arn).set_tags(Some(aws_tags(missing)?));
                    call.send().await.tried(format!("tag the topic {arn}")).map(drop)
                })
                .await?;
                Some(arn.clone())
            }
            None => run.create("topic", &name(run), self.create_topic(run)).await?,
        };
        self.alarms.borrow_mut().topic_arn.clone_from(&arn);
        let subscribed =
            |email: &str| found.subscriptions.iter().any(|one| one.protocol() == Some("email") && one.endpoint() == Some(email));
        each(wanted.emails.iter().filter(|email| !subscribed(email)), async |email| {
            run.create("subscription", email, self.subscribe(run, arn.clone(), email)).await.map(drop)
        })
        .await?;
        // SNS goes on listing it for three days.
        for gone in found.subscriptions.iter().filter(|one| one.subscription_arn() == Some("Deleted")) {
            run.note(&format!("{} has unsubscribed and is told nothing", gone.endpoint().unwrap_or("somebody")));
        }
        if wanted.partial {
            return Ok(());
        }
        // One that is not confirmed yet has no ARN and can't be taken away; it goes by itself after two days.
        let extra = found
            .subscriptions
            .iter()
            .filter(|one| one.protocol() == Some("email") && !wanted.emails.iter().any(|email| one.endpoint() == Some(email)));
        let extra = extra.filter(|one| one.subscription_arn().is_some_and(|arn| arn.starts_with("arn:")));
        each(extra, async |one| {
            let (arn, email) = (one.subscription_arn().unwrap_or_default(), one.endpoint().unwrap_or_default());
            let delete = async {
                self.sns.unsubscribe().subscription_arn(arn).send().await.tried(format!("take the subscription of {email} away")).map(drop)
            };
            run.delete("subscription", email, delete).await
        })
        .await
        .map(drop)
    }

    async fn create_topic(&self, run: &Run) -> Result<String> {
        let call = self.sns.create_topic().name(name(run)).set_tags(Some(aws_tags(run.tags("alarms"))?));
        let made = call.send().await.tried(format!("create the topic {}", name(run)))?;
        given(made.topic_arn(), "the new topic's ARN")
    }

    async fn subscribe(&self, run: &Run, topic: Option<String>, email: &str) -> Result<String> {
        let topic = given(topic.as_deref(), "the topic's ARN")?;
        self.sns.subscribe().topic_arn(topic).protocol("email").endpoint(email).send().await.tried(format!("subscribe {email}"))?;
        run.note(&format!("AWS has written to {email}: alarms arrive when the link in that e-mail has been followed"));
        Ok(email.to_owned())
    }

    /// With its subscriptions.
    pub async fn topic_down(&self, run: &Run) -> Result<()> {
        let found = &self.found.topic;
        let Some(arn) = found.arn.as_ref().filter(|arn| run.goes("topic", arn, found.ours)) else { return Ok(()) };
        let delete = async { self.sns.delete_topic().topic_arn(arn).send().await.tried(format!("delete the topic {arn}")).map(drop) };
        run.delete("topic", &name(run), delete).await
    }
}
