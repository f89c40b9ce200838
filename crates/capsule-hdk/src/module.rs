//! A module: bytes that were checked against the ABI and compiled.

use std::path::Path;
use std::sync::Arc;

use capsule_abi::names;
use wasmtime::{ExternType, ValType};

use crate::cache::SlotSize;
use crate::engine::Engine;
use crate::error::{LoadError, LoadErrorKind};

/// A compiled module. Cheap to clone; functions made from one share its code.
#[derive(Clone)]
pub struct Module {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    hash: blake3::Hash,
    wasm: wasmtime::Module,
}

impl Module {
    /// Reads a module from a file: `.wasm`, or WebAssembly text. Compiling takes a while: not for an I/O thread.
    ///
    /// # Errors
    /// [`LoadError`] with the path, what was found and what was expected.
    pub fn from_file(engine: &Engine, path: &Path) -> Result<Module, LoadError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            LoadError::new(LoadErrorKind::Read, format!("cannot read module `{name}`: {error}"))
                .with_hint("`--wasm=PATH` names the module; `--url=URL` downloads it to that path first")
        })?;
        Module::from_bytes(engine, &name, &bytes)
    }

    /// Takes the bytes of a `.wasm` file, or WebAssembly text. `name` stands for them in messages.
    ///
    /// # Errors
    /// [`LoadError`] with the name, what was found and what was expected.
    pub fn from_bytes(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Module, LoadError> {
        let text;
        let bytes = if is_text(bytes) {
            text = wat::parse_bytes(bytes).map_err(|error| {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                LoadError::new(
                    LoadErrorKind::NotAModule,
                    format!("module `{name}` is not valid WebAssembly text: {line}"),
                )
            })?;
            &text[..]
        } else {
            bytes
        };
        check_header(name, bytes)?;
        let hash = blake3::hash(bytes);
        let wasm = compile(engine, name, bytes, &hash)?;
        Ok(Module { shared: Arc::new(Shared { name: name.to_owned(), hash, wasm }) })
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

    pub(crate) fn wasm(&self) -> &wasmtime::Module {
        &self.shared.wasm
    }
}

/// The handlers a runner may call.
const HANDLERS: [&str; 5] = [
    names::CALL_HANDLE,
    names::CALL_HANDLE_JSON,
    names::CALL_HANDLE_HTTP,
    names::CALL_HANDLE_REQUEST,
    names::CALL_HANDLE_MESSAGE,
];

/// WebAssembly text starts with a parenthesis or a comment after white space.
fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).map_or(&[][..], |start| &bytes[start..]);
    start.starts_with(b"(") || start.starts_with(b";;")
}

fn check_header(name: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let not_wasm = |found: String| {
        LoadError::new(LoadErrorKind::NotAModule, format!("`{name}` is not a WebAssembly module: {found}"))
            .with_hint("expected a file that a compiler made for `wasm32-wasip1`, or WebAssembly text")
    };
    if bytes.is_empty() {
        return Err(not_wasm("it is empty".into()));
    }
    if !bytes.starts_with(b"\0asm") {
        let start: String =
            bytes.iter().take(16).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
        return Err(not_wasm(format!("it starts with `{start}`")));
    }
    match bytes.get(4..8) {
        None => Err(not_wasm(format!("it is truncated after {} bytes", bytes.len()))),
        Some([1, 0, 0, 0]) => Ok(()),
        Some([_, _, 1, 0]) => Err(LoadError::new(
            LoadErrorKind::OtherAbi,
            format!("`{name}` is a WebAssembly component; Capsule runs core modules"),
        )
        .with_hint("compile for `wasm32-wasip1` instead of `wasm32-wasip2`")),
        Some(version) => Err(not_wasm(format!("its version bytes are {version:?}, expected [1, 0, 0, 0]"))),
    }
}

/// Compiled code for the pool, or for memory of its own when the module is larger than a slot of the pool.
fn compile(engine: &Engine, name: &str, bytes: &[u8], hash: &blake3::Hash) -> Result<wasmtime::Module, LoadError> {
    let preferred = (engine.pooled().unwrap_or_else(|| engine.on_demand()), SlotSize::Pool);
    let larger = engine.pooled().map(|_| (engine.on_demand(), SlotSize::Large));
    for (wasm, size) in [Some(preferred), larger].into_iter().flatten() {
        if let Some(module) = engine.cache().and_then(|cache| cache.load(wasm, hash, size)) {
            return Ok(module);
        }
    }
    let (module, size) = match (wasmtime::Module::new(preferred.0, bytes), larger) {
        (Ok(module), _) => (module, preferred.1),
        // The pool refuses what does not fit its slots; any other reason is met again.
        (Err(_), Some((wasm, size))) => {
            (wasmtime::Module::new(wasm, bytes).map_err(|e| compile_error(name, &e))?, size)
        }
        (Err(error), None) => return Err(compile_error(name, &error)),
    };
    if let Some(cache) = engine.cache() {
        match module.serialize() {
            Ok(image) => cache.store(hash, size, &image),
            Err(error) => tracing::warn!("compile cache: module `{name}` cannot be stored: {error:#}"),
        }
    }
    Ok(module)
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

fn compile_error(name: &str, error: &wasmtime::Error) -> LoadError {
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
