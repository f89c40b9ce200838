//! The engine: one per process. It owns what all functions share: compiler, memory pool, epoch ticker, guest threads and
//! the compile cache.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::CompileCache;
use crate::ceiling::Ceiling;
use crate::compiler::{CompileQueue, Compiler};
use crate::error::{LoadError, LoadErrorKind};
use crate::instance::Instance;
use crate::reaper::{Mourner, Reaper};
use crate::share::Stock;
use crate::slices::LongPool;
use crate::source::Bounds;
use crate::ticker::Ticker;

/// Stack of a guest in bytes, the host functions' frames on top included.
const ASYNC_STACK: usize = 1 << 20;
/// Stack that wasm itself may use of it: so much of it a guest can fill, and counts.
pub(crate) const WASM_STACK: usize = 512 << 10;
/// Table elements that a slot of the pool holds; modules that start with more get memory of their own.
const POOL_TABLE_ELEMENTS: usize = 20_000;
/// Tables that a slot of the pool holds.
const POOL_TABLES: u32 = 4;
/// Bytes of linear memory that all slots of the pool together keep when their instances are gone, so that the next ones find
/// their pages in place: most functions write to a few.
const KEPT_MEMORY: usize = 32 << 20;
/// And each of them: at least a few pages, and no more than is overwritten in less time than it takes to map it.
const KEPT_BY_A_SLOT: RangeInclusive<usize> = (16 << 10)..=(128 << 10);
/// Bytes of a table that a slot keeps.
const KEPT_TABLE: usize = 4 << 10;
/// Stacks for calls within calls beyond one for each instance: functions share them.
const SPARE_STACKS: usize = 32;

/// Linear memory in bytes up to which an instance is dropped where it is: giving it back costs less than a hand-over.
const SMALL_MEMORY: usize = 2 << 20;

/// Address space that a 32-bit memory can grow to.
const WHOLE_MEMORY: u64 = 4 << 30;
/// Where address space is short: room to grow that a memory is given when it is moved, so that it is not moved at each page.
const GROWTH: u64 = 16 << 20;
/// And the guard behind it.
const SMALL_GUARD: u64 = 64 << 10;

/// More instances than any machine has room for.
const MAX_INSTANCES: usize = 100_000;
/// Bytes of WebAssembly text where compiling has a budget: text is read within the process, and it is for small modules.
const MAX_TEXT: usize = 1 << 20;

/// What an instance takes of the ceiling beside its memories, tables and stacks, in bytes: what belongs to it on the heap.
pub(crate) const INSTANCE: usize = 64 << 10;

/// How an [`Engine`] is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Instances that may exist at once, of all functions together, up to 100,000. Default 256.
    pub max_instances: usize,
    /// Whether functions share these instances, and the memory of the process: none has more than is left for the others. However
    /// many want all that they can get, there is some for the next. Off for programs with one function, which may have all. Default off.
    pub fair: bool,
    /// Threads for calls that take longer than a slice. Default: the number of cores.
    pub long_threads: usize,
    /// Folder of compiled code, made with mode 0700 when it is missing. `None`: compile at each load. Default `None`.
    pub cache: Option<PathBuf>,
    /// Whether memory and stacks are reserved ahead in a pool. Off for programs that make one instance and end. Where the
    /// machine cannot reserve the address space, the engine goes without by itself, and where that is short for memories of
    /// 4 GiB too, with smaller ones that move. Default on.
    pub pooling: bool,
    /// The memory of the process, which all functions share. Default: without a limit.
    pub ceiling: Ceiling,
    /// Bytes of a module, binary or text. Default 64 MiB.
    pub max_module: usize,
    /// Functions of a module. Default 100,000.
    pub max_functions: usize,
    /// Files and folders that the instances of all functions may have open together; where these share, no function has more
    /// than are left for the others. Default: without a limit.
    pub max_files: usize,
    /// Who compiles modules. Default: this process.
    pub compiler: Compiler,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            max_instances: 256,
            fair: false,
            long_threads: cores(),
            cache: None,
            pooling: true,
            ceiling: Ceiling::default(),
            max_module: 64 << 20,
            max_functions: 100_000,
            max_files: usize::MAX,
            compiler: Compiler::default(),
        }
    }
}

/// Cores that this process may use, at least 1: what its affinity and its control group allowed when it was first asked.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    // Looked up in several files each time otherwise.
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Compiles modules and runs their instances. Cheap to clone; one per process is enough for all functions.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    pooled: Option<wasmtime::Engine>,
    on_demand: wasmtime::Engine,
    ticker: Ticker,
    long: Arc<LongPool>,
    reaper: Reaper,
    cache: Option<CompileCache>,
    compile_queue: Option<CompileQueue>,
    bounds: Bounds,
    ceiling: Ceiling,
    instances: Arc<Semaphore>,
    max_instances: usize,
    fair: bool,
    /// Slots of all functions in which there is an instance, or one is being made. Counted only where functions share.
    slots: AtomicUsize,
    spare_stacks: Arc<Stock>,
    open_files: Arc<Stock>,
}

