//! The life of one process: a state machine. The server tells it what happened, it answers with what to do next.
//!
//! ```text
//!            started            idle, let_go            stopped
//! Starting ──────────> Started ──────────────> Stopping ───────> Stopped
//!    │ ^                  │ died                  │ call: again      │
//!    │ └──────────────────┼───────────────────────┴── call ──────────┘
//!    │ start_failed       v
//!    └────────> Failed  Killed ── call ──> Starting       retire: from everywhere, in good order, to Ended
//! ```
//!
//! It knows nothing of names: a process may have several, see [`registry`](crate::registry). A server keeps one behind a
//! lock for each process. Whoever waits for a process asks again with [`Lifecycle::call`] when the state has changed;
//! nothing counts those who wait, so that they may go away at any time.

use std::time::Duration;

use jiff::Timestamp;

use crate::record::Status;

/// The moment at which something happens, on both clocks of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the server started, on a clock that only goes forward. Deadlines are measured with it.
    pub elapsed: Duration,
    /// The time of day, for people.
    pub wall: Timestamp,
}

/// What the server has to do next. Each is answered by an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Load the module or spawn the child; then [`Lifecycle::started`] or [`Lifecycle::start_failed`].
    Start,
    /// Run `OnStop` and give everything back, or end the child; then [`Lifecycle::stopped`]. No call is running.
    Stop,
    /// It has ended for good: forget it. Comes exactly once.
    Forget,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Call now; [`Lifecycle::call_ended`] when it is over, however it ended.
    Go,
    /// The process sleeps: carry out [`Effect::Start`], then ask again.
    Start,
    /// It is being started or put to sleep by another: ask again when that is over.
    Wait,
    /// It failed to start a moment ago; there is another attempt after this time. 503 until then.
    Later(Duration),
    /// It is going away for good: look the name up again.
    Gone,
}

/// Where a started process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Running {
    /// The child's process id, or the server's own.
    pub pid: u32,
    /// The child's port; none in the server's own process.
    pub port: Option<u16>,
}

/// When things last happened; none when they never did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// It took up work.
    pub started: Option<Timestamp>,
    /// It fell asleep, died or ended.
    pub finished: Option<Timestamp>,
    /// Its start was given up.
    pub cancelled: Option<Timestamp>,
    /// Its start failed.
    pub failed: Option<Timestamp>,
    /// Its health was asked for.
    pub checked: Option<Timestamp>,
}

/// Whether and when a process may sleep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sleep {
    /// Idle for this long since the end of the last call, it is put to sleep; none for never.
    pub after: Option<Duration>,
    /// It has no state to lose (contract `fresh`): it may be put to sleep whenever memory is short.
    pub stateless: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Started,
    Stopping { again: bool },
    Stopped,
    Failed { retry_at: Duration },
    Killed,
    Ended { cancelled: bool },
}

/// The shortest wait after a failed start; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest wait after a failed start.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The life of one process.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    state: State,
    sleep: Sleep,
    /// Calls that were let in and have not ended.
    running_calls: u32,
    /// When the last call ended, or the process started.
    idle_since: Duration,
    /// Failed starts in a row.
    failures: u32,
    retiring: bool,
    ever_started: bool,
    times: Times,
    running: Running,
    reason: Option<String>,
}

impl Lifecycle {
    /// A process that is being started: the server is already carrying out [`Effect::Start`].
    pub fn starting(sleep: Sleep) -> Self {
        Self::new(State::Starting, sleep)
    }

    /// A process of an earlier run of the server, or one that has been put aside: it sleeps until it is called.
    pub fn asleep(sleep: Sleep) -> Self {
        Self::new(State::Stopped, sleep)
    }

    fn new(state: State, sleep: Sleep) -> Self {
        Self {
            state,
            sleep,
            running_calls: 0,
            idle_since: Duration::ZERO,
            failures: 0,
            retiring: false,
            ever_started: false,
            times: Times::default(),
            running: Running::default(),
            reason: None,
        }
    }

    /// Lets a call in when the process is awake; else it asks [`Lifecycle::call`].
    pub fn enter(&mut self) -> bool {
        let awake = self.state == State::Started && !self.retiring;
        self.running_calls = self.running_calls.saturating_add(u32::from(awake));
        awake
    }

