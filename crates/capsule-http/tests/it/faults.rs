//! What goes wrong around a server: descriptors that run out, signals in the midst of calls, time that jumps.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use capsule_test::DEADLINE;
use capsule_test::client::Connection;
use capsule_test::guests;
use capsule_test::http2::Http2;
use capsule_test::process::Stream;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};
use rustix::process::Signal;

use crate::support::{eventually, many_files, metric, serve};

/// A server that may have only so many files open, itself and its children.
fn serve_with_files(files: u32, fixture: &str, flags: &str) -> HttpServer {
    let module = guests::fixture(fixture).unwrap();
    let line = format!("ulimit -n {files}; exec \"$0\" --httpHost=127.0.0.1 --httpPort=0 {flags} \"$1\"");
    let program = Program::tool("sh", "dash").unwrap().args(["-c", &line]);
    HttpServer::launch(program.args([env!("CARGO_BIN_EXE_capsule-http").as_ref(), module.as_os_str()])).unwrap()
}

/// The bytes of a request.
fn post(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A stub that answers when its gate opens, and the body that makes `services.wat` ask it.
fn held_back() -> (HttpStub, Gate, String) {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    stub.answer("/", Answer::new(200, "text/plain", "done").behind(&gate));
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    (stub, gate, body)
}

/// What comes while the server has no time to accept is kept for it; a client that is turned away tries again after a second.
#[test]
fn a_burst_of_connections_waits_to_be_accepted() {
    many_files();
    let server = serve("http-tricks.wat", &[]);
    server.process.signal(Signal::STOP).unwrap();
    let connect = |_| TcpStream::connect_timeout(&server.address(), Duration::from_millis(900)).unwrap();
    let burst: Vec<TcpStream> = (0..500).map(connect).collect();
    server.process.signal(Signal::CONT).unwrap();
    assert_eq!(server.post("/", "c").unwrap().status, 200);
    // All of them, and the one that asks.
    let all = burst.len() as u64 + 1;
    eventually("the connection of the call has gone", || metric(&server, "capsule_connections") == all);
}

#[test]
fn connections_leave_descriptors_for_others() {
    let server = serve_with_files(64, "http-tricks.wat", "--maxConnections=1000");
    server.process.wait_for_line(Stream::Stderr, "`--maxConnections` is 32 instead").unwrap();
    let crowd: Vec<_> = (0..100).map(|_| server.connect().unwrap()).collect();
    assert_eq!(server.post("/", "c").unwrap().status, 200);
    // Those that were closed for others go at their next turn.
    eventually("there are no more than the limit", || metric(&server, "capsule_connections") <= 32);
    drop(crowd);
}

/// Outbound connections of calls take the descriptors that accepting needs.
#[test]
fn descriptors_run_out_and_come_back() {
    let (stub, gate, body) = held_back();
    // Half of 64 are for connections, the server itself has some 20.
    let server = serve_with_files(64, "services.wat", "--instances=32 --dir=none");
    let mut calls = Vec::new();
    for _ in 0..32 {
        let mut connection = server.connect().unwrap();
        connection.write(&post(&body)).unwrap();
        calls.push(connection);
    }
    let idle: Vec<_> = (0..30).map(|_| server.connect().unwrap()).collect();
    let line = server.process.wait_for_line(Stream::Stderr, "cannot accept connections").unwrap();
    assert!(line.contains("os error 24"), "{line}");
    gate.open();
    for mut call in calls {
        let answer = call.read_response("POST").unwrap();
        // A call that found no descriptor is told so by its host function.
        assert!(answer.status == 200 || answer.text().contains("os error 24"), "{}", answer.text());
    }
    drop((idle, stub));
    assert_eq!(server.post("/", "c").unwrap().status, 200);
}

/// Every call that was accepted is answered, with its result or a 503, whether it runs, waits for an instance, or is on its way.
#[test]
fn a_stop_with_500_calls_in_flight() {
    many_files();
    let (stub, gate, body) = held_back();
    let server = serve("services.wat", &["--instances=20", "--maxOutboundCalls=100", "--drainTimeout=30s"]);
    let mut calls: Vec<Connection> = (0..500).map(|_| server.connect().unwrap()).collect();
    for call in &mut calls {
        call.write(&post(&body)).unwrap();
    }
    stub.wait_for_requests(20).unwrap();
    // These are not looked at before the signal: nobody waits for their answers.
    let mut late: Vec<Connection> = (0..50).map(|_| server.connect().unwrap()).collect();
    for call in &mut late {
        call.write(&post("c")).unwrap();
    }
    let begin = Instant::now();
    server.process.signal(Signal::TERM).unwrap();
    server.process.wait_for_line(Stream::Stderr, "stopping").unwrap();
    gate.open();
    let statuses: Vec<u16> =
        calls.iter_mut().chain(&mut late).map(|call| call.read_response("POST").unwrap().status).collect();
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!(count(200) + count(503), 550, "{statuses:?}");
    assert!(count(200) >= 20, "those that ran have their results");
    server.process.wait(DEADLINE).unwrap().success().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn past_the_drain_time_all_calls_are_answered() {
    let (_stub, _gate, body) = held_back();
    let server = serve("services.wat", &["--instances=20", "--drainTimeout=300ms"]);
    let mut calls: Vec<Connection> = (0..100).map(|_| server.connect().unwrap()).collect();
    for call in &mut calls {
        call.write(&post(&body)).unwrap();
    }
    eventually("calls wait", || metric(&server, "capsule_waiting_calls") == 80);
    server.process.signal(Signal::TERM).unwrap();
    for call in &mut calls {
        let answer = call.read_response("POST").unwrap();
        assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    }
    let finished = server.process.wait(DEADLINE).unwrap().success().unwrap();
    assert!(finished.stderr().contains("calls that were given up: 20, after 300ms"), "{finished:?}");
}

/// Clients that say nothing, half of something, or nothing more do not use up the time that calls have.
#[test]
fn silent_clients_do_not_keep_a_server_that_stops() {
    let server = serve("hooks.wat", &["--drainTimeout=1h"]);
    let mut silent = server.connect().unwrap();
    let mut half = server.connect().unwrap();
    half.write(b"GET / HTTP/1.1\r\nHo").unwrap();
    let mut of_http2 = Http2::open(server.address(), &[]).unwrap();
    of_http2.get(1, "/").unwrap();
    assert_eq!(of_http2.status(1).unwrap(), 200);
    server.stop().unwrap().success().unwrap();
    assert_eq!(silent.read_to_end().unwrap(), b"");
    let _ = half.read_to_end().unwrap();
    assert_eq!(of_http2.end().unwrap(), Some(0), "it was told");
}

/// Nothing is left behind that keeps the next server from the port.
#[test]
fn after_a_kill_the_port_is_free() {
    let server = serve("http-tricks.wat", &[]);
    let port = server.address().port();
    let mut kept = server.connect().unwrap();
    assert_eq!(kept.send("POST", "/", &[], b"c").unwrap().text(), "1");
    let mut looping = server.connect().unwrap();
    looping.write(&post("l")).unwrap();
    server.process.kill().unwrap();
    let server = serve("http-tricks.wat", &[&format!("--httpPort={port}")]);
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    assert_eq!(looping.read_to_end().unwrap(), b"");
    assert!(kept.send("POST", "/", &[], b"c").is_err());
}

/// A process that stood still, as in a virtual machine that was paused, does not blame its clients for that.
#[test]
fn a_clock_that_jumps_ends_no_connection() {
    let limits = ["--idleTimeout=1s", "--headerTimeout=1s", "--bodyTimeout=1s", "--writeTimeout=1s"];
    let server = serve("http-tricks.wat", &limits);
    let mut idle = server.connect().unwrap();
    assert_eq!(idle.send("POST", "/", &[], b"c").unwrap().status, 200);
    let mut in_head = server.connect().unwrap();
    in_head.write(b"POST / HTTP/1.1\r\nHost: h\r\n").unwrap();
    let mut in_body = server.connect().unwrap();
    in_body.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nc").unwrap();
    eventually("the parts are read", || metric(&server, "capsule_connections") == 4);
    server.process.signal(Signal::STOP).unwrap();
    // What the clients send while it stands still is there when it goes on.
    idle.write(&post("c")).unwrap();
    in_head.write(b"Content-Length: 1\r\n\r\nc").unwrap();
    in_body.write(b"c").unwrap();
    let paused = TcpStream::connect(server.address()).unwrap();
    paused.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(paused.peek(&mut [0]).is_err(), "it stands still for two seconds");
    server.process.signal(Signal::CONT).unwrap();
    for mut connection in [idle, in_head, in_body] {
        assert_eq!(connection.read_response("POST").unwrap().status, 200);
    }
}
