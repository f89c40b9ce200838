//! The look at all connections, once a second or more often: it makes time pass, and closes those whose time is over.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::limits::ConnectionLimits;
use super::peer::{Order, Peer, Phase, Seen};
use super::{LAST_WORDS, PATIENCE, Reason, Shared, is_over};

/// The pause between two looks, unless a limit is so short that it needs more of them.
const TICK: Duration = Duration::from_secs(1);
const SHORTEST_TICK: Duration = Duration::from_millis(10);
/// The pause between two looks for those who make the server hold much.
const RELIEF: Duration = Duration::from_millis(100);
/// The pause between two lines in the log about the same reason.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// Bytes that the buffers of a connection may have when they have grown.
const LARGE_CONNECTION: usize = 128 << 10;

/// Looks for as long as there are others who know the connections.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut log = Log::default();
    while let Some(shared) = shared.upgrade() {
        tokio::select! {
            () = tokio::time::sleep(shared.tick) => {}
            () = shared.overrun.notified() => tokio::time::sleep(RELIEF.min(shared.tick)).await,
        }
        shared.set_clock();
        look(&shared);
        relieve(&shared);
        log.write(&shared);
    }
}

/// The shortest limit in four pieces, so that it is kept to within a half.
pub(super) fn tick(limits: &ConnectionLimits) -> Duration {
    let limits = [limits.header, limits.body, limits.write, limits.idle];
    let shortest = limits.into_iter().flatten().min().unwrap_or(Duration::MAX);
    (shortest / 4).clamp(SHORTEST_TICK, TICK)
}

/// Closes all connections whose time is over, and has those look for their clients that would not notice their end.
fn look(shared: &Shared) {
    let (now, grace) = (shared.now(), shared.grace());
    for peer in shared.table().iter() {
        peer.look_for_client();
        let seen = peer.seen();
        let judged = match peer.order() {
            Order::Serve => judge(&shared.limits, &seen, now, grace),
            _ if is_stuck(&shared.limits, &seen, now, grace) => Some((Order::Cut, Reason::Write)),
            _ => None,
        };
        match judged {
            Some((order, reason)) => drop(shared.close(peer, order, reason)),
            None => end(peer, &seen, now, grace),
        }
    }
}

/// Cuts a connection that has nothing to do, and does not end though it was told to.
pub(super) fn end(peer: &Peer, seen: &Seen, now: u64, grace: u64) {
    let (order, at) = peer.told();
    if order != Order::Serve && seen.idle_since().is_some() && now.saturating_sub(at) >= LAST_WORDS + grace {
        peer.tell(Order::Cut);
    }
}

/// What becomes of a connection, and why; `None` when it goes on.
fn judge(limits: &ConnectionLimits, seen: &Seen, now: u64, grace: u64) -> Option<(Order, Reason)> {
    if is_stuck(limits, seen, now, grace) {
        return Some((Order::Cut, Reason::Write));
    }
    let since = seen.idle_since()?;
    let is_over = |limit: Option<Duration>| limit.is_some_and(|limit| is_over(since, limit, now, grace));
    match seen.phase {
        Phase::Handshake if is_over(limits.header) => Some((Order::Cut, Reason::Header)),
        Phase::New | Phase::Head if is_over(limits.header) => Some((Order::TimeOut, Reason::Header)),
        Phase::Idle if is_over(limits.idle) => Some((Order::Finish, Reason::Idle)),
        _ => None,
    }
}

/// The client does not read, or too slowly.
fn is_stuck(limits: &ConnectionLimits, seen: &Seen, now: u64, grace: u64) -> bool {
    let Some(limit) = limits.write else { return false };
    let stalls = seen.stalled_since > 0
        && (is_over(seen.progress_at, limit, now, grace)
            || is_over(seen.stalled_since, limits.time_for(limit, seen.progress), now, grace));
    // Over HTTP/2 the socket may be well, and the client still takes nothing. Calls that run have something to send yet.
    let is_refused = seen.unsent > 0 && seen.waits_since().is_some() && is_over(seen.sent_at, limit, now, grace);
    stalls || is_refused
}

