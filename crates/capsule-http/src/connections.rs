//! All open connections of a socket, and what bounds them: how many there are, how long each may do nothing, how much is held
//! for them together.
//!
//! | module | holds |
//! |---|---|
//! | [`limits`] | the flags, and their values as types |
//! | [`peer`] | one connection: what it does, since when |
//! | [`sweep`] | the look at all of them that finds those whose time is over |
//! | [`hold`] | the bytes that are held for clients |
//!
//! Connections write down what they do, without locks; time passes, and connections are closed, in the sweep alone. So a
//! request arms no timer.

pub(crate) mod hold;
pub(crate) mod limits;
pub(crate) mod peer;
mod sweep;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::limits::ConnectionLimits;
use self::peer::{Order, Peer, Phase};

/// The pause between two looks for room when no connection can be closed.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that are looked up to be closed for others: at least this many at once, since a look at all takes time.
const BATCH: usize = 16;
/// A connection that came, or was used, less than so many microseconds ago is not closed for another one: its client may be
/// about to send a request.
const YOUTH: u64 = 50_000;
/// A client may keep a connection waiting for so many microseconds before the connection counts as one that waits for it.
const PATIENCE: u64 = 1_000_000;
/// A connection that shall finish and has nothing to do has so many microseconds until it is cut.
const LAST_WORDS: u64 = 1_000_000;

/// Why the server closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The head of a request, or a handshake, did not come in time.
    Header,
    /// A body did not.
    Body,
    /// There was no request for long.
    Idle,
    /// An answer was not read.
    Write,
    /// Another connection needed its place.
    Limit,
    /// It made the server hold most.
    Buffer,
}

impl Reason {
    /// All of them, with what the label of the metric says.
    pub(crate) const ALL: [(Reason, &'static str); 6] = [
        (Reason::Header, "header"),
        (Reason::Body, "body"),
        (Reason::Idle, "idle"),
        (Reason::Write, "write"),
        (Reason::Limit, "limit"),
        (Reason::Buffer, "buffer"),
    ];
}

/// Microseconds, on a cache line that nothing else is on.
#[repr(align(64))]
struct Clock(AtomicU64);

/// What all connections share.
pub(crate) struct Shared {
    clock: Clock,
    /// When the clock was last set.
    set: Mutex<Instant>,
    /// How often the sweep looks.
    tick: Duration,
    pub(crate) limits: ConnectionLimits,
    open: AtomicUsize,
    table: Mutex<Vec<Arc<Peer>>>,
    /// Connections that can be closed for others, and since when they have been of no use: the next one is the first.
    candidates: Mutex<VecDeque<(Arc<Peer>, u64)>>,
    /// Connections that were closed for others and have not ended yet.
    leaving: AtomicUsize,
    is_stopping: AtomicBool,
    closed: [AtomicU64; Reason::ALL.len()],
    /// Bytes that are held.
    held: AtomicUsize,
    /// Connections whose buffers have grown.
    large: AtomicUsize,
    /// A connection ended.
    ended: Notify,
    /// More was to be held than may be.
    is_overrun: AtomicBool,
    overrun: Notify,
}

impl Shared {
    /// Microseconds of a clock that is set by the sweep and by each new connection, and stands still while the process does.
    pub(crate) fn now(&self) -> u64 {
        self.clock.0.load(Relaxed)
    }

    /// Sets the clock. Time in which this process did not run is no fault of clients: what they sent meanwhile is to be read
    /// first.
    fn set_clock(&self) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = u64::try_from(now.duration_since(*set).as_micros()).unwrap_or(u64::MAX);
        *set = now;
        self.advance(passed.min(2 * self.grace()));
    }

    fn advance(&self, microseconds: u64) {
        self.clock.0.fetch_add(microseconds, Relaxed);
    }

    /// By how much a time may seem to be over too early, in microseconds: the clock may have been behind when it began.
    fn grace(&self) -> u64 {
        u64::try_from(self.tick.as_micros()).unwrap_or(u64::MAX)
    }

    /// True when a time that began at `since` is over.
    pub(crate) fn is_over(&self, since: u64, limit: Duration) -> bool {
        is_over(since, limit, self.now(), self.grace())
    }

