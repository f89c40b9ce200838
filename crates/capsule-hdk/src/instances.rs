//! The instances of one function: who is free, who waits, when a new one may be made.
//!
//! A call [acquires](Instances::acquire) a [`Slot`]: a place for an instance, with a free instance in it or vacant. A slot
//! comes back in three ways: with a sound instance, empty because its instance broke, or because an instance could not be
//! started, which makes everybody wait a while before the next try. Waiting calls are served in order.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::{Busy, BusyReason};
use crate::instance::Instance;
use crate::slices::within;
use crate::stats::Counters;

/// The first pause after an instance failed to start; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// When it is worth another try for a call that found too much to do.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Instances {
    ledger: Mutex<Ledger>,
    /// Slots at most.
    max: usize,
    /// Calls that wait at most.
    queue: usize,
    counters: Arc<Counters>,
    engine: Engine,
    /// Told whenever a slot is given back while the function is being stopped.
    quiet: Notify,
}

#[derive(Default)]
#[expect(clippy::vec_box, reason = "an instance is handed from hand to hand: a pointer is moved, not the instance")]
struct Ledger {
    /// Free instances; the one used last is used first, so that the others can be let go.
    idle: Vec<Box<Instance>>,
    /// Slots in use, those of `idle` included.
    slots: usize,
    waiters: VecDeque<Waiter>,
    /// Instances that failed to start since one last started.
    failures: u32,
    retry_at: Option<Instant>,
    stopping: bool,
    /// A task looks after the free instances.
    trimming: bool,
}

/// A place in the queue.
struct Waiter {
    arrival: oneshot::Sender<Result<Slot, Busy>>,
    /// It has a slot, and waits for an instance alone.
    has_slot: bool,
}

impl Ledger {
    /// The first in the queue who wants a slot with an instance, or one without.
    fn next_waiter(&mut self, with_instance: bool) -> Option<Waiter> {
        let index = if with_instance { 0 } else { self.waiters.iter().position(|waiter| !waiter.has_slot)? };
        self.waiters.remove(index)
    }
}

