//! What of a request reaches the module: `mirror.wat` answers the request document itself.

use capsule_test::server::HttpServer;
use serde_json::Value;

use crate::support::{json, serve};

/// The document that the module got for these bytes on the wire.
fn document(server: &HttpServer, wire: &[u8]) -> Value {
    let answer = server.raw(wire).unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    assert!(head.starts_with("HTTP/1.1 200 OK") || head.starts_with("HTTP/1.0 200 OK"), "{text}");
    serde_json::from_str(body).expect(body)
}

/// The `Headers` text as an object.
fn headers(document: &Value) -> Value {
    let text = document["Headers"].as_str().unwrap();
    serde_json::from_str(&format!("{{{text}}}")).expect(text)
}

#[test]
fn method_path_query_and_body_reach_the_module() {
    let server = serve("mirror.wat", &[]);
    let host = server.address().to_string();
    let mut connection = server.connect().unwrap();
    for (method, body) in [
        ("GET", ""),
        ("POST", "say \"hi\" \\ 🌍\n"),
        ("PUT", "p"),
        ("PATCH", "p"),
        ("DELETE", ""),
        ("OPTIONS", ""),
        ("PROPFIND", "<x/>"),
    ] {
        let target = "/a/b%20c?q=1&r=%22x%22";
        let response = connection.send(method, target, &[("X-Own", "v")], body.as_bytes()).unwrap();
        assert_eq!(response.header("content-type"), Some("application/json"));
        let document = json(&response);
        assert_eq!(document["Method"], method);
        assert_eq!(document["Body"], body);
        assert_eq!(document["JSONBody"], "");
        assert_eq!(document["TextBody"], "");
        assert_eq!(document["URI"], format!("http://{host}{target}"));
        assert_eq!(document["Path"], "/a/b%20c");
        assert_eq!(document["Query"], "q=1&r=%22x%22");
        assert_eq!(headers(&document)["Host"], host.as_str());
        assert_eq!(headers(&document)["X-Own"], "v");
        assert!(document.get("Base64Body").is_none());
    }
}

#[test]
fn health_and_metrics_are_routes_for_reading_only() {
    let server = serve("mirror.wat", &[]);
    let mut connection = server.connect().unwrap();
    for target in ["/health", "/metrics"] {
        let document = json(&connection.send("POST", target, &[], b"x").unwrap());
        assert_eq!(document["Path"], target);
    }
    for target in ["/health/", "/healthy", "/metrics/x"] {
        assert_eq!(json(&connection.send("GET", target, &[], b"").unwrap())["Path"], target);
    }
}

