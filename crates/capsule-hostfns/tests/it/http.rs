//! `hostHTTP`, with a scripted server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use capsule_abi::outbound::{self, OutboundBody};
use capsule_hdk::{Network, Reach};
use capsule_hostfns::Services;
use capsule_hostfns::http::{HttpLimits, Trail};
use capsule_test::stub::{Answer, Gate, HttpStub};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::guest::Guest;

fn guest(network: Network, http: HttpLimits) -> Guest {
    Guest::with("hostHTTP", 1, |config| {
        config.capabilities.network = network;
        Services { http, ..Services::default() }
    })
}

fn operator() -> Guest {
    guest(Network { reach: Reach::Operator, allowed: Vec::new() }, HttpLimits::default())
}

fn document(method: &str, uri: &str, headers: &[(&str, &str)], body: &OutboundBody<'_>) -> String {
    let mut document = Vec::new();
    outbound::write_request(&mut document, method, uri, headers.iter().copied(), body);
    String::from_utf8(document).unwrap()
}

fn get(uri: &str) -> String {
    document("GET", uri, &[], &OutboundBody::Empty)
}

struct Seen {
    status: u16,
    body: String,
    is_json: bool,
}

async fn send(guest: &Guest, request: &str) -> Seen {
    let answer = guest.framed(&[request]).await.unwrap();
    let response = outbound::parse_response(answer.as_bytes()).unwrap();
    let body = String::from_utf8(response.body.to_vec()).unwrap();
    Seen { status: response.status, body, is_json: response.is_json }
}

