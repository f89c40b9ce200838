//! One connection, as those see it who do not serve it: what it does, since when, and what it has been told to do.
//!
//! A request costs a few stores here, without a lock and without a look at the clock of the system. What follows is
//! counted where a client is slow, where an answer is large, and for HTTP/2.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use super::limits::ConnectionLimits;
use super::{Reason, Shared};

/// What a connection does between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It agrees on keys.
    Handshake,
    /// It has not said anything, or not all of its first head.
    New,
    /// It is in the middle of a later head.
    Head,
    /// It has nothing to do.
    Idle,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Handshake, Phase::New, Phase::Head, Phase::Idle];
}

/// What a connection is told. A later one wins over the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Nothing.
    Serve,
    /// Take no new request, answer those that are there.
    Finish,
    /// The same, and read what the client has sent already: the server stops.
    Stop,
    /// End at once, unless a call runs: then finish.
    Yield,
    /// The head of a request did not come: say so and end.
    TimeOut,
    /// End at once.
    Cut,
}

impl Order {
    const ALL: [Order; 6] = [Order::Serve, Order::Finish, Order::Stop, Order::Yield, Order::TimeOut, Order::Cut];
}

/// One connection. Times are microseconds of the shared clock, 0 for never.
pub(crate) struct Peer {
    address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    /// Where it stands in the table; changed under the lock of the table alone.
    pub(super) place: AtomicUsize,
    /// When the phase began, and the phase in the lowest two bits.
    state: AtomicU64,
    /// Requests whose answers are not complete.
    calls: AtomicU32,
    /// Those of them whose answer is made, and waits for the client.
    answered: AtomicU32,
    /// Those of them whose body is not here yet.
    receiving: AtomicU32,
    receiving_since: AtomicU64,
    /// Pieces of answers that HTTP/2 has and has not sent yet.
    unsent: AtomicU32,
    unsent_since: AtomicU64,
    /// When the last such piece went.
    sent_at: AtomicU64,
    /// Since when the socket takes less than there is.
    stalled_since: AtomicU64,
    /// When it took something last, and how much since then.
    progress_at: AtomicU64,
    progress: AtomicU64,
    /// Bytes that are held because of it.
    pub(super) held: AtomicUsize,
    /// Its buffers have grown.
    pub(super) is_large: AtomicBool,
    is_http2: AtomicBool,
    /// What it waits for is to end when its client goes away.
    ends_with_client: AtomicBool,
    /// Nobody would notice that its client goes away.
    is_hidden: AtomicBool,
    order: AtomicU8,
    ordered_at: AtomicU64,
    /// It was closed for another one, and has not ended yet.
    pub(super) is_leaving: AtomicBool,
    waker: OnceLock<Waker>,
}

/// A moment of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) phase: Phase,
    pub(super) since: u64,
    pub(super) calls: u32,
    pub(super) answered: u32,
    pub(super) receiving: u32,
    pub(super) receiving_since: u64,
    pub(super) unsent: u32,
    pub(super) unsent_since: u64,
    pub(super) sent_at: u64,
    pub(super) stalled_since: u64,
    pub(super) progress_at: u64,
    pub(super) progress: u64,
}

impl Seen {
    /// Since when nothing is going on, when nothing is.
    pub(super) fn idle_since(&self) -> Option<u64> {
        (self.calls == 0 && self.unsent == 0 && self.stalled_since == 0).then_some(self.since)
    }

    /// Since when nobody but the client could go on: it does not send its body, or does not read its answer.
    pub(super) fn waits_since(&self) -> Option<u64> {
        if self.calls > self.answered + self.receiving {
            return None;
        }
        let reasons = [
            (self.receiving > 0, self.receiving_since),
            (self.unsent > 0, self.unsent_since),
            (self.stalled_since > 0, self.stalled_since),
        ];
        reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, since)| since).min()
    }
}

impl Peer {
    pub(super) fn new(address: SocketAddr, phase: Phase, shared: Arc<Shared>) -> Peer {
        let now = shared.now();
        Peer {
            address,
            shared,
            place: AtomicUsize::new(0),
            state: AtomicU64::new(state(phase, now)),
            calls: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            receiving: AtomicU32::new(0),
            receiving_since: AtomicU64::new(0),
            unsent: AtomicU32::new(0),
            unsent_since: AtomicU64::new(0),
            sent_at: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            progress_at: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            is_large: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            ends_with_client: AtomicBool::new(false),
            is_hidden: AtomicBool::new(false),
            order: AtomicU8::new(Order::Serve as u8),
            ordered_at: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            waker: OnceLock::new(),
        }
    }

    /// The client's address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Address and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request came in; `many` may at the same time, as with HTTP/2.
    pub(crate) fn call_began(&self, many: bool) {
        if many {
            self.calls.fetch_add(1, Relaxed);
        } else {
            self.calls.store(1, Relaxed);
        }
    }

    /// Its answer is complete, or will never be.
    pub(crate) fn call_ended(&self, many: bool) {
        if many {
            if self.calls.fetch_sub(1, Relaxed) > 1 {
                return;
            }
        } else {
            self.calls.store(0, Relaxed);
            self.ends_with_client.store(false, Relaxed);
        }
        self.enter(Phase::Idle);
    }

