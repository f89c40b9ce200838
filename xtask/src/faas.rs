//! Servers of functions for benchmarks and drills: a client that steers and calls them, and one whose data folder outlives it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use capsule_test::client::{Connection, Response};
use capsule_test::process::Finished;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::timings::Timings;

const TOKEN: &str = "xtask";

/// Makes `capsule-http` a server of functions on a free port of this machine.
pub(crate) fn hosting(program: Program) -> Program {
    program.args(["--faas", "--httpHost=127.0.0.1"]).env("CAPSULE_FAAS_TOKEN", TOKEN)
}

/// One connection to a server of functions.
pub(crate) struct Client {
    connection: Connection,
}

/// What is started.
pub(crate) struct Start<'a> {
    /// `NAME/REVISION`
    pub(crate) place: &'a str,
    /// A path, or `sha256:...`.
    pub(crate) module: &'a str,
    /// More flags of the function.
    pub(crate) args: &'a [&'a str],
    /// `NAME=VALUE`
    pub(crate) env: &'a [&'a str],
}

impl Client {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Result<Client> {
        Ok(Client { connection: Connection::open(address)? })
    }

    /// Calls a function: `path` is what follows `/functions/`.
    pub(crate) fn call(&mut self, path: &str, body: &str) -> Result<Response> {
        self.call_with(path, body.as_bytes())
    }

    /// Calls a function with a body that is no text.
    pub(crate) fn call_with(&mut self, path: &str, body: &[u8]) -> Result<Response> {
        self.connection.send("POST", &format!("/functions/{path}"), &[], body)
    }

    /// Calls a function that has to answer 200 and this text.
    pub(crate) fn expect(&mut self, path: &str, body: &str, expected: &str) -> Result<()> {
        let answer = self.call(path, body)?;
        ensure!(
            answer.status == 200 && answer.body == expected.as_bytes(),
            "`{path}` answered {} `{}`, expected `{expected}`",
            answer.status,
            answer.text()
        );
        Ok(())
    }

    /// An act of administration that has to succeed; answers the body.
    pub(crate) fn admin(&mut self, method: &str, path: &str, body: &[u8]) -> Result<String> {
        let answer = self.connection.send(method, path, &[("CAPSULE_FAAS_TOKEN", TOKEN)], body)?;
        ensure!(answer.status == 200, "{method} {path} answered {}: {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// Sends the bytes of a module; answers what `-wasm=` calls it.
    pub(crate) fn upload(&mut self, module: &[u8]) -> Result<String> {
        let answer: Value = serde_json::from_str(&self.admin("PUT", "/functions/modules", module)?)?;
        Ok(answer["module"].as_str().context("the answer to an upload names no module")?.to_owned())
    }

    /// Starts a function and answers its key.
    pub(crate) fn start(&mut self, start: &Start<'_>) -> Result<String> {
        let (name, revision) = start.place.split_once('/').unwrap_or((start.place, ""));
        let mut args = vec![String::new(), format!("-wasm={}", start.module)];
        args.extend(start.args.iter().map(|word| (*word).to_owned()));
        let body = json!({"name": name, "revision": revision, "args": args, "env": start.env});
        self.admin("POST", "/functions/start", body.to_string().as_bytes())
    }

    /// The records of all processes by key.
    pub(crate) fn processes(&mut self) -> Result<Map<String, Value>> {
        Ok(serde_json::from_str(&self.admin("GET", "/functions/processes", b"")?)?)
    }

    /// The sum of a metric over all functions.
    pub(crate) fn metric(&mut self, name: &str) -> Result<f64> {
        let text = self.admin("GET", "/metrics", b"")?;
        let values = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }
}

/// A server of functions, and the folder of its data and its compile cache.
pub(crate) struct Kept {
    pub(crate) server: HttpServer,
    pub(crate) home: TempDir,
    program: Program,
}

impl Kept {
    /// Starts `capsule-http` on an empty folder.
    pub(crate) fn start(programs: &Path) -> Result<Kept> {
        Kept::start_with(programs, &[])
    }

    /// The same, with more flags.
    pub(crate) fn start_with(programs: &Path, flags: &[String]) -> Result<Kept> {
        let home = tempfile::tempdir()?;
        let folder = |name: &str| home.path().join(name).display().to_string();
        let program = hosting(Program::at(programs.join("capsule-http")))
            .args([format!("--dataDir={}", folder("data")), format!("--cacheDir={}", folder("cache"))])
            .args(flags);
        Ok(Kept { server: HttpServer::launch(program.clone())?, home, program })
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::open(self.server.address())
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) -> Result<()> {
        self.server.process.signal(Signal::KILL)
    }

    /// Starts the server again once it has ended, whatever ended it.
    pub(crate) fn restarted(self) -> Result<Kept> {
        let Kept { server, home, program } = self;
        server.process.wait(capsule_test::DEADLINE)?;
        Ok(Kept { server: HttpServer::launch(program.clone())?, home, program })
    }

    /// Stops it in good order and starts it again.
    pub(crate) fn stopped_and_started(self) -> Result<Kept> {
        let Kept { server, home, program } = self;
        server.stop().and_then(Finished::success).context("the server did not stop in good order")?;
        Ok(Kept { server: HttpServer::launch(program.clone())?, home, program })
    }
}

/// Does `act` once for each number below `count`, over some connections at the same time; answers how long each took.
pub(crate) fn each(
    address: SocketAddr,
    connections: usize,
    count: usize,
    act: impl Fn(&mut Client, usize) -> Result<()> + Sync,
) -> Result<Timings> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut client = Client::open(address)?;
        let mut timings = Timings::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(timings);
            }
            let start = Instant::now();
            act(&mut client, number)?;
            timings.push(start.elapsed());
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        let mut all = Timings::default();
        for thread in threads {
            all.append(thread.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(all)
    })
}
