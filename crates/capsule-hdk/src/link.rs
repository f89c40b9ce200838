//! Host functions and WASI as the engine's imports. The convention of docs/abi.md, section 2, lives here: inputs are pairs
//! `p n`, a reply is written where the cells `rp rn` say.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use capsule_abi::{frame, names};
use futures_util::future::BoxFuture;
use wasmtime::{Caller, Extern, ExternType, FuncType, Linker, Memory, TypedFunc, Val, ValType};

use crate::engine::Engine;
use crate::error::{LoadError, LoadErrorKind};
use crate::held::{Held, SMALL};
use crate::host::{
    GuestMemory, Handler, HostFunction, HostFunctions, HostResult, Reply, Surroundings, Value, ValueType, range,
};
use crate::instance::{GuestExports, HostFault, State, printable};
use crate::limits::Limit;
use crate::module::{Module, same, signature};
use crate::slices;
use crate::wasi;

/// Calls of the guest within calls of the host within calls of the guest: at most this deep.
const MAX_DEPTH: u8 = 4;

/// Bytes that host functions handle in about a millisecond, the time of a fine tick. Copying is faster, finding the memory for it is
/// not.
const TICK: usize = 1 << 20;
/// What a call of a host function costs beside its bytes, in bytes.
const CALL: usize = 512;
/// What one costs that may wait, and may as well answer at once.
const WAITING_CALL: usize = TICK / 16;

/// Imports that do not fit and are named; more are counted.
const MAX_PROBLEMS: usize = 20;

/// What is wrong with an import.
enum Wrong<'a> {
    Unknown,
    NoFunction,
    Signature { wanted: Signature, offered: &'a Signature },
}

/// The host functions of a runner, linked for the engine. One serves all functions.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    functions: HostFunctions,
    pooled: Option<Linker<State>>,
    /// Made for the first module that needs it; where there is a pool, few do.
    on_demand: OnceLock<Linker<State>>,
    /// The signatures of everything on offer, by import module and name.
    offered: Signatures,
}

type Signatures = BTreeMap<(String, String), Signature>;

/// What a function takes and answers. Not the engine's own type: that is registered with the engine, which takes longer than all
/// else here.
pub(crate) struct Signature {
    pub(crate) params: Vec<ValType>,
    pub(crate) results: Vec<ValType>,
}

impl Host {
    /// Links `functions` and WASI preview 1.
    ///
    /// # Errors
    /// When a function is declared in a way that the engine does not take.
    pub fn new(engine: &Engine, functions: &HostFunctions) -> Result<Host, LoadError> {
        let link = |wasm: &wasmtime::Engine| {
            linker(wasm, functions).map_err(|error| {
                LoadError::new(LoadErrorKind::Runner, format!("cannot link host functions: {error:#}"))
            })
        };
        let pooled = engine.pooled().map(link).transpose()?;
        let on_demand = OnceLock::new();
        if pooled.is_none() {
            let _ = on_demand.set(link(engine.on_demand())?);
        }
        let (offered, functions) = (signatures(functions), functions.clone());
        Ok(Host { shared: Arc::new(Shared { engine: engine.clone(), functions, pooled, on_demand, offered }) })
    }

