//! The rules of a server of many functions, as data and pure functions: no I/O, no clock, no threads, no engine.
//!
//! The server keeps the state and carries out what is decided here; `capsctl` writes start bodies and reads records.
//!
//! - [`names`]: names, revisions, indexes, and the keys `name/revision/index` made of them.
//! - [`target`]: what a path below `/functions/` asks for.
//! - [`start`], [`args`], [`spec`]: the body of a start, its arguments, and what a process runs.
//! - [`registry`]: what is registered under which key, and the commands that change it.
//! - [`route`]: weights that split the calls of a function among its revisions.
//! - [`lifecycle`]: the life of one process, from its start through sleep to its end.
//! - [`record`]: the list of processes, as clients see it.
//! - [`stored`]: entries and routes as a store keeps them.
//! - [`functions_toml`]: the file of functions, and what it asks to be changed.
//!
//! A command that cannot be carried out is a [`Refusal`] with a status and one line for the client. Time comes in as a
//! value, what is to be done comes out as one.
//!
//! ```
//! use capsule_faas_model::registry::Registry;
//! use capsule_faas_model::spec::Origin;
//! use capsule_faas_model::start::StartBody;
//! use capsule_faas_model::target::{self, Target};
//!
//! let mut registry = Registry::new();
//! let body = StartBody::parse(br#"{"name": "hello", "args": ["", "-wasm=hello.wasm"]}"#)?;
//! // The key is held while the server loads the module and runs its start ...
//! let reservation = registry.reserve_start(body, Origin::Api, "2026-11-01T10:00:00Z".parse().unwrap())?;
//! assert_eq!(reservation.key().to_string(), "hello/default/0");
//! // ... then the change is written to disk, and committed.
//! let change = reservation.change();
//! assert_eq!(change.writes().len(), 1);
//! let ended = registry.commit(change).unwrap();
//! assert!(ended.is_empty());
//!
//! let Target::Call { selector, path } = target::parse("hello")? else { unreachable!() };
//! assert_eq!(path, "/");
//! assert_eq!(registry.resolve(&selector, 0)?.key().to_string(), "hello/default/0");
//! # Ok::<(), capsule_faas_model::Refusal>(())
//! ```

#![warn(missing_docs)]

pub mod args;
pub mod functions_toml;
pub mod lifecycle;
pub mod names;
pub mod record;
mod refusal;
pub mod registry;
pub mod route;
pub mod spec;
pub mod start;
pub mod stored;
pub mod target;

pub use refusal::{Refusal, RefusalKind};
