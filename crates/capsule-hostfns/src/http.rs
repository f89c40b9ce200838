//! `hostHTTP`: an HTTP client for guests (docs/abi.md, section 4).
//!
//! - Every host is checked against the function's address policy, after each redirect too, and so are the addresses that it
//!   resolves to.
//! - Proxies of the process's environment (`HTTP_PROXY` ...) are not used: a proxy would reach for the guest what the policy
//!   refuses.
//! - Connections are kept and shared by all functions with the same policy.
//! - Up to ten redirects are followed. As in browsers and the reference, 301, 302 and 303 turn into GET, 307 and 308 repeat
//!   the request. `Authorization` and cookies are not sent on to another host, port or scheme.
//! - A [`Trail`] that the runner gives a call along is on every request of the call, whatever the guest says.
//! - Headers that belong to the connection and not to the message (`Host`, `Content-Length`, `Connection` ...) are the
//!   client's own; what a guest gives for them is ignored.

use std::error::Error as _;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capsule_abi::outbound::{self, OutboundBody, OutboundRequest};
use capsule_hdk::{HostContext, HostFunction, HostFunctions, HostResult, Limit, Network, Reply, cores};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::addresses::{AddressPolicy, LOOKUPS, Refused};

/// As many as browsers and the reference follow.
const MAX_REDIRECTS: usize = 10;
/// Clients for different policies that are kept. One serves all functions without a list of hosts.
const MAX_CLIENTS: usize = 64;
/// A guest that gets no permit learns it this long before its call ends, so that it can still answer.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Bytes of a document that is read or written in much less than a millisecond.
const SHORT: usize = 64 << 10;

/// Headers that the client writes itself.
const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Headers that do not follow a redirect to another origin.
const OF_THE_ORIGIN: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, HeaderName::from_static("cookie2"), header::WWW_AUTHENTICATE];

/// Adds the function of this file.
pub fn add(host: &mut HostFunctions) {
    let clients = Arc::new(Clients::default());
    host.add(HostFunction::waiting("hostHTTP", Reply::Framed, move |context, [document]| {
        let clients = Arc::clone(&clients);
        async move { clients.send(&context, document).await }
    }));
}

/// The limits of one function's outbound requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Time of one request, redirects and the answer's body included. `None`: until the call ends. Default 10 s.
    pub timeout: Option<Duration>,
    /// Body of an answer in bytes. Default 10 MiB.
    pub body: usize,
    /// Requests at the same time; more wait within the time of their call. Default 64.
    pub calls: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits { timeout: Some(Duration::from_secs(10)), body: 10 << 20, calls: 64 }
    }
}

/// What `hostHTTP` needs of a function: its limits, and the permits of the requests under way.
pub struct Outbound {
    limits: HttpLimits,
    permits: Semaphore,
}

impl Outbound {
    /// With all permits free.
    pub fn new(limits: HttpLimits) -> Outbound {
        let permits = Semaphore::new(limits.calls.min(Semaphore::MAX_PERMITS));
        Outbound { limits, permits }
    }

    /// Waits until one more request may start, at most until shortly before the call ends.
    async fn permit(&self, context: &HostContext) -> Result<SemaphorePermit<'_>, String> {
        let busy = || {
            context.hit(Limit::OutboundCalls);
            format!("{} outbound requests are under way (flag `--maxOutboundCalls`)", self.limits.calls)
        };
        let permit = match context.deadline() {
            Some(deadline) => {
                let latest = deadline.checked_sub(LAST_WORDS).unwrap_or(deadline);
                tokio::time::timeout_at(latest, self.permits.acquire()).await.map_err(|_| busy())?
            }
            None => self.permits.acquire().await,
        };
        permit.map_err(|_| busy())
    }
}

/// A header that the host adds to every request of a call, in place of what the guest gives for it: by it a server sees that a
/// call has come back to where it began. A runner gives it along as the companion of the call
/// ([`Call::with_companion`](capsule_hdk::Call::with_companion)).
pub struct Trail {
    header: HeaderName,
    value: HeaderValue,
}

impl Trail {
    /// A trail of this header.
    pub fn new(header: HeaderName, value: HeaderValue) -> Trail {
        Trail { header, value }
    }
}

/// The HTTP clients of a runner: one for each address policy, since a kept connection leads where its policy allowed.
struct Clients {
    clients: Mutex<Vec<(AddressPolicy, Client)>>,
    /// Turns for documents that are not [`SHORT`].
    long: Semaphore,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients { clients: Mutex::default(), long: Semaphore::new((cores() / 2).max(1)) }
    }
}