    fn table(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody was to hold more than may be held.
    fn is_too_much(&self) {
        self.is_overrun.store(true, Relaxed);
        self.overrun.notify_one();
    }

    /// Counts a connection that is closed.
    pub(crate) fn count(&self, reason: Reason) {
        self.closed[reason as usize].fetch_add(1, Relaxed);
    }

    /// Closes a connection and counts it, unless that has been done.
    fn close(&self, peer: &Peer, order: Order, reason: Reason) -> bool {
        let closed = peer.tell(order);
        if closed {
            self.count(reason);
        }
        closed
    }
}

fn is_over(since: u64, limit: Duration, now: u64, grace: u64) -> bool {
    u128::from(now.saturating_sub(since)) >= limit.as_micros() + u128::from(grace)
}

/// The connections of one socket. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Connections {
        let shared = Shared {
            // Not at 0, which stands for never.
            clock: Clock(AtomicU64::new(1)),
            set: Mutex::new(Instant::now()),
            tick: sweep::tick(&limits),
            limits,
            open: AtomicUsize::new(0),
            table: Mutex::default(),
            candidates: Mutex::default(),
            leaving: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            closed: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            held: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            ended: Notify::new(),
            is_overrun: AtomicBool::new(false),
            overrun: Notify::new(),
        };
        Connections { shared: Arc::new(shared) }
    }

    /// Makes time pass for the connections, and closes those whose time is over, for as long as anybody knows them.
    pub(crate) fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        sweep::run(Arc::downgrade(&self.shared))
    }

    /// A connection that was accepted. It belongs into an [`Open`].
    pub(crate) fn open(&self, address: SocketAddr, phase: Phase) -> Arc<Peer> {
        // So that the order in which connections came is known, also where many come between two looks.
        self.shared.set_clock();
        let peer = Arc::new(Peer::new(address, phase, Arc::clone(&self.shared)));
        {
            let mut table = self.shared.table();
            peer.place.store(table.len(), Relaxed);
            table.push(Arc::clone(&peer));
        }
        self.shared.open.fetch_add(1, SeqCst);
        if self.shared.is_stopping.load(SeqCst) {
            peer.tell(Order::Stop);
        }
        peer
    }

    /// Connections that are open.
    pub(crate) fn count(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// How many were closed for this reason.
    pub(crate) fn closed(&self, reason: Reason) -> u64 {
        self.shared.closed[reason as usize].load(Relaxed)
    }

    /// Bytes that are held for clients.
    pub(crate) fn held(&self) -> usize {
        self.shared.held.load(Relaxed)
    }

    /// Waits until there is room for one more connection, and makes it where it can.
    pub(crate) async fn room(&self) {
        loop {
            if self.has_room() || self.close_one() {
                return;
            }
            let ended = self.shared.ended.notified();
            if self.has_room() {
                return;
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        let leaving = self.shared.leaving.load(Relaxed);
        self.shared.open.load(Relaxed).saturating_sub(leaving) < self.shared.limits.count
    }

    /// Closes the connection that was idle for longest; where none is idle, the one whose client is waited for longest. Never
    /// one with a call that runs. Answers whether there was one.
    pub(crate) fn close_one(&self) -> bool {
        self.shared.set_clock();
        self.close_candidate()
    }

    fn close_candidate(&self) -> bool {
        let mut candidates = self.shared.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        for is_fresh in [false, true] {
            if is_fresh {
                *candidates = self.candidates();
            }
            while let Some((peer, since)) = candidates.pop_front() {
                let seen = peer.seen();
                if peer.order() != Order::Serve || since != seen.idle_since().or(seen.waits_since()).unwrap_or(0) {
                    continue;
                }
                // One that is idle may get a request at this moment, which is still answered.
                let order = if seen.calls == 0 && seen.phase == Phase::Idle { Order::Finish } else { Order::Yield };
                self.shared.leaving.fetch_add(1, Relaxed);
                peer.is_leaving.store(true, SeqCst);
                self.shared.close(&peer, order, Reason::Limit);
                return true;
            }
        }
        false
    }

    fn candidates(&self) -> VecDeque<(Arc<Peer>, u64)> {
        let table = self.shared.table();
        let batch = BATCH.max(table.len() / 64);
        let [youth, patience] = [YOUTH, PATIENCE].map(|age| self.shared.now().saturating_sub(age));
        let (mut idle, mut waiting) = (Vec::new(), Vec::new());
        for (index, peer) in table.iter().enumerate().filter(|(_, peer)| peer.order() == Order::Serve) {
            let seen = peer.seen();
            if let Some(since) = seen.idle_since() {
                if since < youth {
                    idle.push((since, index));
                }
            } else if let Some(since) = seen.waits_since().filter(|since| *since < patience) {
                waiting.push((since, index));
            }
        }
        let mut chosen = if idle.is_empty() { waiting } else { idle };
        if chosen.len() > batch {
            chosen.select_nth_unstable(batch);
            chosen.truncate(batch);
        }
        chosen.sort_unstable();
        chosen.into_iter().map(|(since, index)| (Arc::clone(&table[index]), since)).collect()
    }

    /// Connections that are open, and those to come, finish what they have begun.
    pub(crate) fn stop(&self) {
        self.shared.is_stopping.store(true, SeqCst);
        for peer in self.shared.table().iter() {
            peer.tell(Order::Stop);
        }
    }

    /// The same, and waits until all have ended. Those that have nothing to do and stay nevertheless are cut.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        while self.count() > 0 {
            let ended = self.shared.ended.notified();
            if self.count() == 0 {
                return;
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(PAUSE) => {
                    self.shared.set_clock();
                    let now = self.shared.now();
                    self.shared.table().iter().for_each(|peer| sweep::end(peer, &peer.seen(), now, 0));
                }
            }
        }
    }
}

