//! Fetching a module: to a temporary file beside its target, checked, then renamed. Never a half file.
//!
//! Redirects are followed here rather than by the client, because the one auth header must not travel to another
//! host: package registries redirect to object stores of somebody else.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use crate::message::HintExt as _;
use crate::module_source::Remote;
use crate::redact;

/// The largest module that is fetched unless the caller says otherwise: 64 MiB, ten times a large one.
pub const DEFAULT_LIMIT: u64 = 64 << 20;
/// A host that is up answers much sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer, not for the whole of it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// As browsers and the reference do.
const MAX_REDIRECTS: usize = 10;
/// With these a wasm file begins, module or component.
const MAGIC: [u8; 4] = *b"\0asm";
/// Bytes of magic number and version, before the first section.
const PREAMBLE: u64 = 8;

/// One header that authorises a download. Its value is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthHeader {
    /// Name of the header.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl fmt::Debug for AuthHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthHeader({}: {})", self.name, redact::MASK)
    }
}

/// How a download is done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most bytes that are taken.
    pub limit: u64,
    /// Show a bar on stderr when that is a terminal.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, progress: false }
    }
}

/// Fetches a module to `target` and answers its size in bytes. An older file there stays until the new one is complete.
///
/// # Errors
/// No connection, a status other than 200, an answer that is not wasm, that ends early or is too large, a file that
/// cannot be written. The text has no secret of the address or the header.
///
/// # Cancel safety
/// When the future is dropped, the temporary file is removed and the target is as it was.
pub async fn download(remote: &Remote, target: &Path, options: Options) -> anyhow::Result<u64> {
    let shown = redact::url(&remote.url);
    fetch(remote, target, options).await.with_context(|| format!("cannot download `{shown}`"))
}

async fn fetch(remote: &Remote, target: &Path, options: Options) -> anyhow::Result<u64> {
    // Before the first request: a target that cannot be written would waste it.
    let temporary = temporary_beside(target)?;
    let mut response = request(remote).await?;
    check_status(&response)?;
    let expected = response.content_length();
    if expected.is_some_and(|length| length > options.limit) {
        return Err(too_large(options.limit));
    }
    let bar = progress_bar(options.progress, expected, target);
    let content_type = content_type(&response);
    let mut file = tokio::fs::File::from_std(temporary.reopen().context("cannot open the temporary file")?);
    let mut head = Vec::new();
    let mut received: u64 = 0;
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                let of = expected.map(|length| format!(" of {length}")).unwrap_or_default();
                let message = format!("the answer ended early, after {received}{of} bytes");
                return Err(anyhow::Error::new(error.without_url()).context(message).hint("try again"));
            }
        };
        received += chunk.len() as u64;
        if received > options.limit {
            return Err(too_large(options.limit));
        }
        if head.len() < MAGIC.len() {
            head.extend(chunk.iter().take(MAGIC.len() - head.len()));
            check_magic(&head, &content_type)?;
        }
        file.write_all(&chunk).await.context("cannot write the temporary file")?;
        bar.set_position(received);
    }
    if head.len() < MAGIC.len() {
        bail!("expected a wasm file, found an answer of {received} bytes");
    }
    file.flush().await.context("cannot write the temporary file")?;
    drop(file);
    let target = target.to_owned();
    tokio::task::spawn_blocking(move || keep(temporary, &target, received))
        .await
        .context("the download was stopped")??;
    Ok(received)
}

/// The last checks, then the rename.
fn keep(temporary: NamedTempFile, target: &Path, length: u64) -> anyhow::Result<()> {
    let mut file = temporary.reopen().context("cannot open the temporary file")?;
    if !is_complete(&mut file, length).context("cannot read the temporary file")? {
        let error = anyhow!("expected a whole wasm file, found one that is cut off or damaged, of {length} bytes");
        return Err(error.hint("the file on the server is not complete"));
    }
    file.sync_all().context("cannot write the temporary file")?;
    temporary
        .persist(target)
        .map_err(|error| error.error)
        .with_context(|| format!("cannot write `{}`", target.display()))?;
    Ok(())
}

/// A temporary file in the target's folder, so that the rename stays within one file system.
fn temporary_beside(target: &Path) -> anyhow::Result<NamedTempFile> {
    if target.is_dir() {
        return Err(anyhow!("`{}` is a folder, expected the path of a file", target.display()));
    }
    let folder: PathBuf = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".download-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any file that a program creates; the umask takes its part away. The library's default is 0600.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(&folder).with_context(|| format!("cannot write to the folder `{}`", folder.display()))
}