/// When more would be held than may be: closes connections whose clients are waited for, the longest first, until there is
/// some room again; and idle ones whose buffers are a part of what is held.
fn relieve(shared: &Shared) {
    let limit = shared.limits.buffered;
    let is_overrun = shared.is_overrun.swap(false, Relaxed);
    let large = shared.large.load(Relaxed).saturating_mul(LARGE_CONNECTION);
    let mut held = shared.held.load(Relaxed);
    if !is_overrun && held.saturating_add(large) <= limit {
        return;
    }
    let table = shared.table();
    let serving = || table.iter().filter(|peer| peer.order() == Order::Serve);
    if is_overrun {
        let patience = shared.now().saturating_sub(PATIENCE);
        let waiting = serving().filter(|peer| peer.held.load(Relaxed) > 0);
        let waiting = waiting.filter_map(|peer| Some((peer.seen().waits_since()?, peer)));
        let mut waiting: Vec<(u64, &Arc<Peer>)> = waiting.filter(|(since, _)| *since < patience).collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        for (_, peer) in waiting {
            if held <= limit - limit / 4 {
                break;
            }
            held = held.saturating_sub(peer.held.load(Relaxed));
            shared.close(peer, Order::Yield, Reason::Buffer);
        }
    }
    let mut surplus = held.saturating_add(large).saturating_sub(limit);
    let idle = serving().filter(|peer| peer.is_large.load(Relaxed));
    let mut idle: Vec<(u64, &Arc<Peer>)> = idle.filter_map(|peer| Some((peer.seen().idle_since()?, peer))).collect();
    idle.sort_unstable_by_key(|(since, _)| *since);
    for (_, peer) in idle {
        if surplus == 0 {
            break;
        }
        shared.close(peer, Order::Finish, Reason::Buffer);
        surplus = surplus.saturating_sub(LARGE_CONNECTION);
    }
}

/// What has been told about connections that were closed.
#[derive(Default)]
struct Log {
    told: [u64; Reason::ALL.len()],
    last: [Option<Instant>; Reason::ALL.len()],
}

impl Log {
    fn write(&mut self, shared: &Shared) {
        for (reason, _) in Reason::ALL {
            let (told, last) = (&mut self.told[reason as usize], &mut self.last[reason as usize]);
            let closed = shared.closed[reason as usize].load(Relaxed);
            if closed == *told || last.is_some_and(|last| last.elapsed() < COMPLAINTS) {
                continue;
            }
            *last = Some(Instant::now());
            let count = closed - std::mem::replace(told, closed);
            complain(reason, count, &shared.limits);
        }
    }
}

