//! Requests and answers, and what a refusal looks like.
//!
//! Every answer that is not a success becomes an error here, so that no command can take one for a success. Redirects
//! are not followed: the token must not travel to another host.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use capsule_cmd::download::install_crypto_provider;
use capsule_cmd::message::HintExt as _;
use capsule_cmd::parse::Parsed;
use capsule_cmd::{exit, redact};
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::flags;

/// A server that is up answers a connection much sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer to a command: a list of more functions than a server has.
const MAX_ANSWER: usize = 64 << 20;
/// Characters of a server's text that an error shows: enough for every sentence, too few for a web page.
const MAX_SHOWN: usize = 1000;
/// Characters of an answer that is something else altogether: enough to recognise it.
const MAX_SNIPPET: usize = 100;

/// A server of functions has its version in this header of every answer but those of functions. Others answer anything to any
/// path.
const FAAS: &str = "x-capsule-faas";
const OTHER_SERVER: &str = "is it a `capsule-http --faas`? `CAPSULE_MAIN_PROCESS_URL` or `--server` says where it is";

/// The server that is steered.
pub(crate) struct Server {
    base: Url,
    client: Client,
    token: Option<String>,
    /// The longest wait for one piece of an answer.
    patience: Option<Duration>,
}

impl Server {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// A token that HTTP does not allow in a header, or no certificates for https.
    pub(crate) fn new(parsed: &Parsed, token: Option<OsString>) -> anyhow::Result<Server> {
        let address = parsed.text(&flags::SERVER).unwrap_or_default();
        let base = Url::parse(address).context("the address of the server is not a URL")?;
        let token = token.filter(|token| !token.is_empty()).map(OsString::into_string).transpose();
        let token =
            token.ok().filter(|token| token.as_deref().is_none_or(|token| HeaderValue::from_str(token).is_ok()));
        let Some(token) = token else {
            bail!("`{}` has characters that HTTP does not allow in a header", flags::TOKEN_VARIABLE);
        };
        Ok(Server { client: client(&base)?, base, token, patience: parsed.duration(&flags::TIMEOUT) })
    }

