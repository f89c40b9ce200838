//! Sending a module: streamed from the file, with a bar on a terminal, then started when it has a name.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use capsule_cmd::exit;
use capsule_faas_model::spec::ModuleHash;
use capsule_faas_model::start::StartBody;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::run;
use crate::server::Server;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
const TEMPLATE: &str = "{wide_msg} {bar:20} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";

/// Sends the module; prints its hash, or starts the function and prints that.
///
/// # Errors
/// The file cannot be read, or what the server says.
pub(crate) async fn run(server: &Server, module: &Path, start: Option<StartBody>) -> anyhow::Result<ExitCode> {
    let hash = send(server, module).await?;
    let Some(mut body) = start else { return exit::print(&format!("{hash}\n")) };
    for argument in body.spec.args.iter_mut().filter(|argument| *argument == "-wasm=") {
        *argument = format!("-wasm={hash}");
    }
    exit::print(&run::start(server, &body).await?)
}

async fn send(server: &Server, module: &Path) -> anyhow::Result<ModuleHash> {
    let shown = module.display();
    let file = File::open(module).await.with_context(|| format!("cannot read `{shown}`"))?;
    let metadata = file.metadata().await.with_context(|| format!("cannot read `{shown}`"))?;
    if !metadata.is_file() {
        bail!("`{shown}` is not a file, expected a module");
    }
    let what = format!("publish `{shown}`");
    let request = server
        .request(Method::PUT, "/functions/modules")?
        .header(CONTENT_TYPE, "application/wasm")
        .header(CONTENT_LENGTH, metadata.len())
        .body(body(file, progress_bar(metadata.len(), module)));
    let answer = server.ask(&what, request).await?;
    match serde_json::from_str(&answer) {
        Ok(Stored { module }) => Ok(module),
        Err(_) => Err(server.unexpected(&what, "the hash of the module (`sha256:...`)", &answer)),
    }
}

/// What is answered to an upload.
#[derive(Deserialize)]
struct Stored {
    module: ModuleHash,
}

/// The bytes of the file, piece by piece; the bar goes when the last one is taken.
fn body(file: File, bar: ProgressBar) -> Body {
    Body::wrap_stream(stream::try_unfold((file, bar), |(mut file, bar)| async move {
        let mut piece = BytesMut::with_capacity(PIECE);
        let count = file.read_buf(&mut piece).await?;
        bar.inc(count as u64);
        Ok::<_, std::io::Error>((count > 0).then(|| (Bytes::from(piece), (file, bar))))
    }))
}

/// Invisible unless stderr is a terminal.
fn progress_bar(length: u64, file: &Path) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_message(file.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
