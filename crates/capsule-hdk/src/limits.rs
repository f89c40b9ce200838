//! The limits of a function, and the limiter that an instance carries.

use std::time::Duration;

use crate::slices;

/// Linear memory of an instance in bytes past which a single instruction, such as one that fills all of it, takes longer than a
/// slice: from then on the guest runs on the threads for long calls.
pub(crate) const LARGE_MEMORY: usize = 16 << 20;

/// What the calls and instances of a function may use. Every limit is on by default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Wall-clock time of a call, the start of an instance included. `None`: no limit. Default 30 s.
    pub call_timeout: Option<Duration>,
    /// Linear memory of one instance in bytes. Default 256 MiB.
    pub memory: usize,
    /// Argument of a call in bytes. Default 10 MiB and some room for the document around a body.
    pub argument: usize,
    /// Result of a call in bytes, its frame byte included. Default 16 MiB.
    pub result: usize,
    /// What one host function may hand to the guest, in bytes. Default 64 MiB.
    pub host_memory: usize,
    /// Calls that wait for an instance. Default 1,024.
    pub queue: usize,
    /// How long a call waits for an instance. Default 10 s.
    pub queue_timeout: Duration,
    /// Elements of all tables of one instance together. Default 1,000,000.
    pub table_elements: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            call_timeout: Some(Duration::from_secs(30)),
            memory: 256 << 20,
            argument: 64 << 20,
            result: 16 << 20,
            host_memory: 64 << 20,
            queue: 1024,
            queue_timeout: Duration::from_secs(10),
            table_elements: 1_000_000,
        }
    }
}

/// Refuses growth of memories and tables past the limits; remembers that it refused.
pub(crate) struct Limiter {
    engine: wasmtime::Engine,
    memory: usize,
    /// Elements that its tables may still grow by.
    table_elements: usize,
    /// Set when memory was refused since the flag was last cleared.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, engine: &wasmtime::Engine) -> Limiter {
        let (memory, table_elements) = (limits.memory, limits.table_elements);
        Limiter { engine: engine.clone(), memory, table_elements, refused: false }
    }
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        self.refused |= !allowed;
        if allowed && desired > LARGE_MEMORY && slices::end_inline() {
            // The guest looks at the epoch before it can do anything that takes long with what it got.
            self.engine.increment_epoch();
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let left = self.table_elements.checked_sub(desired.saturating_sub(current));
        self.table_elements = left.unwrap_or(self.table_elements);
        Ok(left.is_some())
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
