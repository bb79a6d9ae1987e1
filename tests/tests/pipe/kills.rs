//! A kill at every changing call. The tools have no state file, so a second run must give the same
//! result as an undisturbed run.

use serde_json::{Value, json};
use tests::account::{holdings, nameless};
use tests::tool::{TOOLS, down};
use tests::{Faults, Moment, Output, Relay, run, script};

use crate::full;

/// Returns the distance between two kill points.
fn every(few: usize) -> usize {
    if full() { 1 } else { few }
}

fn app(name: &str, launch_type: &str) -> Value {
    json!({"name": name, "x-net": {"endpoints": ["s3"], "flow_logs": 7}, "x-cluster": {"launch_type": launch_type},
        "x-alarms": {"notify": ["a@example.com"]}, "secrets": {"key": {"environment": "HOME"}}, "services": {
            "web": {"image": "nginx:1.27", "ports": ["80"], "volumes": ["data:/data"], "secrets": ["key"]},
            "docs": {"image": "nginx:1.27", "ports": ["8081:80"]},
            "api": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"path": ["/api/*"], "task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}},
                    "x-scale": {"schedule": [{"name": "morning", "schedule": "cron(0 8 ? * MON-FRI *)", "min": 4}]}},
            "report": {"image": "busybox", "x-svc": {"schedule": "rate(1 day)"}}}})
}

/// A tool that is killed, and the number of kills.
struct Victim<'a> {
    relay: &'a Relay,
    tool: &'a str,
    app: &'a str,
    points: usize,
}

impl Victim<'_> {
    /// Runs the tool without a wait, because moto runs no tasks.
    fn run(&self, args: &[&str], stdin: &str) -> Output {
        run(&self.relay.endpoint, self.tool, &[args, &["--no-wait"]].concat(), stdin)
    }

    /// Kills the tool at its `n`-th changing call. Returns whether the tool reached that call.
    fn kill(&mut self, args: &[&str], stdin: &str, n: usize, moment: Moment) -> bool {
        self.relay.fail(Faults { kill: Some((n, moment)), ..Faults::default() });
        let dead = self.run(args, stdin);
        self.relay.fail(Faults::default());
        assert!(dead.code == 137 || dead.code == 0, "{} at {n} {moment:?}: {}", self.tool, dead.stderr);
        assert!(dead.code == 0 || dead.stdout.is_empty(), "a killed tool leaves no document");
        self.points += usize::from(dead.code == 137);
        dead.code == 137
    }

    fn up(&mut self, doc: &str, step: usize) -> String {
        let before = holdings(&self.relay.endpoint, self.app);
        let _ = self.relay.calls();
        let good = self.run(&[], doc).ok();
        let (calls, wanted) = (self.relay.mutations().len(), holdings(&self.relay.endpoint, self.app));
        let _ = self.run(down(self.tool), &good.stdout).ok();
        for n in (1..=calls).step_by(step) {
            for moment in [Moment::Before, Moment::After] {
                let place = format!("{} killed {moment:?} its changing call {n} of {calls}", self.tool);
                if !self.kill(&[], doc, n, moment) {
                    continue;
                }
                let again = self.run(&[], doc);
                assert_eq!(again.code, 0, "{place}: {}", again.stderr);
                assert_eq!(nameless(&again.stdout), nameless(&good.stdout), "{place}");
                assert_eq!(holdings(&self.relay.endpoint, self.app), wanted, "{place}");
                let plan = self.run(&["--plan"], &again.stdout);
                assert_eq!((plan.code, super::masked::changes(&plan)), (0, String::new()), "{place}: nothing is left to do");
                let _ = self.run(down(self.tool), &again.stdout).ok();
                assert_eq!(holdings(&self.relay.endpoint, self.app), before, "{place}, and --down");
            }
        }
        self.run(&[], doc).ok().stdout
    }

    fn down(&mut self, doc: &str, live: &str, step: usize) -> String {
        let _ = self.relay.calls();
        let gone = self.run(down(self.tool), live).ok();
        let (calls, before) = (self.relay.mutations().len(), holdings(&self.relay.endpoint, self.app));
        for n in (1..=calls).step_by(step) {
            for moment in [Moment::Before, Moment::After] {
                let live = self.run(&[], doc).ok().stdout;
                self.kill(down(self.tool), &live, n, moment);
                let again = self.run(down(self.tool), &live);
                assert_eq!(again.code, 0, "{} --down killed {moment:?} its changing call {n} of {calls}: {}", self.tool, again.stderr);
                assert_eq!(
                    holdings(&self.relay.endpoint, self.app),
                    before,
                    "{} --down killed {moment:?} its changing call {n}",
                    self.tool
                );
            }
        }
        gone.stdout
    }
}

