//! A running child: its output as it comes, signals, its end. Dropping it kills it.

use std::fmt;
use std::io::{Read, Write as _};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::DEADLINE;

/// One of the two outputs of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Everything else.
    Stderr,
}

/// A child that runs, or has run.
pub struct Process {
    name: String,
    pid: Pid,
    shared: Arc<Shared>,
}

/// What the threads that watch a child tell the test.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    stdout: Captured,
    stderr: Captured,
    /// Until it is reaped, so that its number cannot belong to another process.
    child: Child,
    status: Option<ExitStatus>,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    closed: bool,
}

/// A child that has ended.
#[derive(Clone)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All that it wrote to stdout.
    pub stdout: Vec<u8>,
    /// All that it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Its stdout as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its stderr as text.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Itself when the exit code is 0.
    ///
    /// # Errors
    /// Code and output otherwise.
    pub fn success(self) -> anyhow::Result<Self> {
        if self.code == Some(0) { Ok(self) } else { bail!("{self:?}") }
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}, signal {:?}\n{}", self.code, self.signal, shown(&self.stdout, &self.stderr))
    }
}

impl Process {
    /// Takes charge of a child whose three streams are pipes.
    pub(crate) fn watch(name: String, mut child: Child, stdin: Vec<u8>) -> anyhow::Result<Self> {
        let pid = Pid::from_child(&child);
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let state = State { stdout: Captured::default(), stderr: Captured::default(), child, status: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let process = Self { name, pid, shared };
        let mut input = input.context("stdin is not a pipe")?;
        std::thread::spawn(move || {
            // A child need not read all of it.
            let _ = input.write_all(&stdin);
        });
        process.capture(Stream::Stdout, output.context("stdout is not a pipe")?);
        process.capture(Stream::Stderr, errors.context("stderr is not a pipe")?);
        let shared = Arc::clone(&process.shared);
        std::thread::spawn(move || {
            // Wait without reaping, then reap under the lock: a signal is never sent to a number that is free again.
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            let mut state = shared.lock();
            state.status = state.child.wait().ok();
            shared.changed.notify_all();
        });
        Ok(process)
    }

    fn capture(&self, stream: Stream, mut from: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut state = shared.lock();
                let captured = state.stream(stream);
                captured.bytes.extend_from_slice(&buffer[..count]);
                captured.closed = count == 0;
                shared.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it wrote so far.
    pub fn output(&self, stream: Stream) -> String {
        String::from_utf8_lossy(&self.shared.lock().stream(stream).bytes).into_owned()
    }

    /// Waits for a line that `find` makes something of, from the first line on, and answers that.
    ///
    /// # Errors
    /// The stream ended, or the time ran out, without such a line; with the output so far.
    pub fn wait_for<T>(&self, stream: Stream, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let mut seen = 0;
        self.wait_until(DEADLINE, &format!("a certain line on {stream:?}"), |state| {
            let captured = state.stream(stream);
            while let Some(length) = captured.bytes[seen..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&captured.bytes[seen..seen + length]).into_owned();
                seen += length + 1;
                if let Some(found) = find(&line) {
                    return Waited::Done(found);
                }
            }
            if captured.closed { Waited::Never } else { Waited::NotYet }
        })
    }

    /// Waits for a line that contains a text, and answers the line.
    ///
    /// # Errors
    /// As [`Process::wait_for`].
    pub fn wait_for_line(&self, stream: Stream, text: &str) -> anyhow::Result<String> {
        self.wait_for(stream, |line| line.contains(text).then(|| line.to_owned()))
            .with_context(|| format!("no line with `{text}`"))
    }

    /// Sends a signal; one to a child that has ended is ignored, as a shell's would be.
    ///
    /// # Errors
    /// The system refuses.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let state = self.shared.lock();
        if state.status.is_none() {
            kill_process(self.pid, signal).with_context(|| format!("cannot signal `{}`", self.name))?;
        }
        Ok(())
    }

    /// True while it runs.
    pub fn is_running(&self) -> bool {
        self.shared.lock().status.is_none()
    }