    /// From now on, the connection ends when the client goes away, or not any more: while an answer is made that nobody else waits
    /// for. One that is made is sent to its end. Over HTTP/2 each ends as soon as its stream does, whatever is said here.
    pub(crate) fn end_with_client(&self, ends: bool) {
        self.ends_with_client.store(ends, Relaxed);
    }

    /// Whether to look for the end of the client while an answer is made.
    pub(crate) fn ends_with_client(&self) -> bool {
        self.ends_with_client.load(Relaxed)
    }

    /// The end of the client would not be noticed, or would again: the sweep sees to it that somebody looks.
    pub(crate) fn client_is_hidden(&self, is_hidden: bool) {
        self.is_hidden.store(is_hidden, Relaxed);
    }

    /// Has its task look for the end of the client, where that would not be noticed.
    pub(super) fn look_for_client(&self) {
        if self.is_hidden.load(Relaxed)
            && self.ends_with_client()
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    /// Requests whose answers are not complete.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// True when a call runs: what it waits for is not the client. Only the connection's own task begins calls.
    pub(crate) fn is_in_call(&self) -> bool {
        let seen = self.seen();
        seen.calls > seen.answered + seen.receiving
    }

    /// True when nothing is going on.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.seen().idle_since().is_some()
    }

    /// A new phase begins.
    pub(crate) fn enter(&self, phase: Phase) {
        self.state.store(state(phase, self.shared.now()), Relaxed);
    }

