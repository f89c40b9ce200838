//! `call`: what the function gets, and what becomes of its answer.

use capsule_test::process::Finished;
use capsule_test::stub::{Answer, HttpStub};

use crate::support::{answering, capsctl, check, only_request, run};

#[test]
fn method_path_headers_and_body_arrive() {
    for (words, request, body) in [
        (&["--name=hello"][..], "GET /functions/hello", ""),
        (&["--name=hello", "--revision=blue"], "GET /functions/hello/blue", ""),
        (&["--name=hello", "--index=3"], "GET /functions/hello/default/3", ""),
        (&["--name=hello", "--path=/"], "GET /functions/hello", ""),
        (&["--name=hello", "--path=?id=1&x=%20"], "GET /functions/hello?id=1&x=%20", ""),
        (&["--name=hello", "--index=0", "--path=/api/é?q=.."], "GET /functions/hello/default/0/api/%C3%A9?q=..", ""),
        (&["--name=hello", "--index=0", "--path", "api"], "GET /functions/hello/default/0/api", ""),
        (&["--name=hello", "--body=Bob Morane"], "POST /functions/hello", "Bob Morane"),
        (&["--name=hello", "--body=-"], "POST /functions/hello", "from stdin\0\u{1}"),
        (&["--name=hello", "--method=put", "--body=x"], "PUT /functions/hello", "x"),
        (&["--name=hello", "--method=DELETE"], "DELETE /functions/hello", ""),
    ] {
        let path = request.split([' ', '?']).nth(1).unwrap();
        let stub = answering(path, "answer");
        let program = capsctl(&stub).arg("call").args(words).stdin("from stdin\0\u{1}");
        check(&program.run().unwrap(), 0, "answer", "");
        // A function is never told the token.
        let (found, sent) = only_request(&stub, false);
        assert_eq!((found.as_str(), sent.text().as_str()), (request, body));
        assert_eq!(sent.header("content-type"), None);
    }
}

#[test]
fn headers_are_sent_as_given() {
    let stub = answering("/functions/hello", "");
    let words = ["call", "--name=hello", "--header=X-A: one", "--header", "x-a:two", "--header=Content-Type:text/x:y"];
    check(&run(&stub, &words), 0, "", "");
    let (_, sent) = only_request(&stub, false);
    let all: Vec<&str> =
        sent.headers.iter().filter(|(name, _)| name == "x-a").map(|(_, value)| value.as_str()).collect();
    assert_eq!((all, sent.header("content-type")), (vec!["one", "two"], Some("text/x:y")));
}

fn answered(answer: Answer) -> Finished {
    let stub = HttpStub::start().unwrap();
    stub.answer("/functions/hello/blue", answer);
    run(&stub, &["call", "--name=hello", "--revision=blue"])
}

#[test]
fn the_body_is_printed_byte_for_byte() {
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let finished = answered(Answer::new(200, "application/octet-stream", &bytes));
    assert!(finished.stdout == bytes && finished.code == Some(0) && finished.stderr.is_empty(), "{finished:?}");
}

#[test]
fn statuses_from_400_fail_and_show_the_body() {
    for status in [200, 201, 302, 399] {
        check(&answered(Answer::new(status, "text/plain", "body")), 0, "body", "");
    }
    for (status, shown) in [
        (400, "400 Bad Request"),
        (404, "404 Not Found"),
        (500, "500 Internal Server Error"),
        (508, "508 Loop Detected"),
    ] {
        let stderr = format!("error: the call of `hello/blue` was answered with {shown}\n");
        check(&answered(Answer::new(status, "text/plain", "why")), 1, "why", &stderr);
    }
}

#[test]
fn an_answer_that_breaks_off_fails() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let finished = answered(Answer::raw(wire));
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), "half"), "{finished:?}");
        assert!(finished.stderr().starts_with("error: the server's answer broke off\n"), "{finished:?}");
    }
}
