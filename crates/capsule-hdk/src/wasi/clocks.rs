//! The clocks of preview 1: that of the wall, and one that begins when the instance first uses what WASI has a state for. Those of a CPU are not there.

use std::time::{Duration, Instant, SystemTime};

use super::interface::types::{Clockid, Errno, Subclockflags, SubscriptionClock, Timestamp};

/// The clocks of an instance.
pub(super) struct Clocks {
    begin: Instant,
}

/// When a clock will have come as far as the guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// It has.
    Now,
    At(tokio::time::Instant),
    /// In centuries.
    Never,
}

impl Clocks {
    /// The monotonic one begins now.
    pub(super) fn new() -> Clocks {
        Clocks { begin: Instant::now() }
    }

    pub(super) fn now(&self, id: Clockid) -> Result<Timestamp, Errno> {
        let now = match id {
            Clockid::Realtime => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            // Never 0, which guests may take for a clock that does not work.
            Clockid::Monotonic => self.begin.elapsed() + Duration::from_nanos(1),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => return Err(Errno::Badf),
        };
        Timestamp::try_from(now.as_nanos()).map_err(|_| Errno::Overflow)
    }

    /// When a subscription is due.
    pub(super) fn due(&self, clock: &SubscriptionClock) -> Result<Due, Errno> {
        let remaining = match clock.id {
            Clockid::Realtime | Clockid::Monotonic
                if clock.flags.contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME) =>
            {
                clock.timeout.saturating_sub(self.now(clock.id)?)
            }
            Clockid::Realtime | Clockid::Monotonic => clock.timeout,
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => return Err(Errno::Inval),
        };
        if remaining == 0 {
            return Ok(Due::Now);
        }
        let at = tokio::time::Instant::now().checked_add(Duration::from_nanos(remaining));
        Ok(at.map_or(Due::Never, Due::At))
    }
}

impl Due {
    /// Waits until then, and in any case lets others go first.
    pub(super) async fn wait(self) {
        match self {
            Due::Now => tokio::task::yield_now().await,
            Due::At(time) => tokio::time::sleep_until(time).await,
            Due::Never => std::future::pending().await,
        }
    }
}

/// The nanoseconds between two times that the clock can tell.
pub(super) fn resolution(id: Clockid) -> Result<Timestamp, Errno> {
    match id {
        Clockid::Realtime => Ok(system::resolution(system::REALTIME)),
        Clockid::Monotonic => Ok(system::resolution(system::MONOTONIC)),
        Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => Err(Errno::Badf),
    }
}

#[cfg(unix)]
mod system {
    use rustix::time::{ClockId, clock_getres};

    pub(super) const REALTIME: ClockId = ClockId::Realtime;
    pub(super) const MONOTONIC: ClockId = ClockId::Monotonic;

    pub(super) fn resolution(clock: ClockId) -> u64 {
        let time = clock_getres(clock);
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        let (seconds, nanoseconds) = (seconds.unwrap_or(0), nanoseconds.unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
    }
}

#[cfg(not(unix))]
mod system {
    // A cautious guess: the timer of the system, and its counter.
    pub(super) const REALTIME: u64 = 55_000_000;
    pub(super) const MONOTONIC: u64 = 100;

    pub(super) fn resolution(clock: u64) -> u64 {
        clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_is_never_at_0() {
        let clocks = Clocks { begin: Instant::now() + Duration::from_secs(3600) };
        assert_eq!(clocks.now(Clockid::Monotonic).unwrap(), 1);
    }

    fn subscription(id: Clockid, timeout: Timestamp, absolute: bool) -> SubscriptionClock {
        let mut flags = Subclockflags::empty();
        flags.set(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME, absolute);
        SubscriptionClock { id, timeout, precision: 0, flags }
    }

    /// About how long until then.
    fn seconds(due: Due) -> u64 {
        match due {
            Due::Now => 0,
            Due::At(time) => (time - tokio::time::Instant::now() + Duration::from_secs(1)).as_secs(),
            Due::Never => u64::MAX,
        }
    }

    #[test]
    fn relative_and_absolute_times() {
        const HOUR: Timestamp = 3_600_000_000_000;
        let clocks = Clocks::new();
        for id in [Clockid::Realtime, Clockid::Monotonic] {
            let due = |timeout, absolute| clocks.due(&subscription(id, timeout, absolute)).unwrap();
            let now = clocks.now(id).unwrap();
            assert_eq!(due(0, false), Due::Now);
            assert_eq!(due(0, true), Due::Now);
            assert_eq!(due(now, true), Due::Now);
            for found in [due(HOUR, false), due(now + HOUR, true)] {
                assert!((3500..=3601).contains(&seconds(found)), "{found:?}");
            }
            assert!(due(u64::MAX, false) > due(HOUR, false));
            assert!(due(u64::MAX, true) > due(HOUR, true));
        }
    }

    #[test]
    fn clocks_of_a_cpu_are_not_there() {
        let clocks = Clocks::new();
        for id in [Clockid::ProcessCputimeId, Clockid::ThreadCputimeId] {
            assert_eq!(clocks.now(id), Err(Errno::Badf));
            assert_eq!(resolution(id), Err(Errno::Badf));
            for absolute in [false, true] {
                assert_eq!(clocks.due(&subscription(id, 0, absolute)), Err(Errno::Inval));
            }
        }
    }
}