    /// A call has come. Also asked by what wants a process awake without calling it: with [`Admission::Go`] it says
    /// [`Lifecycle::call_ended`] at once.
    pub fn call(&mut self, now: Now) -> Admission {
        match self.state {
            _ if self.retiring => Admission::Gone,
            State::Started => {
                self.enter();
                Admission::Go
            }
            State::Starting => Admission::Wait,
            State::Stopping { .. } => {
                self.state = State::Stopping { again: true };
                Admission::Wait
            }
            State::Failed { retry_at } if now.elapsed < retry_at => Admission::Later(retry_at - now.elapsed),
            State::Stopped | State::Killed | State::Failed { .. } => {
                self.state = State::Starting;
                Admission::Start
            }
            State::Ended { .. } => Admission::Gone,
        }
    }

    /// A call that was let in is over, at this time since the server's start.
    pub fn call_ended(&mut self, elapsed: Duration) -> Option<Effect> {
        self.running_calls = self.running_calls.saturating_sub(1);
        self.idle_since = elapsed;
        self.stop_if_retired()
    }

    /// The start has succeeded.
    pub fn started(&mut self, now: Now, running: Running) -> Option<Effect> {
        if self.state != State::Starting {
            return None;
        }
        self.state = State::Started;
        self.running = running;
        self.idle_since = now.elapsed;
        self.failures = 0;
        self.reason = None;
        self.ever_started = true;
        self.times.started = Some(now.wall);
        self.stop_if_retired()
    }

    /// The start has failed; the reason is one line without secrets.
    pub fn start_failed(&mut self, now: Now, reason: impl Into<String>) -> Option<Effect> {
        if self.state != State::Starting {
            return None;
        }
        self.times.failed = Some(now.wall);
        if self.retiring {
            return self.end(now);
        }
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(reason.into());
        self.state = State::Failed { retry_at: now.elapsed.saturating_add(wait) };
        None
    }

    /// When it is to be put to sleep if nobody calls until then. None while it must not.
    pub fn idle_at(&self) -> Option<Duration> {
        let idle = self.state == State::Started && self.running_calls == 0 && !self.retiring;
        self.sleep.after.filter(|_| idle).and_then(|after| self.idle_since.checked_add(after))
    }

    /// The time of [`Lifecycle::idle_at`] may have come; too early does nothing.
    pub fn idle(&mut self, now: Now) -> Option<Effect> {
        self.idle_at().filter(|at| now.elapsed >= *at)?;
        self.state = State::Stopping { again: false };
        Some(Effect::Stop)
    }

    /// Memory is short: puts it to sleep when no call is running and nothing is lost by it, because it is stateless or
    /// would fall asleep by itself. What has state is never let go.
    pub fn let_go(&mut self) -> Option<Effect> {
        let may = self.sleep.stateless || self.sleep.after.is_some();
        if !may || self.state != State::Started || self.running_calls > 0 || self.retiring {
            return None;
        }
        self.state = State::Stopping { again: false };
        Some(Effect::Stop)
    }

    /// [`Effect::Stop`] has been carried out.
    pub fn stopped(&mut self, now: Now) -> Option<Effect> {
        let State::Stopping { again } = self.state else { return None };
        self.times.finished = Some(now.wall);
        if self.retiring {
            return self.end(now);
        }
        if again {
            self.state = State::Starting;
            return Some(Effect::Start);
        }
        self.state = State::Stopped;
        None
    }

    /// The child has ended without being told to: in good order (it was idle) or not. The next call starts it again.
    pub fn died(&mut self, now: Now, in_good_order: bool, reason: impl Into<String>) -> Option<Effect> {
        match self.state {
            State::Starting => return self.start_failed(now, reason),
            State::Stopping { .. } => return self.stopped(now),
            State::Started => {}
            State::Stopped | State::Failed { .. } | State::Killed | State::Ended { .. } => return None,
        }
        self.times.finished = Some(now.wall);
        if self.retiring {
            return self.end(now);
        }
        if in_good_order {
            self.state = State::Stopped;
        } else {
            self.state = State::Killed;
            self.reason = Some(reason.into());
        }
        None
    }