    /// The engine it was linked for.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    fn linker(&self, module: &Module) -> wasmtime::Result<&Linker<State>> {
        let Shared { engine, functions, pooled, on_demand, .. } = &*self.shared;
        match (pooled, on_demand.get()) {
            (Some(pooled), _) if wasmtime::Engine::same(pooled.engine(), module.wasm().engine()) => Ok(pooled),
            (_, Some(linker)) => Ok(linker),
            (_, None) => {
                let linker = linker(engine.on_demand(), functions)?;
                Ok(on_demand.get_or_init(|| linker))
            }
        }
    }

    /// Checks the imports of `module`; the first problems as texts, and how many more there are: a module may import as much as it
    /// likes.
    pub(crate) fn check_imports(&self, module: &Module) -> Vec<String> {
        let mut problems = Vec::new();
        let mut more = 0_usize;
        for import in module.wasm().imports() {
            let key = (import.module().to_owned(), import.name().to_owned());
            let problem = match (import.ty(), self.shared.offered.get(&key)) {
                (_, None) => Wrong::Unknown,
                (ExternType::Func(wanted), Some(offered)) => {
                    let wanted = Signature { params: wanted.params().collect(), results: wanted.results().collect() };
                    if same(&wanted.params, &offered.params) && same(&wanted.results, &offered.results) {
                        continue;
                    }
                    Wrong::Signature { wanted, offered }
                }
                (_, Some(_)) => Wrong::NoFunction,
            };
            if problems.len() == MAX_PROBLEMS {
                more += 1;
                continue;
            }
            let name = format!("`{}.{}`", printable(import.module()), printable(import.name()));
            problems.push(match problem {
                Wrong::Unknown => format!("import {name} is unknown"),
                Wrong::NoFunction => format!("import {name} is not a function"),
                Wrong::Signature { wanted, offered } => format!(
                    "import {name} has the signature {}, expected {}",
                    signature(&wanted.params, &wanted.results),
                    signature(&offered.params, &offered.results)
                ),
            });
        }
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        problems
    }

    /// A host function that `module` imports without the result that they all have since 2023.
    pub(crate) fn import_without_result(&self, module: &Module) -> Option<String> {
        module.wasm().imports().find_map(|import| {
            let key = (import.module().to_owned(), import.name().to_owned());
            let offered = self.shared.offered.get(&key)?;
            let ExternType::Func(wanted) = import.ty() else { return None };
            let old =
                import.module() == names::HOST_MODULE && wanted.results().len() == 0 && offered.results.len() == 1;
            old.then_some(key.1)
        })
    }

    pub(crate) fn link(&self, module: &Module) -> wasmtime::Result<wasmtime::InstancePre<State>> {
        self.linker(module)?.instantiate_pre(module.wasm())
    }
}

/// The signatures of WASI preview 1 and of `functions`.
fn signatures(functions: &HostFunctions) -> Signatures {
    let mut signatures: Signatures = wasi::signatures().collect();
    for function in functions.iter() {
        let signature = match &function.handler {
            Handler::Raw { params, results, .. } => Signature {
                params: params.iter().map(wasm_type).collect(),
                results: results.iter().map(wasm_type).collect(),
            },
            Handler::Immediate { inputs, reply, .. } | Handler::Waiting { inputs, reply, .. } => {
                Signature { params: vec![ValType::I32; parameter_count(*inputs, *reply)], results: vec![ValType::I32] }
            }
        };
        signatures.insert((function.module.to_string(), function.name.to_string()), signature);
    }
    signatures
}

/// Inputs and the cells of a reply are pairs.
fn parameter_count(inputs: usize, reply: Reply) -> usize {
    2 * (inputs + usize::from(reply != Reply::Nothing))
}

fn raw_type(engine: &wasmtime::Engine, params: &[ValueType], results: &[ValueType]) -> FuncType {
    FuncType::new(engine, params.iter().map(wasm_type), results.iter().map(wasm_type))
}

fn linker(engine: &wasmtime::Engine, functions: &HostFunctions) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    for function in functions.iter() {
        match &function.handler {
            Handler::Raw { params, results, .. } => link_raw(&mut linker, function, params, results)?,
            Handler::Immediate { inputs, reply, .. } | Handler::Waiting { inputs, reply, .. } => {
                link_bytes(&mut linker, function, *inputs, *reply)?;
            }
        }
    }
    Ok(linker)
}

/// A host function as its import calls it.
struct Linked {
    name: Arc<str>,
    handler: Handler,
}

impl Linked {
    fn new(function: &HostFunction) -> Linked {
        Linked { name: function.name().into(), handler: function.handler.clone() }
    }
}

/// One arm per number of `i32` parameters: the engine's typed functions are several times faster than untyped ones.
macro_rules! link_arity {
    ($linker:ident, $function:ident, $reply:ident, $count:expr, { $($arity:literal => ($($parameter:ident),*);)* }) => {
        match $count {
            $($arity => {
                let shared = Arc::new(Linked::new($function));
                $linker.func_wrap_async(
                    &$function.module,
                    &$function.name,
                    move |caller: Caller<'_, State>, ($($parameter,)*): ($(link_arity!(@u32 $parameter),)*)| {
                        let linked = Arc::clone(&shared);
                        Box::new(async move { run(caller, &linked, $reply, &[$($parameter),*]).await })
                    },
                )?;
            })*
            count => wasmtime::bail!("host function `{}` has {count} parameters, at most 10 are supported", $function.name),
        }
    };
    (@u32 $parameter:ident) => { u32 };
}