    /// The URL of a path, which begins with a slash.
    fn url(&self, path: &str) -> anyhow::Result<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{path}")).with_context(|| format!("`{path}` makes no URL"))
    }

    /// The same as it may be shown.
    pub(crate) fn shown(&self, path: &str) -> String {
        redact::url(&format!("{}{path}", self.base.as_str().trim_end_matches('/')))
    }

    /// A request with the administrator's token.
    pub(crate) fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let request = self.open_request(method, path)?;
        let Some(token) = &self.token else { return Ok(request) };
        let mut value = HeaderValue::from_str(token).context("the token cannot be sent")?;
        value.set_sensitive(true);
        Ok(request.header(flags::TOKEN_VARIABLE, value))
    }

    /// A request that needs no token and does not have it.
    pub(crate) fn open_request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        Ok(self.client.request(method, self.url(path)?))
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    ///
    /// # Errors
    /// No connection, no HTTP, or no answer in time.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answered = self.within(self.patience, async { request.send().await.map_err(anyhow_of) }).await;
        answered
            .with_context(|| format!("no answer from the server at `{}`", self.shown("")))
            .hint("`CAPSULE_MAIN_PROCESS_URL` or `--server` says where it is; `capsule-http --faas` starts one")
    }

    /// Sends a request; `what` is done when the status is a success. Answers the body as text.
    ///
    /// # Errors
    /// As [`Server::send`], every other status with the server's reason, and an answer that breaks off.
    pub(crate) async fn ask(&self, what: &str, request: RequestBuilder) -> anyhow::Result<String> {
        let response = self.accepted(what, request).await?;
        let body = self.body(response, MAX_ANSWER).await.with_context(|| format!("cannot {what}"))?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends a request, and answers the head of a success.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub(crate) async fn accepted(&self, what: &str, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = self.send(request).await.with_context(|| format!("cannot {what}"))?;
        if !response.status().is_success() {
            return Err(self.refusal(what, response).await);
        }
        if !response.headers().contains_key(FAAS) {
            let message = format!("cannot {what}: the server at `{}` does not host functions", self.shown(""));
            return Err(anyhow!(message).hint(OTHER_SERVER));
        }
        Ok(response)
    }

    /// What the server said, as an error.
    async fn refusal(&self, what: &str, response: Response) -> anyhow::Error {
        let status = response.status();
        let body = self.body(response, MAX_SHOWN * 64).await.unwrap_or_default();
        let (reason, hint) = reason(&String::from_utf8_lossy(&body));
        let head = format!("cannot {what}: the server answered {status}");
        let error = if reason.is_empty() { anyhow!(head) } else { anyhow!(self.mask(&reason)).context(head) };
        match hint.map(|hint| self.mask(&hint)).or_else(|| advice(status, self.token.is_some())) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// The error of an answer that is no refusal and not what was asked for.
    pub(crate) fn unexpected(&self, what: &str, expected: &str, found: &str) -> anyhow::Error {
        let shown: String = self.mask(found.trim()).chars().take(MAX_SNIPPET).collect();
        anyhow!("cannot {what}: expected {expected}, the server answered `{shown}`").hint(OTHER_SERVER)
    }

    /// A whole body.
    async fn body(&self, mut response: Response, limit: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, self.patience).await? {
            if body.len() + chunk.len() > limit {
                bail!("the answer is larger than {limit} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Prints a body as it comes; `endless` when it may take any time. A reader that has seen enough (`| head`) is no
    /// failure.
    ///
    /// # Errors
    /// The answer breaks off, or stdout cannot be written.
    pub(crate) async fn print(&self, mut response: Response, endless: bool) -> anyhow::Result<ExitCode> {
        let patience = if endless { None } else { self.patience };
        while let Some(chunk) = self.chunk(&mut response, patience).await? {
            let mut stdout = io::stdout().lock();
            match stdout.write_all(&chunk).and_then(|()| stdout.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                written => written.context("cannot write to standard output")?,
            }
        }
        Ok(ExitCode::from(exit::SUCCESS))
    }

    async fn chunk(&self, response: &mut Response, patience: Option<Duration>) -> anyhow::Result<Option<Bytes>> {
        let chunk = self.within(patience, async { response.chunk().await.map_err(anyhow_of) }).await;
        chunk.context("the server's answer broke off")
    }

    async fn within<T>(
        &self,
        patience: Option<Duration>,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        match patience {
            None => work.await,
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(done) => done,
                Err(_) => Err(anyhow!("nothing came for {limit:?}, the limit of `--timeout`")),
            },
        }
    }

    /// Takes the token out of a text: a server, or a proxy before it, may repeat what it was sent.
    fn mask(&self, text: &str) -> String {
        match &self.token {
            Some(token) => text.replace(token, redact::MASK),
            None => text.to_owned(),
        }
    }
}

/// A client for one address. A server on this machine is not reached through a proxy of the environment.
fn client(base: &Url) -> anyhow::Result<Client> {
    install_crypto_provider();
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let builder = || {
        let builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("capsctl/", env!("CARGO_PKG_VERSION")));
        if here { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        Ok(client) => Ok(client),
        // Without any certificate no client can be built at all; plain HTTP needs none.
        Err(_) if base.scheme() == "http" => builder().tls_certs_only([]).build().context("cannot make an HTTP client"),
        Err(error) => Err(error)
            .context("cannot make an HTTPS client")
            .hint("no CA certificates were found on this system; `SSL_CERT_FILE` can name a file that has them"),
    }
}

/// Without the address, which may have a password.
fn anyhow_of(error: reqwest::Error) -> anyhow::Error {
    error.without_url().into()
}

/// The reason and the advice in the body of a refusal: JSON with `error` and `hint`, or any text.
fn reason(body: &str) -> (String, Option<String>) {
    let cut = |text: &str| text.trim().chars().take(MAX_SHOWN).collect::<String>();
    let fields: Option<Value> = serde_json::from_str(body).ok();
    let field = |name: &str| fields.as_ref().and_then(|fields| fields.get(name)?.as_str()).map(cut);
    match field("error") {
        Some(error) => (error, field("hint").filter(|hint| !hint.is_empty())),
        None => (cut(body), None),
    }
}

fn advice(status: StatusCode, has_token: bool) -> Option<String> {
    let text = match status.as_u16() {
        401 if has_token => "`CAPSULE_FAAS_TOKEN` is not the token of this server",
        401 | 403 if !has_token => "`CAPSULE_FAAS_TOKEN` must be the token of the server",
        300..=399 => "redirects are not followed; `CAPSULE_MAIN_PROCESS_URL` must be the server's own address",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_taken_from_json_or_text() {
        let hint = |text: &str| Some(text.to_owned());
        for (body, expected) in [
            (r#"{"error":"no function `a`","hint":"start it"}"#, ("no function `a`".to_owned(), hint("start it"))),
            (r#"{"error":"no","hint":""}"#, ("no".to_owned(), None)),
            (r#"{"error":7}"#, (r#"{"error":7}"#.to_owned(), None)),
            (r#"["error"]"#, (r#"["error"]"#.to_owned(), None)),
            ("plain\n", ("plain".to_owned(), None)),
            ("", (String::new(), None)),
        ] {
            assert_eq!(reason(body), expected, "{body}");
        }
        assert_eq!(reason(&"é".repeat(5_000)).0.chars().count(), MAX_SHOWN);
        assert_eq!(reason(&"[".repeat(100_000)).0.len(), MAX_SHOWN);
    }
}
