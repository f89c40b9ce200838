//! The epoch ticker: one thread that interrupts guests every millisecond while calls run, and sleeps otherwise.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

/// The length of a slice. Also the precision of a call's time limit.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a running call after which the thread goes to sleep: going to sleep and waking costs more than a few
/// idle ticks.
const IDLE_TICKS: u32 = 50;

/// Counts running calls and ticks while there are any.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

struct State {
    active: AtomicUsize,
    asleep: AtomicBool,
}

/// A running call, as far as the ticker is concerned.
pub(crate) struct Active<'a>(&'a State);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ticker {
    /// Starts the thread; it ends when the ticker is dropped.
    pub(crate) fn start(engines: Vec<wasmtime::Engine>) -> std::io::Result<Ticker> {
        let state = Arc::new(State { active: AtomicUsize::new(0), asleep: AtomicBool::new(false) });
        let weak = Arc::downgrade(&state);
        let thread =
            std::thread::Builder::new().name("capsule-ticker".into()).spawn(move || tick_for_ever(&weak, &engines))?;
        Ok(Ticker { state, thread: thread.thread().clone() })
    }

    /// Keeps the ticker ticking until the answer is dropped.
    pub(crate) fn activate(&self) -> Active<'_> {
        // Sequentially consistent with the ticker's own look before it sleeps: one of the two sees the other.
        self.state.active.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Active(&self.state)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

fn tick_for_ever(state: &Weak<State>, engines: &[wasmtime::Engine]) {
    let mut idle = 0;
    // The strong reference is never held across a sleep, so that the thread sees the end of the ticker.
    loop {
        std::thread::sleep(TICK);
        let Some(running) = state.upgrade() else { return };
        if running.active.load(Ordering::Relaxed) > 0 {
            idle = 0;
            engines.iter().for_each(wasmtime::Engine::increment_epoch);
            continue;
        }
        idle += 1;
        if idle < IDLE_TICKS {
            continue;
        }
        idle = 0;
        running.asleep.store(true, Ordering::SeqCst);
        let still_idle = running.active.load(Ordering::SeqCst) == 0;
        drop(running);
        if still_idle {
            std::thread::park();
        }
        let Some(woken) = state.upgrade() else { return };
        woken.asleep.store(false, Ordering::SeqCst);
    }
}