impl Engine {
    /// Starts an engine with its threads.
    ///
    /// # Errors
    /// When the configuration does not fit the machine: no threads, no executable memory, an unusable cache folder.
    pub fn new(config: &EngineConfig) -> Result<Engine, LoadError> {
        let max_instances = config.max_instances.clamp(1, MAX_INSTANCES);
        let runner = |what: &'static str| {
            move |error: &dyn std::fmt::Display| LoadError::new(LoadErrorKind::Runner, format!("{what}: {error}"))
        };
        let start =
            |memories| wasmtime::Engine::new(&wasm_config(memories)).map_err(|e| runner("cannot start the engine")(&e));
        let pooled = if config.pooling { pooled_engine(max_instances) } else { None };
        let mut memories = Memories::Reserved;
        let mut on_demand = start(memories)?;
        if pooled.is_none() && !has_room(&on_demand, if config.pooling { max_instances } else { 1 }) {
            tracing::debug!("address space is short: memories of modules take what they use");
            memories = Memories::Moving;
            on_demand = start(memories)?;
        }
        let compile_queue = match &config.compiler {
            Compiler::InProcess => None,
            Compiler::Child(command) => Some(
                CompileQueue::start(command.clone(), config.ceiling.clone(), memories)
                    .map_err(|e| runner("cannot start the thread that has modules compiled")(&e))?,
            ),
        };
        let text = if compile_queue.is_some() { config.max_module.min(MAX_TEXT) } else { config.max_module };
        let engines = pooled.iter().chain([&on_demand]).cloned().collect();
        let cache = match &config.cache {
            Some(folder) => Some(CompileCache::open(folder, &on_demand)?),
            None => None,
        };
        Ok(Engine {
            shared: Arc::new(Shared {
                ticker: Ticker::start(engines).map_err(|e| runner("cannot start the ticker")(&e))?,
                long: Arc::new(
                    LongPool::start(config.long_threads.max(1))
                        .map_err(|e| runner("cannot start the threads for long calls")(&e))?,
                ),
                reaper: Reaper::start().map_err(|e| runner("cannot start the reaper")(&e))?,
                cache,
                compile_queue,
                bounds: Bounds { bytes: config.max_module, text, functions: config.max_functions },
                ceiling: config.ceiling.clone(),
                instances: Arc::new(Semaphore::new(max_instances)),
                max_instances,
                fair: config.fair,
                slots: AtomicUsize::new(0),
                spare_stacks: Stock::new(SPARE_STACKS, true),
                open_files: Stock::new(config.max_files, config.fair),
                pooled,
                on_demand,
            }),
        })
    }

    /// Instances that may exist at once.
    pub fn max_instances(&self) -> usize {
        self.shared.max_instances
    }

    /// Whether so many instances exist now.
    pub fn is_full(&self) -> bool {
        self.shared.instances.available_permits() == 0
    }

    /// The memory of the process.
    pub fn ceiling(&self) -> &Ceiling {
        &self.shared.ceiling
    }

    /// The memory of the process for one more function: a part of it, where functions share it.
    pub(crate) fn part_of_ceiling(&self) -> Ceiling {
        if self.shared.fair { self.shared.ceiling.share() } else { self.shared.ceiling.clone() }
    }

    /// Whether memory and stacks come from a pool.
    pub fn is_pooling(&self) -> bool {
        self.shared.pooled.is_some()
    }

    /// The engine for a module that fits the pool's slots, the pool's own one when there is a pool.
    pub(crate) fn pooled(&self) -> Option<&wasmtime::Engine> {
        self.shared.pooled.as_ref()
    }

    pub(crate) fn on_demand(&self) -> &wasmtime::Engine {
        &self.shared.on_demand
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.shared.ticker
    }

    pub(crate) fn long(&self) -> &Arc<LongPool> {
        &self.shared.long
    }

    /// Drops an instance, on a thread of its own when that may take long.
    pub(crate) fn bury(&self, instance: Box<Instance>) {
        if instance.memory_size() > SMALL_MEMORY {
            self.shared.reaper.bury(instance);
        }
    }

    /// As [`Engine::bury`] for somebody who waits until it is done.
    pub(crate) fn bury_for(&self, instance: Box<Instance>, mourner: Mourner) {
        if instance.memory_size() > SMALL_MEMORY {
            // Dropped in this order.
            return self.shared.reaper.bury((instance, mourner));
        }
        drop(instance);
        drop(mourner);
    }

    pub(crate) fn cache(&self) -> Option<&CompileCache> {
        self.shared.cache.as_ref()
    }

    /// Who compiles; none for this process.
    pub(crate) fn compile_queue(&self) -> Option<&CompileQueue> {
        self.shared.compile_queue.as_ref()
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.shared.bounds
    }

    pub(crate) fn instances(&self) -> &Arc<Semaphore> {
        &self.shared.instances
    }

    /// True when a function with this many slots may have one more. The first one is waited for like a place.
    pub(crate) fn has_share(&self, slots: usize) -> bool {
        let Shared { fair, max_instances, slots: taken, .. } = &*self.shared;
        !fair || slots == 0 || slots < max_instances.saturating_sub(taken.load(Relaxed))
    }

    pub(crate) fn slot_taken(&self) {
        if self.shared.fair {
            self.shared.slots.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn slots_left(&self, count: usize) {
        if self.shared.fair {
            self.shared.slots.fetch_sub(count, Relaxed);
        }
    }

    /// Files that all functions have open.
    pub(crate) fn open_files(&self) -> &Arc<Stock> {
        &self.shared.open_files
    }

    /// Stacks for deep calls within calls that are free.
    pub(crate) fn spare_stacks(&self) -> &Arc<Stock> {
        &self.shared.spare_stacks
    }
}

/// Where linear memories lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memories {
    /// An instance's whole 32-bit memory is reserved: no bounds checks, and its memory never moves.
    Reserved,
    /// A memory takes the address space that it uses and moves when it grows past it. Checks of bounds make its code slower.
    Moving,
}

