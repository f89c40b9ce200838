//! What a function counts: calls by outcome, instances, waiting calls, memory. Cheap enough for every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::error::{BusyReason, CallError};
use crate::limits::{LARGE_MEMORY, Limit};

/// The counters of one function, shared by its instances.
#[derive(Default)]
pub(crate) struct Counters {
    succeeded: AtomicU64,
    failed: AtomicU64,
    trapped: AtomicU64,
    protocol: AtomicU64,
    timed_out: AtomicU64,
    refused: AtomicU64,
    started: AtomicU64,
    recycled: AtomicU64,
    instances: AtomicUsize,
    memory: AtomicUsize,
    waiting: AtomicUsize,
    /// How often each limit was met, by the number of the [`Limit`].
    hits: [AtomicU64; Limit::COUNT],
}

/// The counters of a function at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that the module answered with success.
    pub succeeded: u64,
    /// Calls that the module answered with a failure of its own.
    pub failed: u64,
    /// Calls that ended in a trap or an exit.
    pub trapped: u64,
    /// Calls in which the module broke the ABI, or lacked the export.
    pub protocol: u64,
    /// Calls that exceeded their time limit.
    pub timed_out: u64,
    /// Calls that found no instance, or an argument too large.
    pub refused: u64,
    /// Instances started since the function was made.
    pub started: u64,
    /// Instances that were replaced in good order, after as many calls as they may serve.
    pub recycled: u64,
    /// Instances that exist now.
    pub instances: usize,
    /// Linear memory of all of them in bytes, as of the end of their last call.
    pub memory: usize,
    /// Calls that wait for an instance now.
    pub waiting: usize,
    /// How often each limit was met, by the number of the [`Limit`]; see [`Stats::hits`].
    pub limits: [u64; Limit::COUNT],
}

impl Stats {
    /// How often a limit was met: something was refused, ended or cut short because of it.
    pub fn hits(&self, limit: Limit) -> u64 {
        self.limits[limit as usize]
    }
}

/// Sums every field: the counters of several functions, or of a function's lives one after the other.
impl std::ops::AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, more: &Stats) {
        // By name, so that a new field is not forgotten.
        let Stats {
            succeeded,
            failed,
            trapped,
            protocol,
            timed_out,
            refused,
            started,
            recycled,
            instances,
            memory,
            waiting,
            limits,
        } = more;
        self.succeeded += succeeded;
        self.failed += failed;
        self.trapped += trapped;
        self.protocol += protocol;
        self.timed_out += timed_out;
        self.refused += refused;
        self.started += started;
        self.recycled += recycled;
        self.instances += instances;
        self.memory += memory;
        self.waiting += waiting;
        self.limits.iter_mut().zip(limits).for_each(|(sum, more)| *sum += more);
    }
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            succeeded: self.succeeded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            trapped: self.trapped.load(Relaxed),
            protocol: self.protocol.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            refused: self.refused.load(Relaxed),
            started: self.started.load(Relaxed),
            recycled: self.recycled.load(Relaxed),
            instances: self.instances.load(Relaxed),
            memory: self.memory.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            limits: std::array::from_fn(|limit| self.hits[limit].load(Relaxed)),
        }
    }

    /// Counts that a limit was met.
    pub(crate) fn hit(&self, limit: Limit) {
        self.hits[limit as usize].fetch_add(1, Relaxed);
    }

    /// Counts the end of a call.
    pub(crate) fn count<T>(&self, result: &Result<T, CallError>) {
        let counter = match result {
            Ok(_) => &self.succeeded,
            Err(CallError::Failure(_)) => &self.failed,
            Err(CallError::Trap(_) | CallError::Exit(_) | CallError::Start(_) | CallError::StartDeadline(_)) => {
                &self.trapped
            }
            Err(CallError::Deadline(_)) => &self.timed_out,
            Err(CallError::Busy(_) | CallError::ArgumentTooLarge { .. }) => &self.refused,
            Err(
                CallError::Protocol(_)
                | CallError::MissingExport(_)
                | CallError::ResultTooLarge { .. }
                | CallError::Runner(_),
            ) => &self.protocol,
        };
        counter.fetch_add(1, Relaxed);
        if let Some(limit) = result.as_ref().err().and_then(limit_of) {
            self.hit(limit);
        }
    }

    /// Counts an instance that is replaced in good order.
    pub(crate) fn recycle(&self) {
        self.recycled.fetch_add(1, Relaxed);
    }

    /// Counts a waiting call until the answer is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Relaxed);
        Waiting(&self.waiting)
    }
}

/// The limit that ended a call. That of its start is counted where it is started.
fn limit_of(error: &CallError) -> Option<Limit> {
    match error {
        CallError::Deadline(_) => Some(Limit::CallTimeout),
        CallError::ArgumentTooLarge { .. } => Some(Limit::Body),
        CallError::ResultTooLarge { .. } => Some(Limit::Result),
        CallError::Busy(busy) => match busy.reason {
            BusyReason::QueueFull(_) => Some(Limit::Queue),
            BusyReason::QueueTimeout(_) => Some(Limit::QueueTimeout),
            BusyReason::Instances(_) => Some(Limit::Instances),
            BusyReason::Memory(_) => Some(Limit::TotalMemory),
            BusyReason::BackOff | BusyReason::Stopping => None,
        },
        _ => None,
    }
}

pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// An instance's entry in the counters of its function: made with it, removed with it.
pub(crate) struct Census {
    counters: Arc<Counters>,
    memory: usize,
}

impl Census {
    pub(crate) fn enter(counters: &Arc<Counters>) -> Census {
        counters.started.fetch_add(1, Relaxed);
        counters.instances.fetch_add(1, Relaxed);
        Census { counters: Arc::clone(counters), memory: 0 }
    }

    pub(crate) fn is_large(&self) -> bool {
        self.memory > LARGE_MEMORY
    }

    /// Takes down the instance's memory. Memory of wasm only grows.
    pub(crate) fn memory(&mut self, bytes: usize) {
        if bytes != self.memory {
            self.counters.memory.fetch_add(bytes.saturating_sub(self.memory), Relaxed);
            self.memory = bytes;
        }
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        self.counters.instances.fetch_sub(1, Relaxed);
        self.counters.memory.fetch_sub(self.memory, Relaxed);
    }
}
