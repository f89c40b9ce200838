//! WASI preview 1 for an instance: what its function was given, and nothing else.
//!
//! Descriptors are the host SDK's own (`descriptors.rs`), and so is all that is done with them (`preview1.rs`, `streams.rs`):
//! files are opened without waiting and only regular ones, their number and what they grow by are limited, and the work is
//! done on the function's share of threads. Clocks, random numbers and standard input are the engine's own; they are made
//! when they are first asked for, since most modules never do.

mod attributes;
mod descriptors;
mod errno;
mod listing;
mod preview1;
mod random;
mod streams;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

use crate::host::Surroundings;
use crate::instance::State;
use crate::output::{OutputBuffer, Stream};
use descriptors::Descriptors;

/// Links all of it.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker(linker, State::wasi)?;
    random::link(linker)
}

/// What an instance has of WASI.
pub(crate) struct Wasi {
    surroundings: Arc<Surroundings>,
    output: Arc<OutputBuffer>,
    descriptors: Descriptors,
    /// Clocks, random numbers, standard input.
    engine: Option<Box<WasiP1Ctx>>,
    /// Bytes that the engine's own functions may copy for one call.
    fuel: usize,
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
            descriptors: Descriptors::new(folders, open_files, surroundings.limits.files),
            engine: None,
            fuel: 0,
            told: false,
        }
    }

    /// The engine's own functions.
    fn engine(&mut self) -> &mut WasiP1Ctx {
        let (output, fuel) = (&self.output, self.fuel);
        let stdin = self.surroundings.capabilities.stdin;
        let engine = self.engine.get_or_insert_with(|| {
            let mut builder = WasiCtxBuilder::new();
            builder
                .stdout(Pipe { output: Arc::clone(output), stream: Stream::Stdout })
                .stderr(Pipe { output: Arc::clone(output), stream: Stream::Stderr });
            if stdin {
                builder.inherit_stdin();
            }
            Box::new(builder.build_p1())
        });
        wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1::set_hostcall_fuel(&mut **engine, fuel);
        engine
    }

    /// Tells the operator of a limit, once for an instance: the guest learns no more than a number.
    fn tell(&mut self, what: impl FnOnce(&Surroundings) -> String) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(function = self.surroundings.name, "WASI: {}", what(&self.surroundings));
        }
    }
}

/// One of the guest's standard streams as the engine waits for it: writes go to the instance's buffer; while the runner's
/// reader is behind, the guest waits.
struct Pipe {
    output: Arc<OutputBuffer>,
    stream: Stream,
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Preview 1 writes through `p2_stream`; nothing else is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Pipe { output: Arc::clone(&self.output), stream: self.stream })
    }
}

#[async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {
        self.output.relieve().await;
    }
}

#[async_trait]
impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.stream, &[&bytes]);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.output.room())
    }
}
