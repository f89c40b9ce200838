//! From a reason to stop to the end: draining, `OnStop`, exit codes.

use std::time::{Duration, Instant};

use capsule_test::DEADLINE;
use capsule_test::client::Connection;
use capsule_test::process::Stream;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};
use rustix::process::Signal;

use crate::support::{eventually, metric, outcome, serve, serve_wat};

/// A stub that answers when its gate opens, and the body that makes `services.wat` ask it.
fn held_back() -> (HttpStub, Gate, String) {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "done").behind(&gate));
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    (stub, gate, body)
}

/// Two connections with calls that loop: one of them runs, the other one waits for the only instance.
fn looping(server: &HttpServer) -> [Connection; 2] {
    let mut connections = [(); 2].map(|()| server.connect().unwrap());
    for connection in &mut connections {
        connection.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl").unwrap();
    }
    eventually("one runs, one waits", || {
        server.get("/metrics").unwrap().text().contains("\ncapsule_waiting_calls 1\n")
    });
    connections
}

/// True when nobody listens any more.
fn is_deaf(server: &HttpServer) -> bool {
    server.connect().is_err()
}

#[test]
fn hooks_run_once_each_and_the_exit_code_is_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = serve("hooks.wat", &[]);
        assert_eq!(server.get("/").unwrap().text(), "done");
        server.process.signal(signal).unwrap();
        let finished = server.process.wait(DEADLINE).unwrap().success().unwrap();
        assert_eq!(finished.stdout(), "OnStart\ncall\nOnStop\n");
        assert!(finished.stderr().contains("stopped"), "{finished:?}");
    }
}

#[test]
fn every_instance_in_good_order_hears_of_the_end() {
    let server = serve("hooks.wat", &[]);
    assert_eq!(server.post("/", "t").unwrap().status, 500);
    assert_eq!(server.get("/").unwrap().status, 200);
    // The first instance trapped: it has no `OnStop`.
    let stdout = server.stop().unwrap().success().unwrap().stdout();
    assert_eq!(stdout, "OnStart\ncall\nOnStart\ncall\nOnStop\n");

    let server = serve("hooks.wat", &["--instances=fresh"]);
    assert_eq!(server.get("/").unwrap().status, 200);
    let stdout = server.stop().unwrap().success().unwrap().stdout();
    let count = |line: &str| stdout.lines().filter(|found| *found == line).count();
    assert_eq!((count("OnStart"), count("call"), count("OnStop")), (2, 1, 2), "{stdout}");
}

#[test]
fn idle_connections_do_not_keep_the_server() {
    // They do not use up the time that running calls have, which is longer than `stop` waits.
    let server = serve("hooks.wat", &["--drainTimeout=1h"]);
    let _silent = server.connect().unwrap();
    let mut kept = server.connect().unwrap();
    kept.send("GET", "/", &[], b"").unwrap();
    server.stop().unwrap().success().unwrap();
}

#[test]
fn running_calls_finish_and_waiting_ones_are_refused() {
    let (stub, gate, body) = held_back();
    let server = serve("services.wat", &["--drainTimeout=60s"]);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| server.post("/", &body).unwrap());
        stub.wait_for_requests(1).unwrap();
        let waiting = scope.spawn(|| server.post("/", "c").unwrap());
        eventually("a call waits", || metric(&server, "capsule_waiting_calls") == 1);
        server.process.signal(Signal::TERM).unwrap();
        let refused = waiting.join().unwrap();
        assert_eq!(outcome(&refused), (503, "the function is being stopped".to_owned()));
        assert!(refused.header("retry-after").is_some());
        eventually("nobody is accepted", || is_deaf(&server));
        gate.open();
        let answer = running.join().unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(r#""TextBody":"done""#), "{}", answer.text());
    });
    server.process.wait(DEADLINE).unwrap().success().unwrap();
}

