//! The parent's side: one child at a time, in order, within its budget.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::child::{KINDS, Orders};
use super::{CompileCommand, FAILURE, SUCCESS, least_memory};
use crate::ceiling::{Ceiling, Full, Reservation};
use crate::engine::{self, Memories};
use crate::error::{LoadError, LoadErrorKind};

/// How often the memory of a child is looked at: what one can take in this time is little.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of an error that are taken.
const LONGEST_ERROR: usize = 64 << 10;
/// Bytes that are kept of what a child says when it breaks.
const LAST_WORDS: u64 = 4 << 10;

/// Those who wait for their module to be compiled.
pub(crate) struct CompileQueue {
    jobs: Mutex<Sender<Job>>,
    budget: CompileCommand,
}

/// One who waits.
struct Job {
    /// Bytes of the module.
    module: usize,
    turn: Sender<Result<Turn, Refused>>,
}

/// It is one's turn: here is the child.
struct Turn {
    child: Child,
    memory: Reservation,
    /// Dropped when the next one may begin.
    _done: Sender<()>,
}

enum Refused {
    Full(Full),
    Start(io::Error),
}

/// Machine code that a child has made, with the memory that is reserved for it.
pub(crate) struct Image {
    bytes: Vec<u8>,
    _memory: Reservation,
}

impl Image {
    pub(crate) fn bytes(&self) -> &[u8] {
        // Behind the byte that says so.
        &self.bytes[1..]
    }
}

impl CompileQueue {
    /// Starts the thread that starts the children: to the system it is their parent, and they end with it.
    pub(crate) fn start(command: CompileCommand, ceiling: Ceiling, memories: Memories) -> io::Result<CompileQueue> {
        let (jobs, arrivals) = channel::<Job>();
        let budget = command.clone();
        std::thread::Builder::new().name("capsule-compile".into()).spawn(move || {
            for job in arrivals {
                let (done, finished) = channel();
                let turn = begin(&command, &ceiling, memories, job.module, done);
                if job.turn.send(turn).is_ok() {
                    let _ = finished.recv();
                }
            }
        })?;
        Ok(CompileQueue { jobs: Mutex::new(jobs), budget })
    }

    /// Has a module compiled. Blocks until it is.
    ///
    /// # Errors
    /// What is wrong with the module, that compiling it takes more than the budget, or that there is no memory for it now.
    pub(crate) fn compile(&self, name: &str, wasm: &[u8]) -> Result<Image, LoadError> {
        let (turn, mine) = channel();
        let job = Job { module: wasm.len(), turn };
        let sent = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(job);
        let turn = sent.ok().and_then(|()| mine.recv().ok());
        let Turn { mut child, mut memory, _done } = match turn {
            Some(Ok(turn)) => turn,
            Some(Err(Refused::Full(full))) => return Err(LoadError::full(name, full)),
            Some(Err(Refused::Start(error))) => {
                let program = self.budget.program.display();
                return Err(broken(name, format!("cannot start `{program}` to compile it: {error}")));
            }
            None => return Err(broken(name, "the thread that has modules compiled has ended")),
        };
        let budget = &self.budget;
        let told = tell(&mut child, name, wasm, budget.time, memory.bytes()).map_err(|error| broken(name, error))?;
        match told.answer.first() {
            Some(&SUCCESS) if told.status.success() => {
                memory.shrink(memory.bytes().saturating_sub(told.answer.len()));
                Ok(Image { bytes: told.answer, _memory: memory })
            }
            Some(&FAILURE) if told.status.success() => Err(failure(&told.answer)),
            _ => Err(told.reason(name, budget, memory.bytes())),
        }
    }
}

/// Reserves the memory and starts a child.
fn begin(
    command: &CompileCommand,
    ceiling: &Ceiling,
    memories: Memories,
    module: usize,
    done: Sender<()>,
) -> Result<Turn, Refused> {
    let least = least_memory(module, command.memory);
    // Instances grow meanwhile: no more than half of what there is, unless it takes that.
    let most = (ceiling.free() / 2).min(command.memory);
    let memory = ceiling.reserve_between(least, most.max(least)).map_err(Refused::Full)?;
    let cores = engine::cores() as u64;
    let orders = Orders {
        parent: std::process::id(),
        memory: memory.bytes() as u64,
        seconds: command.time.as_secs().saturating_add(1).saturating_mul(cores),
        memories,
    };
    let mut child = Command::new(&command.program);
    child
        .args(&command.arguments)
        .args(orders.words())
        .env_clear()
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A signal of the terminal is for the server.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut child, 0);
    let child = child.spawn().map_err(Refused::Start)?;
    Ok(Turn { child, memory, _done: done })
}

/// What became of a child.
struct Told {
    answer: Vec<u8>,
    last_words: String,
    status: ExitStatus,
    end: End,
}

/// Why a child has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself.
    Own,
    /// It took too long.
    Late,
    /// It took too much memory.
    Large,
}

