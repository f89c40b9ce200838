//! The public API of the crate, as programs use it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod command_line;
mod download;
mod help;
mod logs;
mod settings;
mod signals;
