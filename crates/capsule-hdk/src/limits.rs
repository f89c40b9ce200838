//! The limits of a function, their names, and the limiter that an instance carries.

use std::sync::Arc;
use std::time::Duration;

use crate::ceiling::Reservation;
use crate::error::MemoryLimit;
use crate::host::Surroundings;
use crate::place::Needs;
use crate::slices;
use crate::stats::Counters;

/// Linear memory of an instance in bytes past which a single instruction, such as one that fills all of it, takes longer than a
/// slice: from then on the guest runs on the threads for long calls.
pub(crate) const LARGE_MEMORY: usize = 16 << 20;
/// The share of the memory limit, in percent, past which an instance counts as worn when [`Limits::calls`] is set.
const WORN: usize = 80;
/// Bytes of an element of a table.
pub(crate) const TABLE_ELEMENT: usize = size_of::<usize>();

/// What the calls and instances of a function may use. Every limit is on by default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Wall-clock time of a call, the start of an instance included. `None`: no limit. Default 30 s.
    pub call_timeout: Option<Duration>,
    /// Wall-clock time of the start of an instance alone, also where calls have no limit. `None`: no limit. Default 30 s.
    pub start_timeout: Option<Duration>,
    /// Linear memory of one instance in bytes. Default 256 MiB.
    pub memory: usize,
    /// Argument of a call in bytes. Default 10 MiB and some room for the document around a body.
    pub argument: usize,
    /// Body of a request in bytes, for runners that make the argument of one. Default 10 MiB.
    pub body: usize,
    /// Result of a call in bytes, its frame byte included. Default 16 MiB.
    pub result: usize,
    /// What the host holds at once for all instances, in bytes: answers of host functions, inputs of those that wait, printed
    /// lines. Default 64 MiB.
    pub host_memory: usize,
    /// Calls that wait for an instance. Default 1,024.
    pub queue: usize,
    /// How long a call waits for an instance. Default 10 s.
    pub queue_timeout: Duration,
    /// Elements of all tables of one instance together. Default 1,000,000.
    pub table_elements: usize,
    /// Files and folders that one instance may have open, those that it was given aside. Default 64.
    pub files: usize,
    /// Bytes by which the function may make its folders grow: see [`DiskUse`](crate::DiskUse). Default 1 GiB.
    pub written: u64,
    /// Calls that an instance serves before it is replaced in good order. It is replaced as well when its memory has grown
    /// past 80 % of [`Limits::memory`] after a call. `None`: never, and its state lives on. Default `None`.
    pub calls: Option<u64>,
}

impl Limits {
    /// Bytes of memory past which an instance is replaced.
    pub(crate) fn worn_memory(&self) -> usize {
        match self.calls {
            Some(_) => self.memory / 100 * WORN,
            None => usize::MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            call_timeout: Some(Duration::from_secs(30)),
            start_timeout: Some(Duration::from_secs(30)),
            memory: 256 << 20,
            argument: 64 << 20,
            body: 10 << 20,
            result: 16 << 20,
            host_memory: 64 << 20,
            queue: 1024,
            queue_timeout: Duration::from_secs(10),
            table_elements: 1_000_000,
            files: 64,
            written: 1 << 30,
            calls: None,
        }
    }
}

/// A limit, as far as it is counted how often it was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::call_timeout`]
    CallTimeout,
    /// [`Limits::start_timeout`]
    StartTimeout,
    /// [`Limits::memory`]
    Memory,
    /// [`Limits::body`], [`Limits::argument`]
    Body,
    /// [`Limits::result`]
    Result,
    /// [`Limits::queue`]
    Queue,
    /// [`Limits::queue_timeout`]
    QueueTimeout,
    /// Instances of the engine, and a function's share of them.
    Instances,
    /// [`Limits::host_memory`]
    HostMemory,
    /// The in-memory cache.
    Cache,
    /// [`Limits::files`]
    Files,
    /// [`Limits::written`]
    Written,
    /// Time of an outbound request.
    OutboundTimeout,
    /// The answer to an outbound request.
    OutboundBody,
    /// Outbound requests at once.
    OutboundCalls,
    /// Calls at once of one function of many, a share of a server's connections.
    Connections,
    /// The memory of the process: see [`Ceiling`](crate::Ceiling).
    TotalMemory,
}

