//! Calls of functions: from a request to the runtime and back, with the same documents as for a module that is served alone.

use std::pin::pin;
use std::sync::Arc;

use capsule_faas::runtime::{self, FunctionReply, hops};
use capsule_faas_model::names::Key;
use capsule_faas_model::target::Selector;
use capsule_hdk::CallError;
use capsule_hostfns::http::Trail;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::answers::{self, REVISION};
use super::app::FaasApp;
use crate::answer::{self, Answer};
use crate::app::AFTER_RESTART;
use crate::connections::peer::Peer;
use crate::front::{self, Asked};

const HOPS: HeaderName = HeaderName::from_static(hops::HEADER);

/// An answer, and who gave it.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) by: Option<Key>,
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Answered {
        Answered { answer, by: None }
    }
}

/// Calls a function. `path` is what it sees of the request's path; none when that is all of it.
pub(super) async fn call(
    app: &FaasApp,
    selector: &Selector,
    path: Option<&str>,
    head: &mut Parts,
    body: Incoming,
    id: &str,
    peer: &Arc<Peer>,
) -> Answered {
    // Before a body is taken in for nobody.
    if !body.is_end_stream()
        && let Err(error) = app.faas.check(selector)
    {
        return answers::failed(&error).into();
    }
    app.tokens.remove(&mut head.headers);
    let before = if head.headers.keys().any(|name| *name == HOPS) { head.headers.remove(HOPS) } else { None };
    let body = match front::checked(head) {
        Ok(_) => app.front.take(body, peer).await,
        Err(refused) => Err(refused),
    };
    let body = match body {
        Ok(body) => body,
        Err(refused) => return answers::not_taken(refused).into(),
    };
    let before = before.as_ref().and_then(|value| value.to_str().ok());
    let placed = match app.drain.unless_over(pin!(app.faas.place(selector, before))).await {
        Some(Ok(placed)) => placed,
        Some(Err(error)) => return answers::failed(&error).into(),
        None => return stopping(None),
    };
    let key = placed.key().clone();
    if placed.is_child()
        && let Ok(way) = HeaderValue::from_str(placed.hops())
    {
        // The child adds it to what its module sends.
        head.headers.insert(HOPS, way);
    }
    let host = match front::checked(head) {
        Ok(host) => host,
        Err(refused) => return answers::not_taken(refused).into(),
    };
    let takes_requests = placed.takes_requests();
    let call = match app.front.call(Asked { head, host, path, body, takes_requests }, id, peer) {
        Ok(call) => call,
        Err(refused) => return answers::not_taken(refused).into(),
    };
    let call = call.with_companion(placed.trail(trail));
    let Some(result) = app.drain.unless_over(pin!(placed.call(call))).await else { return stopping(Some(key)) };
    let mut answer = outcome(result, takes_requests, id, &key);
    if let Ok(revision) = HeaderValue::from_str(key.revision.as_str()) {
        answer.headers_mut().insert(REVISION, revision);
    }
    Answered { answer, by: Some(key) }
}

/// The header that the host adds to what a function sends.
fn trail(hops: &str) -> runtime::Trail {
    let way = HeaderValue::from_str(hops).expect("it was read from a header as text, and numbers were added");
    Arc::new(Trail::new(HOPS, way))
}

fn outcome(result: Result<FunctionReply, CallError>, took_request: bool, id: &str, by: &Key) -> Answer {
    let result = match result {
        Ok(FunctionReply::Child(answer)) => return (*answer).map(Full::new),
        Ok(FunctionReply::Inside(answer)) => Ok(answer),
        Err(error) => Err(error),
    };
    // Who it was is written down only where something is logged.
    let failed = result.is_err().then(|| by.to_string());
    front::outcome(result, took_request, id, failed.as_deref())
}

fn stopping(by: Option<Key>) -> Answered {
    Answered { answer: answer::unavailable("the server is being stopped", AFTER_RESTART), by }
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
