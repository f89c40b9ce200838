//! The host SDK through its public interface, with modules that try to break it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod calls;
mod ceiling;
mod contracts;
mod exchange;
mod hostile;
mod imports;
mod load;
mod processes;
mod recycling;
mod shares;
mod slices;
mod support;
mod wasi;