impl Clients {
    async fn send(&self, context: &HostContext, document: Vec<u8>) -> HostResult {
        let outbound = context.extension::<Outbound>().ok_or("the runner gave this function no HTTP client")?;
        let limits = &outbound.limits;
        // What of it becomes a body is copied.
        let _held = context.hold(document.len())?;
        let mut request = self
            .beside(document.len(), move || {
                Request::read(outbound::parse_request(&document).map_err(|error| error.to_string())?)
            })
            .await?;
        if let Some(trail) = context.companion::<Trail>() {
            request.headers.insert(trail.header.clone(), trail.value.clone());
        }
        let _permit = outbound.permit(context).await?;
        // Names are looked up on the function's own share of threads, also deep in the client.
        let exchange = LOOKUPS.scope(context.blocking().clone(), self.exchange(context, request, limits.body));
        within(limits.timeout, context, Box::pin(exchange)).await
    }

    /// Sends a request, follows redirects and reads the answer.
    async fn exchange(&self, context: &HostContext, mut request: Request, max_body: usize) -> HostResult {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.hop(&context.capabilities().network, &request).await?;
            match request.redirected(&response) {
                Some(next) => request = next?,
                None => return self.read(context, response, max_body).await,
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    /// The answer as the guest's document.
    async fn read(&self, context: &HostContext, mut response: Response, max_body: usize) -> HostResult {
        let too_large = || {
            context.hit(Limit::OutboundBody);
            format!("the answer exceeds the limit of {max_body} bytes (flag `--maxOutboundBody`)")
        };
        if response.content_length().is_some_and(|length| length > max_body as u64) {
            return Err(too_large());
        }
        let host = response.url().host_str().unwrap_or_default().to_owned();
        // The answer as it comes, and the document that is made of it.
        let mut held = context.hold(0)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&host, &error))? {
            if chunk.len() > max_body - body.len() {
                return Err(too_large());
            }
            held.grow(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        held.grow(body.len().saturating_add(escaped(&body)))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let size = body.len();
        self.beside(size, move || {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let mut document = Vec::new();
            outbound::write_response(&mut document, status, headers.into_iter(), &body);
            Ok(document)
        })
        .await
    }

    /// Does work that takes as long as `size` says: here when that is short, else beside the threads that serve, and no more of it at
    /// a time than leaves them room.
    async fn beside<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if size <= SHORT {
            return work();
        }
        let ended = || "the runner is being stopped".to_owned();
        let _turn = self.long.acquire().await.map_err(|_| ended())?;
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
    }

    async fn hop(&self, network: &Network, request: &Request) -> Result<Response, String> {
        let host = request.url.host_str().unwrap_or_default();
        let policy = AddressPolicy::new(network, request.url.port_or_known_default().unwrap_or_default());
        policy.check_host(host).map_err(|refused| refused.to_string())?;
        let mut sent =
            self.client(policy)?.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            sent = sent.body(body.clone());
        }
        sent.send().await.map_err(|error| failure(host, &error))
    }

    fn client(&self, policy: AddressPolicy) -> Result<Client, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| *known == policy) {
            return Ok(client.clone());
        }
        let client = client(&policy).map_err(|error| format!("cannot start the HTTP client: {error}"))?;
        if clients.len() >= MAX_CLIENTS {
            clients.remove(0);
        }
        clients.push((policy, client.clone()));
        Ok(client)
    }
}

fn client(policy: &AddressPolicy) -> reqwest::Result<Client> {
    // Somebody else's provider in the same process serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .user_agent(concat!("capsule/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Resolver { policy: policy.clone() }))
    };
    builder().build().or_else(|error| {
        // A container without certificates: plain HTTP works all the same.
        tracing::warn!("HTTPS is not available to modules: no root certificates on this machine: {error}");
        builder().tls_certs_only([]).build()
    })
}

