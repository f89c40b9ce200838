//! The rules of a server of many functions, as data and pure functions: no I/O, no clock, no threads, no engine.
#![warn(missing_docs)]

pub mod args;
pub mod names;
mod refusal;
pub mod spec;
pub mod start;
pub mod target;

pub use refusal::{Refusal, RefusalKind};