    /// Nobody names it any more, or the server stops: it takes no further call, those that run come to their end, then
    /// it stops and is forgotten.
    pub fn retire(&mut self, now: Now) -> Option<Effect> {
        if self.retiring {
            return None;
        }
        self.retiring = true;
        match self.state {
            State::Started => self.stop_if_retired(),
            State::Starting | State::Stopping { .. } => None,
            State::Stopped | State::Failed { .. } | State::Killed | State::Ended { .. } => self.end(now),
        }
    }

    /// Its health has been asked for.
    pub fn checked(&mut self, now: Now) {
        self.times.checked = Some(now.wall);
    }

    /// How it is. While it is being put to sleep it already counts as stopped.
    pub fn status(&self) -> Status {
        match self.state {
            State::Starting => Status::Waiting,
            State::Started => Status::Started,
            State::Stopping { .. } | State::Stopped => Status::Stopped,
            State::Failed { .. } => Status::Failed,
            State::Killed => Status::Killed,
            State::Ended { cancelled: true } => Status::Cancelled,
            State::Ended { cancelled: false } => Status::Finished,
        }
    }

    /// Why it failed or died; none when it did not.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| matches!(self.status(), Status::Failed | Status::Killed))
    }

    /// When things last happened.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Where it runs, or last ran.
    pub fn running(&self) -> Running {
        self.running
    }

    /// Calls that run now.
    pub fn running_calls(&self) -> u32 {
        self.running_calls
    }

    fn stop_if_retired(&mut self) -> Option<Effect> {
        let over = self.retiring && self.state == State::Started && self.running_calls == 0;
        over.then(|| {
            self.state = State::Stopping { again: false };
            Effect::Stop
        })
    }

    fn end(&mut self, now: Now) -> Option<Effect> {
        let cancelled = self.state == State::Starting && !self.ever_started;
        if cancelled {
            self.times.cancelled = Some(now.wall);
        } else {
            self.times.finished.get_or_insert(now.wall);
        }
        self.state = State::Ended { cancelled };
        Some(Effect::Forget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEPY: Sleep = Sleep { after: Some(Duration::from_secs(1)), stateless: false };

    fn at(milliseconds: u64) -> Now {
        let elapsed = Duration::from_millis(milliseconds);
        Now { elapsed, wall: Timestamp::from_millisecond(milliseconds.try_into().unwrap()).unwrap() }
    }

    fn awake(sleep: Sleep) -> Lifecycle {
        let mut process = Lifecycle::starting(sleep);
        assert_eq!(process.started(at(0), Running { pid: 7, port: None }), None);
        process
    }

    #[test]
    fn idle_time_counts_from_the_end_of_the_last_call() {
        let mut process = awake(SLEEPY);
        assert_eq!(process.call(at(900)), Admission::Go);
        assert_eq!((process.idle_at(), process.idle(at(5_000))), (None, None));
        assert_eq!(process.call_ended(at(5_000).elapsed), None);
        assert_eq!(process.idle(at(5_999)), None);
        assert_eq!(process.idle(at(6_000)), Some(Effect::Stop));
        assert_eq!(process.status(), Status::Stopped);
        // Without the flag it never sleeps.
        assert_eq!(awake(Sleep::default()).idle(at(u32::MAX.into())), None);
    }

    #[test]
    fn a_call_on_the_way_to_sleep_starts_it_again() {
        let mut process = awake(SLEEPY);
        assert_eq!(process.idle(at(1_000)), Some(Effect::Stop));
        assert_eq!(process.call(at(1_001)), Admission::Wait);
        assert_eq!(process.stopped(at(1_002)), Some(Effect::Start));
        assert_eq!(process.call(at(1_003)), Admission::Wait);
        assert_eq!(process.started(at(1_004), Running::default()), None);
        assert_eq!(process.call(at(1_005)), Admission::Go);
    }

    #[test]
    fn one_call_wakes_for_all() {
        let mut process = Lifecycle::asleep(SLEEPY);
        assert_eq!(process.call(at(0)), Admission::Start);
        assert_eq!(process.call(at(1)), Admission::Wait);
        assert_eq!(process.status(), Status::Waiting);
    }

    #[test]
    fn failed_starts_back_off() {
        let mut process = Lifecycle::starting(SLEEPY);
        let mut now = 0;
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            assert_eq!(process.start_failed(at(now), "no"), None);
            assert_eq!(process.call(at(now)), Admission::Later(Duration::from_millis(expected)));
            now += expected;
            assert_eq!(process.call(at(now - 1)), Admission::Later(Duration::from_millis(1)));
            assert_eq!((process.status(), process.reason()), (Status::Failed, Some("no")));
            assert_eq!(process.call(at(now)), Admission::Start);
        }
        assert_eq!(process.started(at(now), Running::default()), None);
        assert_eq!(process.reason(), None);
        assert_eq!(process.died(at(now), false, "signal 9"), None);
        assert_eq!((process.status(), process.reason()), (Status::Killed, Some("signal 9")));
        assert_eq!(process.call(at(now)), Admission::Start);
        assert_eq!(process.start_failed(at(now), "no"), None);
        assert_eq!(process.call(at(now)), Admission::Later(FIRST_RETRY));
    }

    #[test]
    fn retiring_waits_for_calls_and_takes_no_more() {
        let mut process = awake(SLEEPY);
        assert_eq!(process.call(at(1)), Admission::Go);
        assert_eq!(process.call(at(1)), Admission::Go);
        assert_eq!(process.retire(at(2)), None);
        assert_eq!(process.call(at(3)), Admission::Gone);
        assert_eq!(process.call_ended(at(4).elapsed), None);
        assert_eq!(process.call_ended(at(5).elapsed), Some(Effect::Stop));
        assert_eq!(process.retire(at(5)), None);
        assert_eq!(process.stopped(at(6)), Some(Effect::Forget));
        assert_eq!((process.status(), process.times().finished), (Status::Finished, Some(at(6).wall)));
        assert_eq!(process.call(at(7)), Admission::Gone);
    }

    #[test]
    fn retiring_ends_from_every_state() {
        assert_eq!(Lifecycle::asleep(SLEEPY).retire(at(1)), Some(Effect::Forget));
        let mut process = Lifecycle::starting(SLEEPY);
        assert_eq!(process.retire(at(1)), None);
        assert_eq!(process.clone().start_failed(at(2), "no"), Some(Effect::Forget));
        assert_eq!(process.clone().died(at(2), false, "no"), Some(Effect::Forget));
        assert_eq!(process.started(at(2), Running::default()), Some(Effect::Stop));
        let mut process = awake(SLEEPY);
        assert_eq!(process.idle(at(1_000)), Some(Effect::Stop));
        assert_eq!(process.call(at(1_000)), Admission::Wait);
        assert_eq!(process.retire(at(1_001)), None);
        assert_eq!(process.stopped(at(1_002)), Some(Effect::Forget));
        let mut process = awake(SLEEPY);
        assert_eq!(process.call(at(1)), Admission::Go);
        assert_eq!(process.retire(at(1)), None);
        assert_eq!(process.died(at(2), false, "gone"), Some(Effect::Forget));
        assert_eq!(process.call_ended(at(3).elapsed), None);
    }

    #[test]
    fn a_cancelled_start_is_called_so() {
        let mut process = Lifecycle::starting(SLEEPY);
        assert_eq!(process.retire(at(1)), None);
        assert_eq!(process.start_failed(at(2), "no"), Some(Effect::Forget));
        assert_eq!((process.status(), process.times().cancelled), (Status::Cancelled, Some(at(2).wall)));
    }

    #[test]
    fn only_what_has_no_state_is_let_go() {
        assert_eq!(awake(Sleep::default()).let_go(), None);
        assert_eq!(awake(Sleep { after: None, stateless: true }).let_go(), Some(Effect::Stop));
        let mut process = awake(SLEEPY);
        assert_eq!(process.call(at(1)), Admission::Go);
        assert_eq!(process.let_go(), None);
        assert_eq!(process.call_ended(at(1).elapsed), None);
        assert_eq!(process.let_go(), Some(Effect::Stop));
    }

    #[test]
    fn a_child_that_slept_by_itself_is_no_failure() {
        let mut process = awake(SLEEPY);
        assert_eq!(process.died(at(3), true, "idle"), None);
        assert_eq!((process.status(), process.reason()), (Status::Stopped, None));
        assert_eq!(process.call(at(4)), Admission::Start);
    }
}
