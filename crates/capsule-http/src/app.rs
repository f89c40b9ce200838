//! Which route answers a request, and the way of a call from its head to its answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use capsule_abi::names;
use capsule_abi::response;
use capsule_hdk::{Call, CallError, Fault, Function, Kind};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use crate::answer::{self, Answer};
use crate::document::{self, Origin};
use crate::drain::Drain;
use crate::idle::Idle;
use crate::metrics::{self, Metrics};
use crate::request_id;

/// Counted for calls whose client did not wait for the answer.
const CLIENT_GONE: u16 = 499;
/// How long health and metrics wait for a busy instance.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest pause between two pieces of a body.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// When a call that was given up at the end of the drain time may come again.
const AFTER_RESTART: Duration = Duration::from_secs(1);

/// What a server answers with.
pub(crate) struct App {
    pub(crate) function: Function,
    pub(crate) metrics: Metrics,
    /// Only with `--stopAfter`.
    pub(crate) idle: Option<Arc<Idle>>,
    pub(crate) drain: Drain,
    /// Bytes of a request's body.
    pub(crate) max_body: usize,
    pub(crate) access_log: bool,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) secure: bool,
    /// The address that the server listens on.
    pub(crate) address: SocketAddr,
}

impl App {
    /// Answers a request, always.
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let begin = Instant::now();
        let (head, body) = request.into_parts();
        let id = request_id::of(&head.headers);
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let mut answer = match head.uri.path() {
            "/health" if reads => self.health().await,
            "/metrics" if reads => self.metrics().await,
            _ => {
                let mut tally = Tally { metrics: &self.metrics, begin, status: CLIENT_GONE };
                let answer = self.call(&head, body, &id, peer).await;
                tally.status = answer.status().as_u16();
                answer
            }
        };
        if self.access_log {
            let (method, path) = (head.method.as_str(), head.uri.path());
            tracing::info!(
                target: "access",
                client = %self.client(&head, peer),
                method,
                path,
                status = answer.status().as_u16(),
                microseconds = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
                request_id = id.to_str().unwrap_or_default(),
            );
        }
        answer.headers_mut().insert(request_id::HEADER, id);
        if head.method == Method::HEAD { answer::head_of(answer) } else { answer }
    }

    async fn call(&self, head: &Parts, body: Incoming, id: &HeaderValue, peer: SocketAddr) -> Answer {
        let busy = self.idle.as_ref().map(|idle| idle.call());
        if let Some(problem) = document::refuse_host(head) {
            return answer::text(StatusCode::BAD_REQUEST, problem);
        }
        if head.method == Method::CONNECT {
            return answer::text(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy");
        }
        let body = match self.read(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let id = id.to_str().unwrap_or_default();
        let fallback_host = if head.uri.authority().is_some() || head.headers.contains_key(hyper::header::HOST) {
            String::new()
        } else {
            self.address.to_string()
        };
        let origin = Origin { scheme: self.scheme(head, peer), fallback_host: &fallback_host };
        let document = document::of_request(head, origin, id, &body);
        drop(body);
        let mut call = Call::new(Kind::Http, document).with_request_id(Arc::from(id));
        if let Some(busy) = busy {
            call = call.with_companion(Arc::new(busy));
        }
        let result = self.drain.unless_over(self.function.call(call)).await;
        let Some(result) = result else {
            return answer::unavailable("the server is being stopped", AFTER_RESTART);
        };
        match result {
            Ok(document) => document::to_answer(&document).unwrap_or_else(|problem| {
                tracing::warn!(request_id = id, "the module's answer is not valid: {problem}");
                answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("the module's answer is not valid: {problem}"))
            }),
            Err(error) => {
                log(&error, id);
                answer::error(&error)
            }
        }
    }

    /// The whole body, or the answer that refuses it.
    async fn read(&self, mut body: Incoming) -> Result<Bytes, Answer> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let too_large = || {
            let text = format!("the body exceeds the limit of {} bytes (flag `--maxBody`)", self.max_body);
            answer::text(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(too_large());
        }
        let mut first: Option<Bytes> = None;
        let mut whole = BytesMut::new();
        loop {
            let frame = match tokio::time::timeout(BODY_PAUSE, body.frame()).await {
                Err(_) => return Err(answer::text(StatusCode::REQUEST_TIMEOUT, "the rest of the body did not arrive")),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(answer::text(StatusCode::BAD_REQUEST, "the body is broken off")),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers are not passed on: the document has no place for them.
            let Ok(data) = frame.into_data() else { continue };
            let so_far = first.as_ref().map_or(whole.len(), Bytes::len);
            if so_far + data.len() > self.max_body {
                return Err(too_large());
            }
            // A body that comes in one piece, as small ones do, is not copied.
            match (first.take(), whole.is_empty()) {
                (None, true) => first = Some(data),
                (Some(piece), _) => {
                    whole.extend_from_slice(&piece);
                    whole.extend_from_slice(&data);
                }
                (None, false) => whole.extend_from_slice(&data),
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    }

    /// The module's own health, or the runner's when it has none, or no time.
    async fn health(&self) -> Answer {
        if !self.function.module().exports(names::ON_HEALTH_CHECK) {
            let stats = self.function.stats();
            let body = serde_json::json!({
                "status": "ok", "instances": stats.instances, "waiting": stats.waiting, "traps": stats.trapped,
            });
            return answer::with(StatusCode::OK, answer::JSON, body.to_string());
        }
        let call = Call::new(Kind::Health, Bytes::new()).with_patience(PATIENCE);
        match self.function.call(call).await {
            Ok(document) => document::to_answer(&document).unwrap_or_else(|problem| {
                answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("OnHealthCheck: {problem}"))
            }),
            Err(CallError::Busy(busy)) if busy.is_load() => answer::text(StatusCode::OK, "busy"),
            Err(error) => {
                log(&error, "health");
                answer::error(&error)
            }
        }
    }

    /// The module's own metrics, then the runner's.
    async fn metrics(&self) -> Answer {
        let module = if self.function.module().exports(names::ON_METRICS) { self.module_metrics().await } else { None };
        let text = self.metrics.text(module.as_deref(), &self.function.stats());
        answer::with(StatusCode::OK, HeaderValue::from_static(metrics::CONTENT_TYPE), text)
    }

    async fn module_metrics(&self) -> Option<String> {
        let call = Call::new(Kind::Metrics, Bytes::new()).with_patience(PATIENCE);
        match self.function.call(call).await {
            Ok(document) => match response::parse(&document) {
                Ok(response) => Some(String::from_utf8_lossy(response.body.as_bytes()).into_owned()),
                Err(problem) => {
                    tracing::warn!("OnMetrics: {problem}");
                    Some(format!("# OnMetrics: {}", one_line(&problem.to_string())))
                }
            },
            Err(error) => {
                log(&error, "metrics");
                Some(format!("# OnMetrics: {}", one_line(&error.to_string())))
            }
        }
    }

    /// `https` behind a trusted proxy that says so.
    fn scheme<'a>(&self, head: &'a Parts, peer: SocketAddr) -> &'a str {
        let own = if self.secure { "https" } else { "http" };
        if !self.trusted_proxies.contains(&peer.ip()) {
            return own;
        }
        match head.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            Some(b"http") => "http",
            _ => own,
        }
    }

    /// The client's address for the log: the last one in `X-Forwarded-For` that is not a trusted proxy itself.
    fn client(&self, head: &Parts, peer: SocketAddr) -> IpAddr {
        let trusted = |address: &IpAddr| self.trusted_proxies.contains(address);
        if !trusted(&peer.ip()) {
            return peer.ip();
        }
        let forwarded = head.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let addresses: Vec<IpAddr> =
            forwarded.flat_map(|list| list.split(',')).filter_map(|text| text.trim().parse().ok()).collect();
        addresses.into_iter().rev().find(|address| !trusted(address)).unwrap_or(peer.ip())
    }
}

/// Counts a call when it is over, or when its client hung up before.
struct Tally<'a> {
    metrics: &'a Metrics,
    begin: Instant,
    status: u16,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.metrics.count(self.status, self.begin.elapsed());
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// What went wrong in a call, for the operator. Load is counted, not logged.
fn log(error: &CallError, id: &str) {
    match (error.fault(), error.trap()) {
        (Fault::Load | Fault::Caller, _) => {}
        (Fault::Runner, _) => tracing::error!(request_id = id, "{error}"),
        (_, Some(trap)) if !trap.backtrace.is_empty() => {
            tracing::warn!(request_id = id, "{error}\n{}", trap.backtrace.trim_end());
        }
        _ => tracing::warn!(request_id = id, "{error}"),
    }
}