/// A connection in the table; it leaves the table with this value.
pub(crate) struct Open(pub(crate) Arc<Peer>);

impl Drop for Open {
    fn drop(&mut self) {
        let (peer, shared) = (&self.0, &self.0.shared);
        {
            let mut table = shared.table();
            let place = peer.place.load(Relaxed);
            table.swap_remove(place);
            if let Some(moved) = table.get(place) {
                moved.place.store(place, Relaxed);
            }
        }
        if peer.is_leaving.load(SeqCst) {
            shared.leaving.fetch_sub(1, Relaxed);
        }
        if peer.is_large.load(Relaxed) {
            shared.large.fetch_sub(1, Relaxed);
        }
        shared.open.fetch_sub(1, SeqCst);
        shared.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::limits::of_tests;
    use super::*;

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    /// Connections that came one microsecond after the other.
    fn crowd(connections: &Connections, count: usize) -> Vec<Open> {
        let open = |_| {
            connections.shared.advance(1);
            Open(connections.open(address(), Phase::New))
        };
        (0..count).map(open).collect()
    }

    #[test]
    fn the_longest_idle_one_makes_room() {
        let connections = Connections::new(of_tests());
        let mut crowd = crowd(&connections, 10);
        assert!(!connections.has_room());
        crowd[0].0.call_began(false);
        crowd[1].0.call_began(false);
        connections.shared.advance(1);
        crowd[1].0.call_ended(false);
        assert!(!connections.close_candidate(), "all have come a moment ago");
        connections.shared.advance(YOUTH + 1);
        assert!(connections.close_candidate() && connections.has_room());
        assert_eq!(crowd[2].0.order(), Order::Yield, "the first one is in a call, the second one was until now");
        drop(crowd.remove(2));
        assert_eq!((connections.count(), connections.has_room()), (9, true));
        // All that are idle, in their order, and never the one with a call.
        let mut closed = Vec::new();
        while connections.close_candidate() {
            closed.extend((0..crowd.len()).filter(|index| crowd[*index].0.order() != Order::Serve));
            closed.dedup();
        }
        let told: Vec<_> = crowd.iter().map(|open| open.0.order()).collect();
        assert_eq!(told[0], Order::Serve);
        assert_eq!(told[1], Order::Finish, "it may get a request at this moment");
        assert!(told[2..].iter().all(|order| *order == Order::Yield));
        assert_eq!(connections.closed(Reason::Limit), 9);
        drop(crowd);
        assert_eq!(connections.count(), 0);
        assert!(connections.has_room());
    }

    #[test]
    fn those_who_keep_the_server_waiting_are_next() {
        let connections = Connections::new(of_tests());
        let crowd = crowd(&connections, 3);
        for open in &crowd {
            open.0.call_began(false);
        }
        assert!(!connections.close_candidate(), "all are in calls");
        crowd[1].0.receiving(true);
        connections.shared.advance(1);
        crowd[2].0.receiving(true);
        assert!(!connections.close_candidate(), "not for long");
        connections.shared.advance(PATIENCE + 1);
        assert!(connections.close_candidate());
        let told: Vec<_> = crowd.iter().map(|open| open.0.order()).collect();
        assert_eq!(told, [Order::Serve, Order::Yield, Order::Serve]);
    }

    #[test]
    fn who_comes_while_the_server_stops_is_told() {
        let connections = Connections::new(of_tests());
        let before = Open(connections.open(address(), Phase::New));
        connections.stop();
        let after = Open(connections.open(address(), Phase::New));
        assert_eq!((before.0.order(), after.0.order()), (Order::Stop, Order::Stop));
    }
}