#[tokio::test]
async fn json_is_json_and_all_else_is_text() {
    let stub = HttpStub::start().unwrap();
    let guest = operator();
    for (content_type, body, is_json) in [
        ("application/json", r#"{"a":[1,"😀"]}"#, true),
        ("application/problem+json; charset=utf-8", "null", true),
        ("application/json", r#"{"a":"#, false),
        ("application/json", "", false),
        ("text/html", "<a href=\"x\">\\\u{8}\n</a>", false),
        ("text/plain; charset=utf-8", "\"quoted\" 'text' \\", false),
    ] {
        stub.answer("/", Answer::new(200, content_type, body));
        let seen = send(&guest, &get(&stub.url("/"))).await;
        assert_eq!((seen.status, seen.body.as_str(), seen.is_json), (200, body, is_json), "{content_type}");
    }
}

#[tokio::test]
async fn the_document_has_all_values_of_a_header() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::with_headers(404, &[("Set-Cookie", "a=1"), ("set-cookie", "b=\"2\"")], "none"));
    let document = operator().framed(&[&get(&stub.url("/"))]).await.unwrap();
    assert!(document.contains(r#""Set-Cookie":["a=1","b=\"2\""]"#), "{document}");
    assert!(document.starts_with(r#"{"TextBody":"none","Headers":{"#), "{document}");
    assert!(document.ends_with(r#","StatusCode":404}"#), "{document}");
}

#[tokio::test]
async fn a_trail_is_on_every_request_whatever_the_guest_says() {
    let (stub, guest) = (HttpStub::start().unwrap(), operator());
    stub.answer("/", Answer::with_headers(302, &[("Location", "/next")], ""));
    stub.answer("/next", Answer::new(200, "text/plain", "there"));
    let trail = || Trail::new("x-trail".parse().unwrap(), "here".parse().unwrap());
    let forged = document("GET", &stub.url("/"), &[("X-Trail", "elsewhere")], &OutboundBody::Empty);
    for request in [get(&stub.url("/")), forged] {
        assert!(guest.framed_along(trail(), &request).await.unwrap().contains("there"));
    }
    let requests = stub.requests();
    assert_eq!(requests.len(), 4, "{requests:?}");
    for request in &requests {
        let values: Vec<_> = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-trail")).collect();
        assert!(matches!(&values[..], [(_, value)] if value == "here"), "{request:?}");
    }
    // The next call has none, nor has one with another companion.
    guest.framed(&[&get(&stub.url("/next"))]).await.unwrap();
    guest.framed_along(7_u32, &get(&stub.url("/next"))).await.unwrap();
    assert!(stub.requests()[4..].iter().all(|request| request.header("x-trail").is_none()));
}

#[tokio::test]
async fn the_request_is_sent_as_it_was_asked_for() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/a", Answer::new(200, "text/plain", ""));
    let guest = operator();
    let json = OutboundBody::Json(r#"{"b":1.10}"#.into());
    let text = OutboundBody::Bytes(b"t\"ext"[..].into());
    for (method, body, expected, content_type) in [
        ("GET", &OutboundBody::Empty, "", None),
        ("HEAD", &OutboundBody::EmptyJson, "", None),
        ("OPTIONS", &OutboundBody::Empty, "", None),
        ("DELETE", &OutboundBody::EmptyJson, "", None),
        ("POST", &OutboundBody::EmptyJson, "{}", Some("application/json")),
        ("PUT", &json, r#"{"b":1.10}"#, Some("application/json")),
        ("PATCH", &text, "t\"ext", Some("text/plain; charset=utf-8")),
        ("PURGE", &OutboundBody::Empty, "", None),
    ] {
        let headers = [("x-token", "t"), ("Content-Length", "999"), ("Host", "elsewhere")];
        send(&guest, &document(method, &stub.url("/a?q=%20&r"), &headers, body)).await;
        let request = stub.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), (method, "/a?q=%20&r"));
        assert_eq!(request.text(), expected, "{method}");
        assert_eq!(request.header("content-type"), content_type, "{method}");
        assert_eq!(request.header("x-token"), Some("t"));
        assert_eq!(request.header("host"), Some(stub.address().to_string().as_str()));
    }
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_a_failure() {
    let guest = operator();
    for (document, expected) in [
        ("", "the outbound request document is not valid: expected an object at byte 0"),
        ("[]", "the outbound request document is not valid: expected an object at byte 0"),
        (r#"{"URI":"a"b"}"#, "the outbound request document is not valid: expected `,` or the end of it at byte 10"),
        (r#"{"Method":"GET"}"#, "the outbound request document lacks `URI`"),
        (r#"{"URI":"file:///etc/passwd"}"#, "the URI has the scheme `file`, expected `http` or `https`"),
        (r#"{"URI":"/path"}"#, "the URI is not valid: relative URL without a base"),
    ] {
        assert_eq!(guest.framed(&[document]).await, Err(expected.into()));
    }
}

/// A map of headers has an end, past which it would panic.
#[tokio::test]
async fn more_headers_than_a_request_can_hold_are_a_failure() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "text/plain", "ok"));
    let guest = operator();
    let headers: Vec<String> = (0..40_000).map(|number| format!(r#""x-{number}":"v""#)).collect();
    let request = format!(r#"{{"URI":"{}","Headers":{{{}}}}}"#, stub.url("/"), headers.join(","));
    assert_eq!(guest.framed(&[&request]).await, Err("the document has more than 10000 headers".into()));
    assert_eq!(stub.requests().len(), 0);
    assert_eq!(send(&guest, &get(&stub.url("/"))).await.body, "ok", "the guest is well");
}

#[tokio::test]
async fn redirects_are_followed() {
    let stub = HttpStub::start().unwrap();
    let guest = operator();
    let to = |status, location: &str| Answer::with_headers(status, &[("Location", location)], "moved");
    stub.answer("/end", Answer::new(200, "text/plain", "there"));
    for (status, method) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")] {
        stub.answer("/start", to(status, "end"));
        let headers = [("Authorization", "secret")];
        let request = document("POST", &stub.url("/start"), &headers, &OutboundBody::Bytes(b"body"[..].into()));
        assert_eq!(send(&guest, &request).await.body, "there");
        let last = stub.requests().pop().unwrap();
        assert_eq!((last.method.as_str(), last.header("authorization")), (method, Some("secret")), "{status}");
        assert_eq!(last.text(), if method == "POST" { "body" } else { "" }, "{status}");
    }
    stub.answer("/loop", to(302, "/loop"));
    let before = stub.requests().len();
    assert_eq!(guest.framed(&[&get(&stub.url("/loop"))]).await, Err("stopped after 10 redirects".into()));
    assert_eq!(stub.requests().len() - before, 11);
}

#[tokio::test]
async fn secrets_stay_with_their_server() {
    let (first, second) = (HttpStub::start().unwrap(), HttpStub::start().unwrap());
    first.answer("/", Answer::with_headers(307, &[("Location", &second.url("/"))], ""));
    second.answer("/", Answer::new(200, "text/plain", ""));
    let headers = [("Authorization", "secret"), ("Cookie", "a=1"), ("X-A", "1")];
    send(&operator(), &document("GET", &first.url("/"), &headers, &OutboundBody::Empty)).await;
    let request = second.requests().pop().unwrap();
    assert_eq!(
        (request.header("authorization"), request.header("cookie"), request.header("x-a")),
        (None, None, Some("1"))
    );
}

#[tokio::test]
async fn what_may_not_be_reached_is_refused_by_name() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "text/plain", "reached"));
    let port = stub.address().port();
    let local = format!("localhost:{port}");
    for (reach, allowed, host, reached) in [
        (Reach::Operator, None, "127.0.0.1", true),
        (Reach::Operator, None, "localhost", true),
        (Reach::Operator, None, "169.254.169.254", false),
        (Reach::Operator, None, "[::ffff:169.254.169.254]", false),
        (Reach::Operator, Some("example.com"), "127.0.0.1", false),
        (Reach::Public, None, "127.0.0.1", false),
        (Reach::Public, None, "2130706433", false),
        (Reach::Public, None, "localhost", false),
        (Reach::Public, Some("localhost"), "localhost", true),
        (Reach::Public, Some("localhost:1"), "localhost", false),
        (Reach::Public, Some(local.as_str()), "localhost", true),
        (Reach::Public, Some("127.0.0.0/8"), "localhost", true),
        (Reach::Public, Some("localhost"), "127.0.0.1", false),
        (Reach::Nothing, None, "localhost", false),
        (Reach::Nothing, Some("127.0.0.1"), "127.0.0.1", true),
    ] {
        let network = Network { reach, allowed: allowed.iter().map(|entry| (*entry).into()).collect() };
        let answer = guest(network, HttpLimits::default()).framed(&[&get(&format!("http://{host}:{port}/"))]).await;
        match answer {
            Ok(answer) => assert!(reached && answer.contains("reached"), "{reach:?} {allowed:?} {host}"),
            Err(error) => {
                assert!(!reached, "{reach:?} {allowed:?} {host}: {error}");
                assert!(error.starts_with("this module may not reach host `"), "{error}");
                assert!(error.ends_with("` (flag `--allowHosts`)"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_to_a_refused_host_is_refused() {
    let (allowed, inner) = (HttpStub::start().unwrap(), HttpStub::start().unwrap());
    inner.answer("/", Answer::new(200, "text/plain", "inner"));
    let network = Network { reach: Reach::Public, allowed: vec![allowed.address().to_string()] };
    let guest = guest(network, HttpLimits::default());
    let port = inner.address().port();
    for location in [inner.url("/"), format!("http://localhost:{port}/"), "http://169.254.169.254/latest".into()] {
        allowed.answer("/", Answer::with_headers(302, &[("Location", &location)], ""));
        let error = guest.framed(&[&get(&allowed.url("/"))]).await.unwrap_err();
        assert!(error.contains("may not reach host") && error.contains("`--allowHosts`"), "{error}");
    }
    assert_eq!(inner.requests().len(), 0);
}

#[tokio::test]
async fn a_kept_connection_is_no_way_around_the_policy() {
    let (address, connections) = keep_alive_server().await;
    let guest = operator();
    let uri = get(&format!("http://localhost:{}/", address.port()));
    for _ in 0..3 {
        assert_eq!(send(&guest, &uri).await.body, "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "connections are kept");
    let stranger = guest.beside(|config| {
        config.capabilities.network.reach = Reach::Public;
        Services::default()
    });
    let error = stranger.framed(&[&uri]).await.unwrap_err();
    assert!(error.contains("may not reach host `localhost`"), "{error}");
}

/// Answers `ok` to every request of a connection, and counts connections.
async fn keep_alive_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while stream.read_buf(&mut seen).await.is_ok_and(|count| count > 0) {
                    if seen.ends_with(b"\r\n\r\n") {
                        seen.clear();
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_failure() {
    let stub = HttpStub::start().unwrap();
    let network = Network { reach: Reach::Operator, allowed: Vec::new() };
    let guest = guest(network, HttpLimits { body: 1_000, ..HttpLimits::default() });
    let over = "the answer exceeds the limit of 1000 bytes (flag `--maxOutboundBody`)";
    stub.answer("/at", Answer::new(200, "text/plain", "x".repeat(1_000)));
    assert_eq!(send(&guest, &get(&stub.url("/at"))).await.body.len(), 1_000);
    stub.answer("/over", Answer::new(200, "text/plain", "x".repeat(1_001)));
    assert_eq!(guest.framed(&[&get(&stub.url("/over"))]).await, Err(over.into()));
    // A server that does not say how long its answer is.
    stub.answer("/unknown", Answer::raw(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1_001))));
    assert_eq!(guest.framed(&[&get(&stub.url("/unknown"))]).await, Err(over.into()));
}

#[tokio::test]
async fn a_request_over_the_time_limit_is_a_failure() {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "late").behind(&gate));
    let network = Network { reach: Reach::Operator, allowed: Vec::new() };
    let timeout = Some(Duration::from_millis(50));
    let guest = guest(network, HttpLimits { timeout, ..HttpLimits::default() });
    let expected = "the request exceeds the time limit of 50ms (flag `--outboundTimeout`)";
    assert_eq!(guest.framed(&[&get(&stub.url("/"))]).await, Err(expected.into()));
    gate.open();
}

#[tokio::test]
async fn requests_over_the_number_allowed_wait_and_then_fail() {
    let stub = Arc::new(HttpStub::start().unwrap());
    let gate = Gate::new();
    stub.answer("/held", Answer::new(200, "text/plain", "held").behind(&gate));
    stub.answer("/", Answer::new(200, "text/plain", ""));
    let guest = Guest::with("hostHTTP", 1, |config| {
        config.capabilities.network.reach = Reach::Operator;
        config.contract = capsule_hdk::Contract::Instances(2);
        Services { http: HttpLimits { calls: 1, ..HttpLimits::default() }, ..Services::default() }
    });
    let guest = Arc::new(guest);
    let next = get(&stub.url("/"));
    let first = tokio::spawn({
        let (guest, held) = (Arc::clone(&guest), get(&stub.url("/held")));
        async move { guest.framed(&[&held]).await }
    });
    let asked = Arc::clone(&stub);
    tokio::task::spawn_blocking(move || asked.wait_for_requests(1)).await.unwrap().unwrap();
    let second = guest.framed_within(Duration::from_millis(500), &next).await;
    gate.open();
    first.await.unwrap().unwrap();
    assert_eq!(second, Err("1 outbound requests are under way (flag `--maxOutboundCalls`)".into()));
    assert_eq!(send(&guest, &next).await.status, 200, "the permit came back");
}

#[tokio::test]
async fn a_server_that_is_away_is_a_failure_without_the_password() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = operator().framed(&[&get(&format!("http://user:hidden@127.0.0.1:{port}/"))]).await.unwrap_err();
    assert!(error.starts_with("cannot reach `127.0.0.1`: ") && !error.contains("hidden"), "{error}");
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"));
    let error = operator().framed(&[&get(&stub.url("/"))]).await.unwrap_err();
    assert!(error.starts_with("cannot reach `127.0.0.1`: "), "{error}");
}

#[tokio::test]
async fn https_to_a_server_without_it_is_a_failure() {
    let stub = HttpStub::start().unwrap();
    let error = operator().framed(&[&get(&format!("https://{}/", stub.address()))]).await.unwrap_err();
    assert!(error.starts_with("cannot reach `127.0.0.1`: "), "{error}");
}
