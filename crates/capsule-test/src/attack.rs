//! Clients that mean harm, and what has to be true after each of them: the same server answers a normal client at once, and
//! has given back its connections, descriptors and memory.
//!
//! | module | holds |
//! |---|---|
//! | `heads`, `bodies`, `reading` | clients that are slow, silent, endless or too large |
//! | `crowds` | many connections |
//! | `smuggling` | requests that two programs could understand differently |
//! | `http2` | what HTTP/2 makes possible |
//! | `tls` | clients that cannot, or do not, shake hands |
//!
//! Tests carry attacks out in small, with short limits; a developer command does the same with crowds.

mod bodies;
mod crowds;
mod heads;
mod http2;
mod reading;
mod smuggling;
mod tls;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::DEADLINE;
use crate::client::{Connection, Response};
use crate::guests;
use crate::program::Program;
use crate::server::HttpServer;
use crate::tls::Certificate;

/// How long a normal client may have to wait while the server is attacked, and after: much more than it does, since the machine
/// may be busy.
const PROMPT: Duration = Duration::from_secs(5);
/// KiB by which memory may have grown: allocators keep some for the next time.
const KEPT: u64 = 64 << 10;

/// How many clients take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A few.
    Test,
    /// As many as the machine has descriptors for.
    Full,
}

/// An attack.
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// Flags of the server that is attacked.
    flags: &'static [&'static str],
    /// The guest of `fixtures/` that it serves.
    guest: &'static str,
    /// It listens with TLS.
    over_tls: bool,
    /// What the attackers do; answers what they saw.
    run: fn(&Target) -> anyhow::Result<String>,
}

impl Attack {
    /// One on a server without TLS that gives large answers.
    const fn new(
        name: &'static str,
        flags: &'static [&'static str],
        run: fn(&Target) -> anyhow::Result<String>,
    ) -> Self {
        Self { name, flags, guest: "large.wat", over_tls: false, run }
    }

    /// Starts a server from `program`, attacks it, and looks whether it is well afterwards.
    ///
    /// # Errors
    /// What the attackers saw is not what they should have, or the server is not well.
    pub fn carry_out(&self, program: Program, scale: Scale) -> anyhow::Result<String> {
        let descriptors = crate::descriptors::raise()?;
        let certificate = if self.over_tls { Some(Certificate::for_localhost()?) } else { None };
        let mut program = program
            .args(["--httpHost=127.0.0.1", "--httpPort=0"])
            .arg(format!("--wasm={}", guests::fixture(self.guest)?.display()))
            .args(self.flags);
        if let Some(certificate) = &certificate {
            program = program.arg(format!("--crt={}", certificate.crt().display()));
            program = program.arg(format!("--key={}", certificate.key().display()));
        }
        let server = HttpServer::launch(program)?;
        let target = Target { server, certificate, scale, descriptors };
        target.warm_up()?;
        let before = target.resources()?;
        let seen = (self.run)(&target)?;
        let after = target.recovered(&before).with_context(|| format!("after that the attackers saw {seen}"))?;
        Ok(format!("{seen}; {after}"))
    }
}

/// All attacks.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    [heads::ALL, bodies::ALL, reading::ALL, crowds::ALL, smuggling::ALL, http2::ALL, tls::ALL].into_iter().flatten()
}

/// The attack with this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> anyhow::Result<&'static Attack> {
    all().find(|attack| attack.name == name).with_context(|| format!("no attack `{name}`"))
}

/// The server that is attacked.
struct Target {
    server: HttpServer,
    certificate: Option<Certificate>,
    scale: Scale,
    /// How many files a process may have open.
    descriptors: u64,
}

/// What a server has of the machine.
#[derive(Debug, Clone, Copy)]
struct Resources {
    descriptors: usize,
    /// KiB.
    memory: u64,
}

impl Target {
    /// One number for tests, one for all that the machine has.
    fn count(&self, test: usize, full: usize) -> usize {
        match self.scale {
            Scale::Test => test,
            Scale::Full => full,
        }
    }

