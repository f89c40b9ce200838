//! From an input to a module: the bytes as they are, or a module of `wasm-smith` that has exports and imports of the ABI. Function
//! bodies, memory, tables and data of those are anything at all, so that few would get as far as a handler: where the input says
//! so, the allocators are replaced by ones that work.

use std::ops::Range;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use wasm_encoder::{CodeSection, Function, RawSection};
use wasm_smith::{Config, MemoryOffsetChoices};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// What the runner is to do with a module.
#[derive(Debug, Clone, Copy, Default, Arbitrary)]
pub(crate) struct Plan {
    /// Which instances serve.
    pub(crate) contract: u8,
    /// The first handler that is called, by its number; the one after it follows.
    pub(crate) first: u8,
    /// Whether arguments are long.
    pub(crate) long: bool,
}

/// Which parts of the ABI a generated module has: a bit for each of [`EXPORTS`].
#[derive(Arbitrary)]
struct Shape {
    exports: u16,
    working_allocators: bool,
}

/// All exports of the ABI but the memory.
const EXPORTS: [(&str, &str); 14] = [
    ("malloc", "(param i32) (result i32)"),
    ("allocateBuffer", "(param i32) (result i32)"),
    ("callHandle", HANDLER),
    ("callHandleJSON", HANDLER),
    ("callHandleHTTP", HANDLER),
    ("callHandleMessage", HANDLER),
    ("callHandleRequest", "(param i32 i32 i32 i32) (result i64)"),
    ("free", "(param i32)"),
    ("OnHealthCheck", "(result i64)"),
    ("OnMetrics", "(result i64)"),
    ("_start", ""),
    ("_initialize", ""),
    ("OnStart", ""),
    ("OnStop", ""),
];
const HANDLER: &str = "(param i32 i32) (result i64)";

/// The allocators, and where the buffer of each lies: within the first page.
const ALLOCATORS: [(&str, i32); 2] = [("malloc", 4 << 10), ("allocateBuffer", 16 << 10)];

static IMPORTS: LazyLock<Vec<u8>> =
    LazyLock::new(|| wat::parse_str(include_str!("imports.wat")).expect("the text is a module"));

/// The module that an input stands for, and what is to be done with it.
pub(crate) fn read(bytes: &[u8]) -> Option<(Vec<u8>, Plan)> {
    if bytes.starts_with(b"\0asm") || bytes.starts_with(b"(") || bytes.starts_with(b";;") {
        return Some((bytes.to_vec(), Plan { first: bytes.len() as u8, ..Plan::default() }));
    }
    let mut input = Unstructured::new(bytes);
    let plan = Plan::arbitrary(&mut input).ok()?;
    let shape = Shape::arbitrary(&mut input).ok()?;
    let module = wasm_smith::Module::new(config(&shape), &mut input).ok()?.to_bytes();
    Some((if shape.working_allocators { with_allocators(&module) } else { module }, plan))
}

/// What the engine takes, in small; some of it past the limits.
fn config(shape: &Shape) -> Config {
    let wanted = (0..).zip(EXPORTS).filter(|(bit, _)| shape.exports & 1 << bit != 0);
    let functions: String =
        wanted.map(|(_, (name, ty))| format!("(func (export \"{name}\") {ty} unreachable)")).collect();
    let exports = format!("(module (memory (export \"memory\") 1) {functions})");
    Config {
        available_imports: Some(IMPORTS.clone()),
        exports: Some(wat::parse_str(exports).expect("the text is a module")),
        max_imports: 12,
        max_funcs: 40,
        max_instructions: 120,
        max_data_segments: 4,
        max_tables: 5,
        max_table_elements: 2 * crate::runner::TABLE_ELEMENTS as u64,
        memory_offset_choices: MemoryOffsetChoices(95, 4, 1),
        custom_descriptors_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}

/// The module with allocators that answer a buffer.
fn with_allocators(module: &[u8]) -> Vec<u8> {
    let mut out = wasm_encoder::Module::new();
    let (mut imported, mut defined) = (0, 0);
    let mut buffers = Vec::new();
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.expect("generated modules are valid");
        match &payload {
            Payload::ImportSection(imports) => {
                let functions = |import: &wasmparser::Import<'_>| matches!(import.ty, TypeRef::Func(_));
                imported = imports.clone().into_imports().filter(|import| import.as_ref().is_ok_and(functions)).count();
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone().into_iter().flatten() {
                    let buffer = ALLOCATORS.iter().find(|(name, _)| *name == export.name);
                    if let (ExternalKind::Func, Some((_, buffer))) = (export.kind, buffer) {
                        buffers.push((export.index as usize, *buffer));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                match buffers.iter().find(|(index, _)| *index == imported + defined) {
                    Some((_, buffer)) => code.function(&constant(*buffer)),
                    None => code.raw(slice(module, body.range())),
                };
                defined += 1;
                continue;
            }
            Payload::CodeSectionStart { .. } => continue,
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else { continue };
        // Custom sections aside, only data comes after code.
        if id == wasm_encoder::SectionId::Data as u8 && defined > 0 {
            out.section(&std::mem::take(&mut code));
        }
        out.section(&RawSection { id, data: slice(module, range) });
    }
    if !code.is_empty() {
        out.section(&code);
    }
    out.finish()
}

fn slice(module: &[u8], range: Range<u64>) -> &[u8] {
    &module[range.start as usize..range.end as usize]
}

fn constant(value: i32) -> Function {
    let mut body = Function::new([]);
    body.instructions().i32_const(value).end();
    body
}
