//! Starts and stops of processes, and the timer that puts idle ones to sleep.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use capsule_faas_model::lifecycle::{Admission, Effect};
use capsule_faas_model::record::Status;
use capsule_faas_model::spec::ModuleHash;
use capsule_hdk::{Ceiling, Contract, Extensions, Function, LoadError, LoadErrorKind, Module};
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::error::{FaasError, FaasErrorKind};
use super::logs::Tee;
use super::process::{Inside, Process, Transport};
use crate::modules::{Digest, Stored};

/// A guest whose caller went away may still run when its function is put to sleep: it gets this long.
const LAST_CALLS: Duration = Duration::from_secs(30);
/// The timer never turns faster than this,
const TURN: Duration = Duration::from_millis(1);
/// and than this for each process: it looks at all of them, which shall not take more than some percent of the time.
const LOOK: Duration = Duration::from_micros(10);
/// Who looks for functions to let go looks at all of them. So that this is seldom done, one of so many that are awake is let go,
/// if they may be.
const BATCH: usize = 64;

impl Inner {
    /// Carries out what the life of a process asks for, in a task of its own.
    pub(super) fn carry_out(self: &Arc<Self>, process: &Arc<Process>, effect: Option<Effect>) {
        match effect {
            None => {}
            Some(Effect::Start) => drop(self.runtime.spawn(Arc::clone(self).wake(Arc::clone(process)))),
            Some(Effect::Stop) => drop(self.runtime.spawn(Arc::clone(self).put_down(Arc::clone(process)))),
            Some(Effect::Forget) => {
                self.write().processes.remove(&process.id);
            }
        }
    }

    /// Starts a process that calls wait for.
    async fn wake(self: Arc<Self>, process: Arc<Process>) {
        if let Err(error) = self.bring_up(&process).await {
            tracing::warn!(function = &*process.label, "cannot be started: {error}");
        }
    }

    /// Starts a process whose life says that it is being started, and tells its life how that went.
    pub(super) async fn bring_up(self: &Arc<Self>, process: &Arc<Process>) -> Result<(), FaasError> {
        let began = Instant::now();
        // A task of its own: whatever happens there, the life goes on.
        let (inner, other) = (Arc::clone(self), Arc::clone(process));
        let made = self.runtime.spawn(async move { inner.make(&other).await }).await;
        let made = made.unwrap_or_else(|_| Err(FaasError::new(FaasErrorKind::Runner, "the start was lost")));
        let (effect, result) = match made {
            Ok(transport) => {
                process.cold_starts.observe(began.elapsed());
                let transport = Arc::new(transport);
                let effect = process.started(self.now(), Arc::clone(&transport));
                self.mourn(process, &transport);
                (effect, Ok(()))
            }
            Err(error) => (process.start_failed(self.now(), &error.to_string()), Err(error)),
        };
        self.carry_out(process, effect);
        self.sleeps(process);
        result
    }

    /// Brings up what a process runs on.
    async fn make(self: &Arc<Self>, process: &Process) -> Result<Transport, FaasError> {
        match &process.spec.path {
            None => self.make_inside(process).await.map(Transport::Inside),
            Some(path) => self.make_child(process, path).await.map(|child| Transport::Child(Box::new(child))),
        }
    }

    /// Where the output of a process goes.
    pub(super) fn output(&self, process: &Process) -> Arc<Tee> {
        Arc::new(Tee {
            function: Arc::clone(&process.label),
            process: process.id,
            log: Arc::clone(&process.log),
            feed: Arc::clone(&self.feed),
            // A flood of lines of one function is not in the way of the others.
            server: self.config.output.share().unwrap_or_else(|| Arc::clone(&self.config.output)),
        })
    }

    /// Loads, links and starts the function of a process.
    async fn make_inside(self: &Arc<Self>, process: &Process) -> Result<Inside, FaasError> {
        let module = self.module(process).await?;
        let shared = self.shared(process);
        let mut config = self.config.platform.configure(&process.spec, &shared)?;
        config.name = process.label.to_string();
        config.output = self.output(process);
        config.disk_use = process.disk_use.clone();
        let fresh = config.contract == Contract::Fresh;
        let function = Function::new(&self.config.host, &module, config)?;
        self.make_room().await;
        function.start().await.map_err(|error| FaasError::start(&error))?;
        Ok(Inside { function, fresh, _module: module, _shared: shared })
    }