/// Resolves names to the addresses that the policy permits.
struct Resolver {
    policy: AddressPolicy,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            // Port 0 stands for that of the URL.
            let addresses = policy.resolve(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// One request on its way.
struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl Request {
    fn read(document: OutboundRequest<'_>) -> Result<Request, String> {
        let method = Method::from_bytes(document.method.as_bytes())
            .map_err(|_| format!("{:?} is not a method that HTTP allows", document.method))?;
        if method == Method::CONNECT {
            return Err("the method CONNECT is for proxies".into());
        }
        let url = Url::parse(&document.uri).map_err(|error| format!("the URI is not valid: {error}"))?;
        check_scheme(&url)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &document.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{name:?} is not a header name that HTTP allows"))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| format!("the value of header `{name}` is not one that HTTP allows"))?;
            if !OF_THE_CONNECTION.contains(&name) {
                headers.try_append(name, value).map_err(|_| "more headers than a request can hold".to_owned())?;
            }
        }
        let (body, content_type) = match document.body {
            OutboundBody::Empty => (None, None),
            OutboundBody::EmptyJson if [Method::POST, Method::PUT, Method::PATCH].contains(&method) => {
                (Some(Bytes::from_static(b"{}")), Some("application/json"))
            }
            OutboundBody::EmptyJson => (None, None),
            OutboundBody::Json(text) => (Some(text.into_owned().into()), Some("application/json")),
            OutboundBody::Bytes(bytes) => {
                let text = std::str::from_utf8(&bytes).is_ok();
                let content_type = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
                (Some(bytes.into_owned().into()), Some(content_type))
            }
        };
        if let Some(content_type) = content_type {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        Ok(Request { method, url, headers, body })
    }

    /// The request that `response` sends on to, if it does.
    fn redirected(&self, response: &Response) -> Option<Result<Request, String>> {
        let repeats = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return None,
        };
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        Some(self.sent_on(location, repeats))
    }

    /// The request to `location`; `repeats` with the same method and body, else as GET.
    fn sent_on(&self, location: &str, repeats: bool) -> Result<Request, String> {
        let url = self.url.join(location).map_err(|error| format!("the redirect is not valid: {error}"))?;
        check_scheme(&url)?;
        let mut headers = self.headers.clone();
        if url.origin() != self.url.origin() {
            for name in &OF_THE_ORIGIN {
                headers.remove(name);
            }
        }
        if repeats || self.method == Method::GET || self.method == Method::HEAD {
            return Ok(Request { method: self.method.clone(), url, headers, body: self.body.clone() });
        }
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::CONTENT_ENCODING);
        Ok(Request { method: Method::GET, url, headers, body: None })
    }
}

fn check_scheme(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(format!("the URI has the scheme `{other}`, expected `http` or `https`")),
    }
}

/// Bytes by which a document with a body is larger than the body, at most: what JSON cannot hold as it is takes six bytes for one,
/// what is no text three, and comes a second time.
fn escaped(body: &[u8]) -> usize {
    let more = |byte: &u8| match byte {
        0..b' ' => 5,
        b'"' | b'\\' => 1,
        0x80.. => 2,
        _ => 0,
    };
    let again = if std::str::from_utf8(body).is_ok() { 0 } else { body.len() / 3 * 4 };
    body.iter().map(more).sum::<usize>() + again
}

/// What a guest learns of an error: the refusal, or the cause; never the URL, which may hold a password.
fn failure(host: &str, error: &reqwest::Error) -> String {
    match std::iter::successors(error.source(), |cause| next_cause(*cause)).last() {
        Some(cause) if cause.is::<Refused>() => cause.to_string(),
        Some(cause) => format!("cannot reach `{host}`: {cause}"),
        None => format!("the exchange with `{host}` failed"),
    }
}

fn next_cause<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e (dyn std::error::Error + 'static)> {
    match cause.downcast_ref::<std::io::Error>() {
        // The source of an I/O error is that of what it holds: what it holds would be left out.
        Some(io) => io.get_ref().map(|inner| inner as _),
        None => cause.source(),
    }
}

