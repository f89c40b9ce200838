//! Real clients: curl with everything it speaks, and a thousand at once.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use capsule_test::process::{Finished, Stream};
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};
use capsule_test::tls::Certificate;
use serde_json::Value;

use crate::support::{json, many_files, metric, serve};

fn curl(words: &[&str]) -> Finished {
    curl_with(words, "")
}

fn curl_with(words: &[&str], stdin: &str) -> Finished {
    let curl = Program::tool("curl", "curl").unwrap().args(["-sS", "--max-time", "60"]).args(words).stdin(stdin);
    curl.run().unwrap().success().unwrap()
}

/// The request document in what curl wrote, and the HTTP version that it used.
fn mirrored(finished: &Finished) -> (Value, String) {
    let stdout = finished.stdout();
    let (document, version) = stdout.rsplit_once('\n').expect(&stdout);
    (serde_json::from_str(document).expect(document), version.to_owned())
}

const VERSION: [&str; 2] = ["-w", "\n%{http_version}"];

fn over_tls() -> (HttpServer, Certificate) {
    let certificate = Certificate::for_localhost().unwrap();
    let crt = format!("--crt={}", certificate.crt().display());
    let key = format!("--key={}", certificate.key().display());
    (serve("mirror.wat", &[&crt, &key]), certificate)
}

#[test]
fn http_1_1() {
    let server = serve("mirror.wat", &[]);
    let url = server.url("/a?b=1");
    let [w, format] = VERSION;
    let (document, version) = mirrored(&curl(&["--http1.1", w, format, "-d", "x=1", "-b", "a=1; b=2", &url]));
    assert_eq!((document["Method"].as_str(), version.as_str()), (Some("POST"), "1.1"));
    assert_eq!(document["Body"], "x=1");
    assert_eq!(document["URI"], url);
    let (document, version) = mirrored(&curl(&["--http1.0", w, format, &url]));
    assert_eq!((document["Method"].as_str(), version.as_str()), (Some("GET"), "1"));
}

#[test]
fn http_2_over_tls_and_http_1_1_over_tls() {
    let (server, certificate) = over_tls();
    let url = format!("https://localhost:{}/a?b=1", server.address().port());
    let trust = certificate.crt();
    let trust = trust.to_str().unwrap();
    let [w, format] = VERSION;
    for (flag, expected) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let (document, version) = mirrored(&curl(&[
            "--cacert", trust, flag, w, format, "-d", "x=1", "-H", "X-Own: v", "-b", "a=1; b=2", &url,
        ]));
        assert_eq!(version, expected);
        assert_eq!(document["URI"], url);
        let host = format!("localhost:{}", server.address().port());
        let text = document["Headers"].as_str().unwrap();
        let headers: Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
        assert_eq!((&headers["Host"], &headers["X-Own"]), (&host.into(), &"v".into()));
        assert_eq!(headers["Cookie"], "a=1; b=2");
    }
    // Plain HTTP on the port of TLS harms nobody.
    let _ = server.raw(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let head = curl(&["--cacert", trust, "--http2", "-I", &url]).stdout();
    assert!(head.starts_with("HTTP/2 200") && head.contains("content-length: "), "{head}");
}

#[test]
fn http_2_without_tls() {
    let server = serve("mirror.wat", &[]);
    let url = server.url("/a");
    let [w, format] = VERSION;
    let (document, version) = mirrored(&curl(&["--http2-prior-knowledge", w, format, "-d", "x", &url]));
    assert_eq!((document["Method"].as_str(), version.as_str()), (Some("POST"), "2"));
    assert_eq!(document["URI"], url);
    // Answers of a module with what HTTP/2 forbids: they are dropped.
    let server = serve("answer.wat", &[]);
    let body = r#"{"JSONBody":1,"Headers":{"Connection":"close","Transfer-Encoding":"chunked","Keep-Alive":"x","Set-Cookie":["a","b"]}}"#;
    let answer = curl(&["--http2-prior-knowledge", "-i", "-d", body, &server.url("/")]).stdout();
    assert!(answer.starts_with("HTTP/2 200") && answer.ends_with("\r\n\r\n1"), "{answer}");
    assert_eq!(answer.matches("set-cookie: ").count(), 2, "{answer}");
}

