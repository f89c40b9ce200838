//! What all Capsule programs share: flags, environment, download, logging, signals, exit codes.
//!
//! | module | holds |
//! |---|---|
//! | [`flags`] | one record per flag, and the table of a program |
//! | [`parse`] | words and environment variables to checked values, with Go's syntax |
//! | [`units`] | durations, sizes, counts |
//! | [`usage`] | everything that is wrong with a command line, reported together |
//! | [`help`] | a program as its users see it: `--help`, `--version` |
//! | [`completions`] | scripts for bash, zsh and fish |
//! | [`message`] | errors, causes and hints on stderr |
//! | [`exit`] | exit codes |
//! | [`module_source`] | `--wasm`, `--url` and what belongs to them |
//! | [`limits`], [`capabilities`] | what bounds a function, what is open to it |
//! | [`download`] | a module from an address to a file |
//! | [`logging`] | log lines on stderr |
//! | [`signals`] | being asked to stop |
//! | [`redact`] | secrets out of what is shown |
//!
//! Nothing here knows wasm, and nothing here prints except through [`message`]. A program gives a table, gets
//! checked values, and turns them into settings of its own:
//!
//! ```
//! use capsule_cmd::flags::{Flag, Table, Type};
//!
//! const PORT: Flag = Flag::value("httpPort", "PORT", Type::Port, "Port to listen on.").default("0");
//!
//! let table = Table::new([PORT]);
//! let parsed = capsule_cmd::parse::parse(&table, ["-httpPort=8080".into(), "hello.wasm".into()], |_| None)?;
//! assert_eq!(parsed.port(&PORT), Some(8080));
//! assert_eq!(parsed.operands(), ["hello.wasm"]);
//! # Ok::<(), capsule_cmd::usage::UsageError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test"))]

pub mod capabilities;
pub mod completions;
pub mod download;
pub mod exit;
pub mod flags;
pub mod help;
pub mod limits;
pub mod logging;
pub mod message;
pub mod module_source;
pub mod parse;
pub mod redact;
pub mod signals;
mod suggest;
pub mod units;
pub mod usage;
