//! Answers of the server itself: errors and small documents as JSON.

use bytes::Bytes;
use capsule_faas::runtime::FaasError;
use capsule_faas_model::Refusal;
use http_body_util::{Either, Full};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::logs::Lines;
use crate::answer::{self, Answer, JSON};
use crate::receiving::Refused;

/// A whole body, or lines as they come.
pub(super) type Body = Either<Full<Bytes>, Lines>;

/// The header by which clients know a server of functions: its version.
pub(super) const SERVER: &str = "x-capsule-faas";

/// What clients are told when something is not done.
#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// A document with status 200.
pub(super) fn document(document: &impl Serialize) -> Answer {
    answer::with(StatusCode::OK, JSON, json(document))
}

/// An error: one line, and what the client can do.
pub(super) fn problem(status: StatusCode, error: &str, hint: Option<&str>) -> Answer {
    answer::with(status, JSON, json(&Problem { error, hint }))
}

/// A command or call that the runtime did not carry out.
pub(super) fn failed(error: &FaasError) -> Answer {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = problem(status, &error.to_string(), error.hint());
    if let Some(after) = error.retry_after() {
        // Whole seconds (RFC 9110 section 10.2.3), at least one.
        let seconds = after.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
            answer.headers_mut().insert(RETRY_AFTER, value);
        }
    }
    answer
}

/// A path or body that breaks the rules.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    problem(status, &refusal.to_string(), None)
}

/// A request that was refused before anybody looked at what it asks for.
pub(super) fn not_taken((status, why): Refused) -> Answer {
    let mut answer = problem(status, &why, None);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// An answer with its whole body, as one of this server.
pub(super) fn whole(answer: Answer) -> Response<Body> {
    answer.map(Either::Left)
}

fn json(value: &impl Serialize) -> Bytes {
    // Maps have keys that are texts, and nothing else can fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}
