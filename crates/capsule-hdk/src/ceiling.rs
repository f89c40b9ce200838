//! The ceiling: how much memory everything together may hold that functions make a process hold.
//!
//! What is held is counted, not measured: whoever takes memory on behalf of a function reserves it first, and gives it back by
//! dropping the [`Reservation`]. Instances count with their memories and tables as they are now, and the stacks they use; modules
//! with their compiled code; caches with what is in them. So the process stays below a limit that the system would otherwise
//! enforce by killing it, and every function in it.
//!
//! Functions that [share](Ceiling::share) it hold no more of it than is left: one that wants all gets half, two get a third each,
//! and there is always some for the next. The first that each takes is not looked at like that: it is waited for.
//!
//! The stacks of a pool are not given back to the system. So what has been a stack stays counted, as one that is idle, and is used
//! for the next.
//!
//! A new instance waits for memory to come free, in order; one that needs less than there is may overtake one that needs
//! more. Where functions share, none does that holds as much as the one who waits would then: as long as there is enough left for the
//! one, there is for the other. Everything else is refused at once.

mod queue;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::slices::within;
use queue::Queue;

/// The memory of a process. Clones share it.
#[derive(Clone)]
pub struct Ceiling {
    shared: Arc<Shared>,
    /// On whose account; without one, nobody is asked for how much it holds.
    account: Option<Arc<Account>>,
}

struct Shared {
    limit: usize,
    /// All that is reserved, what is idle included.
    held: AtomicUsize,
    /// Stacks that nobody uses.
    idle: AtomicUsize,
    /// Accounts that hold something.
    sharers: AtomicUsize,
    refused: AtomicU64,
    queue: Queue,
    /// Told when somebody waits or was refused who has not more than its part.
    short: Notify,
}

/// What one of those holds who share the ceiling.
#[derive(Default)]
struct Account {
    /// With what is being asked for.
    held: AtomicUsize,
    /// What was granted.
    granted: AtomicUsize,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) bytes: usize,
    /// The part of it that is stacks of a pool.
    pub(crate) stacks: usize,
}

impl Wish {
    /// No stacks.
    fn of(bytes: usize) -> Wish {
        Wish { bytes, stacks: 0 }
    }
}

