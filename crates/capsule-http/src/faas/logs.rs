//! The lines of functions as text: `TIME NAME/REVISION/INDEX LINE`, the last ones, and on request those that come.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use capsule_faas::runtime::{FaasError, LogLine};
use capsule_faas_model::target::Selector;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::answers::{self, Body};
use super::app::FaasApp;
use crate::answer::TEXT;
use crate::connections::peer::Peer;

/// Lines as they come; the end when the function is dropped or the server stops.
pub(super) type Lines = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// What the query of the route asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    follow: bool,
    /// How many of the last lines; all that are kept when none is given.
    lines: Option<usize>,
}

/// The answer with the log of a function; 503 when as many clients follow logs as may.
///
/// # Errors
/// Not found, or invalid when the query says something else.
pub(super) fn answer(
    app: &FaasApp,
    selector: &Selector,
    query: &str,
    peer: &Peer,
) -> Result<Response<Body>, FaasError> {
    let wanted = read(query)?;
    let (kept, follow) = if wanted.follow {
        let (kept, follow) = app.faas.follow(selector)?;
        let Ok(place) = Arc::clone(&app.followers).try_acquire_owned() else { return Ok(too_many()) };
        (kept, Some((follow, place)))
    } else {
        (app.faas.logs(selector)?, None)
    };
    let first = kept.len().saturating_sub(wanted.lines.unwrap_or(usize::MAX));
    let text: String = kept[first..].iter().map(line).collect();
    let body = match follow {
        None => Either::Left(Full::new(text.into())),
        Some(follow) => {
            // There may be no line for long, and nothing else would show that nobody reads them.
            peer.end_with_client(true);
            let news = stream::unfold(follow, |(mut follow, place)| async move {
                let next = follow.next().await?;
                Some((line(&next), (follow, place)))
            });
            let frame = |text: String| Ok(Frame::data(Bytes::from(text)));
            let kept = stream::iter((!text.is_empty()).then_some(text));
            Either::Right(StreamBody::new(kept.chain(news).map(frame).boxed()))
        }
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    Ok(answer)
}

fn too_many() -> Response<Body> {
    let hint = "end some of them, or ask for the last lines without `follow`";
    let mut answer = answers::problem(StatusCode::SERVICE_UNAVAILABLE, "too many clients follow logs", Some(hint));
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answers::whole(answer)
}

fn line(line: &Arc<LogLine>) -> String {
    let mut text = String::with_capacity(line.text.len() + line.function.len() + 32);
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{:.3} {} {}", line.at, line.function, line.text);
    text
}

fn read(query: &str) -> Result<Wanted, FaasError> {
    let mut wanted = Wanted::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "true")) {
            ("follow", "true" | "1") => wanted.follow = true,
            ("follow", "false" | "0") => wanted.follow = false,
            ("lines", number) if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() => {
                wanted.lines = Some(number.parse().unwrap_or(usize::MAX));
            }
            _ => {
                let message = "the query: expected `follow=true` or `lines=NUMBER`, found something else";
                return Err(capsule_faas_model::Refusal::invalid(message).into());
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let wanted = |follow, lines| Some(Wanted { follow, lines });
        for (query, expected) in [
            ("", wanted(false, None)),
            ("follow=true", wanted(true, None)),
            ("follow", wanted(true, None)),
            ("lines=10&follow=true", wanted(true, Some(10))),
            ("lines=0", wanted(false, Some(0))),
            ("lines=99999999999999999999999", wanted(false, Some(usize::MAX))),
            ("lines=-1", None),
            ("lines=", None),
            ("follow=maybe", None),
            ("tail=1", None),
        ] {
            assert_eq!(read(query).ok(), expected, "{query}");
        }
    }
}