fn link_bytes(
    linker: &mut Linker<State>,
    function: &HostFunction,
    inputs: usize,
    reply: Reply,
) -> wasmtime::Result<()> {
    link_arity!(linker, function, reply, parameter_count(inputs, reply), {
        0 => ();
        2 => (a, b);
        4 => (a, b, c, d);
        6 => (a, b, c, d, e, f);
        8 => (a, b, c, d, e, f, g, h);
        10 => (a, b, c, d, e, f, g, h, i, j);
    });
    Ok(())
}

/// Runs a host function of the usual convention: `parameters` are pairs of inputs, then the cells of the reply.
async fn run(
    mut caller: Caller<'_, State>,
    linked: &Linked,
    reply: Reply,
    parameters: &[u32],
) -> wasmtime::Result<u32> {
    let Linked { name, handler } = linked;
    let fault = |what: String| HostFault { function: Arc::clone(name), what };
    let memory = memory_of(&mut caller)?;
    let (pairs, cells) = parameters.split_at(parameters.len() - if reply == Reply::Nothing { 0 } else { 2 });
    let call = if matches!(handler, Handler::Waiting { .. }) { WAITING_CALL } else { CALL };
    let lengths = pairs.chunks_exact(2).map(|pair| pair[1] as usize);
    pay(&mut caller, lengths.fold(call, usize::saturating_add)).await;
    // Copies of the inputs, and printed lines that wait.
    let mut held: Option<Held> = None;
    let answer = {
        let (bytes, state) = memory.data_and_store_mut(&mut caller);
        let bytes = &*bytes;
        let mut inputs: [&[u8]; 5] = [&[]; 5];
        for (input, pair) in inputs.iter_mut().zip(pairs.chunks_exact(2)) {
            *input = &bytes[range(pair[0], pair[1], bytes.len()).map_err(fault)?];
        }
        let inputs = &inputs[..pairs.len() / 2];
        let limit = state.context.limits().host_memory;
        let given = inputs.iter().map(|input| input.len()).sum::<usize>();
        if given > limit {
            state.context.hit(Limit::HostMemory);
            return Err(fault(format!("the inputs exceed the limit of {limit} bytes (flag `--maxHostMemory`)")).into());
        }
        let refused =
            if given > SMALL { state.context.hold(given).map(|bytes| held = Some(bytes)).err() } else { None };
        match (handler, refused) {
            (_, Some(full)) if reply == Reply::Nothing => return Err(fault(full).into()),
            (_, Some(full)) => Answer::Now(Err(full)),
            (Handler::Immediate { call, .. }, None) => Answer::Now(call(&state.context, inputs)),
            (Handler::Waiting { call, .. }, None) => {
                let inputs = inputs.iter().map(|input| input.to_vec()).collect();
                Answer::Later(call(state.context.clone(), inputs), state.context.surroundings.io.clone())
            }
            (Handler::Raw { .. }, None) => return Err(fault("is linked with the wrong convention".into()).into()),
        }
    };
    // Counted as soon as it is there: whoever pays for it gives way to others, who have answers of their own meanwhile.
    let answer = match answer {
        Answer::Now(answer) => count(&caller.data().context.surroundings, &mut held, answer),
        Answer::Later(future, io) => {
            let (answer, waited) = wait(future, io, &caller.data().context.surroundings, held).await;
            held = waited;
            answer
        }
    };
    pay(&mut caller, answer.as_ref().map_or(0, |answer| answer.bytes.len())).await;
    if caller.data().context.output.room() == 0 {
        let output = Arc::clone(&caller.data().context.output);
        output.relieve().await;
    }
    drop(held);
    // The guest may take its time to make room for the answer.
    let (answer, _held) = match answer {
        Ok(Counted { bytes, held }) => (Ok(bytes), held),
        Err(error) => (Err(error), None),
    };
    let bytes = match (reply, answer) {
        (Reply::Nothing | Reply::Raw, Err(error)) => {
            tracing::warn!(function = caller.data().context.function(), "host function `{name}`: {error}");
            Vec::new()
        }
        (_, Ok(answer)) if reply != Reply::Framed => answer,
        (_, answer) => frame::encode(answer.as_deref().map_err(String::as_bytes)),
    };
    if let [pointer_cell, length_cell] = *cells {
        give(&mut caller, &bytes, pointer_cell, length_cell, &fault).await?;
    }
    Ok(0)
}

