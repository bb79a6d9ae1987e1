//! A relay between a tool and the local AWS: real HTTP on both sides. It records every call and
//! injects faults.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::call::Call;
use crate::caller;
use crate::cbor;
use crate::fault::{Fate, Fates, Faults, Moment};

/// A relay, which runs in a thread of its own until the process ends.
pub struct Relay {
    pub endpoint: String,
    state: Arc<State>,
}

struct State {
    upstream: String,
    /// Keeps its connections. An emulator keeps those that are closed for a minute, and becomes slow.
    client: Client<HttpConnector, Full<Bytes>>,
    calls: Mutex<Vec<Call>>,
    fates: Mutex<Fates>,
}

impl State {
    async fn forward(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        *request.uri_mut() = Uri::try_from(format!("{}{}", self.upstream, request.uri()))?;
        let (parts, body) = self.client.request(request).await?.into_parts();
        let mut answer = Response::from_parts(parts, body.collect().await?.to_bytes());
        answer.headers_mut().remove("transfer-encoding");
        // The body for the tool may be shorter.
        answer.headers_mut().remove("content-length");
        Ok(answer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Starts a relay in front of the AWS whose URL is in this environment variable.
    #[must_use]
    pub fn before(variable: &str) -> Self {
        let upstream = std::env::var(variable).unwrap_or_else(|_| unreachable!("{variable} is not set: run scripts/test"));
        Self::to(&upstream, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts a relay in front of `upstream` that listens at `address`.
    #[must_use]
    pub fn to(upstream: &str, address: SocketAddr) -> Self {
        let state = Arc::new(State {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            fates: Mutex::default(),
        });
        // Bound here, so that the address is known before the first call.
        let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| unreachable!("{error}"));
        listener.set_nonblocking(true).unwrap_or_else(|error| unreachable!("{error}"));
        let endpoint = format!("http://{}", listener.local_addr().unwrap_or_else(|error| unreachable!("{error}")));
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| unreachable!("{error}"));
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap_or_else(|error| unreachable!("{error}"));
                serve(listener, served).await;
            });
        });
        Self { endpoint, state }
    }

    /// Starts a relay in front of the local AWS that runs containers.
    #[must_use]
    pub fn new() -> Self {
        Self::before("AWS_ENDPOINT_URL")
    }

    /// Returns the calls since the last time, and forgets them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.state.calls))
    }

    /// Injects these faults from now on.
    pub fn fail(&self, faults: Faults) {
        *lock(&self.state.fates) = Fates::of(faults);
    }

    /// Waits until a changing call has arrived since [`Self::fail`].
    ///
    /// # Panics
    /// If none arrives within a minute.
    pub fn wait_for_a_change(&self) {
        let began = Instant::now();
        while lock(&self.state.fates).changing() == 0 {
            assert!(began.elapsed() < Duration::from_mins(1), "the tool changes nothing");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns the actions that change something since the last time, and forgets all calls.
    #[must_use]
    pub fn mutations(&self) -> Vec<String> {
        self.calls().into_iter().filter(Call::mutates).map(|call| call.action).collect()
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let Ok(us) = stream.local_addr() else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let answer = service_fn(|request| relay(request, (peer, us), &state));
            // A client that closes its connection is no failure of the relay. An error cuts the
            // connection.
            let _ = server::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// Cuts the connection.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut off by a fault")
    }
}

impl std::error::Error for Cut {}

async fn relay(request: Request<Incoming>, ends: (SocketAddr, SocketAddr), state: &State) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let protocol = Protocol::of(&parts);
    let shown = if matches!(protocol, Protocol::Cbor) { cbor::decode(&body).map(|value| value.to_string()) } else { None };
    let arrived = Instant::now();
    let mut call = Call {
        action: action(&parts, &body),
        status: 0,
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        body: shown.unwrap_or_else(|| text.clone()),
        answer: String::new(),
        time: arrived..arrived,
    };
    let (fate, delay) = {
        let mut fates = lock(&state.fates);
        (fates.decide(&call, &text), fates.delay())
    };
    tokio::time::sleep(delay).await;
    let answer = match &fate {
        Fate::Refused { status, code, message } => protocol.refusal(*status, code, message),
        Fate::Cut(Moment::Before) => return Err(Cut),
        Fate::Killed(Moment::Before) => return kill(ends).await,
        Fate::Passes | Fate::Unreadable(_) | Fate::Cut(Moment::After) | Fate::Killed(Moment::After) => {
            state.forward(Request::from_parts(parts, Full::new(body))).await.unwrap_or_else(|_| {
                let mut none = Response::new(Bytes::new());
                *none.status_mut() = StatusCode::BAD_GATEWAY;
                none
            })
        }
    };
    call.status = answer.status().as_u16();
    call.time.end = Instant::now();
    let (parts, answer) = answer.into_parts();
    call.answer = String::from_utf8_lossy(&answer).into_owned();
    let mut shown = answer.clone();
    if parts.status.is_success() {
        let mut fates = lock(&state.fates);
        fates.note(&call, &text, &String::from_utf8_lossy(&answer));
        shown = fates.shown(&call, answer);
    }
    lock(&state.calls).push(call);
    match fate {
        Fate::Cut(_) => Err(Cut),
        Fate::Killed(_) => kill(ends).await,
        Fate::Unreadable(kind) => Ok(Response::from_parts(parts, Full::new(kind.body(&shown)))),
        _ => Ok(Response::from_parts(parts, Full::new(shown))),
    }
}

