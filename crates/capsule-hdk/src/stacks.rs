//! Stacks for calls within calls, beyond the two that every instance has: a few for all functions, a fair part for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A function's access to the spare stacks of the engine.
pub(crate) struct SpareStacks {
    /// Of all functions.
    free: Arc<AtomicUsize>,
    /// Of this one.
    taken: Arc<AtomicUsize>,
}

/// A stack that is in use until this is dropped.
#[derive(Debug)]
pub(crate) struct SpareStack {
    free: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

impl SpareStacks {
    /// For one more function; `free` is the engine's.
    pub(crate) fn new(free: &Arc<AtomicUsize>) -> SpareStacks {
        SpareStacks { free: Arc::clone(free), taken: Arc::default() }
    }

    /// A stack, when the function has taken fewer than are left: however many functions take all that they can, there are
    /// some for the next.
    pub(crate) fn take(&self) -> Option<SpareStack> {
        let taken = self.taken.load(Relaxed);
        self.free.fetch_update(Relaxed, Relaxed, |free| if free > taken { free.checked_sub(1) } else { None }).ok()?;
        self.taken.fetch_add(1, Relaxed);
        Some(SpareStack { free: Arc::clone(&self.free), taken: Arc::clone(&self.taken) })
    }
}

impl Drop for SpareStack {
    fn drop(&mut self) {
        self.free.fetch_add(1, Relaxed);
        self.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_all_leaves_as_many_for_the_next() {
        let free = Arc::new(AtomicUsize::new(32));
        let take_all = |stacks: &SpareStacks| std::iter::from_fn(|| stacks.take()).collect::<Vec<_>>();
        let (first, second, third) = (SpareStacks::new(&free), SpareStacks::new(&free), SpareStacks::new(&free));
        let held = take_all(&first);
        assert_eq!((held.len(), free.load(Relaxed)), (16, 16));
        let also = take_all(&second);
        assert_eq!((also.len(), free.load(Relaxed)), (8, 8));
        assert!(first.take().is_none());
        assert!(third.take().is_some());
        drop(held);
        drop(also);
        assert_eq!(free.load(Relaxed), 32);
    }
}
