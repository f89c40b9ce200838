//! The runtime of a server of many functions: it starts them, wakes and calls them, puts them to sleep, and forgets none.
//!
//! What may happen is decided in `capsule-faas-model`; here it is carried out. Functions run in the server's own process, or
//! in child processes. A command is one task that ends whatever becomes of its caller: it plans a change on the registry, writes it to the store,
//! then makes it visible to calls at one stroke. Calls read the registry and never wait for a command.
//!
//! - [`Faas`]: the server; commands in `commands.rs`, `starts.rs` and `writing.rs`, calls in `calls.rs`, what is seen from outside in `observe.rs`.
//! - [`Platform`]: what the program around it decides, such as what flags mean.
//! - [`Children`]: which child processes there may be; `child.rs` starts, calls and ends them.
//! - `lives.rs`: starts, stops and the timer of idle functions.

mod calls;
mod child;
mod commands;
mod compiled;
mod error;
pub mod hops;
mod lives;
mod logs;
mod observe;
mod platform;
mod process;
mod starts;
mod stats;
mod writing;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use capsule_faas_model::lifecycle::{Lifecycle, Now};
use capsule_faas_model::names::{FunctionName, Key};
use capsule_faas_model::registry::{CacheId, Entry, ProcessId, Registry};
use capsule_faas_model::route::Route;
use capsule_faas_model::stored::{self, StoredError};
use capsule_hdk::{Extensions, Host, Output};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

pub use calls::{Answer, Begun, FunctionReply, Placed, Placing, Trail};
pub use child::Children;
pub use error::{FaasError, FaasErrorKind};
pub use logs::LogLine;
pub use observe::{Follow, Health};
pub use platform::{Demands, Platform, Source};
pub use stats::{BUCKETS, Histogram, ProcessStats};

use crate::error::{StoreError, StoreErrorKind};
use crate::modules::Modules;
use crate::store::{Record, Store, Table};
use child::Spawner;
use compiled::Compiled;
use logs::{Feed, Log};
use process::Process;
use writing::Commands;

/// How a server of functions is set up.
#[non_exhaustive]
pub struct FaasConfig {
    /// The engine with its host functions.
    pub host: Host,
    /// The records.
    pub store: Store,
    /// The bytes of modules, of the same data folder.
    pub modules: Modules,
    /// The program around it.
    pub platform: Arc<dyn Platform>,
    /// Where the output of all functions goes, each line with `name/revision/index` in front.
    pub output: Arc<dyn Output>,
    /// The largest module in bytes. Default 64 MiB.
    pub max_module: u64,
    /// How much of the output of each function is kept, in bytes. Default 64 KiB.
    pub log_bytes: usize,
    /// How long a call waits for its function to wake. Default 30 s.
    pub patience: Duration,
    /// Calls of one process at once, those that wait included: its share of what the server can hold. Default 5,000.
    pub max_calls: usize,
    /// Modules of commands that are compiled at once. Default 8.
    pub compiles: usize,
    /// Modules that are downloaded at once: they wait for others, so many may. Default 64.
    pub downloads: usize,
    /// How functions with `path` run; none refuses them. Default none.
    pub children: Option<Children>,
}

impl FaasConfig {
    /// The defaults.
    pub fn new(
        host: Host,
        store: Store,
        modules: Modules,
        platform: Arc<dyn Platform>,
        output: Arc<dyn Output>,
    ) -> FaasConfig {
        FaasConfig {
            host,
            store,
            modules,
            platform,
            output,
            max_module: 64 << 20,
            log_bytes: 64 << 10,
            patience: Duration::from_secs(30),
            max_calls: 5_000,
            compiles: 8,
            downloads: 64,
            children: None,
        }
    }
}

/// A server of many functions. Clones share it; dropped without [`Faas::stop`] it ends as a crash does: nothing that was
/// answered is lost.
#[derive(Clone)]
pub struct Faas {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: FaasConfig,
    state: RwLock<State>,
    commands: Commands,
    compiled: Compiled,
    /// Held while the module of a command is compiled, and neither while it is downloaded nor while it starts.
    compiling: Semaphore,
    downloading: Semaphore,
    /// What the processes of a revision share, as long as one of them is awake.
    shared: Mutex<HashMap<CacheId, Weak<Extensions>>>,
    feed: Arc<Feed>,
    /// Made for the first child process.
    spawner: OnceLock<Spawner>,
    /// Tells those who wait of [`State::is_stopping`].
    stopping: watch::Sender<bool>,
    /// Sent to when the registry has changed: what followers of logs asked for may be gone, or have new processes.
    changed: watch::Sender<()>,
    /// A process may fall asleep earlier than the timer knows.
    timer: Arc<Notify>,
    /// When it turns next, in nanoseconds since the server's start; `u64::MAX` while nobody will fall asleep.
    next_sleep: AtomicU64,
    runtime: Handle,
    origin: Instant,
    /// What it is called on the way of a call.
    server: u64,
}

