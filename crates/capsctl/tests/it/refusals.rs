//! What does not work: each is a message and exit 1, and no text of success.

use capsule_test::process::Finished;
use capsule_test::program::Program;
use capsule_test::stub::{Answer, Gate, HttpStub};

use crate::support::{TOKEN, capsctl, check, done, run};

/// Every command with the path that it asks.
const COMMANDS: [(&[&str], &str); 10] = [
    (&["start", "--name=hello", "--wasm=a.wasm"], "/functions/start"),
    (&["drop", "--name=hello"], "/functions/drop/hello"),
    (&["duplicate", "--name=hello", "--newRevision=b"], "/functions/duplicate/hello/default/b"),
    (&["processes"], "/functions/processes"),
    (&["scale", "--name=hello", "--count=2"], "/functions/scale/hello/default/2"),
    (&["route", "--name=hello", "--weights=a=1"], "/functions/route/hello"),
    (&["rollback", "--name=hello"], "/functions/rollback/hello"),
    (&["logs", "--name=hello"], "/functions/logs/hello"),
    (&["health", "--name=hello"], "/functions/health/hello"),
    (&["prune"], "/functions/prune"),
];

#[track_caller]
fn fails(finished: &Finished, status: &str, rest: &str) {
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
    let stderr = finished.stderr();
    let (first, others) = stderr.split_once('\n').unwrap();
    assert!(
        first.starts_with("error: cannot ") && first.ends_with(&format!(": the server answered {status}")),
        "{first}"
    );
    assert_eq!(others, rest, "{finished:?}");
}

#[test]
fn every_refusal_of_every_command_is_shown() {
    for (words, path) in COMMANDS {
        let stub = HttpStub::start().unwrap();
        for (status, shown) in [
            (400, "400 Bad Request"),
            (404, "404 Not Found"),
            (409, "409 Conflict"),
            (413, "413 Payload Too Large"),
            (422, "422 Unprocessable Entity"),
            (500, "500 Internal Server Error"),
            (503, "503 Service Unavailable"),
        ] {
            let body = r#"{"error":"this was wrong","hint":"do that"}"#;
            stub.answer(path, Answer::new(status, "application/json", body));
            fails(&run(&stub, words), shown, "  caused by: this was wrong\nhint: do that\n");
        }
        stub.answer(path, Answer::new(500, "text/plain", "plain text\n"));
        fails(&run(&stub, words), "500 Internal Server Error", "  caused by: plain text\n");
        stub.answer(path, Answer::new(502, "text/plain", ""));
        fails(&run(&stub, words), "502 Bad Gateway", "");
    }
}