#[test]
fn header_names_are_canonical_and_repeated_ones_are_joined() {
    let server = serve("mirror.wat", &[]);
    let document = document(
        &server,
        b"GET / HTTP/1.1\r\nhost: h\r\nx-gitlab-token: t\r\nCookie: a=1\r\nACCEPT: x/y\r\nCookie: b=2\r\n\
          Accept: z/w\r\nConnection: close\r\n\r\n",
    );
    let headers = headers(&document);
    assert_eq!(headers["Host"], "h");
    assert_eq!(headers["X-Gitlab-Token"], "t");
    assert_eq!(headers["Cookie"], "a=1; b=2");
    assert_eq!(headers["Accept"], "x/y, z/w");
    let list = document["HeaderList"].as_array().unwrap();
    let cookies: Vec<&Value> = list.iter().filter(|pair| pair[0] == "Cookie").map(|pair| &pair[1]).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

#[test]
fn quotes_backslashes_and_invalid_bytes_in_headers_leave_a_valid_document() {
    let server = serve("mirror.wat", &[]);
    let document = document(
        &server,
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Quote: say \"hi\", \\o/ a:b\r\nX-Latin: caf\xe9\r\nX-Utf8: \xf0\x9f\x8c\x8d\r\n\
          X-Tab: a\tb\r\nX-Empty:\r\nConnection: close\r\n\r\n",
    );
    let headers = headers(&document);
    assert_eq!(headers["X-Quote"], r#"say "hi", \o/ a:b"#);
    assert_eq!(headers["X-Latin"], "caf\u{fffd}");
    assert_eq!(headers["X-Utf8"], "🌍");
    assert_eq!(headers["X-Tab"], "a\tb");
    assert_eq!(headers["X-Empty"], "");
}

#[test]
fn a_body_that_is_not_text_has_replacement_characters_and_a_field_of_its_own() {
    let server = serve("mirror.wat", &[]);
    let document = json(&server.post("/", b"a\xff\0\x80b").unwrap());
    assert_eq!(document["Body"], "a\u{fffd}\0\u{fffd}b");
    assert_eq!(document["Base64Body"], "Yf8AgGI=");
}

#[test]
fn every_client_has_a_host() {
    let server = serve("mirror.wat", &[]);
    let address = server.address().to_string();
    // HTTP/1.0 needs no Host: the server's own address stands for it.
    let old = document(&server, b"GET /x?y HTTP/1.0\r\n\r\n");
    assert_eq!(old["URI"], format!("http://{address}/x?y"));
    assert_eq!(headers(&old)["Host"], address.as_str());
    let old = document(&server, b"GET /x HTTP/1.0\r\nHost: named:81\r\n\r\n");
    assert_eq!(old["URI"], "http://named:81/x");
    // The absolute form names the host itself, and wins (RFC 9112 section 3.2.2).
    let absolute =
        document(&server, b"GET http://target.example/p?q=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
    assert_eq!(absolute["URI"], "http://target.example/p?q=1");
    assert_eq!(absolute["Path"], "/p");
    assert_eq!(headers(&absolute)["Host"], "target.example");
    let asterisk = document(&server, b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(asterisk["Method"], "OPTIONS");
    assert_eq!((&asterisk["URI"], &asterisk["Path"]), (&"http://h/".into(), &"/".into()));
}

#[test]
fn a_request_id_is_taken_or_made() {
    let server = serve("mirror.wat", &[]);
    let mut connection = server.connect().unwrap();
    let response = connection.send("GET", "/", &[("X-Request-Id", "abc-1"), ("traceparent", "00-1-2-3")], b"").unwrap();
    assert_eq!(response.header("x-request-id"), Some("abc-1"));
    let document = json(&response);
    assert_eq!(document["RequestId"], "abc-1");
    assert_eq!(headers(&document)["Traceparent"], "00-1-2-3");
    let mut made = Vec::new();
    for id in ["", "two words", &"x".repeat(129)] {
        let response = connection.send("GET", "/", &[("X-Request-Id", id)], b"").unwrap();
        let id = response.header("x-request-id").unwrap().to_owned();
        assert_eq!(json(&response)["RequestId"], id);
        made.push(id);
    }
    let health = connection.send("GET", "/health", &[], b"").unwrap();
    made.push(health.header("x-request-id").unwrap().to_owned());
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 4, "{made:?}");
    assert!(made.iter().all(|id| id.len() == 19), "{made:?}");
}

#[test]
fn what_is_not_http_is_refused_and_harms_nobody() {
    let server = serve("mirror.wat", &[]);
    let mut other = server.connect().unwrap();
    for wire in [
        &b"nonsense\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: h\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
    ] {
        let answer = String::from_utf8_lossy(&server.raw(wire).unwrap()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
        assert_eq!(other.send("GET", "/", &[], b"").unwrap().status, 200);
    }
    let tunnel = server.raw(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(String::from_utf8_lossy(&tunnel).starts_with("HTTP/1.1 501 Not Implemented"));
}

#[test]
fn a_host_that_is_none_is_refused() {
    let server = serve("mirror.wat", &[]);
    for (head, problem) in [
        ("GET /real HTTP/1.1", "the request has no `Host` header"),
        ("GET /real HTTP/1.1\r\nHost: a\r\nHost: b", "the request has several `Host` headers"),
        ("GET /real HTTP/1.1\r\nHost: evil/admin?x=", "the `Host` header is not a host"),
        ("GET /real HTTP/1.1\r\nHost: user@h", "the `Host` header is not a host"),
    ] {
        let wire = format!("{head}\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8_lossy(&server.raw(wire.as_bytes()).unwrap()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request") && answer.ends_with(problem), "{head}: {answer}");
    }
    let wire = b"GET http://user:secret@h/a HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8_lossy(&server.raw(wire).unwrap()).into_owned();
    assert!(answer.contains(r#""URI":"http://h/a""#) && !answer.contains("secret"), "{answer}");
    let wire = b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8_lossy(&server.raw(wire).unwrap()).into_owned();
    assert!(answer.contains(r#""URI":"http://h/""#), "{answer}");
}
