//! Changes by hand: `--plan` shows each change, and a run reverts it.
//!
//! Each change is a test, named after the change. The tests of a [`Shared`] app make their changes
//! one after another, so that the app is deployed once.

mod alarms_set;
mod cluster_up;
mod img_push;
mod jobs;
mod net_up;
mod scale_set;
mod storage;
mod svc_deploy;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::{Value, json};
use tests::account::{holdings, nameless};
use tests::tool::{actions, is_allowed};
use tests::{Clients, Output, Pipe, Relay, run};

use super::masked;

type Done = Result<(), Box<dyn std::error::Error>>;

const APP: &str = "drift";
const BOUNDARY: &str = "arn:aws:iam::aws:policy/PowerUserAccess";

/// The app of all changes, except those of a repository.
static PIPE: Shared = Shared::new(up, |app| Pipe::down(&app.relay.endpoint).run_while_ok(&app.live));

/// Deploys the app in moto, without a wait, because moto runs no tasks.
fn up() -> Deployed {
    let doc = json!({"name": APP, "x-tags": {"team": "shop"}, "x-net": {"endpoints": ["s3", "logs"], "flow_logs": 7},
        "x-svc": {"permissions_boundary": BOUNDARY}, "x-alarms": {"memory": 85, "notify": ["a@example.com"]}, "services": {
            "web": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"task_role": {"policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}}},
            "api": {"image": "nginx:1.27", "ports": ["80"], "x-svc": {"path": ["/api/*"]},
                    "x-scale": {"schedule": [{"name": "morning", "schedule": "cron(0 8 ? * MON-FRI *)", "min": 4}]}}}});
    let relay = Relay::before("ECS_PIPE_MOTO");
    let up = Pipe { args: vec!["--no-wait"], ..Pipe::up(&relay.endpoint) }.run_while_ok(&doc.to_string()).ok();
    Deployed::new(relay, APP, up.stdout)
}

/// The last test, also by name: libtest starts tests in the order of their names.
#[test]
fn the_app_is_deleted_after_all_changes() {
    PIPE.is_deleted();
}

/// An app that several tests change. The first test deploys it.
struct Shared {
    app: Mutex<Option<Deployed>>,
    /// A test that makes a change holds a read lock, also while it waits for the app. The deletion
    /// holds the write lock, so it waits for all changes whose tests have started.
    changes: RwLock<()>,
    up: fn() -> Deployed,
    down: fn(&Deployed) -> Output,
}

impl Shared {
    const fn new(up: fn() -> Deployed, down: fn(&Deployed) -> Output) -> Self {
        Self { app: Mutex::new(None), changes: RwLock::new(()), up, down }
    }

    /// Makes a change to the app.
    fn with(&self, change: impl FnOnce(&mut Deployed)) {
        let _changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        change(self.lock().get_or_insert_with(self.up));
    }

    /// Deletes the app. Nothing may be left of it.
    fn is_deleted(&self) {
        let _changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let app = self.lock().take().unwrap_or_else(self.up);
        let _ = (self.down)(&app).ok();
        assert_eq!(holdings(&app.relay.endpoint, app.app), Vec::<String>::new());
    }

    /// Waits until no other test uses the app. A test that failed may have left its change in the
    /// app, so the app is deleted then, and the next test deploys it again.
    fn lock(&self) -> MutexGuard<'_, Option<Deployed>> {
        self.app.lock().unwrap_or_else(|poisoned| {
            self.app.clear_poison();
            let mut app = poisoned.into_inner();
            if let Some(changed) = app.take() {
                // An error here is not of the next test, which compares only with its own
                // deployment.
                let _ = (self.down)(&changed);
            }
            app
        })
    }
}

/// A deployed app.
struct Deployed {
    relay: Relay,
    clients: Clients,
    app: &'static str,
    /// The document after the last run.
    live: String,
    /// What AWS has of the app. Each run must restore this.
    wanted: Vec<String>,
}

impl Deployed {
    fn new(relay: Relay, app: &'static str, live: String) -> Self {
        let (clients, wanted) = (Clients::at(&relay.endpoint), holdings(&relay.endpoint, app));
        Self { relay, clients, app, live, wanted }
    }