/// Whether the machine has address space to reserve for this many memories (not under `ulimit -v`, for instance).
fn has_room(engine: &wasmtime::Engine, memories: usize) -> bool {
    let reserves = |engine: &wasmtime::Engine| {
        let mut store = wasmtime::Store::new(engine, ());
        wasmtime::Memory::new(&mut store, wasmtime::MemoryType::new(0, None)).is_ok()
    };
    if memories == 1 {
        return reserves(engine);
    }
    let mut config = wasm_config(Memories::Reserved);
    config.memory_reservation(WHOLE_MEMORY.saturating_mul(memories as u64));
    wasmtime::Engine::new(&config).is_ok_and(|engine| reserves(&engine))
}

/// What code is compiled for. The same for all engines of a process, so that compiled code fits each.
pub(crate) fn wasm_config(memories: Memories) -> Config {
    let mut config = Config::new();
    // The accepted WebAssembly proposals; everything else is refused with a message.
    config
        .wasm_multi_value(true)
        .wasm_bulk_memory(true)
        .wasm_reference_types(true)
        .wasm_simd(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_exceptions(false);
    config
        .epoch_interruption(true)
        .async_stack_size(ASYNC_STACK)
        .max_wasm_stack(WASM_STACK)
        .generate_address_map(true)
        .memory_init_cow(true);
    match memories {
        Memories::Reserved => config.memory_reservation(WHOLE_MEMORY).memory_may_move(false),
        Memories::Moving => config
            .memory_reservation(0)
            .memory_reservation_for_growth(GROWTH)
            .memory_guard_size(SMALL_GUARD)
            .memory_may_move(true),
    };
    config
}

/// An engine that allocates from a pool, or `None` where the machine cannot reserve the address space (small boards and
/// virtual machines, `ulimit -v`): on-demand allocation serves there.
fn pooled_engine(max_instances: usize) -> Option<wasmtime::Engine> {
    let slots = u32::try_from(max_instances).ok()?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        // A module with `externref` has a heap for references, and that lies in a slot for memories too.
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(POOL_TABLES))
        .total_stacks(slots.saturating_mul(2).saturating_add(SPARE_STACKS as u32))
        .total_gc_heaps(slots)
        .max_memories_per_module(1)
        .max_tables_per_module(POOL_TABLES)
        .table_elements(POOL_TABLE_ELEMENTS)
        .max_core_instance_size(1 << 20)
        .max_memory_size(WHOLE_MEMORY as usize);
    // Where the system does not tell which pages were written to, all that is kept would be overwritten each time.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        let kept = (KEPT_MEMORY / max_instances).clamp(*KEPT_BY_A_SLOT.start(), *KEPT_BY_A_SLOT.end());
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(kept).table_keep_resident(KEPT_TABLE);
    }
    let mut config = wasm_config(Memories::Reserved);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    match wasmtime::Engine::new(&config) {
        Ok(engine) => Some(engine),
        Err(error) => {
            tracing::warn!("instances are allocated on demand: no pool of {max_instances} on this machine: {error:#}");
            None
        }
    }
}
