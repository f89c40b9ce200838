//! Requests and answers as modules have them: as documents, or as heads and bodies (docs/abi.md, section 3).

use std::borrow::Cow;

use bytes::Bytes;
use capsule_abi::exchange;
use capsule_abi::request::{self, RequestParts};
use capsule_abi::response::{self, Body};
use capsule_hdk as hdk;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode, Version};

use crate::answer::{Answer, JSON, TEXT};
use crate::module_headers::{self, ModuleHeaders, Own};

/// Bytes of most request documents without their bodies.
const DOCUMENT: usize = 768;

/// The request document for a request with these headers.
pub(crate) fn of_request(parts: &RequestParts<'_>, headers: &HeaderMap) -> Vec<u8> {
    let mut document = Vec::with_capacity(parts.body.len() + DOCUMENT);
    request::write(&mut document, parts, || pairs(parts, headers));
    document
}

/// The head of a request with these headers.
pub(crate) fn head_of_request(parts: &RequestParts<'_>, headers: &HeaderMap) -> Vec<u8> {
    exchange::request(parts, || pairs(parts, headers))
}

/// The headers as a module sees them: one host, in front.
fn pairs<'a>(parts: &RequestParts<'a>, headers: &'a HeaderMap) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let others = headers.iter().filter(|(name, _)| *name != HOST);
    let others = others.map(|(name, value)| (name.as_str(), value.as_bytes()));
    std::iter::once(("host", parts.host.as_bytes())).chain(others)
}

/// Bytes of a host with its port; a table, since every request is looked at. Bytes above ASCII become U+FFFD.
const IN_A_HOST: [bool; 256] = {
    let mut table = [true; 256];
    let refused = b"/?#@\\\"<>^`{|} \t";
    let mut index = 0;
    while index < refused.len() {
        table[refused[index] as usize] = false;
        index += 1;
    }
    table
};

/// The host that the client asked for: `:authority` or the target's own, then the header `Host` (RFC 9112 section 3.2.2).
/// `None` when it named none, as HTTP/1.0 allows.
///
/// # Errors
/// Why the host is not acceptable (section 3.2): a module could be shown another path than the one that was asked for.
pub(crate) fn host(head: &Parts) -> Result<Option<Cow<'_, str>>, &'static str> {
    // A look at every name takes less time than to find one by its hash.
    let mut hosts = head.headers.iter().filter(|(name, _)| *name == HOST).map(|(_, host)| host);
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has several `Host` headers");
    }
    if header.is_some_and(|host| !host.as_bytes().iter().all(|byte| IN_A_HOST[usize::from(*byte)])) {
        return Err("the `Host` header is not a host");
    }
    match (head.uri.authority(), header) {
        // A host and no more is what CONNECT asks for, and nobody else (section 3.2.3).
        (Some(_), _) if head.uri.scheme().is_none() && head.method != Method::CONNECT => {
            Err("the target of the request is not a path")
        }
        // Without a user's name and password: they are no part of a host.
        (Some(authority), _) => {
            let authority = authority.as_str();
            Ok(Some(Cow::Borrowed(authority.rsplit_once('@').map_or(authority, |(_, host)| host))))
        }
        (None, Some(host)) if !host.is_empty() => Ok(Some(match host.to_str() {
            Ok(host) => Cow::Borrowed(host),
            Err(_) => String::from_utf8_lossy(host.as_bytes()),
        })),
        (None, None) if head.version == Version::HTTP_11 => Err("the request has no `Host` header"),
        _ => Ok(None),
    }
}

/// The answer that a response document describes.
///
/// # Errors
/// One line that says what is wrong with the document.
pub(crate) fn to_answer(document: &Bytes, own: Own) -> Result<Answer, String> {
    let read = response::read(document).map_err(|error| error.to_string())?;
    let given = module_headers::of_text(read.headers, own)?;
    let (body, content_type) = match read.body {
        Body::Text(bytes) => (Bytes::from(bytes.into_owned()), TEXT),
        Body::Json(Cow::Borrowed(text)) => (slice_of(document, text), JSON),
        Body::Json(Cow::Owned(text)) => (Bytes::from(text), JSON),
    };
    answer(read.status, &given, body, Some(content_type))
}