/// Kills the tool, and never responds.
async fn kill((peer, us): (SocketAddr, SocketAddr)) -> Result<Response<Full<Bytes>>, Cut> {
    if let Some(process) = caller::of(peer, us) {
        let _ = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
    }
    std::future::pending().await
}

/// The format of a service's errors.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Json,
    Cbor,
    Ec2,
    Query,
}

impl Protocol {
    fn of(parts: &hyper::http::request::Parts) -> Self {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_rest = ["/scheduler/", "/elasticfilesystem/"].iter().any(|service| header("authorization").contains(service));
        if is_rest || parts.headers.contains_key("x-amz-target") {
            Self::Json
        } else if parts.uri.path().contains("/operation/") {
            Self::Cbor
        } else if header("authorization").contains("/ec2/aws4_request") {
            Self::Ec2
        } else {
            Self::Query
        }
    }

    fn refusal(self, status: u16, code: &str, message: &str) -> Response<Bytes> {
        let side = if status < 500 { "Sender" } else { "Receiver" };
        let answer = Response::builder().status(status);
        let (kind, body) = match self {
            Self::Json => ("application/x-amz-json-1.1", format!(r#"{{"__type": "{code}", "message": "{message}"}}"#)),
            // An empty map: the error is in the header.
            Self::Cbor => ("application/cbor", String::new()),
            Self::Ec2 => (
                "text/xml",
                format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>fault</RequestID></Response>"
                ),
            ),
            Self::Query => (
                "text/xml",
                format!(
                    "<ErrorResponse><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>fault</RequestId></ErrorResponse>"
                ),
            ),
        };
        let body = if matches!(self, Self::Cbor) { Bytes::from_static(&[0xa0]) } else { Bytes::from(body) };
        let answer = answer.header("content-type", kind).header("smithy-protocol", "rpc-v2-cbor");
        answer.header("x-amzn-query-error", format!("{code};{side}")).body(body).unwrap_or_default()
    }
}

/// Returns the IAM action of a call. The service is in the signature; the place of the operation
/// depends on the protocol.
fn action(parts: &hyper::http::request::Parts, body: &[u8]) -> String {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = header("authorization").split("Credential=").nth(1).and_then(|text| text.split('/').nth(3)).unwrap_or_default();
    // CloudWatch signs as "monitoring".
    let service = if signed == "monitoring" { "cloudwatch" } else { signed };
    let target = header("x-amz-target").rsplit('.').next().unwrap_or_default();
    let path = parts.uri.path().split("/operation/").nth(1).unwrap_or_default();
    let form =
        String::from_utf8_lossy(body).split('&').find_map(|pair| pair.strip_prefix("Action=").map(str::to_owned)).unwrap_or_default();
    let rest = rest_operation(service, parts.method.as_str(), parts.uri.path());
    let operation = [target, path, &form, &rest].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    format!("{service}:{operation}")
}

/// Returns the operation of a service whose calls are told apart by method and path.
fn rest_operation(service: &str, method: &str, path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let verb = |create| match method {
        "POST" => create,
        "PUT" => "Update",
        "DELETE" => "Delete",
        _ => "Get",
    };
    match (service, parts.as_slice()) {
        ("elasticfilesystem", [_, kind, rest @ ..]) => file_system_operation(method, kind, rest).to_owned(),
        ("scheduler", ["schedules"]) => "ListSchedules".to_owned(),
        ("scheduler", ["schedules", _]) => format!("{}Schedule", verb("Create")),
        ("scheduler", ["schedule-groups"]) => "ListScheduleGroups".to_owned(),
        ("scheduler", ["schedule-groups", _]) => format!("{}ScheduleGroup", verb("Create")),
        ("scheduler", ["tags", ..]) if method == "GET" => "ListTagsForResource".to_owned(),
        ("scheduler", ["tags", ..]) => if method == "DELETE" { "UntagResource" } else { "TagResource" }.to_owned(),
        _ => String::new(),
    }
}

fn file_system_operation(method: &str, kind: &str, rest: &[&str]) -> &'static str {
    match (method, kind, rest) {
        ("GET", "file-systems", []) => "DescribeFileSystems",
        ("POST", "file-systems", []) => "CreateFileSystem",
        ("DELETE", "file-systems", [_]) => "DeleteFileSystem",
        ("GET", "file-systems", [_, "policy"]) => "DescribeFileSystemPolicy",
        ("PUT", "file-systems", [_, "policy"]) => "PutFileSystemPolicy",
        ("GET", "mount-targets", []) => "DescribeMountTargets",
        ("POST", "mount-targets", []) => "CreateMountTarget",
        ("DELETE", "mount-targets", [_]) => "DeleteMountTarget",
        ("GET", "mount-targets", [_, _]) => "DescribeMountTargetSecurityGroups",
        ("PUT", "mount-targets", [_, _]) => "ModifyMountTargetSecurityGroups",
        ("GET", "access-points", []) => "DescribeAccessPoints",
        ("POST", "access-points", []) => "CreateAccessPoint",
        ("DELETE", "access-points", [_]) => "DeleteAccessPoint",
        ("POST", "resource-tags", [_]) => "TagResource",
        ("DELETE", "resource-tags", [_]) => "UntagResource",
        _ => "",
    }
}