/// There is not as much memory now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Full {
    /// The limit in bytes.
    pub limit: usize,
    /// It is not that all of it is taken: who asked has as much as is left for others.
    pub has_its_part: bool,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        if self.has_its_part {
            write!(
                f,
                "the function holds as much of the memory of the process, of {limit} bytes, as is left for others (flag \
                 `--maxTotalMemory`)"
            )
        } else {
            write!(f, "the memory of the process is at its limit of {limit} bytes (flag `--maxTotalMemory`)")
        }
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
                idle: AtomicUsize::new(0),
                sharers: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                queue: Queue::default(),
                short: Notify::new(),
            }),
            account: None,
        }
    }

    /// The same for one more who shares it with others: what is reserved with this, and with its clones, is together no more than
    /// is left for the others.
    #[must_use]
    pub fn share(&self) -> Ceiling {
        Ceiling { shared: Arc::clone(&self.shared), account: Some(Arc::default()) }
    }

    /// The limit in bytes; none without one.
    pub fn limit(&self) -> Option<usize> {
        (self.shared.limit != usize::MAX).then_some(self.shared.limit)
    }

    /// Bytes that are reserved now, by all.
    pub fn held(&self) -> usize {
        // One after the other: in between, a stack may become idle.
        self.shared.held.load(SeqCst).saturating_sub(self.idle())
    }

    /// Bytes of stacks that are not in use, and are kept for the next instances.
    pub fn idle(&self) -> usize {
        self.shared.idle.load(SeqCst)
    }

    /// How often memory was refused.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// Bytes that are neither reserved now nor kept for stacks.
    pub fn free(&self) -> usize {
        self.shared.limit.saturating_sub(self.shared.held.load(SeqCst))
    }

    /// Resolves when somebody waits for memory or was refused since this was last asked, for the one who can give some back. Who
    /// has more than its part of what functions share is nobody to give something back for.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn short(&self) {
        self.shared.short.notified().await;
    }

    /// Whether somebody waits for memory now.
    pub fn has_waiters(&self) -> bool {
        self.shared.queue.is_waited_in()
    }

    /// Whether somebody waits for memory now who has not more than its part.
    pub fn is_short(&self) -> bool {
        self.has_waiters() && self.shared.queue.any(|account, wish| self.shared.is_due(account, wish.bytes))
    }

    /// A reservation to begin with: of nothing.
    pub fn nothing(&self) -> Reservation {
        Reservation { ceiling: self.clone(), bytes: 0, stacks: 0 }
    }

    /// Reserves this much now.
    ///
    /// # Errors
    /// There is less.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Full> {
        self.take(Wish::of(bytes)).ok_or_else(|| self.refuse(bytes))
    }

    /// Reserves this much, after at most until `deadline`.
    ///
    /// # Errors
    /// There was less all the time.
    pub(crate) async fn reserve_until(&self, wish: Wish, deadline: Instant) -> Result<Reservation, Full> {
        if let Some(reservation) = self.take(wish) {
            return Ok(reservation);
        }
        // More than there can ever be is not waited for.
        if wish.bytes > self.shared.limit {
            return Err(self.refuse(wish.bytes));
        }
        // In this order: what is dropped first is the receiver, by which the queue knows who is still there.
        let _place = InQueue(&self.shared);
        let mut granted = self.shared.queue.join(self, wish);
        // What was given back before anybody could know of this one.
        self.shared.serve();
        if let Ok(reservation) = granted.try_recv() {
            return Ok(reservation);
        }
        self.shared.tell(self.account.as_deref(), wish.bytes);
        if let Some(Ok(reservation)) = within(Some(deadline), &mut granted).await {
            return Ok(reservation);
        }
        granted.close();
        // It may have come in the last moment.
        granted.try_recv().map_err(|_| self.refuse(wish.bytes))
    }

    /// Reserves what is free, `most` of it, but no less than `least`.
    ///
    /// # Errors
    /// There is less.
    pub(crate) fn reserve_between(&self, least: usize, most: usize) -> Result<Reservation, Full> {
        let best = self.take(Wish::of(self.free().min(most).max(least)));
        best.or_else(|| self.take(Wish::of(least))).ok_or_else(|| self.refuse(least))
    }

    /// Reserves without a word about it when that fails.
    pub(crate) fn take(&self, wish: Wish) -> Option<Reservation> {
        let taken = self.shared.take(self.account.as_deref(), wish);
        taken.then(|| Reservation { ceiling: self.clone(), bytes: wish.bytes, stacks: wish.stacks })
    }

    fn refuse(&self, bytes: usize) -> Full {
        self.shared.refused.fetch_add(1, Relaxed);
        self.shared.tell(self.account.as_deref(), bytes);
        Full { limit: self.shared.limit, has_its_part: self.account.is_some() && bytes <= self.free() }
    }
}

