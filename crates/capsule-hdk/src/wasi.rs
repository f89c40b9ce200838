//! WASI preview 1 for an instance: built from the capabilities of its function, output into the instance's buffer.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiView as _, async_trait};

use crate::capabilities::Capabilities;
use crate::output::{OutputBuffer, Stream};

/// Open files and folders of an instance, and what one call of `poll_oneoff` waits for, together: each is memory of the host, and
/// time to look at.
const MAX_RESOURCES: usize = 10_000;

/// A context that sees exactly what `capabilities` name.
///
/// # Errors
/// A text that names the folder that cannot be opened.
pub(crate) fn context(capabilities: &Capabilities, output: &Arc<OutputBuffer>) -> Result<WasiP1Ctx, String> {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(Pipe { output: Arc::clone(output), stream: Stream::Stdout })
        .stderr(Pipe { output: Arc::clone(output), stream: Stream::Stderr })
        .args(&capabilities.arguments)
        .envs(&capabilities.environment);
    if capabilities.stdin {
        builder.inherit_stdin();
    }
    for folder in &capabilities.folders {
        let permissions = if folder.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        builder
            .preopened_dir(&folder.host, &folder.guest, permissions)
            .map_err(|error| format!("cannot open folder `{}`: {error} (flag `--dir`)", folder.host.display()))?;
    }
    let mut context = builder.build_p1();
    context.ctx().table.set_max_capacity(MAX_RESOURCES);
    Ok(context)
}

/// One of the guest's standard streams: writes go to the instance's buffer; while the runner's reader is behind, the guest
/// waits.
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
