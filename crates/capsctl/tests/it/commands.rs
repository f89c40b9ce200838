//! What each command sends and prints, when all is well.

use capsule_test::process::Stream;
use capsule_test::stub::{Answer, Gate, HttpStub};

use crate::support::{answering, capsctl, check, done, only_request, run};

/// Runs a command whose answer is `text`; compares the request and stdout.
#[track_caller]
fn sends(words: &[&str], request: &str, text: &str, stdout: &str) {
    let path = request.split([' ', '?']).nth(1).unwrap();
    let stub = answering(path, text);
    check(&run(&stub, words), 0, &stdout.replace("STUB", &stub.url("")), "");
    let (found, sent) = only_request(&stub, !path.contains("health"));
    assert_eq!((found.as_str(), sent.text().as_str()), (request, ""));
}

#[test]
fn drop() {
    let request = "DELETE /functions/drop/hello";
    sends(&["--cmd=drop", "--name=hello"], request, "", "hello is dropped\n");
    sends(
        &["drop", "-name", "hello", "-revision", "blue"],
        &format!("{request}/blue"),
        "hello",
        "hello/blue is dropped\n",
    );
    sends(&["--name=hello", "--index=2", "drop"], &format!("{request}/default/2"), "", "hello/default/2 is dropped\n");
}

#[test]
fn duplicate() {
    sends(
        &["--cmd=duplicate", "--name=hello", "--revision=default", "--newRevision=saved"],
        "PUT /functions/duplicate/hello/default/saved",
        "hello",
        "hello/default is duplicated to saved\nurl: STUB/functions/hello/saved\n",
    );
}

#[test]
fn scale() {
    sends(
        &["scale", "--name=hello", "--revision=blue", "--count=3"],
        "PUT /functions/scale/hello/blue/3",
        "",
        "hello/blue is scaled to 3\n",
    );
    sends(
        &["scale", "--name=hello", "--count=1"],
        "PUT /functions/scale/hello/default/1",
        "",
        "hello/default is scaled to 1\n",
    );
}

#[test]
fn route_and_rollback() {
    for (weights, body, stdout) in [
        ("blue=90,green=10", r#"{"blue":90,"green":10}"#, "hello is routed to blue=90, green=10\n"),
        ("none", "null", "hello is routed to default=100\n"),
    ] {
        let stub = answering("/functions/route/hello", "");
        check(&run(&stub, &["route", "--name=hello", "--weights", weights]), 0, stdout, "");
        let (found, sent) = only_request(&stub, true);
        assert_eq!((found.as_str(), sent.text().as_str()), ("PUT /functions/route/hello", body));
        assert_eq!(sent.header("content-type"), Some("application/json; charset=utf-8"));
    }
    sends(
        &["rollback", "--name=hello"],
        "POST /functions/rollback/hello",
        "",
        "hello has the route before the last one again\n",
    );
}

#[test]
fn health_needs_no_token() {
    sends(&["health"], "GET /health", "ok", "ok\n");
    sends(&["health", "--name=hello"], "GET /functions/health/hello", "", "healthy\n");
    sends(
        &["health", "--name=hello", "--revision=blue", "--index=1"],
        "GET /functions/health/hello/blue/1",
        "{\"status\":\"ok\"}\n",
        "{\"status\":\"ok\"}\n",
    );
}

#[test]
fn prune() {
    sends(&["prune"], "POST /functions/prune", r#"{"removed":[]}"#, "nothing to remove\n");
    let module = format!("sha256:{}", "0a".repeat(32));
    let answer = format!("{{\"removed\":[\"{module}\"]}}");
    let request = "POST /functions/prune?olderThan=2m";
    sends(&["--cmd=prune", "--olderThan=2m"], request, &answer, &format!("{module} is removed\n"));
}

#[test]
fn processes_are_a_table_or_the_servers_json() {
    let json = r#"{"hello/blue/0":{"index":0,"functionName":"hello","functionRevision":"blue","httpPort":"","description":"the blue one","currentStatus":1,"statusDescription":"Started","startedAt":"2026-03-01T10:20:30Z","pid":12,"env":null},"hello/default/0":{"index":0,"functionName":"hello","functionRevision":"default","currentStatus":7,"startedAt":"2026-03-01T10:20:31.5Z","pid":12,"httpPort":"10001","description":""}}"#;
    // Piped, as here, without colour.
    let table = "\
FUNCTION         STATUS   STARTED               PORT   PID  DESCRIPTION
hello/blue/0     Started  2026-03-01T10:20:30Z  -      12   the blue one
hello/default/0  Stopped  2026-03-01T10:20:31Z  10001  12   -
";
    let request = "GET /functions/processes";
    sends(&["processes"], request, json, table);
    sends(&["--cmd=processes", "--output=table"], request, json, table);
    sends(&["processes", "--output", "json"], request, json, &format!("{json}\n"));
    sends(&["processes"], request, "{}", "FUNCTION  STATUS  STARTED  PORT  PID  DESCRIPTION\n");
}

#[test]
fn logs() {
    let request = "GET /functions/logs/hello";
    sends(&["logs", "--name=hello"], request, "one\ntwo\n", "one\ntwo\n");
    let words = ["logs", "--name=hello", "--revision=blue", "--index=0", "--lines=20"];
    sends(&words, &format!("{request}/blue/0?lines=20"), "", "");
}

#[test]
fn followed_lines_are_printed_when_they_come() {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nX-Capsule-Faas: 0.1.0\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";
    stub.answer("/functions/logs/hello", Answer::raw(head).then(&gate, "7\r\nsecond\n\r\n0\r\n\r\n"));
    let process =
        capsctl(&stub).args(["logs", "--name=hello", "--follow", "--lines=1", "--timeout=2s"]).start().unwrap();
    process.wait_for_line(Stream::Stdout, "first").unwrap();
    assert_eq!(only_request(&stub, true).0, "GET /functions/logs/hello?lines=1&follow=true");
    // A command that began later has waited for as long as it may; lines are waited for without a limit.
    stub.answer("/functions/prune", done("").behind(&gate));
    assert_eq!(run(&stub, &["prune", "--timeout=2s"]).code, Some(1));
    assert!(process.is_running());
    gate.open();
    check(&process.wait(capsule_test::DEADLINE).unwrap(), 0, "first\nsecond\n", "");
}

#[test]
fn the_server_is_named_by_flag_too_and_may_have_a_path() {
    let stub = answering("/caps/functions/drop/hello", "");
    let server = format!("--server={}/", stub.url("/caps"));
    check(&run(&stub, &["drop", "--name=hello", &server]), 0, "hello is dropped\n", "");
    assert_eq!(only_request(&stub, true).0, "DELETE /caps/functions/drop/hello");
}

#[test]
fn without_a_token_none_is_sent() {
    let stub = answering("/functions/drop/hello", "");
    let finished = capsctl(&stub).env("CAPSULE_FAAS_TOKEN", "").args(["drop", "--name=hello"]).run().unwrap();
    check(&finished, 0, "hello is dropped\n", "");
    only_request(&stub, false);
}
