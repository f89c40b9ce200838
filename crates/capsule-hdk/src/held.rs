//! What the host holds for the instances of one function: answers on their way to the guest, inputs of host functions that
//! wait. Bounded for all of them together.
//!
//! What is small is not counted: an instance has one host function at a time under way (a few, when calls are nested), so
//! their number bounds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::limits::Limit;
use crate::stats::Counters;

/// Bytes up to which nothing is counted.
pub(crate) const SMALL: usize = 16 << 10;

/// What is held for a function now, and how much may be.
pub(crate) struct HostMemory {
    limit: usize,
    held: AtomicUsize,
    counters: Arc<Counters>,
}

impl HostMemory {
    pub(crate) fn new(limit: usize, counters: &Arc<Counters>) -> Arc<HostMemory> {
        Arc::new(HostMemory { limit, held: AtomicUsize::new(0), counters: Arc::clone(counters) })
    }

    /// Counts `bytes` until the answer is dropped.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, String> {
        let mut held = Held { memory: Arc::clone(self), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }
}

/// Bytes that the host holds for a guest; not any more when this is dropped.
pub struct Held {
    memory: Arc<HostMemory>,
    bytes: usize,
}

impl Held {
    /// Holds more.
    ///
    /// # Errors
    /// A text for the guest when that would exceed the limit; what was held before is still held.
    pub fn grow(&mut self, more: usize) -> Result<(), String> {
        let HostMemory { limit, held, counters } = &*self.memory;
        let within = |now: usize| now.checked_add(more).filter(|sum| sum <= limit);
        if held.fetch_update(Relaxed, Relaxed, within).is_err() {
            counters.hit(Limit::HostMemory);
            return Err(format!(
                "the host would hold more than {limit} bytes for this function (flag `--maxHostMemory`)"
            ));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_all_together_to_the_byte() {
        let memory = HostMemory::new(100, &Arc::default());
        let mut first = memory.hold(60).unwrap();
        let second = memory.hold(40).unwrap();
        assert!(memory.hold(1).is_err() && first.grow(1).is_err());
        assert!(memory.hold(0).is_ok());
        drop(second);
        first.grow(40).unwrap();
        assert!(first.grow(usize::MAX).is_err());
        drop(first);
        assert!(memory.hold(101).is_err());
        drop(memory.hold(100).unwrap());
        assert_eq!(memory.held.load(Relaxed), 0);
        assert_eq!(memory.counters.snapshot().hits(Limit::HostMemory), 4);
    }
}
