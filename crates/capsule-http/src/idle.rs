//! `--stopAfter`: noticing that nobody called for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When the module was last called. Calls alone count, from the end of the last one.
pub(crate) struct Idle {
    begin: Instant,
    running: AtomicUsize,
    /// Milliseconds from `begin` to the end of the last call.
    last_end: AtomicU64,
}

/// A call that runs.
pub(crate) struct Busy(Arc<Idle>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.last_end.store(self.0.now(), Relaxed);
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Idle {
    pub(crate) fn new() -> Idle {
        Idle { begin: Instant::now(), running: AtomicUsize::new(0), last_end: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A call begins; it ends when the answer is dropped.
    pub(crate) fn call(self: &Arc<Self>) -> Busy {
        self.running.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    /// Resolves when nobody called for `limit`.
    pub(crate) async fn passed(&self, limit: Duration) {
        loop {
            let idle = Duration::from_millis(self.now().saturating_sub(self.last_end.load(Relaxed)));
            let rest = if self.running.load(Relaxed) > 0 { limit } else { limit.saturating_sub(idle) };
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }
}
