//! One instance of a module: its store, its exports, its start and its calls.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use capsule_abi::exchange::{self, RECORD};
use capsule_abi::frame::{self, Packed};
use capsule_abi::names;
use smol_str::SmolStr;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::{Memory, Store, TypedFunc, UpdateDeadline, WasmBacktrace};

use crate::call::{Answer, Call, Companion, Kind};
use crate::ceiling::Reservation;
use crate::error::{CallError, Trap};
use crate::exports::{self, Entry, Exports, Handlers, Others};
use crate::host::{HostContext, Surroundings};
use crate::limits::Limiter;
use crate::output::OutputBuffer;
use crate::place::{Needs, Place};
use crate::slices::{self, AtTick};
use crate::stats::{Census, Counters};
use crate::wasi::Wasi;

/// Room of the argument buffer that an instance keeps from call to call.
const KEPT_ARGUMENT: u32 = 1 << 20;
/// The smallest argument buffer.
const LEAST_ARGUMENT: u32 = 1 << 10;

/// What an instance's store carries.
pub(crate) struct State {
    /// Made when the guest first asks for something of it: many never do.
    wasi: Option<Box<Wasi>>,
    pub(crate) context: HostContext,
    /// Known once the module is instantiated.
    pub(crate) guest: Option<GuestExports>,
    limiter: Limiter,
    /// Calls of the guest within host functions that run now.
    pub(crate) depth: u8,
    /// Bytes that host functions have handled for the guest, and that it has not paid for with its time.
    pub(crate) debt: usize,
}

impl State {
    /// With the memory that is reserved for what the instance needs.
    fn new(context: HostContext, engine: &wasmtime::Engine, memory: Reservation, needs: &Needs) -> State {
        let limiter = Limiter::new(&context.surroundings, engine, memory, needs);
        State { wasi: None, context, guest: None, limiter, depth: 0, debt: 0 }
    }

    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        let HostContext { surroundings, output, open_files, .. } = &self.context;
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(surroundings, output, open_files)))
    }
}

/// What host functions need of the guest.
pub(crate) struct GuestExports {
    pub(crate) memory: Memory,
    /// None while the module is instantiated.
    pub(crate) allocate_buffer: Option<(wasmtime::Instance, Entry<u32, u32>)>,
}

/// A host function was called in a way that is not allowed, or cannot give its answer to the guest: a trap of the guest.
#[derive(Debug)]
pub(crate) struct HostFault {
    pub(crate) function: Arc<str>,
    pub(crate) what: String,
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host function `{}`: {}", self.function, self.what)
    }
}

impl std::error::Error for HostFault {}

/// The guest has ended itself, with this code.
#[derive(Debug)]
pub(crate) struct Exit(pub(crate) i32);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the module ended with exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// The epoch callback found the call's deadline passed.
#[derive(Debug)]
struct DeadlinePassed;

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline of the call passed")
    }
}

impl std::error::Error for DeadlinePassed {}

/// An instance: it serves one call at a time.
pub(crate) struct Instance {
    store: Store<State>,
    instance: wasmtime::Instance,
    memory: Option<Memory>,
    malloc: Entry<u32, u32>,
    free: Entry<u32, ()>,
    handlers: Handlers,
    /// Head and body, each an address and a length.
    request: Entry<(u32, u32, u32, u32), u64>,
    /// What is seldom called.
    others: Others,
    argument: ArgumentBuffer,
    /// When it last became free, if that matters.
    pub(crate) idle_since: Option<Instant>,
    census: Census,
    /// Calls that it may still serve.
    calls_left: u64,
    /// Bytes of memory past which it is replaced.
    worn_memory: usize,
    /// Its memory has grown past that.
    is_swollen: bool,
    /// Its place among the instances of the engine, given back when it is dropped. What it takes of the process's memory is with
    /// its limiter.
    permit: Option<OwnedSemaphorePermit>,
}

