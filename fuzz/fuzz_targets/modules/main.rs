//! Modules against the HDK under limits: every call ends within its deadline, with a result or an error that is not the runner's
//! fault; the function can be called again; and a good function beside it answers all the while.
//!
//! An input is a module's bytes, text included, or else what a module is generated from. See `guest.rs` for those, and
//! `runner.rs` for what is done with them.

#![no_main]

mod guest;
mod runner;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((module, plan)) = guest::read(bytes) {
        runner::run(&module, plan);
    }
});
