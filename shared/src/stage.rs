//! The skeleton that every tool is: arguments -> read -> look -> walk -> write.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OnceCell, watch};

use crate::aws::Session;
use crate::doc::{self, Caller, Document};
use crate::error::{Error, Result};
use crate::flags::{Common, blame};
use crate::policy::{self, Grant};
use crate::progress::{Event, Progress};
use crate::run::Run;
use crate::step::walk;

/// After a signal, a call under way gets this long to finish, so that its outcome is known.
const GRACE: Duration = Duration::from_millis(1500);
/// `--plan` found something to do.
const PENDING: u8 = 3;

/// One tool. `look` finds everything first, reading only; `up` and `down` then act on what was found, step by step.
#[expect(async_fn_in_trait, reason = "the runtime is current_thread, so no future has to be Send")]
pub trait Stage: Sized {
    /// The binary's name.
    const TOOL: &'static str;
    /// The section that it writes.
    const SECTION: &'static str;
    /// One line on what it does, and what its `--help` says in full.
    const ABOUT: &'static str;
    const DETAILS: &'static str;
    /// The sections that it can't work without, each with the tool that makes it.
    const NEEDS: &'static [(&'static str, &'static str)];
    /// What it may do in AWS.
    const GRANTS: &'static [Grant];
    /// Whether it waits unless told otherwise.
    const WAITS: bool;
    /// The order of the work, stated once.
    const WAVES: &'static [&'static [Self::Step]];

    type Step: Copy + 'static;
    type Flags: Args + Serialize;
    /// The wishes, checked.
    type Wanted;
    /// This tool's part of the document, for `--schema`.
    type Part: JsonSchema;

    /// Reads and checks the wishes; calls nothing.
    ///
    /// # Errors
    /// What is wrong with the document or the flags, with its path.
    fn wanted(doc: &Document, flags: &Self::Flags) -> Result<Self::Wanted>;

    /// Finds what exists of the app. `wanted` is `None` when taking down.
    ///
    /// # Errors
    /// What AWS said no to, or two things where one is expected.
    async fn look(run: &Run, doc: &Document, flags: &Self::Flags, wanted: Option<&Self::Wanted>) -> Result<Self>;

    /// Makes one step so.
    ///
    /// # Errors
    /// What AWS said no to.
    async fn up(&self, run: &Run, wanted: &Self::Wanted, step: Self::Step) -> Result<()>;

    /// Waits until everything made is ready (`--wait`); for most tools it is so at once.
    ///
    /// # Errors
    /// That it did not become ready, and why.
    async fn ready(&self, _run: &Run, _wanted: &Self::Wanted) -> Result<()> {
        Ok(())
    }

    /// Undoes one step.
    ///
    /// # Errors
    /// What AWS said no to.
    async fn down(&self, run: &Run, step: Self::Step) -> Result<()>;

    /// The section to write; ids that a plan can't know are `null`.
    fn section(&self) -> impl Serialize;
}

#[derive(Parser)]
struct Cli<F: Args> {
    #[command(flatten)]
    wishes: F,
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
            progress.say(Event::Error, &error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn work<S: Stage>(mut command: clap::Command, cli: Cli<S::Flags>) -> Result<u8> {
    let Cli { wishes, common } = cli;
    if common.policy {
        return write(&pretty(&policy::document(S::GRANTS, common.app.as_deref()))).map(|()| 0);
    } else if common.schema {
        return write(&pretty(&doc::schema::<S::Part>())).map(|()| 0);
    } else if let Some(shell) = common.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, S::TOOL, &mut script);
        return write(&String::from_utf8_lossy(&script)).map(|()| 0);
    } else if common.man {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Error::Failed(format!("could not write the manual page: {error}")))?;
        return write(&String::from_utf8_lossy(&page)).map(|()| 0);
    }
    let doc = read::<S>(&common)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Unavailable(format!("could not start the runtime: {error}")))?;
    let (doc, changes) = runtime.block_on(deploy::<S>(doc, &wishes, &common))?;
    let text = if std::io::stdout().is_terminal() { pretty(doc.value()) } else { format!("{}\n", doc.value()) };
    write(&text)?;
    Ok(if common.plan && changes > 0 { PENDING } else { 0 })
}

/// Reads the document, or starts a new one for `--app`.
fn read<S: Stage>(common: &Common) -> Result<Document> {
    let mut text = Vec::new();
    if !std::io::stdin().is_terminal() {
        std::io::stdin().lock().read_to_end(&mut text).map_err(|error| Error::Unavailable(format!("could not read stdin: {error}")))?;
    }
    let mut doc = match (&common.app, text.trim_ascii().is_empty()) {
        (_, false) => Document::parse(&text)?,
        (Some(_), true) => Document::default(),
        (None, true) => match S::NEEDS.first() {
            Some((section, maker)) if !common.down => return Err(Error::Missing { section, maker }),
            _ => {
                return Err(Error::document(
                    "stdin",
                    "there is no document to read, and no --app to start a new one. If this is the middle of a pipe, the stage before has failed; nothing was touched",
                ));
            }
        },
    };
    if let Some(app) = &common.app {
        doc.set_name(app)?;
    }
    doc.name()?;
    if !common.down {
        doc.check_needs(S::NEEDS)?;
    }
    if !common.down && !common.plan {
        doc.check_made(S::NEEDS.iter().map(|(section, _)| *section).chain(["img"]))?;
    }
    Ok(doc)
}

