//! What the ABI's documents cost to write and to read: a small POST with the headers of a browser's kind, and its answer.

use std::hint::black_box;

use capsule_abi::request::RequestParts;
use capsule_abi::response::Body;
use capsule_abi::{exchange, frame, request, response};
use criterion::Criterion;

const BODY: &[u8] = br#"{"name":"Bob Morane","age":42}"#;

pub(super) const REQUEST: RequestParts<'static> = RequestParts {
    method: "POST",
    scheme: "http",
    host: "localhost:8080",
    path: "/functions/hello",
    query: Some("language=en"),
    request_id: "00000000-00000000",
    target: None,
    body: BODY,
};

const REQUEST_HEADERS: [(&str, &[u8]); 6] = [
    ("accept", b"application/json, text/plain;q=0.8"),
    ("accept-encoding", b"gzip, deflate, br"),
    ("content-length", b"30"),
    ("content-type", b"application/json"),
    ("host", b"localhost:8080"),
    ("user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
];

const RESPONSE_HEADERS: [(&str, &str); 2] =
    [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store")];

pub(super) fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    group.bench_function("encode", |bench| bench.iter(|| frame::encode(Ok(black_box(BODY)))));
    let encoded = frame::encode(Ok(BODY));
    group.bench_function("decode", |bench| bench.iter(|| frame::decode(black_box(&encoded)).is_ok()));
    group.finish();
}

pub(super) fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("document");
    let write = || {
        let mut document = Vec::new();
        request::write(&mut document, black_box(&REQUEST), || REQUEST_HEADERS.into_iter());
        document
    };
    group.bench_function("write request", |bench| bench.iter(write));
    let document = write();
    group.bench_function("read request", |bench| {
        bench.iter(|| request::parse(black_box(&document)).unwrap().headers.len());
    });
    group.finish();
}

pub(super) fn responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("document");
    for (kind, body) in [
        ("JSON", Body::Json(r#"{"message":"Bob Morane 42","things":{"emoji":"🐯"}}"#.into())),
        ("text", Body::Text(b"Hey Bob Morane, you are 42 years old!"[..].into())),
    ] {
        let write = || {
            let mut document = Vec::new();
            response::write(&mut document, 200, RESPONSE_HEADERS.into_iter(), black_box(&body));
            document
        };
        group.bench_function(format!("write response, {kind}"), |bench| bench.iter(write));
        let document = write();
        group.bench_function(format!("read response, {kind}"), |bench| {
            bench.iter(|| response::parse(black_box(&document)).unwrap().status);
        });
    }
    group.finish();
}

pub(super) fn exchanges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    group.bench_function("write request", |bench| bench.iter(|| request_head(black_box(&REQUEST))));
    let head = request_head(&REQUEST);
    group.bench_function("read request", |bench| {
        bench.iter(|| {
            let head = exchange::read_request(black_box(&head)).unwrap();
            (head.target().len(), head.headers().count())
        });
    });
    let write = || {
        let mut head = Vec::new();
        exchange::write_response(&mut head, black_box(200), RESPONSE_HEADERS.into_iter());
        head
    };
    group.bench_function("write response", |bench| bench.iter(write));
    let head = write();
    group.bench_function("read response", |bench| {
        bench.iter(|| exchange::read_response(black_box(&head)).unwrap().headers.count());
    });
    group.finish();
}

/// The head of a request with all headers.
pub(super) fn request_head(parts: &RequestParts<'_>) -> Vec<u8> {
    exchange::request(parts, || REQUEST_HEADERS.into_iter())
}
