//! Who compiles: this process, or a child process for each module.
//!
//! Compiling cannot be interrupted, and a module of a few kilobytes can make it take minutes and gigabytes: 10 kB of calls with
//! a thousand results each took 20 s and 1 GB. A server of modules of others therefore has each compiled by a child of its own
//! ([`Compiler::Child`]), which is the program itself in another role ([`compile_for_parent`]): with a budget of time and
//! memory, at a lower priority, one after the other in the order in which they came. What compiling leaves behind in memory
//! goes with the child.
//!
//! | pipe | carries |
//! |---|---|
//! | stdin | the length of the module's name (4 bytes, little endian), the name, the module |
//! | stdout | `S` and the machine code, or `F`, a byte for the kind of error, its text, a zero byte, its hint |
//! | stderr | what is said when it breaks |
//!
//! Nobody but the two has these pipes, and the child is the same program, so its answer is worth as much as what this process
//! had compiled. It has the parent's user and rights: the budget protects from what compiling costs, it is no sandbox.

mod child;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use child::compile_for_parent;
pub(crate) use parent::{CompileQueue, Image};

/// Who compiles modules.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Compiler {
    /// This process, without limits of time and memory: for modules of its own operator. The default.
    #[default]
    InProcess,
    /// A child process for each module.
    Child(CompileCommand),
}

/// How a child process that compiles is started, and what it may use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompileCommand {
    /// The executable of this very program.
    pub program: PathBuf,
    /// The words by which it knows that it is to call [`compile_for_parent`] with the words behind them.
    pub arguments: Vec<OsString>,
    /// Its environment, which is nothing of this process's own: what its allocator should know, to be thrifty. Empty by
    /// default.
    pub environment: Vec<(OsString, OsString)>,
    /// How long one module may take. Default 60 s.
    pub time: Duration,
    /// Bytes that compiling one module may take. When less is free below the ceiling of the process, a small module gets by
    /// with less. Default 1 GiB.
    pub memory: usize,
}

impl CompileCommand {
    /// `program` with `arguments`, and the default budget.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> CompileCommand {
        CompileCommand {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            time: Duration::from_secs(60),
            memory: 1 << 30,
        }
    }
}

/// Memory that compiling takes, whatever the module.
const BASE_MEMORY: usize = 48 << 20;
/// And for each byte of it, as a rule.
const MEMORY_PER_BYTE: usize = 32;

/// Bytes that compiling a module of this size needs at least. A large function takes more than many small ones.
fn least_memory(module: usize, most: usize) -> usize {
    module.saturating_mul(MEMORY_PER_BYTE).saturating_add(BASE_MEMORY).min(most)
}

/// First byte of an answer: machine code follows.
const SUCCESS: u8 = b'S';
/// First byte of an answer: an error follows.
const FAILURE: u8 = b'F';
