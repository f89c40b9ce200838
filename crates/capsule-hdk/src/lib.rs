//! The Capsule Host SDK: everything that concerns a WebAssembly module, for whoever writes a runner.
//!
//! A runner turns an event of its world into a call of a [`Function`] and the answer back into that world. The way there:
//!
//! - [`Engine`]: compiles and runs; one per process.
//! - [`HostFunctions`], linked by a [`Host`]: what modules may import beside WASI.
//! - [`Module`]: bytes that were checked and compiled, from a cache on disk when they are known.
//! - [`Function`]: a module with its [`Limits`], [`Capabilities`] and instance [`Contract`]; it is what one calls.
//!
//! ```
//! use capsule_hdk::{Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions, Module};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let engine = Engine::new(&EngineConfig::default())?;
//! let host = Host::new(&engine, &HostFunctions::new())?;
//! let module = Module::from_bytes(&engine, "echo", br#"(module
//!     (memory (export "memory") 1)
//!     (func (export "malloc") (param i32) (result i32) (i32.const 1024))
//!     (func (export "callHandle") (param $p i32) (param $n i32) (result i64)
//!         ;; the frame byte in front of the argument, which is the result
//!         (i32.store8 (i32.const 1023) (i32.const 83))
//!         (i64.or (i64.shl (i64.const 1023) (i64.const 32)) (i64.extend_i32_u (i32.add (local.get $n) (i32.const 1))))))"#)?;
//! let echo = Function::new(&host, &module, FunctionConfig::new("echo"))?;
//! assert_eq!(echo.handle("Bob").await?, "Bob");
//! # Ok(()) })
//! # }
//! ```
//!
//! # A whole runner
//!
//! ```no_run
#![doc = include_str!("../examples/lines.rs")]
//! ```
//!
//! No type of the engine behind it is part of this interface, and nothing here reads flags or the environment.

#![warn(missing_docs)]

mod cache;
mod call;
mod capabilities;
mod ceiling;
mod command;
mod compiler;
mod engine;
mod error;
mod exports;
mod files;
mod function;
mod held;
mod host;
mod instance;
mod instances;
mod limits;
mod link;
mod module;
mod output;
mod place;
mod reaper;
mod share;
mod slices;
mod source;
mod stats;
mod template;
mod ticker;
mod wasi;

pub use call::{Answer, Call, Kind};
pub use capabilities::{Capabilities, Folder, Network, Reach};
pub use ceiling::{Ceiling, Full, Reservation};
pub use command::Command;
pub use compiler::{CompileCommand, Compiler, compile_for_parent};
pub use engine::{Engine, EngineConfig, cores};
pub use error::{Busy, BusyReason, CallError, Fault, LoadError, LoadErrorKind, MemoryLimit, Trap};
pub use files::{Blocking, DiskUse};
pub use function::{Contract, Exchange, Function, FunctionConfig};
pub use held::Held;
pub use host::{
    Extensions, GuestMemory, HostContext, HostFunction, HostFunctions, HostResult, Reply, Value, ValueType,
};
pub use limits::{Limit, Limits};
pub use link::Host;
pub use module::Module;
pub use output::{Buffering, DirectOutput, MemoryOutput, Output, ProcessOutput, Stream};
pub use stats::Stats;
