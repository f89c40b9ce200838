//! `capsule` as its users run it: the real binary, its exit codes, stdout and stderr.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_modules;
mod calls;
mod commands;
mod downloads;
mod host;
mod samples;
mod signals;
mod support;
mod tinygo;
mod usage;
