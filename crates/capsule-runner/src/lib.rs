//! What every program that runs modules does with its flags: from checked values and the environment to an engine, its host
//! functions, and the settings of a function.
//!
//! - [`settings`]: limits and capabilities in the words of the host SDK.
//! - [`environment`]: which variables a module may read.
//! - [`folders`]: which folders are lent only by name.
//! - [`Runner`]: the engine with the host functions linked, and the module.
//!
//! It knows neither arguments nor protocols: a program parses, calls this, and turns events into calls.

pub mod environment;
pub mod folders;
mod machine;
mod runner;
pub mod settings;

pub use runner::{COMPILE_WORD, Hosted, Mode, Runner, Setup, ceiling, hinted};