/// The buffer from `malloc` that an instance keeps for arguments.
#[derive(Default)]
struct ArgumentBuffer {
    pointer: u32,
    capacity: u32,
}

/// How the start of an instance ended.
pub(crate) enum Started {
    /// It serves.
    Serving(Box<Instance>),
    /// A plain WASI command ran to its end with this exit code.
    Finished(i32),
}

impl Instance {
    /// Makes an instance: instantiates, runs `_initialize` or `_start`, then `OnStart`. The epoch callback ends it at
    /// `deadline`; who waits in a host function is ended by whoever polls this future.
    pub(crate) async fn start(
        pre: &wasmtime::InstancePre<State>,
        exports: &Exports,
        surroundings: &Arc<Surroundings>,
        output: Arc<OutputBuffer>,
        deadline: Option<Instant>,
        Place { permit, memory }: Place,
        needs: &Needs,
    ) -> Result<Started, CallError> {
        let context = HostContext {
            surroundings: Arc::clone(surroundings),
            output,
            request_id: None,
            companion: None,
            deadline,
            open_files: Arc::default(),
        };
        let engine = pre.module().engine();
        let mut store = Store::new(engine, State::new(context, engine, memory, needs));
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| at_tick(&context.data().context));
        match begin(&mut store, pre, exports).await {
            Ok(instance) => {
                let counters = &surroundings.counters;
                Ok(Started::Serving(Box::new(Instance::serving(store, instance, exports, counters, permit))))
            }
            Err(error) => match (error.downcast_ref::<Exit>(), surroundings.command) {
                (Some(exit), true) => Ok(Started::Finished(exit.0)),
                _ => Err(classify(&store, &error)),
            },
        }
    }

    fn serving(
        mut store: Store<State>,
        instance: wasmtime::Instance,
        exports: &Exports,
        counters: &Arc<Counters>,
        permit: OwnedSemaphorePermit,
    ) -> Instance {
        let memory = exports.memory(&instance, &mut store);
        let limits = store.data().context.limits();
        let (calls_left, worn_memory) = (limits.calls.unwrap_or(u64::MAX), limits.worn_memory());
        let mut serving = Instance {
            instance,
            memory,
            malloc: Entry::new(exports.malloc),
            free: Entry::new(exports.free),
            handlers: Handlers::new(exports.handlers),
            request: Entry::new(exports.request),
            others: exports.others,
            store,
            argument: ArgumentBuffer::default(),
            idle_since: None,
            census: Census::enter(counters),
            calls_left,
            worn_memory,
            is_swollen: false,
            permit: Some(permit),
        };
        let size = serving.memory_size();
        serving.census.memory(size);
        // One that begins like that would be replaced after every call.
        serving.worn_memory = worn_memory.max(size);
        serving
    }

    /// Bytes of linear memory that the instance has now.
    pub(crate) fn memory_size(&self) -> usize {
        self.memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// True when a single instruction can take longer than a slice: it has so much memory, as of the end of its last call.
    pub(crate) fn is_large(&self) -> bool {
        self.census.is_large()
    }

    /// Calls the export that the call is for. The instance is sound afterwards when the error says so.
    pub(crate) async fn call(&mut self, call: &mut Call, deadline: Option<Instant>) -> Result<Answer, CallError> {
        self.prepare(call.request_id.take(), call.companion.as_ref(), deadline);
        let kind = call.kind;
        let missing = || CallError::MissingExport(kind.export());
        let called = match (kind.handler(), kind) {
            (Some(index), _) => {
                self.handlers.find(index, &self.instance, &mut self.store).ok_or_else(missing)?;
                let [argument, _] = self.place(call).await?;
                let handler = self.handlers.found().ok_or_else(missing)?;
                handler.call_async(&mut self.store, argument).await
            }
            (None, Kind::Request) => {
                self.request.find(&self.instance, &mut self.store).ok_or_else(missing)?;
                let [(head, head_length), (body, body_length)] = self.place(call).await?;
                let handler = self.request.found().ok_or_else(missing)?;
                handler.call_async(&mut self.store, (head, head_length, body, body_length)).await
            }
            (None, kind) => {
                let export = if kind == Kind::Health { self.others.health } else { self.others.metrics };
                let export = exports::typed::<(), u64>(export, &self.instance, &mut self.store).ok_or_else(missing)?;
                export.call_async(&mut self.store, ()).await
            }
        };
        let packed = Packed::from_u64(called.map_err(|error| classify(&self.store, &error))?);
        let size = self.memory_size();
        self.census.memory(size);
        self.is_swollen |= size > self.worn_memory;
        let result = if kind == Kind::Request { self.exchanged(packed) } else { self.result(packed) };
        if self.argument.capacity > KEPT_ARGUMENT {
            Box::pin(self.release_argument()).await?;
        }
        result
    }

    /// Runs `OnStop`, when there is one.
    pub(crate) async fn stop(&mut self, deadline: Instant) -> Result<(), CallError> {
        self.prepare(None, None, Some(deadline));
        let Some(on_stop) = exports::typed::<(), ()>(self.others.on_stop, &self.instance, &mut self.store) else {
            return Ok(());
        };
        on_stop.call_async(&mut self.store, ()).await.map_err(|error| classify(&self.store, &error))
    }

    /// True when it has served as many calls as it may, or its memory has grown too much for one that is to be replaced.
    pub(crate) fn is_worn(&self) -> bool {
        self.calls_left == 0 || self.is_swollen
    }

    /// The place for the one that follows it. The memory that it takes beyond what a new one needs is given back with the rest
    /// of it.
    pub(crate) fn give_up_place(&mut self, needs: &Needs) -> Option<Place> {
        let permit = self.permit.take()?;
        Some(Place { permit, memory: self.store.data_mut().limiter.give_up(needs) })
    }

    /// True when the module wants to hear of its end.
    pub(crate) fn has_on_stop(&self) -> bool {
        self.others.on_stop.is_some()
    }

    /// The instance's output.
    pub(crate) fn output(&self) -> &Arc<OutputBuffer> {
        &self.store.data().context.output
    }

    fn prepare(&mut self, request_id: Option<SmolStr>, companion: Option<&Companion>, deadline: Option<Instant>) {
        let state = self.store.data_mut();
        state.context.request_id = request_id;
        state.context.companion = companion.map(Companion::downgrade);
        state.context.deadline = deadline;
        state.limiter.refused = None;
        state.depth = 0;
        self.store.set_epoch_deadline(1);
        self.calls_left = self.calls_left.saturating_sub(1);
    }

    /// Writes what the call gives into the guest's memory, and says where its two parts lie.
    async fn place(&mut self, call: &Call) -> Result<[(u32, u32); 2], CallError> {
        let found = call.length();
        let length =
            u32::try_from(found).map_err(|_| CallError::ArgumentTooLarge { limit: u32::MAX as usize, found })?;
        let pointer = if length == 0 {
            0
        } else if length <= self.argument.capacity {
            self.argument.pointer
        } else {
            // In a box: it is rare, and the future of every call would be large with it.
            Box::pin(self.make_room(length)).await?
        };
        let memory = self.memory.ok_or(CallError::MissingExport(names::MEMORY))?;
        let bytes = memory.data_mut(&mut self.store);
        let range = Packed { pointer, length }.range(bytes.len()).ok_or_else(|| {
            CallError::Protocol(format!("its argument buffer at {pointer:#x} is outside of its memory"))
        })?;
        let (argument, body) = bytes[range].split_at_mut(call.argument.len());
        argument.copy_from_slice(&call.argument);
        body.copy_from_slice(&call.body);
        // Both are within `length`. What is empty is nowhere.
        let part = |start: u32, length: usize| if length == 0 { (0, 0) } else { (start, length as u32) };
        Ok([
            part(pointer, call.argument.len()),
            part(pointer.wrapping_add(call.argument.len() as u32), call.body.len()),
        ])
    }

    /// A buffer from the guest's allocator, which is kept for the calls to come when it can be.
    async fn make_room(&mut self, length: u32) -> Result<u32, CallError> {
        if let Some(malloc) = self.malloc.find(&self.instance, &mut self.store).cloned() {
            self.release_argument().await?;
            let capacity = if length > KEPT_ARGUMENT { length } else { length.next_power_of_two().max(LEAST_ARGUMENT) };
            let pointer = self.allocate(&malloc, capacity, names::MALLOC).await?;
            if self.free.is_there() {
                self.argument = ArgumentBuffer { pointer, capacity };
            }
            return Ok(pointer);
        }
        // The module owns what it allocates here: it cannot be used twice.
        match exports::typed(self.others.allocate_buffer, &self.instance, &mut self.store) {
            Some(allocate_buffer) => self.allocate(&allocate_buffer, length, names::ALLOCATE_BUFFER).await,
            None => Err(CallError::MissingExport(names::MALLOC)),
        }
    }

    async fn allocate(&mut self, allocator: &TypedFunc<u32, u32>, size: u32, name: &str) -> Result<u32, CallError> {
        let pointer = allocator.call_async(&mut self.store, size).await;
        let pointer = pointer.map_err(|error| classify(&self.store, &error))?;
        let inside = Packed { pointer, length: size }.range(self.memory_size()).is_some();
        if pointer == 0 || !inside {
            let refused = self.store.data().limiter.refused.map(|limit| format!(" ({limit})")).unwrap_or_default();
            return Err(CallError::Protocol(format!("`{name}` answered {pointer:#x} for {size} bytes{refused}")));
        }
        Ok(pointer)
    }

    async fn release_argument(&mut self) -> Result<(), CallError> {
        let buffer = std::mem::take(&mut self.argument);
        if buffer.capacity == 0 {
            return Ok(());
        }
        if let Some(free) = self.free.find(&self.instance, &mut self.store) {
            free.call_async(&mut self.store, buffer.pointer).await.map_err(|error| classify(&self.store, &error))?;
        }
        Ok(())
    }

    /// Copies a framed result out of the guest's memory.
    fn result(&self, packed: Packed) -> Result<Answer, CallError> {
        self.check_length(packed.length as usize)?;
        match frame::decode(lying_at(self.bytes()?, "result", packed)?) {
            Ok(Ok(payload)) => Ok(Answer::result(Bytes::copy_from_slice(payload))),
            Ok(Err(message)) => Err(CallError::Failure(Bytes::copy_from_slice(message))),
            Err(error) => Err(CallError::Protocol(error.to_string())),
        }
    }

    /// Copies the head and the body of a response out of the guest's memory; `packed` is where their record lies.
    fn exchanged(&self, packed: Packed) -> Result<Answer, CallError> {
        let bytes = self.bytes()?;
        let record = lying_at(bytes, "result", packed)?;
        let Some(record) = record.first_chunk() else {
            let problem = format!("its result has {} bytes, expected a record of {RECORD}", record.len());
            return Err(CallError::Protocol(problem));
        };
        let [head, body] = exchange::read_record(record);
        self.check_length(head.length as usize + body.length as usize)?;
        let head = lying_at(bytes, "head", head)?;
        let body = lying_at(bytes, "body", body)?;
        if exchange::is_failure(head) {
            return Err(CallError::Failure(Bytes::copy_from_slice(body)));
        }
        Ok(Answer::exchange(head, body))
    }

    fn check_length(&self, found: usize) -> Result<(), CallError> {
        let limit = self.store.data().context.limits().result;
        if found > limit { Err(CallError::ResultTooLarge { limit, found }) } else { Ok(()) }
    }

    /// The guest's memory.
    fn bytes(&self) -> Result<&[u8], CallError> {
        Ok(self.memory.ok_or(CallError::MissingExport(names::MEMORY))?.data(&self.store))
    }
}

