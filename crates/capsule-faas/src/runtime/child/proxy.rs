//! Calls of a child: HTTP/1.1 over connections that are kept for the next call.
//!
//! A request that may have reached the child is never sent twice. One that has not, since its connection had been closed or
//! none could be made, is the caller's to send again.

use std::error::Error as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capsule_abi::request;
use capsule_hdk::{Busy, BusyReason, Call, CallError, Kind, Limits, Stats};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::runtime::error::FaasError;

/// Shorter than servers keep a connection without requests: who closes it first must be this side.
const IDLE: Duration = Duration::from_secs(5);
/// Connections without requests that are kept.
const MAX_IDLE: usize = 32;
/// A child on this machine accepts at once, or its queue is full.
const CONNECT: Duration = Duration::from_secs(2);
/// Beyond queue and call time, so that a child can tell by itself that one of them is over.
const GRACE: Duration = Duration::from_secs(1);
/// Calls at once beside those that wait in the child: as many as `--maxInstances` allows by default.
const BESIDE_QUEUE: usize = 256;

/// Headers that belong to a connection (RFC 9110 section 7.6.1). Beside those that `Connection` names.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Headers of a request that are the server's business: the child sees a complete body, and no token.
const OF_THE_SERVER: [&str; 3] = ["expect", "proxy-authorization", "capsule_faas_token"];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a child gave no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// As in the server's own process: a limit.
    Call(CallError),
    /// The request was sent, and what came back is no answer.
    Broken(String),
    /// The request has not been sent: the child refuses connections.
    Refused(String),
    /// The request has not been sent for another reason.
    NotSent(String),
}

/// The way to one child.
pub(crate) struct Proxy {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
    /// Of a call with its wait for an instance of the child; none for no limit.
    limit: Option<Duration>,
    max_result: usize,
    /// Calls that may wait in the child.
    queue: usize,
    room: Arc<Semaphore>,
    stats: Mutex<Stats>,
}

impl Proxy {
    /// The way to the child on this port, with the limits of its function.
    pub(crate) fn new(port: u16, limits: &Limits) -> Proxy {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        let room = limits.queue.saturating_add(BESIDE_QUEUE).min(Semaphore::MAX_PERMITS);
        Proxy {
            client,
            address: format!("{}:{port}", Ipv4Addr::LOCALHOST),
            limit: limits.call_timeout.map(|call| call.saturating_add(limits.queue_timeout).saturating_add(GRACE)),
            max_result: limits.result,
            queue: limits.queue,
            room: Arc::new(Semaphore::new(room)),
            stats: Mutex::default(),
        }
    }

    /// Calls the child with what the call would give a function in the server's process.
    pub(crate) async fn call(&self, call: &Call) -> Result<Response<Bytes>, Failed> {
        let Ok(_place) = self.room.try_acquire() else {
            self.lock().refused += 1;
            let busy = Busy { reason: BusyReason::QueueFull(self.queue), retry_after: Duration::from_secs(1) };
            return Err(Failed::Call(CallError::Busy(busy)));
        };
        let request = match call.kind() {
            Kind::Http => self.request(call.argument()).map_err(|what| Failed::Call(CallError::Runner(what)))?,
            Kind::Health => self.get("/health"),
            Kind::Metrics => self.get("/metrics"),
            other => return Err(Failed::Call(CallError::MissingExport(other.export()))),
        };
        let result = match self.limit {
            None => self.exchange(request).await,
            Some(limit) => match timeout(limit, self.exchange(request)).await {
                Ok(result) => result,
                Err(_) => Err(Failed::Call(CallError::Deadline(limit))),
            },
        };
        self.count(&result);
        result
    }

    /// What was counted of its calls.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = *self.lock();
        (stats.instances, stats.started) = (1, 1);
        stats
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failed> {
        let is_head = request.method() == Method::HEAD;
        let answer = self.client.request(request).await.map_err(|error| not_answered(&error))?;
        let (mut head, body) = answer.into_parts();
        if head.status.is_informational() {
            return Err(Failed::Broken(format!("answered with the status {}", head.status.as_u16())));
        }
        drop_headers_of_the_connection(&mut head.headers);
        if !is_head {
            head.headers.remove(CONTENT_LENGTH);
        }
        let body = self.read(body).await?;
        Ok(Response::from_parts(head, body))
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Failed> {
        let announced = hyper::body::Body::size_hint(&body).lower();
        let too_large = || {
            let found = usize::try_from(announced).unwrap_or(usize::MAX).max(self.max_result.saturating_add(1));
            Failed::Call(CallError::ResultTooLarge { limit: self.max_result, found })
        };
        if announced > self.max_result as u64 {
            return Err(too_large());
        }
        match Limited::new(body, self.max_result).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(_) => Err(Failed::Broken("broke off its answer".into())),
        }
    }

