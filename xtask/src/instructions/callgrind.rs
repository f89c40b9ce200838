//! A server under valgrind's callgrind, which counts while it is told to.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use capsule_test::client::Connection;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;

/// Requests that fill caches and grow buffers before anything is counted.
const WARMING: usize = 300;
/// Requests that are counted.
const REQUESTS: usize = 2000;

/// Instructions for a request.
pub(super) type Counted = f64;

/// The programs of Debian's package.
pub(super) struct Valgrind {
    valgrind: Program,
    /// Tells a program under valgrind what to do.
    control: Program,
}

impl Valgrind {
    /// Looks for them.
    pub(super) fn new() -> Result<Valgrind> {
        let tool = |name| Program::tool(name, "valgrind");
        Ok(Valgrind { valgrind: tool("valgrind")?, control: tool("vgdb")? })
    }

    /// Runs what is added to it on valgrind's processor, and counts nothing.
    pub(super) fn plain(&self) -> Program {
        self.valgrind.clone().args(["--quiet", "--tool=none"])
    }

    /// Starts a server, which `add` adds to callgrind's command, has `prepare` make it ready, and counts what it does for GET of a path
    /// over one connection.
    pub(super) fn count(
        &self,
        add: impl FnOnce(Program) -> Program,
        prepare: impl FnOnce(&HttpServer) -> Result<()>,
        path: &str,
    ) -> Result<Counted> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("counts");
        // Where the two talk to each other: by default, names that other users and their settings decide.
        let pipes = format!("--vgdb-prefix={}", folder.path().join("control").display());
        let callgrind = self.valgrind.clone().args(["--quiet", "--tool=callgrind", "--instr-atstart=no", &pipes]);
        let callgrind = callgrind.arg(format!("--callgrind-out-file={}", file.display()));
        // As many threads for requests on every machine: which of several wakes up is chance, and counts.
        let callgrind = callgrind.env("TOKIO_WORKER_THREADS", "1");
        let server = HttpServer::launch(add(callgrind))?;
        prepare(&server)?;
        let tell = |words: &[&str]| {
            let number = format!("--pid={}", server.process.id());
            let control = self.control.clone().args([&pipes, &number, "--cmd-time-out=60"]).args(words);
            control.run()?.success().context("valgrind does not listen")
        };
        let mut connection = server.connect()?;
        get(&mut connection, path, WARMING)?;
        tell(&["instrumentation", "on"])?;
        get(&mut connection, path, REQUESTS)?;
        tell(&["instrumentation", "off"])?;
        tell(&["dump"])?;
        drop(connection);
        let counts = dumped(&file)?;
        server.process.kill()?;
        Ok(counts as f64 / REQUESTS as f64)
    }
}

fn get(connection: &mut Connection, path: &str, count: usize) -> Result<()> {
    for _ in 0..count {
        let answer = connection.send("GET", path, &[], b"")?;
        ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.text());
    }
    Ok(())
}

/// The sum of the first dump: the file's name with a number behind it.
fn dumped(file: &Path) -> Result<u64> {
    let file = file.with_extension("1");
    let text = std::fs::read_to_string(&file).with_context(|| format!("no counts in `{}`", file.display()))?;
    total(&text).with_context(|| format!("no sum in `{}`", file.display()))
}

/// `totals: 12345`, which is the last line.
fn total(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.strip_prefix("totals:"))?.trim().parse().ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_of_a_dump_is_read() {
        assert_eq!(super::total("version: 1\nevents: Ir\n\nfn=(1) main\n3 7\n\ntotals: 29321000\n"), Some(29_321_000));
        assert_eq!(super::total("events: Ir\ntotals: 0\n"), None);
        assert_eq!(super::total("events: Ir\n"), None);
    }
}
