//! Runs the built binaries, alone and in a pipe.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The tools in the order in which they deploy.
pub const TOOLS: [&str; 6] = ["net-up", "cluster-up", "img-push", "svc-deploy", "scale-set", "alarms-set"];

/// The result of a tool or of a pipe.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Returns the document on stdout.
    #[must_use]
    pub fn doc(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| unreachable!("stdout is no document ({error}); stderr:\n{}", self.stderr))
    }

    /// Returns itself if the exit code is 0.
    ///
    /// # Panics
    /// With stderr, if the exit code is not 0.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Returns the lines about what was created (`+`), changed (`~`) or deleted (`-`), without the
    /// tool's name.
    #[must_use]
    pub fn acts(&self, sign: char) -> Vec<String> {
        let act =
            |line: &str| line.split_once(": ").map(|(_, act)| act).and_then(|act| act.strip_prefix(sign)).map(|act| act.trim().to_owned());
        self.stderr.lines().filter_map(act).collect()
    }
}

/// Returns the path of a tool. Cargo puts the tools into the folder above that of the test binary.
fn binary(tool: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap_or_default();
    path.pop();
    path.pop();
    path.join(tool)
}

/// Returns the root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a tool with this on stdin, and AWS at `endpoint`.
#[must_use]
pub fn run(endpoint: &str, tool: &str, args: &[&str], stdin: &str) -> Output {
    finish(start(endpoint, tool, args), stdin)
}

/// Runs one of `scripts/`, with real pipes between the tools.
#[must_use]
pub fn script(endpoint: &str, name: &str, args: &[&str], stdin: &str) -> Output {
    finish(start_script(endpoint, name, args), stdin)
}

/// Starts one of `scripts/` as the leader of a process group, as a terminal does.
#[must_use]
pub fn start_script(endpoint: &str, name: &str, args: &[&str]) -> Child {
    let tools = binary("").into_os_string().into_string().unwrap_or_default();
    let path = format!("{tools}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(root().join("scripts").join(name));
    spawn(command.args(args).env("PATH", path).process_group(0), endpoint)
}

/// Starts a tool that waits for its document.
#[must_use]
pub fn start(endpoint: &str, tool: &str, args: &[&str]) -> Child {
    spawn(&mut command(tool, args), endpoint)
}

/// The arguments that delete everything of a tool, also what outlives an app.
#[must_use]
pub fn down(tool: &str) -> &'static [&'static str] {
    if ["cluster-up", "svc-deploy"].contains(&tool) { &["--down", "--delete-data"] } else { &["--down"] }
}

#[must_use]
pub fn command(tool: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary(tool));
    command.args(args);
    if !args.contains(&"--timeout") {
        // No test waits longer for one resource.
        command.args(["--timeout", "2m"]);
    }
    command
}

/// Starts a command in the folder of the example, with pipes for its streams.
#[must_use]
pub fn spawn(command: &mut Command, endpoint: &str) -> Child {
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .current_dir(root().join("examples/shop"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| unreachable!("could not start {command:?}: {error}"))
}

/// Writes the document to a tool's stdin, and waits for its end.
#[must_use]
pub fn finish(mut child: Child, stdin: &str) -> Output {
    // A tool that refuses its arguments does not read stdin.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(stdin.as_bytes()));
    let done = child.wait_with_output().unwrap_or_else(|error| unreachable!("{error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    // As in a shell: 128 plus the signal that ended the tool.
    let code = done.status.code().unwrap_or_else(|| 128 + done.status.signal().unwrap_or_default());
    Output { code, stdout: text(done.stdout), stderr: text(done.stderr) }
}

/// Returns whether one of the actions that a policy allows is this one, or a pattern for it.
#[must_use]
pub fn is_allowed(allowed: &BTreeSet<String>, action: &str) -> bool {
    let matches = |one: &String| one.split_once('*').is_some_and(|(start, end)| action.starts_with(start) && action.ends_with(end));
    allowed.contains(action) || allowed.iter().any(matches)
}

/// Returns the actions that a policy allows.
#[must_use]
pub fn actions(policy: &Value) -> BTreeSet<String> {
    let actions = policy["Statement"].as_array().into_iter().flatten().flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        one => vec![one.clone()],
    });
    actions.filter_map(|action| action.as_str().map(str::to_owned)).collect()
}

/// The pipe, stage after stage, with the exit code of a shell with `pipefail`.
pub struct Pipe<'a> {
    pub endpoint: &'a str,
    /// The stages, in the order in which they run.
    pub tools: Vec<&'a str>,
    /// The arguments of every stage.
    pub args: Vec<&'a str>,
}

impl<'a> Pipe<'a> {
    #[must_use]
    pub fn up(endpoint: &'a str) -> Self {
        Self { endpoint, tools: TOOLS.to_vec(), args: Vec::new() }
    }

    #[must_use]
    pub fn plan(endpoint: &'a str) -> Self {
        Self { endpoint, tools: TOOLS.to_vec(), args: vec!["--plan"] }
    }

    #[must_use]
    pub fn down(endpoint: &'a str) -> Self {
        Self { endpoint, tools: TOOLS.iter().rev().copied().collect(), args: vec!["--down"] }
    }

    #[must_use]
    pub fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.tools.retain(|tool| keep(tool));
        self
    }

    /// Runs stage by stage until one fails, as `make` does.
    #[must_use]
    pub fn run_while_ok(&self, stdin: &str) -> Output {
        let mut all = Output { code: 0, stdout: stdin.to_owned(), stderr: String::new() };
        for tool in &self.tools {
            let one = run(self.endpoint, tool, &self.args, &all.stdout);
            all = Output { code: one.code, stdout: one.stdout, stderr: all.stderr + &one.stderr };
            if all.code != 0 {
                break;
            }
        }
        all
    }

    /// Runs all stages. Returns the last stage's document, all stages' messages, and the first exit
    /// code that is not 0.
    #[must_use]
    pub fn run(&self, stdin: &str) -> Output {
        let mut all = Output { code: 0, stdout: stdin.to_owned(), stderr: String::new() };
        for tool in &self.tools {
            let one = run(self.endpoint, tool, &self.args, &all.stdout);
            all = Output { code: if all.code == 0 { one.code } else { all.code }, stdout: one.stdout, stderr: all.stderr + &one.stderr };
        }
        all
    }
}
