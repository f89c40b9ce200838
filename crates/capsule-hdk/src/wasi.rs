//! WASI preview 1 for an instance: what its function was given, and nothing else.
//!
//! Descriptors are the host SDK's own (`descriptors.rs`), and so is all that is done with them (`preview1.rs`, `streams.rs`):
//! files are opened without waiting and only regular ones, their number and what they grow by are limited, and the work is
//! done on the function's share of threads. Types and the trait of the functions come from the specification
//! (`interface.rs`); the engine calls them as `table.rs` says.

mod attributes;
mod clocks;
mod descriptors;
mod errno;
mod folders;
mod interface;
mod listing;
mod poll;
mod preview1;
mod random;
mod rights;
mod stdin;
mod streams;
mod table;
mod texts;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wasmtime::Linker;

use crate::host::Surroundings;
use crate::instance::State;
use crate::link::Signature;
use crate::output::OutputBuffer;
use clocks::Clocks;
use descriptors::Descriptors;

/// Links all of it.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    table::link(linker)?;
    random::link(linker)
}

/// The import module, name and signature of each function of it.
pub(crate) fn signatures() -> impl Iterator<Item = ((String, String), Signature)> {
    let all = table::signatures().into_iter().chain([random::signature()]);
    all.map(|(name, signature)| ((table::MODULE.to_owned(), name.to_owned()), signature))
}

/// What an instance has of WASI.
pub(crate) struct Wasi {
    surroundings: Arc<Surroundings>,
    output: Arc<OutputBuffer>,
    descriptors: Descriptors,
    clocks: Clocks,
    /// A limit was told in the log: once is enough.
    told: bool,
}

impl Wasi {
    /// A context that sees exactly what the capabilities of its function name.
    pub(crate) fn new(
        surroundings: &Arc<Surroundings>,
        output: &Arc<OutputBuffer>,
        open_files: &Arc<AtomicUsize>,
    ) -> Wasi {
        let folders = surroundings.capabilities.folders.len();
        Wasi {
            surroundings: Arc::clone(surroundings),
            output: Arc::clone(output),
            descriptors: Descriptors::new(folders, open_files, surroundings.limits.files, &surroundings.files),
            clocks: Clocks::new(),
            told: false,
        }
    }

    /// Tells the operator of a limit, once for an instance: the guest learns no more than a number.
    fn tell(&mut self, what: impl FnOnce(&Surroundings) -> String) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(function = self.surroundings.name, "WASI: {}", what(&self.surroundings));
        }
    }
}
