//! The SDK for Capsule modules in Rust: write a function, export it, and a Capsule runner calls it.
//!
//! ```
//! use capsule_mdk::{Request, Response, Result};
//!
//! fn hey(request: Request<'_>) -> Result<Response> {
//!     capsule_mdk::print(request.method());
//!     Ok(Response::text(format!("👋 Hey {} !", request.text())))
//! }
//!
//! capsule_mdk::handle_http!(hey);
//!
//! fn main() {} // runs once, at the start of an instance: read settings here
//! ```
//!
//! Compile it with `cargo build --release --target wasm32-wasip1`, as a binary (`fn main`) or as a `cdylib` (then export a start
//! function with [`reactor!`], or none).
//!
//! # What is where
//!
//! - Exports: [`handle!`], [`handle_json!`], [`handle_http!`], [`handle_http_raw!`],
//!   [`handle_request_raw!`], [`on_start!`], [`on_stop!`], [`on_health!`], [`on_metrics!`], [`reactor!`].
//! - Types of handlers: [`Request`], [`Response`], [`Result`].
//! - Host functions: [`print()`], [`log()`], [`talk`], [`get_env`], [`read_file`], [`write_file`], [`cache`], [`redis`], [`http`].
//! - Tests without wasm: everywhere but on wasm32, host functions go to an in-memory stand-in, [`standin`].
//!
//! # Memory
//!
//! The C library's `malloc` and `free` serve for the argument of a call. They are exported by two linker flags, best put into
//! `.cargo/config.toml`:
//!
//! ```toml
//! [target.wasm32-wasip1]
//! rustflags = ["-Clink-arg=--export=malloc", "-Clink-arg=--export=free"]
//! ```
//!
//! Without them the runner of this project passes the argument through `allocateBuffer`, which this crate exports by itself;
//! the reference's runner needs `malloc`.
//!
//! # Failure
//!
//! An `Err` of a handler is a failure with its text: the runner goes on with this instance. A panic writes its message to stderr
//! and traps: the runner replaces the instance.

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails as it should"))]

pub mod cache;
mod export;
mod host;
pub mod http;
#[cfg(target_arch = "wasm32")]
mod imports;
mod memory;
pub mod redis;
mod request;
mod response;
#[cfg(not(target_arch = "wasm32"))]
pub mod standin;

#[cfg(target_arch = "wasm32")]
use imports as backend;
#[cfg(not(target_arch = "wasm32"))]
use standin as backend;

pub use export::Argument;
pub use host::{HostError, get_env, log, print, read_file, talk, write_file};
pub use request::Request;
pub use response::Response;

/// Any error of a handler; the `?` operator makes one of every error, `.into()` of a text.
pub type BoxError = Box<dyn std::error::Error>;

/// What a handler returns.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// What the macros expand to. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{
        bytes_frame, document, enter, enter_raw_request, enter_request, json_frame, response_frame,
    };
    pub use crate::memory::initialize;
}