async fn within(
    limit: Option<Duration>,
    context: &HostContext,
    exchange: impl Future<Output = HostResult>,
) -> HostResult {
    let Some(limit) = limit else { return exchange.await };
    timeout(limit, exchange).await.unwrap_or_else(|_| {
        context.hit(Limit::OutboundTimeout);
        Err(format!("the request exceeds the time limit of {limit:?} (flag `--outboundTimeout`)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(document: &str) -> Request {
        Request::read(outbound::parse_request(document.as_bytes()).unwrap()).unwrap()
    }

    fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
        request.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn what_is_held_is_no_less_than_the_document() {
        for body in [
            &b"\x01"[..],
            b"\"",
            b"<>&",
            b"\x7f",
            b"\xff",
            b"\xff\x01",
            "\u{e9}\u{2028}\u{10ffff}".as_bytes(),
            b"plain",
        ] {
            let body = body.repeat(10_000);
            let mut document = Vec::new();
            outbound::write_response(&mut document, 200, std::iter::empty(), &body);
            let bound = body.len() + escaped(&body);
            assert!(document.len() <= bound + 100 && bound <= 3 * document.len(), "{} {bound}", document.len());
        }
    }

    /// A resolver that does not answer would hold the threads of all functions.
    #[tokio::test]
    async fn names_are_looked_up_on_the_functions_share_of_threads() {
        let policy = AddressPolicy::new(&Network { reach: capsule_hdk::Reach::Operator, allowed: Vec::new() }, 1);
        let client = client(&policy).unwrap();
        let share = capsule_hdk::Blocking::new(tokio::runtime::Handle::current());
        // More than there are: the work of each goes on until it is let go.
        let (mut working, mut holding) = (Vec::new(), Vec::new());
        for _ in 0..64 {
            let share = share.clone();
            let (hold, held) = std::sync::mpsc::channel::<()>();
            holding.push(hold);
            working.push(tokio::spawn(async move { share.run(move || held.recv().is_err()).await }));
        }
        tokio::task::yield_now().await;
        let mut request = Box::pin(LOOKUPS.scope(share, client.get("http://localhost:1/").send()));
        // Nobody listens there: once the name is known, the answer is a failure.
        let waits = timeout(Duration::from_millis(100), &mut request).await;
        assert!(waits.is_err(), "it was looked up on another thread");
        drop(holding);
        assert!(request.await.is_err());
        for work in working {
            work.await.unwrap().unwrap();
        }
    }

    #[test]
    fn bodies_bring_their_content_type() {
        for (document, body, content_type) in [
            (r#"{"URI":"http://h/","JSONBody":{}}"#, None, None),
            (r#"{"URI":"http://h/","Method":"DELETE","JSONBody":{}}"#, None, None),
            (r#"{"URI":"http://h/","Method":"POST","JSONBody":{}}"#, Some("{}"), Some("application/json")),
            (r#"{"URI":"http://h/","Method":"POST","JSONBody":[1]}"#, Some("[1]"), Some("application/json")),
            (r#"{"URI":"http://h/","TextBody":"a"}"#, Some("a"), Some("text/plain; charset=utf-8")),
            (r#"{"URI":"http://h/","TextBody":"a","Headers":{"content-type":"x/y"}}"#, Some("a"), Some("x/y")),
        ] {
            let request = request(document);
            assert_eq!(request.body.as_deref(), body.map(str::as_bytes), "{document}");
            assert_eq!(header(&request, "content-type"), content_type, "{document}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_not_the_guests() {
        let request = request(
            r#"{"URI":"http://h/","Headers":{"Content-Length":"1","host":"other","Transfer-Encoding":"chunked","X-A":"1"}}"#,
        );
        assert_eq!(request.headers.len(), 1);
        assert_eq!(header(&request, "x-a"), Some("1"));
    }

    #[test]
    fn secrets_do_not_follow_to_another_origin() {
        let request = request(
            r#"{"URI":"http://h:1/a","Method":"POST","TextBody":"b",
                "Headers":{"Authorization":"s","Cookie":"c","X-A":"1"}}"#,
        );
        for (location, repeats, secret, method, body) in [
            ("/b", true, true, "POST", true),
            ("/b", false, true, "GET", false),
            ("http://h:1/b", true, true, "POST", true),
            ("http://h:2/b", true, false, "POST", true),
            ("https://h:1/b", true, false, "POST", true),
            ("//other:1/b", false, false, "GET", false),
        ] {
            let next = request.sent_on(location, repeats).unwrap();
            assert_eq!(header(&next, "authorization").is_some(), secret, "{location}");
            assert_eq!(header(&next, "cookie").is_some(), secret, "{location}");
            assert_eq!(header(&next, "content-type").is_some(), body, "{location}");
            assert_eq!((next.method.as_str(), next.body.is_some()), (method, body), "{location}");
            assert_eq!(header(&next, "x-a"), Some("1"));
        }
        assert!(request.sent_on("file:///etc/passwd", false).is_err());
    }

    #[test]
    fn a_request_that_cannot_be_sent_is_refused_with_the_reason() {
        for (document, expected) in [
            (r#"{"URI":"no uri"}"#, "the URI is not valid: relative URL without a base"),
            (r#"{"URI":"ftp://h/"}"#, "the URI has the scheme `ftp`, expected `http` or `https`"),
            (r#"{"URI":"http://h/","Method":"CONNECT"}"#, "the method CONNECT is for proxies"),
        ] {
            let error = Request::read(outbound::parse_request(document.as_bytes()).unwrap()).err().unwrap();
            assert_eq!(error, expected);
        }
    }
}