impl Shared {
    /// Reserves, stacks that are idle first.
    fn take(&self, account: Option<&Account>, Wish { bytes, stacks }: Wish) -> bool {
        if bytes == 0 {
            return true;
        }
        let reused = if stacks == 0 { 0 } else { self.take_idle(stacks) };
        let is_part =
            |before: usize, held: usize| before == 0 || before.saturating_add(bytes) <= self.limit - held + reused;
        // Counted first, so that two at once do not both find the last bytes of their part. Who has it already is not counted, not
        // even for a moment: it would be in the way of others of the same function.
        let before = account.map_or(Ok(0), |account| {
            let more = |before| is_part(before, self.held.load(SeqCst)).then(|| before + bytes);
            account.held.fetch_update(SeqCst, SeqCst, more)
        });
        let Ok(before) = before else {
            self.idle.fetch_add(reused, SeqCst);
            return false;
        };
        let more = |held: usize| {
            let sum = held.checked_add(bytes - reused).filter(|sum| *sum <= self.limit)?;
            is_part(before, held).then_some(sum)
        };
        if self.held.fetch_update(SeqCst, SeqCst, more).is_ok() {
            if account.is_some_and(|account| account.granted.fetch_add(bytes, SeqCst) == 0) {
                self.sharers.fetch_add(1, SeqCst);
            }
            return true;
        }
        self.idle.fetch_add(reused, SeqCst);
        if let Some(account) = account {
            account.held.fetch_sub(bytes, SeqCst);
        }
        false
    }

    fn take_idle(&self, stacks: usize) -> usize {
        let taken = self.idle.fetch_update(SeqCst, SeqCst, |idle| (idle > 0).then(|| idle - idle.min(stacks)));
        taken.map_or(0, |idle| idle.min(stacks))
    }

    /// Takes back, and keeps what has been stacks.
    fn give_back(&self, account: Option<&Account>, Wish { bytes, stacks }: Wish) {
        if bytes == 0 {
            return;
        }
        if let Some(account) = account {
            if account.granted.fetch_sub(bytes, SeqCst) == bytes {
                self.sharers.fetch_sub(1, SeqCst);
            }
            account.held.fetch_sub(bytes, SeqCst);
        }
        self.idle.fetch_add(stacks, SeqCst);
        // Sequentially consistent with who joins the queue: one of the two sees the other.
        self.held.fetch_sub(bytes - stacks, SeqCst);
        if self.queue.is_waited_in() {
            self.serve();
        }
    }

    /// Whether one who asks for this much has no more than its part with it, were all that the others may have theirs: then it is
    /// worth it that somebody makes room.
    fn is_due(&self, account: Option<&Account>, bytes: usize) -> bool {
        let Some(held) = account.map(|account| account.held.load(SeqCst)).filter(|held| *held > 0) else {
            return true;
        };
        held.saturating_add(bytes) <= self.limit / (self.sharers.load(SeqCst) + 1)
    }

    fn tell(&self, account: Option<&Account>, bytes: usize) {
        if self.is_due(account, bytes) {
            self.short.notify_one();
        }
    }

    /// Gives what is free to those who wait, in order, as far as it goes.
    fn serve(&self) {
        self.queue.serve(|account, wish| self.take(account, wish));
    }
}

/// Leaves the queue when it is dropped.
struct InQueue<'a>(&'a Shared);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.queue.tidy();
    }
}

/// Memory that is reserved; given back when it is dropped.
#[must_use]
pub struct Reservation {
    ceiling: Ceiling,
    bytes: usize,
    /// The part of them that is stacks of a pool.
    stacks: usize,
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
        if !self.ceiling.shared.take(self.ceiling.account.as_deref(), Wish::of(more)) {
            return Err(self.ceiling.refuse(more));
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives a part back, or all there is but stacks.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes - self.stacks);
        self.bytes -= less;
        self.ceiling.shared.give_back(self.ceiling.account.as_deref(), Wish::of(less));
    }

    /// Takes a part out, or all there is: a reservation of its own.
    pub(crate) fn split(&mut self, wish: Wish) -> Reservation {
        let bytes = wish.bytes.min(self.bytes);
        let stacks = wish.stacks.min(self.stacks).min(bytes);
        self.bytes -= bytes;
        self.stacks -= stacks;
        Reservation { ceiling: self.ceiling.clone(), bytes, stacks }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Reservation { ceiling, bytes, stacks } = self;
        ceiling.shared.give_back(ceiling.account.as_deref(), Wish { bytes: *bytes, stacks: *stacks });
    }
}

#[cfg(test)]
mod tests;