#[test]
fn chunked_uploads_and_100_continue() {
    let server = serve("mirror.wat", &["--maxBody=1MiB"]);
    let url = server.url("/");
    let large = "0123456789".repeat(20_000);
    for flags in [
        &["-H", "Transfer-Encoding: chunked", "--data-binary", "@-"][..],
        &["-H", "Expect: 100-continue", "--data-binary", "@-"],
        &["-T", "-"],
        &["--http2-prior-knowledge", "-T", "-"],
    ] {
        let words: Vec<&str> = flags.iter().copied().chain([url.as_str()]).collect();
        let document: Value = serde_json::from_str(&curl_with(&words, &large).stdout()).unwrap();
        assert_eq!(document["Body"].as_str().map(str::len), Some(large.len()), "{flags:?}");
        assert_eq!(document["Body"], large);
    }
    let verbose = curl_with(&["-v", "-H", "Expect: 100-continue", "--data-binary", "@-", &url], &large).stderr();
    assert!(verbose.contains("HTTP/1.1 100 Continue"), "{verbose}");
    // Too large, announced: refused before it is sent.
    let huge = "x".repeat((1 << 20) + 1);
    let refused = curl_with(&["-v", "-H", "Expect: 100-continue", "--data-binary", "@-", &url], &huge);
    assert!(refused.stderr().contains("HTTP/1.1 413 Payload Too Large"), "{refused:?}");
    assert!(!refused.stderr().contains("100 Continue"), "{refused:?}");
}

#[test]
fn head_and_keep_alive() {
    let server = serve("mirror.wat", &[]);
    let head = curl(&["-I", &server.url("/")]).stdout();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: "), "{head}");
    let urls: Vec<String> = ["/1", "/2", "/3"].iter().map(|path| server.url(path)).collect();
    let connects = curl(&[
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{num_connects}",
        &urls[0],
        &urls[1],
        &urls[2],
    ]);
    assert_eq!(connects.stdout(), "100", "one connection for three requests");
}

#[test]
fn a_thousand_posts_at_once() {
    many_files();
    let server = serve("mirror.wat", &[]);
    let mut connections: Vec<_> = (0..1000).map(|_| server.connect().unwrap()).collect();
    for (index, connection) in connections.iter_mut().enumerate() {
        let body = format!("body of {index}");
        let request = format!("POST /{index} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        connection.write(request.as_bytes()).unwrap();
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        let document = json(&connection.read_response("POST").unwrap());
        assert_eq!(document["Body"], format!("body of {index}"));
        assert_eq!(document["URI"], format!("http://h/{index}"));
    }
    assert_eq!(metric(&server, "capsule_http_requests_total{status=\"200\"}"), 1000);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = serve("mirror.wat", &[]);
    let mut connection = server.connect().unwrap();
    let wire: String = (0..50).map(|index| format!("GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    connection.write(wire.as_bytes()).unwrap();
    for index in 0..50 {
        assert_eq!(json(&connection.read_response("GET").unwrap())["Path"], format!("/{index}"));
    }
}

#[test]
fn past_the_limit_the_longest_idle_connection_makes_room() {
    let server = serve("mirror.wat", &["--maxConnections=2"]);
    let mut connections = [(); 2].map(|()| server.connect().unwrap());
    for connection in &mut connections {
        assert_eq!(connection.send("GET", "/", &[], b"").unwrap().status, 200, "as many as may be");
    }
    let [mut first, mut second] = connections;
    let mut third = server.connect().unwrap();
    assert_eq!(third.send("GET", "/", &[], b"").unwrap().status, 200);
    assert_eq!(first.read_to_end().unwrap(), b"");
    assert_eq!(second.send("GET", "/", &[], b"").unwrap().status, 200);
    assert_eq!(second.send("GET", "/metrics", &[], b"").unwrap().text().matches("{reason=\"limit\"} 1\n").count(), 1);
    server.process.wait_for_line(Stream::Stderr, "at most 2 may be open (flag `--maxConnections`)").unwrap();
}

#[test]
fn past_the_limit_connections_wait_for_calls() {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    stub.answer("/", Answer::new(200, "text/plain", "done").behind(&gate));
    let server = serve("services.wat", &["--maxConnections=1"]);
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    let mut first = server.connect().unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    first.write((head + &body).as_bytes()).unwrap();
    stub.wait_for_requests(1).unwrap();
    let mut second = server.connect().unwrap();
    second.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nc").unwrap();
    assert!(first.is_silent_for(Duration::from_millis(200)) && second.is_silent_for(Duration::from_millis(1)));
    gate.open();
    assert_eq!(first.read_response("POST").unwrap().status, 200, "a call is never cut");
    assert_eq!(second.read_response("POST").unwrap().status, 200);
}

#[test]
fn a_client_that_has_nothing_more_to_send_is_answered() {
    let server = serve("mirror.wat", &[]);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"POST /half HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("/half"), "{answer}");
}

#[test]
fn a_client_that_does_not_read_cannot_send_for_ever() {
    // More than the system may hold for both sides of a connection.
    const TOO_MUCH: usize = 100 << 20;
    let server = serve("mirror.wat", &[]);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n".to_vec();
    wire.resize(wire.len() + 10_000, b'x');
    let mut sent = 0;
    // Its answers wait for it, and so do its requests: what is sent is not taken any more.
    while stream.write_all(&wire).is_ok() {
        sent += wire.len();
        assert!(sent < TOO_MUCH, "the server keeps all that is not read");
    }
    assert_eq!(server.get("/").unwrap().status, 200);
}
