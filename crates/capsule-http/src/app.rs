//! Which route answers a request, and the way of a call from its head to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use capsule_abi::names;
use capsule_abi::response;
use capsule_faas::runtime::hops;
use capsule_hdk::{Call, CallError, Contract, Function, Kind, Limit};
use capsule_hostfns::http::Trail;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use crate::answer::{self, Answer};
use crate::connections::peer::Peer;
use crate::document;
use crate::drain::Drain;
use crate::front::{self, Asked, Front};
use crate::idle::Idle;
use crate::listener::Answers;
use crate::metrics::{self, Metrics};
use crate::module_headers::{self, Own};
use crate::request_id;

/// Counted for calls whose client did not wait for the answer.
pub(crate) const CLIENT_GONE: u16 = 499;
/// How long health and metrics wait for a busy instance.
const PATIENCE: Duration = Duration::from_secs(1);
/// When a call that was given up at the end of the drain time may come again.
pub(crate) const AFTER_RESTART: Duration = Duration::from_secs(1);

/// What a server answers with.
pub(crate) struct App {
    pub(crate) function: Function,
    pub(crate) metrics: Metrics,
    /// Only with `--stopAfter`.
    pub(crate) idle: Option<Arc<Idle>>,
    pub(crate) drain: Drain,
    pub(crate) front: Front,
}

impl Answers for App {
    type Body = Full<Bytes>;

    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Answer> + Send + 'static {
        // Taken apart outside of the future, which would hold it twice.
        let begin = Instant::now();
        let (head, body) = request.into_parts();
        async move {
            let id = request_id::of(&head.headers);
            let reads = head.method == Method::GET || head.method == Method::HEAD;
            let mut answer = match head.uri.path() {
                // In boxes: the future of every call would be as large as theirs.
                "/health" if reads => Box::pin(self.health()).await,
                "/metrics" if reads => Box::pin(self.metrics()).await,
                _ => {
                    let mut tally = Tally { metrics: &self.metrics, begin, status: CLIENT_GONE };
                    let answer = self.call(&head, body, &id, &peer, begin).await;
                    tally.status = answer.status().as_u16();
                    answer
                }
            };
            self.front.log(&head, &peer, answer.status(), begin, &id, None);
            module_headers::set_id(answer.headers_mut(), id);
            if head.method == Method::HEAD { answer::head_of(answer) } else { answer }
        }
    }
}

impl App {
    /// What the module answers. No `async fn`: its future would hold twice what it is given.
    fn call<'a>(
        &'a self,
        head: &'a Parts,
        body: Incoming,
        id: &'a HeaderValue,
        peer: &'a Arc<Peer>,
        begin: Instant,
    ) -> impl Future<Output = Answer> + Send {
        let has_body = !body.is_end_stream();
        let busy = self.idle.as_ref().map(|idle| idle.call());
        let id = id.to_str().unwrap_or_default();
        async move {
            let host = match front::checked(head) {
                Ok(host) => host,
                Err(refused) => return answer::refused(refused),
            };
            let body = match self.front.take(body, self.front.max_body, peer).await {
                Ok(body) => body,
                Err(refused) => {
                    if refused.0 == StatusCode::PAYLOAD_TOO_LARGE {
                        self.function.hit(Limit::Body);
                    }
                    return answer::refused(refused);
                }
            };
            let takes_requests = self.function.takes_requests();
            let mut call = match self.front.call(Asked { head, host, path: None, body, takes_requests }, id, peer) {
                Ok(call) => call,
                Err(refused) => return answer::refused(refused),
            };
            // A child process passes the way of a call on, so that its server sees when the call comes back.
            if self.front.is_child
                && let Some(way) = head.headers.get(hops::HEADER)
            {
                let header = HeaderName::from_static(hops::HEADER);
                call = call.with_companion(Arc::new(Trail::new(header, way.clone())));
            }
            if let Some(busy) = busy {
                call = call.with_guard(Arc::new(busy));
            }
            if self.function.contract() == Contract::Fresh {
                peer.end_with_client(true);
            }
            if !has_body {
                call = call.with_now(begin.into());
            }
            let result = self.drain.unless_over(self.function.exchange(call)).await;
            peer.end_with_client(false);
            match result {
                Some(result) => front::outcome(result, takes_requests, Own::Id, id, None),
                None => answer::unavailable("the server is being stopped", AFTER_RESTART),
            }
        }
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
            Ok(document) => document::to_answer(&document, Own::Id).unwrap_or_else(|problem| {
                answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("OnHealthCheck: {problem}"))
            }),
            Err(CallError::Busy(busy)) if busy.is_load() => answer::text(StatusCode::OK, "busy"),
            Err(error) => {
                front::log(&error, "health", None);
                answer::error(&error)
            }
        }
    }

    /// The module's own metrics, then the runner's.
    async fn metrics(&self) -> Answer {
        let module = self.module_metrics().await;
        let text = self.metrics.text(module.as_deref(), &self.function.stats());
        answer::with(StatusCode::OK, HeaderValue::from_static(metrics::CONTENT_TYPE), text)
    }

    /// The module's own metrics; none when it has none.
    pub(crate) async fn module_metrics(&self) -> Option<String> {
        if !self.function.module().exports(names::ON_METRICS) {
            return None;
        }
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
                front::log(&error, "metrics", None);
                Some(format!("# OnMetrics: {}", one_line(&error.to_string())))
            }
        }
    }
}

/// Counts a call when it is over, or when its client hung up before.
pub(crate) struct Tally<'a> {
    pub(crate) metrics: &'a Metrics,
    pub(crate) begin: Instant,
    pub(crate) status: u16,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.metrics.count(self.status, self.begin.elapsed());
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