/// What calls look at.
#[derive(Default)]
struct State {
    registry: Registry,
    processes: BTreeMap<ProcessId, Arc<Process>>,
    /// The calls of each function, which spread them.
    picks: BTreeMap<FunctionName, AtomicU64>,
    /// There are no new calls.
    is_stopping: bool,
}

impl State {
    /// A function has a counter for as long as it is registered.
    fn count_calls(&mut self, name: FunctionName) {
        if self.registry.route(&name).is_none() {
            self.picks.remove(&name);
        } else {
            self.picks.entry(name).or_default();
        }
    }
}

impl Faas {
    /// The functions of an earlier run, asleep until they are called: nothing is compiled or run here. Within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The store holds what this version cannot read.
    pub fn open(config: FaasConfig) -> Result<Faas, StoreError> {
        let entries: Vec<(Key, Entry)> = decode(&config.store, Table::Functions)?;
        let routes: Vec<(FunctionName, Route)> = decode(&config.store, Table::Routes)?;
        let mut state = State { registry: Registry::restore(entries, routes), ..State::default() };
        for found in state.registry.iter() {
            state.processes.entry(found.entry.process).or_insert_with(|| {
                let habits = platform::habits_of(&*config.platform, &found.entry.spec);
                let life = Lifecycle::asleep(habits.sleep);
                Process::new(&found.key(), found.entry, life, habits, Log::new(config.log_bytes))
            });
        }
        let names: Vec<FunctionName> = state.registry.routes().map(|(name, _)| name.clone()).collect();
        names.into_iter().for_each(|name| state.count_calls(name));
        let permits = |count: usize| Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS));
        let inner = Arc::new(Inner {
            compiling: permits(config.compiles),
            downloading: permits(config.downloads),
            config,
            state: RwLock::new(state),
            commands: Commands::new(),
            compiled: Compiled::default(),
            shared: Mutex::default(),
            feed: Feed::new(),
            spawner: OnceLock::new(),
            stopping: watch::Sender::new(false),
            changed: watch::Sender::new(()),
            timer: Arc::default(),
            next_sleep: AtomicU64::new(u64::MAX),
            runtime: Handle::current(),
            origin: Instant::now(),
            server: hops::server_id(),
        });
        tokio::spawn(lives::put_idle_to_sleep(Arc::downgrade(&inner), Arc::clone(&inner.timer)));
        let ceiling = inner.config.host.engine().ceiling().clone();
        tokio::spawn(lives::let_go_when_short(Arc::downgrade(&inner), ceiling, inner.stopping.subscribe()));
        Ok(Faas { inner })
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { elapsed: self.origin.elapsed(), wall: Timestamp::now() }
    }

    fn is_stopping(&self) -> bool {
        self.read().is_stopping
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The timer sees that nobody is left.
        self.timer.notify_one();
    }
}

fn decode<K: std::str::FromStr, V: DeserializeOwned>(store: &Store, table: Table) -> Result<Vec<(K, V)>, StoreError> {
    let damaged = |record: &Record, what: &str| {
        let message = format!("the record `{}` of the table `{}`: {what}", record.key, table.name());
        match store.folder() {
            Some(folder) => StoreError::corrupt(folder, message),
            None => StoreError::new(StoreErrorKind::Corrupt, message),
        }
    };
    let read = |record: Record| {
        let key = record.key.parse().map_err(|_| damaged(&record, "the key is not one of Capsule"))?;
        match stored::decode(&record.value) {
            Ok(value) => Ok((key, value)),
            Err(error @ StoredError::Newer { .. }) => {
                Err(StoreError::new(StoreErrorKind::NewerSchema, format!("`{}`: {error}", record.key)))
            }
            Err(error) => Err(damaged(&record, &error.to_string())),
        }
    };
    store.read_all(table).into_iter().map(read).collect()
}