/// The answer that a head and a body are.
///
/// # Errors
/// One line that says what is wrong with the head.
pub(crate) fn of_exchange(given: hdk::Answer, own: Own) -> Result<Answer, String> {
    let read = exchange::read_response(given.head()).map_err(|error| error.to_string())?;
    let (status, headers) = (read.status, module_headers::of_head(&read, own)?);
    answer(status, &headers, given.into_body(), None)
}

fn answer(
    status: u16,
    given: &ModuleHeaders,
    body: Bytes,
    content_type: Option<HeaderValue>,
) -> Result<Answer, String> {
    let status = StatusCode::from_u16(status).map_err(|_| format!("the status is {status}"))?;
    // These have no body, and nothing that describes one (RFC 9110 section 6.4.1).
    let bodyless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let mut answer = Response::new(Full::new(if bodyless { Bytes::new() } else { body }));
    *answer.status_mut() = status;
    *answer.headers_mut() = given.map.clone();
    if !bodyless
        && !given.typed
        && let Some(content_type) = content_type
    {
        answer.headers_mut().append(CONTENT_TYPE, content_type);
    }
    Ok(answer)
}

/// Shorter bodies are copied: that takes less time than to share a buffer.
const SHORT: usize = 512;

/// The part of `document` that `text` is; `{}` of a document without body is none.
fn slice_of(document: &Bytes, text: &str) -> Bytes {
    if text.len() < SHORT {
        return Bytes::copy_from_slice(text.as_bytes());
    }
    let whole = document.as_ptr_range();
    let part = text.as_bytes().as_ptr_range();
    if whole.start <= part.start && part.end <= whole.end {
        document.slice_ref(text.as_bytes())
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn answer(document: &'static str) -> Answer {
        to_answer(&Bytes::from_static(document.as_bytes()), Own::Id).unwrap()
    }

    #[test]
    fn headers_of_the_connection_are_dropped_and_others_kept() {
        let answer = answer(
            r#"{"JSONBody":1,"Headers":{"connection":"close","Content-Length":"99","Transfer-Encoding":"chunked",
               "Set-Cookie":["a=1","b=2"],"X-Own":"é"}}"#,
        );
        let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-request-id", "set-cookie", "x-own", "content-type"]);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn bodies_have_their_type() {
        assert_eq!(answer(r#"{"JSONBody":{"a":1}}"#).headers()[CONTENT_TYPE], "application/json");
        assert_eq!(answer(r#"{"TextBody":"YQ=="}"#).headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(answer(r#"{"TextBody":"YQ==","Headers":{"Content-Type":"a/b"}}"#).headers()[CONTENT_TYPE], "a/b");
        assert_eq!(answer("{}").headers()[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn statuses_without_body_have_none() {
        for status in [204, 304] {
            let document = format!(r#"{{"JSONBody":1,"StatusCode":{status}}}"#);
            let answer = to_answer(&Bytes::from(document), Own::Id).unwrap();
            assert!(hyper::body::Body::is_end_stream(answer.body()));
            assert!(!answer.headers().contains_key(CONTENT_TYPE));
        }
    }
    #[test]
    fn an_answer_of_bytes_has_the_headers_it_names() {
        let mut head = Vec::new();
        let headers = [("Connection", "close"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")];
        exchange::write_response(&mut head, 201, headers.into_iter());
        let answer = of_exchange(hdk::Answer::exchange(&head, b"x"), Own::Id).unwrap();
        assert_eq!(answer.status(), 201);
        let names: Vec<_> = answer.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(names, [("x-request-id", &b""[..]), ("set-cookie", b"a=1"), ("set-cookie", b"b=2")]);
        let mut head = Vec::new();
        exchange::write_response(&mut head, 200, [("A", "b\r\nX: y")].into_iter());
        assert_eq!(
            of_exchange(hdk::Answer::exchange(&head, b""), Own::Id).unwrap_err(),
            "the header `A` is not one that HTTP allows"
        );
        assert!(
            of_exchange(hdk::Answer::default(), Own::Id)
                .unwrap_err()
                .starts_with("the head of the response is not valid")
        );
    }
}
