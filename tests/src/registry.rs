//! A registry that wants a password: it forwards to that of the local AWS, which takes everybody.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// A registry, which runs in threads of its own until the process ends.
pub struct Registry {
    /// As it is in the name of an image: `127.0.0.1:40123`.
    pub host: String,
}

impl Registry {
    /// Starts a registry in front of that of the local AWS. `login` is `user:password` in base64.
    #[must_use]
    pub fn with_login(login: &str) -> Self {
        let upstream = std::env::var("AWS_ENDPOINT_URL").unwrap_or_else(|_| unreachable!("AWS_ENDPOINT_URL is not set: run scripts/test"));
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| unreachable!("{error}"));
        let host = listener.local_addr().unwrap_or_else(|error| unreachable!("{error}")).to_string();
        let expected = format!("basic {login}").to_lowercase();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (expected, upstream) = (expected.clone(), upstream.clone());
                std::thread::spawn(move || serve(stream, &expected, &upstream));
            }
        });
        Self { host }
    }
}

/// Serves one request. The connection is closed after it, so that no other one goes by unseen.
fn serve(mut stream: TcpStream, expected: &str, upstream: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut may_enter) = (String::new(), false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        may_enter |= name.eq_ignore_ascii_case("authorization") && value.trim().to_lowercase() == expected;
        if !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("authorization") {
            head.push_str(&line);
        }
    }
    if !may_enter {
        let refused =
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"registry\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refused.as_bytes());
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    server.write_all(reader.buffer())?;
    let (mut client, mut to_server) = (stream.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || io::copy(&mut client, &mut to_server));
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    stream.write_all(&answer)?;
    stream.shutdown(Shutdown::Both)
}
