//! One run of a tool: which app, in which mode, for how long, and what it has done so far.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::time::Duration;

use tokio::sync::{OnceCell, watch};

use crate::aws::Session;
use crate::diff::Diff;
use crate::doc::Caller;
use crate::error::{Error, Result, Stop, made};
use crate::progress::{Event, Progress};

pub struct Run {
    pub app: String,
    pub session: Session,
    pub progress: Progress,
    pub timeout: Duration,
    /// Whether to wait until everything is ready.
    pub wait: bool,
    pub(crate) tool: &'static str,
    pub(crate) planning: bool,
    pub(crate) user_tags: Vec<(String, String)>,
    pub(crate) caller: OnceCell<Caller>,
    pub(crate) stop: watch::Sender<Option<Stop>>,
    pub(crate) made: RefCell<Vec<String>>,
    pub(crate) in_flight: RefCell<Vec<String>>,
    pub(crate) counts: Cell<Counts>,
}

/// How many resources a run created, changed and deleted, or would.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub create: usize,
    pub change: usize,
    pub delete: usize,
}

impl Counts {
    #[must_use]
    pub fn total(self) -> usize {
        self.create + self.change + self.delete
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Create => self.create += 1,
            Event::Change => self.change += 1,
            Event::Delete => self.delete += 1,
            _ => {}
        }
    }
}