/// What lies at a place that the guest has named as its `what`. Nothing lies anywhere.
fn lying_at<'a>(bytes: &'a [u8], what: &str, place: Packed) -> Result<&'a [u8], CallError> {
    if place.length == 0 {
        return Ok(&[]);
    }
    place.range(bytes.len()).map(|range| &bytes[range]).ok_or_else(|| {
        CallError::Protocol(format!(
            "its {what} at {:#x} with length {} is outside of its memory of {} bytes",
            place.pointer,
            place.length,
            bytes.len()
        ))
    })
}

/// Instantiates and starts. An `Err` that is an exit with code 0 does not come out of here.
async fn begin(
    store: &mut Store<State>,
    pre: &wasmtime::InstancePre<State>,
    exports: &Exports,
) -> wasmtime::Result<wasmtime::Instance> {
    let instance = pre.instantiate_async(&mut *store).await?;
    if let Some(memory) = exports.memory(&instance, &mut *store) {
        let allocate_buffer = Some((instance, Entry::new(exports.others.allocate_buffer)));
        store.data_mut().guest = Some(GuestExports { memory, allocate_buffer });
    }
    let command = store.data().context.surroundings.command;
    if let Some(start) = exports::at(exports.start, &instance, &mut *store) {
        let started = start.typed::<(), ()>(&store)?.call_async(&mut *store, ()).await;
        match started {
            // A command that returns has ended as well as one that exits.
            Ok(()) if command => return Err(Exit(0).into()),
            Ok(()) => {}
            Err(error) if !command && matches!(error.downcast_ref(), Some(Exit(0))) => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(on_start) = exports::at(exports.others.on_start, &instance, &mut *store) {
        on_start.typed::<(), ()>(&store)?.call_async(&mut *store, ()).await?;
    }
    Ok(instance)
}

/// What a guest does when the epoch interrupts it.
fn at_tick(context: &HostContext) -> wasmtime::Result<UpdateDeadline> {
    if context.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Err(DeadlinePassed.into());
    }
    let pace = &context.surroundings.pace;
    Ok(match slices::tick() {
        AtTick::Continue => {
            pace.continued();
            UpdateDeadline::Continue(1)
        }
        AtTick::Yield => {
            pace.yielded();
            UpdateDeadline::Yield(1)
        }
    })
}

/// What an error of the engine means for the call.
fn classify(store: &Store<State>, error: &wasmtime::Error) -> CallError {
    let state = store.data();
    let limits = state.context.limits();
    if error.is::<DeadlinePassed>() {
        return CallError::Deadline(limits.call_timeout.unwrap_or_default());
    }
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return CallError::Exit(exit.0);
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let mut message = match (error.downcast_ref::<wasmtime::Trap>(), error.downcast_ref::<HostFault>()) {
        (Some(trap), _) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        (None, Some(fault)) => fault.to_string(),
        (None, None) => error.root_cause().to_string(),
    };
    if let Some(end) = message.find('\n') {
        message.truncate(end);
    }
    let frames = backtrace.map(WasmBacktrace::frames).unwrap_or_default();
    if let Some(function) = frames.first().and_then(wasmtime::FrameInfo::func_name) {
        message.push_str(&format!(" in `{}`", printable(function)));
    }
    CallError::Trap(Trap { message, backtrace: shown(frames), memory_refused: state.limiter.refused })
}

/// Characters of a name that is shown.
const LONGEST_NAME: usize = 200;

/// A name that the module gives, on one line: it may hold anything.
pub(crate) fn printable(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}...", name[..end].escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

/// Frames for the log, one a line.
fn shown(frames: &[wasmtime::FrameInfo]) -> String {
    let mut text = String::new();
    for (index, frame) in frames.iter().enumerate() {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), printable);
        let offset = frame.module_offset().map_or_else(String::new, |offset| format!("{offset:#x}"));
        text.push_str(&format!("{index:>5}: {offset:>8} - {name}\n"));
    }
    text
}
