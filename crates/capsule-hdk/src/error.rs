//! What can go wrong: at load ([`LoadError`]) and in a call ([`CallError`]), and whose fault it is.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::ceiling::Full;

/// Why a module could not be loaded or linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file or its folder could not be read.
    Read,
    /// The bytes are not a core WebAssembly module, or a broken one.
    NotAModule,
    /// The module speaks another ABI: of 2022, a component, or nothing that a runner could call.
    OtherAbi,
    /// The module needs a WebAssembly proposal that is refused.
    Proposal,
    /// Exports or imports do not fit docs/abi.md.
    Interface,
    /// The module needs more than the limits allow, to be compiled or to run.
    Limit,
    /// There is no memory for the module now, and there may be later: the process is at its limit.
    Memory,
    /// The runner's own fault.
    Runner,
}

/// A module that cannot be used. Its text names the module, what is wrong and what was expected.
#[derive(Debug)]
pub struct LoadError {
    kind: LoadErrorKind,
    message: String,
    hint: Option<String>,
}

impl LoadError {
    pub(crate) fn new(kind: LoadErrorKind, message: impl Into<String>) -> LoadError {
        LoadError { kind, message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> LoadError {
        self.hint = Some(hint.into());
        self
    }

    /// There is no memory for the module `name` now.
    pub(crate) fn full(name: &str, full: Full) -> LoadError {
        LoadError::new(LoadErrorKind::Memory, format!("there is no room for module `{name}`: {full}"))
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> LoadErrorKind {
        self.kind
    }

    /// What the user can do, without the word `hint:`.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

/// Why a call has no result. `Display` is one line; what a caller may see of it is the program's decision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CallError {
    /// The module answered a failure frame: its text.
    Failure(Bytes),
    /// The module does not export what the call needs.
    MissingExport(&'static str),
    /// The guest trapped.
    Trap(Trap),
    /// The guest ended itself by `proc_exit` with this code.
    Exit(i32),
    /// The module broke the ABI: what it did.
    Protocol(String),
    /// The call's time limit passed.
    Deadline(Duration),
    /// The argument is larger than the limit.
    ArgumentTooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// The result is larger than the limit.
    ResultTooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// There is no instance for the call now.
    Busy(Busy),
    /// No instance could be started for the call: what its start came to.
    Start(Box<CallError>),
    /// The time limit of a start passed. Always in a [`CallError::Start`].
    StartDeadline(Duration),
    /// The runner's own fault.
    Runner(String),
}

/// Why a call was not even begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusyReason {
    /// As many calls wait as may wait: this many.
    QueueFull(usize),
    /// The call waited as long as a call may wait: this long.
    QueueTimeout(Duration),
    /// As many instances exist as the engine allows: this many, of all functions together.
    Instances(usize),
    /// The last instances failed to start; the next try is later.
    BackOff,
    /// There was no memory for a new instance as long as a call may wait: the process is at its limit.
    Memory(Full),
    /// The function is being stopped.
    Stopping,
}

/// There is no instance now; the caller may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// Why.
    pub reason: BusyReason,
    /// When it is worth another try.
    pub retry_after: Duration,
}

impl Busy {
    /// True when there is only too much to do just now.
    pub fn is_load(&self) -> bool {
        use BusyReason::{BackOff, Instances, Memory, QueueFull, QueueTimeout, Stopping};
        match self.reason {
            QueueFull(_) | QueueTimeout(_) | Instances(_) | Memory(_) => true,
            BackOff | Stopping => false,
        }
    }
}

/// A trap of the guest, or of a host function that it called in a way that is not allowed.
#[derive(Debug, Clone)]
pub struct Trap {
    /// What happened, one line.
    pub message: String,
    /// The guest's frames with function names, for the log. Empty when there are none.
    pub backtrace: String,
    /// The limit that refused the guest memory during this call: often the reason of a trap.
    pub memory_refused: Option<MemoryLimit>,
}

/// A limit that refuses memory to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// That of one instance, in bytes.
    Instance(usize),
    /// That of the whole process, in bytes.
    Process(usize),
    /// The function's part of the process's, of so many bytes.
    Part(usize),
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryLimit::Instance(limit) => {
                write!(f, "it was refused memory at its limit of {limit} bytes, flag `--maxMemory`")
            }
            MemoryLimit::Part(limit) => {
                write!(
                    f,
                    "it was refused memory: of the {limit} bytes of the process, flag `--maxTotalMemory`, the function holds as \
                     much as is left for others"
                )
            }
            MemoryLimit::Process(limit) => {
                write!(
                    f,
                    "it was refused memory: the process is at its limit of {limit} bytes, flag `--maxTotalMemory`"
                )
            }
        }
    }
}

