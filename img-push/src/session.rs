//! The session of a build: BuildKit calls back for the build context, for credentials, for secrets and for the SSH agent.
//! <https://github.com/moby/buildkit/tree/master/session>

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;

use bollard::grpc::build::SecretSource;
use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard::moby::filesync::v1::file_sync_server::FileSyncServer;
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest, GetTokenAuthorityResponse,
    VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bollard::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::credentials::Credentials;
use crate::file_sync::FileServer;

/// What BuildKit may ask for.
pub struct Session {
    pub files: FileServer,
    pub credentials: Credentials,
    /// By id.
    pub secrets: BTreeMap<String, SecretSource>,
    pub ssh: bool,
}

/// The calls that the session answers, as BuildKit names them.
const METHODS: &[&str] = &[
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/grpc.health.v1.Health/Check",
];
const SSH_METHODS: &[&str] = &["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

/// The longest answer of the Docker Engine to the request for a session, in bytes.
const LONGEST_ANSWER: usize = 8 * 1024;

impl Session {
    /// Opens a session with the Docker Engine at this address. It answers until the Docker Engine closes it.
    ///
    /// # Errors
    /// Fails when the Docker Engine does not answer, or refuses.
    pub async fn open(self, host: &str, id: &str) -> io::Result<()> {
        match host.strip_prefix("unix://") {
            Some(path) => self.serve(UnixStream::connect(path).await?, id).await,
            None => {
                let address = host.split_once("://").map_or(host, |(_, address)| address).trim_end_matches('/');
                self.serve(TcpStream::connect(address).await?, id).await
            }
        }
    }

    /// Asks for the connection the other way round, in which the Docker Engine is the client, and answers on it.
    async fn serve<S>(self, mut stream: S, id: &str) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    {
        let methods = METHODS.iter().chain(if self.ssh { SSH_METHODS } else { &[] });
        let methods = methods.map(|method| format!("X-Docker-Expose-Session-Grpc-Method: {method}\r\n")).collect::<Vec<_>>().concat();
        // With a shared key of its own, BuildKit does not take the files of another context for those of this one.
        let request = format!(
            "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\
             X-Docker-Expose-Session-Uuid: {id}\r\nX-Docker-Expose-Session-Name: ecs-pipe\r\n\
             X-Docker-Expose-Session-Sharedkey: {id}\r\n{methods}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        expect_upgrade(&mut stream).await?;
        let mut server = Server::builder();
        let router = server
            .add_service(HealthServer::new(Healthy))
            .add_service(FileSyncServer::new(self.files))
            .add_service(AuthServer::new(self.credentials))
            .add_service(SecretsServer::new(SecretServer(self.secrets)))
            .add_optional_service(self.ssh.then_some(SshServer::new(Agent)));
        // One connection, which is served after this stream of connections has ended.
        tokio::spawn(router.serve_with_incoming(stream::iter([Ok::<_, io::Error>(stream)])));
        Ok(())
    }
}

/// Reads the answer to the request byte by byte, because what follows it belongs to the session.
async fn expect_upgrade(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST_ANSWER {
        answer.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("101") {
        return Ok(());
    }
    Err(io::Error::other(format!("the Docker Engine refused the session of the build: {status}")))
}

struct Healthy;

type HealthStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = HealthStream;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("the session has no list"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthStream>, Status> {
        Err(Status::unimplemented("the session can't be watched"))
    }
}

#[tonic::async_trait]
impl Auth for Credentials {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let found = self.of(&request.get_ref().host).await.map_err(|error| Status::unknown(error.to_string()))?.unwrap_or_default();
        let (username, secret) = match found.identitytoken {
            Some(token) => (String::new(), token),
            None => (found.username.unwrap_or_default(), found.password.unwrap_or_default()),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    // BuildKit gets tokens of registries itself, with these credentials.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(only_credentials(Code::Unimplemented))
    }

    async fn get_token_authority(&self, _: Request<GetTokenAuthorityRequest>) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(only_credentials(Code::Unavailable))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(only_credentials(Code::Unavailable))
    }
}

fn only_credentials(code: Code) -> Status {
    Status::new(code, "the session has only credentials")
}

struct SecretServer(BTreeMap<String, SecretSource>);

#[tonic::async_trait]
impl Secrets for SecretServer {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let data = match self.0.get(&request.get_ref().id) {
            Some(SecretSource::File(path)) => {
                let read = tokio::fs::read(path).await;
                read.map_err(|error| Status::failed_precondition(format!("could not read {}: {error}", path.display())))?
            }
            Some(SecretSource::Env(name)) => std::env::var_os(name).unwrap_or_default().into_encoded_bytes(),
            None => return Err(Status::not_found("the service has no secret of this name")),
        };
        Ok(Response::new(GetSecretResponse { data }))
    }
}

/// The SSH agent of `SSH_AUTH_SOCK`.
struct Agent;

type AgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

/// Size of a piece of an answer of the agent in bytes.
const AGENT_PIECE: usize = 32 * 1024;

#[tonic::async_trait]
impl Ssh for Agent {
    type ForwardAgentStream = AgentStream;

    async fn check_agent(&self, _: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        match std::env::var_os("SSH_AUTH_SOCK") {
            Some(_) => Ok(Response::new(CheckAgentResponse {})),
            None => Err(Status::not_found("SSH_AUTH_SOCK is not set. Start the SSH agent")),
        }
    }

    async fn forward_agent(&self, request: Request<Streaming<BytesMessage>>) -> Result<Response<AgentStream>, Status> {
        let path = std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default();
        let agent = UnixStream::connect(path).await.map_err(|error| Status::unavailable(format!("no SSH agent answers: {error}")))?;
        let (answers, mut questions) = agent.into_split();
        let mut asked = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = asked.message().await {
                if questions.write_all(&message.data).await.is_err() {
                    return;
                }
            }
        });
        let answers = stream::unfold(answers, async |mut answers| {
            let mut data = vec![0; AGENT_PIECE];
            match answers.read(&mut data).await {
                Ok(0) | Err(_) => None,
                Ok(length) => {
                    data.truncate(length);
                    Some((Ok(BytesMessage { data }), answers))
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
