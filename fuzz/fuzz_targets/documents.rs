//! The JSON documents between runner and module: whatever bytes come, nothing panics, errors are one line, what is read is JSON
//! for serde_json too, and what is read and written again is read as the same, however deep it is nested.

#![no_main]

use std::borrow::Cow;

use capsule_abi::headers::{self, Header, canonical};
use capsule_abi::outbound::{self, OutboundBody};
use capsule_abi::request::{self, Request, RequestParts};
use capsule_abi::response::{self, Body, STATUSES};
use capsule_abi::{DocumentError, keys};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = read(request::parse(bytes), bytes) {
        requests(&request);
    }
    if let Some(response) = read(response::parse(bytes), bytes) {
        responses(&response);
    }
    if let Some(request) = read(outbound::parse_request(bytes), bytes) {
        outbound_requests(&request);
    }
    if let Some(response) = read(outbound::parse_response(bytes), bytes) {
        outbound_responses(response.status, &response.headers, &response.body);
    }
    outbound_responses(200, &[("Content-Type".into(), "application/json".into())], bytes);
    if let Some(found) = read(keys::parse(bytes), bytes) {
        let mut out = Vec::new();
        keys::write(&mut out, found.iter().map(String::as_bytes));
        assert_eq!(keys::parse(&out).as_ref(), Ok(&found));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        header_texts(text);
        nested(text, usize::from(bytes.first().copied().unwrap_or_default()) * 8);
    }
});

/// What was read of a document, which is JSON then.
fn read<T>(result: Result<T, DocumentError>, bytes: &[u8]) -> Option<T> {
    match result {
        Ok(document) => {
            assert!(is_json(bytes), "read, and no JSON");
            Some(document)
        }
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            None
        }
    }
}

fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn requests(request: &Request<'_>) {
    let (uri, document) = write_request(request);
    let again = request::parse(&document).expect("what is written is read");
    let headers = request.headers.iter().map(|(name, value)| (Cow::from(canonical(name)), value.clone())).collect();
    assert_eq!(again, Request { uri: uri.into(), headers, ..request.clone() });
    assert_eq!(write_request(&again).1, document);
    assert!(is_json(&document));
}

/// The URI and the document of a request, as a runner writes them.
fn write_request(request: &Request<'_>) -> (String, Vec<u8>) {
    let query = Some(&*request.query).filter(|query| !query.is_empty());
    let parts = RequestParts {
        method: &request.method,
        scheme: "https",
        host: "localhost:8080",
        path: &request.path,
        query,
        request_id: &request.request_id,
        target: request.target.as_deref(),
        body: &request.body,
    };
    let mut out = Vec::new();
    request::write(&mut out, &parts, || request.headers.iter().map(|(name, value)| (&**name, value.as_bytes())));
    (format!("https://localhost:8080{}{}{}", request.path, query.map_or("", |_| "?"), request.query), out)
}

fn responses(response: &response::Response<'_>) {
    assert!(STATUSES.contains(&response.status));
    let document = write_response(response);
    let again = response::parse(&document).expect("what is written is read");
    assert_eq!((again.status, &again.body), (response.status, &response.body));
    same_headers(&again.headers, &response.headers);
    // Equal names stand together now.
    assert_eq!(response::parse(&write_response(&again)).as_ref(), Ok(&again));
    if let Body::Json(text) = &response.body {
        assert!(is_json(text.as_bytes()));
    }
}

fn write_response(response: &response::Response<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    response::write(&mut out, response.status, texts(&response.headers), &response.body);
    out
}

fn outbound_requests(request: &outbound::OutboundRequest<'_>) {
    assert!(!request.uri.is_empty() && headers::is_name(&request.method));
    let mut out = Vec::new();
    outbound::write_request(&mut out, &request.method, &request.uri, texts(&request.headers), &request.body);
    let again = outbound::parse_request(&out).expect("what is written is read");
    assert_eq!((&again.method, &again.uri, &again.body), (&request.method, &request.uri, &request.body));
    same_headers(&again.headers, &request.headers);
    if let OutboundBody::Json(text) = &request.body {
        assert!(is_json(text.as_bytes()));
    }
}

/// An answer from outside, of any content: the module gets the same bytes, or JSON that means the same.
fn outbound_responses(status: u16, headers: &[Header<'_>], body: &[u8]) {
    let mut out = Vec::new();
    let pairs = headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
    outbound::write_response(&mut out, status, pairs, body);
    assert!(is_json(&out));
    let again = outbound::parse_response(&out).expect("what is written is read");
    assert_eq!(again.status, status);
    same_headers(&again.headers, headers);
    let announced = headers::get(headers, "content-type").is_some_and(outbound::is_json);
    assert_eq!(again.is_json, announced && is_json(body));
    if !again.is_json {
        assert_eq!(again.body, body);
    } else if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&again.body).ok(), Some(value));
    }
}

/// The `Headers` text of a request.
fn header_texts(text: &str) {
    let Ok(mut pairs) = headers::parse_text(text) else { return };
    for (name, _) in &mut pairs {
        *name = canonical(name);
    }
    // Those with equal names that follow each other are joined.
    pairs.dedup_by(|(later, _), (name, _)| later.eq_ignore_ascii_case(name));
    let written = headers::to_text(pairs.iter().map(|(name, value)| (&**name, value.as_bytes())));
    assert_eq!(headers::parse_text(&written).as_ref(), Ok(&pairs));
}

/// A value is read in brackets as it is without them: depth costs no stack.
fn nested(text: &str, depth: usize) {
    let document = |open: &str, close: &str| {
        format!("{{\"JSONBody\":{}{text}{}}}", open.repeat(depth), close.repeat(depth)).into_bytes()
    };
    let valid = is_json(text.as_bytes());
    assert_eq!(response::parse(&document("[", "]")).is_ok(), valid || is_json(&document("[", "]")));
    assert_eq!(response::parse(&document("{\"a\":", "}")).is_ok(), valid || is_json(&document("{\"a\":", "}")));
}

fn texts<'a>(headers: &'a [Header<'_>]) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
    headers.iter().map(|(name, value)| (&**name, &**value))
}

/// The same pairs, whatever the case of names and the order of different ones.
fn same_headers(found: &[Header<'_>], expected: &[Header<'_>]) {
    let sorted = |headers: &[Header<'_>]| {
        let pairs = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        pairs
    };
    assert_eq!(sorted(found), sorted(expected));
}