/// Whose fault a [`CallError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller's: a smaller argument helps.
    Caller,
    /// The module's.
    Module,
    /// The module's, and it took too long.
    Slow,
    /// Nobody's: there is too much to do.
    Load,
    /// The runner's.
    Runner,
}

impl CallError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            CallError::ArgumentTooLarge { .. } => Fault::Caller,
            CallError::Deadline(_) | CallError::StartDeadline(_) => Fault::Slow,
            CallError::Busy(_) => Fault::Load,
            CallError::Runner(_) => Fault::Runner,
            CallError::Start(error) => error.fault(),
            CallError::Failure(_)
            | CallError::MissingExport(_)
            | CallError::Trap(_)
            | CallError::Exit(_)
            | CallError::Protocol(_)
            | CallError::ResultTooLarge { .. } => Fault::Module,
        }
    }

    /// True when the instance can serve on: the guest ended the call in good order.
    pub(crate) fn leaves_instance_sound(&self) -> bool {
        matches!(
            self,
            CallError::Failure(_)
                | CallError::MissingExport(_)
                | CallError::ArgumentTooLarge { .. }
                | CallError::ResultTooLarge { .. }
        )
    }

    /// The trap behind the error, for the log.
    pub fn trap(&self) -> Option<&Trap> {
        match self {
            CallError::Trap(trap) => Some(trap),
            CallError::Start(error) => error.trap(),
            _ => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Failure(message) => f.write_str(&String::from_utf8_lossy(message)),
            CallError::MissingExport(name) => write!(f, "the module has no export `{name}`"),
            CallError::Trap(trap) => trap.fmt(f),
            CallError::Exit(code) => write!(f, "the module ended itself with exit code {code} in the middle of a call"),
            CallError::Protocol(what) => write!(f, "the module broke the ABI: {what}"),
            CallError::Deadline(limit) => {
                write!(f, "the call exceeded its time limit of {limit:?} (flag `--callTimeout`)")
            }
            CallError::ArgumentTooLarge { limit, found } => {
                write!(f, "the argument has {found} bytes, the limit is {limit} (flag `--maxBody`)")
            }
            CallError::ResultTooLarge { limit, found } => {
                write!(f, "the module's result has {found} bytes, the limit is {limit} (flag `--maxResult`)")
            }
            CallError::Busy(busy) => busy.reason.fmt(f),
            CallError::Start(error) => write!(f, "the module could not be started: {error}"),
            CallError::StartDeadline(limit) => {
                write!(f, "the start exceeded its time limit of {limit:?} (flag `--startTimeout`)")
            }
            CallError::Runner(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for BusyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusyReason::QueueFull(limit) => {
                write!(f, "too many calls wait for this function: the limit is {limit} (flag `--maxQueue`)")
            }
            BusyReason::QueueTimeout(limit) => {
                write!(f, "no instance of this function became free within {limit:?} (flag `--queueTimeout`)")
            }
            BusyReason::Instances(limit) => {
                write!(f, "all {limit} instances of the server are in use (flag `--maxInstances`)")
            }
            BusyReason::Memory(full) => write!(f, "there is no room for a new instance: {full}"),
            BusyReason::BackOff => f.write_str("the function failed to start and is tried again later"),
            BusyReason::Stopping => f.write_str("the function is being stopped"),
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the module trapped: {}", self.message)?;
        if let Some(limit) = self.memory_refused {
            write!(f, " ({limit})")?;
        }
        Ok(())
    }
}

impl std::error::Error for CallError {}
