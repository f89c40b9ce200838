//! A module: bytes that were checked against the ABI and compiled.

use std::path::Path;
use std::sync::Arc;

use capsule_abi::names;
use wasmtime::{ExternType, ValType};

use crate::cache::{self, Code, SlotSize};
use crate::ceiling::Reservation;
use crate::engine::Engine;
use crate::error::{LoadError, LoadErrorKind};
use crate::source::{self, Source};

/// A compiled module. Cheap to clone; functions made from one share its code.
#[derive(Clone)]
pub struct Module {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    hash: blake3::Hash,
    wasm: wasmtime::Module,
    weight: usize,
    /// For the machine code.
    _memory: Reservation,
}

impl Module {
    /// Reads a module from a file: `.wasm`, or WebAssembly text. Compiling takes a while: not for an I/O thread.
    ///
    /// # Errors
    /// [`LoadError`] with the path, what was found and what was expected.
    pub fn from_file(engine: &Engine, path: &Path) -> Result<Module, LoadError> {
        let name = path.display().to_string();
        let (bytes, _memory) = source::read(engine, &name, path)?;
        Module::from_bytes(engine, &name, &bytes)
    }

    /// Takes the bytes of a `.wasm` file, or WebAssembly text. `name` stands for them in messages.
    ///
    /// # Errors
    /// [`LoadError`] with the name, what was found and what was expected.
    pub fn from_bytes(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Module, LoadError> {
        let source = Source::new(engine, name, bytes)?;
        let hash = blake3::hash(&source.wasm);
        let wasm = compile(engine, name, &source.wasm, &hash)?;
        let image = wasm.image_range();
        let size = image.end as usize - image.start as usize;
        let memory = engine.ceiling().reserve(size).map_err(|full| LoadError::full(name, full))?;
        let name = name.to_owned();
        Ok(Module { shared: Arc::new(Shared { name, hash, wasm, weight: source.weight, _memory: memory }) })
    }

    /// What the module is called in messages: its path.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The BLAKE3 hash of the binary module, in hexadecimal.
    pub fn hash(&self) -> String {
        self.shared.hash.to_hex().to_string()
    }

    /// True when the module exports a function of this name.
    pub fn exports(&self, name: &str) -> bool {
        matches!(self.shared.wasm.get_export(name), Some(ExternType::Func(_)))
    }

    /// True when the module is a program for WASI preview 1 without any handler: something to run once.
    pub fn is_plain_command(&self) -> bool {
        self.exports(names::START) && !HANDLERS.iter().any(|handler| self.exports(handler))
    }

    /// Whether the host may call it within a call of it, on another stack: to put an answer into its memory.
    pub(crate) fn nests(&self) -> bool {
        self.exports(names::ALLOCATE_BUFFER) && self.wasm().imports().any(|import| import.module() != WASI)
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Module {
        &self.shared.wasm
    }

    /// What each instance takes beside memories, tables and stack, in bytes, at most.
    pub(crate) fn weight(&self) -> usize {
        self.shared.weight
    }
}

/// What a module imports of this writes its answers where the module says.
const WASI: &str = "wasi_snapshot_preview1";

/// The handlers a runner may call.
const HANDLERS: [&str; 5] = [
    names::CALL_HANDLE,
    names::CALL_HANDLE_JSON,
    names::CALL_HANDLE_HTTP,
    names::CALL_HANDLE_REQUEST,
    names::CALL_HANDLE_MESSAGE,
];

/// Compiled code for the pool, or for memory of its own when the module is larger than a slot of the pool: from the cache, or
/// made now.
fn compile(engine: &Engine, name: &str, wasm: &[u8], hash: &blake3::Hash) -> Result<wasmtime::Module, LoadError> {
    let cached = |(place, size): (&wasmtime::Engine, SlotSize)| engine.cache()?.load(place, hash, size);
    let pooled = engine.pooled().map(|pooled| (pooled, SlotSize::Pool));
    if let Some(module) = pooled.and_then(cached).or_else(|| cached((engine.on_demand(), large(engine)))) {
        return Ok(module);
    }
    let Some(queue) = engine.compile_queue() else {
        let made = first_place(engine, |place| wasmtime::Module::new(place, wasm));
        let (module, _, size) = made.map_err(|error| compile_error(name, &error))?;
        if let Some(cache) = engine.cache() {
            match module.serialize() {
                Ok(image) => drop(cache.store(hash, size, &image)),
                Err(error) => tracing::warn!("compile cache: module `{name}` cannot be stored: {error:#}"),
            }
        }
        return Ok(module);
    };
    let image = queue.compile(name, wasm)?;
    let loaded = first_place(engine, |place| cache::load(place, Code::Answered(&image)));
    let (module, place, size) = loaded.map_err(|error| {
        let text = format!("module `{name}`: what was compiled cannot be loaded: {error:#}");
        LoadError::new(LoadErrorKind::Runner, text)
    })?;
    if engine.cache().is_some_and(|cache| cache.store(hash, size, image.bytes())) {
        // Mapped from its file, code takes memory only where it runs.
        drop(image);
        return Ok(cached((place, size)).unwrap_or(module));
    }
    Ok(module)
}

/// Where a module lies that does not fit a slot of the pool, or any, without a pool.
fn large(engine: &Engine) -> SlotSize {
    if engine.pooled().is_some() { SlotSize::Large } else { SlotSize::Pool }
}

/// A module for the pool, or else one with memory of its own: the pool refuses what does not fit its slots, any other reason to
/// refuse it is met again.
fn first_place(
    engine: &Engine,
    make: impl Fn(&wasmtime::Engine) -> wasmtime::Result<wasmtime::Module>,
) -> wasmtime::Result<(wasmtime::Module, &wasmtime::Engine, SlotSize)> {
    if let Some(pooled) = engine.pooled()
        && let Ok(module) = make(pooled)
    {
        return Ok((module, pooled, SlotSize::Pool));
    }
    Ok((make(engine.on_demand())?, engine.on_demand(), large(engine)))
}

/// The validator's words for what is switched off, with our name for it.
const REFUSED: [(&str, &str); 7] = [
    ("threads", "threads"),
    ("shared memor", "threads"),
    ("multi-memory", "multiple memories"),
    ("multiple memories", "multiple memories"),
    ("memory64", "64-bit memories"),
    ("exceptions", "exceptions"),
    ("gc ", "garbage collection"),
];

pub(crate) fn compile_error(name: &str, error: &wasmtime::Error) -> LoadError {
    let root = error.root_cause().to_string();
    let line = root.lines().next().unwrap_or_default();
    let lower = line.to_lowercase();
    let switched_off = ["enabled", "not supported", "unsupported", "multiple memories"];
    if switched_off.iter().any(|words| lower.contains(words)) {
        let proposal = REFUSED.iter().find(|(word, _)| lower.contains(word)).map_or("a proposal", |(_, name)| name);
        return LoadError::new(
            LoadErrorKind::Proposal,
            format!("module `{name}` needs {proposal} of WebAssembly, which Capsule refuses: {line}"),
        )
        .with_hint("switch it off in the compiler (for Rust: `-C target-feature=...`; for C: `-mno-...`)");
    }
    LoadError::new(LoadErrorKind::NotAModule, format!("module `{name}` is not valid WebAssembly: {line}"))
        .with_hint("the file may be damaged or cut off: build or download it again")
}

/// Checks the exports of `module` against docs/abi.md; all problems in one message. Imports are checked where they are
/// linked, since the host functions on offer are known there.
pub(crate) fn check_exports(module: &Module) -> Vec<String> {
    use ValType::{I32, I64};
    let wasm = module.wasm();
    let mut problems = Vec::new();
    match wasm.get_export(names::MEMORY) {
        Some(ExternType::Memory(_)) => {}
        Some(_) => problems.push("export `memory` is not a memory".into()),
        None if module.is_plain_command() => {}
        None => problems.push("export `memory` is missing".into()),
    }
    let handler = ([I32, I32], [I64]);
    let signatures: [(&str, &[ValType], &[ValType]); 14] = [
        (names::START, &[], &[]),
        (names::INITIALIZE, &[], &[]),
        (names::MALLOC, &[I32], &[I32]),
        (names::FREE, &[I32], &[]),
        (names::ALLOCATE_BUFFER, &[I32], &[I32]),
        (names::CALL_HANDLE, &handler.0, &handler.1),
        (names::CALL_HANDLE_JSON, &handler.0, &handler.1),
        (names::CALL_HANDLE_HTTP, &handler.0, &handler.1),
        (names::CALL_HANDLE_REQUEST, &[I32, I32, I32, I32], &[I64]),
        (names::CALL_HANDLE_MESSAGE, &handler.0, &handler.1),
        (names::ON_START, &[], &[]),
        (names::ON_STOP, &[], &[]),
        (names::ON_HEALTH_CHECK, &[], &[I64]),
        (names::ON_METRICS, &[], &[I64]),
    ];
    for (name, params, results) in signatures {
        match wasm.get_export(name) {
            None => {}
            Some(ExternType::Func(found)) => {
                let found_params: Vec<ValType> = found.params().collect();
                let found_results: Vec<ValType> = found.results().collect();
                if !same(&found_params, params) || !same(&found_results, results) {
                    problems.push(format!(
                        "export `{name}` has the signature {}, expected {}",
                        signature(&found_params, &found_results),
                        signature(params, results)
                    ));
                }
            }
            Some(_) => problems.push(format!("export `{name}` is not a function")),
        }
    }
    if !HANDLERS.iter().any(|name| module.exports(name)) && !module.exports(names::START) {
        problems.push(format!("none of the exports `{}` is there", HANDLERS.join("`, `")));
    }
    let handles = HANDLERS.iter().any(|name| module.exports(name));
    if handles && !module.exports(names::MALLOC) && !module.exports(names::ALLOCATE_BUFFER) {
        problems.push("neither `malloc` nor `allocateBuffer` is exported, one is needed to pass an argument".into());
    }
    problems
}

/// The value types of docs/abi.md are numbers: comparing them needs no type hierarchy.
pub(crate) fn same(found: &[ValType], expected: &[ValType]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| ValType::eq(found, expected))
}

/// `(i32, i32) -> i64`
pub(crate) fn signature(params: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let results = if results.is_empty() { "()".into() } else { list(results) };
    format!("({}) -> {results}", list(params))
}
