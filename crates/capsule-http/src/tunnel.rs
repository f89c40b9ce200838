//! The ngrok tunnel: the server reachable from the internet. Its failure is a warning, the server serves on.

use std::path::PathBuf;

use anyhow::Context as _;
use ngrok::config::ForwarderBuilder as _;
use ngrok::tunnel::EndpointInfo as _;

/// The variables that hold the token; the first one wins.
const TOKENS: [&str; 2] = ["NGROK_AUTHTOKEN", "NGROK_AUTH_TOKEN"];
/// A reserved domain.
const DOMAIN: &str = "NGROK_DOMAIN";
/// The file with the public address, beside the executable as in the reference.
const FILE: &str = "ngrok.url";

/// Opens the tunnel to `local`, when there is a token, and keeps it for as long as the process lives.
pub(crate) fn open(local: String) {
    let Some(token) = TOKENS.iter().find_map(|name| std::env::var(name).ok()).filter(|token| !token.is_empty()) else {
        return;
    };
    tokio::spawn(async move {
        if let Err(error) = forward(token, &local).await {
            tracing::warn!("no ngrok tunnel, the server is reachable locally only: {error:#}");
        }
    });
}

async fn forward(token: String, local: &str) -> anyhow::Result<()> {
    let session = ngrok::Session::builder().authtoken(token).connect().await.context("cannot connect to ngrok")?;
    let mut endpoint = session.http_endpoint();
    if let Ok(domain) = std::env::var(DOMAIN) {
        endpoint.domain(domain);
    }
    let target = local.parse().context("the local address is no URL")?;
    let mut forwarder = endpoint.listen_and_forward(target).await.context("cannot open the tunnel")?;
    tracing::info!("public address: {}", forwarder.url());
    write_url(forwarder.url());
    let ended = forwarder.join().await.context("the tunnel's task failed")?;
    ended.map_err(anyhow::Error::from_boxed).context("the tunnel ended")
}

fn write_url(url: &str) {
    let path = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(FILE)));
    let path = path.unwrap_or_else(|| PathBuf::from(FILE));
    if let Err(error) = std::fs::write(&path, url) {
        tracing::warn!("the public address is not written to `{}`: {error}", path.display());
    }
}