    async fn module(self: &Arc<Self>, process: &Process) -> Result<Arc<Module>, FaasError> {
        let digest = digest(process)?;
        let inner = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || {
            let engine = inner.config.host.engine();
            let stored = inner.config.modules.get(&digest);
            let Some(stored) = stored else { return Err(not_stored(&digest)) };
            let compile = || match &stored {
                Stored::File(path) => Module::from_file(engine, path),
                Stored::Bytes(bytes) => Module::from_bytes(engine, &digest.to_string(), bytes),
            };
            Ok(inner.compiled.get(digest, || inner.with_room(compile))?)
        });
        loaded.await.unwrap_or_else(|_| Err(FaasError::new(FaasErrorKind::Runner, "the module could not be compiled")))
    }

    /// What the process has in common with the others of its revision that are awake.
    pub(super) fn shared(&self, process: &Process) -> Arc<Extensions> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shared.get(&process.cache).and_then(Weak::upgrade) {
            return found;
        }
        shared.retain(|_, held| held.strong_count() > 0);
        let made = Arc::new(self.config.platform.shared(&process.spec));
        shared.insert(process.cache, Arc::downgrade(&made));
        made
    }

    /// When all instances of the engine are taken, lets functions go that would fall asleep first, if they may be.
    async fn make_room(self: &Arc<Self>) {
        if self.config.host.engine().is_full() {
            self.let_go(|process| process.instances() > 0, || true).await;
        }
    }

    /// Lets functions go of those that are asked for, in the order in which they would fall asleep, until it is `enough`, and a
    /// [`BATCH`]th of them at least. Whether there was one.
    async fn let_go(self: &Arc<Self>, wanted: impl Fn(&Process) -> bool, enough: impl Fn() -> bool) -> bool {
        let processes: Vec<Arc<Process>> = self.read().processes.values().cloned().collect();
        let mut awake: Vec<_> = processes
            .into_iter()
            .filter(|process| wanted(process))
            .map(|process| {
                let idle_at = process.lock().life.idle_at();
                (idle_at, process)
            })
            .collect();
        // Those that never fall asleep by themselves last: they are let go only when nothing is lost by it.
        awake.sort_by_key(|(idle_at, _)| idle_at.unwrap_or(Duration::MAX));
        let least = awake.len().div_ceil(BATCH);
        let mut awake = awake.into_iter().map(|(_, process)| process);
        let mut gone = 0;
        loop {
            let count = if gone == 0 { least } else { 1 };
            let going = awake.by_ref().filter(|process| process.lock().life.let_go() == Some(Effect::Stop)).take(count);
            // Those of the first round at once: an `OnStop` that takes its time is not waited for before the next one begins.
            let going: Vec<_> = going.map(|process| Arc::clone(self).put_down(process)).collect();
            if going.is_empty() {
                break;
            }
            gone += going.len();
            join_all(going).await;
            if enough() {
                break;
            }
        }
        gone > 0
    }

    /// Makes a module; as long as there is no memory for it, lets functions go that may be. On a thread that may be blocked.
    pub(super) fn with_room(
        self: &Arc<Self>,
        make: impl Fn() -> Result<Module, LoadError>,
    ) -> Result<Module, LoadError> {
        loop {
            let made = make();
            let short = made.as_ref().is_err_and(|error| error.kind() == LoadErrorKind::Memory);
            if !short || !self.let_go_blocking() {
                return made;
            }
        }
    }

    fn let_go_blocking(self: &Arc<Self>) -> bool {
        let (answer, answered) = std::sync::mpsc::channel();
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            // Nobody who waits any more is no fault.
            let _ = answer.send(inner.let_go(Process::is_inside, || true).await);
        });
        answered.recv().unwrap_or(false)
    }

    /// Stops a process whose life says so.
    async fn put_down(self: Arc<Self>, process: Arc<Process>) {
        process.end(LAST_CALLS).await;
        let effect = process.stopped(self.now());
        self.carry_out(&process, effect);
    }

    /// Waits until a process is awake, and wakes it when it sleeps.
    pub(super) async fn awake(self: &Arc<Self>, process: &Arc<Process>) -> Result<(), FaasError> {
        let deadline = Instant::now() + self.config.patience;
        loop {
            let mut change = pin!(process.change());
            change.as_mut().enable();
            let (admission, reason) = {
                let mut state = process.lock();
                let admission = state.life.call(self.now());
                (admission, state.life.reason().map(str::to_owned))
            };
            match admission {
                Admission::Go => {
                    let effect = process.lock().life.call_ended(self.now().elapsed);
                    self.carry_out(process, effect);
                    return Ok(());
                }
                Admission::Start => self.carry_out(process, Some(Effect::Start)),
                Admission::Wait => {}
                Admission::Later(_) => {
                    return Err(FaasError::new(FaasErrorKind::Invalid, reason.unwrap_or_default()));
                }
                Admission::Gone => return Err(FaasError::stopping()),
            }
            if timeout_at(deadline, change).await.is_err() {
                return Err(late(process));
            }
        }
    }

    /// Has the timer turn when a process that is awake from now on may fall asleep, unless it turns before.
    pub(super) fn sleeps(&self, process: &Process) {
        let Some(after) = process.habits.sleep.after else { return };
        let at = nanoseconds(self.origin.elapsed().saturating_add(after));
        if self.next_sleep.fetch_min(at, Ordering::SeqCst) > at {
            self.timer.notify_one();
        }
    }

    /// Puts to sleep who is idle; how long until somebody may be next.
    fn put_to_sleep(self: &Arc<Self>) -> Option<Duration> {
        // Who is started from now on is either seen here or has the timer turn again.
        self.next_sleep.store(u64::MAX, Ordering::SeqCst);
        let now = self.now();
        let processes: Vec<Arc<Process>> = self.read().processes.values().cloned().collect();
        let turn = TURN.max(LOOK.saturating_mul(u32::try_from(processes.len()).unwrap_or(u32::MAX)));
        let mut next: Option<Duration> = None;
        for process in processes {
            let (effect, at) = {
                let mut state = process.lock();
                let effect = state.life.idle(now);
                // One with calls is idle after it has been idle long enough, which is later than this.
                let busy = state.life.status() == Status::Started;
                let after =
                    process.habits.sleep.after.filter(|_| busy).and_then(|after| now.elapsed.checked_add(after));
                let at = state.life.idle_at().or(after);
                (effect, at)
            };
            self.carry_out(&process, effect);
            next = next.into_iter().chain(at).min();
        }
        let next = next?;
        self.next_sleep.fetch_min(nanoseconds(next), Ordering::SeqCst);
        Some(next.saturating_sub(now.elapsed).max(turn))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The timer of a server: ends with it.
pub(super) async fn put_idle_to_sleep(inner: Weak<Inner>, earlier: Arc<Notify>) {
    loop {
        let next = match inner.upgrade() {
            Some(inner) => inner.put_to_sleep(),
            None => return,
        };
        let changed = earlier.notified();
        match next {
            // Whoever is started in the meantime says so.
            Some(next) => drop(tokio::time::timeout(next, changed).await),
            None => changed.await,
        }
    }
}

/// Lets functions go that may be when memory was refused or is waited for: as many as those who wait need, and a few more. Ends with the server.
pub(super) async fn let_go_when_short(inner: Weak<Inner>, ceiling: Ceiling, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            // Ordered to stop, or gone.
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = ceiling.short() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.let_go(Process::is_inside, || !ceiling.is_short()).await;
    }
}

/// The module of a process.
pub(super) fn digest(process: &Process) -> Result<Digest, FaasError> {
    let hash = process.spec.module.as_ref().map(ModuleHash::as_str);
    let digest = hash.and_then(|hash| hash.parse().ok());
    digest.ok_or_else(|| FaasError::new(FaasErrorKind::Invalid, "the record names no module"))
}

pub(super) fn not_stored(digest: &Digest) -> FaasError {
    FaasError::new(FaasErrorKind::Invalid, format!("the module `{digest}` is not stored here"))
        .with_hint("upload it first: `PUT /functions/modules`")
}

pub(super) fn late(process: &Process) -> FaasError {
    FaasError::unavailable(format!("`{}` did not start in time", process.label), Duration::from_secs(1))
}
