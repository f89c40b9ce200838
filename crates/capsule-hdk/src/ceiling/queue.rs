//! Those who wait for memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Account, Ceiling, Reservation, Wish};

#[derive(Default)]
pub(super) struct Queue {
    /// The length of `waiters`: who gives memory back takes no lock while nobody waits.
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Waiter>>,
}

/// A place in the queue.
struct Waiter {
    ceiling: Ceiling,
    wish: Wish,
    grant: oneshot::Sender<Reservation>,
}

impl Waiter {
    fn account(&self) -> Option<&Account> {
        self.ceiling.account.as_deref()
    }
}

impl Queue {
    pub(super) fn is_waited_in(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins at the end; what comes in the end. Who does not wait any more has dropped that.
    pub(super) fn join(&self, ceiling: &Ceiling, wish: Wish) -> oneshot::Receiver<Reservation> {
        let (grant, granted) = oneshot::channel();
        let mut waiters = self.lock();
        waiters.push_back(Waiter { ceiling: ceiling.clone(), wish, grant });
        self.waiting.store(waiters.len(), SeqCst);
        granted
    }

    /// Forgets those who do not wait any more.
    pub(super) fn tidy(&self) {
        let mut waiters = self.lock();
        waiters.retain(|waiter| !waiter.grant.is_closed());
        self.waiting.store(waiters.len(), SeqCst);
    }

    /// Whether it is so for any of those who wait.
    pub(super) fn any(&self, is_so: impl Fn(Option<&Account>, Wish) -> bool) -> bool {
        self.lock().iter().any(|waiter| !waiter.grant.is_closed() && is_so(waiter.account(), waiter.wish))
    }

    /// Gives to those who wait, in order, what can be taken.
    pub(super) fn serve(&self, take: impl Fn(Option<&Account>, Wish) -> bool) {
        let mut served = Vec::new();
        {
            let mut waiters = self.lock();
            waiters.retain(|waiter| !waiter.grant.is_closed());
            let mut index = 0;
            while let Some(waiter) = waiters.get(index) {
                if take(waiter.account(), waiter.wish) {
                    served.extend(waiters.remove(index));
                } else {
                    index += 1;
                }
            }
            self.waiting.store(waiters.len(), SeqCst);
        }
        for Waiter { ceiling, wish: Wish { bytes, stacks }, grant, .. } in served {
            // To one that has gone away in this moment it does not get: it is dropped here, which serves the next.
            drop(grant.send(Reservation { ceiling, bytes, stacks }));
        }
    }
}