    /// The request that a document describes.
    fn request(&self, document: &[u8]) -> Result<Request<Full<Bytes>>, String> {
        let parsed = request::parse(document).map_err(|error| error.to_string())?;
        let mut target = format!("http://{}{}", self.address, parsed.path);
        if !parsed.query.is_empty() {
            target.push('?');
            target.push_str(&parsed.query);
        }
        let body = Full::new(Bytes::copy_from_slice(&parsed.body));
        let built = Request::builder().method(&*parsed.method).uri(target).body(body);
        let mut request = built.map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        for (name, value) in &parsed.headers {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::from_bytes(value.as_bytes()))
            else {
                continue;
            };
            if !OF_THE_SERVER.contains(&name.as_str()) {
                headers.try_append(name, value).map_err(|_| "the request has too many headers")?;
            }
        }
        drop_headers_of_the_connection(headers);
        // The length is that of the body, and said where the client said it: POST without a body has one too.
        if headers.remove(CONTENT_LENGTH).is_some() || !parsed.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(parsed.body.len()));
        }
        if let Ok(id) = HeaderValue::try_from(&*parsed.request_id)
            && !id.is_empty()
        {
            headers.insert(REQUEST_ID, id);
        }
        Ok(request)
    }

    fn get(&self, path: &'static str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        if let Ok(uri) = format!("http://{}{path}", self.address).parse() {
            *request.uri_mut() = uri;
        }
        request
    }

    /// Counted as calls in the server's own process are, as far as statuses tell.
    fn count(&self, result: &Result<Response<Bytes>, Failed>) {
        let mut stats = self.lock();
        let counter = match result {
            Ok(answer) if answer.status() == StatusCode::GATEWAY_TIMEOUT => &mut stats.timed_out,
            Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => &mut stats.refused,
            Ok(answer) if answer.status() == StatusCode::PAYLOAD_TOO_LARGE => &mut stats.refused,
            Ok(answer) if answer.status().is_server_error() => &mut stats.failed,
            Ok(_) => &mut stats.succeeded,
            Err(Failed::Call(CallError::Deadline(_))) => &mut stats.timed_out,
            Err(Failed::Call(_) | Failed::Broken(_)) => &mut stats.protocol,
            // It is sent again, or told as it stands.
            Err(Failed::Refused(_) | Failed::NotSent(_)) => return,
        };
        *counter += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what has not been sent from what may have been received.
fn not_answered(error: &hyper_util::client::legacy::Error) -> Failed {
    let causes = || std::iter::successors(error.source(), |&cause| cause.source());
    let refused = |cause: &&(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    let canceled = |cause: &&(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    };
    let innermost = causes().last().map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_connect() && causes().any(|cause| refused(&cause)) {
        Failed::Refused(innermost)
    } else if error.is_connect() || causes().any(|cause| canceled(&cause)) {
        Failed::NotSent(innermost)
    } else {
        Failed::Broken(format!("broke off the call: {innermost}"))
    }
}

/// The answer for a call that a child took, or did not take, and did not answer.
pub(crate) fn bad_gateway(what: &str) -> Response<Bytes> {
    answer(StatusCode::BAD_GATEWAY, format!("the child process {what}"))
}

/// The answer for a call that lost its child and found no other.
pub(crate) fn not_placed(error: &FaasError) -> Response<Bytes> {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut answer = answer(status, error.to_string());
    if let Some(wait) = error.retry_after() {
        // Whole seconds (RFC 9110 section 10.2.3), at least one.
        let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn answer(status: StatusCode, text: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn drop_headers_of_the_connection(headers: &mut HeaderMap) {
    let lists = headers.get_all(CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let named: Vec<HeaderName> =
        lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in OF_THE_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_on_without_what_is_the_servers() {
        let document = br#"{"Body":"","Base64Body":"/wA=","URI":"https://example.com/a%20b?c=d","Method":"PUT",
            "Path":"/a%20b","Query":"c=d","RequestId":"the-id","HeaderList":[["Host","example.com"],
            ["Connection","close, x-hop"],["X-Hop","1"],["Te","trailers"],["Content-Length","99"],
            ["Expect","100-continue"],["Capsule_faas_token","secret"],["Traceparent","00-1"],["X-Two","a"],["X-Two","b"],
            ["X-Request-Id","other"]]}"#;
        let request = Proxy::new(4711, &Limits::default()).request(document).unwrap();
        assert_eq!(request.method(), "PUT");
        assert_eq!(request.uri(), "http://127.0.0.1:4711/a%20b?c=d");
        let mut found: Vec<String> =
            request.headers().iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        found.sort_unstable();
        let length = found.remove(0);
        assert_eq!(length, "content-length=2");
        assert_eq!(found, ["host=example.com", "traceparent=00-1", "x-request-id=the-id", "x-two=a", "x-two=b"]);
        assert_eq!(hyper::body::Body::size_hint(request.body()).exact(), Some(2));
    }
}