fn complain(reason: Reason, count: u64, limits: &ConnectionLimits) {
    let seconds = |limit: Option<Duration>| limit.unwrap_or_default();
    match reason {
        Reason::Header => tracing::warn!(
            "connections closed: {count}, whose clients did not send a head within {:?} (flag `--headerTimeout`)",
            seconds(limits.header)
        ),
        Reason::Body => tracing::warn!(
            "connections closed: {count}, whose clients did not send a body within {:?} (flags `--bodyTimeout`, `--minRate`)",
            seconds(limits.body)
        ),
        Reason::Idle => tracing::debug!(
            "connections closed: {count}, without a request for {:?} (flag `--idleTimeout`)",
            seconds(limits.idle)
        ),
        Reason::Write => tracing::warn!(
            "connections closed: {count}, whose clients did not read answers within {:?} (flags `--writeTimeout`, \
             `--minRate`)",
            seconds(limits.write)
        ),
        Reason::Limit => tracing::warn!(
            "connections closed for new ones: {count}, since at most {} may be open (flag `--maxConnections`)",
            limits.count
        ),
        Reason::Buffer => tracing::warn!(
            "connections closed: {count}, since at most {} bytes may be held for all of them (flag `--maxBuffered`)",
            limits.buffered
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::of_tests;
    use super::super::{Connections, Open};
    use super::*;

    const NEW: Seen = Seen {
        phase: Phase::New,
        since: 1_000_000,
        calls: 0,
        answered: 0,
        receiving: 0,
        receiving_since: 0,
        unsent: 0,
        unsent_since: 0,
        sent_at: 0,
        stalled_since: 0,
        progress_at: 0,
        progress: 0,
    };

    /// The milliseconds after the first second at which a connection is not served any more, and what becomes of it.
    #[track_caller]
    fn check(seen: Seen, end: Option<(u64, Order, Reason)>) {
        const GRACE: u64 = 100_000;
        let limits = of_tests();
        let Some((end, order, reason)) = end else {
            return assert_eq!(judge(&limits, &seen, 1_000_000_000, GRACE), None, "{seen:?}");
        };
        let over = (1000 + end) * 1000 + GRACE;
        assert_eq!(judge(&limits, &seen, over - 1, GRACE), None, "{seen:?}");
        assert_eq!(judge(&limits, &seen, over, GRACE), Some((order, reason)), "{seen:?}");
    }

    #[test]
    fn every_phase_has_its_time() {
        check(Seen { phase: Phase::Handshake, ..NEW }, Some((10_000, Order::Cut, Reason::Header)));
        check(NEW, Some((10_000, Order::TimeOut, Reason::Header)));
        check(Seen { phase: Phase::Head, ..NEW }, Some((10_000, Order::TimeOut, Reason::Header)));
        check(Seen { phase: Phase::Idle, ..NEW }, Some((60_000, Order::Finish, Reason::Idle)));
        // The time of a call is not the connection's concern, nor is that of a body.
        check(Seen { calls: 1, phase: Phase::Idle, ..NEW }, None);
        check(Seen { calls: 1, receiving: 1, receiving_since: NEW.since, ..NEW }, None);
    }

    #[test]
    fn answers_that_are_not_read_end_it() {
        let stalled = Seen { phase: Phase::Idle, stalled_since: NEW.since, progress_at: NEW.since, ..NEW };
        let cut = |time| Some((time, Order::Cut, Reason::Write));
        check(stalled, cut(30_000));
        check(Seen { calls: 1, ..stalled }, cut(30_000));
        // 5,000 bytes buy five seconds; who goes on reading more slowly than that is cut.
        check(Seen { progress_at: 35_000_000, progress: 5000, ..stalled }, cut(35_000));
        check(Seen { progress_at: 20_000_000, progress: 1 << 20, ..stalled }, cut(49_000));
        let unsent = Seen { calls: 2, answered: 2, unsent: 2, unsent_since: 500_000, sent_at: NEW.since, ..NEW };
        check(unsent, cut(30_000));
        check(Seen { calls: 3, ..unsent }, None);
    }

    #[test]
    fn a_limit_that_is_off_ends_nothing() {
        let off = ConnectionLimits { header: None, body: None, idle: None, write: None, ..of_tests() };
        let stalled = Seen { phase: Phase::Idle, stalled_since: 1, progress_at: 1, ..NEW };
        for seen in [NEW, Seen { phase: Phase::Idle, ..NEW }, Seen { phase: Phase::Handshake, ..NEW }, stalled] {
            assert_eq!(judge(&off, &seen, u64::MAX, 100), None);
        }
        assert_eq!(tick(&off), TICK);
        assert_eq!(tick(&of_tests()), TICK);
        let short = ConnectionLimits { idle: Some(Duration::from_millis(200)), ..of_tests() };
        assert_eq!(tick(&short), Duration::from_millis(50));
    }

    #[test]
    fn the_ones_that_were_waited_for_longest_give_room() {
        let connections = Connections::new(of_tests());
        let open = |port| Open(connections.open(([127, 0, 0, 1], port).into(), Phase::New));
        let crowd: Vec<Open> = (0..4).map(open).collect();
        let limit = of_tests().buffered;
        let mut holds: Vec<_> = crowd.iter().map(|open| open.0.hold()).collect();
        for (open, hold) in crowd.iter().zip(&mut holds) {
            open.0.call_began(false);
            assert!(hold.grow(limit / 4));
            connections.shared.advance(1);
            open.0.receiving(true);
        }
        // The oldest one has all of its body: its call runs.
        crowd[0].0.receiving(false);
        assert!(!holds[3].grow(1));
        let told = || -> Vec<_> { crowd.iter().map(|open| open.0.order()).collect() };
        relieve(&connections.shared);
        assert_eq!(told(), [Order::Serve; 4], "nobody was waited for long");
        connections.shared.advance(PATIENCE + 10);
        relieve(&connections.shared);
        assert_eq!(told(), [Order::Serve; 4], "and nobody has asked for more since");
        assert!(!holds[3].grow(1));
        relieve(&connections.shared);
        assert_eq!(told(), [Order::Serve, Order::Yield, Order::Serve, Order::Serve]);
    }

    #[test]
    fn buffers_of_idle_connections_count() {
        let connections = Connections::new(of_tests());
        let open = |port| Open(connections.open(([127, 0, 0, 1], port).into(), Phase::Idle));
        // The limit has room for eight of them.
        let crowd: Vec<Open> = (0..10).map(open).collect();
        for open in &crowd {
            connections.shared.advance(1);
            open.0.enter(Phase::Idle);
            open.0.is_large();
        }
        crowd[0].0.call_began(false);
        relieve(&connections.shared);
        let closed: Vec<_> = (0..10).filter(|index| crowd[*index].0.order() == Order::Finish).collect();
        assert_eq!(closed, [1, 2]);
    }
}