/// An answer that is counted, when it is not small.
struct Counted {
    bytes: Vec<u8>,
    held: Option<Held>,
}

/// Counts an answer, in the place of the inputs when it is not small. What does not fit is dropped here.
fn count(surroundings: &Surroundings, inputs: &mut Option<Held>, answer: HostResult) -> Result<Counted, String> {
    let bytes = answer?;
    let limit = surroundings.limits.host_memory;
    if bytes.len() > limit {
        surroundings.counters.hit(Limit::HostMemory);
        let length = bytes.len();
        return Err(format!(
            "the answer of {length} bytes exceeds the limit of {limit} bytes (flag `--maxHostMemory`)"
        ));
    }
    if bytes.len() <= SMALL {
        return Ok(Counted { bytes, held: None });
    }
    *inputs = None;
    let held = Some(surroundings.host_memory.hold(bytes.len())?);
    Ok(Counted { bytes, held })
}

/// What a host function does for the guest costs the guest its time.
pub(crate) async fn pay(caller: &mut Caller<'_, State>, bytes: usize) {
    let debt = &mut caller.data_mut().debt;
    *debt = debt.saturating_add(bytes);
    if *debt >= TICK {
        let ticks = *debt / TICK;
        *debt %= TICK;
        slices::give_way(u32::try_from(ticks).unwrap_or(u32::MAX)).await;
    }
}