    /// Returns the id or ARN at this place of the document.
    fn id(&self, pointer: &str) -> String {
        let live: Value = serde_json::from_str(&self.live).unwrap();
        live.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| unreachable!("{pointer} is not in {live:#}")).to_owned()
    }

    fn tool(&self, tool: &str, args: &[&str]) -> Output {
        run(&self.relay.endpoint, tool, &[args, &["--no-wait"]].concat(), &self.live)
    }

    /// Makes a change. After it, `tool --plan` must say this and equal the snapshot of the test. A
    /// run must restore the app with the calls that the tool's policy allows.
    fn reverts(&mut self, tool: &str, says: &str, change: impl AsyncFnOnce(&Self) -> Done) {
        self.reverts_but(tool, says, None, change);
    }

    /// The same, but a later run, which waits, still makes a change that its plan calls `later`.
    fn reverts_but(&mut self, tool: &str, says: &str, later: Option<&str>, change: impl AsyncFnOnce(&Self) -> Done) {
        self.clients.wait(change(self)).unwrap_or_else(|error| unreachable!("{tool}: {says}: {error:?}"));
        let _ = self.relay.calls();
        let plan = self.tool(tool, &["--plan"]);
        assert_eq!(plan.code, 3, "{tool} should find: {says}\n{}", plan.stderr);
        assert!(plan.stderr.contains(says), "{tool} should say {says:?}, not\n{}", plan.stderr);
        masked::settings().bind(|| insta::assert_snapshot!(test(), masked::changes(&plan)));
        let reverted = self.tool(tool, &[]).ok();
        let left = self.tool(tool, &["--plan"]);
        match later {
            None => assert_eq!((left.code, masked::changes(&left)), (0, String::new()), "{tool}: {says}"),
            Some(later) => assert!(masked::changes(&left).lines().all(|line| line.contains(later)), "{tool}: {says}: {}", left.stderr),
        }
        let called: BTreeSet<String> = self.relay.calls().into_iter().map(|call| call.action).collect();
        let allowed = actions(&run(&self.relay.endpoint, tool, &["--policy"], &self.live).ok().doc());
        let forbidden: Vec<&String> = called.iter().filter(|action| !is_allowed(&allowed, action)).collect();
        assert!(forbidden.is_empty(), "{tool} calls what its policy does not allow: {forbidden:?}");
        assert_eq!(holdings(&self.relay.endpoint, self.app), self.wanted, "{tool}: {says}");
        // A resource that was created again has another id, which the next stages need.
        self.live = reverted.stdout;
    }

    /// The same for a resource to which other stages refer: the whole pipe must give the same
    /// document.
    fn reverts_with_all_stages(&mut self, tool: &str, says: &str, change: impl AsyncFnOnce(&Self) -> Done) {
        self.reverts(tool, says, change);
        let before = nameless(&self.live);
        let all = Pipe { args: vec!["--no-wait"], ..Pipe::up(&self.relay.endpoint) }.run_while_ok(&self.live).ok();
        assert_eq!(nameless(&all.stdout), before, "{tool}: {says}");
        self.live = all.stdout;
    }
}

/// Returns the name of this test, as in `net_up__vpc_tag_changed`. libtest runs each test in a
/// thread that has the name of the test.
fn test() -> String {
    let thread = std::thread::current();
    thread.name().and_then(|name| name.strip_prefix("pipe::drift::")).unwrap().replace("::", "__")
}

/// Lets every principal in the account assume a role.
async fn trust_anybody(clients: &Clients, role: &str) -> Done {
    let anybody = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]});
    Ok(clients.iam.update_assume_role_policy().role_name(role).policy_document(anybody.to_string()).send().await.map(drop)?)
}

/// Gives a role all permissions, with an inline policy.
async fn allow_all_inline(clients: &Clients, role: &str) -> Done {
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let call = clients.iam.put_role_policy().role_name(role).policy_name("theirs").policy_document(all.to_string());
    Ok(call.send().await.map(drop)?)
}

/// Gives a role all permissions, with a managed policy of AWS.
async fn allow_all_managed(clients: &Clients, role: &str) -> Done {
    let call = clients.iam.attach_role_policy().role_name(role).policy_arn("arn:aws:iam::aws:policy/AdministratorAccess");
    Ok(call.send().await.map(drop)?)
}
