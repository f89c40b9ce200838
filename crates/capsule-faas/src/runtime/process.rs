//! One process: its life behind a lock, what it runs on while it is awake, its log and its counters.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use capsule_faas_model::lifecycle::{Effect, Lifecycle, Now, Running};
use capsule_faas_model::names::Key;
use capsule_faas_model::record::Status;
use capsule_faas_model::registry::{CacheId, Entry, ProcessId};
use capsule_faas_model::spec::Spec;
use capsule_hdk::{DiskUse, Extensions, Function, Limit, Module, Stats};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::calls::Trail;
use super::child::Child;
use super::hops;
use super::logs::Log;
use super::platform::Habits;
use super::stats::{self, Durations};

/// What an awake process runs on.
pub(crate) enum Transport {
    /// In the server's own process.
    Inside(Inside),
    /// In a process of its own.
    Child(Box<Child>),
}

/// A function of the server's own process.
pub(crate) struct Inside {
    pub(crate) function: Function,
    /// A call that nobody waits for any more may be given up.
    pub(crate) fresh: bool,
    /// Held for those who look for the same content.
    pub(crate) _module: Arc<Module>,
    /// Held for the other processes of the revision.
    pub(crate) _shared: Arc<Extensions>,
}

impl Transport {
    /// Whether a call ends when its caller goes away.
    pub(crate) fn is_fresh(&self) -> bool {
        match self {
            Transport::Inside(inside) => inside.fresh,
            Transport::Child(child) => child.fresh,
        }
    }

    /// Refuses calls, gives those that run some time, then runs `OnStop`; asks a child to do so, and reaps it.
    pub(crate) async fn stop(&self, patience: Duration) {
        match self {
            Transport::Inside(inside) => {
                inside.function.stop(patience).await;
            }
            Transport::Child(child) => child.stop(patience).await,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Transport::Inside(inside) => inside.function.stats(),
            Transport::Child(child) => child.proxy.stats(),
        }
    }

    pub(crate) fn running(&self) -> Running {
        match self {
            Transport::Inside(_) => Running { pid: std::process::id(), port: None },
            Transport::Child(child) => Running { pid: child.pid, port: Some(child.port) },
        }
    }
}

/// One process, whatever its names are.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) cache: CacheId,
    pub(crate) spec: Arc<Spec>,
    pub(crate) habits: Habits,
    /// Under which it was first started.
    pub(crate) key: Key,
    /// The same as text: what its log says.
    pub(crate) label: Arc<str>,
    /// What it is called on the way of a call, once it was asked for.
    hop: OnceLock<String>,
    /// What the program has made of that.
    pub(crate) trail: OnceLock<Trail>,
    pub(crate) log: Arc<Log>,
    pub(crate) latency: Durations,
    pub(crate) cold_starts: Durations,
    /// What its files have grown by, over all its lives.
    pub(crate) disk_use: DiskUse,
    /// Callers that wait until it has woken.
    pub(crate) callers: AtomicUsize,
    /// How often a limit was met that the server keeps for it.
    hits: [AtomicU64; Limit::COUNT],
    state: Mutex<State>,
    /// Told whenever a start or stop is over.
    changed: Notify,
    /// Held by who ends it: another one finds it ended, and not on its way.
    ending: tokio::sync::Mutex<()>,
}

pub(crate) struct State {
    pub(crate) life: Lifecycle,
    /// There exactly while the process is started, and until it has stopped.
    pub(crate) transport: Option<Arc<Transport>>,
    /// What was counted before it last fell asleep; in a box, since most never woke.
    past: Option<Box<Stats>>,
}

impl State {
    fn past(&self) -> Stats {
        self.past.as_deref().copied().unwrap_or_default()
    }
}

impl Process {
    pub(crate) fn new(key: &Key, entry: &Entry, life: Lifecycle, habits: Habits, log: Arc<Log>) -> Arc<Process> {
        Arc::new(Process {
            id: entry.process,
            cache: entry.cache,
            spec: Arc::clone(&entry.spec),
            habits,
            key: key.clone(),
            label: key.to_string().into(),
            hop: OnceLock::new(),
            trail: OnceLock::new(),
            log,
            latency: Durations::default(),
            cold_starts: Durations::default(),
            disk_use: DiskUse::default(),
            callers: AtomicUsize::new(0),
            hits: [const { AtomicU64::new(0) }; Limit::COUNT],
            state: Mutex::new(State { life, transport: None, past: None }),
            changed: Notify::new(),
            ending: tokio::sync::Mutex::default(),
        })
    }

    /// The way of a call that came from outside and is placed here, in the server with this id.
    pub(crate) fn hop(&self, server: u64) -> &str {
        self.hop.get_or_init(|| hops::extended(None, server, self.id))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next end of a start or stop. To be enabled before the state is asked, so that none is missed.
    pub(crate) fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The start has succeeded.
    pub(crate) fn started(&self, now: Now, transport: Arc<Transport>) -> Option<Effect> {
        let effect = {
            let mut state = self.lock();
            let running = transport.running();
            state.transport = Some(transport);
            state.life.started(now, running)
        };
        self.changed.notify_waiters();
        effect
    }

    /// The start has failed.
    pub(crate) fn start_failed(&self, now: Now, reason: &str) -> Option<Effect> {
        let effect = self.lock().life.start_failed(now, reason);
        self.changed.notify_waiters();
        effect
    }

    /// Ends what it runs on; `OnStop` has run when this returns, unless somebody else ends it too and has more patience.
    pub(crate) async fn end(&self, patience: Duration) {
        let _alone = tokio::time::timeout(patience, self.ending.lock()).await;
        let transport = self.lock().transport.clone();
        let Some(transport) = transport else { return };
        transport.stop(patience).await;
        let mut state = self.lock();
        if state.transport.take().is_some() {
            state.past = Some(Box::new(stats::ended(&state.past(), &transport.stats())));
        }
    }

    /// A child has ended without being told to. One that is being stopped is the business of who stops it.
    pub(crate) fn died(&self, now: Now, transport: &Arc<Transport>, in_good_order: bool, why: &str) -> Option<Effect> {
        let effect = {
            let mut state = self.lock();
            let is_there = state.transport.as_ref().is_some_and(|now| Arc::ptr_eq(now, transport));
            if !is_there || state.life.status() != Status::Started {
                return None;
            }
            state.transport = None;
            state.past = Some(Box::new(stats::ended(&state.past(), &transport.stats())));
            state.life.died(now, in_good_order, why)
        };
        self.changed.notify_waiters();
        effect
    }

    /// The stop is over.
    pub(crate) fn stopped(&self, now: Now) -> Option<Effect> {
        let effect = self.lock().life.stopped(now);
        self.changed.notify_waiters();
        effect
    }

    /// Whether it runs in the server's own process now.
    pub(crate) fn is_inside(&self) -> bool {
        matches!(self.lock().transport.as_deref(), Some(Transport::Inside(_)))
    }

    /// Instances of the server's engine.
    pub(crate) fn instances(&self) -> usize {
        match self.lock().transport.as_deref() {
            Some(Transport::Inside(inside)) => inside.function.stats().instances,
            _ => 0,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = {
            let state = self.lock();
            match &state.transport {
                Some(transport) => stats::add(&state.past(), &transport.stats()),
                None => state.past(),
            }
        };
        stats.limits.iter_mut().zip(&self.hits).for_each(|(sum, hits)| *sum += hits.load(Relaxed));
        stats
    }

    /// Counts that a limit was met.
    pub(crate) fn hit(&self, limit: Limit) {
        self.hits[limit as usize].fetch_add(1, Relaxed);
    }
}
