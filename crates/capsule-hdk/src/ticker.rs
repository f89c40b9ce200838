//! The epoch ticker: one thread that interrupts guests while calls run, and sleeps otherwise.
//!
//! A tick costs more than it looks: in a virtual machine setting the timer and being woken takes 20 to 50 us of the core, which a
//! guest that needs microseconds pays for nothing. So ticks are [`COARSE`] apart until one of them finds a guest that runs; then
//! they are [`FINE`] apart, to see whether it goes on, and as long as guests do.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// The length of a slice where guests run long, and then the precision of a call's time limit.
const FINE: Duration = Duration::from_millis(1);
/// From one tick to the next where no guest was seen to run long: what the first slice may last.
const COARSE: Duration = Duration::from_millis(5);
/// Fine ticks after one that found a guest running: it may end soon.
const AFTER_CONTINUE: u32 = 1;
/// Fine ticks after one at which a guest had to yield: where guests compute, others should not wait long for them.
const AFTER_YIELD: u32 = 50;
/// Coarse ticks without a running call after which the thread goes to sleep: going to sleep and waking costs more than a few
/// idle ticks.
const IDLE_TICKS: u32 = 10;

/// Counts running calls and ticks while there are any.
pub(crate) struct Ticker {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    active: AtomicUsize,
    asleep: AtomicBool,
    /// Fine ticks that interrupted guests ask for, since the thread looked last.
    wanted: AtomicU32,
    ended: AtomicBool,
    thread: OnceLock<Thread>,
}

impl State {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A running call, as far as the ticker is concerned.
pub(crate) struct Active<'a>(&'a State);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What guests tell the ticker when it interrupts them. Cheap to clone, and does not keep the thread.
#[derive(Clone)]
pub(crate) struct Pace(Arc<State>);

impl Pace {
    /// A guest was found running and goes on.
    pub(crate) fn continued(&self) {
        self.want(AFTER_CONTINUE);
    }

    /// A guest had to yield.
    pub(crate) fn yielded(&self) {
        self.want(AFTER_YIELD);
    }

    fn want(&self, ticks: u32) {
        if self.0.wanted.fetch_max(ticks, Ordering::Relaxed) == 0 {
            self.0.wake();
        }
    }
}

impl Ticker {
    /// Starts the thread; it ends when the ticker is dropped.
    pub(crate) fn start(engines: Vec<wasmtime::Engine>) -> std::io::Result<Ticker> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("capsule-ticker".into())
            .spawn(move || tick_for_ever(&shared, &engines))?;
        state.thread.get_or_init(|| thread.thread().clone());
        Ok(Ticker { state })
    }

    /// Keeps the ticker ticking until the answer is dropped.
    pub(crate) fn activate(&self) -> Active<'_> {
        // Sequentially consistent with the ticker's own look before it sleeps: one of the two sees the other.
        self.state.active.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.state.wake();
        }
        Active(&self.state)
    }

    /// Where guests say what they were doing at a tick.
    pub(crate) fn pace(&self) -> Pace {
        Pace(Arc::clone(&self.state))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.state.wake();
    }
}

/// When the next tick is due, and what the last ones found.
#[derive(Default)]
struct Rhythm {
    /// Fine ticks to come.
    fine: u32,
    /// Ticks since a call ran.
    idle: u32,
}

/// What the thread does when it was woken.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Wait,
    Sleep,
}

impl Rhythm {
    /// After a pause, with the fine ticks that guests have asked for meanwhile.
    fn step(&mut self, wanted: u32, is_active: bool) -> Step {
        if self.fine == 0 && wanted > 0 {
            // Woken by a guest that the last tick found: the next one is due a fine tick after that.
            self.fine = wanted;
            return Step::Wait;
        }
        self.fine = self.fine.saturating_sub(1).max(wanted);
        if is_active {
            self.idle = 0;
            return Step::Tick;
        }
        self.idle += 1;
        if self.fine > 0 || self.idle < IDLE_TICKS {
            return Step::Wait;
        }
        self.idle = 0;
        Step::Sleep
    }
}

fn tick_for_ever(state: &State, engines: &[wasmtime::Engine]) {
    let mut rhythm = Rhythm::default();
    while !state.ended.load(Ordering::Acquire) {
        pause(state, rhythm.fine > 0);
        match rhythm.step(state.wanted.swap(0, Ordering::Relaxed), state.active.load(Ordering::Relaxed) > 0) {
            Step::Wait => {}
            Step::Tick => engines.iter().for_each(wasmtime::Engine::increment_epoch),
            Step::Sleep => {
                state.asleep.store(true, Ordering::SeqCst);
                if state.active.load(Ordering::SeqCst) == 0 && !state.ended.load(Ordering::Acquire) {
                    std::thread::park();
                }
                state.asleep.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// Until the next tick is due, or a guest asks for a fine one.
fn pause(state: &State, is_fine: bool) {
    if is_fine {
        std::thread::sleep(FINE);
        return;
    }
    // Guests have woken the thread while it slept for fine ticks as well: that would end this pause, with two ticks at once.
    std::thread::park_timeout(Duration::ZERO);
    if state.wanted.load(Ordering::Relaxed) == 0 {
        std::thread::park_timeout(COARSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_coarse_while_none_finds_a_guest() {
        let mut rhythm = Rhythm::default();
        for _ in 0..100 {
            assert_eq!(rhythm.step(0, true), Step::Tick);
            assert_eq!(rhythm.fine, 0);
        }
    }

    #[test]
    fn a_guest_that_was_found_is_looked_at_again_after_a_fine_tick() {
        let mut rhythm = Rhythm::default();
        assert_eq!(rhythm.step(0, true), Step::Tick);
        assert_eq!(rhythm.step(AFTER_CONTINUE, true), Step::Wait, "a whole fine tick is certain");
        assert_eq!(rhythm.fine, 1);
        assert_eq!(rhythm.step(0, true), Step::Tick);
        assert_eq!(rhythm.fine, 0, "it has ended");
    }

    #[test]
    fn ticks_stay_fine_while_guests_yield_and_a_while_after() {
        let mut rhythm = Rhythm::default();
        rhythm.step(AFTER_CONTINUE, true);
        for _ in 0..1_000 {
            assert_eq!(rhythm.step(AFTER_YIELD, true), Step::Tick);
            assert_eq!(rhythm.fine, AFTER_YIELD);
        }
        for left in (0..AFTER_YIELD).rev() {
            assert_eq!(rhythm.step(0, true), Step::Tick);
            assert_eq!(rhythm.fine, left);
        }
    }

    #[test]
    fn an_old_wake_up_does_not_end_a_coarse_pause() {
        let state = State::default();
        std::thread::current().unpark();
        let begin = std::time::Instant::now();
        pause(&state, false);
        assert!(begin.elapsed() >= COARSE);
    }

    #[test]
    fn the_thread_sleeps_when_no_call_has_run_for_a_while() {
        let mut rhythm = Rhythm::default();
        rhythm.step(AFTER_YIELD, true);
        let waited = (1..).find(|_| rhythm.step(0, false) == Step::Sleep);
        assert_eq!(waited, Some(AFTER_YIELD.max(IDLE_TICKS)));
        assert_eq!(rhythm.step(0, true), Step::Tick);
        let waited = (1..).find(|_| rhythm.step(0, false) == Step::Sleep);
        assert_eq!(waited, Some(IDLE_TICKS));
    }
}
