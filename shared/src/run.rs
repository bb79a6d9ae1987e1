//! One run of a tool: which app, in which mode, for how long, and what it has done so far.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use tokio::sync::{OnceCell, watch};

use crate::aws::Session;
use crate::diff::Diff;
use crate::doc::Caller;
use crate::error::{Error, Result};
use crate::name;
use crate::progress::{Event, Progress};

pub struct Run {
    pub app: String,
    pub session: Session,
    pub progress: Progress,
    pub timeout: Duration,
    /// Wait until what was made is ready.
    pub wait: bool,
    pub(crate) tool: &'static str,
    pub(crate) planning: bool,
    pub(crate) user_tags: Vec<(String, String)>,
    pub(crate) caller: OnceCell<Caller>,
    pub(crate) stop: watch::Sender<Option<i32>>,
    pub(crate) made: RefCell<Vec<String>>,
    pub(crate) in_flight: RefCell<Vec<String>>,
    pub(crate) changes: Cell<usize>,
}

impl Run {
    /// The tags of a resource: whose it is, who made it, which one it is, the `Name` that AWS's console shows, and the user's own.
    #[must_use]
    pub fn tags(&self, name: &str) -> Vec<(String, String)> {
        let ours = [(name::TAG_APP, self.app.as_str()), (name::TAG_STAGE, self.tool), (name::TAG_NAME, name)];
        let mut tags: Vec<_> = ours.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        tags.push(("Name".to_owned(), self.named(name)));
        // IAM's keys are the same in either case.
        tags.retain(|(key, _)| !self.user_tags.iter().any(|(user, _)| user.eq_ignore_ascii_case(key)));
        tags.extend(self.user_tags.iter().cloned());
        tags
    }

    /// Sorts found things by their `ecs-pipe:name`; those that are not this app's and this tool's fall out, whatever the filter let through.
    ///
    /// # Errors
    /// Two things under one name, or one without a name: the ids are named, and nothing is guessed.
    pub fn by_name<T, G>(
        &self,
        kind: &str,
        items: Vec<T>,
        tags: fn(&T) -> &[G],
        pair: fn(&G) -> (Option<&str>, Option<&str>),
        id: fn(&T) -> Option<&str>,
    ) -> Result<BTreeMap<String, T>> {
        let mut found: BTreeMap<String, T> = BTreeMap::new();
        for item in items.into_iter().filter(|item| self.is_ours(tags(item).iter().map(pair))) {
            let name = tags(&item)
                .iter()
                .map(pair)
                .find(|(key, _)| *key == Some(name::TAG_NAME))
                .and_then(|(_, value)| value)
                .unwrap_or_default()
                .to_owned();
            if name.is_empty() {
                return Err(Error::Failed(format!(
                    "the {kind} {} carries the tags of {} but no tag {}, so it is not known which one it is. Nothing was guessed: give it that tag again, or take its {} tag away, and run the same command again",
                    id(&item).unwrap_or("?"),
                    self.app,
                    name::TAG_NAME,
                    name::TAG_APP
                )));
            }
            if let Some(other) = found.get(&name) {
                return Err(Error::Failed(format!(
                    "two of one kind: {kind} {} and {} both carry the tags of {}'s {name:?}. Nothing was guessed: find out which one is in use, delete the other or its {} tag, and run the same command again",
                    id(other).unwrap_or("?"),
                    id(&item).unwrap_or("?"),
                    self.app,
                    name::TAG_APP
                )));
            }
            found.insert(name, item);
        }
        Ok(found)
    }

