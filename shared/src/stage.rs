//! The skeleton of every tool: arguments -> read -> find -> walk -> write.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OnceCell, watch};

use crate::aws::Session;
use crate::doc::{Caller, Document, join};
use crate::error::{Error, Result, Stop};
use crate::flags::Common;
use crate::input;
use crate::output::write;
use crate::policy::{self, Grant, Named};
use crate::progress::{Event, Progress};
use crate::run::{Counts, Run};
use crate::settings::{Parts, blame};
use crate::signals::Signals;
use crate::step::walk;

/// After a signal, a call under way gets this long to finish, so that its outcome is known.
const GRACE: Duration = Duration::from_millis(1500);
/// `--plan` found changes.
const PENDING: u8 = 3;

/// One tool. `find` reads everything first; `up` and `down` then act on what was found, step by step.
#[expect(async_fn_in_trait, reason = "the runtime is current_thread, so no future has to be Send")]
pub trait Stage: Sized {
    /// The binary's name.
    const TOOL: &'static str;
    /// The section that it writes.
    const SECTION: &'static str;
    /// One line on what it does, and the rest of its `--help`.
    const ABOUT: &'static str;
    const DETAILS: &'static str;
    /// The sections that it needs, each with the tool that writes it.
    const NEEDS: &'static [(&'static str, &'static str)];
    /// What it may do in AWS.
    const GRANTS: &'static [Grant];
    /// Whether it waits by default.
    const WAITS: bool;
    /// The order of the work, stated once.
    const WAVES: &'static [&'static [Self::Step]];

    type Step: Copy + 'static;
    type Flags: Args + Serialize;
    /// The settings, checked.
    type Wanted;

    /// Returns this tool's part of the document, for `--schema` and `--help`.
    fn parts() -> Parts;

    /// Reads and checks the settings; calls nothing.
    ///
    /// # Errors
    /// Says what is wrong in the document or the flags, with its path.
    fn wanted(doc: &Document, flags: &Self::Flags) -> Result<Self::Wanted>;

    /// Returns what the settings name for [`Stage::GRANTS`]; calls nothing.
    ///
    /// # Errors
    /// Says what is wrong in the document or the flags, with its path.
    fn named(_doc: &Document, _flags: &Self::Flags) -> Result<Named> {
        Ok(Named::new())
    }

    /// Finds what exists of the app. `wanted` is `None` with `--down`.
    ///
    /// # Errors
    /// Returns what AWS refused, and two resources where one is expected.
    async fn find(run: &Run, doc: &Document, flags: &Self::Flags, wanted: Option<&Self::Wanted>) -> Result<Self>;

    /// Does one step.
    ///
    /// # Errors
    /// Returns what AWS refused.
    async fn up(&self, run: &Run, wanted: &Self::Wanted, step: Self::Step) -> Result<()>;

    /// Waits until everything is ready (`--wait`); for most tools it is at once.
    ///
    /// # Errors
    /// Says what did not become ready, and why.
    async fn ready(&self, _run: &Run, _wanted: &Self::Wanted) -> Result<()> {
        Ok(())
    }

    /// Undoes one step.
    ///
    /// # Errors
    /// Returns what AWS refused.
    async fn down(&self, run: &Run, step: Self::Step) -> Result<()>;

    /// Returns whether the flags name something else to do than a deployment, which [`Stage::aside`] does. It writes no document.
    fn is_aside(_flags: &Self::Flags) -> bool {
        false
    }

    /// Does what the flags name instead of a deployment.
    ///
    /// # Errors
    /// Returns what AWS refused.
    async fn aside(_run: &Run, _doc: &Document, _flags: &Self::Flags) -> Result<()> {
        Ok(())
    }

    /// Returns the section to write; ids that a plan can't know are `null`.
    fn section(&self) -> impl Serialize;

    /// Returns a last line for people after a successful run, for example where the app answers.
    fn epilogue(&self) -> Option<String> {
        None
    }
}