/// Gives the child its module and takes its answer, within the budget.
fn tell(child: &mut Child, name: &str, wasm: &[u8], time: Duration, memory: usize) -> io::Result<Told> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let told = std::thread::scope(|scope| {
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a pipe is missing"));
        };
        let thread = || std::thread::Builder::new().name("capsule-compile".into());
        let (answered, answer) = channel();
        let mut last_words = None;
        let started = (|| {
            thread().spawn_scoped(scope, move || answered.send(read(stdout, u64::MAX)))?;
            last_words = Some(thread().spawn_scoped(scope, move || read(stderr, LAST_WORDS))?);
            thread().spawn_scoped(scope, move || {
                let length = u32::try_from(name.len()).unwrap_or_default();
                // One that has ended does not read, and is asked about that below.
                let _ = stdin.write_all(&length.to_le_bytes());
                let _ = stdin.write_all(name.as_bytes());
                let _ = stdin.write_all(wasm);
            })
        })();
        if let Err(error) = started {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        let (answer, end) = wait(child, &answer, time, memory);
        let status = child.wait()?;
        let last_words = last_words.and_then(|words| words.join().ok()).unwrap_or_default();
        Ok(Told { answer, last_words: String::from_utf8_lossy(&last_words).into_owned(), status, end })
    })?;
    Ok(told)
}

/// The answer, or what there is of it when the child had to be ended.
fn wait(child: &mut Child, answer: &Receiver<Vec<u8>>, time: Duration, memory: usize) -> (Vec<u8>, End) {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match answer.recv_timeout(left.min(LOOK)) {
            Ok(answer) => return (answer, End::Own),
            Err(RecvTimeoutError::Disconnected) => return (Vec::new(), End::Own),
            Err(RecvTimeoutError::Timeout) => {
                let end = match resident(child.id()) {
                    Some(bytes) if bytes > memory => End::Large,
                    _ if left <= LOOK => End::Late,
                    _ => continue,
                };
                let _ = child.kill();
                return (answer.recv().unwrap_or_default(), end);
            }
        }
    }
}

/// Bytes of memory that a process has now. What it has reserved and not used does not count, so that it does not matter how its
/// allocator works.
fn resident(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// All that comes, of which `most` is kept.
fn read(mut from: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.by_ref().take(most).read_to_end(&mut bytes);
    let _ = io::copy(&mut from, &mut io::sink());
    bytes
}

/// The error that a child reports.
fn failure(answer: &[u8]) -> LoadError {
    let text = &answer[1..answer.len().min(LONGEST_ERROR)];
    let (kind, text) = text.split_first().unwrap_or((&0, text));
    let mut parts = text.splitn(2, |byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    let kind = KINDS.get(usize::from(*kind)).copied().unwrap_or(LoadErrorKind::Runner);
    let error = LoadError::new(kind, parts.next().unwrap_or_default());
    match parts.next().filter(|hint| !hint.is_empty()) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn broken(name: &str, what: impl std::fmt::Display) -> LoadError {
    LoadError::new(LoadErrorKind::Runner, format!("module `{name}`: {what}"))
}

impl Told {
    /// Why there is no answer.
    fn reason(&self, name: &str, budget: &CompileCommand, memory: usize) -> LoadError {
        let limit =
            |what: String| LoadError::new(LoadErrorKind::Limit, format!("module `{name}`: compiling it takes {what}"));
        let last_words = self.last_words.trim();
        if !last_words.is_empty() {
            tracing::warn!("compiling module `{name}`: {last_words}");
        }
        if self.end == End::Late || self.was_ended_by(SIGXCPU) {
            return limit(format!("longer than {:?} (flag `--compileTimeout`)", budget.time));
        }
        if self.end == End::Large || last_words.contains("memory allocation of") {
            if memory < budget.memory {
                let text =
                    format!("compiling module `{name}` takes more than the {memory} bytes that are free for it now");
                return LoadError::new(LoadErrorKind::Memory, text)
                    .with_hint("`--maxTotalMemory` is the limit of the process");
            }
            return limit(format!("more than {memory} bytes of memory (flag `--maxCompileMemory`)"));
        }
        if self.was_ended_by(SIGKILL) {
            let text = format!(
                "the process that compiled module `{name}` was killed: by the system, for want of memory, or by somebody"
            );
            return LoadError::new(LoadErrorKind::Memory, text).with_hint("the log of the system says more");
        }
        broken(name, format!("the process that compiled it has failed ({}); the log says more", self.status))
    }

    #[cfg(unix)]
    fn was_ended_by(&self, signal: i32) -> bool {
        std::os::unix::process::ExitStatusExt::signal(&self.status) == Some(signal)
    }

    #[cfg(not(unix))]
    fn was_ended_by(&self, _: i32) -> bool {
        false
    }
}

#[cfg(unix)]
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
#[cfg(unix)]
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();
#[cfg(not(unix))]
const SIGKILL: i32 = 9;
#[cfg(not(unix))]
const SIGXCPU: i32 = 24;
