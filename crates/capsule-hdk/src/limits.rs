//! The limits of a function, and the limiter that an instance carries.

use std::time::Duration;

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
    /// Elements of one table. Default 1,000,000.
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
    memory: usize,
    table_elements: usize,
    /// Set when memory was refused since the flag was last cleared.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Limiter {
        Limiter { memory: limits.memory, table_elements: limits.table_elements, refused: false }
    }
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements)
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
