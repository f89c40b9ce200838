//! What the client gets for the response document of a module: `answer.wat` answers what the body says.

use capsule_test::client::Response;

use crate::support::{outcome, serve};

/// The answer to a response document, on a connection that is kept.
fn answers() -> impl FnMut(&str) -> Response {
    let server = serve("answer.wat", &[]);
    let mut connection = server.connect().unwrap();
    move |document| {
        // The server lives as long as its last question.
        assert!(server.process.is_running());
        connection.send("POST", "/", &[], document.as_bytes()).unwrap()
    }
}

#[test]
fn bodies_and_their_types() {
    let mut answer = answers();
    const JSON: &str = "application/json";
    const TEXT: &str = "text/plain; charset=utf-8";
    for (document, body, content_type) in [
        ("{}", "{}", JSON),
        (r#"{"JSONBody":null,"TextBody":"","Headers":null}"#, "{}", JSON),
        (r#"{"JSONBody": { }, "TextBody":null}"#, "{}", JSON),
        (
            r#"{"JSONBody":{"z":1.50,"a":[ 1e400, 12345678901234567890123 ]}}"#,
            r#"{"z":1.50,"a":[1e400,12345678901234567890123]}"#,
            JSON,
        ),
        (r#"{"JSONBody": [1, "a b\n\"c\"", true ] }"#, r#"[1,"a b\n\"c\"",true]"#, JSON),
        (r#"{"JSONBody":"text"}"#, r#""text""#, JSON),
        (r#"{"JSONBody":42}"#, "42", JSON),
        (r#"{"JSONBody":{"a":1},"TextBody":"8J+Riw=="}"#, "👋", TEXT),
        (r#"{"TextBody":"8J+Riw"}"#, "👋", TEXT),
        (r#"{"TextBody":"PGI+","Headers":{"content-type":"text/html"}}"#, "<b>", "text/html"),
        (
            r#"{"JSONBody":1,"Headers":{"Content-Type":"application/json; charset=utf-8"}}"#,
            "1",
            "application/json; charset=utf-8",
        ),
        (r#"{"Unknown":[[{}]],"StatusCode":0,"JSONBody":1}"#, "1", JSON),
    ] {
        let response = answer(document);
        assert_eq!(outcome(&response), (200, body.to_owned()), "{document}");
        assert_eq!(response.header("content-type"), Some(content_type), "{document}");
        assert_eq!(response.header("content-length"), Some(body.len().to_string().as_str()), "{document}");
    }
}

#[test]
fn text_bodies_are_bytes() {
    assert_eq!(answers()(r#"{"TextBody":"AP8KgA=="}"#).body, [0, 255, 10, 128]);
}

#[test]
fn json_deep_as_a_well_comes_through() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(answers()(&format!(r#"{{"JSONBody":{deep}}}"#)).text(), deep);
    let response = answers()(&format!(r#"{{"JSONBody":{}"#, "[".repeat(100_000)));
    assert_eq!(response.status, 500);
}

#[test]
fn statuses_from_200_to_999_are_the_modules() {
    let mut answer = answers();
    for status in [200, 201, 302, 404, 418, 500, 503, 599, 600, 999] {
        let response = answer(&format!(r#"{{"JSONBody":"b","StatusCode":{status}}}"#));
        assert_eq!(outcome(&response), (status, "\"b\"".to_owned()));
    }
    for status in [204, 304] {
        let response = answer(&format!(r#"{{"JSONBody":"b","StatusCode":{status},"Headers":{{"X":"y"}}}}"#));
        assert_eq!(outcome(&response), (status, String::new()));
        assert_eq!(response.header("content-type"), None);
        assert_eq!(response.header("x"), Some("y"));
    }
}

#[test]
fn headers_of_the_module() {
    let mut answer = answers();
    let response = answer(
        r#"{"JSONBody":1,"Headers":{"Set-Cookie":["a=1","b=2"],"X-Own":"é \"q\"","Location":"/x",
           "connection":"close, X-Hop","X-Hop":"1","Content-Length":"99","Transfer-Encoding":"chunked",
           "Keep-Alive":"timeout=1","Upgrade":"h2c","TE":"x","Trailer":"x","Proxy-Connection":"x","X-Request-Id":"mine"}}"#,
    );
    assert_eq!(outcome(&response), (200, "1".to_owned()));
    let values =
        |name: &str| -> Vec<&str> { response.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| &**v).collect() };
    assert_eq!(values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values("x-own"), ["é \"q\""]);
    assert_eq!(values("location"), ["/x"]);
    assert_eq!(values("content-length"), ["1"]);
    assert_eq!(values("x-request-id").len(), 1);
    assert_ne!(values("x-request-id"), ["mine"]);
    for name in
        ["connection", "x-hop", "transfer-encoding", "keep-alive", "upgrade", "te", "trailer", "proxy-connection"]
    {
        assert_eq!(response.header(name), None, "{name}");
    }
    // The connection is still good: nothing of it was the module's to end.
    assert_eq!(answer("{}").status, 200);
}

#[test]
fn documents_that_are_wrong_say_what_is_wrong() {
    let mut answer = answers();
    for (document, reason) in [
        ("", "the response document is not valid: "),
        ("hello", "the response document is not valid: "),
        // Nothing but an object is a document.
        ("[]", "the response document is not valid: expected an object"),
        (r#"[{"JSONBody":1}]"#, "the response document is not valid: expected an object"),
        ("null", "the response document is not valid: expected an object"),
        (r#""text""#, "the response document is not valid: expected an object"),
        ("{}{}", "the response document is not valid: "),
        (r#"{"JSONBody":}"#, "the response document is not valid: "),
        (r#"{"JSONBody":{"a":01}}"#, "the response document is not valid: "),
        (r#"{"StatusCode":"200"}"#, "the response document is not valid: "),
        (r#"{"StatusCode":199}"#, "`StatusCode` is 199, expected 200 to 999, or 0 for 200"),
        (r#"{"StatusCode":101}"#, "`StatusCode` is 101, expected 200 to 999, or 0 for 200"),
        (r#"{"StatusCode":1000}"#, "`StatusCode` is 1000, expected 200 to 999, or 0 for 200"),
        (r#"{"StatusCode":-1}"#, "`StatusCode` is -1, expected 200 to 999, or 0 for 200"),
        (r#"{"TextBody":"*"}"#, "`TextBody` is not base64"),
        (r#"{"TextBody":1}"#, "the response document is not valid: "),
        (r#"{"Headers":{"A B":"c"}}"#, "\"A B\" is not a header name that HTTP allows"),
        (r#"{"Headers":{"":"c"}}"#, "\"\" is not a header name that HTTP allows"),
        (r#"{"Headers":{"A":"c\r\nB: d"}}"#, "header `A` has a value that HTTP does not allow"),
        (r#"{"Headers":{"A":1}}"#, "the "),
        (r#"{"Headers":"A"}"#, "the "),
    ] {
        let response = answer(document);
        let (status, text) = outcome(&response);
        assert_eq!(status, 500, "{document}");
        let expected = format!("the module's answer is not valid: {reason}");
        assert!(text.starts_with(&expected), "{document}\n{text}\n{expected}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn head_has_the_head_of_an_answer_alone() {
    let server = serve("mirror.wat", &[]);
    let mut connection = server.connect().unwrap();
    for target in ["/", "/health", "/metrics"] {
        let response = connection.send("HEAD", target, &[], b"").unwrap();
        assert_eq!(outcome(&response), (200, String::new()), "{target}");
        assert_ne!(response.header("content-length"), Some("0"), "{target}");
        assert!(response.header("content-type").is_some(), "{target}");
    }
    assert_eq!(connection.send("GET", "/", &[], b"").unwrap().status, 200);
}

#[test]
fn more_headers_than_an_answer_can_hold_are_an_error_of_that_call() {
    let mut answer = answers();
    let headers: Vec<String> = (0..40_000).map(|index| format!(r#""H{index}":"v""#)).collect();
    let response = answer(&format!(r#"{{"Headers":{{{}}}}}"#, headers.join(",")));
    assert_eq!(response.status, 500);
    assert_eq!(response.text(), "the module's answer is not valid: the document has more than 10000 headers");
    assert_eq!(answer("{}").status, 200);
}