#[derive(Parser)]
struct Cli<F: Args> {
    #[command(flatten)]
    flags: F,
    #[command(flatten)]
    common: Common,
}

/// The whole program.
#[must_use]
pub fn main<S: Stage>() -> ExitCode {
    let command = Cli::<S::Flags>::command()
        .name(S::TOOL)
        .about(S::ABOUT)
        .long_about(format!("{}\n\n{}", S::ABOUT, S::DETAILS))
        .version(env!("CARGO_PKG_VERSION"));
    let command = S::parts().explain(command);
    let cli = match command.clone().try_get_matches().and_then(|matches| Cli::<S::Flags>::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(said) => {
            let _ = said.print();
            return ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2));
        }
    };
    let progress = Progress::new(S::TOOL, &cli.common);
    match work::<S>(command, cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            progress.fail(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn work<S: Stage>(mut command: clap::Command, cli: Cli<S::Flags>) -> Result<u8> {
    let Cli { flags, common } = cli;
    if common.schema {
        return write(&pretty(&S::parts().schema(&command))).map(|()| 0);
    } else if let Some(shell) = common.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, S::TOOL, &mut script);
        return write(&String::from_utf8_lossy(&script)).map(|()| 0);
    } else if common.man {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Error::Internal(format!("could not write the manual page: {error}")))?;
        return write(&String::from_utf8_lossy(&page)).map(|()| 0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Error::unavailable("no-runtime", format!("could not start the runtime: {error}. Check the limits of this machine"))
    })?;
    runtime.block_on(async {
        let mut signals = Signals::catch();
        let text = join(input::stdin(&mut signals).await?)?;
        if common.policy {
            return write(&pretty(&policy_of::<S>(&text, &flags, &common)?)).map(|()| 0);
        }
        let doc = input::document(&text, S::NEEDS, &common)?;
        if common.check {
            return check::<S>(doc, &text, &flags, &common);
        } else if S::is_aside(&flags) {
            return aside::<S>(&doc, &flags, &common, &mut signals).await.map(|()| 0);
        }
        let (doc, changes) = deploy::<S>(doc, &flags, &common, &mut signals).await?;
        let text = if std::io::stdout().is_terminal() { pretty(doc.value()) } else { format!("{}\n", doc.value()) };
        write(&text)?;
        Ok(if common.plan && changes > 0 { PENDING } else { 0 })
    })
}

/// Returns the policy for the app and the settings of the document, if there is one.
fn policy_of<S: Stage>(text: &[u8], flags: &S::Flags, common: &Common) -> Result<Value> {
    if text.trim_ascii().is_empty() && common.app.is_none() {
        return Ok(policy::document(S::GRANTS, None, &S::named(&Document::default(), flags)?));
    }
    let doc = input::document(text, &[], common)?;
    Ok(policy::document(S::GRANTS, Some(doc.name()?), &S::named(&doc, flags).map_err(|error| blamed::<S>(error, flags))?))
}

/// Reads all settings without a call, and passes the document on as it came.
fn check<S: Stage>(mut doc: Document, text: &[u8], flags: &S::Flags, common: &Common) -> Result<u8> {
    let new = format!("{}\n", doc.value());
    // Settings are checked without the sections of the tools before.
    doc.stand_in();
    let name = doc.name().map(drop);
    doc.keep(name);
    wanted::<S>(&doc, flags, &Progress::new(S::TOOL, common))?;
    let text = if text.trim_ascii().is_empty() { new } else { String::from_utf8_lossy(text).into_owned() };
    match serde_json::from_str(&text) {
        Ok(value) if std::io::stdout().is_terminal() => write(&pretty(&value)),
        _ => write(&text),
    }
    .map(|()| 0)
}

/// Reads the settings; warns, and reports everything that is wrong at once.
fn wanted<S: Stage>(doc: &Document, flags: &S::Flags, progress: &Progress) -> Result<S::Wanted> {
    let wanted = doc.keep(S::wanted(doc, flags));
    doc.warnings().iter().for_each(|(code, text)| progress.warn(code, text));
    let findings = doc.findings().into_iter().map(|error| blamed::<S>(error, flags));
    match (Error::all(findings.collect()), wanted) {
        (Some(error), _) => Err(error),
        (None, Some(wanted)) => Ok(wanted),
        (None, None) => Err(Error::Internal("the settings are neither right nor wrong".to_owned())),
    }
}

