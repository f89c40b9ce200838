//! Things of which a process has so many, and functions take: however many take all that they can, there are some for the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// So many for all functions of an engine.
#[derive(Debug)]
pub(crate) struct Stock {
    limit: usize,
    /// Whether functions share them: none has more than are left for the others.
    fair: bool,
    taken: AtomicUsize,
}

impl Stock {
    pub(crate) fn new(limit: usize, fair: bool) -> Arc<Stock> {
        Arc::new(Stock { limit, fair, taken: AtomicUsize::new(0) })
    }
}

/// What a function has of them.
#[derive(Debug)]
pub(crate) struct Share {
    stock: Arc<Stock>,
    own: AtomicUsize,
}

impl Share {
    pub(crate) fn new(stock: &Arc<Stock>) -> Arc<Share> {
        Arc::new(Share { stock: Arc::clone(stock), own: AtomicUsize::new(0) })
    }

    /// One more, until what is answered is dropped.
    ///
    /// # Errors
    /// How many the function has, which are as many as it may have now.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Taken, usize> {
        let Stock { limit, fair, taken } = &*self.stock;
        let own = self.own.fetch_add(1, Relaxed);
        let more = taken.fetch_update(Relaxed, Relaxed, |taken| {
            let left = limit.saturating_sub(taken);
            (left > 0 && (!fair || own < left)).then_some(taken + 1)
        });
        if more.is_err() {
            self.own.fetch_sub(1, Relaxed);
            return Err(own);
        }
        Ok(Taken { share: Arc::clone(self) })
    }
}

/// One of a function's share.
#[derive(Debug)]
pub(crate) struct Taken {
    share: Arc<Share>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.share.own.fetch_sub(1, Relaxed);
        self.share.stock.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(share: &Arc<Share>) -> Vec<Taken> {
        std::iter::from_fn(|| share.take().ok()).collect()
    }

    #[test]
    fn no_function_has_more_than_are_left() {
        let all = Stock::new(24, true);
        let shares: Vec<_> = (0..4).map(|_| Share::new(&all)).collect();
        let held: Vec<_> = shares.iter().map(fill).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [12, 6, 3, 2]);
        assert_eq!(shares[0].take().unwrap_err(), 12);
        assert!(Share::new(&all).take().is_ok(), "there is one for the next");
        drop(held);
        assert_eq!(fill(&shares[3]).len(), 12);
        assert_eq!(all.taken.load(Relaxed), 0);
        let alone = Stock::new(24, false);
        assert_eq!(fill(&Share::new(&alone)).len(), 24);
    }
}
