//! The ceiling: how much memory everything together may hold that functions make a process hold.
//!
//! What is held is counted, not measured: whoever takes memory on behalf of a function reserves it first, and gives it back by
//! dropping the [`Reservation`]. Instances count with their memories and tables as they are now, and a stack each; modules
//! with their compiled code; caches with what is in them. So the process stays below a limit that the system would otherwise
//! enforce by killing it, and every function in it.
//!
//! A new instance waits for memory to come free, in order; one that needs less than there is may overtake one that needs
//! more. Everything else is refused at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::slices::within;

/// The memory of a process. Clones share it.
#[derive(Clone)]
pub struct Ceiling {
    shared: Arc<Shared>,
}

struct Shared {
    limit: usize,
    held: AtomicUsize,
    refused: AtomicU64,
    /// The length of `waiters`: who gives memory back takes no lock while nobody waits.
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Waiter>>,
    /// Told when somebody waits or was refused.
    short: Notify,
}

/// A place in the queue for memory.
struct Waiter {
    bytes: usize,
    grant: oneshot::Sender<Reservation>,
}

/// There is not as much memory now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The limit in bytes.
    pub limit: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the memory of the process is at its limit of {} bytes (flag `--maxTotalMemory`)", self.limit)
    }
}

impl std::error::Error for Full {}

impl Default for Ceiling {
    /// One without a limit, which counts all the same.
    fn default() -> Ceiling {
        Ceiling::new(usize::MAX)
    }
}

impl fmt::Debug for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ceiling").field("limit", &self.shared.limit).field("held", &self.held()).finish()
    }
}

impl Ceiling {
    /// One of `limit` bytes; `usize::MAX` is no limit.
    pub fn new(limit: usize) -> Ceiling {
        Ceiling {
            shared: Arc::new(Shared {
                limit,
                held: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                waiting: AtomicUsize::new(0),
                waiters: Mutex::default(),
                short: Notify::new(),
            }),
        }
    }

    /// The limit in bytes; none without one.
    pub fn limit(&self) -> Option<usize> {
        (self.shared.limit != usize::MAX).then_some(self.shared.limit)
    }

    /// Bytes that are reserved now.
    pub fn held(&self) -> usize {
        self.shared.held.load(Relaxed)
    }

    /// How often memory was refused.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// Bytes that are not reserved now.
    pub fn free(&self) -> usize {
        self.shared.limit.saturating_sub(self.held())
    }

    /// Resolves when somebody waits for memory or was refused since this was last asked, for the one who can give some back.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn short(&self) {
        self.shared.short.notified().await;
    }

    /// Whether somebody waits for memory now.
    pub fn has_waiters(&self) -> bool {
        self.shared.waiting.load(SeqCst) > 0
    }

    /// A reservation to begin with: of nothing.
    pub fn nothing(&self) -> Reservation {
        Reservation { shared: Arc::clone(&self.shared), bytes: 0 }
    }

    /// Reserves this much now.
    ///
    /// # Errors
    /// There is less.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Full> {
        self.take(bytes).ok_or_else(|| self.refuse())
    }

    /// Reserves this much, after at most until `deadline`.
    ///
    /// # Errors
    /// There was less all the time.
    pub(crate) async fn reserve_until(&self, bytes: usize, deadline: Instant) -> Result<Reservation, Full> {
        if let Some(reservation) = self.take(bytes) {
            return Ok(reservation);
        }
        // More than there can ever be is not waited for.
        if bytes > self.shared.limit {
            return Err(self.refuse());
        }
        // In this order: what is dropped first is the receiver, by which the queue knows who is still there.
        let _place = InQueue(&self.shared);
        let (grant, mut granted) = oneshot::channel();
        self.shared.join(Waiter { bytes, grant });
        // What was given back before anybody could know of this one.
        self.shared.serve();
        self.shared.short.notify_one();
        if let Some(Ok(reservation)) = within(Some(deadline), &mut granted).await {
            return Ok(reservation);
        }
        granted.close();
        // It may have come in the last moment.
        granted.try_recv().map_err(|_| self.refuse())
    }

    /// Reserves what is free, `most` of it, but no less than `least`.
    ///
    /// # Errors
    /// There is less.
    pub(crate) fn reserve_between(&self, least: usize, most: usize) -> Result<Reservation, Full> {
        self.take(self.free().min(most).max(least)).or_else(|| self.take(least)).ok_or_else(|| self.refuse())
    }

    /// Reserves without a word about it when that fails.
    pub(crate) fn take(&self, bytes: usize) -> Option<Reservation> {
        let taken = self.shared.take(bytes);
        taken.then(|| Reservation { shared: Arc::clone(&self.shared), bytes })
    }

    fn refuse(&self) -> Full {
        self.shared.refuse()
    }
}

impl Shared {
    fn take(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.held.fetch_update(SeqCst, Relaxed, more).is_ok()
    }

    fn give_back(self: &Arc<Self>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // Sequentially consistent with `join`: one of the two sees the other.
        self.held.fetch_sub(bytes, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.serve();
        }
    }

    fn refuse(&self) -> Full {
        self.refused.fetch_add(1, Relaxed);
        self.short.notify_one();
        Full { limit: self.limit }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, waiter: Waiter) {
        let mut waiters = self.lock();
        waiters.push_back(waiter);
        self.waiting.store(waiters.len(), SeqCst);
    }

    /// Gives what is free to those who wait, in order, as far as it goes.
    fn serve(self: &Arc<Self>) {
        let mut served = Vec::new();
        {
            let mut waiters = self.lock();
            waiters.retain(|waiter| !waiter.grant.is_closed());
            let mut index = 0;
            while let Some(waiter) = waiters.get(index) {
                if self.take(waiter.bytes) {
                    served.extend(waiters.remove(index));
                } else {
                    index += 1;
                }
            }
            self.waiting.store(waiters.len(), SeqCst);
        }
        for Waiter { bytes, grant } in served {
            // To one that has gone away in this moment it does not get: it is dropped here, which serves the next.
            drop(grant.send(Reservation { shared: Arc::clone(self), bytes }));
        }
    }
}