#[test]
fn past_the_drain_time_calls_are_given_up() {
    let server = serve("http-tricks.wat", &["--drainTimeout=200ms", "--callTimeout=none"]);
    let looping = looping(&server);
    server.process.signal(Signal::TERM).unwrap();
    let mut answers = looping.map(|mut connection| {
        let answer = connection.read_response("POST").unwrap();
        assert_eq!(answer.header("retry-after"), Some("1"));
        outcome(&answer)
    });
    answers.sort();
    let unavailable = |text: &str| (503, text.to_owned());
    assert_eq!(answers, [unavailable("the function is being stopped"), unavailable("the server is being stopped")]);
    let finished = server.process.wait(DEADLINE).unwrap().success().unwrap();
    assert!(finished.stderr().contains("calls that were given up: 1, after 200ms"), "{finished:?}");
}

#[test]
fn a_second_signal_quits() {
    let server = serve("http-tricks.wat", &["--drainTimeout=none", "--callTimeout=none"]);
    let _looping = looping(&server);
    server.process.signal(Signal::TERM).unwrap();
    server.process.wait_for_line(Stream::Stderr, "stopping").unwrap();
    server.process.signal(Signal::INT).unwrap();
    let finished = server.process.wait(DEADLINE).unwrap();
    assert_eq!((finished.code, finished.signal), (Some(1), None), "{finished:?}");
}

#[test]
fn nobody_calls_and_the_server_stops() {
    let limit = Duration::from_secs(1);
    // Before its start: the server counts from a moment after that.
    let begin = Instant::now();
    let server = serve("hooks.wat", &["--stopAfter=1s"]);
    // Health and metrics are no calls.
    while server.process.is_running() && begin.elapsed() < DEADLINE {
        let _ = server.get("/health");
    }
    let finished = server.process.wait(DEADLINE).unwrap().success().unwrap();
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());
    assert!(finished.stderr().contains("stopping: nobody called for 1s"), "{finished:?}");
    assert_eq!(finished.stdout(), "OnStart\nOnStop\n");
}

#[test]
fn calls_put_the_stop_off() {
    let (stub, gate, body) = held_back();
    let server = serve("services.wat", &["--stopAfter=2s"]);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| server.post("/", &body).unwrap());
        stub.wait_for_requests(1).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(3) {
            assert_eq!(server.get("/health").unwrap().status, 200, "a call runs");
        }
        gate.open();
        assert_eq!(running.join().unwrap().status, 200);
    });
    server.process.wait(DEADLINE).unwrap().success().unwrap();
    for never in ["--stopAfter=0", "--stopAfter="] {
        let server = serve("hooks.wat", &[never]);
        assert_eq!(server.get("/").unwrap().status, 200);
        server.stop().unwrap().success().unwrap();
    }
}

/// A client that hung up does not make its call an idle moment, and does not keep the server for ever either.
#[test]
fn a_client_that_hung_up_puts_the_stop_off_until_its_call_ends() {
    let (stub, gate, body) = held_back();
    let server = serve("services.wat", &["--stopAfter=2s"]);
    let mut client = server.connect().unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.write(head.as_bytes()).unwrap();
    stub.wait_for_requests(1).unwrap();
    drop(client);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        assert_eq!(server.get("/health").unwrap().status, 200, "a call runs");
    }
    gate.open();
    let finished = server.process.wait(DEADLINE).unwrap().success().unwrap();
    assert!(finished.stderr().contains("stopping: nobody called for 2s"), "{finished:?}");
}

#[test]
fn an_on_stop_that_fails_or_loops_does_not_keep_the_server() {
    for body in ["unreachable", "(loop $l (br $l))"] {
        let server = serve_wat(
            &format!(
                r#"(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8)
                (func (export "OnStop") {body})
                (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#
            ),
            &[],
        );
        let finished = server.stop().unwrap().success().unwrap();
        assert!(finished.stderr().contains("OnStop"), "{finished:?}");
    }
}