    /// Waits for its end, with all of its output.
    ///
    /// # Errors
    /// It did not end in time; it is killed then.
    pub fn wait(self, limit: Duration) -> anyhow::Result<Finished> {
        self.wait_until(limit, "its end", |state| {
            let Some(status) = state.status.filter(|_| state.stdout.closed && state.stderr.closed) else {
                return Waited::NotYet;
            };
            Waited::Done(Finished {
                code: status.code(),
                signal: std::os::unix::process::ExitStatusExt::signal(&status),
                stdout: std::mem::take(&mut state.stdout.bytes),
                stderr: std::mem::take(&mut state.stderr.bytes),
            })
        })
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn stop(self) -> anyhow::Result<Finished> {
        self.signal(Signal::TERM)?;
        self.wait(DEADLINE)
    }

    /// Kills it, as a crash or the system would, and waits for the end.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn kill(self) -> anyhow::Result<Finished> {
        self.signal(Signal::KILL)?;
        self.wait(DEADLINE)
    }

    fn wait_until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut step: impl FnMut(&mut State) -> Waited<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            match step(&mut state) {
                Waited::Done(value) => return Ok(value),
                Waited::Never => return Err(self.failure(&state, &format!("closed its output without {what}"))),
                Waited::NotYet => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.failure(&state, &format!("took more than {limit:?} until {what}")));
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn failure(&self, state: &State, what: &str) -> anyhow::Error {
        anyhow!("`{}` {what}\n{}", self.name, shown(&state.stdout.bytes, &state.stderr.bytes))
    }
}

enum Waited<T> {
    Done(T),
    NotYet,
    Never,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stream(&mut self, stream: Stream) -> &mut Captured {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
        let state = self.shared.lock();
        if std::thread::panicking() && !(state.stdout.bytes.is_empty() && state.stderr.bytes.is_empty()) {
            #[expect(clippy::print_stderr, reason = "a failing test shows what its child said")]
            {
                eprintln!("`{}` wrote:\n{}", self.name, shown(&state.stdout.bytes, &state.stderr.bytes));
            }
        }
    }
}

fn shown(stdout: &[u8], stderr: &[u8]) -> String {
    let part = |name: &str, bytes: &[u8]| format!("--- {name}\n{}", String::from_utf8_lossy(bytes));
    format!("{}\n{}", part("stdout", stdout), part("stderr", stderr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    fn shell(script: &str) -> Process {
        Program::tool("sh", "dash").unwrap().args(["-c", script]).start().unwrap()
    }

    #[test]
    fn lines_are_found_while_it_runs() {
        let process = shell("echo first; echo port 4711 >&2; exec cat /dev/zero > /dev/null");
        let port = process.wait_for(Stream::Stderr, |line| line.strip_prefix("port ")?.parse::<u16>().ok()).unwrap();
        assert_eq!(port, 4711);
        assert_eq!(process.wait_for_line(Stream::Stdout, "irs").unwrap(), "first");
        assert!(process.is_running());
        let finished = process.stop().unwrap();
        assert_eq!((finished.code, finished.signal), (None, Some(15)));
        assert_eq!(finished.stdout(), "first\n");
    }

    #[test]
    fn an_end_without_the_line_fails_with_the_output() {
        let process = shell("echo something; echo else >&2");
        let error = format!("{:#}", process.wait_for_line(Stream::Stdout, "nothing").unwrap_err());
        assert!(error.starts_with("no line with `nothing`: `sh` closed its output"), "{error}");
        assert!(error.contains("--- stdout\nsomething\n"), "{error}");
        assert!(process.wait(DEADLINE).unwrap().success().is_ok());
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let process = shell("exec cat /dev/zero > /dev/null");
        let shared = Arc::clone(&process.shared);
        let error = process.wait(Duration::from_millis(1)).unwrap_err().to_string();
        assert!(error.starts_with("`sh` took more than 1ms until its end"), "{error}");
        let state = shared.lock();
        let timeout = shared.changed.wait_timeout_while(state, DEADLINE, |state| state.status.is_none()).unwrap();
        assert!(timeout.0.status.is_some(), "dropping it did not kill it");
    }

    #[test]
    fn failures_show_code_and_output() {
        let error = shell("echo no >&2; exit 3").wait(DEADLINE).unwrap().success().unwrap_err().to_string();
        assert!(error.contains("exit code Some(3)") && error.contains("--- stderr\nno\n"), "{error}");
    }
}
