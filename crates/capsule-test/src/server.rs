//! `capsule-http` on a free port, found by the address that it prints.

use std::ffi::OsStr;
use std::net::SocketAddr;

use anyhow::Context as _;

use crate::client::{Connection, Response};
use crate::process::{Finished, Process, Stream};
use crate::program::Program;

/// A server that runs until it is stopped or dropped.
pub struct HttpServer {
    /// The child, for its output and for signals.
    pub process: Process,
    address: SocketAddr,
    scheme: String,
}

impl HttpServer {
    /// Starts `capsule-http` with these flags and environment variables, on a free port of 127.0.0.1, and waits until
    /// it listens. Flags given here win over those of the harness.
    ///
    /// # Errors
    /// It was not built, or ends before it listens; with its output.
    pub fn start<A: AsRef<OsStr>>(args: &[A], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let program = Program::of_workspace("capsule-http")?;
        let program = program.args(["--httpHost=127.0.0.1", "--httpPort=0"]).args(args);
        Self::launch(program.envs(env.iter().copied()))
    }

    /// Starts any program that prints `http://ADDRESS` or `https://ADDRESS` on stderr when it listens.
    ///
    /// # Errors
    /// It ends before it listens; with its output.
    pub fn launch(program: Program) -> anyhow::Result<Self> {
        let process = program.start()?;
        let (scheme, address) =
            process.wait_for(Stream::Stderr, listening).context("it did not say where it listens")?;
        Ok(Self { process, address, scheme })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which begins with a slash; for curl and other real clients.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// A new connection, without TLS.
    ///
    /// # Errors
    /// It does not listen any more.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }

    /// GET, on a connection of its own.
    ///
    /// # Errors
    /// The connection broke, or what came back is not HTTP.
    pub fn get(&self, target: &str) -> anyhow::Result<Response> {
        self.connect()?.send("GET", target, &[], b"")
    }

    /// POST, on a connection of its own.
    ///
    /// # Errors
    /// The connection broke, or what came back is not HTTP.
    pub fn post(&self, target: &str, body: impl AsRef<[u8]>) -> anyhow::Result<Response> {
        self.connect()?.send("POST", target, &[], body.as_ref())
    }

    /// Sends bytes as they are, and answers all that comes until the server closes: end a good request with
    /// `Connection: close`.
    ///
    /// # Errors
    /// The connection broke, or the server does not close it.
    pub fn raw(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut connection = self.connect()?;
        // A server that closes early has answered before.
        let _ = connection.write(bytes);
        connection.read_to_end()
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(self) -> anyhow::Result<Finished> {
        self.process.stop()
    }
}

/// Scheme and address in a line such as `... listening on http://127.0.0.1:41234`.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    ["https", "http"].into_iter().find_map(|scheme| {
        let (_, rest) = line.split_once(&format!("{scheme}://"))?;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\u{1b}')).unwrap_or(rest.len());
        let address = rest[..end].replacen("localhost", "127.0.0.1", 1).parse::<SocketAddr>().ok()?;
        // A server on all addresses is reached on this one.
        let address = if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address };
        Some((scheme.to_owned(), address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_log_lines() {
        for (line, expected) in [
            ("2026-01-01T00:00:00Z  INFO listening on http://127.0.0.1:41234", Some("http 127.0.0.1:41234")),
            (r#"{"message":"listening on https://0.0.0.0:8443"}"#, Some("https 127.0.0.1:8443")),
            ("listening on http://[::1]:80/", Some("http [::1]:80")),
            ("listening on http://127.0.0.1:80\u{1b}[0m", Some("http 127.0.0.1:80")),
            ("see http://example.com/help", None),
            ("listening", None),
        ] {
            let found = listening(line).map(|(scheme, address)| format!("{scheme} {address}"));
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_server_that_ends_early_shows_why() {
        let program = Program::tool("sh", "dash").unwrap().args(["-c", "echo 'error: no module' >&2; exit 2"]);
        let error = format!("{:#}", HttpServer::launch(program).err().unwrap());
        assert!(error.starts_with("it did not say where it listens") && error.contains("error: no module"), "{error}");
    }
}
