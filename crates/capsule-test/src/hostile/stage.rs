//! A server of functions for hostile modules, and what is done with it: start, call, look, drop.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Margins;
use super::contract::Contract;
use super::memory::{Change, Memory};
use super::neighbour::{self, Neighbour};
use crate::client::Response;
use crate::guests;
use crate::program::Program;
use crate::server::HttpServer;

/// The token of administration. No guest may see it.
const TOKEN: &str = "token-of-the-stage";
/// What a function of the stage has, when its contract does not say: little, so that tricks stay small.
const LIMITS: [&str; 3] = ["--maxMemory=64MiB", "--maxHostMemory=16MiB", "--maxCache=16MiB"];
/// A file beside the folder that functions may be given, and what is in it: no guest may see it.
const OUTSIDE: (&str, &str) = ("outside.txt", "secret");
/// A file in that folder.
const INSIDE: (&str, &str) = ("inside.txt", "inside");
/// Links in that folder, and where they lead.
const LINKS: [(&str, &str); 2] = [("out.txt", "../outside.txt"), ("machine", "/etc")];
/// A pipe in that folder, into which nobody writes.
const PIPE: &str = "pipe";

/// The programs that modules play on.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `capsule-http`
    pub http: Program,
    /// `capsule`
    pub terminal: Program,
}

/// A server of functions with a neighbour that is called all the time.
pub struct Stage {
    pub(super) server: HttpServer,
    pub(super) programs: Programs,
    pub(super) margins: Margins,
    pub(super) neighbour: Neighbour,
    pub(super) home: TempDir,
    /// Takes connections and says nothing.
    silent: TcpListener,
    /// What the server had before the first module.
    first: Memory,
}

impl Stage {
    /// Starts the server and the neighbour.
    ///
    /// # Errors
    /// They do not start.
    pub fn start(programs: Programs, margins: Margins) -> anyhow::Result<Stage> {
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join(OUTSIDE.0), OUTSIDE.1)?;
        let server = programs.http.clone().args(["--faas", "--httpHost=127.0.0.1", "--httpPort=0"]);
        let data = format!("--dataDir={}", home.path().join("data").display());
        let server = server.args(limits(&margins)).args([data, cache(&home)]);
        let server = HttpServer::launch(server.env("CAPSULE_FAAS_TOKEN", TOKEN).without_stdout()?)?;
        let counter = guests::fixture("counter.wat")?;
        let body = json!({"name": neighbour::NAME, "args": ["", format!("-wasm={}", counter.display())]});
        let answer = ask(&server, "POST", "/functions/start", body.to_string().as_bytes())?;
        ensure!(answer.status == 200, "the neighbour does not start: {}", answer.text());
        let neighbour = Neighbour::call(server.address(), margins.pace);
        neighbour.served(margins.neighbour)?;
        let first = Memory::of(server.process.id())?;
        let silent = TcpListener::bind("127.0.0.1:0")?;
        Ok(Stage { server, programs, margins, neighbour, home, silent, first })
    }

    /// Stops the server in good order; answers what was seen.
    ///
    /// # Errors
    /// It does not stop, or its memory has grown from module to module.
    pub fn finish(self) -> anyhow::Result<String> {
        let last = Memory::of(self.server.process.id())?;
        let allowed = self.first.now + self.margins.all;
        ensure!(last.now <= allowed, "memory grew from {} to {} bytes over all modules", self.first.now, last.now);
        drop(self.neighbour);
        self.server.stop()?.success().context("the server did not stop in good order")?;
        Ok(format!("stopped in good order, memory: {}", Change { from: self.first.now, to: last.now }))
    }

    /// A folder of the module's own, and what is in place of names in its flags and variables.
    pub(super) fn furnish(&self, contract: &Contract) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let folder = self.home.path().join(&contract.name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(INSIDE.0), INSIDE.1)?;
        for (name, to) in LINKS {
            put(std::os::unix::fs::symlink(to, folder.join(name)))?;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        put(mknodat(CWD, folder.join(PIPE), FileType::Fifo, mode, 0).map_err(Into::into))?;
        let (folder, server) = (folder.display().to_string(), self.server.address().to_string());
        let silent = self.silent.local_addr()?.to_string();
        Ok(contract.with(&[("dir", &folder), ("server", &server), ("silent", &silent), ("name", &contract.name)]))
    }

    /// The words of a command line for the module alone.
    pub(super) fn words(&self, contract: &Contract) -> anyhow::Result<Vec<String>> {
        let (flags, _) = self.furnish(contract)?;
        let module = contract.path.display().to_string();
        Ok(limits(&self.margins).chain([cache(&self.home), module]).chain(flags).collect())
    }

    /// Registers the module as a function of its own name.
    pub(super) fn register(&self, contract: &Contract) -> anyhow::Result<Response> {
        let (flags, env) = self.furnish(contract)?;
        let mut args = vec![String::new(), format!("-wasm={}", contract.path.display())];
        args.extend(flags);
        let body = json!({"name": contract.name, "args": args, "env": env});
        ask(&self.server, "POST", "/functions/start", body.to_string().as_bytes())
    }

    /// Makes sure that no function has the module's name.
    pub(super) fn is_unknown(&self, contract: &Contract) -> anyhow::Result<()> {
        let answer = ask(&self.server, "POST", &format!("/functions/{}", contract.name), b"")?;
        ensure!(answer.status == 404, "it is there: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// Takes the function away, which runs its `OnStop`.
    pub(super) fn remove(&self, contract: &Contract) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let answer = ask(&self.server, "DELETE", &format!("/functions/drop/{}", contract.name), b"")?;
        ensure!(answer.status == 200, "it cannot be dropped: {} {}", answer.status, answer.text());
        let took = begin.elapsed();
        self.is_unknown(contract).context("after it was dropped")?;
        Ok(took)
    }

    /// The sum of the lines of a metric.
    pub(super) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = ask(&self.server, "GET", "/metrics", b"")?.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("no metric `{name}`"))?.parse().with_context(|| format!("metric `{name}`"))
    }

    /// The server's memory now.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.server.process.id())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// What functions have that say nothing else.
fn limits(margins: &Margins) -> impl Iterator<Item = String> {
    let time = format!("--callTimeout={}ms", margins.time_limit.as_millis());
    LIMITS.into_iter().map(str::to_owned).chain([time])
}

/// What is there already is fine: a module can be furnished more than once.
fn put(made: std::io::Result<()>) -> std::io::Result<()> {
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn cache(home: &TempDir) -> String {
    format!("--cacheDir={}", home.path().join("cache").display())
}

/// Over a connection of its own: one that nobody uses for a while is closed.
fn ask(server: &HttpServer, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Response> {
    let answer = server.connect()?.send(method, path, &[("CAPSULE_FAAS_TOKEN", TOKEN)], body);
    answer.with_context(|| format!("{method} {path}"))
}

/// What an answer of administration says is wrong.
pub(super) fn problem(answer: &Response) -> String {
    let document: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let error = document.as_ref().and_then(|document| document["error"].as_str());
    error.map_or_else(|| answer.text(), str::to_owned)
}