enum Answer {
    Now(HostResult),
    Later(BoxFuture<'static, HostResult>, tokio::runtime::Handle),
}

/// Waits for a host function's future, and counts its answer. On a thread for long calls it is handed to the I/O threads: there it
/// does not stand behind other guests.
async fn wait(
    future: BoxFuture<'static, HostResult>,
    io: tokio::runtime::Handle,
    surroundings: &Arc<Surroundings>,
    mut inputs: Option<Held>,
) -> Waited {
    if !slices::in_pool() {
        let answer = future.await;
        return (count(surroundings, &mut inputs, answer), inputs);
    }
    let surroundings = Arc::clone(surroundings);
    let task = io.spawn(async move {
        let answer = future.await;
        (count(&surroundings, &mut inputs, answer), inputs)
    });
    AbortOnDrop(task).await
}

/// An answer, and what is still held of the inputs.
type Waited = (Result<Counted, String>, Option<Held>);

struct AbortOnDrop(tokio::task::JoinHandle<Waited>);

impl Future for AbortOnDrop {
    type Output = Waited;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Waited> {
        std::pin::Pin::new(&mut self.0)
            .poll(context)
            .map(|joined| joined.unwrap_or_else(|_| (Err("the runner is being stopped".into()), None)))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Places `bytes` in a buffer of the guest and writes its address and length into the two cells.
async fn give(
    caller: &mut Caller<'_, State>,
    bytes: &[u8],
    pointer_cell: u32,
    length_cell: u32,
    fault: &impl Fn(String) -> HostFault,
) -> wasmtime::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| fault("the answer has more than 4 GiB".into()))?;
    let pointer = if length == 0 { 0 } else { allocate(caller, length, fault).await? };
    let memory = memory_of(caller)?;
    let mut memory = GuestMemory { bytes: memory.data_mut(caller) };
    memory.write(pointer, bytes).map_err(|what| fault(format!("`allocateBuffer` answered a wrong buffer: {what}")))?;
    memory.write(pointer_cell, &pointer.to_le_bytes()).map_err(fault)?;
    memory.write(length_cell, &length.to_le_bytes()).map_err(fault)?;
    Ok(())
}

/// A buffer of `length` bytes, which the guest owns from then on.
async fn allocate(
    caller: &mut Caller<'_, State>,
    length: u32,
    fault: &impl Fn(String) -> HostFault,
) -> wasmtime::Result<u32> {
    let Some(allocate) = allocator(caller) else {
        return Err(fault("the module has no export `allocateBuffer` to receive the answer".into()).into());
    };
    if caller.data().depth >= MAX_DEPTH {
        return Err(fault(format!("calls within calls are more than {MAX_DEPTH} deep")).into());
    }
    // An instance has two stacks of its own: for its call, and for the first call within.
    let _stack = if caller.data().depth > 0 {
        let spare = caller.data().context.surroundings.stacks.take();
        Some(spare.map_err(|_| fault("calls within calls are deep in too many instances at once".into()))?)
    } else {
        None
    };
    caller.data_mut().depth += 1;
    let pointer = allocate.call_async(&mut *caller, length).await;
    caller.data_mut().depth -= 1;
    match pointer? {
        0 => Err(fault(format!("`allocateBuffer` answered 0 for {length} bytes")).into()),
        pointer => Ok(pointer),
    }
}

/// The guest's own allocator for what the host gives it.
fn allocator(caller: &mut Caller<'_, State>) -> Option<TypedFunc<u32, u32>> {
    let (instance, mut entry) = caller.data().guest.as_ref()?.allocate_buffer.clone()?;
    let found = entry.find(&instance, &mut *caller).cloned();
    if let Some(guest) = &mut caller.data_mut().guest {
        guest.allocate_buffer = Some((instance, entry));
    }
    found
}

/// The guest's memory. During a module's start function the instance is not known yet, but its exports are.
pub(crate) fn memory_of(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    if let Some(guest) = &caller.data().guest {
        return Ok(guest.memory);
    }
    let Some(Extern::Memory(memory)) = caller.get_export(names::MEMORY) else {
        wasmtime::bail!("the module has no export `memory`");
    };
    caller.data_mut().guest = Some(GuestExports { memory, allocate_buffer: None });
    Ok(memory)
}

fn link_raw(
    linker: &mut Linker<State>,
    function: &HostFunction,
    params: &[ValueType],
    results: &[ValueType],
) -> wasmtime::Result<()> {
    let Handler::Raw { call, .. } = function.handler.clone() else { return Ok(()) };
    let name: Arc<str> = function.name().into();
    let expected = results.to_vec();
    let ty = raw_type(linker.engine(), params, results);
    linker.func_new(&function.module, &function.name, ty, move |mut caller, arguments, results| {
        let fault = |what: String| HostFault { function: Arc::clone(&name), what };
        let arguments = arguments.iter().map(value).collect::<Option<Vec<_>>>();
        let arguments = arguments.ok_or_else(|| fault("is called with a reference".into()))?;
        let memory = memory_of(&mut caller)?;
        let (bytes, state) = memory.data_and_store_mut(&mut caller);
        let answers = call(&state.context, &mut GuestMemory { bytes }, &arguments).map_err(fault)?;
        let fits = answers.len() == expected.len() && answers.iter().zip(&expected).all(|(v, t)| value_type(v) == *t);
        if !fits {
            return Err(fault(format!("answers {answers:?}, expected values of {expected:?}")).into());
        }
        for (result, answer) in results.iter_mut().zip(answers) {
            *result = match answer {
                Value::I32(value) => Val::I32(value),
                Value::I64(value) => Val::I64(value),
                Value::F32(value) => Val::F32(value.to_bits()),
                Value::F64(value) => Val::F64(value.to_bits()),
            };
        }
        Ok(())
    })?;
    Ok(())
}

fn wasm_type(ty: &ValueType) -> ValType {
    match ty {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
        ValueType::F32 => ValType::F32,
        ValueType::F64 => ValType::F64,
    }
}

fn value(value: &Val) -> Option<Value> {
    match value {
        Val::I32(value) => Some(Value::I32(*value)),
        Val::I64(value) => Some(Value::I64(*value)),
        Val::F32(bits) => Some(Value::F32(f32::from_bits(*bits))),
        Val::F64(bits) => Some(Value::F64(f64::from_bits(*bits))),
        _ => None,
    }
}

fn value_type(value: &Value) -> ValueType {
    match value {
        Value::I32(_) => ValueType::I32,
        Value::I64(_) => ValueType::I64,
        Value::F32(_) => ValueType::F32,
        Value::F64(_) => ValueType::F64,
    }
}
