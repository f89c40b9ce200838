//! Calls of functions: from a request to the runtime and back, with the same documents as for a module that is served alone.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use capsule_faas::runtime::{FunctionReply, hops};
use capsule_faas_model::names::Key;
use capsule_faas_model::target::Selector;
use capsule_hdk::{Call, CallError, Kind};
use capsule_hostfns::http::Trail;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{StatusCode, Uri};

use super::answers::{self, REVISION};
use super::app::FaasApp;
use crate::answer::{self, Answer};
use crate::app::AFTER_RESTART;
use crate::front;

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
    mut head: Parts,
    body: Incoming,
    id: &str,
    peer: SocketAddr,
) -> Answered {
    // Before a body is taken in for nobody.
    if !body.is_end_stream()
        && let Err(error) = app.faas.check(selector)
    {
        return answers::failed(&error).into();
    }
    app.tokens.remove(&mut head.headers);
    let before = head.headers.remove(HOPS);
    let asked = path.map(|path| shorten(&mut head.uri, path));
    let body = match front::checked(&head) {
        Ok(_) => app.front.take(body).await,
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
    let way = HeaderValue::from_str(placed.hops()).ok();
    if let Some(way) = way.clone().filter(|_| placed.is_child()) {
        // The child adds it to what its module sends.
        head.headers.insert(HOPS, way);
    }
    let document = match front::checked(&head) {
        Ok(host) => app.front.written(&head, host, asked.as_deref(), &body, id, peer),
        Err(refused) => return answers::not_taken(refused).into(),
    };
    drop(body);
    let mut call = Call::new(Kind::Http, document).with_request_id(Arc::from(id));
    if let Some(way) = way {
        call = call.with_companion(Arc::new(Trail::new(HOPS, way)));
    }
    let Some(result) = app.drain.unless_over(pin!(placed.call(call))).await else { return stopping(Some(key)) };
    let mut answer = outcome(result, id, &key);
    if let Ok(revision) = HeaderValue::from_str(key.revision.as_str()) {
        answer.headers_mut().insert(REVISION, revision);
    }
    Answered { answer, by: Some(key) }
}

fn outcome(result: Result<FunctionReply, CallError>, id: &str, by: &Key) -> Answer {
    let result = match result {
        Ok(FunctionReply::Child(answer)) => return answer.map(Full::new),
        Ok(FunctionReply::Inside(document)) => Ok(document),
        Err(error) => Err(error),
    };
    // Who it was is written down only where something is logged.
    let failed = result.is_err().then(|| by.to_string());
    front::outcome(result, id, failed.as_deref())
}

fn stopping(by: Option<Key>) -> Answered {
    Answered { answer: answer::unavailable("the server is being stopped", AFTER_RESTART), by }
}

/// Gives a URI another path; the query stays. Answers path and query of before.
fn shorten(uri: &mut Uri, path: &str) -> String {
    let before = uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = std::mem::take(uri).into_parts();
    // The end of a path that was one is one too.
    parts.path_and_query = Some(target.unwrap_or_else(|_| PathAndQuery::from_static("/")));
    *uri = Uri::from_parts(parts).unwrap_or_default();
    before
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_sees_what_follows_its_own_path() {
        for (uri, path, left) in [
            ("/functions/a/b/0/x/y?z=1", "/x/y", "/x/y?z=1"),
            ("/functions/a?z", "/", "/?z"),
            ("/functions/a/b/0//x//", "//x//", "//x//"),
            ("http://h:1/functions/a", "/", "http://h:1/"),
        ] {
            let mut shortened: Uri = uri.parse().unwrap();
            let before = shorten(&mut shortened, path);
            assert_eq!(shortened.to_string(), left);
            assert!(uri.ends_with(&before), "{before}");
        }
    }
}