fn every_tool(name: &str, launch_type: &str) {
    let relay = Relay::before("ECS_PIPE_MOTO");
    let mut docs = vec![app(name, launch_type).to_string()];
    let mut points = 0;
    for tool in TOOLS {
        let mut victim = Victim { relay: &relay, tool, app: name, points: 0 };
        let live = victim.up(docs.last().unwrap(), every(7));
        eprintln!("{launch_type} {tool}: killed at {} points, survived all", victim.points);
        points += victim.points;
        docs.push(live);
    }
    for tool in TOOLS.iter().rev() {
        let live = docs.pop().unwrap();
        let mut victim = Victim { relay: &relay, tool, app: name, points: 0 };
        let _ = victim.down(docs.last().unwrap(), &live, every(7));
        eprintln!("{launch_type} {tool} --down: killed at {} points, survived all", victim.points);
        points += victim.points;
    }
    assert_eq!(holdings(&relay.endpoint, name), Vec::<String>::new());
    eprintln!("{launch_type}: killed at {points} points, survived all");
}

#[test]
fn a_killed_tool_is_run_again_on_ec2() {
    every_tool("killed-ec2", "ec2");
}

#[test]
fn a_killed_tool_is_run_again_on_fargate() {
    every_tool("killed-fargate", "fargate");
}

/// In ministack, to which Docker can push. An interrupted push is made again.
#[test]
fn a_killed_img_push_is_run_again() {
    let (relay, name) = (Relay::new(), "killed-images");
    let built = |what: &str| json!({"build": {"context": "./worker", "dockerfile_inline": format!("FROM busybox\nENV WHAT={what}")}});
    let doc = json!({"name": name, "services": {"web": built("web"), "api": built("api")}}).to_string();
    let mut victim = Victim { relay: &relay, tool: "img-push", app: name, points: 0 };
    // It has few calls, so each of them is a kill point.
    let live = victim.up(&doc, 1);
    let _ = victim.down(&doc, &live, 1);
    assert_eq!(holdings(&relay.endpoint, name), Vec::<String>::new());
    eprintln!("img-push: killed at {} points, survived all", victim.points);
}

/// Returns an app with a build, a port and scaling, in as few calls as possible.
fn small(name: &str) -> Value {
    json!({"name": name, "x-net": {"nat": "none"}, "x-cluster": {"launch_type": "fargate"}, "services": {
        "web": {"build": {"context": "./worker", "dockerfile_inline": "FROM busybox\nCMD exec httpd -f -p 80"}, "ports": ["80"]}}})
}

/// With real pipes: the stages after a killed stage get no document and change nothing.
#[test]
fn a_killed_pipe_is_run_again() {
    let (relay, app, mut points) = (Relay::new(), "killed-pipe", 0);
    let doc = small(app).to_string();
    let pipe = |name: &str, stdin: &str| script(&relay.endpoint, name, if name == "deploy" { &["--no-wait"] } else { &[] }, stdin);
    let mut kill = |name: &str, stdin: &str, n: usize, moment: Moment| {
        relay.fail(Faults { kill: Some((n, moment)), ..Faults::default() });
        let dead = pipe(name, stdin);
        relay.fail(Faults::default());
        assert!(dead.code != 0 && dead.stdout.is_empty(), "{name} at {n} {moment:?}: {} {}", dead.code, dead.stderr);
        points += 1;
    };
    // The first deployment creates ECS's service-linked role in the account.
    let _ = pipe("teardown", &pipe("deploy", &doc).ok().stdout).ok();
    let _ = relay.calls();
    let good = pipe("deploy", &doc).ok();
    let (ups, wanted) = (relay.mutations().len(), holdings(&relay.endpoint, app));
    let _ = pipe("teardown", &good.stdout).ok();
    let downs = relay.mutations().len();
    for moment in [Moment::Before, Moment::After] {
        for n in (1..=ups).step_by(every(21)) {
            kill("deploy", &doc, n, moment);
            let again = pipe("deploy", &doc).ok();
            assert_eq!(nameless(&again.stdout), nameless(&good.stdout), "killed {moment:?} changing call {n} of {ups}");
            assert_eq!(holdings(&relay.endpoint, app), wanted, "killed {moment:?} changing call {n} of {ups}");
            let _ = pipe("teardown", &again.stdout).ok();
        }
        for n in (1..=downs).step_by(every(21)) {
            let live = pipe("deploy", &doc).ok().stdout;
            kill("teardown", &live, n, moment);
            let _ = pipe("teardown", &live).ok();
            assert_eq!(holdings(&relay.endpoint, app), Vec::<String>::new(), "killed {moment:?} changing call {n} of {downs} of teardown");
        }
    }
    eprintln!("whole pipe: killed at {points} points of {}, survived all", 2 * (ups + downs));
}