#[test]
fn a_wrong_or_missing_token_is_said() {
    let stub = HttpStub::start().unwrap();
    let words = ["drop", "--name=hello"];
    stub.answer("/functions/drop/hello", Answer::new(401, "application/json", r#"{"error":"wrong token"}"#));
    let rest = "  caused by: wrong token\nhint: `CAPSULE_FAAS_TOKEN` is not the token of this server\n";
    fails(&run(&stub, &words), "401 Unauthorized", rest);
    let finished = capsctl(&stub).env("CAPSULE_FAAS_TOKEN", "").args(words).run().unwrap();
    let rest = "  caused by: wrong token\nhint: `CAPSULE_FAAS_TOKEN` must be the token of the server\n";
    fails(&finished, "401 Unauthorized", rest);
    let body = r#"{"error":"administration is off","hint":"start the server with a token"}"#;
    stub.answer("/functions/drop/hello", Answer::new(403, "application/json", body));
    let rest = "  caused by: administration is off\nhint: start the server with a token\n";
    fails(&run(&stub, &words), "403 Forbidden", rest);
}

#[test]
fn the_token_is_masked_in_what_a_server_repeats_and_goes_to_no_other_host() {
    let (stub, other) = (HttpStub::start().unwrap(), HttpStub::start().unwrap());
    let words = ["drop", "--name=hello"];
    let body = format!(r#"{{"error":"bad header {TOKEN}","hint":"not {TOKEN}"}}"#);
    stub.answer("/functions/drop/hello", Answer::new(400, "application/json", body));
    fails(&run(&stub, &words), "400 Bad Request", "  caused by: bad header ***\nhint: not ***\n");

    stub.answer("/functions/processes", done(format!("echo {TOKEN}")));
    let finished = run(&stub, &["processes"]);
    assert!(finished.stderr().contains("the server answered `echo ***`"), "{finished:?}");

    let location = other.url("/functions/drop/hello");
    stub.answer("/functions/drop/hello", Answer::with_headers(307, &[("Location", &location)], ""));
    let hint = "hint: redirects are not followed; `CAPSULE_MAIN_PROCESS_URL` must be the server's own address\n";
    fails(&run(&stub, &words), "307 Temporary Redirect", hint);
    assert_eq!(other.requests(), []);

    let finished = capsctl(&stub).env("CAPSULE_FAAS_TOKEN", "s3cret\ntoken").args(words).run().unwrap();
    let error = "error: `CAPSULE_FAAS_TOKEN` has characters that HTTP does not allow in a header\n";
    check(&finished, 1, "", error);
}

#[test]
fn a_server_that_is_away() {
    // A port that nobody serves.
    let address = "127.0.0.1:1";
    let calls: [(&[&str], &str); 2] = [(&["call", "--name=hello"], ""), (&["health"], "")];
    for (words, _) in COMMANDS.into_iter().chain(calls) {
        let server = format!("--server=http://bob:s3cret@{address}");
        let finished = Program::of_workspace("capsctl").unwrap().args(words).arg(&server).run().unwrap();
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let stderr = finished.stderr();
        assert!(stderr.contains(&format!("no answer from the server at `http://***@{address}`\n")), "{stderr}");
        assert!(stderr.contains("hint: `CAPSULE_MAIN_PROCESS_URL` or `--server` says where it is"), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}

#[test]
fn a_server_that_does_not_answer_in_time() {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    stub.answer("/functions/drop/hello", done("").behind(&gate));
    let finished = run(&stub, &["drop", "--name=hello", "--timeout=50ms"]);
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr().contains("caused by: nothing came for 50ms, the limit of `--timeout`\n"), "{finished:?}");
    gate.open();
}

#[test]
fn answers_that_break_off_or_are_no_http() {
    for (words, path) in COMMANDS {
        let stub = HttpStub::start().unwrap();
        for (wire, message) in [
            (
                "HTTP/1.1 200 OK\r\nX-Capsule-Faas: 0.1.0\r\nContent-Length: 90\r\n\r\nhello",
                "the server's answer broke off\n",
            ),
            ("SSH-2.0-OpenSSH\r\n", "no answer from the server at"),
            ("", "no answer from the server at"),
        ] {
            stub.answer(path, Answer::raw(wire));
            let finished = run(&stub, words);
            assert_eq!(finished.code, Some(1), "{finished:?}");
            assert!(finished.stderr().contains(message), "{finished:?}");
            // The lines of a log that came are shown.
            let shown = if words[0] == "logs" && wire.ends_with("hello") { "hello" } else { "" };
            assert_eq!(finished.stdout(), shown);
        }
    }
}

#[test]
fn answers_that_are_not_what_was_asked_for() {
    let hint = "hint: is it a `capsule-http --faas`? `CAPSULE_MAIN_PROCESS_URL` or `--server` says where it is\n";
    for (words, path, error) in [
        (&["processes"][..], "/functions/processes", "cannot list the functions: expected a JSON object of records"),
        (
            &["processes", "--output=json"],
            "/functions/processes",
            "cannot list the functions: expected a JSON object of records",
        ),
        (
            &["duplicate", "--name=hello", "--newRevision=b"],
            "/functions/duplicate/hello/default/b",
            "cannot duplicate `hello/default` to `b`: expected the name of the function",
        ),
    ] {
        let stub = HttpStub::start().unwrap();
        stub.answer(path, done("<p>\u{1b}[2J"));
        let stderr = format!("error: {error}, the server answered `<p>\\u{{1b}}[2J`\n{hint}");
        check(&run(&stub, words), 1, "", &stderr);
    }
}

#[test]
fn a_server_that_hosts_no_functions_is_told_from_one_that_does() {
    for (words, path) in COMMANDS {
        let stub = HttpStub::start().unwrap();
        // As a server of one module may answer any path.
        stub.answer(path, Answer::new(200, "text/plain", "hello/default/0"));
        let finished = run(&stub, words);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let stderr = finished.stderr();
        let message =
            format!(": the server at `{}` does not host functions\nhint: is it a `capsule-http --faas`?", stub.url(""));
        assert!(stderr.contains(&message), "{stderr}");
    }
}
