//! What a module is before it is compiled: its size, text or binary, its header, and how much is in it.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::ceiling::Reservation;
use crate::engine::Engine;
use crate::error::{LoadError, LoadErrorKind};

/// Sections of a module by their ids.
const FUNCTIONS: u8 = 3;
const GLOBALS: u8 = 6;

/// Bytes of memory that a byte of WebAssembly text takes while it is read.
const TEXT_COST: usize = 100;
/// What a global and a function take of each instance, in bytes.
const GLOBAL: usize = 16;
const FUNCTION: usize = 32;

/// How large a module may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes.
    pub(crate) bytes: usize,
    /// Bytes when it is text.
    pub(crate) text: usize,
    /// Functions.
    pub(crate) functions: usize,
}

impl Bounds {
    fn check_bytes(self, name: &str, found: usize) -> Result<(), LoadError> {
        if found <= self.bytes { Ok(()) } else { Err(self.exceeded(name, &format!("{found} bytes"))) }
    }

    fn exceeded(self, name: &str, found: &str) -> LoadError {
        let text = format!("module `{name}` has {found}, the limit is {} (flag `--maxModule`)", self.bytes);
        LoadError::new(LoadErrorKind::Limit, text)
    }
}

/// Reads a file, no more of it than a module may have. The memory for it is reserved as long as the answer is held.
pub(crate) fn read(engine: &Engine, name: &str, path: &Path) -> Result<(Vec<u8>, Reservation), LoadError> {
    let unreadable = |error: std::io::Error| {
        LoadError::new(LoadErrorKind::Read, format!("cannot read module `{name}`: {error}"))
            .with_hint("`--wasm=PATH` names the module; `--url=URL` downloads it to that path first")
    };
    let bounds = engine.bounds();
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    bounds.check_bytes(name, length)?;
    let memory = engine.ceiling().reserve(length).map_err(|full| LoadError::full(name, full))?;
    let mut bytes = Vec::with_capacity(length);
    // A pipe has no length.
    let most = u64::try_from(bounds.bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bounds.bytes {
        return Err(bounds.exceeded(name, &format!("more than {} bytes", bounds.bytes)));
    }
    Ok((bytes, memory))
}

/// A module whose size is allowed, and whose header is that of one.
pub(crate) struct Source<'a> {
    /// The binary.
    pub(crate) wasm: Cow<'a, [u8]>,
    /// What it takes of each instance beside memories, tables and stack, in bytes, at most.
    pub(crate) weight: usize,
}

impl<'a> Source<'a> {
    /// Takes a binary module, or text.
    pub(crate) fn new(engine: &Engine, name: &str, bytes: &'a [u8]) -> Result<Source<'a>, LoadError> {
        let bounds = engine.bounds();
        bounds.check_bytes(name, bytes.len())?;
        let wasm = if is_text(bytes) { Cow::Owned(binary(engine, name, bytes)?) } else { Cow::Borrowed(bytes) };
        check_header(name, &wasm)?;
        let outline = Outline::of(&wasm);
        if outline.functions > bounds.functions {
            let text = format!(
                "module `{name}` has {} functions, the limit is {} (`--maxModule=none` lifts it)",
                outline.functions, bounds.functions
            );
            return Err(LoadError::new(LoadErrorKind::Limit, text));
        }
        let weight = outline.globals.saturating_mul(GLOBAL).saturating_add(outline.functions.saturating_mul(FUNCTION));
        Ok(Source { wasm, weight })
    }
}

/// WebAssembly text starts with a parenthesis or a comment after white space.
fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).map_or(&[][..], |start| &bytes[start..]);
    start.starts_with(b"(") || start.starts_with(b";;")
}

/// The binary of a text.
fn binary(engine: &Engine, name: &str, text: &[u8]) -> Result<Vec<u8>, LoadError> {
    let limit = engine.bounds().text;
    if text.len() > limit {
        let message = format!("module `{name}` is text of {} bytes, the limit is {limit}", text.len());
        return Err(LoadError::new(LoadErrorKind::Limit, message).with_hint("give the server the binary: `wat2wasm`"));
    }
    let cost = text.len().saturating_mul(TEXT_COST);
    let _memory = engine.ceiling().reserve(cost).map_err(|full| LoadError::full(name, full))?;
    let wasm = wat::parse_bytes(text).map_err(|error| {
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        LoadError::new(LoadErrorKind::NotAModule, format!("module `{name}` is not valid WebAssembly text: {line}"))
    })?;
    engine.bounds().check_bytes(name, wasm.len())?;
    Ok(wasm.into_owned())
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

/// How many there are of what has a count of its own at the head of a section.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outline {
    functions: usize,
    globals: usize,
}

impl Outline {
    /// Walks over the sections of a module with a good header. What is malformed is left to the compiler, which refuses it.
    fn of(wasm: &[u8]) -> Outline {
        let mut outline = Outline::default();
        let mut rest = wasm.get(8..).unwrap_or_default();
        while let Some((&id, after)) = rest.split_first() {
            let Some((content, next)) = number(after).and_then(|(size, after)| after.split_at_checked(size)) else {
                break;
            };
            let count = || number(content).map_or(0, |(count, _)| count);
            match id {
                FUNCTIONS => outline.functions = count(),
                GLOBALS => outline.globals = count(),
                _ => {}
            }
            rest = next;
        }
        outline
    }
}

/// An unsigned number of 32 bits in LEB128, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value: usize = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_of_a_module() {
        let of = |wat: &str| Outline::of(&wat::parse_str(wat).unwrap());
        assert_eq!(of("(module)"), Outline::default());
        let many = "(func)".repeat(300) + &"(global i32 (i32.const 0))".repeat(200);
        let text = format!(r#"(module (import "a" "b" (func)) {many} (@custom "x" "y"))"#);
        assert_eq!(of(&text), Outline { functions: 300, globals: 200 });
    }

    #[test]
    fn nonsense_has_no_outline_and_does_no_harm() {
        let whole = wat::parse_str("(module (memory 1) (func) (func) (global i32 (i32.const 0)))").unwrap();
        for length in 0..whole.len() {
            Outline::of(&whole[..length]);
        }
        for bytes in [
            &b"\0asm\x01\0\0\0\x03\xff\xff\xff\xff\x0f"[..],
            b"\0asm\x01\0\0\0\x03\xff\xff\xff\xff\xff\xff",
            b"\0asm\x01\0\0\0\x03\0",
            b"\0asm\x01\0\0\0\x03",
            b"\0as",
        ] {
            assert_eq!(Outline::of(bytes), Outline::default(), "{bytes:?}");
        }
        // A count is what it says, true or not: one that is too large is refused either way.
        let claims = b"\0asm\x01\0\0\0\x03\x05\xff\xff\xff\xff\x0f";
        assert_eq!(Outline::of(claims).functions, 0xffff_ffff);
    }
}