impl Limit {
    /// How many there are.
    pub const COUNT: usize = Limit::ALL.len();

    /// All of them, in the order of their numbers.
    pub const ALL: [Limit; 17] = [
        Limit::CallTimeout,
        Limit::StartTimeout,
        Limit::Memory,
        Limit::Body,
        Limit::Result,
        Limit::Queue,
        Limit::QueueTimeout,
        Limit::Instances,
        Limit::HostMemory,
        Limit::Cache,
        Limit::Files,
        Limit::Written,
        Limit::OutboundTimeout,
        Limit::OutboundBody,
        Limit::OutboundCalls,
        Limit::Connections,
        Limit::TotalMemory,
    ];

    /// What programs call it: the name of its flag, without dashes.
    pub fn name(self) -> &'static str {
        match self {
            Limit::CallTimeout => "callTimeout",
            Limit::StartTimeout => "startTimeout",
            Limit::Memory => "maxMemory",
            Limit::Body => "maxBody",
            Limit::Result => "maxResult",
            Limit::Queue => "maxQueue",
            Limit::QueueTimeout => "queueTimeout",
            Limit::Instances => "maxInstances",
            Limit::HostMemory => "maxHostMemory",
            Limit::Cache => "maxCache",
            Limit::Files => "maxFiles",
            Limit::Written => "maxWritten",
            Limit::OutboundTimeout => "outboundTimeout",
            Limit::OutboundBody => "maxOutboundBody",
            Limit::OutboundCalls => "maxOutboundCalls",
            Limit::Connections => "maxConnections",
            Limit::TotalMemory => "maxTotalMemory",
        }
    }
}

/// Refuses growth of memories and tables past the limits; remembers that it refused.
pub(crate) struct Limiter {
    engine: wasmtime::Engine,
    memory: usize,
    /// Elements that its tables may still grow by.
    table_elements: usize,
    counters: Arc<Counters>,
    /// What the instance takes of the process's memory.
    reservation: Reservation,
    /// The part of it that was reserved for memories and tables before they are there.
    unused: usize,
    /// What the last growth of the memory was granted.
    granted: usize,
    /// Who refused memory since this was last cleared.
    pub(crate) refused: Option<MemoryLimit>,
}

impl Limiter {
    /// With a reservation for what the instance needs.
    pub(crate) fn new(
        surroundings: &Surroundings,
        engine: &wasmtime::Engine,
        reservation: Reservation,
        needs: &Needs,
    ) -> Limiter {
        Limiter {
            engine: engine.clone(),
            memory: surroundings.limits.memory,
            table_elements: surroundings.limits.table_elements,
            counters: Arc::clone(&surroundings.counters),
            reservation,
            unused: needs.growing(),
            granted: 0,
            refused: None,
        }
    }

    /// Gives a part of the reservation to somebody else. What was reserved ahead goes with it: from now on all that grows is paid
    /// for anew.
    pub(crate) fn give_up(&mut self, needs: &Needs) -> Reservation {
        self.unused = 0;
        self.reservation.split(needs.wish())
    }

    fn pay(&mut self, bytes: usize) -> bool {
        let reserved = bytes.min(self.unused);
        match self.reservation.grow(bytes - reserved) {
            Ok(()) => {
                self.unused -= reserved;
                true
            }
            Err(full) => {
                let limit = if full.has_its_part { MemoryLimit::Part } else { MemoryLimit::Process };
                self.refused = Some(limit(full.limit));
                self.counters.hit(Limit::TotalMemory);
                false
            }
        }
    }
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory {
            self.refused = Some(MemoryLimit::Instance(self.memory));
            self.counters.hit(Limit::Memory);
            return Ok(false);
        }
        // What the module itself does not allow is not paid for: it is refused after this.
        if max.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        self.granted = desired.saturating_sub(current);
        let allowed = self.pay(self.granted);
        if allowed && desired > LARGE_MEMORY && slices::end_inline() {
            // The guest looks at the epoch before it can do anything that takes long with what it got.
            self.engine.increment_epoch();
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!("memory cannot grow: {error:#}");
        self.reservation.shrink(std::mem::take(&mut self.granted));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if more > self.table_elements || max.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        let allowed = self.pay(more.saturating_mul(TABLE_ELEMENT));
        if allowed {
            self.table_elements -= more;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list() {
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number, "{limit:?}");
        }
    }
}