    /// Whether these tags say that the resource is this app's and made by this tool.
    pub fn is_ours<'a>(&self, tags: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>) -> bool {
        let (mut app, mut stage) = (false, false);
        for (key, value) in tags {
            app |= key == Some(name::TAG_APP) && value == Some(&self.app);
            stage |= key == Some(name::TAG_STAGE) && value == Some(self.tool);
        }
        app && stage
    }

    /// Whether these tags say that the resource is this app's, whichever tool has made it.
    pub fn is_of_app<'a>(&self, tags: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>) -> bool {
        tags.into_iter().any(|(key, value)| key == Some(name::TAG_APP) && value == Some(&self.app))
    }

    /// Whether `--down` takes this along; a thing that has our name and is not ours is left, and said to be.
    #[must_use]
    pub fn goes(&self, kind: &str, name: &str, ours: bool) -> bool {
        if !ours {
            self.warn(&format!("the {kind} {name} is left: its tags do not say that {} made it for {}", self.tool, self.app));
        }
        ours
    }

    /// The app's name with something behind it, as in `shop-task`.
    #[must_use]
    pub fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.app)
    }

    /// Who is calling: as the document says, or asked of AWS once. For looking; once the walk has begun, [`Run::caller`] knows.
    ///
    /// # Errors
    /// That AWS does not know the credentials.
    pub async fn ask_caller(&self) -> Result<Caller> {
        self.caller.get_or_try_init(|| self.session.caller()).await.cloned()
    }

    /// Who is calling. Known once the walk has begun.
    ///
    /// # Errors
    /// Only before that, which is a mistake of ours.
    pub fn caller(&self) -> Result<Caller> {
        self.caller.get().cloned().ok_or_else(|| Error::Failed("the caller's account is not known yet".to_owned()))
    }

    /// An ARN in the caller's partition, account and region, as in `arn:aws:ecs:eu-central-1:123456789012:cluster/shop`.
    ///
    /// # Errors
    /// As [`Run::caller`].
    pub fn arn(&self, service: &str, resource: &str) -> Result<String> {
        let Caller { account, region, partition } = self.caller()?;
        Ok(format!("arn:{partition}:{service}:{region}:{account}:{resource}"))
    }

    /// Makes something, or, planning, says that it would and gives `None`. `make` gives the new thing's id.
    ///
    /// # Errors
    /// Those of `make`, and an interruption before it began.
    pub async fn create(&self, kind: &str, name: &str, make: impl Future<Output = Result<String>>) -> Result<Option<String>> {
        let what = format!("{kind} {name}");
        let id = self.act(Event::Create, &what, make).await?;
        if let Some(id) = &id {
            let what = if id == name { what } else { format!("{what} ({id})") };
            self.made.borrow_mut().push(what);
        }
        Ok(id)
    }

    /// Makes what differs right; an empty diff is nothing to do.
    ///
    /// # Errors
    /// Those of `change`, and an interruption before it began.
    pub async fn change(&self, kind: &str, name: &str, diff: &Diff, change: impl Future<Output = Result<()>>) -> Result<()> {
        if diff.is_empty() {
            return Ok(());
        }
        self.act(Event::Change, &format!("{kind} {name} ({diff})"), change).await.map(drop)
    }

    /// Puts the tags that a found thing lacks, or has with another value; others that it carries are somebody else's.
    ///
    /// # Errors
    /// As [`Run::change`].
    pub async fn settle_tags<'a>(
        &self,
        kind: &str,
        name: &str,
        wanted: Vec<(String, String)>,
        found: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
        put: impl AsyncFnOnce(Vec<(String, String)>) -> Result<()>,
    ) -> Result<()> {
        let found: BTreeMap<&str, &str> = found.into_iter().filter_map(|(key, value)| Some((key?, value.unwrap_or_default()))).collect();
        let missing: Vec<(String, String)> =
            wanted.into_iter().filter(|(key, value)| found.get(key.as_str()) != Some(&value.as_str())).collect();
        let diff = missing.iter().fold(Diff::new(), |diff, (key, value)| {
            diff.field(&format!("tag {key}"), found.get(key.as_str()).copied(), Some(value.as_str()))
        });
        self.change(kind, name, &diff, put(missing)).await
    }

    /// Deletes something; that it is gone already is success.
    ///
    /// # Errors
    /// Those of `delete` but "not there", and an interruption before it began.
    pub async fn delete(&self, kind: &str, name: &str, delete: impl Future<Output = Result<()>>) -> Result<()> {
        let gone_is_fine = async {
            match delete.await {
                Err(error) if error.is_gone() => Ok(()),
                other => other,
            }
        };
        self.act(Event::Delete, &format!("{kind} {name}"), gone_is_fine).await.map(drop)
    }

    /// Does the second half of what [`Run::create`] has begun, so that it is neither planned nor counted, but known to be under way.
    ///
    /// # Errors
    /// Those of `work`, and an interruption before it began.
    pub async fn carry<T>(&self, kind: &str, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.check()?;
        self.under_way(&format!("{kind} {name}"), work).await
    }

    /// Whether this run only looks. For values that can't be known before something is made; steps need not ask otherwise.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.planning
    }

    /// The refusal to touch a thing that has our name but not our tags.
    #[must_use]
    pub fn foreign(&self, kind: &str, name: &str) -> Error {
        Error::Failed(format!(
            "there is a {kind} {name} that {} did not make for {} (its tags do not say so). It was not touched: rename the app, or delete or rename that {kind}, and run the same command again",
            self.tool, self.app
        ))
    }

    /// Says that something is there as it should be (with `-v`).
    pub fn found(&self, kind: &str, name: impl Display) {
        self.progress.say(Event::Found, &format!("{kind} {name}"));
    }

    pub fn warn(&self, text: &str) {
        self.progress.say(Event::Warning, text);
    }

    pub fn note(&self, text: &str) {
        self.progress.say(Event::Note, text);
    }

    /// # Errors
    /// [`Error::Interrupted`] when the run was told to stop: by a signal, or because another step failed.
    pub fn check(&self) -> Result<()> {
        match *self.stop.borrow() {
            None => Ok(()),
            Some(signal) => Err(Error::Interrupted { signal }),
        }
    }

    /// After a step's failure that is none: the others need not stop any more. A signal stays.
    pub(crate) fn go_on(&self) {
        self.stop.send_if_modified(|stop| stop.take_if(|signal| *signal == crate::step::HALT).is_some());
    }

    /// Pauses, unless told to stop meanwhile.
    pub(crate) async fn pause(&self, time: Duration) -> Result<()> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            _ = stop.wait_for(Option::is_some) => self.check(),
        }
    }

    async fn act<T>(&self, event: Event, what: &str, act: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        self.changes.set(self.changes.get() + 1);
        if self.planning {
            self.progress.planned(event, what);
            return Ok(None);
        }
        self.check()?;
        self.progress.say(event, what);
        self.under_way(what, act).await.map(Some)
    }

    async fn under_way<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.in_flight.borrow_mut().push(what.to_owned());
        let done = work.await;
        self.in_flight.borrow_mut().retain(|other| other != what);
        done
    }
}
