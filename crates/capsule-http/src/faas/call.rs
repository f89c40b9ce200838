//! Calls of functions: from a request to the runtime and back, with the same documents as for a module that is served alone.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use capsule_faas::runtime::{self, Begun, Placing, hops};
use capsule_faas_model::names::{DEFAULT_REVISION, Key};
use capsule_faas_model::target::Selector;
use capsule_hdk::{self as hdk, CallError, Limit};
use capsule_hostfns::http::Trail;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::answers;
use super::app::{FaasApp, Rest, Routed, Seen};
use crate::answer::{self, Answer};
use crate::app::{AFTER_RESTART, CLIENT_GONE, Tally};
use crate::front::{self, Asked, MAX_BODY};
use crate::module_headers::{self, Own};
use crate::receiving;

const HOPS: HeaderName = HeaderName::from_static(hops::HEADER);

/// Calls a function, which sees `path` of the request's. No `async fn`: its future would hold twice what it is given.
pub(super) fn call<'a>(
    app: &'a FaasApp,
    selector: &Selector,
    path: Seen,
    head: &mut Parts,
    rest: Rest<'_, 'a>,
) -> impl Future<Output = Routed> + Send {
    let Rest { body, peer, id, begin, tally } = rest;
    *tally = Some(Tally { metrics: &app.metrics, begin, status: CLIENT_GONE });
    let id = id.to_str().unwrap_or_default();
    let has_body = !body.is_end_stream();
    async move {
        // Before a body is taken in for nobody.
        let limit = match if has_body { app.faas.body_limit(selector) } else { Ok(0) } {
            Ok(limit) => limit,
            Err(error) => return answers::failed(&error).into(),
        };
        app.tokens.remove(&mut head.headers);
        let before = if head.headers.keys().any(|name| *name == HOPS) { head.headers.remove(HOPS) } else { None };
        let mut host = match front::checked(head) {
            Ok(host) => host,
            Err(refused) => return answers::not_taken(refused).into(),
        };
        let body = match app.front.take(body, limit, peer).await {
            Ok(body) => body,
            Err(refused) => {
                if refused.0 == StatusCode::PAYLOAD_TOO_LARGE {
                    app.faas.hit(selector, Limit::Body);
                }
                return answers::not_taken(refused).into();
            }
        };
        let before = before.as_ref().and_then(|value| value.to_str().ok());
        // Who waited for a body has to look at the clock again.
        let now = if has_body { Instant::now() } else { begin };
        // A call of a function with state runs on without it.
        peer.end_with_client(true);
        let placed = match app.faas.place(selector, before, now.into()) {
            Ok(Placing::Now(placed)) => placed,
            Ok(Placing::Later(later)) => match app.drain.unless_over(later).await {
                Some(Ok(placed)) => placed,
                Some(Err(error)) => return answers::failed(&error).into(),
                None => return stopping(None),
            },
            Err(error) => return answers::failed(&error).into(),
        };
        if body.bytes.len() > placed.body_limit() {
            // It was within the limit of another revision.
            placed.hit(Limit::Body);
            return answers::not_taken(receiving::too_large(placed.body_limit(), MAX_BODY)).into();
        }
        if placed.is_child()
            && let Ok(way) = HeaderValue::from_str(placed.hops())
        {
            // The child adds it to what its module sends. The host is a part of the head until then.
            let own = host.map(|host| Cow::Owned(host.into_owned()));
            head.headers.insert(HOPS, way);
            host = own;
        }
        let path = path.part(head.uri.path());
        let takes_requests = placed.takes_requests();
        let call = match app.front.call(Asked { head, host, path, body, takes_requests }, id, peer) {
            Ok(call) => call,
            Err(refused) => return answers::not_taken(refused).into(),
        };
        let call = call.with_companion(placed.trail(trail));
        let (key, begun) = placed.begin(call);
        let answer = match begun {
            Begun::Inside(function, call) => {
                let result = app.drain.unless_over(function.exchange(call)).await;
                result.map(|result| outcome(result, takes_requests, id, &key))
            }
            Begun::Child(answer) => app.drain.unless_over(answer).await.map(|result| match result {
                Ok(answer) => answer.map(Full::new),
                Err(error) => outcome(Err(error), takes_requests, id, &key),
            }),
        };
        peer.end_with_client(false);
        let Some(mut answer) = answer else { return stopping(Some(key)) };
        module_headers::set_revision(answer.headers_mut(), revision_of(&key));
        Routed { answer: answers::whole(answer), function: Some(key), logged: false }
    }
}

/// What an answer says of who gave it.
fn revision_of(key: &Key) -> HeaderValue {
    match key.revision.as_str() {
        // Most calls: nothing to copy.
        DEFAULT_REVISION => const { HeaderValue::from_static(DEFAULT_REVISION) },
        revision => HeaderValue::from_str(revision).expect("names of revisions are letters, digits, `.`, `_` and `-`"),
    }
}

/// The header that the host adds to what a function sends.
fn trail(hops: &str) -> runtime::Trail {
    let way = HeaderValue::from_str(hops).expect("it was read from a header as text, and numbers were added");
    Arc::new(Trail::new(HOPS, way))
}

fn outcome(result: Result<hdk::Answer, CallError>, took_request: bool, id: &str, by: &Key) -> Answer {
    // Who it was is written down only where something is logged.
    let failed = result.is_err().then(|| by.to_string());
    front::outcome(result, took_request, Own::IdAndRevision, id, failed.as_deref())
}

fn stopping(by: Option<Key>) -> Routed {
    let answer = answer::unavailable("the server is being stopped", AFTER_RESTART);
    Routed { answer: answers::whole(answer), function: by, logged: false }
}

/// The status that a failed call of a hook is answered with, and its text.
pub(super) fn failed_hook(error: &CallError) -> Answer {
    let status = answer::error(error).status();
    let text = match error {
        CallError::Runner(_) => "the runner failed; its log says why".to_owned(),
        error => error.to_string(),
    };
    answers::problem(status, if text.is_empty() { status_text(status) } else { &text }, None)
}

fn status_text(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("failed")
}