impl Run {
    /// Returns the app's name with a suffix, as in `shop-task`.
    #[must_use]
    pub fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.app)
    }

    /// Returns the caller: as the document has it, or from AWS, which is called once. Once the walk has begun, [`Run::caller`] has it.
    ///
    /// # Errors
    /// Fails when AWS does not accept the credentials.
    pub async fn ask_caller(&self) -> Result<Caller> {
        self.caller.get_or_try_init(|| self.session.caller()).await.cloned()
    }

    /// Returns the caller, which is known once the walk has begun.
    ///
    /// # Errors
    /// Returns [`Error::Internal`] before that.
    pub fn caller(&self) -> Result<Caller> {
        made(self.caller.get(), "the caller's account")
    }

    /// Returns an ARN in the caller's partition, account and region, as in `arn:aws:ecs:eu-central-1:123456789012:cluster/shop`.
    ///
    /// # Errors
    /// As [`Run::caller`].
    pub fn arn(&self, service: &str, resource: &str) -> Result<String> {
        let Caller { account, region, partition } = self.caller()?;
        Ok(format!("arn:{partition}:{service}:{region}:{account}:{resource}"))
    }

    /// Creates a resource and returns its id, which `make` returns. With `--plan` it only says so and returns `None`.
    ///
    /// # Errors
    /// Returns those of `make`, and an interruption before it began.
    pub async fn create(&self, kind: &str, name: &str, make: impl Future<Output = Result<String>>) -> Result<Option<String>> {
        let what = format!("{kind} {name}");
        let id = self.act(Event::Create, &what, make).await?;
        if let Some(id) = &id {
            let what = if id == name { what } else { format!("{what} ({id})") };
            self.made.borrow_mut().push(what);
        }
        Ok(id)
    }

    /// Changes what differs. An empty diff is nothing to do.
    ///
    /// # Errors
    /// Returns those of `change`, and an interruption before it began.
    pub async fn change(&self, kind: &str, name: &str, diff: &Diff, change: impl Future<Output = Result<()>>) -> Result<()> {
        if diff.is_empty() {
            return Ok(());
        }
        let what = format!("{kind} {name}");
        // Settings of a new resource are part of its creation.
        let is_new = self.made.borrow().iter().any(|made| *made == what || made.starts_with(&format!("{what} (")));
        let event = if is_new { Event::Setting } else { Event::Change };
        self.act(event, &format!("{what} ({diff})"), change).await.map(drop)
    }

    /// Changes a setting that belongs to a resource which this run creates, so it is shown but not counted.
    ///
    /// # Errors
    /// As [`Run::change`].
    pub async fn set(&self, kind: &str, name: &str, diff: &Diff, change: impl Future<Output = Result<()>>) -> Result<()> {
        if diff.is_empty() {
            return Ok(());
        }
        self.act(Event::Setting, &format!("{kind} {name} ({diff})"), change).await.map(drop)
    }

    /// Deletes a resource. One that does not exist any more is deleted.
    ///
    /// # Errors
    /// Returns those of `delete` except "not found", and an interruption before it began.
    pub async fn delete(&self, kind: &str, name: &str, delete: impl Future<Output = Result<()>>) -> Result<()> {
        let gone_is_fine = async {
            match delete.await {
                Err(error) if error.is_gone() => Ok(()),
                other => other,
            }
        };
        self.act(Event::Delete, &format!("{kind} {name}"), gone_is_fine).await.map(drop)
    }

    /// Does the second half of what [`Run::create`] has begun: it is neither planned nor counted, but reported when the run stops meanwhile.
    ///
    /// # Errors
    /// Returns those of `work`, and an interruption before it began.
    pub async fn carry<T>(&self, kind: &str, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.check()?;
        self.under_way(&format!("{kind} {name}"), work).await
    }

    /// Writes to stdout what a mode prints instead of the document.
    ///
    /// # Errors
    /// Fails when stdout can't be written.
    pub fn print(&self, text: &str) -> Result<()> {
        crate::output::write(text)
    }

    /// Returns whether this run only reads. Needed for values that do not exist before a resource is created; steps need not ask otherwise.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.planning
    }

    /// Says that a resource exists as it should (with `-v`).
    pub fn found(&self, kind: &str, name: impl Display) {
        self.progress.say(Event::Found, &format!("{kind} {name}"));
    }

    /// Prints a warning under its short name.
    pub fn warn(&self, code: &'static str, text: impl AsRef<str>) {
        self.progress.warn(code, text.as_ref());
    }

    pub fn note(&self, text: &str) {
        self.progress.say(Event::Note, text);
    }

    /// # Errors
    /// Returns [`Error::Interrupted`] when the run was told to stop: by a signal, or because another step failed.
    pub fn check(&self) -> Result<()> {
        match *self.stop.borrow() {
            None => Ok(()),
            Some(stop) => Err(Error::Interrupted(stop)),
        }
    }

    /// Lets the steps go on after one of them failed in a way that is no failure. A signal still stops them.
    pub(crate) fn go_on(&self) {
        self.stop.send_if_modified(|stop| stop.take_if(|stop| *stop == Stop::OtherStep).is_some());
    }

    /// Stops what runs beside a step that failed, at its next safe point.
    pub fn stop_others(&self) {
        self.stop.send_if_modified(|stop| stop.is_none() && stop.replace(Stop::OtherStep).is_none());
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
        if self.planning {
            self.count(event);
            self.progress.planned(event, what);
            return Ok(None);
        }
        self.check()?;
        self.progress.say(event, what);
        let done = self.under_way(what, act).await?;
        self.count(event);
        Ok(Some(done))
    }

    fn count(&self, event: Event) {
        let mut counts = self.counts.get();
        counts.add(event);
        self.counts.set(counts);
    }

    async fn under_way<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.in_flight.borrow_mut().push(what.to_owned());
        let done = work.await;
        self.in_flight.borrow_mut().retain(|other| other != what);
        done
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::flags::{Common, LogFormat};

    /// The flags of a run that prints errors only.
    pub fn quiet() -> Common {
        Common {
            plan: false,
            check: false,
            down: false,
            policy: false,
            schema: false,
            completions: None,
            man: false,
            compose_profiles: Vec::new(),
            app: None,
            wait: false,
            no_wait: false,
            timeout: Duration::from_secs(30),
            tags: Vec::new(),
            region: None,
            profile: None,
            quiet: true,
            verbose: 0,
            log_format: LogFormat::Text,
        }
    }

    /// A run of net-up for the app `shop`, which calls nothing.
    pub fn run() -> Run {
        Run {
            app: "shop".to_owned(),
            session: Session::unused(),
            progress: Progress::new("net-up", &quiet()),
            timeout: Duration::from_secs(30),
            wait: false,
            tool: "net-up",
            planning: false,
            user_tags: vec![("team".to_owned(), "a".to_owned())],
            caller: OnceCell::new(),
            stop: watch::Sender::new(None),
            made: RefCell::default(),
            in_flight: RefCell::default(),
            counts: Cell::default(),
        }
    }

    /// Runs a future to its end on a runtime of its own.
    pub fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn what_is_created_and_changed_is_counted() {
        let run = run();
        wait(async {
            let id = run.create("VPC", "shop", async { Ok("vpc-1".to_owned()) }).await.unwrap();
            assert_eq!(id.as_deref(), Some("vpc-1"));
            run.change("VPC", "shop", &Diff::new(), async { Ok(()) }).await.unwrap();
            run.change("VPC", "shop", &Diff::new().field("a", 1, 2), async { Ok(()) }).await.unwrap();
        });
        assert_eq!(run.counts.get(), Counts { create: 1, change: 0, delete: 0 }, "settings of a new resource are part of its creation");
        wait(run.change("VPC", "other", &Diff::new().field("a", 1, 2), async { Ok(()) })).unwrap();
        assert_eq!(run.counts.get(), Counts { create: 1, change: 1, delete: 0 });
        assert_eq!(*run.made.borrow(), ["VPC shop (vpc-1)"]);
    }

    #[test]
    fn a_plan_creates_nothing() {
        let run = Run { planning: true, ..run() };
        let made = wait(run.create("VPC", "shop", async { Err(Error::Internal("called".to_owned())) })).unwrap();
        assert_eq!((made, run.counts.get().create), (None, 1));
    }
}