fn blamed<S: Stage>(error: Error, flags: &S::Flags) -> Error {
    blame(error, &format!("x-{}.", S::SECTION), "--", flags)
}

/// Checks what the tool needs from the tools before it.
fn check_sections<S: Stage>(doc: &Document, common: &Common) -> Result<()> {
    doc.name()?;
    if !common.down {
        doc.check_needs(S::NEEDS)?;
    }
    if !common.down && !common.plan {
        doc.check_made(S::NEEDS.iter().map(|(section, _)| *section).chain(["img"]))?;
    }
    Ok(())
}

/// Does the run, and returns the document with the section added (or removed) and the number of changes.
async fn deploy<S: Stage>(mut doc: Document, flags: &S::Flags, common: &Common, signals: &mut Signals) -> Result<(Document, usize)> {
    check_sections::<S>(&doc, common)?;
    let progress = Progress::new(S::TOOL, common);
    let wanted = if common.down { None } else { Some(wanted::<S>(&doc, flags, &progress)?) };
    let run = begin::<S>(&doc, common, progress).await?;
    let known: Option<Caller> = doc.view("aws")?;
    let walked = tokio::select! {
        walked = until_nothing_exists_already(&run, || find_and_walk::<S>(&run, &doc, flags, wanted.as_ref(), known.clone())) => walked,
        stop = interrupted(&run, signals) => Err(Error::Interrupted(stop)),
    };
    let stage = walked.inspect_err(|_| report_failure(&run)).map_err(|error| blamed::<S>(error, flags))?;
    report_success(&run, common.down, stage.epilogue())?;
    doc.put("aws", json(run.caller()?)?);
    if common.down {
        // A plan of it passes the section on, as the stages after it need it.
        if !common.plan {
            doc.remove(S::SECTION);
        }
    } else {
        doc.put(S::SECTION, json(stage.section())?);
    }
    Ok((doc, run.counts.get().total()))
}

/// Opens the session of a run.
async fn begin<S: Stage>(doc: &Document, common: &Common, progress: Progress) -> Result<Run> {
    let known: Option<Caller> = doc.view("aws")?;
    let session = Session::open(S::TOOL, common, known.as_ref()).await?;
    check_region(&session, known.as_ref())?;
    Ok(Run {
        app: doc.name()?.to_owned(),
        session,
        progress,
        timeout: common.timeout,
        wait: common.wait || (S::WAITS && !common.no_wait),
        tool: S::TOOL,
        planning: common.plan,
        user_tags: doc.tags(&common.tags)?,
        caller: OnceCell::new_with(known),
        stop: watch::Sender::new(None),
        made: RefCell::default(),
        in_flight: RefCell::default(),
        counts: Cell::default(),
    })
}

/// Does what the flags name instead of a deployment.
async fn aside<S: Stage>(doc: &Document, flags: &S::Flags, common: &Common, signals: &mut Signals) -> Result<()> {
    let run = begin::<S>(doc, common, Progress::new(S::TOOL, common)).await?;
    let known: Option<Caller> = doc.view("aws")?;
    let work = async {
        check_caller(&run, known).await?;
        S::aside(&run, doc, flags).await
    };
    tokio::select! {
        done = work => done,
        stop = interrupted(&run, signals) => Err(Error::Interrupted(stop)),
    }
}

/// A pipe must not be continued in another region than the one it began in.
fn check_region(session: &Session, known: Option<&Caller>) -> Result<()> {
    match known.filter(|known| known.region != session.region()) {
        Some(known) => Err(Error::document(
            "other-region",
            "aws.region",
            format!(
                "the document is of the region {0}, but the region in use is {1}. Set --region {0}, or unset AWS_REGION",
                known.region,
                session.region()
            ),
        )),
        None => Ok(()),
    }
}