impl Instances {
    pub(crate) fn new(max: usize, queue: usize, counters: Arc<Counters>, engine: Engine) -> Arc<Instances> {
        Arc::new(Instances { ledger: Mutex::default(), max, queue, counters, engine, quiet: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a call: at once, or in its turn.
    pub(crate) fn acquire(self: &Arc<Self>) -> Result<Acquired, Busy> {
        let mut ledger = self.lock();
        if ledger.stopping {
            return Err(busy(BusyReason::Stopping, RETRY));
        }
        if let Some(instance) = ledger.idle.pop() {
            return Ok(Acquired::Now(self.slot(Some(instance))));
        }
        // Where functions share the engine, one waits for an instance of its own rather than take more than its part. When the part
        // has become larger meanwhile, those who wait come first.
        let mut has_room = self.has_room(&ledger);
        while has_room && let Some(waiter) = ledger.next_waiter(false) {
            if ledger.retry_at.is_some_and(|retry_at| retry_at > Instant::now()) {
                ledger.waiters.push_front(waiter);
                break;
            }
            match waiter.arrival.send(Ok(self.slot(None))) {
                Ok(()) => {
                    ledger.slots += 1;
                    self.engine.slot_taken();
                    has_room = self.has_room(&ledger);
                }
                // Nobody's any more: it is not to come back here.
                Err(Ok(mut slot)) => slot.owner = None,
                Err(Err(_)) => {}
            }
        }
        if has_room {
            let now = Instant::now();
            if let Some(retry_at) = ledger.retry_at.filter(|retry_at| *retry_at > now) {
                return Err(busy(BusyReason::BackOff, retry_at - now));
            }
            ledger.slots += 1;
            self.engine.slot_taken();
            return Ok(Acquired::Now(self.slot(None)));
        }
        match self.queue_up(&mut ledger, false) {
            Some(turn) => Ok(Acquired::InTurn(turn)),
            None => Err(busy(BusyReason::QueueFull(self.queue), RETRY)),
        }
    }

    /// Whether the function may have one more slot.
    fn has_room(&self, ledger: &Ledger) -> bool {
        ledger.slots < self.max && self.engine.has_share(ledger.slots)
    }

    /// A place in the queue for one who holds a vacant slot and may have to wait long for an instance in it; none when there is no
    /// room in the queue.
    pub(crate) fn join(self: &Arc<Self>) -> Result<Option<Turn>, Busy> {
        let mut ledger = self.lock();
        if ledger.stopping { Err(busy(BusyReason::Stopping, RETRY)) } else { Ok(self.queue_up(&mut ledger, true)) }
    }

    fn queue_up(self: &Arc<Self>, ledger: &mut Ledger, has_slot: bool) -> Option<Turn> {
        if ledger.waiters.len() >= self.queue {
            // Some of them may have gone away.
            ledger.waiters.retain(|waiter| !waiter.arrival.is_closed());
        }
        if ledger.waiters.len() >= self.queue {
            return None;
        }
        let (sender, arrival) = oneshot::channel();
        ledger.waiters.push_back(Waiter { arrival: sender, has_slot });
        Some(Turn { instances: Arc::clone(self), arrival })
    }

    fn slot(self: &Arc<Self>, instance: Option<Box<Instance>>) -> Slot {
        Slot { owner: Some(Arc::clone(self)), instance, in_use: false }
    }

    /// Takes a slot back with what is in it, and hands it on.
    fn put_back(self: &Arc<Self>, mut instance: Option<Box<Instance>>) {
        let mut ledger = self.lock();
        while let Some(waiter) = ledger.next_waiter(instance.is_some()) {
            match waiter.arrival.send(Ok(self.slot(instance))) {
                Ok(()) => return,
                Err(Ok(mut refused)) => {
                    // Taken apart, so that its drop does not come back here.
                    refused.owner = None;
                    instance = refused.instance.take();
                }
                Err(Err(_)) => return,
            }
        }
        match instance {
            Some(instance) => ledger.idle.push(instance),
            None => {
                ledger.slots -= 1;
                self.engine.slots_left(1);
            }
        }
        let stopping = ledger.stopping;
        drop(ledger);
        if stopping {
            self.quiet.notify_one();
        }
    }

    /// An instance failed to start: the next try is later, and who waits hears it now.
    fn start_failed(&self) {
        let mut ledger = self.lock();
        ledger.slots -= 1;
        self.engine.slots_left(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << ledger.failures.min(16)).min(LONGEST_PAUSE);
        ledger.failures += 1;
        ledger.retry_at = Some(Instant::now() + pause);
        if ledger.slots == 0 {
            for waiter in std::mem::take(&mut ledger.waiters) {
                let _ = waiter.arrival.send(Err(busy(BusyReason::BackOff, pause)));
            }
        }
        drop(ledger);
        self.quiet.notify_one();
    }

    fn started(&self) {
        let mut ledger = self.lock();
        ledger.failures = 0;
        ledger.retry_at = None;
    }

    /// Takes out free instances that were not used for `age`, each with its slot; one always stays.
    pub(crate) fn take_aged(self: &Arc<Self>, age: Duration) -> Vec<Slot> {
        let mut ledger = self.lock();
        let now = Instant::now();
        let spare = ledger.slots.saturating_sub(1);
        // The longest unused are in front.
        let is_aged = |since: Option<Instant>| since.is_some_and(|since| now - since >= age);
        let aged = ledger.idle.iter().take_while(|instance| is_aged(instance.idle_since)).count().min(spare);
        ledger.idle.drain(..aged).map(|instance| self.slot(Some(instance))).collect()
    }

    /// True when there is more than one instance and nobody looks after them yet: the caller does from now on.
    pub(crate) fn begin_trimming(&self) -> bool {
        if self.max == 1 {
            return false;
        }
        let mut ledger = self.lock();
        let begin = ledger.slots > 1 && !ledger.trimming;
        ledger.trimming |= begin;
        begin
    }

    /// True when there is nothing left to look after.
    pub(crate) fn end_trimming(&self) -> bool {
        let mut ledger = self.lock();
        ledger.trimming = ledger.slots > 1;
        !ledger.trimming
    }

    /// Whether the function is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Slots in use, free instances included.
    pub(crate) fn slots(&self) -> usize {
        self.lock().slots
    }

    /// Refuses new calls and those that wait, waits for those that run (at most `patience`), and takes out the free
    /// instances.
    pub(crate) async fn close(&self, patience: Duration) -> Vec<Box<Instance>> {
        let deadline = Instant::now() + patience;
        {
            let mut ledger = self.lock();
            ledger.stopping = true;
            for waiter in std::mem::take(&mut ledger.waiters) {
                let _ = waiter.arrival.send(Err(busy(BusyReason::Stopping, RETRY)));
            }
        }
        loop {
            {
                let mut ledger = self.lock();
                if ledger.slots == ledger.idle.len() || Instant::now() >= deadline {
                    ledger.slots -= ledger.idle.len();
                    self.engine.slots_left(ledger.idle.len());
                    return std::mem::take(&mut ledger.idle);
                }
            }
            within(Some(deadline), pin!(self.quiet.notified())).await;
        }
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.engine.slots_left(self.lock().slots);
    }
}

fn busy(reason: BusyReason, retry_after: Duration) -> Busy {
    Busy { reason, retry_after }
}

/// What a call that wants a slot gets.
pub(crate) enum Acquired {
    /// A slot.
    Now(Slot),
    /// A place in the queue.
    InTurn(Turn),
}

/// A place in the queue. Dropping it loses nothing: a slot that was on its way goes to the next.
pub(crate) struct Turn {
    instances: Arc<Instances>,
    arrival: oneshot::Receiver<Result<Slot, Busy>>,
}

impl Turn {
    /// The slot, after at most `patience`.
    pub(crate) async fn wait(self, patience: Duration) -> Result<Slot, Busy> {
        let _waiting = self.instances.counters.wait();
        match within(Some(Instant::now() + patience), self.arrival).await {
            Some(Ok(granted)) => granted,
            // The ledger never drops a waiter without a word; an end of the process does.
            Some(Err(_)) => Err(busy(BusyReason::Stopping, RETRY)),
            None => Err(busy(BusyReason::QueueTimeout(patience), RETRY)),
        }
    }
}

/// A place for an instance, held by one call. Dropped while in use (a cancelled call, a panic), its instance is thrown away.
pub(crate) struct Slot {
    /// `None` only while it is taken apart.
    owner: Option<Arc<Instances>>,
    instance: Option<Box<Instance>>,
    /// A guest may have seen the call.
    in_use: bool,
}

impl Slot {
    /// True when there is no instance in it yet.
    pub(crate) fn is_vacant(&self) -> bool {
        self.instance.is_none()
    }

    /// From now on the slot is in use.
    pub(crate) fn begin(&mut self) {
        self.in_use = true;
    }

    /// The instance, if there is one; from now on the slot is in use.
    pub(crate) fn instance(&mut self) -> Option<&mut Instance> {
        self.in_use = true;
        self.instance.as_deref_mut()
    }

    /// Puts a new instance in.
    pub(crate) fn fill(&mut self, instance: Box<Instance>) {
        if let Some(owner) = &self.owner {
            owner.started();
        }
        self.instance = Some(instance);
    }

    /// Gives the slot back with its instance, for the next call.
    pub(crate) fn give_back(mut self) {
        self.in_use = false;
    }

    /// Takes the instance out; the slot is vacant when it is dropped.
    pub(crate) fn take_instance(&mut self) -> Option<Box<Instance>> {
        self.in_use = false;
        self.instance.take()
    }

    /// Gives the slot back: no instance could be started in it.
    pub(crate) fn fail(mut self) {
        if let Some(owner) = self.owner.take() {
            owner.start_failed();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(owner) = self.owner.take() else { return };
        let mut instance = self.instance.take();
        if self.in_use {
            if let Some(broken) = instance.take() {
                owner.engine.bury(broken);
            }
        } else if let Some(instance) = instance.as_mut().filter(|_| owner.max > 1) {
            // A single instance is never let go: nobody asks how long it was free.
            instance.idle_since = Some(Instant::now());
        }
        owner.put_back(instance);
    }
}