/// Looks, walks, and gives the document with the section in it (or out of it) and the number of changes.
async fn deploy<S: Stage>(mut doc: Document, flags: &S::Flags, common: &Common) -> Result<(Document, usize)> {
    let blamed = |error| blame(error, &format!("x-{}.", S::SECTION), "--", flags);
    let wanted = if common.down { None } else { Some(S::wanted(&doc, flags).map_err(blamed)?) };
    let progress = Progress::new(S::TOOL, common);
    doc.warnings().iter().for_each(|warning| progress.say(Event::Warning, warning));
    let known: Option<Caller> = doc.view("aws")?;
    let session = Session::open(S::TOOL, common, known.as_ref()).await?;
    if let Some(known) = known.as_ref().filter(|known| known.region != session.region()) {
        return Err(Error::document(
            "aws.region",
            format!(
                "the document is of {0}, but the region in use is {1}: give --region {0}, or take AWS_REGION away",
                known.region,
                session.region()
            ),
        ));
    }
    let run = Run {
        app: doc.name()?.to_owned(),
        session,
        progress,
        timeout: common.timeout,
        wait: common.wait || (S::WAITS && !common.no_wait),
        tool: S::TOOL,
        planning: common.plan,
        user_tags: doc.tags(&common.tags)?,
        caller: OnceCell::new_with(known.clone()),
        stop: watch::Sender::new(None),
        made: RefCell::default(),
        in_flight: RefCell::default(),
        changes: Cell::new(0),
    };
    let walked = tokio::select! {
        walked = until_nothing_is_there_already(&run, || look_and_walk::<S>(&run, &doc, flags, wanted.as_ref(), known.clone())) => walked,
        signal = interrupted(&run) => Err(Error::Interrupted { signal }),
    };
    let stage = walked.inspect_err(|_| report(&run)).map_err(blamed)?;
    doc.put("aws", json(run.caller()?)?);
    if common.down {
        if run.changes.get() == 0 {
            let Caller { account, region, .. } = run.caller()?;
            run.note(&format!("nothing of the app {} is there, in {region} of account {account}", run.app));
        }
        // A plan of it passes the section on, as the stages after it need it.
        if !common.plan {
            doc.take(S::SECTION);
        }
    } else {
        doc.put(S::SECTION, json(stage.section())?);
    }
    Ok((doc, run.changes.get()))
}

/// What AWS says is there already was made by a call whose answer was lost, or by another run: looks again, finds it, and goes on. When the same
/// thing is there already twice, looking does not find it, so it is somebody else's.
async fn until_nothing_is_there_already<T, F: Future<Output = Result<T>>>(run: &Run, attempt: impl Fn() -> F) -> Result<T> {
    let mut seen = BTreeSet::new();
    loop {
        let walked = attempt().await;
        match walked.as_ref().err().and_then(Error::there_already) {
            Some(doing) if seen.insert(doing.to_owned()) => {
                run.note(&format!("AWS had it already when this was about to {doing}; looking again"));
                run.go_on();
                // Reads lag behind writes.
                run.pause(crate::wait::LOST).await?;
            }
            _ => return walked,
        }
    }
}

async fn look_and_walk<S: Stage>(
    run: &Run,
    doc: &Document,
    flags: &S::Flags,
    wanted: Option<&S::Wanted>,
    known: Option<Caller>,
) -> Result<S> {
    let (checked, stage) = futures_util::join!(check_caller(run, known), S::look(run, doc, flags, wanted));
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

/// The credentials must be of the account that the document is of. Looking goes on meanwhile: it changes nothing.
async fn check_caller(run: &Run, known: Option<Caller>) -> Result<()> {
    let Some(known) = known else { return run.ask_caller().await.map(drop) };
    let caller = run.session.caller().await?;
    if caller == known {
        return Ok(());
    }
    Err(Error::document(
        "aws.account",
        format!("the document is of account {}, but the credentials are of account {}", known.account, caller.account),
    ))
}

/// Comes back after SIGINT or SIGTERM, when what was under way has had its time to end.
async fn interrupted(run: &Run) -> i32 {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    let number = tokio::select! {
        _ = int.recv() => SignalKind::interrupt().as_raw_value(),
        _ = term.recv() => SignalKind::terminate().as_raw_value(),
    };
    run.stop.send_replace(Some(number));
    tokio::time::sleep(GRACE).await;
    number
}

/// After a failure: what exists by now, what is under way, and what to do.
fn report(run: &Run) {
    let in_flight = run.in_flight.borrow();
    if !in_flight.is_empty() {
        run.note(&format!("still under way, outcome unknown: {}", in_flight.join(", ")));
    }
    let made = run.made.borrow();
    if !made.is_empty() {
        run.note(&format!("made before this happened: {}", made.join(", ")));
    }
    if !made.is_empty() || !in_flight.is_empty() {
        run.note(&format!("run the same command again to go on from here, or `{} --down --app {}` to delete it", run.tool, run.app));
    }
}

fn json(value: impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::Failed(error.to_string()))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The only place that writes to stdout. A reader that has gone away is no error of ours.
fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Unavailable(format!("could not write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