/// What AWS says exists already was created by a call whose answer was lost, or by another run: finds everything again and goes on. When the same
/// resource exists already twice, finding does not help, because it is not ours.
async fn until_nothing_exists_already<T, F: Future<Output = Result<T>>>(run: &Run, attempt: impl Fn() -> F) -> Result<T> {
    let mut seen = BTreeSet::new();
    loop {
        let walked = attempt().await;
        match walked.as_ref().err().and_then(Error::already_exists) {
            Some(doing) if seen.insert(doing.to_owned()) => {
                run.note(&format!("it existed already when this run was about to {doing}. Reading everything again"));
                run.go_on();
                // Reads lag behind writes.
                run.pause(crate::wait::LOST).await?;
            }
            _ => return walked,
        }
    }
}

async fn find_and_walk<S: Stage>(
    run: &Run,
    doc: &Document,
    flags: &S::Flags,
    wanted: Option<&S::Wanted>,
    known: Option<Caller>,
) -> Result<S> {
    let (checked, stage) = futures_util::join!(check_caller(run, known), S::find(run, doc, flags, wanted));
    checked?;
    let stage = stage?;
    if let Some(wanted) = wanted {
        walk(run, S::WAVES.iter(), async |step| stage.up(run, wanted, step).await).await?;
        if run.wait && !run.planning {
            stage.ready(run, wanted).await?;
        }
    } else {
        walk(run, S::WAVES.iter().rev(), async |step| stage.down(run, step).await).await?;
    }
    Ok(stage)
}

/// The credentials must be of the document's account. Reading goes on meanwhile, because it changes nothing.
async fn check_caller(run: &Run, known: Option<Caller>) -> Result<()> {
    let Some(known) = known else { return run.ask_caller().await.map(drop) };
    let caller = run.session.caller().await?;
    if caller == known {
        return Ok(());
    }
    Err(Error::document(
        "other-account",
        "aws.account",
        format!(
            "the document is of account {}, but the credentials are of account {}. Use credentials of the document's account",
            known.account, caller.account
        ),
    ))
}

/// Returns after a signal, when the calls under way have had their time to end.
async fn interrupted(run: &Run, signals: &mut Signals) -> Stop {
    let stop = signals.next().await;
    run.stop.send_replace(Some(stop));
    tokio::time::sleep(GRACE).await;
    stop
}

/// After a failure: what exists by now, what is under way, and what to do.
fn report_failure(run: &Run) {
    let in_flight = run.in_flight.borrow();
    if !in_flight.is_empty() {
        run.note(&format!("under way when the run stopped, with an unknown outcome: {}", in_flight.join(", ")));
    }
    let made = run.made.borrow();
    if !made.is_empty() {
        run.note(&format!("created by this run: {}", made.join(", ")));
    }
    if !made.is_empty() || !in_flight.is_empty() {
        run.note(&format!("run the same command again to go on from here, or `{} --down --app {}` to delete it", run.tool, run.app));
    }
}

/// What a run did, or a plan would do.
fn report_success(run: &Run, down: bool, epilogue: Option<String>) -> Result<()> {
    let counts = run.counts.get();
    let Counts { create, change, delete } = counts;
    if run.planning {
        // A plan without changes prints nothing, as its exit code says it all.
        if counts.total() > 0 {
            run.progress.planned(Event::Note, &format!("{create} to create, {change} to change, {delete} to delete"));
        }
    } else if down && counts.total() == 0 {
        let Caller { account, region, .. } = run.caller()?;
        run.note(&format!("done: nothing of the app {} exists in {region} of account {account}", run.app));
    } else if counts.total() == 0 {
        run.note("done: nothing to change");
    } else {
        run.note(&format!("done: {create} created, {change} changed, {delete} deleted"));
    }
    if let Some(text) = epilogue.filter(|_| !run.planning && !down) {
        run.note(&text);
    }
    Ok(())
}

fn json(value: impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::Internal(error.to_string()))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