/// Sends the request, and those of its redirects.
async fn request(remote: &Remote) -> anyhow::Result<Response> {
    let mut url = Url::parse(&remote.url).context("the address is not a URL")?;
    let auth = match &remote.auth {
        None => None,
        Some(auth) => Some(header(auth)?),
    };
    let origin = url.origin();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = client(&url)?.get(url.clone());
        if let Some((name, value)) = auth.clone().filter(|_| url.origin() == origin) {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(reqwest::Error::without_url).hint(NETWORK)?;
        if !is_redirect(response.status()) {
            return Ok(response);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(next) = location.and_then(|location| url.join(location).ok()) else {
            bail!("the server answered {} without a usable `Location`", response.status());
        };
        if url.scheme() == "https" && next.scheme() != "https" {
            bail!("the server redirects from https to `{}`, which is not encrypted", redact::url(next.as_str()));
        }
        if !matches!(next.scheme(), "http" | "https") {
            bail!("the server redirects to `{}`, expected http or https", redact::url(next.as_str()));
        }
        url = next;
    }
    bail!("the server redirects more than {MAX_REDIRECTS} times")
}

const NETWORK: &str = "check the address, the network and, behind a proxy, `HTTPS_PROXY`";

/// The header, marked so that no library writes it to a log.
fn header(auth: &AuthHeader) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(auth.name.as_bytes()).context("the auth header's name is not allowed in HTTP")?;
    let mut value =
        HeaderValue::from_str(&auth.value).map_err(|_| anyhow!("the auth header's value is not allowed in HTTP"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A client for one address. The certificates are the system's, or those of `SSL_CERT_FILE`.
fn client(url: &Url) -> anyhow::Result<Client> {
    install_crypto_provider();
    let builder = || {
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("capsule/", env!("CARGO_PKG_VERSION")))
    };
    match builder().build() {
        Ok(client) => Ok(client),
        // Without any certificate no client can be built at all; plain HTTP needs none.
        Err(_) if url.scheme() == "http" => builder().tls_certs_only([]).build().context("cannot make an HTTP client"),
        Err(error) => Err(error)
            .context("cannot make an HTTPS client")
            .hint("no CA certificates were found on this system; `SSL_CERT_FILE` can name a file that has them"),
    }
}

/// Makes ring the process's TLS implementation; harmless when one is installed already. Every TLS client and server
/// of a program needs this before it is built.
pub fn install_crypto_provider() {
    // The only error is that another thread was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn check_status(response: &Response) -> anyhow::Result<()> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let error = anyhow!("the server answered {status}, expected 200 OK");
    Err(match status.as_u16() {
        401 | 403 => error.hint("`--authHeaderName` and `--authHeaderValue` give the credentials of a registry"),
        404 => error.hint("check the address; some registries answer 404 when credentials are missing"),
        _ => error,
    })
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
    value.chars().take(100).collect()
}

/// Compares what is there of the first bytes.
fn check_magic(head: &[u8], content_type: &str) -> anyhow::Result<()> {
    if MAGIC.starts_with(head) {
        return Ok(());
    }
    let error = anyhow!("expected a wasm file, found something else ({content_type})");
    if content_type.contains("html") || head.starts_with(b"<") {
        return Err(error.hint("the server sent a web page; use the address of the raw file, or give credentials"));
    }
    Err(error)
}

fn too_large(limit: u64) -> anyhow::Error {
    anyhow!("the file is larger than the limit of {limit} bytes (flag `--maxModule`)")
}

/// Walks over the sections: each has an id byte, its length in LEB128, and as many bytes. A file that was cut off ends
/// inside one. What the sections hold is the engine's business.
fn is_complete(file: &mut File, length: u64) -> io::Result<bool> {
    let mut at = PREAMBLE;
    let mut reader = io::BufReader::new(file);
    reader.seek(SeekFrom::Start(at))?;
    while at < length {
        let mut size: u64 = 0;
        let mut header = 1;
        let mut bytes = reader.by_ref().bytes().skip(1);
        loop {
            let Some(byte) = bytes.next().transpose()? else { return Ok(false) };
            size |= u64::from(byte & 0x7f) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if header > 5 {
                return Ok(false);
            }
        }
        at += header + size;
        reader.seek(SeekFrom::Start(at))?;
    }
    Ok(at == length)
}

/// With a known length, and without.
const TEMPLATES: [&str; 2] = [
    "{wide_msg} {bar:20} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}",
    "{wide_msg} {binary_bytes}, {binary_bytes_per_sec}",
];

/// Invisible unless stderr is a terminal; gone when it is dropped.
fn progress_bar(wanted: bool, length: Option<u64>, file: &Path) -> ProgressBar {
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template = TEMPLATES[usize::from(length.is_none())];
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(length, target)
        .with_style(style)
        .with_message(file.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in TEMPLATES {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
