//! A relay between a tool and the local AWS: real HTTP on both sides, every call written down.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// One call as AWS sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// As IAM names it: `ec2:CreateVpc`.
    pub action: String,
    pub status: u16,
}

impl Call {
    /// AWS names what only reads with these verbs.
    #[must_use]
    pub fn mutates(&self) -> bool {
        let operation = self.action.split_once(':').map_or("", |(_, operation)| operation);
        !["Describe", "Get", "List", "BatchGet", "BatchCheck"].iter().any(|verb| operation.starts_with(verb))
    }
}

/// Runs in a thread of its own until the test ends.
pub struct Relay {
    pub endpoint: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Relay {
    /// In front of the local AWS that the environment names, or of another one.
    #[must_use]
    pub fn before(variable: &str) -> Self {
        let upstream = std::env::var(variable).unwrap_or_else(|_| unreachable!("{variable} is not set: run scripts/test"));
        let upstream = upstream.trim_start_matches("http://").to_owned();
        // Bound here, so that the address is known before the first call.
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap_or_else(|error| unreachable!("{error}"));
        listener.set_nonblocking(true).unwrap_or_else(|error| unreachable!("{error}"));
        let endpoint = format!("http://{}", listener.local_addr().unwrap_or_else(|error| unreachable!("{error}")));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&calls);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| unreachable!("{error}"));
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap_or_else(|error| unreachable!("{error}"));
                serve(listener, upstream, writer).await;
            });
        });
        Self { endpoint, calls }
    }

    /// The local AWS in which containers really run.
    #[must_use]
    pub fn new() -> Self {
        Self::before("AWS_ENDPOINT_URL")
    }

    /// The calls since the last time that this was asked.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of those, the ones that change something, by name.
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

async fn serve(listener: TcpListener, upstream: String, calls: Arc<Mutex<Vec<Call>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (upstream, calls) = (upstream.clone(), Arc::clone(&calls));
        tokio::spawn(async move {
            let answer = service_fn(|request| relay(request, &upstream, &calls));
            // A client that went away is no failure of the relay.
            let _ = server::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn relay(request: Request<Incoming>, upstream: &str, calls: &Mutex<Vec<Call>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let action = action(&parts, &body);
    let answer = forward(Request::from_parts(parts, Full::new(body)), upstream).await;
    let answer = answer.unwrap_or_else(|_| {
        let mut none = Response::new(Full::new(Bytes::new()));
        *none.status_mut() = StatusCode::BAD_GATEWAY;
        none
    });
    calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { action, status: answer.status().as_u16() });
    Ok(answer)
}

async fn forward(request: Request<Full<Bytes>>, upstream: &str) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = client::handshake(TokioIo::new(TcpStream::connect(upstream).await?)).await?;
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let mut answer = Response::from_parts(parts, Full::new(body.collect().await?.to_bytes()));
    answer.headers_mut().remove("transfer-encoding");
    Ok(answer)
}

/// The IAM action of a call: the service from the signature, the operation from wherever the protocol puts it.
fn action(parts: &hyper::http::request::Parts, body: &[u8]) -> String {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = header("authorization").split("Credential=").nth(1).and_then(|text| text.split('/').nth(3)).unwrap_or_default();
    // CloudWatch signs as "monitoring".
    let service = if signed == "monitoring" { "cloudwatch" } else { signed };
    let target = header("x-amz-target").rsplit('.').next().unwrap_or_default();
    let path = parts.uri.path().split("/operation/").nth(1).unwrap_or_default();
    let form =
        String::from_utf8_lossy(body).split('&').find_map(|pair| pair.strip_prefix("Action=").map(str::to_owned)).unwrap_or_default();
    let operation = [target, path, &form].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    format!("{service}:{operation}")
}