    /// Bytes came in: the first ones after a pause begin a head. Does nothing in the midst of a request.
    pub(crate) fn bytes_came(&self) {
        if self.phase() == Phase::Idle && !self.is_http2() {
            self.enter(Phase::Head);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[(self.state.load(Relaxed) & 3) as usize]
    }

    /// It speaks HTTP/2. What its client sends between requests is no sign that it needs the connection.
    pub(crate) fn speaks_http2(&self) {
        self.is_http2.store(true, Relaxed);
        self.enter(Phase::Idle);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    /// An answer is made that the client may take slowly; `false` when it is gone.
    pub(crate) fn answer_waits(&self, waits: bool) {
        count(&self.answered, waits);
    }

    /// The body of a request does not come at once; `false` when it is here or given up.
    pub(crate) fn receiving(&self, waits: bool) {
        if count(&self.receiving, waits) == 0 && waits {
            self.receiving_since.store(self.shared.now(), Relaxed);
        }
    }

    /// A piece of an answer was handed to HTTP/2.
    pub(crate) fn handed(&self) {
        let now = self.shared.now();
        if count(&self.unsent, true) == 0 {
            self.unsent_since.store(now, Relaxed);
            self.sent_at.store(now, Relaxed);
        }
    }

    /// Such a piece is gone. With the last one idle time begins, if there is nothing else to do.
    pub(crate) fn taken(&self) {
        self.sent_at.store(self.shared.now(), Relaxed);
        if count(&self.unsent, false) == 1 && self.calls() == 0 {
            self.enter(Phase::Idle);
        }
    }

    /// The socket took less than there was.
    pub(crate) fn stalled(&self) {
        let now = self.shared.now();
        self.progress.store(0, Relaxed);
        self.progress_at.store(now, Relaxed);
        self.stalled_since.store(now, Relaxed);
    }

    /// A socket that stalled took some bytes.
    pub(crate) fn progressed(&self, bytes: usize) {
        // Only the connection's own task writes it.
        self.progress.store(self.progress.load(Relaxed).saturating_add(bytes as u64), Relaxed);
        self.progress_at.store(self.shared.now(), Relaxed);
    }

    /// A socket that stalled took all there was. Idle time begins now, if there is nothing else to do.
    pub(crate) fn caught_up(&self) {
        self.stalled_since.store(0, Relaxed);
        let phase = self.phase();
        if phase == Phase::Idle {
            self.enter(phase);
        }
    }

    /// Its buffers have grown, and stay so.
    pub(crate) fn is_large(&self) {
        if !self.is_large.swap(true, Relaxed) {
            self.shared.large.fetch_add(1, Relaxed);
        }
    }

    /// What all connections may do.
    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    /// The time, in microseconds, as exact as limits of connections need it.
    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    /// How often the clock is set.
    pub(crate) fn tick(&self) -> Duration {
        self.shared.tick
    }

    /// True when a time that began at `since` is over.
    pub(crate) fn is_over(&self, since: u64, limit: Duration) -> bool {
        self.shared.is_over(since, limit)
    }

    /// Counts why it is closed, where not the sweep closes it.
    pub(crate) fn closed(&self, reason: Reason) {
        self.shared.count(reason);
    }

    /// What it does now.
    pub(super) fn seen(&self) -> Seen {
        let state = self.state.load(Relaxed);
        Seen {
            phase: Phase::ALL[(state & 3) as usize],
            since: state >> 2,
            calls: self.calls.load(Relaxed),
            answered: self.answered.load(Relaxed),
            receiving: self.receiving.load(Relaxed),
            receiving_since: self.receiving_since.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
            unsent_since: self.unsent_since.load(Relaxed),
            sent_at: self.sent_at.load(Relaxed),
            stalled_since: self.stalled_since.load(Relaxed),
            progress_at: self.progress_at.load(Relaxed),
            progress: self.progress.load(Relaxed),
        }
    }

    /// Tells the connection what to do. Nothing happens when it was told that, or more, before.
    pub(crate) fn tell(&self, order: Order) -> bool {
        if self.order.fetch_max(order as u8, Release) >= order as u8 {
            return false;
        }
        self.ordered_at.store(self.shared.now(), Relaxed);
        // Either this sees the waker, or `attend` sees the order.
        fence(SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
        true
    }

    /// What it was told, and when.
    pub(super) fn told(&self) -> (Order, u64) {
        (self.order(), self.ordered_at.load(Relaxed))
    }

    /// What it was told.
    pub(crate) fn order(&self) -> Order {
        Order::ALL[usize::from(self.order.load(Acquire)).min(Order::ALL.len() - 1)]
    }

    /// The task of the connection says where it can be woken; the same place for all of its life.
    pub(crate) fn attend(&self, context: &Context<'_>) {
        if self.waker.get().is_none() {
            let _ = self.waker.set(context.waker().clone());
            fence(SeqCst);
        }
    }
}

fn state(phase: Phase, now: u64) -> u64 {
    now << 2 | phase as u64
}

/// Counts up or down; answers what it was before.
fn count(counter: &AtomicU32, up: bool) -> u32 {
    if up { counter.fetch_add(1, Relaxed) } else { counter.fetch_sub(1, Relaxed) }
}

#[cfg(test)]
mod tests {
    use super::super::Connections;
    use super::super::limits::of_tests;
    use super::*;

    fn peer() -> (Connections, Arc<Peer>) {
        let connections = Connections::new(of_tests());
        let peer = connections.open(([127, 0, 0, 1], 1).into(), Phase::New);
        (connections, peer)
    }

    #[test]
    fn a_request_of_http_1() {
        let (connections, peer) = peer();
        let began = peer.seen().since;
        assert_eq!((peer.phase(), peer.seen().idle_since()), (Phase::New, Some(began)));
        peer.bytes_came();
        assert_eq!(peer.phase(), Phase::New, "the time of the first head is that of the connection");
        peer.call_began(false);
        assert_eq!((peer.calls(), peer.seen().idle_since()), (1, None));
        connections.shared.advance(1000);
        peer.call_ended(false);
        assert_eq!((peer.phase(), peer.seen().since), (Phase::Idle, began + 1000));
        connections.shared.advance(10);
        peer.bytes_came();
        assert_eq!((peer.phase(), peer.seen().since), (Phase::Head, began + 1010));
        connections.shared.advance(10);
        peer.bytes_came();
        assert_eq!(peer.seen().since, began + 1010, "a head that drips gets no more time");
    }

    #[test]
    fn many_requests_of_http_2() {
        let (_connections, peer) = peer();
        peer.speaks_http2();
        assert_eq!(peer.phase(), Phase::Idle);
        peer.bytes_came();
        assert_eq!(peer.phase(), Phase::Idle, "pings do not keep a connection");
        peer.call_began(true);
        peer.call_began(true);
        peer.call_ended(true);
        assert_eq!(peer.seen().idle_since(), None);
        peer.call_ended(true);
        assert!(peer.seen().idle_since().is_some());
    }

    #[test]
    fn only_the_client_is_waited_for() {
        let (connections, peer) = peer();
        let now = || connections.shared.now();
        peer.call_began(true);
        assert_eq!(peer.seen().waits_since(), None, "a call runs");
        assert!(peer.is_in_call());
        let first = now();
        peer.receiving(true);
        assert!(!peer.is_in_call());
        assert_eq!(peer.seen().waits_since(), Some(first));
        peer.call_began(true);
        assert_eq!(peer.seen().waits_since(), None, "another one runs");
        connections.shared.advance(5);
        peer.answer_waits(true);
        peer.handed();
        assert_eq!(peer.seen().waits_since(), Some(first));
        peer.receiving(false);
        assert_eq!(peer.seen().waits_since(), None, "its body is here: it runs");
        peer.call_ended(true);
        assert_eq!(peer.seen().waits_since(), Some(now()));
        peer.taken();
        peer.answer_waits(false);
        peer.call_ended(true);
        assert_eq!((peer.seen().waits_since(), peer.seen().calls), (None, 0));
        peer.stalled();
        assert_eq!((peer.seen().waits_since(), peer.seen().idle_since()), (Some(now()), None));
        connections.shared.advance(5);
        peer.caught_up();
        assert_eq!(peer.seen().waits_since(), None);
    }

    #[test]
    fn later_orders_win() {
        let (_connections, peer) = peer();
        assert!(peer.tell(Order::Stop));
        assert!(!peer.tell(Order::Finish) && !peer.tell(Order::Stop));
        assert!(peer.tell(Order::Yield));
        assert!(peer.tell(Order::Cut));
        assert_eq!(peer.order(), Order::Cut);
    }
}
