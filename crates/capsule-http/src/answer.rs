//! Answers that are not the module's: texts of the runner, and errors of calls as statuses.

use std::time::Duration;

use bytes::Bytes;
use capsule_hdk::{Busy, CallError};
use http_body_util::Full;
use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::receiving::Refused;

/// When a request may come again for which there was no room.
const SOON: Duration = Duration::from_secs(1);

/// Every answer has its whole body.
pub(crate) type Answer = Response<Full<Bytes>>;

/// `text/plain` in UTF-8.
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// JSON.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the runner.
pub(crate) fn with(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// A text of the runner.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    with(status, TEXT, text.into())
}

/// The answer to HEAD: that to GET without its body. Over HTTP/2 nobody else takes the body out.
pub(crate) fn head_of(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    let bodyless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let (Some(length), false) = (body.size_hint().exact(), bodyless) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Full::default())
}

/// 503 that says when to come again.
pub(crate) fn unavailable(reason: impl Into<String>, retry_after: Duration) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    // Whole seconds (RFC 9110 section 10.2.3), at least one.
    let seconds = retry_after.as_millis().div_ceil(1000).max(1);
    if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
        answer.headers_mut().insert(RETRY_AFTER, value);
    }
    answer
}

/// The answer to a request that did not reach the module.
pub(crate) fn refused((status, why): Refused) -> Answer {
    if status == StatusCode::SERVICE_UNAVAILABLE { unavailable(why, SOON) } else { text(status, why) }
}

/// The status of each error, and what the client may see of it: the module's own words, or one line. The runner's own
/// faults are in the log only.
pub(crate) fn error(error: &CallError) -> Answer {
    match error {
        CallError::Failure(message) => with(StatusCode::INTERNAL_SERVER_ERROR, TEXT, message.clone()),
        CallError::Deadline(_) => text(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
        CallError::ArgumentTooLarge { .. } => text(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        CallError::Busy(Busy { retry_after, .. }) => unavailable(error.to_string(), *retry_after),
        CallError::Start(cause) => match &**cause {
            CallError::Deadline(_) | CallError::StartDeadline(_) => {
                text(StatusCode::GATEWAY_TIMEOUT, error.to_string())
            }
            CallError::Runner(_) => internal(),
            _ => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        CallError::Runner(_) => internal(),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// 500 without details.
pub(crate) fn internal() -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the runner failed; its log says why")
}

#[cfg(test)]
mod tests {
    use capsule_hdk::{BusyReason, Trap};

    use super::*;

    fn busy(reason: BusyReason) -> CallError {
        CallError::Busy(Busy { reason, retry_after: Duration::from_millis(1500) })
    }

    #[test]
    fn every_error_has_its_status() {
        let trap = Trap { message: "m".into(), backtrace: String::new(), memory_refused: None };
        for (call_error, status) in [
            (CallError::Failure("f".into()), 500),
            (CallError::MissingExport("callHandleHTTP"), 500),
            (CallError::Trap(trap.clone()), 500),
            (CallError::Exit(1), 500),
            (CallError::Protocol("p".into()), 500),
            (CallError::Deadline(Duration::from_secs(1)), 504),
            (CallError::ArgumentTooLarge { limit: 1, found: 2 }, 413),
            (CallError::ResultTooLarge { limit: 1, found: 2 }, 500),
            (busy(BusyReason::QueueFull(1)), 503),
            (busy(BusyReason::QueueTimeout(Duration::from_secs(1))), 503),
            (busy(BusyReason::Instances(1)), 503),
            (busy(BusyReason::BackOff), 503),
            (busy(BusyReason::Stopping), 503),
            (CallError::Start(Box::new(CallError::Trap(trap))), 500),
            (CallError::Start(Box::new(CallError::Deadline(Duration::from_secs(1)))), 504),
            (CallError::Start(Box::new(CallError::StartDeadline(Duration::from_secs(1)))), 504),
            (CallError::Runner("secret detail".into()), 500),
        ] {
            let answer = error(&call_error);
            assert_eq!(answer.status().as_u16(), status, "{call_error}");
            assert_eq!(answer.headers().get(RETRY_AFTER).is_some(), status == 503, "{call_error}");
        }
        let answer = error(&busy(BusyReason::QueueFull(1)));
        assert_eq!(answer.headers()[RETRY_AFTER], "2");
    }
}