    /// A new connection that bytes are written to.
    fn open(&self, bytes: &[u8]) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.server.address(), DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // The server may close it while it is being written to.
        let _ = stream.write_all(bytes);
        Ok(stream)
    }

    /// As many connections as that, with the same bytes written to each.
    fn crowd(&self, count: usize, bytes: &[u8]) -> anyhow::Result<Vec<TcpStream>> {
        (0..count).map(|_| self.open(bytes)).collect()
    }

    /// What the server keeps for good after its first calls is no harm: the memory of an instance, buffers of threads.
    fn warm_up(&self) -> anyhow::Result<()> {
        self.ask()?;
        if self.certificate.is_none() {
            self.server.post("/", "9")?;
        }
        Ok(())
    }

    /// A normal client has to be answered at once; answers how long it took.
    fn ask(&self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        match &self.certificate {
            None => {
                let answer = self.server.post("/", "x").context("a normal client is not served")?;
                ensure!(answer.status == 200, "a normal client is answered {} `{}`", answer.status, answer.text());
            }
            Some(certificate) => {
                let url = format!("https://localhost:{}/", self.server.address().port());
                let curl = Program::tool("curl", "curl")?.args(["-sSf", "--max-time", "60", "-d", "x", "--cacert"]);
                curl.arg(certificate.crt()).arg(url).run()?.success().context("a normal client is not served")?;
            }
        }
        let took = begin.elapsed();
        ensure!(took < PROMPT, "a normal client waits {took:?}");
        Ok(took)
    }

    /// Asks until the server has room, for as long as a client would try.
    fn ask_again(&self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        loop {
            let answer = self.server.post("/", "x").context("a normal client is not served")?;
            match answer.status {
                200 => return Ok(begin.elapsed()),
                503 if begin.elapsed() < PROMPT => std::thread::yield_now(),
                status => bail!("a normal client is answered {status} `{}` after {:?}", answer.text(), begin.elapsed()),
            }
        }
    }

    /// The value of a line in `/metrics`.
    fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.server.get("/metrics")?.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no metric `{name}`"))?.parse()?)
    }

    /// Calls of the module that were answered, whatever the answer.
    fn answered(&self) -> anyhow::Result<u64> {
        let text = self.server.get("/metrics")?.text();
        let counts =
            text.lines().filter_map(|line| line.strip_prefix("capsule_http_requests_total{")?.rsplit(' ').next());
        Ok(counts.map(str::parse::<u64>).sum::<Result<u64, _>>()?)
    }

    /// How many connections the server has closed for a reason.
    fn closed(&self, reason: &str) -> anyhow::Result<u64> {
        self.metric(&format!("capsule_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until the server has closed that many for a reason.
    fn wait_closed(&self, reason: &str, count: usize) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let closed = self.closed(reason)?;
            if closed >= count as u64 {
                return Ok(());
            }
            ensure!(begin.elapsed() < DEADLINE, "{closed} connections instead of {count} were closed for `{reason}`");
            std::thread::yield_now();
        }
    }

    fn resources(&self) -> anyhow::Result<Resources> {
        let id = self.server.process.id();
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        Ok(Resources { descriptors, memory: line.trim().trim_end_matches("kB").trim().parse()? })
    }

    /// The server is well: the same process, prompt, with the descriptors and the memory that it had before.
    fn recovered(&self, before: &Resources) -> anyhow::Result<String> {
        ensure!(self.server.process.is_running(), "the server has ended");
        let took = self.ask()?;
        let begin = Instant::now();
        let after = loop {
            let after = self.resources()?;
            if after.descriptors <= before.descriptors + 1 && after.memory <= before.memory + KEPT {
                break after;
            }
            ensure!(begin.elapsed() < DEADLINE, "the server keeps {after:?} instead of {before:?}");
            // The allocator gives large pieces back when it is asked for one.
            self.warm_up()?;
        };
        ensure!(self.server.process.is_running(), "the server has ended");
        Ok(format!(
            "then a normal client {took:.1?}, {} descriptors instead of {}, {} MiB instead of {}",
            after.descriptors,
            before.descriptors,
            after.memory >> 10,
            before.memory >> 10
        ))
    }
}

/// All that comes on a connection until the server closes it.
fn rest(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // Closed with unread input in it, a socket resets; what came before is still the answer.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error).with_context(|| format!("no end after {} bytes", bytes.len())),
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The statuses of the answers in what came on a connection.
fn statuses(text: &str) -> Vec<u16> {
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}

/// Writes a byte to each connection that is open, again and again, until the server has closed all of them; answers what came on
/// each, and how long it took. `between` is done after each round.
fn drip(
    streams: Vec<TcpStream>,
    byte: u8,
    mut between: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<(String, Duration)>> {
    let begin = Instant::now();
    let mut ends = Vec::new();
    let mut open: Vec<(TcpStream, Vec<u8>)> = streams.into_iter().map(|stream| (stream, Vec::new())).collect();
    for (stream, _) in &open {
        stream.set_nonblocking(true)?;
    }
    while !open.is_empty() {
        ensure!(begin.elapsed() < DEADLINE, "{} connections are never closed", open.len());
        let mut still = Vec::new();
        for (mut stream, mut seen) in open {
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = stream.write(&[byte]);
                    still.push((stream, seen));
                }
                Ok(count) if count > 0 => {
                    seen.extend_from_slice(&buffer[..count]);
                    still.push((stream, seen));
                }
                _ => ends.push((String::from_utf8_lossy(&seen).into_owned(), begin.elapsed())),
            }
        }
        open = still;
        between()?;
    }
    Ok(ends)
}

/// A normal answer on a connection that is kept.
fn exchange(connection: &mut Connection, body: &str) -> anyhow::Result<Response> {
    let answer = connection.send("POST", "/", &[], body.as_bytes())?;
    ensure!(answer.status == 200, "answered {} `{}`", answer.status, answer.text());
    Ok(answer)
}