/// Takes those who do not wait any more out of the queue.
struct InQueue<'a>(&'a Shared);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        let mut waiters = self.0.lock();
        waiters.retain(|waiter| !waiter.grant.is_closed());
        self.0.waiting.store(waiters.len(), SeqCst);
    }
}

/// Memory that is reserved; given back when it is dropped.
#[must_use]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: usize,
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.bytes).finish()
    }
}

impl Reservation {
    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it larger.
    ///
    /// # Errors
    /// There is not as much; it stays as it is.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        if more > 0 && !self.shared.take(more) {
            return Err(self.shared.refuse());
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives a part back, or all there is.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.shared.give_back(less);
    }

    /// Takes a part out, or all there is: a reservation of its own.
    pub(crate) fn split(&mut self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation { shared: Arc::clone(&self.shared), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn the_limit_is_exact_and_what_is_dropped_comes_back() {
        let ceiling = Ceiling::new(100);
        let mut first = ceiling.reserve(60).unwrap();
        assert_eq!(ceiling.reserve(41).unwrap_err(), Full { limit: 100 });
        let second = ceiling.reserve(40).unwrap();
        assert_eq!((ceiling.held(), ceiling.free(), ceiling.refused()), (100, 0, 1));
        assert!(first.grow(1).is_err());
        drop(second);
        first.grow(40).unwrap();
        first.shrink(90);
        assert_eq!((first.bytes(), ceiling.held()), (10, 10));
        let part = first.split(4);
        first.shrink(1000);
        assert_eq!((first.bytes(), part.bytes(), ceiling.held()), (0, 4, 4));
        drop((first, part));
        assert_eq!((ceiling.held(), ceiling.refused()), (0, 2));
        assert_eq!(ceiling.reserve_between(10, 50).unwrap().bytes(), 50);
        let _most = ceiling.reserve(70).unwrap();
        assert_eq!(ceiling.reserve_between(10, 50).unwrap().bytes(), 30);
        assert!(ceiling.reserve_between(31, 50).is_err());
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let ceiling = Ceiling::default();
        let held = ceiling.reserve(usize::MAX - 1).unwrap();
        assert_eq!((ceiling.limit(), ceiling.held(), ceiling.free()), (None, usize::MAX - 1, 1));
        drop(held);
        assert_eq!(
            Full { limit: 7 }.to_string(),
            "the memory of the process is at its limit of 7 bytes (flag `--maxTotalMemory`)"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_memory_in_order_and_small_ones_are_not_held_up() {
        let ceiling = Ceiling::new(100);
        let mut held = ceiling.reserve(90).unwrap();
        let until = Instant::now() + LONG;
        let wait = |bytes| {
            let ceiling = ceiling.clone();
            tokio::spawn(async move { ceiling.reserve_until(bytes, until).await })
        };
        let (large, small) = (wait(60), wait(20));
        tokio::task::yield_now().await;
        assert!(ceiling.has_waiters());
        held.shrink(10);
        let small = small.await.unwrap().unwrap();
        assert!(!large.is_finished());
        held.shrink(40);
        tokio::task::yield_now().await;
        assert!(!large.is_finished(), "60 of 100 are taken");
        drop(small);
        assert_eq!(large.await.unwrap().unwrap().bytes(), 60);
        assert!(!ceiling.has_waiters());
        drop(held);
        assert_eq!((ceiling.held(), ceiling.refused()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_and_leaves_nothing() {
        let ceiling = Ceiling::new(100);
        let held = ceiling.reserve(90).unwrap();
        let soon = Instant::now() + Duration::from_secs(1);
        assert_eq!(ceiling.reserve_until(11, soon).await.unwrap_err(), Full { limit: 100 });
        assert_eq!((Instant::now() >= soon, ceiling.has_waiters()), (true, false));
        let begin = Instant::now();
        assert!(ceiling.reserve_until(101, begin + LONG).await.is_err(), "it can never come");
        assert_eq!(Instant::now(), begin);
        let waiting = tokio::spawn({
            let ceiling = ceiling.clone();
            async move { ceiling.reserve_until(11, begin + LONG).await }
        });
        tokio::task::yield_now().await;
        assert!(ceiling.has_waiters());
        waiting.abort();
        assert!(waiting.await.is_err());
        assert!(!ceiling.has_waiters(), "one that goes away leaves the queue");
        drop(held);
        assert_eq!((ceiling.held(), ceiling.refused()), (0, 2));
    }

    #[tokio::test]
    async fn shortage_is_told_to_who_can_do_something() {
        let ceiling = Ceiling::new(100);
        let _held = ceiling.reserve(100).unwrap();
        assert!(ceiling.reserve(1).is_err());
        ceiling.short().await;
        let waits = ceiling.reserve_until(1, Instant::now() + LONG);
        tokio::select! {
            biased;
            _ = waits => panic!("there is no memory"),
            () = ceiling.short() => {}
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_lost_between_many() {
        let ceiling = Ceiling::new(10);
        let until = Instant::now() + LONG;
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let ceiling = ceiling.clone();
                tokio::spawn(async move {
                    for round in 0..2_000 {
                        let reservation = ceiling.reserve_until(1 + (number + round) % 10, until).await.unwrap();
                        assert!(ceiling.held() <= 10);
                        tokio::task::yield_now().await;
                        drop(reservation);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!((ceiling.held(), ceiling.has_waiters(), ceiling.refused()), (0, false, 0));
    }
}
